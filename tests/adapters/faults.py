"""A server that fails in every way it can, what is to be made of each, and what reached it."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool

from guarded_tools.adapters.notes import UNCERTAIN
from guarded_tools.guard import Guard
from tests.faulty_sandbox import COMMAND

T = {"templateId": "none"}
PDF = {"templateId": "none", "variableSets": [{}]}
# tool, its arguments, the fault it runs into, the outcome, and whether the model is told that it is open
CASES: list[tuple[str, dict[str, Any], str, str, bool]] = [
    ("pictify_list_templates", {}, "", "ok", False),
    ("pictify_get_template", T, "", "never_ran", False),  # a 404 of its own, and the policy takes the server's word
    ("pictify_create_image", {"html": "<p>"}, "4xx", "error", False),
    ("pictify_create_template", {"name": "n", "html": "<p>"}, "422", "error", False),
    ("pictify_capture_gif", {"url": "https://a.test"}, "429", "error", False),
    ("pictify_create_gif", {"html": "<p>"}, "5xx", "unknown", True),
    ("pictify_list_images", {}, "500", "unknown", False),  # reading again does no harm
    ("pictify_render_pdf", T, "408", "unknown", True),
    ("pictify_list_gifs", {}, "malformed", "unknown", False),
    ("pictify_create_canvas_image", {"fabricJSData": {"objects": []}}, "malformed", "unknown", True),
    ("pictify_start_experiment", {"experimentId": "none"}, "hang", "unknown", True),
    ("pictify_list_experiments", {}, "hang-after", "unknown", False),
    ("pictify_render_multi_page_pdf", PDF, "die-before", "unknown", True),
    ("pictify_get_experiment_quota", {}, "die-after", "unknown", False),
]
FAULTS = [f"--fault={tool}={fault}" for tool, _, fault, *_ in CASES if fault]
LIMIT = {"counter": "calls", "window": "hour", "max": 5, "scope": "session"}
POLICY = {
    "version": "1",
    "default": "deny",
    "server": "pictify",
    "tools": {
        tool: {
            "limits": [LIMIT],
            "risk": "read" if tool.startswith(("pictify_list", "pictify_get")) else "write",
            "refunds": "reported" if tool == "pictify_get_template" else "certain",
        }
        for tool, *_ in CASES
    },
}


class Log:
    """What reached the upstream, as it noted itself."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, tool: str) -> list[str]:
        lines = map(json.loads, self.path.read_text().splitlines()) if self.path.exists() else ()
        return [line["state"] for line in lines if line["tool"] == tool]

    async def until(self, tool: str, state: str) -> None:
        async with asyncio.timeout(10):
            while state not in self(tool):  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.01)


def command_of(log: Log) -> tuple[str, ...]:
    """What starts the server."""
    return (sys.executable, *COMMAND[1:], "--log", str(log.path), *FAULTS)


def call(tool: str, args: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_call", "id": f"call-{tool}", "name": tool, "args": args}


def text(answer: Any) -> str:
    return answer if isinstance(answer, str) else json.dumps(getattr(answer, "content", answer))


def check(guard: Guard, log: Log, events: list[Any], case: tuple[Any, ...], answer: str) -> None:
    tool, _, _, outcome, told = case
    assert [event.outcome for event in events if event.tool == tool and event.kind == "settled"] == [outcome], tool
    kept = [usage.used for usage in guard.usage() if f"/{tool}/" in usage.counter]
    assert sum(kept) == (outcome != "never_ran"), tool
    if outcome == "never_ran":
        assert "completed" not in log(tool)
    assert (UNCERTAIN in answer) is told, (tool, answer)
    assert "arrived" in log(tool)


def named(tools: list[BaseTool], name: str) -> BaseTool:
    return next(tool for tool in tools if tool.name == name)
