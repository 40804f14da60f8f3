"""A server of protocol 2026-07-28 asks in the middle of a call: langchain.mcp suspends the run, inside the guard.

One execution, one charge, one story in the audit; each answer reaches who asked for it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client
from fastmcp.client.group import ClientGroup
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from guarded_tools import InterruptApprover
from tests.adapters import asking_agent
from tests.adapters.asking_agent import ASKED, CONFIG, FREE, agent, asking_server
from tests.adapters.claiming_server import listening

pytestmark = pytest.mark.filterwarnings("ignore:.*langchain.mcp. is in beta")
GO: Any = {"messages": [("user", "go")]}
YES: Any = {"type": "approve"}


def accept(key: str, *, sure: bool = True) -> dict[str, Any]:
    return {"responses": {key: {"action": "accept", "content": {"sure": sure}}}}


def asked(state: Any) -> list[Any]:
    return [(each.value["type"], each.id) for each in state.get("__interrupt__", ())]


def answers(state: Any) -> list[str]:
    return [str(message.content) for message in state["messages"] if message.type == "tool"]


def used(guard: Any) -> list[int]:
    return [usage.used for usage in guard.usage() if usage.counter.endswith("pay/calls")]


LINES = [("admitted", None), ("paused", "suspended"), ("resumed", None), ("paused", "suspended"), ("resumed", None), ("settled", "ok")]  # fmt: skip


@pytest.mark.parametrize("grouped", [False, True])
async def test_two_rounds_are_one_execution(grouped: bool, make_guard: Any, events: Any) -> None:
    seen: list[Any] = []
    server = asking_server(2, seen)
    target: Any = ClientGroup({"bank": Client(server)}) if grouped else server
    name = "bank_pay" if grouped else "pay"
    policy = {**FREE, "tools": {"bank/pay": FREE["tools"]["pay"]}} if grouped else FREE  # type: ignore[index]
    guard = make_guard(policy, approver=InterruptApprover())
    running = await agent(target, guard, InMemorySaver(), [(name, {"to": "ann"})])
    state = await running.ainvoke(GO, CONFIG)
    assert [kind for kind, _ in asked(state)] == ["mcp_elicitation"]
    state = await running.ainvoke(Command(resume=accept("q0")), CONFIG)
    assert [kind for kind, _ in asked(state)] == ["mcp_elicitation"]
    state = await running.ainvoke(Command(resume=accept("q1", sure=False)), CONFIG)
    assert "paid ann" in answers(state)[0]
    assert seen[-1] == ("ann", [["accept", {"sure": True}], ["accept", {"sure": False}]])
    assert [(event.kind, event.outcome) for event in events] == LINES
    assert len({event.key for event in events}) == 1
    assert used(guard) == [1]


async def test_our_question_and_the_servers_each_get_their_own_answer(make_guard: Any, events: Any) -> None:
    seen: list[Any] = []
    guard = make_guard(ASKED, approver=InterruptApprover())
    running = await agent(asking_server(2, seen), guard, InMemorySaver(), [("pay", {"to": "ann"})])
    state = await running.ainvoke(GO, CONFIG)
    assert [kind for kind, _ in asked(state)] == ["tool_approval"]
    assert (seen, used(guard)) == ([], [])
    edited = {"type": "edit", "edited_action": {"name": "pay", "args": {"to": "bob"}}}
    state = await running.ainvoke(Command(resume=edited), CONFIG)
    assert [kind for kind, _ in asked(state)] == ["mcp_elicitation"]
    state = await running.ainvoke(Command(resume=accept("q0")), CONFIG)
    state = await running.ainvoke(Command(resume=accept("q1")), CONFIG)
    assert "paid bob" in answers(state)[0]
    assert {to for to, _ in seen} == {"bob"}, "what runs again is what the human wrote"
    assert "approve" not in json.dumps(seen)
    assert used(guard) == [1]
    assert [event.kind for event in events if event.kind in ("asked", "answered", "admitted", "settled")] == [
        "asked", "answered", "admitted", "settled",
    ]  # fmt: skip


async def test_an_answer_to_us_is_none_to_the_server(make_guard: Any, events: Any) -> None:
    """Our form of a yes is no answer of MCP's: langchain.mcp refuses it, and the server hears nothing of it."""
    seen: list[Any] = []
    guard = make_guard(FREE, approver=InterruptApprover())
    running = await agent(asking_server(1, seen), guard, InMemorySaver(), [("pay", {"to": "ann"})])
    await running.ainvoke(GO, CONFIG)
    with pytest.raises(KeyError):
        await running.ainvoke(Command(resume=YES), CONFIG)
    assert {json.dumps(told) for _, told in seen} == {"[]"}
    assert used(guard) == [1]
    assert [event.kind for event in events].count("admitted") == 1


