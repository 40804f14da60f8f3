"""The plug-ins of one guard, alone and stacked on each other: decided once, counted once."""

from __future__ import annotations

import asyncio
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    ToolCallLimitMiddleware,
    ToolRetryMiddleware,
    wrap_tool_call,
)
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.errors import ParentCommand
from langgraph.prebuilt import ToolRuntime
from langgraph.types import Command, interrupt
from pydantic import Field

from guarded_tools.guard import Guard
from guarded_tools.policy import Policy
from guarded_tools.stores.memory import MemoryStore
from tests import forked
from tests.adapters.clients import Server, opened

DENY = {"version": "1", "default": "deny", "tools": {}}
ASK = {"messages": [("user", "go")]}


def limited(maximum: int, name: str = "add") -> dict[str, Any]:
    limit = {"counter": "rate", "window": "hour", "max": maximum, "scope": "session"}
    return {"version": "1", "default": "deny", "tools": {name: {"limits": [limit]}}}


@pytest.fixture
def arrived() -> list[Any]:
    """What reached the body of the tool."""
    return []


@pytest.fixture
def add(arrived: list[Any]) -> BaseTool:
    @tool
    def add(n: int) -> str:
        """Add."""
        arrived.append(n)
        return f"added {n}"

    return add


@pytest.fixture
def adder(arrived: list[Any]) -> Any:
    """A server, as its author writes it."""
    server: Any = Server("adder")

    @server.tool()
    def add(n: int) -> str:
        arrived.append(n)
        return f"added {n}"

    return server


def text(answer: Any) -> str:
    content = answer.content if isinstance(answer, ToolMessage) else answer
    return content if isinstance(content, str) else content[0]["text"]


def call(n: int = 1, name: str = "add") -> dict[str, Any]:
    return {"type": "tool_call", "id": "call-1", "name": name, "args": {"n": n}}


async def test_tools_of_langchains_own_client_are_guarded_by_wrap(
    make_guard: Any, adder: Any, arrived: Any, outcomes: Any
) -> None:
    deny_if = [{"path": "args.n", "op": "gt", "value": 5}]
    guard = make_guard({"version": "1", "default": "deny", "tools": {"add": {"deny_if": deny_if}}})
    async with opened(adder) as raw:
        (add,) = guard.wrap(raw)
        assert text(await add.ainvoke(call(1))) == "added 1"
        answer = await add.ainvoke(call(6))
        unfit = await add.ainvoke({**call(), "args": {"n": "one"}})  # LangChain checks no schema of a server
    assert (answer.status, unfit.status) == ("error", "error")
    assert text(answer).startswith("DENIED: add did not run. Rule: /tools/add/deny_if")
    assert text(unfit).startswith("DENIED: add did not run.")
    assert arrived == [1]
    assert [outcome for *_, outcome in outcomes()] == [None, "ok", "denied", "denied"]


# Stacked


async def test_stacked_a_call_counts_once(
    make_guard: Any, adder: Any, scripted: Any, answers_of: Any, outcomes: Any
) -> None:
    guard = make_guard(limited(2))
    async with opened(adder) as raw:
        tools = guard.wrap(guard.wrap(raw))
        model = scripted(("add", {"n": 1}), ("add", {"n": 1}), ("add", {"n": 1}))
        agent = create_agent(model, tools, middleware=[guard.middleware()])
        answers = answers_of(await agent.ainvoke(ASK))
    assert sorted(answer.status for answer in answers) == ["error", "success", "success"]
    assert sorted(kind for kind, *_ in outcomes()) == ["admitted", "admitted", "refused", "settled", "settled"]
    assert [usage.used for usage in guard.usage()] == [2]


