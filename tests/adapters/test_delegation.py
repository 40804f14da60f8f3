"""A tool that hands work to an agent whose tools run without a guard is refused, however it holds that agent."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool, StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command
from pydantic import PrivateAttr

from guarded_tools.approvers.interrupt import InterruptApprover
from guarded_tools.guard import Guard

ASK = {"messages": [("user", "go")]}
POLICY = {"version": "1", "default": "allow", "tools": {"delete": {"action": "deny"}}}
ASKS = {"version": "1", "default": "allow", "tools": {"delete": {"risk": "write", "approval": True}}}

ambient: dict[str, Any] = {}
"""A module's own agent, as scripts have theirs; filled by a test."""


def work_with_the_ambient_agent(what: str) -> str:
    return str(ambient["agent"].invoke(ASK)["messages"][-1].text)


@pytest.fixture
def deleted() -> list[str]:
    """What the body of ``delete`` was given."""
    return []


@pytest.fixture
def delete(deleted: list[str]) -> BaseTool:
    @tool
    def delete(item: str) -> str:
        """Delete."""
        deleted.append(item)
        return f"deleted {item}"

    return delete


@pytest.fixture
def inner(scripted: Any) -> Callable[..., Any]:
    """Make an agent that deletes everything."""

    def make(tools: list[BaseTool], *middleware: Any) -> Any:
        return create_agent(scripted(("delete", {"item": "everything"})), tools, middleware=middleware)

    return make


def by_closure(agent: Any) -> Any:
    def work(what: str) -> str:
        return str(agent.invoke(ASK)["messages"][-1].text)

    return work


def by_global(agent: Any) -> Any:
    ambient["agent"] = agent

    def work(what: str) -> str:
        return str(ambient["agent"].invoke(ASK)["messages"][-1].text)

    return work


def by_helper(agent: Any) -> Any:
    ambient["agent"] = agent

    def work(what: str) -> str:
        return " ".join([work_with_the_ambient_agent(each) for each in [what]])

    return work


def by_default(agent: Any) -> Any:
    def work(what: str) -> str:
        return run(what)

    def run(what: str, *, agents: Any = (agent,)) -> str:
        return str(agents[0].invoke(ASK)["messages"][-1].text)

    return work


def by_mapping(agent: Any) -> Any:
    agents = {"general": agent.with_config({"run_name": "general"})}

    def work(what: str) -> str:
        return str(agents["general"].invoke(ASK)["messages"][-1].text)

    return work


def by_method(agent: Any) -> Any:
    class Office:
        def __init__(self) -> None:
            self.clerk = agent

        def work(self, what: str) -> str:
            return str(self.clerk.invoke(ASK)["messages"][-1].text)

    return Office().work


def by_chain(agent: Any) -> Any:
    chain = RunnableLambda(lambda _: ASK) | agent

    def work(what: str) -> str:
        return str(chain.invoke(what)["messages"][-1].text)

    return work


def by_graph(agent: Any) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("clerk", agent)
    builder.set_entry_point("clerk")
    graph = builder.compile()

    def work(what: str) -> str:
        return str(graph.invoke(ASK)["messages"][-1].text)  # type: ignore[call-overload]

    return work


def by_node_function(agent: Any) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("clerk", lambda _: {"messages": agent.invoke(ASK)["messages"]})
    builder.set_entry_point("clerk")
    graph = builder.compile()

    def work(what: str) -> str:
        return str(graph.invoke(ASK)["messages"][-1].text)  # type: ignore[call-overload]

    return work


def by_partial(agent: Any) -> Any:
    def with_more(what: str, more: Any) -> str:
        return str(more.invoke(ASK)["messages"][-1].text)

    given = functools.partial(with_more, more=agent)

    def work(what: str) -> str:
        return given(what)

    return work


