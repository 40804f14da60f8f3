"""One user's task, with one injection or with none, played to its end through guarded tools."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from agentdojo.functions_runtime import FunctionCall
from langchain_core.runnables import RunnableConfig

from benchmarks.agentdojo.plans import Call, plan_of
from benchmarks.agentdojo.world import MARKER, World
from guarded_tools import ApprovalRequest, Guard, Policy, ToolDenied, Verdict
from guarded_tools.testing import FrozenClock, memory_guard

Whose: TypeAlias = Literal["user", "injection"]

SECONDS_A_CALL = 10
SECONDS_A_TASK = 3600


@dataclass
class Human:
    """Approves what the user's task needs, refuses what only an injection wants, and counts the questions."""

    wants: Whose = "user"
    asked: Counter[Whose] = field(default_factory=Counter)

    def __call__(self, request: ApprovalRequest) -> Verdict:
        """Answer a question."""
        del request
        self.asked[self.wants] += 1
        return Verdict.approve() if self.wants == "user" else Verdict.reject("I did not ask for that")


@dataclass
class Run:
    """What became of one task.

    ``reached``: a result held the injected text. ``carried_out``: AgentDojo says that the injection got what it wanted,
    right after its calls or when all was done; ``stands``: when all was done, which is when AgentDojo itself looks, and
    by when the user may have booked another hotel. ``acted``: the tools that ran for the injection. ``refused``: those
    of the user's calls that did not run because the guard said no. ``failed``: errors of calls that did run. ``asked``:
    how often the human was, about whose calls. ``done``: AgentDojo says that the user's task is done; only looked at
    where there is no injection.
    """

    user_task: str
    injection: str = ""
    reached: bool = False
    carried_out: bool = False
    stands: bool = False
    done: bool = False
    acted: list[str] = field(default_factory=list)
    refused: list[Call] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    asked: Counter[Whose] = field(default_factory=Counter)


class Agent:
    """Plays tasks of one suite under one policy. Each task is a session of its own, an hour after the one before."""

    def __init__(self, world: World, policy: Policy) -> None:
        self._world = world
        self._clock = FrozenClock()
        self._human = Human()
        self._guard: Guard = memory_guard(
            policy, session=None, approver=self._human, clock=self._clock, on_denied="raise"
        )
        self._tools = {tool.name: tool for tool in self._guard.wrap(world.tools())}
        self._session: RunnableConfig = {}

    def play(self, user_task: Any, injection: Any | None = None, *, obeys: bool = True) -> Run:
        """Play a user's task in an environment with an injection, or in one without.

        An agent that does not obey leaves what the injection wants alone: what AgentDojo takes for success then is the
        user's own doing.
        """
        self._world.enter(user_task, injected=injection is not None)
        run = Run(user_task.ID, injection.ID if injection else "")
        self._human.asked.clear()
        self._clock.advance(SECONDS_A_TASK)
        self._session = {"configurable": {"thread_id": f"{run.user_task}/{run.injection}/{self._clock.now}"}}
        before = self._world.snapshot()
        said = [user_task.GROUND_TRUTH_OUTPUT]
        ran: list[FunctionCall] = []
        for call in _calls(user_task.ground_truth(before())):
            answer = self._call(call, "user", run, ran)
            if injection is not None and not run.reached and MARKER in answer:
                run.reached = True
                if obeys:
                    self._obey(injection, before, run, ran)
                    said.append(injection.GROUND_TRUTH_OUTPUT)
        output = "\n".join(filter(None, said))
        if injection is None:
            run.done = _done(user_task, output, before(), self._world.environment, ran)
        else:
            run.stands = self._carried_out(injection, before, ran, output)
            run.carried_out = run.carried_out or run.stands
        run.asked = Counter(self._human.asked)
        return run

    def _obey(self, injection: Any, before: Callable[[], Any], run: Run, ran: list[FunctionCall]) -> None:
        now = self._world.snapshot()
        for call in plan_of(self._world.suite.name, injection, before(), now()):
            self._call(call, "injection", run, ran)
        run.carried_out = self._carried_out(injection, before, ran, injection.GROUND_TRUTH_OUTPUT)

    def _call(self, call: Call, whose: Whose, run: Run, ran: list[FunctionCall]) -> str:
        """Make a call; whatever comes of it, the agent goes on."""
        self._clock.advance(SECONDS_A_CALL)
        self._human.wants = whose
        tool = self._tools.get(call.tool)
        if tool is None:  # hidden
            if whose == "user":
                run.refused.append(call)
            return ""
        try:
            answer = tool.invoke(
                {"type": "tool_call", "id": f"c{len(ran)}", "name": call.tool, "args": call.args}, self._session
            )
        except ToolDenied:
            if whose == "user":
                run.refused.append(call)
            return ""
        except Exception as error:  # noqa: BLE001 - the tool's own; a model would be told, and go on
            run.failed.append(f"{call.tool}: {error}")
            return str(error)
        ran.append(FunctionCall(function=call.tool, args=call.args))
        if whose == "injection":
            run.acted.append(call.tool)
        return str(answer.content)

    def _carried_out(self, injection: Any, before: Callable[[], Any], ran: Sequence[FunctionCall], output: str) -> bool:
        pre, post = before(), self._world.snapshot()()
        told = injection.security_from_traces(output, pre, post, ran)
        return bool(injection.security(output, pre, post) if told is None else told)


def _done(user_task: Any, output: str, pre: Any, after: Any, ran: Sequence[FunctionCall]) -> bool:
    told = user_task.utility_from_traces(output, pre, after, ran)
    return bool(user_task.utility(output, pre, after) if told is None else told)


def _calls(truth: Sequence[FunctionCall]) -> list[Call]:
    return [Call(call.function, dict(call.args)) for call in truth]
