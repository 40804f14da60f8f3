"""Values of arguments do not leave by way of errors: neither into the audit nor to the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import tool

from guarded_tools.mcp_session import HttpServer, StdioServer
from guarded_tools.policy import Policy, decide
from guarded_tools.text.redaction import mask
from guarded_tools.values import ToolCall, Verdict


@tool
def pay(amount: int) -> str:
    """Pay."""
    return "ran"


def test_an_edit_that_the_tool_refuses_is_not_quoted(make_guard: Any, tmp_path: Path) -> None:
    policy = {"version": "1", "default": "deny", "tools": {"pay": {"approval": {}}}}
    guard = make_guard(policy, approver=lambda _: Verdict.edit({"amount": "born on 1 May 1970"}))
    (guarded,) = guard.wrap([pay])
    said = guarded.invoke({"amount": 1})
    assert "DENIED" in said
    assert "Input should be a valid integer, unable to parse string as an integer at amount" in said
    assert "1970" not in said + (tmp_path / "audit.jsonl").read_text()


@pytest.mark.parametrize("name", ["password", "token", "secret", "api_key", "Authorization", "signature"])
def test_what_is_wrong_with_a_secret_is_told_though_what_stands_behind_its_name_is_masked(name: str) -> None:
    policy = Policy.model_validate({"version": "1", "default": "allow"})
    schema = {"properties": {name: {"minLength": 8}}, "required": [name]}
    wrong = decide(policy, ToolCall("login", {name: "hunter2"}), schema)
    assert mask(wrong.message) == f"minLength 8 at /{name}"
    missing = decide(policy, ToolCall("login", {}), schema)
    assert mask(missing.message) == f'required "{name}" at /'


def test_a_server_shows_no_key_in_whatever_prints_it() -> None:
    over_http = HttpServer("https://user:hunter2@example.com/mcp?api_key=hunter2", {"Authorization": "Bearer hunter2"})
    started = StdioServer("npx", ("server", "--token", "hunter2"), {"KEY": "hunter2"})
    assert "hunter2" not in f"{over_http!r} {started!r}"
