"""The page of the policy in force: what it says of each tool, and what it would make of a call, and why."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from guarded_tools.approvers.card import parse_edit
from guarded_tools.authoring.explanation import ExplainedLine, risk_of, standing_in, told
from guarded_tools.errors import GuardError
from guarded_tools.policy.explain import explain
from guarded_tools.policy.html import table
from guarded_tools.policy.policy import Policy
from guarded_tools.values import ToolCall, ToolInfo
from guarded_tools.web.desk import Desk
from guarded_tools.web.page import page


def show_policy(request: Request) -> Response:
    """Show the policy, and explain the call that the form names. Nothing is counted."""
    desk: Desk = request.app.state.desk
    asked = {name: request.query_params.get(name, "") for name in ("tool", "args", "session", "grant")}
    try:
        policy = desk.told_policy()
    except GuardError as error:
        return page(request, "policy.html", HTTPStatus.OK, table=None, problem=str(error), asked=asked, lines=[])
    lines, problem = [], ""
    if asked["tool"]:
        try:
            lines = _explained(desk, policy, asked)
        except ValueError as error:
            problem = f"The arguments cannot be read: {error}"
    return page(request, "policy.html", table=table(policy), problem=problem, asked=asked, lines=lines)


def _explained(desk: Desk, policy: Policy, asked: dict[str, Any]) -> list[ExplainedLine]:
    args = parse_edit(asked["args"] or "{}")
    info = desk.tools.get(asked["tool"], ToolInfo(asked["tool"]))
    call = ToolCall(asked["tool"], args, asked["session"] or "default", asked["grant"] or None)
    explanation = explain(policy, call, info.schema, risk_of(policy, info))
    return told(call, explanation, standing_in(desk.store(), explanation, call))
