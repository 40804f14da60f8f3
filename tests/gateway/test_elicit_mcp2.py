"""Questions in the client: asked on the channel of the very call, and never about what moves money or destroys."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
import pytest
from mcp import Client

from guarded_tools.approvers.protocol import Unanswered
from guarded_tools.gateway.elicit import ElicitApprover, shows_forms
from guarded_tools.gateway.rounds import Rounds
from tests.gateway.harness_mcp2 import Opened, streams
from tests.gateway.test_passes_mcp2 import MODES

POLICY = {
    "default": "allow",
    "tools": {"add": {"approval": True, "risk": "write"}, "echo": {"approval": True, "risk": "financial"}},
}


def elsewhere(request: Any) -> Any:
    raise Unanswered(f"nobody elsewhere answered about {request.tool}")


class Form:
    """A human who answers forms as they are told to."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.shown: list[str] = []

    async def __call__(self, context: Any, params: Any) -> Any:
        self.shown.append(params.message)
        return self.answers.pop(0)


def form(action: str, **content: Any) -> Any:
    return types.ElicitResult(action=action, content=content or None)


@asynccontextmanager
async def client_of(gateway: Any, mode: Any = "legacy", **options: Any):
    async with streams(gateway) as ways, Client(Opened(*ways), mode=mode, cache=None, **options) as client:
        yield client


def said(result: Any) -> str:
    return "\n".join(block.text for block in result.content)


def asking(make_gateway: Any, policy: Any = POLICY, **options: Any) -> Any:
    """A gateway that asks in its clients."""
    gateway = make_gateway(policy, approver=ElicitApprover(elsewhere), **options)
    return dataclasses.replace(gateway, rounds=Rounds(gateway.guard.store))


@pytest.mark.parametrize("mode", MODES)
async def test_only_a_plain_yes_lets_exactly_that_call_run_once(
    mode: Any, make_gateway: Any, reached: Any, events: Any
) -> None:
    human = Form(
        form("accept", approve=True), form("accept", approve=False), form("accept", approve="true"), form("accept"),
        form("decline"), form("cancel"), form("accept", approve=True, a=7),
    )  # fmt: skip
    async with client_of(asking(make_gateway), mode, elicitation_callback=human) as client:
        first = await client.call_tool("add", {"a": 1, "b": 41})
        assert said(first) == "42"
        assert reached() == ["add 1 41"]
        assert [event.kind for event in events] == ["asked", "answered", "admitted", "settled"]
        assert "add" in human.shown[0]
        assert "41" in human.shown[0]
        for number in range(3):
            assert (await client.call_tool("add", {"a": number})).is_error
        assert reached() == ["add 1 41"]
        grave = await client.call_tool("echo", {"text": "x"})
        assert "nobody elsewhere answered about echo" in said(grave)
    assert len(human.shown) <= 4
    assert reached() == ["add 1 41"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_without_forms_is_asked_elsewhere(mode: Any, make_gateway: Any, reached: Any) -> None:
    async with client_of(asking(make_gateway), mode) as client:
        assert "nobody elsewhere answered about add" in said(await client.session.call_tool("add", {"a": 1}))
    assert reached() == []


@pytest.mark.parametrize("mode", MODES)
async def test_answers_of_calls_at_once_belong_to_their_own(mode: Any, make_gateway: Any, reached: Any) -> None:
    class Even(Form):
        async def __call__(self, context: Any, params: Any) -> Any:
            self.shown.append(params.message)
            await asyncio.sleep(0)
            return form("accept", approve="22" in params.message)

    async with client_of(asking(make_gateway), mode, elicitation_callback=Even()) as client:
        calls = [client.call_tool("add", {"a": a}) for a in (11, 22)]
        refused, ran = await asyncio.gather(*calls)
    assert (refused.is_error, ran.is_error) == (True, False)
    assert reached() == ["add 22 1"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_policy_may_let_clients_answer_about_grave_calls(mode: Any, make_gateway: Any, reached: Any) -> None:
    human = Form(form("accept", approve=True))
    gateway = asking(make_gateway, {**POLICY, "approvals": {"grave_in_client": True}})
    async with client_of(gateway, mode, elicitation_callback=human) as client:
        assert said(await client.call_tool("echo", {"text": "x"})) == "x"
    assert "echo" in human.shown[0]
    assert reached() == ["echo 1"]


def test_which_clients_show_forms() -> None:
    assert shows_forms({"capabilities": {"elicitation": {}}})
    assert shows_forms({"capabilities": {"elicitation": {"form": {}, "url": {}}}})
    assert shows_forms({"_meta": {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}})
    for wrong in (
        None,
        {},
        {"capabilities": {}},
        {"capabilities": {"elicitation": {"url": {}}}},
        {"capabilities": {"elicitation": True}},
        {"_meta": {"io.modelcontextprotocol/clientCapabilities": {}}},
    ):
        assert not shows_forms(wrong), wrong