async def test_a_view_of_a_guard_is_the_same_guard(make_guard: Any, adder: Any, scripted: Any, answers_of: Any) -> None:
    guard = make_guard(limited(1))
    async with opened(adder) as raw:
        tools = guard.for_session("mine").wrap(raw)
        agent = create_agent(scripted(("add", {"n": 1})), tools, middleware=[guard.middleware()])
        (answer,) = answers_of(await agent.ainvoke(ASK))
    assert text(answer) == "added 1"
    assert [(usage.scope, usage.used) for usage in guard.usage()] == [("session:mine", 1)]


async def test_two_guards_both_decide(make_guard: Any, adder: Any, arrived: Any) -> None:
    one, other = make_guard(), make_guard(DENY)
    async with opened(adder) as raw:
        (add,) = one.wrap(make_guard(limited(1)).wrap(raw))
        assert text(await add.ainvoke(call())) == "added 1"
        answer = await add.ainvoke(call())
        assert answer.tool_call_id == "call-1"
        assert answer.artifact["outcome"] == "limited"
        (add,) = one.wrap(other.wrap(raw))
        assert "DENIED" in text(await add.ainvoke(call()))
    assert arrived == [1]


async def test_a_tool_that_calls_another_is_two_calls(make_guard: Any, adder: Any, outcomes: Any) -> None:
    guard = make_guard()
    async with opened(adder) as raw:
        (inner,) = guard.wrap(raw)

        @tool
        async def outer(n: int) -> str:
            """Add through another tool."""
            return text(await inner.ainvoke({"n": n}))

        (guarded,) = guard.wrap([outer])
        assert await guarded.ainvoke({"n": 1}) == "added 1"
    assert [(kind, name) for kind, name, _ in outcomes()] == [
        ("admitted", "outer"),
        ("admitted", "add"),
        ("settled", "add"),
        ("settled", "outer"),
    ]


# The middleware


@pytest.mark.parametrize("awaited", [False, True])
def test_the_middleware_hides_and_enforces(
    make_guard: Any, scripted: Any, answers_of: Any, add: BaseTool, arrived: Any, awaited: bool
) -> None:
    @tool
    def secret(n: int) -> str:
        """Do not tell."""
        raise AssertionError

    guard = make_guard(limited(1) | {"hide": ["secret"]})
    model = scripted(("add", {"n": 1}), ("add", {"n": 2}), ("secret", {"n": 3}))
    agent = create_agent(model, [add, secret], middleware=[guard.middleware()])
    state = asyncio.run(agent.ainvoke(ASK)) if awaited else agent.invoke(ASK)
    assert model.bound
    assert all(names == ["add"] for names in model.bound)
    answers = answers_of(state)
    assert len(arrived) == 1
    assert sorted(answer.artifact["rule"] for answer in answers if answer.artifact) == [
        "(hidden)",
        "/tools/add/limits/rate",
    ]


def test_arguments_edited_by_any_middleware_are_judged_after_the_edit(
    make_guard: Any, scripted: Any, answers_of: Any, add: BaseTool, arrived: Any
) -> None:
    @wrap_tool_call
    def meddler(request: Any, handler: Any) -> Any:
        return handler(request.override(tool_call={**request.tool_call, "args": {"n": 999}}))

    deny_if = [{"path": "args.n", "op": "gt", "value": 5}]
    guard = make_guard({"version": "1", "default": "deny", "tools": {"add": {"deny_if": deny_if}}})
    for middleware in ([meddler, guard.middleware()], [guard.middleware(), meddler]):
        agent = create_agent(scripted(("add", {"n": 1})), [add], middleware=middleware)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (answer,) = answers_of(agent.invoke(ASK))
        assert answer.content.startswith("DENIED")
    assert arrived == []


