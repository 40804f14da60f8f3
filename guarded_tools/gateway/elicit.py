"""Asks in the client itself, by MCP's elicitation: where a call waits, its own client shows the question.

Whoever runs a client can answer for its human, and a program may. So a call that moves money or destroys goes to
another approver unless its policy says otherwise, and so does one of a client that shows no forms. The question goes
out on the channel of the very call that waits, and is recorded first. On protocol 2026-07-28 no server may ask so:
:mod:`~guarded_tools.gateway.rounds`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from mcp_types import CLIENT_CAPABILITIES_META_KEY

from guarded_tools.approvers import card
from guarded_tools.approvers.protocol import Approver, Unanswered, withdrawn_by
from guarded_tools.values import ApprovalRequest, Verdict

asking: ContextVar[Any] = ContextVar("guarded_tools_gateway_asking", default=None)
"""The channel of the request that is served here, where its client shows forms and may be asked about it."""

_FORM = {
    "type": "object",
    "properties": {"approve": {"type": "boolean", "title": "Let it run", "default": False}},
    "required": ["approve"],
}


def shows_forms(params: Mapping[str, Any] | None) -> bool:
    """Whether a client says that it shows forms: in ``initialize``, or on 2026-07-28 with each request."""
    meta = (params or {}).get("_meta")
    said = meta.get(CLIENT_CAPABILITIES_META_KEY) if isinstance(meta, Mapping) else None
    capabilities = (params or {}).get("capabilities") if said is None else said
    forms = capabilities.get("elicitation") if isinstance(capabilities, Mapping) else None
    return isinstance(forms, Mapping) and (not forms or "form" in forms)


def form(request: ApprovalRequest) -> dict[str, Any]:
    """Make a form of a question."""
    rows = card.rows(request, full=True)
    told = "\n".join(f"{row.label}: {row.text}" if row.label else row.text for row in rows)
    return {"message": told, "requestedSchema": _FORM}


def verdict_of(answer: object, request: ApprovalRequest) -> Verdict:
    """Read what a client answered to it: only a plain yes lets the call run, as it is shown."""
    content = answer.get("content") if isinstance(answer, Mapping) and answer.get("action") == "accept" else None
    by = f"the client of {request.session}"
    if isinstance(content, Mapping) and content.get("approve") is True:
        return Verdict.approve(by=by)
    return Verdict.reject(by=by)


class ElicitApprover:
    """Asks in the client, and ``otherwise`` where there is no ``asking``. ``otherwise`` waits in a thread."""

    def __init__(self, otherwise: Approver) -> None:
        self._otherwise = otherwise

    async def __call__(self, request: ApprovalRequest) -> Verdict | bool:
        """Ask, and wait for the answer: only a plain yes to the form lets the call run, as it is shown.

        Raises:
            Unanswered: the client could not be asked.
        """
        channel = asking.get()
        if channel is None:
            return await self._elsewhere(request)
        try:
            answer = await channel.send_raw_request("elicitation/create", form(request), {"timeout": request.timeout})
        except Exception as error:  # noqa: BLE001 - a client is somebody else's program
            raise Unanswered(f"the client could not be asked: {error}") from None
        return verdict_of(answer, request)

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