def by_instance(agent: Any) -> Any:
    class Clerk:
        def __init__(self) -> None:
            self.agent = agent

        def __call__(self, what: str) -> str:
            return str(self.agent.invoke(ASK)["messages"][-1].text)

    clerk = Clerk()

    def work(what: str) -> str:
        return clerk(what)

    return work


WAYS = [
    by_closure, by_global, by_helper, by_default, by_mapping, by_method,
    by_chain, by_graph, by_node_function, by_partial, by_instance,
]  # fmt: skip


def as_function(work: Any) -> BaseTool:
    return StructuredTool.from_function(work, name="work", description="Work.")


def as_class(work: Any) -> BaseTool:
    class Work(BaseTool):
        name: str = "work"
        description: str = "Work."
        _work: Any = PrivateAttr()

        def _run(self, what: str) -> str:
            return str(self._work(what))

    made = Work()
    made._work = work
    return made


def as_coroutine(work: Any) -> BaseTool:
    async def awork(what: str) -> str:
        return str(work(what))

    return StructuredTool.from_function(coroutine=awork, name="work", description="Work.")


KINDS = [as_function, as_class, as_coroutine]


async def ask(agent: Any) -> Any:
    return (await agent.ainvoke(ASK))["messages"]


def outer(scripted: Any, work: BaseTool, guard: Guard, **options: Any) -> Any:
    return create_agent(scripted(("work", {"what": "it"})), [work], middleware=[guard.middleware(**options)])


EVERY = [(way, as_function) for way in WAYS] + [(way, kind) for way in (by_closure, by_helper) for kind in KINDS[1:]]


@pytest.mark.parametrize(("way", "kind"), EVERY)
async def test_an_agent_with_unguarded_tools_is_not_reached(
    way: Any, kind: Any, make_guard: Any, scripted: Any, inner: Any, delete: BaseTool, deleted: Any, outcomes: Any
) -> None:
    agent = outer(scripted, kind(way(inner([delete]))), make_guard(POLICY))
    with pytest.warns(UserWarning, match="Calls of work are refused: .*delete"):
        messages = await ask(agent)
    assert deleted == []
    (answer,) = [message for message in messages if message.type == "tool"]
    assert answer.status == "error"
    assert "it hands work to an agent whose tools run without a guard: delete" in answer.text
    assert outcomes() == [("refused", "work", "failed_closed")]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("guarded_by", ["middleware", "wrap"])
async def test_an_agent_whose_tools_are_guarded_is_reached_and_judged(
    way: Any, guarded_by: str, make_guard: Any, scripted: Any, inner: Any, delete: BaseTool, deleted: Any, outcomes: Any
) -> None:
    guard = make_guard(POLICY)
    made = inner([delete], guard.middleware()) if guarded_by == "middleware" else inner(guard.wrap([delete]))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        await ask(outer(scripted, as_function(way(made)), guard))
    assert deleted == []
    assert ("refused", "delete", "denied") in outcomes()
    assert ("settled", "work", "ok") in outcomes()


def test_the_warning_comes_with_the_first_model_call_and_once(
    make_guard: Any, scripted: Any, inner: Any, delete: BaseTool
) -> None:
    work = as_function(by_closure(inner([delete])))
    agent = create_agent(scripted(), [work], middleware=[make_guard(POLICY).middleware()])
    with pytest.warns(UserWarning, match=r"guard\.subagents"):
        agent.invoke(ASK)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        agent.invoke(ASK)


@pytest.mark.parametrize("trusting", ["work", ["work"], {"work", "play"}])
def test_one_may_be_trusted(
    trusting: Any, make_guard: Any, scripted: Any, inner: Any, delete: BaseTool, deleted: Any, outcomes: Any
) -> None:
    work = as_function(by_closure(inner([delete])))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        outer(scripted, work, make_guard(POLICY), trusting=trusting).invoke(ASK)
    assert deleted == ["everything"]
    assert outcomes() == [("admitted", "work", None), ("settled", "work", "ok")]


