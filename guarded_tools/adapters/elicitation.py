"""What a server asks in the middle of a call (MCP's elicitation), put to the human whom the guard asks.

The question comes to the approver as an :class:`ApprovalRequest` whose arguments are the fields of the answer, with
their defaults, so that every approver can show it and every human can answer it: ``approve`` sends the fields as they
are shown, ``edit`` what the human wrote into them, ``respond`` the text of the only field; all else declines.
It is asked under the limits of all questions (so many pending, so many in a time), and nothing of it is remembered.

The call is under way while the human thinks. An approver that suspends the run would leave it, and the run would call
the tool a second time when it comes back, so nobody is asked there: the question is declined.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from guarded_tools.approval import workflow
from guarded_tools.approvers.protocol import suspends
from guarded_tools.flow import run
from guarded_tools.policy.document import ApprovalLimits
from guarded_tools.policy.schema_check import misfit
from guarded_tools.text.redaction import mask
from guarded_tools.text.visible import one_line
from guarded_tools.values import ApprovalRequest, AuditEvent, Judged, Verdict, digest, judged_as

if TYPE_CHECKING:
    from guarded_tools.mcp_session.transport import Elicitation, OnQuestion
    from guarded_tools.pipeline.gate import Gate

RULE = "(elicitation)"
TIMEOUT = 600.0
"""Seconds that a human has for the question of a server."""

log = logging.getLogger("guarded_tools.mcp")


def answer_questions(guard: Gate) -> OnQuestion:
    """Return what answers the questions of a server through the guard's approver."""

    async def answer(question: Elicitation) -> Mapping[str, Any] | None:
        judged = judged_as.get()
        if judged is None or suspends(guard.approver):
            log.warning("%s asked in a call of %s, where nobody can be asked", question.server, one_line(question.tool))
            return None
        # In a thread: neither the human nor the store may hold up the session.
        return await asyncio.to_thread(_ask, guard, question, judged)

    return answer


def _ask(guard: Gate, question: Elicitation, judged: Judged) -> Mapping[str, Any] | None:
    call, info = judged
    fields = question.schema.get("properties") or {}
    shown = {name: field.get("default") if isinstance(field, Mapping) else None for name, field in fields.items()}
    message = mask(question.message)
    request = ApprovalRequest(
        tool=f"{call.tool} (asks back)",
        args=shown,
        session=call.session,
        digest=digest(
            info.server, call.tool, "asks", message, dict(question.schema), call.session, call.grant, call.args
        ),
        rule=RULE,
        reason=f"{question.server} asks: {message}",
        grant=call.grant,
        server=info.server,
        description="The server asks this while the tool runs. Approve sends these values to it.",
        risk=guard.risk_of(info, call.grant),
        expires_at=time.time() + TIMEOUT,
        timeout=TIMEOUT,
        call_id=call.id,
        check_edit=lambda args: misfit(question.schema, dict(args)) or "",
    )
    told = AuditEvent(
        "asked", call.tool, call.session, os.urandom(8).hex(), rule=RULE, message=message, grant=call.grant,
        server=info.server, call_id=call.id, args=tuple(sorted(map(str, fields))),
    )  # fmt: skip
    guard.audit.write(told)
    answer = run(workflow.ask(request, store=guard.store, approver=guard.approver, limits=ApprovalLimits()))
    content = _content(answer.verdict, shown, fields) if answer.cause == "human" else None
    why = answer.detail
    if content is not None and (unfit := misfit(question.schema, dict(content))):
        content, why = None, f"the answer does not fit what is asked: {unfit}"
    said = {"verdict": answer.verdict.kind, "cause": answer.cause, "by": answer.verdict.by, "sent": content is not None}
    guard.audit.write(told._replace(kind="answered", message=mask(why), approval=said, human_ms=answer.waited * 1000))
    return content


def _content(verdict: Verdict, shown: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a human wants to be sent; ``None`` declines."""
    if verdict.kind == "approve":
        return {name: value for name, value in shown.items() if value is not None}
    if verdict.kind == "edit":
        return {name: value for name, value in (verdict.args or {}).items() if value is not None}
    if verdict.kind == "respond" and len(fields) == 1:
        return dict.fromkeys(fields, verdict.message)
    return None
