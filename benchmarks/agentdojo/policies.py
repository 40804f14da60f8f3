"""What a guard is given: nothing, a draft as ``guarded-tools scan`` makes it, and what a reader made of that."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import yaml

from benchmarks.agentdojo.world import World
from guarded_tools import Policy

PolicyName: TypeAlias = Literal["none", "draft", "trifecta", "rule_of_two", "reviewed", "unlisted", "unlabelled"]
POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)

ABOUT: Mapping[PolicyName, str] = {
    "none": "every call is let through",
    "draft": "as `guarded-tools scan` drafts it, untouched: what changes anything asks, or is hidden",
    "trifecta": "one line, `flow: trifecta`, with the risks and labels of the reviewed one and no rule besides",
    "rule_of_two": "the same with the line `flow: rule_of_two`",
    "reviewed": "the draft, read and changed by a person",
    "unlisted": "the reviewed one knowing nobody: its lists of known recipients are empty, so that any recipient asks",
    "unlabelled": "the reviewed one without `labels`, `after`, `needs` and `flow`",
}

FOLDER = Path(__file__).parent / "policies"
_ACROSS = ("labels", "after", "needs")
_KINDS = ("risk", "labels")


@cache
def policy(suite: str, name: PolicyName) -> Policy:
    """Read a policy for a suite."""
    if name == "none":
        return Policy.model_validate({"version": "1", "default": "allow"})
    if name in {"draft", "reviewed"}:
        return Policy.from_file(FOLDER / (f"{suite}.draft.yaml" if name == "draft" else f"{suite}.yaml"))
    document = yaml.safe_load((FOLDER / f"{suite}.yaml").read_text("utf-8"))
    if name == "unlisted":
        document = _without_lists(document)
    elif name == "unlabelled":
        document = _keeping(document, lambda key: key not in _ACROSS)
    else:
        document = {**_keeping(document, lambda key: key in _KINDS), "flow": name}
    return Policy.model_validate(document)


def _keeping(document: Mapping[str, Any], keeps: Callable[[str], bool]) -> dict[str, Any]:
    """The same policy with some keys of its entries alone."""
    entries = {
        tool: {key: value for key, value in entry.items() if keeps(key)} for tool, entry in document["tools"].items()
    }
    return {**{key: value for key, value in document.items() if key != "flow"}, "tools": entries}


def _without_lists(part: Any) -> Any:
    """The same policy where whatever asks of recipients that are not listed asks of every recipient."""
    if isinstance(part, dict):
        if part.get("op") == "not_in":
            return {"path": part["path"], "op": "exists"}
        return {key: _without_lists(value) for key, value in part.items()}
    return [_without_lists(each) for each in part] if isinstance(part, list) else part


def tool_list(suite: str) -> str:
    """A suite's tools as an MCP server lists them: what ``guarded-tools scan --tools`` reads."""
    tools = [
        {
            "name": tool.name,
            "description": tool.description,
            "inputSchema": tool.tool_call_schema.model_json_schema(),  # type: ignore[union-attr]  # models of AgentDojo's
        }
        for tool in World(suite).tools()
    ]
    return json.dumps({"tools": tools}, indent=1) + "\n"
