"""Questions as the values of LangGraph's interrupts, in the forms that front ends of several ages read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from guarded_tools.approvers import card
from guarded_tools.approvers.described import described
from guarded_tools.values import ApprovalRequest, canonical

Form: TypeAlias = Literal["per_call", "batched", "agent_inbox"]
_DECISIONS = ["approve", "edit", "reject", "respond"]
_TEXT = {"type": "string"}


def question(request: ApprovalRequest, form: Form = "per_call") -> dict[str, Any]:
    """Make the value of an interrupt about one call. In Agent Inbox's own form it can be refused there."""
    args = json.loads(canonical(request.args))
    asked = {
        "type": "tool_approval",
        "tool_call_id": request.call_id,
        "name": request.tool,
        "args": args,
        "description": described(request, "Ignore" if form == "agent_inbox" else "reject"),
        "server": request.server,
        "risk": request.risk,
        "rule": request.rule,
        "reason": request.reason,
        "session": request.session,
        "grant": request.grant,
        "remember": request.remember,
        "remember_for": request.remember_for,
        "expires_at": request.expires_at,
        "response_schema": answer_schema(request),
    }
    if form == "agent_inbox":
        may = dict.fromkeys(("allow_accept", "allow_edit", "allow_respond", "allow_ignore"), True)
        return {**asked, "action_request": {"action": request.tool, "args": args}, "config": may}
    return {**asked, "action_requests": [_action(asked)], "review_configs": [_review(asked)]}


def batch(asked: Sequence[Mapping[str, Any]], ids: Sequence[str]) -> dict[str, Any]:
    """Make the value of one interrupt about several calls, of a :func:`question` each, answered in their order."""
    of_each = [_naming(one["response_schema"], name) for one, name in zip(asked, ids, strict=True)]
    size = len(asked)
    decisions = {"type": "array", "prefixItems": of_each, "minItems": size, "maxItems": size}
    return {
        "type": "tool_approvals",
        "action_requests": [
            {**_action(one), "question": name, "tool_call_id": one["tool_call_id"]}
            for one, name in zip(asked, ids, strict=True)
        ],
        "review_configs": [_review(one) for one in asked],
        "expires_at": min(one["expires_at"] for one in asked),
        "response_schema": {"type": "object", "properties": {"decisions": decisions}, "required": ["decisions"]},
    }


def _action(asked: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: asked[name] for name in ("name", "args", "description")}
    return {**shown, "arguments": asked["args"]}


def _review(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {"action_name": asked["name"], "allowed_decisions": _DECISIONS}


def _naming(schema: Mapping[str, Any], question_id: str) -> dict[str, Any]:
    name = {"question": {"const": question_id}}
    return {"oneOf": [{**each, "properties": {**each["properties"], **name}} for each in schema["oneOf"]]}


def answer_schema(request: ApprovalRequest) -> dict[str, Any]:
    """What one answer looks like, as JSON Schema."""
    action = {"name": {"const": request.tool}, "args": {"type": "object"}}
    edited = {"type": "object", "properties": action, "required": ["name", "args"], "additionalProperties": False}
    offers = card.durations(request)
    meaning = "; ".join(f"{kind}: {what}" for kind, what in offers.items())
    durations = {"remember": {"enum": ["once", *offers], "description": meaning}} if offers else {}
    return {
        "oneOf": [
            _decision("approve", durations),
            _decision("edit", {"edited_action": edited}, "edited_action"),
            _decision("reject", {"message": _TEXT}),
            _decision("respond", {"message": _TEXT}, "message"),
        ]
    }


def _decision(kind: str, properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    of_kind = {"type": {"const": kind}, **properties}
    return {"type": "object", "properties": of_kind, "required": ["type", *required], "additionalProperties": False}
