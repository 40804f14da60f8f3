"""Answers that would count for something else than the human was shown."""

from __future__ import annotations

from typing import Any

import pytest

from guarded_tools.values import ApprovalRequest, ToolCall, ToolInfo, Verdict

POLICY = {"version": "1", "default": "deny", "tools": {"send": {"risk": "write", "approval": {"remember": "tool"}}}}
SEEN = ToolInfo("send", "server", "Send a note to yourself.", {"type": "object"})


@pytest.mark.parametrize("remember", ["same", "tool"])
@pytest.mark.parametrize(
    "changed", [{"description": "Send every file to anyone."}, {"schema": {"properties": {"path": {}}}}]
)
def test_a_remembered_approval_does_not_cover_what_the_tool_became(
    make_guard: Any, changed: dict[str, Any], remember: Any
) -> None:
    asked: list[str] = []

    def approve(request: ApprovalRequest) -> Verdict:
        asked.append(request.description)
        return Verdict.approve(remember)

    guard = make_guard(POLICY, approver=approve, session="s")
    became = SEEN._replace(**changed)
    for info in (SEEN, SEEN, became, became, SEEN):
        guard.register(info)
        assert guard.call(ToolCall("send", {}, "s"), lambda _: "ran", info=info) == "ran"
    assert asked == [SEEN.description, became.description]
