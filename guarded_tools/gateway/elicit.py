"""Asks in the client itself, by MCP's elicitation: where a call waits, its own client shows the question.

Whoever runs a client can answer for its human, and a program may. So a call that moves money or destroys is never asked
about here, and goes to another approver; so does one of a client that shows no forms, and one on protocol 2026-07-28,
where no server may ask. The question goes out on the channel of the very call that waits, and is recorded first.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from guarded_tools.approvers import card
from guarded_tools.approvers.protocol import Approver, Unanswered, withdrawn_by
from guarded_tools.values import ApprovalRequest, Verdict, is_grave

asking: ContextVar[Any] = ContextVar("guarded_tools_gateway_asking", default=None)
"""The channel of the request that is served here, where its client shows forms."""

_FORM = {
    "type": "object",
    "properties": {"approve": {"type": "boolean", "title": "Let it run", "default": False}},
    "required": ["approve"],
}


def shows_forms(params: Mapping[str, Any] | None) -> bool:
    """Whether a client says in ``initialize`` that it shows forms."""
    capabilities = (params or {}).get("capabilities")
    said = capabilities.get("elicitation") if isinstance(capabilities, Mapping) else None
    return isinstance(said, Mapping) and (not said or "form" in said)


class ElicitApprover:
    """Asks in the client, and ``otherwise`` where that may not be or cannot be. ``otherwise`` waits in a thread."""

    def __init__(self, otherwise: Approver) -> None:
        self._otherwise = otherwise

    async def __call__(self, request: ApprovalRequest) -> Verdict | bool:
        """Ask, and wait for the answer: only a plain yes to the form lets the call run, as it is shown.

        Raises:
            Unanswered: the client could not be asked.
        """
        channel = asking.get()
        if channel is None or is_grave(request.risk):
            return await self._elsewhere(request)
        question = {"message": _told(request), "requestedSchema": _FORM}
        try:
            answer = await channel.send_raw_request("elicitation/create", question, {"timeout": request.timeout})
        except Exception as error:  # noqa: BLE001 - a client is somebody else's program
            raise Unanswered(f"the client could not be asked: {error}") from None
        content = answer.get("content")
        if answer.get("action") == "accept" and isinstance(content, Mapping) and content.get("approve") is True:
            return Verdict.approve(by=f"the client of {request.session}")
        return Verdict.reject(by=f"the client of {request.session}")

    async def _elsewhere(self, request: ApprovalRequest) -> Verdict | bool:
        """Ask the other approver, and have it take its question back where nobody waits any more."""
        left = threading.Event()

        def ask() -> Any:
            with withdrawn_by(left):
                return self._otherwise(request)

        try:
            verdict: Verdict | bool = await asyncio.to_thread(ask)
        except asyncio.CancelledError:
            left.set()
            raise
        return verdict


def _told(request: ApprovalRequest) -> str:
    rows = card.rows(request, full=True)
    return "\n".join(f"{row.label}: {row.text}" if row.label else row.text for row in rows)
