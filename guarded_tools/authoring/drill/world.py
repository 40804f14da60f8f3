"""A world to attack: stub tools behind the guard that is drilled, a clock in our hands, a human who follows a rule.

Nothing in it is contacted. A body notes that it ran, and with what, and answers a text that a pattern may have chosen.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from langchain_core.tools import BaseTool, StructuredTool

from guarded_tools.authoring.drill.values import Answer, Asking, Human, Target, Tried
from guarded_tools.values import ToolInfo

START: Final = 1_800_000_000.0 - 1_800_000_000.0 % 86_400 + 43_200 + 420
"""Some noon and seven minutes, UTC: no edge of a window is near."""

AGENT: Final = "agent"


class Reply(NamedTuple):
    """What a guard made of a call, as far as it tells: ``ran`` only where the bodies are not our own stubs."""

    text: str = ""
    rule: str = ""
    limited: bool = False
    ran: bool | None = None


class Caller(Protocol):
    """The tools of one world, guarded: makes one call and comes back with what became of it."""

    def __call__(self, tool: str, args: Mapping[str, Any], session: str, call_id: str) -> Reply:
        """Make a call in a session. It does not raise."""
        ...


class Setting(NamedTuple):
    """What a guard is made in: the stub tools, who answers its questions, and what time it is."""

    tools: list[BaseTool]
    ask: Callable[[Asking], Answer]
    clock: Callable[[], float]
    store: str | None = None


class Subject(Protocol):
    """A guard that can be drilled."""

    def open(self, setting: Setting) -> Caller:
        """Put the guard in front of the tools, with nothing counted yet."""
        ...


def refuses(_: Asking) -> Answer:
    """Reject whatever is asked: what ran, ran unasked."""
    return "reject"


def approves(_: Asking) -> Answer:
    """Approve whatever is asked, as the tired do."""
    return "approve"


def always(_: Asking) -> Answer:
    """Approve whatever is asked, and for as long and as much as may be remembered."""
    return "always"


class World:
    """Some tools behind a guard of their own, from the first call on.

    ``answers`` are what bodies answer, by tool; without one a body says that it is done. ``failing`` has every body
    raise.
    """

    def __init__(self, subject: Subject, targets: Iterable[Target], human: Human, store: str | None = None) -> None:
        self.now = START
        self.human = human
        self.asked: list[Asking] = []
        self.ran: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, str] = {}
        self.failing = False
        self.calls = 0
        self.unasked = 0
        self.rules: Counter[str] = Counter()
        self._subject = subject
        self._tools = [self.stub(target.info) for target in targets]
        self._store = store
        self._caller = self._open()

    def _open(self) -> Caller:
        return self._subject.open(Setting(self._tools, self._ask, lambda: self.now, self._store))

    def restart(self) -> None:
        """Begin a new process, as far as the guard can tell; what it kept on disk is there."""
        self._caller = self._open()

    def offer(self, infos: Iterable[ToolInfo]) -> None:
        """Have the server list these tools, in place of those it listed before, to the same guard."""
        self._tools = [self.stub(info) for info in infos]
        relist = getattr(self._caller, "relist", None)
        self._caller = self._open() if relist is None else relist(self._tools)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def call(self, tool: str, args: Mapping[str, Any], session: str = AGENT, call_id: str = "") -> Tried:
        """Make one call and say what became of it."""
        self.calls += 1
        ran, asked = len(self.ran), len(self.asked)
        reply = self._caller(tool, args, session, call_id or f"call-{self.calls}")
        reached = len(self.ran) > ran if reply.ran is None else reply.ran
        given = self.ran[-1][1] if reached and reply.ran is None else args
        made = Tried(tool, reached, len(self.asked) > asked, given, reply.text, reply.rule, reply.limited)
        self.unasked += made.unasked
        if not reached:
            self.rules[reply.rule] += 1
        return made

    def _ask(self, question: Asking) -> Answer:
        self.asked.append(question)
        return self.human(question)

    def stub(self, info: ToolInfo) -> BaseTool:
        """Make the tool, with a body that notes what it was called with and touches nothing."""

        def body(**given: Any) -> str:
            self.ran.append((info.name, copy.copy(given)))
            if self.failing:
                raise RuntimeError("the server failed")
            return self.answers.get(info.name, "done")

        async def abody(**given: Any) -> str:
            return body(**given)

        # What an MCP adapter of this package tells the guard: whose tool it is, its risk, the schema that was listed.
        vars(abody)["__mcp__"] = (info.name, info.server, info.risk, "", "", info.schema)
        shown = dict(info.schema) if info.schema and isinstance(info.schema.get("properties"), Mapping) else {}
        return StructuredTool(
            name=info.name,
            description=info.description,
            args_schema={"type": "object", "properties": {}, **shown},
            func=body,
            coroutine=abody,
        )
