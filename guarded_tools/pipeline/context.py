"""One call on its way, and its arguments made so that nobody can change them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from guarded_tools.approval.execution import Paused
from guarded_tools.approval.result import ApprovalResult, Spent
from guarded_tools.policy.policy import Policy
from guarded_tools.values import (
    ApprovalRequest,
    Ask,
    Decision,
    Risk,
    ToolCall,
    ToolInfo,
    UnknownIdentity,
    Usage,
    digest,
    widest_memory,
)

_written = json.JSONEncoder(allow_nan=False).encode
# Deeper than any tool's arguments, and far from where whoever shows or keeps them runs out of stack.
_DEEPEST = 100


class CallContext(NamedTuple):
    """One call on its way: what is judged, what the policy says of it, and how it came to that.

    ``policy`` is the one that decided, whatever is in force by now. ``execution`` names its execution where it could
    pause, and ``paused`` is the one that did and now goes on. ``across`` names the rules across calls that ask.
    ``human`` is for how many seconds a human was waited for, and ``away`` for how many of those since ``started``: a
    run that is resumed begins when the human has answered.
    """

    call: ToolCall
    info: ToolInfo
    decision: Decision
    key: str
    started: float
    policy: Policy | None = None
    human: float = 0.0
    away: float = 0.0
    answer: ApprovalResult | None = None
    approval: Mapping[str, Any] | None = None
    execution: str = ""
    paused: Paused | None = None
    across: tuple[str, ...] = ()
    tells: Callable[[Any], Any] | None = None

    @property
    def spent(self) -> Spent | None:
        """The answer that permits it, where that came by resuming a run."""
        return None if self.answer is None else self.answer.spent


def digest_of(call: ToolCall, info: ToolInfo) -> str:
    """Bind server, tool, schema, session, grant and arguments: what a human approves is this, and nothing else."""
    return digest(info.source, call.tool, digest(info.schema), call.session, call.grant, call.args)


def request_from(
    context: CallContext,
    risk: Risk,
    now: float,
    usage: tuple[Usage, ...],
    check_edit: Callable[[Mapping[str, Any]], str] | None,
) -> ApprovalRequest:
    """Put a call before a human, on the policy's terms."""
    call, info, decision = context.call, context.info, context.decision
    terms = decision.ask or Ask()
    return ApprovalRequest(
        tool=call.tool,
        args=call.args,
        session=call.session,
        digest=digest_of(call, info),
        rule=decision.rule,
        reason=decision.message,
        grant=call.grant,
        server=info.source,
        description=info.description,
        risk=risk,
        usage=usage,
        expires_at=now + terms.timeout,
        timeout=terms.timeout,
        remember=widest_memory(risk, terms.remember),
        remember_for=terms.remember_for,
        call_id=call.id,
        definition=digest(info.description, digest(info.schema)),
        check_edit=check_edit,
        across=context.across,
    )


def freeze(call: ToolCall) -> ToolCall:
    """Copy the arguments of a call, so that nobody can change between judging and running what was judged.

    Raises:
        ValueError: nobody knows who it is made for, or the arguments are not JSON or nested too deep, or two spellings
            of one key could be judged apart from what runs.
    """
    if isinstance(call.grant, UnknownIdentity):
        raise ValueError(f"it cannot be told who the agent acts for {call.grant}")  # noqa: TRY004 - a call to refuse
    try:
        text = _written(dict(call.args))
        args = json.loads(text)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the arguments cannot be judged as JSON: {error}") from None
    if text.count("{") + text.count("[") > _DEEPEST and _is_deeper(args, _DEEPEST):
        raise ValueError(f"the arguments are nested deeper than {_DEEPEST} levels")
    if args != call.args:
        raise ValueError("the arguments do not survive being written as JSON: use text keys, lists and plain values")
    return call._replace(args=args)


def _is_deeper(value: Any, levels: int) -> bool:
    layer = [value]
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not layer:
            return False
    return any(isinstance(each, dict | list) for each in layer)


def check_session(session: object) -> str:
    """Refuse an id that is no text: every call of it would be refused, since no line of the audit can hold it.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(session, str):
        raise TypeError(f"session must be a text, not {session!r}: write {str(session)!r}")
    return session
