"""One call on its way, and its arguments made so that nobody can change them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from guarded_tools.approval.result import ApprovalResult
from guarded_tools.policy.policy import Policy
from guarded_tools.values import Decision, ToolCall, ToolInfo, UnknownIdentity

_written = json.JSONEncoder(allow_nan=False).encode
# Deeper than any tool's arguments, and far from where whoever shows or keeps them runs out of stack.
_DEEPEST = 100


class CallContext(NamedTuple):
    """One call on its way: what is judged, what the policy says of it, and how it came to that.

    ``policy`` is the one that decided, whatever is in force by now.
    """

    call: ToolCall
    info: ToolInfo
    decision: Decision
    key: str
    started: float
    policy: Policy | None = None
    human: float = 0.0
    answer: ApprovalResult | None = None
    approval: Mapping[str, Any] | None = None


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
