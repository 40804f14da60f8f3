"""The drill against LangChain's own middlewares, beside the preset: ``python -m benchmarks.drill`` writes ``drill.md``.

Theirs are ``HumanInTheLoopMiddleware`` for whatever does more than read, and ``ToolCallLimitMiddleware`` with a hundred
calls a thread, in a real ``create_agent`` with a model that makes the one call it is told to. Both guards have the same
nine tools of Pictify before them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware, ToolCallLimitMiddleware
from langchain_core.messages import BaseMessage
from langchain_core.tools import BaseTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import PrivateAttr

from guarded_tools.authoring.drill.course import pinned, targets_of
from guarded_tools.authoring.drill.run import Drilled, drill
from guarded_tools.authoring.drill.subjects import Foreign, GuardedPolicy
from guarded_tools.authoring.drill.values import Answer, Asking, PatternResult
from guarded_tools.pictify.catalogue import catalogue, risk_of
from guarded_tools.policy.policy import load_policy
from guarded_tools.testing import Call, ScriptedModel
from guarded_tools.values import ToolInfo

RESULTS = Path(__file__).with_suffix(".md")
TOOLS = (
    "list_templates", "get_template", "get_experiment", "capture_gif", "create_template", "start_experiment",
    "batch_render", "track_experiment_events", "delete_template",
)  # fmt: skip
LIMIT = 100
ABOUT = f"""One run of `python -m benchmarks.drill`: nine tools of Pictify behind the preset `supervised`, and behind
LangChain's `HumanInTheLoopMiddleware` (asks about all that does more than read) with `ToolCallLimitMiddleware`
({LIMIT} calls a thread). What each pattern does says [its page](../docs/drill.md).

How to read it: theirs promise less, a question and a number of calls for the life of a thread, without time, arguments
or identities. The {LIMIT} calls are our choice: they hold the loops, and end a working day of 480 calls in one thread
after a fifth, which is the 20% and with it most of the grade. A thousand would let the day through. `restart` passes
because their counts are in the checkpoint, and the checkpointer here keeps that in memory. `-`: the pattern does not
apply, or cannot be expressed for a guard of which the policy is not known."""


class OneCall(ScriptedModel):
    """Answers a human with the one call that it was told to make, and anything else with thanks."""

    _call: Call = PrivateAttr(default=("", {}))

    def __init__(self) -> None:
        super().__init__([])

    def tell(self, call: Call) -> None:
        """Make this call next."""
        self._call = call

    def _turn(self, made: int, messages: list[BaseMessage]) -> list[Call] | None:
        del made
        return [self._call] if messages[-1].type == "human" else None


def langchain_guard(tools: list[BaseTool], ask: Callable[[Asking], Answer]) -> Callable[..., str]:
    """LangChain's middlewares in front of the tools; makes one call in the thread of a session."""
    model = OneCall()
    asked = {tool.name: True for tool in tools if risk_of(tool.name) != "read"}
    limit: Any = ToolCallLimitMiddleware(thread_limit=LIMIT)
    human: Any = HumanInTheLoopMiddleware(interrupt_on=dict(asked))
    agent: Any = create_agent(model, tools, middleware=[limit, human], checkpointer=InMemorySaver())

    def call(name: str, args: Mapping[str, Any], session: str) -> str:
        model.tell((name, args))
        config = {"configurable": {"thread_id": session}}
        state = agent.invoke({"messages": [("user", "go on")]}, config)
        while state.get("__interrupt__"):
            decisions = [
                {"type": "reject"} if ask(Asking(wanted["name"], wanted["args"])) == "reject" else {"type": "approve"}
                for wanted in state["__interrupt__"][0].value["action_requests"]
            ]
            state = agent.invoke(Command(resume={"decisions": decisions}), config)
        return str(state["messages"][-2].content)

    return call


def main() -> None:
    """Drill both and write the table."""
    infos: list[tuple[ToolInfo, Mapping[str, Any]]] = [
        (info, {}) for name, info in catalogue().items() if name.removeprefix("pictify_") in TOOLS
    ]
    policy = load_policy("supervised")
    targets = targets_of(infos, policy, risk_of)
    ours = drill(GuardedPolicy(policy, pinned(targets)), targets, policy)
    theirs = drill(Foreign("langchain", langchain_guard), targets_of(infos, None, risk_of), told=print)
    RESULTS.write_text(page(ours, theirs), encoding="utf-8")


def page(ours: Drilled, theirs: Drilled) -> str:
    """The table, with what it says of itself."""
    rows = [
        f"| `{one.pattern.name}` | {_said(one)} | {_said(other)} |"
        for one, other in zip(ours.findings, theirs.findings, strict=True)
    ]
    grades = [f"{each.grade.letter} ({each.grade.held} of {each.grade.attacks})" for each in (ours, theirs)]
    return "\n".join(
        [
            "# The drill, side by side",
            "",
            ABOUT,
            "",
            "| pattern | guarded_tools, `supervised` | LangChain, human in the loop and call limit |",
            "|---|---|---|",
            *rows,
            f"| plausible use | {ours.grade.benign:.0%} | {theirs.grade.benign:.0%} |",
            f"| **grade** | **{grades[0]}** | **{grades[1]}** |",
            "",
        ]
    )


def _said(finding: PatternResult) -> str:
    if not finding.applies:
        return f"- ({finding.seen.note})" if finding.seen.note.startswith("cannot") else "-"
    ran = f"{finding.ran:,} ran, {finding.unasked:,} unasked"
    return f"held, {ran}" if finding.held else f"**passed**: {finding.seen.breaches[0].said}; {ran}"


if __name__ == "__main__":
    main()