@pytest.mark.parametrize("inside", [False, True])
def test_a_retry_counts_what_it_executes(make_guard: Any, scripted: Any, outcomes: Any, inside: bool) -> None:
    tries: list[int] = []

    @tool
    def add(n: int) -> str:
        """Fail."""
        tries.append(n)
        raise ValueError("again")

    guard = make_guard(limited(4))
    retry = ToolRetryMiddleware(max_retries=5, initial_delay=0, jitter=False, on_failure="continue")
    middleware = [guard.middleware(), retry] if inside else [retry, guard.middleware()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        create_agent(scripted(("add", {"n": 1})), [add], middleware=middleware).invoke(ASK)
    assert len(tries) == 4
    assert [kind for kind, *_ in outcomes()] == ["admitted", "settled"] * 4 + ["refused"]


@pytest.mark.parametrize("inside", [False, True])
def test_six_executions_count_six(make_guard: Any, scripted: Any, inside: bool) -> None:
    @tool
    def add(n: int) -> str:
        """Fail."""
        raise ValueError("again")

    guard = make_guard(limited(100))
    retry = ToolRetryMiddleware(max_retries=5, initial_delay=0, jitter=False, on_failure="continue")
    middleware = [guard.middleware(), retry] if inside else [retry, guard.middleware()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        create_agent(scripted(("add", {"n": 1})), [add], middleware=middleware).invoke(ASK)
    assert [usage.used for usage in guard.usage()] == [6]


def test_a_guard_that_is_not_last_says_so_once(make_guard: Any, scripted: Any, add: BaseTool) -> None:
    retry = ToolRetryMiddleware(max_retries=0)
    guard = make_guard()
    agent = create_agent(scripted(("add", {"n": 1}), ("add", {"n": 2})), [add], middleware=[guard.middleware(), retry])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        agent.invoke(ASK)
        agent.invoke(ASK)
    assert ["not the last middleware" in str(warning.message) for warning in said] == [True]


@pytest.mark.parametrize("missing", ["langchain", "langgraph"])
def test_without_langchains_agents_the_middleware_says_what_to_install(missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from guarded_tools import Guard\n"
        "try: Guard('standard', store='memory://').middleware()\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    said = subprocess.run([forked.PYTHON, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said == "GuardError LangChain's agents are not installed: pip install 'guarded-tools[agent]'\n"


def test_a_guard_that_is_last_says_nothing(make_guard: Any, scripted: Any, add: BaseTool) -> None:
    guard = make_guard()
    middleware = [ToolRetryMiddleware(max_retries=0), guard.middleware(), ToolCallLimitMiddleware(run_limit=5)]
    agent = create_agent(scripted(("add", {"n": 1})), [add], middleware=middleware)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agent.invoke(ASK)
        asyncio.run(agent.ainvoke(ASK))


def test_what_langchains_human_edited_is_what_the_guard_judges(
    make_guard: Any, scripted: Any, answers_of: Any, add: BaseTool, arrived: Any
) -> None:
    deny_if = [{"path": "args.n", "op": "gt", "value": 5}]
    guard = make_guard({"version": "1", "default": "deny", "tools": {"add": {"deny_if": deny_if}}})
    human = HumanInTheLoopMiddleware(interrupt_on={"add": True})
    agent = create_agent(
        scripted(("add", {"n": 1})), [add], middleware=[guard.middleware(), human], checkpointer=InMemorySaver()
    )
    config = {"configurable": {"thread_id": "T"}}
    agent.invoke(ASK, config)
    edited = {"type": "edit", "edited_action": {"name": "add", "args": {"n": 999}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (answer,) = answers_of(agent.invoke(Command(resume={"decisions": [edited]}), config))
    assert "DENIED: add" in answer.content
    assert arrived == []


@pytest.mark.parametrize("awaited", [False, True])
def test_a_tool_that_middleware_supplies_is_guarded(
    make_guard: Any, scripted: Any, answers_of: Any, add: BaseTool, arrived: Any, awaited: bool
) -> None:
    class Supplier(AgentMiddleware[Any, Any, Any]):
        """Knows a tool that the agent was not made with."""

        def wrap_tool_call(self, request: Any, handler: Any) -> Any:
            return handler(request.override(tool=add))

        async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
            return await handler(request.override(tool=add))

    @tool
    def other(n: int) -> str:
        """Be there."""
        return "other"

    guard = make_guard(limited(1))
    for middleware in ([Supplier(), guard.middleware()], [guard.middleware(), Supplier()]):
        agent = create_agent(scripted(("add", {"n": 1}), ("add", {"n": 2})), [other], middleware=middleware)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = asyncio.run(agent.ainvoke(ASK)) if awaited else agent.invoke(ASK)
        assert "DENIED" in "".join(str(answer.content) for answer in answers_of(state))
    assert len(arrived) == 1


def test_middleware_that_brings_its_own_tools_is_guarded(
    make_guard: Any, scripted: Any, answers_of: Any, add: BaseTool
) -> None:
    class Bringer(AgentMiddleware[Any, Any, Any]):
        tools = (add,)

    agent = create_agent(scripted(("add", {"n": 1})), [], middleware=[Bringer(), make_guard(DENY).middleware()])
    (answer,) = answers_of(agent.invoke(ASK))
    assert answer.content.startswith("DENIED")


def test_a_second_guard_can_stand_beside_the_first(
    make_guard: Any, scripted: Any, answers_of: Any, add: BaseTool
) -> None:
    one, other = make_guard(), make_guard(limited(1))
    model = scripted(("add", {"n": 1}), ("add", {"n": 2}))
    agent = create_agent(model, other.wrap([add]), middleware=[one.middleware()])
    answers = answers_of(agent.invoke(ASK))
    assert sorted(answer.status for answer in answers) == ["error", "success"]
    assert all(isinstance(answer, ToolMessage) and answer.tool_call_id for answer in answers)


# Sessions and grants


def test_the_session_is_the_thread(make_guard: Any, scripted: Any, add: BaseTool) -> None:
    guard = make_guard(limited(1))
    agent = create_agent(scripted(("add", {"n": 1})), guard.wrap([add]))
    for thread in ("a", "b", "a"):
        agent.invoke(ASK, {"configurable": {"thread_id": thread}})
    guard.wrap([add])[0].invoke({"n": 1})
    guard.for_session("mine").wrap([add])[0].invoke({"n": 1}, {"configurable": {"thread_id": "a"}})
    assert sorted((usage.scope, usage.used) for usage in guard.usage()) == [
        ("session:a", 1),
        ("session:b", 1),
        ("session:default", 1),
        ("session:mine", 1),
    ]


@pytest.mark.parametrize("awaited", [False, True])
def test_a_sub_agent_inherits_the_session(
    make_guard: Any, scripted: Any, add: BaseTool, events: Any, awaited: bool
) -> None:
    guard = make_guard()
    inner = create_agent(scripted(("add", {"n": 1})), guard.wrap([add]))

    @tool
    def delegate(n: int) -> str:
        """Let another agent do it."""
        return str(inner.invoke(ASK)["messages"][-1].content)

    @tool
    async def adelegate(n: int) -> str:
        """Let another agent do it."""
        return str((await inner.ainvoke(ASK))["messages"][-1].content)

    outer = create_agent(
        scripted(("adelegate" if awaited else "delegate", {"n": 1})),
        [delegate, adelegate],
        middleware=[guard.middleware()],
    )
    config = {"configurable": {"thread_id": "parent"}}
    asyncio.run(outer.ainvoke(ASK, config)) if awaited else outer.invoke(ASK, config)
    assert {(event.tool, event.session) for event in events} == {
        ("adelegate" if awaited else "delegate", "parent"),
        ("add", "parent"),
    }


def test_the_grant_may_depend_on_the_run(make_guard: Any, add: BaseTool, events: Any) -> None:
    guard = make_guard(grant=lambda config: config.get("configurable", {}).get("user"))
    (guarded,) = guard.wrap([add])
    guarded.invoke({"n": 1}, {"configurable": {"user": "alice"}})
    guarded.invoke({"n": 1})
    assert [event.grant for event in events if event.kind == "admitted"] == ["alice", None]


async def test_parallel_calls_keep_their_ids_and_sessions(
    make_guard: Any, adder: Any, scripted: Any, events: Any
) -> None:
    guard = make_guard()
    async with opened(adder) as raw:
        agent = create_agent(scripted(*[("add", {"n": n}) for n in range(10)]), guard.wrap(raw))
        states = await asyncio.gather(*(agent.ainvoke(ASK, {"configurable": {"thread_id": f"{t}"}}) for t in range(5)))
    for state in states:
        answers = {m.tool_call_id: text(m) for m in state["messages"] if isinstance(m, ToolMessage)}
        assert answers == {f"call-0-{n}": f"added {n}" for n in range(10)}
    settled = [(event.session, event.call_id) for event in events if event.kind == "settled"]
    assert sorted(settled) == sorted((f"{t}", f"call-0-{n}") for t in range(5) for n in range(10))
    assert isinstance(states[0]["messages"][-1], AIMessage)


# What LangGraph does around a body


@pytest.mark.parametrize("plugin", ["wrap", "middleware"])
def test_a_body_that_interrupts_is_one_execution(
    make_guard: Any, scripted: Any, answers_of: Any, outcomes: Any, plugin: str
) -> None:
    @tool
    def add(n: int) -> str:
        """Ask somebody."""
        return f"they said {interrupt({'n': n})}"

    guard = make_guard(limited(5))
    tools, middleware = (guard.wrap([add]), []) if plugin == "wrap" else ([add], [guard.middleware()])
    agent = create_agent(scripted(("add", {"n": 1})), tools, middleware=middleware, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "T"}}
    paused = agent.invoke(ASK, config)
    assert [pause.value for pause in paused["__interrupt__"]] == [{"n": 1}]
    (answer,) = answers_of(agent.invoke(Command(resume="yes"), config))
    assert answer.content == "they said yes"
    assert [usage.used for usage in guard.usage()] == [1]
    assert [outcome for kind, _, outcome in outcomes() if kind == "settled"] == ["ok"]


@pytest.mark.parametrize("guarded", [False, True])
def test_what_a_body_streams_arrives(make_guard: Any, scripted: Any, guarded: bool) -> None:
    @tool
    def add(n: int, runtime: ToolRuntime) -> str:
        """Tell how it goes."""
        runtime.stream_writer({"half": n})
        get_stream_writer()({"done": n})
        return "added"

    tools = make_guard().wrap([add]) if guarded else [add]
    agent = create_agent(scripted(("add", {"n": 1})), tools)
    assert list(agent.stream(ASK, stream_mode="custom")) == [{"half": 1}, {"done": 1}]


async def test_a_tool_that_a_server_adds_later_is_decided_too(
    make_guard: Any, adder: Any, scripted: Any, answers_of: Any, arrived: Any
) -> None:
    guard = make_guard(limited(1))
    async with opened(adder) as first:
        assert [each.name for each in guard.wrap(first)] == ["add"]

    @adder.tool()
    def wipe(n: int) -> str:
        arrived.append(n)
        return "gone"

    async with opened(adder) as raw:
        (_, later) = guard.wrap(raw)
        assert "DENIED" in text(await later.ainvoke(call(name="wipe")))
        agent = create_agent(scripted(("wipe", {"n": 1})), raw, middleware=[guard.middleware()])
        (answer,) = answers_of(await agent.ainvoke(ASK))
        assert "DENIED" in text(answer)
    assert arrived == []


def test_a_body_that_hands_over_to_the_parent_graph_has_run(make_guard: Any, outcomes: Any) -> None:
    @tool
    def add(n: int) -> str:
        """Hand over."""
        raise ParentCommand(Command(graph=Command.PARENT, goto="elsewhere"))

    guard = make_guard(limited(5))
    (guarded,) = guard.wrap([add])
    with pytest.raises(ParentCommand):
        guarded.invoke({"n": 1})
    assert outcomes()[-1] == ("settled", "add", "ok")
    assert [usage.used for usage in guard.usage()] == [1]


def test_a_guard_under_another_guard_is_still_there(make_guard: Any, add: BaseTool, outcomes: Any) -> None:
    one, other = make_guard(), make_guard()
    (guarded,) = one.wrap(other.wrap(one.wrap([add])))
    guarded.invoke({"n": 1})
    assert [kind for kind, *_ in outcomes()] == ["admitted", "admitted", "settled", "settled"]


def test_a_policy_per_grant_refuses_a_grant_without_one(tmp_path: Any, add: BaseTool, arrived: Any) -> None:
    allow = Policy.model_validate({"version": "1", "default": "deny", "tools": {"add": {}}})
    guard = Guard(
        {"alice": allow},
        grant=lambda config: config.get("configurable", {}).get("user"),
        store=MemoryStore(),
        audit=tmp_path / "audit.jsonl",
    )
    (guarded,) = guard.wrap([add])
    assert guarded.invoke({"n": 1}, {"configurable": {"user": "alice"}}) == "added 1"
    for config in ({"configurable": {"user": "mallory"}}, {}):
        answer = guarded.invoke(call(), config)
        assert answer.artifact["rule"] == "(no policy)"
    assert arrived == [1]


def test_the_model_sees_what_the_grant_of_its_run_may_see(tmp_path: Path) -> None:
    """Who the agent acts for is known once a run begins, also where a function tells it."""

    @tool
    def common(x: int) -> str:
        """A tool."""
        return "ran"

    @tool
    def risky(x: int) -> str:
        """Another tool."""
        return "ran"

    own = {"version": "1", "default": "allow"}
    policies = {"alice": Policy.model_validate({**own, "hide": ["risky"]}), "bob": Policy.model_validate(own)}
    guard = Guard(
        policies,
        store=MemoryStore(),
        audit=tmp_path / "audit.jsonl",
        grant=lambda config: config["configurable"]["user"],
    )
    seen: dict[str, list[str]] = {}
    for user in ("alice", "bob", "eve", None, object()):
        model = Seeing()
        agent = create_agent(model, [common, risky], middleware=[guard.middleware()])
        agent.invoke({"messages": [("user", "go")]}, {"configurable": {"user": user}})
        seen[str(user)[:5]] = model.shown
    assert list(seen.values()) == [["common"], ["common", "risky"], [], [], []]


class Seeing(FakeListChatModel):
    """A scripted model that notes which tools it was offered."""

    responses: list[str] = Field(default_factory=lambda: ["done"])
    shown: list[str] = Field(default_factory=list)

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        self.shown += [each.name for each in tools]
        return self


@pytest.mark.parametrize(
    "grant", [lambda config: config["configurable"]["user"], lambda config: 1.5, lambda config: b"alice"]
)
def test_where_nobody_can_tell_who_the_agent_acts_for_every_call_is_refused(tmp_path: Path, grant: Any) -> None:
    @tool
    def common(x: int) -> str:
        """A tool."""
        return "ran"

    events: list[Any] = []
    policy = Policy.model_validate({"version": "1", "default": "allow"})
    guard = Guard(policy, store=MemoryStore(), audit=tmp_path / "a.jsonl", grant=grant, observers=[events.append])
    [guarded] = guard.wrap([common])
    assert "cannot be told who the agent acts for" in guarded.invoke({"x": 1})
    assert [(event.kind, event.outcome) for event in events] == [("refused", "failed_closed")]


def test_a_number_is_a_name_as_good_as_any(tmp_path: Path) -> None:
    guard = Guard("read_only", store=MemoryStore(), audit=tmp_path / "a.jsonl", grant=lambda config: 7)
    assert guard.grant_for({}) == "7"
