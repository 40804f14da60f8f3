"""A FastMCP server that guards itself: what its clients see, what runs, whose limits count, and what is told."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client, Context, FastMCP
from fastmcp.client.elicitation import ElicitResult
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from fastmcp.server.auth import StaticTokenVerifier
from mcp_types import InputRequiredResult

from guarded_tools import InterruptApprover, Verdict
from guarded_tools.adapters.notes import UNCERTAIN
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.tools.lock import Lock
from guarded_tools.values import GLOBAL, ToolInfo
from tests.adapters import guarded_server
from tests.adapters.claiming_server import listening
from tests.adapters.guarded_server import LIMIT, POLICY, build

MODES = ["legacy", "auto"]
"""Of protocol 2025-11-25, with a session, and of 2026-07-28 without."""


def said(result: Any) -> str:
    return "\n".join(block.text for block in result.content)


async def call(client: Client[Any], tool: str, **args: Any) -> Any:
    return await client.call_tool(tool, args, raise_on_error=False)


@pytest.fixture
def ran() -> list[str]:
    return []


@pytest.mark.parametrize("mode", MODES)
async def test_clients_see_and_run_what_the_policy_lets_them(
    mode: Any, make_guard: Any, ran: Any, outcomes: Any
) -> None:
    guard = make_guard(POLICY)
    async with Client(build(guard, ran), mode=mode) as client:
        listed = {tool.name for tool in await client.list_tools()}
        assert "secret" not in listed
        assert {"add", "free", "wipe"} <= listed
        added = await call(client, "add", n=1)
        assert (said(added), added.structured_content, added.is_error) == ("2", {"result": 2}, False)
        for tool, args in (("secret", {"text": "x"}), ("unlisted", {"text": "x"}), ("add", {"n": 11})):
            refused = await call(client, tool, **args)
            assert refused.is_error, tool
            assert refused.structured_content["denied"], tool
            assert refused.structured_content["outcome"] == "denied"
        wrong = await call(client, "add", n="1")
        assert wrong.is_error, "the very arguments that were judged would run: FastMCP would make a number of it"
        unknown = await call(client, "nothing", text="x")
        assert "lists no tool of that name" in said(unknown)
    assert ran == ["add 1"]
    assert [line for line in outcomes() if line[1] == "add"][:2] == [
        ("admitted", "add", None),
        ("settled", "add", "ok"),
    ]
    assert ("refused", "secret", "denied") in outcomes()


@pytest.mark.parametrize("mode", MODES)
async def test_with_everything_allowed_a_client_cannot_tell(mode: Any, make_guard: Any, ran: Any) -> None:
    guarded = build(make_guard(), ran)
    raw = build(make_guard(), ran)
    raw.middleware.clear()
    told = []
    for server in (raw, guarded):
        async with Client(server, mode=mode) as client:
            names = [tool.model_dump(exclude={"meta"}) for tool in await client.list_tools()]
            answers = [
                (await call(client, tool, **args)).__dict__
                for tool, args in (
                    ("add", {"n": 1}), ("free", {"text": "x"}), ("fails", {"how": "raise"}), ("fails", {"how": "answer"}),
                )
            ]  # fmt: skip
        told.append((names, [{key: str(value) for key, value in answer.items()} for answer in answers]))
    assert told[0] == told[1]


@pytest.mark.parametrize("mode", MODES)
async def test_an_address_that_is_no_name_runs_nothing(mode: Any, make_guard: Any, ran: Any) -> None:
    """FastMCP also finds tools by a hash and their name, which no policy names."""
    async with Client(build(make_guard(), ran), mode=mode) as client:
        for name in ("__0123456789ab_secret", "__0123456789abcdef0123456789abcdef_free", "FREE", "free "):
            assert (await call(client, name, text="x")).is_error
    assert ran == []


async def test_two_clients_over_http_have_limits_of_their_own(make_guard: Any, ran: Any) -> None:
    guard = make_guard(POLICY)
    with listening(build(guard, ran)) as url:
        async with Client(url, mode="legacy") as one, Client(url, mode="legacy") as two:
            told = [(await call(client, "add", n=1)).is_error for client in (one, one, one, two, two, two)]
    assert told == [False, False, True] * 2
    scopes = {usage.scope for usage in guard.usage()}
    assert len(scopes) == 2
    assert all(re.fullmatch(r"session:mcp:[0-9a-f-]{32,}", scope) for scope in scopes)


@pytest.mark.parametrize("stateless", [False, True])
async def test_clients_that_nothing_tells_apart_share_their_limits(stateless: bool, make_guard: Any, ran: Any) -> None:
    """On 2026-07-28 there is no session; without any, a header that a client writes would begin anew with each call."""
    guard = make_guard(POLICY)
    with listening(build(guard, ran), stateless_http=stateless) as url:
        mode: Any = "legacy" if stateless else "auto"
        told = []
        for made_up in ("a", "b", "c"):
            road = StreamableHttpTransport(url, headers={"mcp-session-id": made_up} if stateless else {"x-id": made_up})
            async with Client(road, mode=mode) as client:
                told.append((await call(client, "add", n=1)).is_error)
    assert told == [False, False, True]
    assert {usage.scope for usage in guard.usage()} == {"session:anonymous"}


@pytest.mark.parametrize("mode", MODES)
async def test_a_verified_identity_has_its_limits_wherever_it_comes_from(mode: Any, make_guard: Any, ran: Any) -> None:
    seen: list[Any] = []
    tokens = {
        "ann-1": {"client_id": "app", "scopes": [], "sub": "ann"},
        "ann-2": {"client_id": "app", "scopes": [], "sub": "ann"},
        "bob-1": {"client_id": "app", "scopes": [], "sub": "bob"},
    }
    guard = make_guard(POLICY, grant=lambda config: seen.append(config) or None)
    with listening(build(guard, ran, auth=StaticTokenVerifier(tokens))) as url:
        told = []
        for token in ("ann-1", "ann-2", "ann-1", "bob-1"):
            async with Client(url, auth=token, mode=mode) as client:
                told.append((await call(client, "add", n=1)).is_error)
    assert told == [False, False, True, False]
    scopes = {usage.scope for usage in guard.usage()}
    assert len(scopes) == 2
    assert all(scope.startswith('session:user:["app",') for scope in scopes)
    assert {each["configurable"]["mcp"]["client_id"] for each in seen} == {"app"}


async def test_the_user_may_say_whose_limits_count(make_guard: Any, ran: Any) -> None:
    def tenant(context: Any) -> str:
        return context.request_context.request.headers["x-tenant"]

    guard = make_guard(POLICY)
    with listening(build(guard, ran, session=tenant)) as url:
        told = []
        for headers in ({"x-tenant": "a"}, {"x-tenant": "a"}, {"x-tenant": "a"}, {"x-tenant": "b"}, {}):
            async with Client(StreamableHttpTransport(url, headers=headers)) as client:
                told.append(await call(client, "add", n=1))
    assert [each.is_error for each in told] == [False, False, True, False, True]
    assert "it cannot be told whose session this is: KeyError" in said(told[-1])
    assert {usage.scope for usage in guard.usage()} == {"session:a", "session:b"}
    own = guard.for_session("mine")
    async with Client(build(own, ran, session=tenant)) as client:
        assert not (await call(client, "add", n=1)).is_error, "the guard's own session comes first"


@pytest.mark.parametrize("mode", MODES)
async def test_over_stdio(mode: Any, tmp_path: Path) -> None:
    road = StdioTransport(sys.executable, [guarded_server.__file__, str(tmp_path)], keep_alive=False)
    async with Client(road, mode=mode) as client:
        assert "secret" not in {tool.name for tool in await client.list_tools()}
        told = [(await call(client, "add", n=1)).is_error for _ in range(3)]
        assert (await call(client, "secret", text="x")).is_error
        assert said(await call(client, "whose")) == "stdio"
    assert told == [False, False, True]
    assert (tmp_path / "ran").read_text().splitlines() == ["add 1", "add 1"]
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert {line["session"].partition(":")[0] for line in lines if line.get("tool")} == {
        "mcp" if mode == "legacy" else "process"
    }


async def test_calls_that_race_are_counted_exactly(make_guard: Any, ran: Any) -> None:
    limits = [{**LIMIT, "max": 7, "scope": "global"}, {**LIMIT, "counter": "own", "max": 4}]
    guard = make_guard({"version": "1", "default": "deny", "tools": {"free": {"limits": limits}}})
    with listening(build(guard, ran)) as url:
        async with Client(url, mode="legacy") as one, Client(url, mode="legacy") as two:
            calls = [call(client, "free", text="x") for client in (one, two) for _ in range(12)]
            told = [each.is_error for each in await asyncio.gather(*calls)]
    assert told.count(False) == len(ran) == 7
    used = {(usage.scope == GLOBAL, usage.used) for usage in guard.usage()}
    assert used == {(True, 7), (False, 4), (False, 3)}


async def test_an_approver_is_asked_in_place_and_nothing_waits_for_it(make_guard: Any, ran: Any) -> None:
    asked, going = threading.Event(), threading.Event()

    def slow(request: Any) -> bool:
        asked.set()
        return going.wait(10)

    async with Client(build(make_guard(POLICY, approver=slow), ran)) as client:
        waiting = asyncio.create_task(call(client, "wipe", what="x"))
        await asyncio.to_thread(asked.wait, 10)
        assert said(await call(client, "free", text="meanwhile")) == "meanwhile"
        going.set()
        assert said(await waiting) == "wiped x"


async def test_what_a_human_may_answer(make_guard: Any, ran: Any) -> None:
    answers = iter(
        [
            Verdict.reject("not now"),
            Verdict.edit({"what": "y"}),
            Verdict.respond("done by hand"),
            Verdict.edit({"no": 1}),
        ]
    )

    async def human(request: Any) -> Verdict:
        assert (request.tool, request.server, request.risk) == ("wipe", "shop", "destructive")
        return next(answers)

    async with Client(build(make_guard(POLICY, approver=human), ran)) as client:
        rejected, edited, responded, wrong = [await call(client, "wipe", what="x") for _ in range(4)]
    assert (rejected.is_error, "not now" in said(rejected)) == (True, True)
    assert (edited.is_error, said(edited).endswith("wiped y")) == (False, True)
    assert "a human changed this call" in said(edited)
    assert "A human answered in its place:\ndone by hand" in said(responded)
    assert responded.is_error, "it has an output schema, which these words do not fit"
    assert not responded.structured_content["denied"]
    assert wrong.is_error
    assert ran == ["wipe y"]


async def test_a_human_answers_in_the_place_of_a_tool_without_a_schema(make_guard: Any) -> None:
    policy = {"version": "1", "default": "deny", "tools": {"say": {"approval": True}}}
    guard = make_guard(policy, approver=lambda _: Verdict.respond("done by hand"))
    server: FastMCP[Any] = FastMCP("shop", middleware=[guard.fastmcp_middleware()])
    server.tool(lambda: "ran", name="say", output_schema=None)
    async with Client(server) as client:
        answer = await call(client, "say")
    assert (answer.is_error, "done by hand" in said(answer)) == (False, True)


async def test_a_tool_that_asks_its_client_first_has_not_succeeded_yet(make_guard: Any, outcomes: Any) -> None:
    policy = {"version": "1", "default": "deny", "tools": {"review": {}, "push": {"needs": [{"tool": "review"}]}}}
    guard = make_guard(policy)
    server: FastMCP[Any] = FastMCP("shop", middleware=[guard.fastmcp_middleware()])
    wanted = {"message": "Sure?", "requestedSchema": {"type": "object", "properties": {"yes": {"type": "boolean"}}}}

    def review(ctx: Context) -> Any:
        if ctx.input_responses:
            return "reviewed"
        asked = {"sure": {"method": "elicitation/create", "params": wanted}}
        return InputRequiredResult.model_validate({"resultType": "input_required", "inputRequests": asked})

    server.tool(review, output_schema=None)
    server.tool(lambda: "pushed", name="push", output_schema=None)
    meanwhile: list[bool] = []

    async def answer(message: str, response_type: Any, params: Any, context: Any) -> Any:
        meanwhile.append((await call(client, "push")).is_error)
        return ElicitResult(action="accept", content={"yes": True})

    async with Client(server, mode="auto", elicitation_handler=answer) as client:
        assert said(await call(client, "review")) == "reviewed"
        assert not (await call(client, "push")).is_error
    assert meanwhile == [True]
    assert [line[2] for line in outcomes() if line[:2] == ("settled", "review")] == ["unknown", "ok"]


@pytest.mark.parametrize("mode", MODES)
async def test_an_approver_that_suspends_declines_and_says_why(mode: Any, make_guard: Any, ran: Any) -> None:
    guard = make_guard(POLICY, approver=InterruptApprover())
    async with Client(build(guard, ran), mode=mode) as client:
        refused = await call(client, "wipe", what="x")
    assert refused.is_error
    assert "give its guard one that answers by returning, as InboxApprover does" in said(refused)
    assert ran == []


@pytest.mark.may_block("FastMCP itself writes tracebacks of tools on the loop")
@pytest.mark.parametrize("mode", MODES)
async def test_what_became_of_a_call(mode: Any, make_guard: Any, ran: Any, outcomes: Any) -> None:
    guard = make_guard(POLICY)
    async with Client(build(guard, ran), mode=mode) as client:
        told = [await call(client, "fails", how=how) for how in ("raise", "answer", "raise")]
        late = await call(client, "late", text="x")
    assert [said(each) for each in told[:2]] == ["no such thing"] * 2
    assert told[2].structured_content["outcome"] == "limited", "an error has run"
    assert UNCERTAIN in said(late)
    settled = [(tool, outcome) for kind, tool, outcome in outcomes() if kind == "settled"]
    assert settled == [("fails", "error"), ("fails", "error"), ("late", "unknown")]


async def test_the_stop_button_and_the_lock(make_guard: Any, ran: Any) -> None:
    guard = make_guard(POLICY)
    async with Client(build(guard, ran)) as client:
        guard.store.halt(GLOBAL, "enough")
        assert "enough" in said(await call(client, "free", text="x"))
        guard.store.resume(GLOBAL)
        assert not (await call(client, "free", text="x")).is_error
        schema = {tool.name: tool.input_schema for tool in await client.list_tools()}["free"]
    pinned = ToolInfo("free", "shop", "Say it.", schema)
    for lock, runs in ((Lock.of([pinned]), True), (Lock.of([pinned._replace(description="Else.")]), False)):
        async with Client(build(make_guard(lock=lock), ran)) as client:
            assert (await call(client, "free", text="x")).is_error is not runs


async def test_a_call_that_is_mounted_is_judged_where_the_guard_stands(make_guard: Any, ran: Any) -> None:
    outer: FastMCP[Any] = FastMCP("outer")
    outer.mount(build(make_guard(POLICY), ran), namespace="in")
    async with Client(outer) as client:
        assert "in_secret" not in {tool.name for tool in await client.list_tools()}
        assert not (await call(client, "in_free", text="x")).is_error
        assert (await call(client, "in_secret", text="x")).is_error
    assert ran == ["free x"]


async def test_counters_are_one_across_servers_of_one_store(make_guard: Any, ran: Any) -> None:
    store = MemoryStore()
    limit = {**LIMIT, "scope": "global"}
    policy = {"version": "1", "default": "deny", "tools": {"free": {"limits": [limit]}}}
    told = []
    for _ in range(3):
        async with Client(build(make_guard(policy, store=store), ran)) as client:
            told.append((await call(client, "free", text="x")).is_error)
    assert told == [False, False, True]


def test_the_page_in_the_documentation_runs_as_printed(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "fastmcp.md"
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    script = tmp_path / "page.py"
    script.write_text("\n\n".join(blocks))
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=60)
    assert ran.stdout.splitlines()[:2] == ["['search', 'refund']", "3 things with tea"], ran.stderr
    assert ran.stdout.splitlines()[2].startswith("True ")
