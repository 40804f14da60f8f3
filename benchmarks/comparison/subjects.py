"""The subjects: each tries to send messages in one session, held by its own limit of so many.

``python -m benchmarks.comparison.subjects SUBJECT FOLDER LIMIT TRIES``; a negative number is of calls past the agent.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool

SUBJECTS: Final = {"langchain": "langchain", "belay": "agentbelay", "guarded_tools": "guarded_tools"}
"""The subjects, and the package that each needs."""


def sending(folder: Path) -> Callable[[str], str]:
    """Make the tool's function, which leaves a byte for each message."""

    def send(to: str) -> str:
        """Send a message."""
        with (folder / "sent").open("ab", buffering=0) as log:
            log.write(b".")
        return f"sent to {to}"

    return send


def in_an_agent(tool: BaseTool, tries: int, saver: Any, middleware: list[Any]) -> None:
    """Have an agent, played by a scripted chat model, call the tool, one call a message, in the session ``s``."""
    from langchain.agents import create_agent

    from guarded_tools.testing import Call, ScriptedModel

    def script() -> Iterator[list[Call]]:
        for number in range(tries):
            yield [(tool.name, {"to": f"{number}"})]

    agent = create_agent(ScriptedModel(script), [tool], middleware=middleware, checkpointer=saver)
    config: RunnableConfig = {"configurable": {"thread_id": "s"}, "recursion_limit": 8 * tries + 20}
    agent.invoke({"messages": [HumanMessage("Send them")]}, config)


def langchain(folder: Path, limit: int, tries: int) -> None:
    """LangChain's ToolCallLimitMiddleware, with its counts in checkpoints on disk."""
    from langchain.agents.middleware import ToolCallLimitMiddleware
    from langgraph.checkpoint.sqlite import SqliteSaver

    tool = StructuredTool.from_function(sending(folder), name="send")
    limiter: Any = ToolCallLimitMiddleware(thread_limit=limit)
    if tries < 0:
        for number in range(-tries):
            tool.invoke({"to": f"{number}"})
        return
    with SqliteSaver.from_conn_string(str(folder / "checkpoints.db")) as saver:
        in_an_agent(tool, tries, saver, [limiter])


def belay(folder: Path, limit: int, tries: int) -> None:
    """Belay's Python API, in the loop that its README shows."""
    import agentbelay  # type: ignore[import-not-found,unused-ignore]

    policy = folder / "belay.yaml"
    rule = f"{{id: sends, action: deny, match: {{tool: send}}, limit: {{max: {limit}, per: 1h}}}}"
    policy.write_text(f"version: 1\nname: compared\ndefault: allow\nrules:\n  - {rule}\n", encoding="utf-8")
    guard = agentbelay.Guard.from_file(str(policy), session="s")
    send = sending(folder)
    for number in range(abs(tries)):
        decision = guard.check("send", {"to": f"{number}"})
        if decision.allowed:
            send(f"{number}")
            guard.record(decision, ok=True)


def guarded_tools(folder: Path, limit: int, tries: int) -> None:
    """This library, with its state on disk, around the tool and in the agent."""
    from langgraph.checkpoint.memory import InMemorySaver

    from guarded_tools import Guard, Policy

    limits = [{"counter": "sends", "window": "hour", "max": limit, "scope": "session"}]
    policy = Policy.model_validate({"version": "1", "default": "deny", "tools": {"send": {"limits": limits}}})
    guard = Guard(policy, state=folder / "state", session="s")
    (tool,) = guard.wrap([StructuredTool.from_function(sending(folder), name="send")])
    if tries < 0:
        for number in range(-tries):
            tool.invoke({"to": f"{number}"})
    else:
        in_an_agent(tool, tries, InMemorySaver(), [guard.middleware()])
    guard.close()


if __name__ == "__main__":
    subject: Callable[[Path, int, int], None] = globals()[sys.argv[1]]
    subject(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