def test_one_below_a_guarded_agent_is_found_by_that_agents_own_middleware(
    make_guard: Any, scripted: Any, inner: Any, delete: BaseTool, deleted: Any, outcomes: Any
) -> None:
    guard = make_guard(POLICY)
    lowest = as_function(by_closure(inner([delete])))
    middle = outer(scripted, lowest, guard)

    @tool
    def manage(what: str) -> str:
        """Manage."""
        return str(middle.invoke(ASK)["messages"][-1].text)

    top = create_agent(scripted(("manage", {"what": "it"})), [manage], middleware=[guard.middleware()])
    with pytest.warns(UserWarning, match="Calls of work are refused"):
        top.invoke(ASK)
    assert deleted == []
    assert outcomes() == [
        ("admitted", "manage", None),
        ("refused", "work", "failed_closed"),
        ("settled", "manage", "ok"),
    ]


def test_one_below_a_wrapped_tool_is_found_through_it(
    make_guard: Any, scripted: Any, inner: Any, delete: BaseTool, deleted: Any
) -> None:
    guard = make_guard(POLICY)
    wrapped = guard.wrap([as_function(by_closure(inner([delete])))])
    with pytest.warns(UserWarning, match="Calls of work are refused"):
        outer(scripted, wrapped[0], guard).invoke(ASK)
    assert deleted == []


def test_a_tool_node_of_its_own_is_one_too(make_guard: Any, scripted: Any, delete: BaseTool, deleted: Any) -> None:
    node = ToolNode([delete])
    with pytest.warns(UserWarning, match="Calls of work are refused"):
        outer(scripted, as_function(by_closure(node)), make_guard(POLICY)).invoke(ASK)
    assert deleted == []


class Unpleasant:
    """Has neither a truth value nor an equality nor fields."""

    __slots__ = ()

    def __bool__(self) -> bool:
        raise ValueError("no truth")

    def __eq__(self, other: object) -> bool:
        raise ValueError("no equality")

    __hash__ = None  # type: ignore[assignment]


def test_what_else_a_tool_holds_is_no_agent(make_guard: Any, scripted: Any, delete: BaseTool) -> None:
    endless: list[Any] = [Unpleasant(), list(range(100_000)), {"tool": delete}]
    endless.append(endless)

    def work(what: str) -> str:
        if what == "never":
            return str(later)
        return f"{len(endless)} {delete.name}"

    work.itself = work  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        messages = outer(scripted, as_function(work), make_guard(POLICY)).invoke(ASK)["messages"]
    assert [message.text for message in messages if message.type == "tool"] == ["4 delete"]
    later = 1  # the closure's cell was empty until here


@pytest.mark.parametrize("awaited", [False, True])
async def test_a_question_in_an_agent_that_is_a_tool_is_answered_and_runs_once(
    awaited: bool, make_guard: Any, scripted: Any, inner: Any, delete: BaseTool, deleted: Any
) -> None:
    guard = make_guard(ASKS, approver=InterruptApprover())
    worker = inner([delete], guard.middleware())

    def work(what: str) -> str:
        return str(worker.invoke(ASK)["messages"][-1].text)

    async def awork(what: str) -> str:
        return str((await worker.ainvoke(ASK))["messages"][-1].text)

    both = StructuredTool.from_function(work, coroutine=awork, name="work", description="Work.")
    agent = create_agent(
        scripted(("work", {"what": "it"})), [both], middleware=[guard.middleware()], checkpointer=InMemorySaver()
    )
    config = {"configurable": {"thread_id": "t"}}

    async def walk(what: Any) -> Any:
        return await agent.ainvoke(what, config) if awaited else agent.invoke(what, config)

    (asked,) = (await walk(ASK))["__interrupt__"]
    assert deleted == []
    await walk(Command(resume={asked.id: {"decisions": [{"type": "approve"}]}}))
    assert deleted == ["everything"]
