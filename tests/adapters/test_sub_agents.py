"""Sub-agents as the libraries make them: of deep agents, supervisors and swarms. A guard holds in each, or says so."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from deepagents import create_deep_agent
from deepagents.middleware.subagents import SubAgentMiddleware
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from langgraph_supervisor import create_supervisor
from langgraph_swarm import create_handoff_tool, create_swarm
from pydantic import Field

from guarded_tools.adapters.middleware import GuardMiddleware
from guarded_tools.approvers.interrupt import InterruptApprover
from guarded_tools.errors import GuardError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*moved to.*")

DENIES = {"version": "1", "default": "allow", "tools": {"wipe": {"action": "deny"}}}
ASKS = {"version": "1", "default": "allow", "tools": {"wipe": {"risk": "write", "approval": True}}}


class Delegating(BaseChatModel):
    """Asked for an item, it deletes that. Asked to go, it asks another agent to delete everything."""

    hand_over: str = "task"
    args: dict[str, Any] = Field(default={"description": "wipe it", "subagent_type": "general-purpose"})

    @property
    def _llm_type(self) -> str:
        return "delegating"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **_: Any) -> ChatResult:
        last = messages[-1]
        asked = next(message.text for message in reversed(messages) if message.type == "human")
        if last.type == "tool" and last.text:
            said = AIMessage(f"heard: {last.text}")
        elif asked == "go":
            said = self.call(self.hand_over, self.args)
        else:
            said = self.call("wipe", {"item": "everything"})
        return ChatResult(generations=[ChatGeneration(message=said)])

    @staticmethod
    def call(name: str, args: dict[str, Any]) -> AIMessage:
        return AIMessage("", tool_calls=[{"type": "tool_call", "id": f"call-{name}", "name": name, "args": args}])


class Deleting(Delegating):
    """Deletes everything, whatever it is asked."""

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **_: Any) -> ChatResult:
        last = messages[-1]
        done = last.type == "tool" and last.name == "wipe"
        said = AIMessage(f"heard: {last.text}") if done else self.call("wipe", {"item": "everything"})
        return ChatResult(generations=[ChatGeneration(message=said)])


@pytest.fixture
def deleted() -> list[str]:
    return []


@pytest.fixture
def wipe(deleted: list[str]) -> BaseTool:
    @tool
    def wipe(item: str) -> str:
        """Delete."""
        deleted.append(item)
        return f"wiped {item}"

    return wipe


CONFIG = {"configurable": {"thread_id": "t"}}
ASK = {"messages": [("user", "go")]}


async def walk(agent: Any, what: Any, awaited: bool) -> Any:
    return await agent.ainvoke(what, CONFIG) if awaited else agent.invoke(what, CONFIG)


async def approve(agent: Any, awaited: bool, state: Any) -> Any:
    (asked,) = state["__interrupt__"]
    assert asked.value["action_requests"][0]["name"] == "wipe"
    return await walk(agent, Command(resume={asked.id: {"decisions": [{"type": "approve"}]}}), awaited)


def told(state: Any) -> str:
    return str(state["messages"][-1].text)


modes = pytest.mark.parametrize("awaited", [False, True])


@modes
async def test_a_deep_agent_whose_sub_agents_are_not_guarded_hands_nothing_on(
    awaited: bool, make_guard: Any, wipe: BaseTool, deleted: Any, outcomes: Any
) -> None:
    agent = create_deep_agent(Delegating(), [wipe], middleware=[make_guard(DENIES).middleware()])
    with pytest.warns(UserWarning, match="Calls of task are refused: .*wipe"):
        state = await walk(agent, ASK, awaited)
    assert deleted == []
    assert "DENIED: task did not run" in told(state)
    assert outcomes() == [("refused", "task", "failed_closed")]


@modes
@pytest.mark.parametrize("policy", [DENIES, ASKS])
async def test_a_deep_agent_with_guarded_sub_agents_is_judged_in_them(
    policy: Any, awaited: bool, make_guard: Any, wipe: BaseTool, deleted: Any, outcomes: Any, events: Any
) -> None:
    guard = make_guard(policy, approver=InterruptApprover())
    agent = create_deep_agent(
        Delegating(),
        [wipe],
        subagents=guard.subagents(),
        middleware=[guard.middleware()],
        checkpointer=InMemorySaver(),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        state = await walk(agent, ASK, awaited)
        if policy is ASKS:
            assert deleted == []
            state = await approve(agent, awaited, state)
    assert deleted == (["everything"] if policy is ASKS else [])
    assert ("wiped everything" if policy is ASKS else "DENIED: wipe did not run") in told(state)
    assert ("settled", "wipe", "ok") in outcomes() or ("refused", "wipe", "denied") in outcomes()
    assert {event.session for event in events} == {"t"}, "a sub-agent counts for its parent's session"


def test_a_sub_agent_of_ones_own_is_guarded_as_well(
    make_guard: Any, wipe: BaseTool, deleted: Any, outcomes: Any
) -> None:
    guard = make_guard(DENIES)
    spec = {
        "name": "cleaner",
        "description": "Cleans.",
        "system_prompt": "Clean.",
        "model": Deleting(),
        "tools": [wipe],
    }
    model = Delegating(args={"description": "clean", "subagent_type": "cleaner"})
    agent = create_deep_agent(model, [], subagents=guard.subagents([spec]), middleware=[guard.middleware()])
    state = agent.invoke(ASK, CONFIG)
    assert deleted == []
    assert "DENIED: wipe did not run" in told(state)
    assert "middleware" not in spec


def test_what_the_helper_returns(make_guard: Any, wipe: BaseTool) -> None:
    guard = make_guard(DENIES)
    own = guard.middleware(trusting=["task"])
    spec = {"name": "cleaner", "description": "Cleans.", "middleware": [own]}
    general, cleaner = guard.subagents([spec])
    assert (general["name"], cleaner) == ("general-purpose", spec)
    assert [type(each) for each in general["middleware"]] == [GuardMiddleware]
    assert guard.subagents([spec], general_purpose=False) == [spec]
    mine = {"name": "general-purpose", "description": "Mine.", "system_prompt": "Do."}
    (only,) = guard.subagents([mine])
    assert (only["description"], len(only["middleware"])) == ("Mine.", 1)


def test_a_compiled_sub_agent_has_to_be_guarded_where_it_is_made(make_guard: Any, wipe: BaseTool, deleted: Any) -> None:
    guard = make_guard(DENIES)
    spec = {"name": "cleaner", "description": "Cleans.", "runnable": create_agent(Deleting(), [wipe])}
    with pytest.raises(GuardError, match=r"cleaner was compiled without a guard around wipe: give guard\.middleware"):
        guard.subagents([spec])
    compiled = create_agent(Deleting(), [wipe], middleware=[guard.middleware()])
    model = Delegating(args={"description": "clean", "subagent_type": "cleaner"})
    agent = create_deep_agent(
        model, [], subagents=guard.subagents([spec | {"runnable": compiled}]), middleware=[guard.middleware()]
    )
    assert "DENIED: wipe did not run" in told(agent.invoke(ASK, CONFIG))
    assert deleted == []


def test_a_sub_agent_on_a_server_of_its_own_cannot_be_guarded_from_here(make_guard: Any) -> None:
    remote = {"name": "far", "description": "Far.", "graph_id": "g", "url": "https://example.com"}
    with pytest.raises(GuardError, match="far runs on a server of its own"):
        make_guard(DENIES).subagents([remote])


def test_sub_agents_of_sub_agents_are_guarded_by_the_same_helper(
    make_guard: Any, wipe: BaseTool, deleted: Any, outcomes: Any
) -> None:
    guard = make_guard(DENIES)

    def nested(specs: list[Any]) -> Any:
        middle = {
            "name": "middle",
            "description": "Hands on.",
            "model": Delegating(args={"description": "x", "subagent_type": "lowest"}),
            "tools": [],
            "middleware": [SubAgentMiddleware(backend=None, subagents=specs)],  # type: ignore[arg-type]
        }
        model = Delegating(args={"description": "go", "subagent_type": "middle"})
        return create_deep_agent(model, [], subagents=guard.subagents([middle]), middleware=[guard.middleware()])

    lowest = {"name": "lowest", "description": "Cleans.", "model": Deleting(), "tools": [wipe]}
    with pytest.warns(UserWarning, match="Calls of task are refused"):
        assert "DENIED: task did not run" in told(nested([lowest]).invoke(ASK, CONFIG))
    state = nested(guard.subagents([lowest], general_purpose=False)).invoke(ASK, CONFIG)
    assert "DENIED: wipe did not run" in told(state)
    assert deleted == []


# Agents that hand over to each other


@modes
@pytest.mark.parametrize("by", ["wrap", "middleware"])
@pytest.mark.parametrize("policy", [DENIES, ASKS])
async def test_an_agent_under_a_supervisor(
    by: str, policy: Any, awaited: bool, make_guard: Any, wipe: BaseTool, deleted: Any
) -> None:
    guard = make_guard(policy, approver=InterruptApprover())
    tools = guard.wrap([wipe]) if by == "wrap" else [wipe]
    middleware = [guard.middleware()] if by == "middleware" else []
    worker = create_agent(Deleting(), tools, middleware=middleware, name="cleaner")
    model = Delegating(hand_over="transfer_to_cleaner", args={})
    agent = create_supervisor([worker], model=model).compile(checkpointer=InMemorySaver())
    await judged(agent, policy, deleted, awaited)


@modes
@pytest.mark.parametrize("by", ["wrap", "middleware"])
@pytest.mark.parametrize("policy", [DENIES, ASKS])
async def test_an_agent_in_a_swarm(
    by: str, policy: Any, awaited: bool, make_guard: Any, wipe: BaseTool, deleted: Any
) -> None:
    guard = make_guard(policy, approver=InterruptApprover())
    tools = guard.wrap([wipe]) if by == "wrap" else [wipe]
    middleware = [guard.middleware()] if by == "middleware" else []
    worker = create_agent(Deleting(), tools, middleware=middleware, name="cleaner")
    hand_over = create_handoff_tool(agent_name="cleaner")
    first = create_agent(
        Delegating(hand_over=hand_over.name, args={}), [hand_over], middleware=[guard.middleware()], name="first"
    )
    agent = create_swarm([first, worker], default_active_agent="first").compile(checkpointer=InMemorySaver())
    await judged(agent, policy, deleted, awaited)


async def judged(agent: Any, policy: Any, deleted: list[str], awaited: bool) -> None:
    """Walk until the end: a denied tool did not run, an approved one once."""
    state = await walk(agent, ASK, awaited)
    if policy is ASKS:
        assert deleted == []
        state = await approve(agent, awaited, state)
    said = " ".join(message.text for message in state["messages"])
    assert deleted == (["everything"] if policy is ASKS else [])
    assert ("wiped everything" if policy is ASKS else "DENIED: wipe did not run") in said
