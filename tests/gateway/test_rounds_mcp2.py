"""Calls that are answered with a question: what comes back is believed for that call, of that client, once."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp import Client

from guarded_tools.approvers.inbox import answer, questions
from guarded_tools.audit import newest_first
from guarded_tools.gateway.rounds import Rounds
from guarded_tools.guard import Guard
from guarded_tools.stores import open_store
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.testing import FrozenClock
from guarded_tools.values import ApprovalRequest, Verdict
from tests.gateway.harness_mcp2 import Opened, streams
from tests.gateway.test_elicit_mcp2 import Form, asking, form, said
from tests.wire import ENVELOPE, NEW, OLD, Wire

LIMIT = {"counter": "n", "window": "hour", "max": 9}
POLICY = {
    "default": "allow",
    "tools": {
        "add": {"approval": True, "risk": "write", "limits": [LIMIT]},
        "asks_back": {"approval": True, "risk": "write"},
        "prompt:greet": {"approval": True},
        "resource:demo://notes/1": {"approval": True},
    },
}
FORMS = {**ENVELOPE, "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}
YES = {"guarded-tools-approval": {"action": "accept", "content": {"approve": True}}}


class Raw:
    """A client that sends what it is told to."""

    def __init__(self, client: Client) -> None:
        self._ask = client.session._dispatcher.send_raw_request

    async def __call__(self, method: str = "tools/call", **params: Any) -> dict[str, Any]:
        return await self._ask(method, {"_meta": FORMS, **params})

    async def add(self, a: int = 1, **more: Any) -> dict[str, Any]:
        return await self(name="add", arguments={"a": a}, **more)


def opened(ways: Any) -> Client:
    return Client(Opened(*ways), mode="auto", cache=None)


def told(result: dict[str, Any]) -> str:
    assert result["resultType"] == "complete"
    assert result["isError"]
    return result["content"][0]["text"]


def counted(guard: Any, session: str) -> list[int]:
    """What the limit of ``add`` has counted, without the count of questions."""
    return [usage.used for usage in guard.usage(session) if usage.counter.endswith("n")]


async def test_a_question_is_recorded_first_and_its_answer_counts_once(
    make_gateway: Any, reached: Any, events: Any
) -> None:
    gateway = asking(make_gateway, POLICY)
    async with streams(gateway) as ways, opened(ways) as client:
        raw = Raw(client)
        asked = await raw.add()
        assert asked["resultType"] == "input_required"
        assert [event.kind for event in events] == ["asked"]
        assert reached() == []
        shown = asked["inputRequests"]["guarded-tools-approval"]
        assert shown["method"] == "elicitation/create"
        assert "add" in shown["params"]["message"]
        state = asked["requestState"]
        again = await raw.add(requestState=state)  # without an answer: the same question still
        assert again["resultType"] == "input_required"
        assert [event.kind for event in events] == ["asked"]
        ran = await raw.add(requestState=state, inputResponses=YES)
        assert ran["content"][0]["text"] == "2"
        for used in (state, again["requestState"]):
            assert "was used" in told(await raw.add(requestState=used, inputResponses=YES))
        both = (await raw.add())["requestState"]
        twice = await asyncio.gather(*(raw.add(requestState=both, inputResponses=YES) for _ in range(5)))
        assert sorted(result.get("isError", False) for result in twice) == [False, True, True, True, True]
    assert reached() == ["add 1 1"] * 2
    assert counted(gateway.guard, "s") == [2]


async def test_an_answer_counts_for_the_call_that_was_shown_alone(make_gateway: Any, reached: Any) -> None:
    gateway = asking(make_gateway, POLICY)
    async with streams(gateway) as ways, opened(ways) as client, streams(gateway, "other") as far, opened(far) as other:
        raw, stranger = Raw(client), Raw(other)
        state = (await raw.add())["requestState"]
        back = {"requestState": state, "inputResponses": YES}
        for name, arguments in (("add", {"a": 2}), ("add", {"a": 1, "b": 1}), ("asks_back", {})):
            assert "another call" in told(await raw(name=name, arguments=arguments, **back)), arguments
        assert "not to this question" in told(await stranger.add(**back))
        assert reached() == []
        assert not (await raw.add(**back)).get("isError")
    assert reached() == ["add 1 1"]


async def test_states_that_the_gateway_did_not_give_out_run_nothing(make_gateway: Any, reached: Any) -> None:
    gateway = asking(make_gateway, POLICY)
    async with streams(gateway) as ways, opened(ways) as client:
        raw = Raw(client)
        state = (await raw.add())["requestState"]
        prefix, version, body = state.split(".", 2)[0], state.split(".")[1], state.split(".", 2)[2]
        elsewhere = Rounds(MemoryStore())
        request = ApprovalRequest("add", {"a": 1}, "s", "d", "/tools/add", "")
        made_up = elsewhere.question(await elsewhere.come_back({}), request)["requestState"].rsplit(".", 1)[1]
        for wrong in (
            state[:-1], state[: len(state) // 2], f"{prefix}.{version}.", f"{prefix}.{version}.v1.", state + "A",
            f"{prefix}.{version}.v1.{made_up}", f"{prefix}.{version}.{body[::-1]}", state[:-4] + "AAAA",
            f"{prefix}.{version}.v1." + base64.urlsafe_b64encode(json.dumps(["x", {}]).encode()).decode(),
        ):  # fmt: skip
            assert "none that the gateway gave out" in told(await raw.add(requestState=wrong, inputResponses=YES)), (
                wrong
            )
        # What is no state of this gateway's is the server's: the human is asked all the same.
        for theirs in ("", f"{prefix}.00000000.{body}", f"v1.{made_up}"):
            asked = await raw.add(requestState=theirs, inputResponses=YES)
            assert asked["resultType"] == "input_required", theirs
    assert reached() == []


async def test_an_answer_that_comes_too_late_runs_nothing(make_gateway: Any, reached: Any) -> None:
    clock = FrozenClock()
    gateway = asking(make_gateway, POLICY, clock=clock)
    async with streams(gateway) as ways, opened(ways) as client:
        raw = Raw(client)
        state = (await raw.add())["requestState"]
        clock.advance(601)
        assert "expired" in told(await raw.add(requestState=state, inputResponses=YES))
        assert not reached()


async def test_prompts_and_resources_are_asked_about_as_tools_are(make_gateway: Any, reached: Any) -> None:
    human = Form(*[form("accept", approve=True)] * 2, *[form("decline")] * 2)
    async with streams(asking(make_gateway, POLICY)) as ways:
        client = Client(Opened(*ways), mode="auto", cache=None, elicitation_callback=human)
        async with client:
            prompt = await client.get_prompt("greet", {"name": "Ann"})
            assert "Greet Ann" in prompt.messages[0].content.text
            read = await client.read_resource("demo://notes/1")
            assert read.contents[0].text == "the first note"
            with pytest.raises(Exception, match="a human rejected it"):
                await client.get_prompt("greet", {"name": "Bob"})
    assert len(human.shown) == 3
    assert reached() == ["prompt Ann", "read demo://notes/1"]


async def test_a_server_that_asks_back_as_well_gets_its_own_state_and_answer(make_gateway: Any, reached: Any) -> None:
    human = Form(form("accept", approve=True), form("accept", c="red"), form("accept", approve=True))
    async with streams(asking(make_gateway, POLICY)) as ways:
        client = Client(Opened(*ways), mode="auto", cache=None, elicitation_callback=human)
        async with client:
            assert said(await client.call_tool("asks_back", {})) == "accept {'c': 'red'} asked"
    assert ["which colour?" in each for each in human.shown] == [False, True, False]
    assert reached() == ["asks_back None", "asks_back asked"]


@settings(max_examples=120)
@given(st.data())
def test_no_change_of_a_state_is_opened(data: Any) -> None:
    state = _STATES[data.draw(st.integers(0, len(_STATES) - 1))]
    at = data.draw(st.integers(0, len(state) - 1))
    how = data.draw(st.sampled_from(["cut", "swap", "add"]))
    letter = data.draw(st.sampled_from("ABab01-_."))
    changed = {
        "cut": state[:at],
        "swap": state[:at] + letter + state[at + 1 :],
        "add": state[:at] + letter + state[at:],
    }
    if changed[how] == state:
        return
    back = asyncio.run(_ROUNDS.come_back({"requestState": changed[how], "inputResponses": YES}))
    assert back.answer is None
    assert back.name not in _NAMES


def _sealed() -> tuple[Rounds, list[str], set[str]]:
    rounds, states, names = Rounds(MemoryStore()), [], set()
    for inner in ({}, {"requestState": "theirs", "inputResponses": {"q": {"action": "accept"}}}):
        asked = asyncio.run(rounds.come_back(inner))
        states.append(rounds.question(asked, ApprovalRequest("add", {}, "s", "d", "/x", ""))["requestState"])
        names.add(asked.name)
    return rounds, states, names


_ROUNDS, _STATES, _NAMES = _sealed()


ADD = {"name": "add", "arguments": {"a": 1}}


def gateway_of(tmp_path: Path, command: tuple[str, ...]) -> tuple[list[str], Path]:
    """Words that start a gateway which asks in its clients, and where it keeps what it keeps."""
    policy, home = tmp_path / "policy.json", tmp_path / "home"
    policy.write_text(json.dumps({"version": "1", **POLICY}))
    words = ["-m", "guarded_tools.cli", "gateway", "--policy", str(policy), "--state", str(home), "--session", "mine"]
    return [*words, "--approve", "elicit", "--server", "everything", "--", sys.executable, *command[1:]], home


def waiting(store: Any) -> Any:
    until = time.monotonic() + 20
    while not (found := questions(store)):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found[0]


def test_a_question_outlives_the_gateway_and_its_call_runs_once(
    tmp_path: Path, command: tuple[str, ...], reached: Any
) -> None:
    words, home = gateway_of(tmp_path, command)
    with Wire(words, NEW, envelope=FORMS) as client:
        state = client.request("tools/call", ADD)["requestState"]
        client.kill()
    with Wire(words, NEW, envelope=FORMS) as client:
        ran = client.request("tools/call", {**ADD, "requestState": state, "inputResponses": YES})
        assert ran["content"][0]["text"] == "2"
        client.kill()
    with Wire(words, NEW, envelope=FORMS) as client:
        assert client.request("tools/call", {**ADD, "requestState": state, "inputResponses": YES})["isError"]
    assert reached() == ["add 1 1"]
    kinds = [line["kind"] for line in newest_first(home / "audit.jsonl")][::-1]
    assert kinds[:4] == ["asked", "answered", "admitted", "settled"]
    assert kinds.count("admitted") == 1
    assert counted(Guard(str(tmp_path / "policy.json"), state=home), "mine") == [1]


@pytest.mark.parametrize("revision", [OLD, NEW])
def test_a_question_in_the_inbox_outlives_the_gateway(
    revision: str, tmp_path: Path, command: tuple[str, ...], reached: Any
) -> None:
    words, home = gateway_of(tmp_path, command)
    store = open_store(f"disk://{home}")
    with Wire(words, revision) as client:
        client.begin("tools/call", ADD)
        question = waiting(store)
        client.kill()
        assert answer(store, question, Verdict.approve(), wait=0).kind == "unclaimed"
    with Wire(words, revision) as client:
        assert client.request("tools/call", ADD)["content"][0]["text"] == "2"
    assert reached() == ["add 1 1"]
    assert counted(Guard(str(tmp_path / "policy.json"), state=home), "mine") == [1]
