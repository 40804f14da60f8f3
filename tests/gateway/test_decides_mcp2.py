"""What a policy denies reaches no server, under whatever name a client asks for it; and what is counted is exact."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import Any
from urllib.parse import unquote

import mcp_types as types
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mcp import Client, MCPError
from mcp_types import INVALID_REQUEST, METHOD_NOT_FOUND

from guarded_tools.approvers.inbox import InboxApprover, answer, questions
from guarded_tools.approvers.protocol import Unanswered
from guarded_tools.gateway.guarded import _doubt
from guarded_tools.policy import Policy
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.tools.lock import Lock
from guarded_tools.values import Verdict
from tests.gateway.harness_mcp2 import Opened, streams
from tests.wire import ENVELOPE

HIDE = ["secret", "prompt:whisper", "resource:demo://secret/*"]


def opened(ways: Any, mode: Any = "legacy", **options: Any) -> Client:
    return Client(Opened(*ways), mode=mode, cache=None, **options)


def said(result: Any) -> str:
    return "\n".join(block.text for block in result.content)


async def refused(what: Any) -> MCPError:
    with pytest.raises(MCPError) as info:
        await what
    return info.value


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_what_is_hidden_is_in_no_list_and_runs_under_no_name(mode: Any, make_gateway: Any, reached: Any) -> None:
    async with streams(make_gateway({"default": "allow", "hide": HIDE})) as ways, opened(ways, mode) as client:
        session = client.session
        assert "secret" not in {tool.name for tool in (await session.list_tools()).tools}
        assert {prompt.name for prompt in (await session.list_prompts()).prompts} == {"greet"}
        assert "demo://secret/plan" not in {str(each.uri) for each in (await session.list_resources()).resources}
        for name in ("secret", "Secret", "SECRET", "s\u200becret", "ѕecret", "secret ", "__0123456789ab_secret"):
            assert (await session.call_tool(name, {})).is_error, name
        for uri in (
            "demo://secret/plan", "DEMO://secret/plan", "demo://x/../secret/plan", "demo://secret/%70lan",
            "demo://%73ecret/plan", "demo://secret/./plan", "demo://secret//plan",
        ):  # fmt: skip
            error = await refused(session.read_resource(uri))
            assert error.code == INVALID_REQUEST, uri
        assert (await refused(session.get_prompt("whisper"))).data["rule"] == "(hidden)"
        reference = types.PromptReference(type="ref/prompt", name="whisper")
        assert "not allowed" in (await refused(session.complete(reference, {"name": "x", "value": ""}))).message
        if mode == "auto":
            ask = session._dispatcher.send_raw_request
            for uris in (["demo://secret/plan"], ["demo://notes/1", "demo://secret/./plan"], "demo://secret/plan"):
                listen = {"notifications": {"resourceSubscriptions": uris}, "_meta": ENVELOPE}
                assert (await refused(ask("subscriptions/listen", listen))).code < 0
        if mode == "legacy":
            assert "not allowed" in (await refused(session.subscribe_resource("demo://secret/plan"))).message
    assert reached() == []


async def test_by_default_nothing_is_served_but_what_is_listed(make_gateway: Any, reached: Any) -> None:
    limit = [{"counter": "reads", "window": "hour", "max": 2}]
    policy = {
        "default": "deny",
        "tools": {"add": {}, "prompt:greet": {"deny_if": [{"path": "args.name", "op": "eq", "value": "Bob"}]},
                  "resource:demo://city/*": {"limits": limit}},
    }  # fmt: skip
    gateway = make_gateway(policy)
    async with streams(gateway) as ways, opened(ways) as client:
        session = client.session
        assert not (await session.call_tool("add", {"a": 1})).is_error
        no = await session.call_tool("echo", {"text": "x"})
        assert no.structured_content["rule"] == "(default deny)"
        assert "not allowed by the policy" in said(no)
        for uri in ("demo://notes/1", "demo://picture", "demo://citylights"):
            assert (await refused(session.read_resource(uri))).data["rule"] == "(default deny)"
        for name in ("Ulm", "Ulm", "Bonn"):
            await session.read_resource(f"demo://city/{name}")
        full = await refused(session.read_resource("demo://city/Ulm"))
        assert full.data["outcome"] == "limited"
        assert full.data["retry_after"] > 0
        await session.get_prompt("greet", {"name": "Ann"})
        assert (await refused(session.get_prompt("greet", {"name": "Bob"}))).data["outcome"] == "denied"
        assert (await refused(session.get_prompt("whisper"))).data["rule"] == "(default deny)"
    assert reached() == ["add 1 1", *["read city Ulm"] * 2, "read city Bonn", "prompt Ann"]
    assert {usage.used for usage in gateway.guard.usage("s")} == {1, 2}


@settings(max_examples=120)
@example([(False, "")] * 11)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["", "./", "x/../", "/"])), min_size=11, max_size=11))
def test_no_other_spelling_of_a_uri_passes_a_name_by(spelt: list[tuple[bool, str]]) -> None:
    policy = Policy.model_validate({"version": "1", "default": "allow", "hide": HIDE, "tools": {}})
    # Before the host, or within a segment, these make another name, which is not the one that is hidden.
    begins = [before == "/" for before in " secret/pla"]
    uri = "demo://" + "".join(
        (more if new else "") + (f"%{ord(letter):02x}" if escaped else letter)
        for (escaped, more), letter, new in zip(spelt, "secret/plan", begins, strict=True)
    )
    assert _doubt(uri) or policy.hides(f"resource:{uri}"), uri


@pytest.mark.parametrize(
    "uri",
    ["file:///home/ann/my%20notes.txt", "https://example.com/a.b/..c?x=1&y=%C3%BC#top", "demo://city/{name}", "x:y",
     "https://web.archive.org/web/https://example.com/", "note://a%25b"],
)  # fmt: skip
def test_plain_uris_are_not_in_doubt(uri: str) -> None:
    assert not _doubt(uri), unquote(uri)


async def test_names_that_look_like_another_kind_are_no_tools(make_gateway: Any, reached: Any) -> None:
    policy = {"default": "deny", "tools": {"resource:demo://notes/1": {}}}
    async with streams(make_gateway(policy)) as ways, opened(ways) as client:
        no = await client.session.call_tool("resource:demo://notes/1", {"uri": "demo://notes/1"})
        assert "lists no tool of that name" in said(no)
        await client.session.read_resource("demo://notes/1")
    assert reached() == ["read demo://notes/1"]


async def test_a_tool_that_is_listed_later_is_judged_as_it_is_then(make_gateway: Any, reached: Any) -> None:
    gateway = make_gateway({"default": "deny", "tools": {"add": {}, "grows": {}}})
    async with streams(gateway) as ways, opened(ways) as client:
        await client.session.call_tool("grows", {})
        assert (await client.session.call_tool("grown", {"n": 1})).structured_content["rule"] == "(default deny)"
    async with streams(make_gateway()) as ways, opened(ways) as client:
        assert (await client.session.call_tool("grown", {"n": 1})).is_error
        await client.session.call_tool("grows", {})
        unfit = await client.session.call_tool("grown", {"n": "1"})
        assert "schema" in said(unfit)
        assert not (await client.session.call_tool("grown", {"n": 1})).is_error
    assert reached() == ["grows", "grows", "grown 1"]


async def test_a_pinned_server_that_changes_is_refused(make_gateway: Any, reached: Any, command: Any) -> None:
    from guarded_tools.mcp_session import HeldSession, StdioServer
    from guarded_tools.values import ToolInfo

    def listed() -> Lock:
        with HeldSession(StdioServer(command[0], command[1:]), name="everything") as held:
            infos = [
                ToolInfo(
                    tool.name, "everything", tool.description, tool.input_schema, output=tool.output_schema or False
                )
                for tool in held.tools
            ]
        infos = [info._replace(description="Multiply.") if info.name == "echo" else info for info in infos]
        return Lock.of(infos)

    gateway = make_gateway(lock=await asyncio.to_thread(listed))
    async with streams(gateway) as ways, opened(ways) as client:
        assert not (await client.session.call_tool("add", {"a": 1})).is_error
        changed = await client.session.call_tool("echo", {"text": "x"})
        assert changed.structured_content["rule"] == "(lock)"
    assert reached() == ["add 1 1"]


async def test_a_policy_that_names_what_there_is_not_refuses_every_call(make_gateway: Any, reached: Any) -> None:
    policy = {"default": "allow", "tools": {"ad": {"approval": True}, "resource:demo://city/*": {}}}
    async with streams(make_gateway(policy)) as ways, opened(ways) as client:
        no = await client.session.call_tool("add", {"a": 1})
        assert "the policy does not fit these servers" in said(no)
        assert "did you mean" in said(no) or "add" in said(no)
        assert (await refused(client.session.read_resource("demo://notes/1"))).data["outcome"] == "failed_closed"
    assert reached() == []


async def test_what_a_client_adds_to_a_call_moves_nothing(make_gateway: Any, reached: Any) -> None:
    """Neither a task, nor another version of the tool, nor a session or a grant of the client's own."""
    limit = {"counter": "n", "window": "hour", "max": 1, "scope": "session"}
    policy = {"default": "allow", "tools": {"add": {"limits": [limit, {**limit, "counter": "g", "scope": "grant"}]}}}
    gateway = make_gateway(policy)
    meta = {"sessionId": "mine", "grant": "ann", "fastmcp": {"version": "9"}, "guarded_tools": {"session": "mine"}}
    async with streams(gateway) as ways, opened(ways) as client:
        ask = client.session._dispatcher.send_raw_request
        first = await ask("tools/call", {"name": "add", "arguments": {"a": 1}, "_meta": meta})
        assert not first.get("isError")
        more = {"_meta": {**meta, "sessionId": "another"}, "session": "another", "grant": "bob"}
        second = await ask("tools/call", {"name": "add", "arguments": {"a": 1}, **more})
        assert second["structuredContent"]["outcome"] == "limited"
        task = await ask("tools/call", {"name": "echo", "arguments": {"text": "x"}, "task": {"ttl": 1}})
        assert "in the background" in task["content"][0]["text"]
        for method in ("tasks/list", "tasks/result", "skills/list", "x/y"):
            assert (await refused(ask(method, {}))).code == METHOD_NOT_FOUND
        for params in ({}, {"name": 1}, {"name": "add", "arguments": [1]}, {"name": ["add"]}):
            await refused(ask("tools/call", params))
    assert {usage.scope for usage in gateway.guard.usage()} == {"session:s"}
    assert reached() == ["add 1 1"]