async def test_and_the_servers_answer_does_not_approve(make_guard: Any) -> None:
    seen: list[Any] = []
    guard = make_guard(ASKED, approver=InterruptApprover())
    running = await agent(asking_server(1, seen), guard, InMemorySaver(), [("pay", {"to": "ann"})])
    await running.ainvoke(GO, CONFIG)
    state = await running.ainvoke(Command(resume=accept("q0")), CONFIG)
    assert seen == []
    assert "paid" not in "".join(answers(state))


@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_a_human_may_decline(action: str, make_guard: Any) -> None:
    seen: list[Any] = []
    guard = make_guard(FREE, approver=InterruptApprover())
    running = await agent(asking_server(2, seen), guard, InMemorySaver(), [("pay", {"to": "ann"})])
    await running.ainvoke(GO, CONFIG)
    state = await running.ainvoke(Command(resume={"responses": {"q0": {"action": action}}}), CONFIG)
    assert seen[-1] == ("ann", [[action, None]])
    assert (asked(state), used(guard)) == ([], [1])


@pytest.mark.parametrize("policy", [FREE, ASKED])
async def test_two_calls_of_one_turn_are_two_executions(policy: Any, make_guard: Any, events: Any) -> None:
    seen: list[Any] = []
    guard = make_guard(policy, approver=InterruptApprover())
    calls = [("pay", {"to": "ann"}), ("pay", {"to": "bob"})]
    running = await agent(asking_server(1, seen), guard, InMemorySaver(), calls)
    state = await running.ainvoke(GO, CONFIG)
    if policy is ASKED:
        assert {kind for kind, _ in asked(state)} == {"tool_approval"}
        state = await running.ainvoke(Command(resume={at: YES for _, at in asked(state)}), CONFIG)
    assert [kind for kind, _ in asked(state)] == ["mcp_elicitation"] * 2
    # They come in the order in which they asked, which is nobody's.
    about = {each.value["requests"][0]["message"].split()[2]: each.id for each in state["__interrupt__"]}
    first, second = about["ann"], about["bob"]
    state = await running.ainvoke(Command(resume={first: accept("q0")}), CONFIG)
    state = await running.ainvoke(Command(resume={second: accept("q0", sure=False)}), CONFIG)
    assert [("paid ann" in answer, "paid bob" in answer) for answer in answers(state)] == [(True, False), (False, True)]
    assert ("ann", [["accept", {"sure": True}]]) in seen
    assert ("bob", [["accept", {"sure": False}]]) in seen
    assert used(guard) == [2]
    assert [event.kind for event in events].count("admitted") == [event.kind for event in events].count("settled") == 2


async def test_a_prebuilt_client_answers_by_itself(make_guard: Any, events: Any) -> None:
    """Its own handler is called by FastMCP: no run is suspended, and the call is one."""
    seen: list[Any] = []

    async def handler(message: str, kind: Any, params: Any, context: Any) -> Any:
        return {"sure": True}

    guard = make_guard(FREE, approver=InterruptApprover())
    client = Client(asking_server(2, seen), elicitation_handler=handler)
    running = await agent(client, guard, InMemorySaver(), [("pay", {"to": "ann"})])
    state = await running.ainvoke(GO, CONFIG)
    assert "paid ann" in answers(state)[0]
    assert ([event.kind for event in events], used(guard)) == (["admitted", "settled"], [1])


def test_each_step_in_a_process_of_its_own_which_is_killed(tmp_path: Path) -> None:
    seen: list[Any] = []
    with listening(asking_server(2, seen)) as url:

        def step(*resume: Any) -> Any:
            command = [sys.executable, asking_agent.__file__, url, str(tmp_path), *map(json.dumps, resume)]
            ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
            assert ran.returncode == 9, ran.stderr
            return json.loads(ran.stdout)

        assert [each["type"] for each in step()["asked"]] == ["tool_approval"]
        told = step(YES)
        assert ([each["type"] for each in told["asked"]], told["used"]) == (["mcp_elicitation"], [1])
        told = step(accept("q0"))
        assert ([each["type"] for each in told["asked"]], told["used"]) == (["mcp_elicitation"], [1])
        told = step(accept("q1"))
    assert (told["asked"], told["used"]) == ([], [1])
    assert seen[-1] == ("ann", [["accept", {"sure": True}]] * 2)
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    kinds = [line["kind"] for line in lines if line.get("tool") == "pay"]
    assert [kind for kind in kinds if kind in ("admitted", "settled")] == ["admitted", "settled"]
    assert kinds.count("asked") == kinds.count("answered") == 1
