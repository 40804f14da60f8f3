"""What a server asks in the middle of a call (MCP's elicitation), put to the human whom the guard asks.

The question comes to the approver as an :class:`ApprovalRequest` whose arguments are the fields of the answer, with
their defaults, so that every approver can show it and every human can answer it: ``approve`` sends the fields as they
are shown, ``edit`` what the human wrote into them, ``respond`` the text of the only field; all else declines.
It is asked under the limits of all questions (so many pending, so many in a time), and nothing of it is remembered.

The call is under way while the human thinks. An approver that answers by returning is asked beside it, from here. One
that suspends the run has to be asked where the call was made, and leaves it: :mod:`~guarded_tools.adapters.held_calls`
keeps the call until the run comes back. Where neither can ask, the question is declined, and the audit says why.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from guarded_tools.adapters.held_calls import HeldCalls, OpenQuestion, attended
from guarded_tools.approval import workflow
from guarded_tools.approval.result import ApprovalResult, refusal
from guarded_tools.approvers.described import SERVER_ASKS
from guarded_tools.approvers.protocol import suspends
from guarded_tools.flow import run
from guarded_tools.policy.document import ApprovalLimits
from guarded_tools.policy.schema_check import misfit
from guarded_tools.text.redaction import mask
from guarded_tools.text.visible import one_line
from guarded_tools.values import ApprovalRequest, AuditEvent, Judged, Verdict, digest, judged_as

if TYPE_CHECKING:
    from guarded_tools.mcp_session.transport import Elicitation
    from guarded_tools.pipeline.gate import Gate

TIMEOUT = 600.0
"""Seconds that a human has for the question of a server, unless told otherwise."""

_UNREACHED = "this run cannot be suspended here, so that nobody can be asked: it takes a graph with a checkpointer"

log = logging.getLogger("guarded_tools.mcp")


class Questions:
    """Answers what servers ask, through a guard's approver. ``timeout``: seconds that a human has."""

    def __init__(self, guard: Gate, timeout: float = TIMEOUT) -> None:
        self._guard = guard
        self._timeout = timeout
        self.calls = HeldCalls(guard)

    async def answer(self, question: Elicitation) -> Mapping[str, Any] | None:
        """Return what to send to the server; ``None`` declines. Runs in the session's loop."""
        judged = judged_as.get()
        if judged is None:
            log.warning("%s asked in a call of %s, which no guard has seen", question.server, one_line(question.tool))
            return None
        # In a thread: neither the human nor the store may hold up the session.
        asked = await asyncio.to_thread(ServerQuestion, self._guard, question, judged, self._timeout)
        if not suspends(self._guard.approver):
            return await asyncio.to_thread(_ask, self._guard, asked)
        held = attended.get()
        if held is None:
            return await asyncio.to_thread(_decline, asked)
        try:
            return await held.ask(asked)
        except TimeoutError:
            late = refusal("timeout", f"nobody answered within {self._timeout:g} seconds")
            await asyncio.to_thread(asked.conclude, late)
            return None


class ServerQuestion(OpenQuestion):
    """One question of a server, as a human is shown it and as the audit tells of it."""

    def __init__(self, guard: Gate, question: Elicitation, judged: Judged, timeout: float) -> None:
        fields = question.schema.get("properties") or {}
        self._guard = guard
        self._schema = question.schema
        self._fields = {name: field if isinstance(field, Mapping) else {} for name, field in fields.items()}
        self._shown = {name: field.get("default") for name, field in self._fields.items()}
        self._key = os.urandom(8).hex()
        self._message = mask(question.message)
        super().__init__(self._request(question, judged, timeout))

    def _request(self, question: Elicitation, judged: Judged, timeout: float) -> ApprovalRequest:
        call, info = judged
        about = (dict(self._schema), call.session, call.grant, call.args)
        return ApprovalRequest(
            tool=f"{call.tool} (asks back)",
            args=self._shown,
            session=call.session,
            digest=digest(info.server, call.tool, "asks", self._message, *about),
            rule=SERVER_ASKS,
            reason=f"{question.server} asks: {self._message}",
            grant=call.grant,
            server=info.server,
            description=self._described(),
            risk=self._guard.risk_of(info, call.grant),
            expires_at=time.time() + timeout,
            timeout=timeout,
            call_id=call.id,
            check_edit=lambda args: misfit(self._schema, dict(args)) or "",
        )

    def _described(self) -> str:
        """Say what a field takes: a human who writes the answer sees no form."""
        required = self._schema.get("required") or ()
        told = []
        for name, field in self._fields.items():
            kind = f"one of {json.dumps(field['enum'], ensure_ascii=False)}" if "enum" in field else field.get("type")
            what = f"{name}: {kind or 'anything'}{', required' if name in required else ''}"
            said = field.get("description") or field.get("title")
            told.append(one_line(mask(f"{what} ({said})" if isinstance(said, str) else what)))
        first = "The server asks this while the tool runs. Approve sends these values to it."
        return f"{first} Fields: {'; '.join(told)}" if told else first

    def announce(self) -> None:
        """Write down that the question is put to somebody.

        Raises:
            AuditError: it could not be written.
        """
        self._guard.audit.write(self._event("asked", self._message))

    def conclude(self, answer: ApprovalResult) -> dict[str, Any] | None:
        """Return what an answer sends to the server, ``None`` where it declines, and write that down.

        Raises:
            AuditError: it could not be written.
        """
        content = self._content(answer.verdict) if answer.cause == "human" else None
        why = answer.detail
        if content is not None and (unfit := misfit(self._schema, dict(content))):
            content, why = None, f"the answer does not fit what is asked: {unfit}"
        verdict = answer.verdict
        said = {"verdict": verdict.kind, "cause": answer.cause, "by": verdict.by, "sent": content is not None}
        told = self._event("answered", mask(why))
        self._guard.audit.write(told._replace(approval=said, human_ms=answer.waited * 1000))
        return content

    def _content(self, verdict: Verdict) -> dict[str, Any] | None:
        """Return what a human wants to be sent; ``None`` declines."""
        if verdict.kind == "approve":
            return {name: value for name, value in self._shown.items() if value is not None}
        if verdict.kind == "edit":
            return {name: value for name, value in (verdict.args or {}).items() if value is not None}
        if verdict.kind == "respond" and len(self._fields) == 1:
            return dict.fromkeys(self._fields, verdict.message)
        return None

    def _event(self, kind: Literal["asked", "answered"], message: str) -> AuditEvent:
        request = self.request
        return AuditEvent(
            kind, request.tool.removesuffix(" (asks back)"), request.session, self._key,
            rule=SERVER_ASKS, message=message, grant=request.grant, server=request.server, call_id=request.call_id,
            args=tuple(sorted(map(str, self._fields))),
        )  # fmt: skip


def _ask(guard: Gate, asked: ServerQuestion) -> Mapping[str, Any] | None:
    """Ask an approver that answers by returning, and wait for it."""
    asked.announce()
    return asked.conclude(
        run(workflow.ask(asked.request, store=guard.store, approver=guard.approver, limits=ApprovalLimits()))
    )


def _decline(asked: ServerQuestion) -> None:
    asked.announce()
    asked.conclude(refusal("unavailable", _UNREACHED))