async def test_of_many_at_once_exactly_so_many_run(make_gateway: Any, reached: Any, events: Any) -> None:
    limit = {"counter": "n", "window": "hour", "max": 7}
    gateway = make_gateway({"default": "deny", "tools": {"echo": {"limits": [limit]}}})
    async with streams(gateway) as ways, opened(ways) as client:
        calls = [client.session.call_tool("echo", {"text": "x"}) for _ in range(40)]
        ran = [not result.is_error for result in await asyncio.gather(*calls)]
    assert ran.count(True) == 7
    assert reached() == ["echo 1"] * 7
    assert [event.kind for event in events].count("settled") == 7
    assert {event.server for event in events} == {"everything"}


async def test_an_oversized_answer_is_withheld_as_the_policy_says(make_gateway: Any) -> None:
    policy = {"default": "deny", "tools": {"echo": {"result": {"max_chars": 1000, "on_breach": "deny"}}}}
    async with streams(make_gateway(policy)) as ways, opened(ways) as client:
        small, large = [await client.session.call_tool("echo", {"text": "x" * size}) for size in (50, 1_000_000)]
    assert not small.is_error
    assert large.is_error
    assert "RESULT WITHHELD" in said(large)
    assert large.structured_content["withheld"]


async def test_a_human_at_the_inbox_is_asked(make_gateway: Any, reached: Any, events: Any) -> None:
    store = MemoryStore()
    gateway = make_gateway(
        {"default": "allow", "tools": {"add": {"approval": True}}}, store=store, approver=InboxApprover(store)
    )

    def human(verdict: Verdict) -> None:
        until = time.monotonic() + 20
        while not (open_ones := questions(store)):
            assert time.monotonic() < until
            time.sleep(0.01)
        [asked] = open_ones
        assert (asked.request.tool, asked.request.args, asked.request.session) == ("add", {"a": 1}, "s")
        assert answer(store, asked, verdict).kind == "taken"

    async with streams(gateway) as ways, opened(ways) as client:
        for verdict, told, ran in (
            (Verdict.approve(), "2", ["add 1 1"]),
            (Verdict.edit({"a": 5}), "a human changed this call", ["add 5 1"]),
            (Verdict.reject("not now"), "not now", []),
            (Verdict.respond("42"), "A human answered in its place", []),
        ):
            before = len(reached())
            result, _ = await asyncio.gather(
                client.session.call_tool("add", {"a": 1}), asyncio.to_thread(human, verdict)
            )
            assert told in said(result), verdict.kind
            assert reached()[before:] == ran, verdict.kind
    assert [event.kind for event in events][:2] == ["asked", "answered"]


async def test_who_is_not_answered_is_told_where_answers_are_given(make_gateway: Any, reached: Any) -> None:
    def nobody(request: Any) -> Any:
        raise Unanswered("nobody answered within 1 second")

    gateway = make_gateway({"default": "allow", "tools": {"add": {"approval": True}}}, approver=nobody)
    gateway = dataclasses.replace(gateway, answered_at="guarded-tools approvals --store redis://here")
    async with streams(gateway) as ways, opened(ways) as client:
        told = said(await client.session.call_tool("add", {"a": 1}))
    assert "guarded-tools approvals --store redis://here" in told
    assert reached() == []
