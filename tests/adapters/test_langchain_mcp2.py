"""The road over ``langchain.mcp``: any target, tools that cannot be told from raw ones, and whose they are."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastmcp import Client, FastMCP
from fastmcp.client.group import ClientGroup
from fastmcp.client.transports import StdioTransport
from fastmcp.exceptions import ToolError
from fastmcp.mcp_config import MCPConfig
from fastmcp.tools.base import ToolResult
from langchain.agents import create_agent
from langchain.mcp import MCPAdapter, as_langchain_tool
from langchain_core.tools import BaseTool
from mcp import MCPError
from mcp_types import AudioContent, ImageContent, TextContent, Tool

from guarded_tools.adapters.notes import UNCERTAIN
from guarded_tools.adapters.outcome import judge_mcp
from guarded_tools.adapters.wrap import identity
from guarded_tools.errors import GuardError
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.tools.lock import Lock
from guarded_tools.values import Verdict
from tests.adapters import claiming_server
from tests.adapters.claiming_server import build
from tests.adapters.roads import ROADS, told_of

SERVER = claiming_server.__file__
ASK_ALL = {"version": "1", "default": "deny", "tools": {"search": {"approval": {"remember": "tool"}}}}
pytestmark = pytest.mark.filterwarnings("ignore:.*langchain.mcp. is in beta")


@pytest.fixture
def ran(tmp_path: Path) -> Callable[[], list[str]]:
    path = tmp_path / "ran"
    return lambda: path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def command(tmp_path: Path) -> Callable[[str], list[str]]:
    """What starts a server that calls itself so."""
    return lambda name: [sys.executable, SERVER, name, str(tmp_path / "ran")]


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Start a server that listens and calls itself so; the address."""
    with contextlib.ExitStack() as started:
        yield lambda name: started.enter_context(claiming_server.listening(build(name, str(tmp_path / "ran"))))


@contextlib.contextmanager
def started(command: list[str]) -> Iterator[str]:
    """Start a server that may die; the context is its address."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


def stdio(command: list[str]) -> Client[Any]:
    return Client(StdioTransport(command[0], command[1:], keep_alive=False))


async def tools_of(target: Any) -> dict[str, BaseTool]:
    return {tool.name: tool for tool in await MCPAdapter(target).list_tools()}


def shop() -> FastMCP[Any]:
    """A server in this process, with each kind of answer."""
    server: FastMCP[Any] = FastMCP("shop")

    @server.tool(annotations={"title": "Adds"}, tags={"sums"})
    def add(n: int, more: dict[str, Any] | None = None) -> int:
        """Add one."""
        return n + 1

    @server.tool(output_schema=None)
    def picture(n: int) -> list[Any]:
        """Draw."""
        return [TextContent(type="text", text="see"), ImageContent(type="image", data="AAAA", mime_type="image/png")]

    @server.tool(output_schema=None)
    def sound(n: int) -> list[Any]:
        """Sing."""
        return [AudioContent(type="audio", data="AAAA", mime_type="audio/wav")]

    @server.tool
    def fails(n: int) -> int:
        """Fail."""
        raise ToolError("no such thing")

    @server.tool
    def refuses(n: int) -> ToolResult:
        """Answer an error that holds more than text."""
        picture = ImageContent(type="image", data="AAAA", mime_type="image/png")
        return ToolResult(content=[picture], is_error=True)

    return server


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize(
    ("name", "args"),
    [
        *((name, {"n": 1}) for name in ("add", "picture", "sound", "fails", "refuses")),
        ("add", {"n": 1, "more": {"a": [1]}}),
        ("add", {"n": "x"}),
    ],
)
def test_a_guarded_tool_cannot_be_told_from_the_raw_one(
    name: str, args: dict[str, Any], road: str, make_guard: Any, scripted: Any, events: Any
) -> None:
    policy = {"version": "1", "default": "allow", "tools": {name: {"schema": "off"}}}
    raw = asyncio.run(tools_of(shop()))[name]
    (guarded,) = make_guard(policy).wrap([raw])
    assert (guarded.metadata, guarded.tags, guarded.description) == (raw.metadata, raw.tags, raw.description)
    assert told_of(guarded, road, args, scripted) == told_of(raw, road, args, scripted)
    if road == "ainvoke":
        assert [event.kind for event in events] == ["admitted", "settled"], "it did go through the guard"
        assert events[-1].outcome == ("ok" if name in ("add", "picture") and args["n"] == 1 else events[-1].outcome)
        assert events[-1].outcome == ("error" if name in ("fails", "refuses") else events[-1].outcome)


async def test_every_target_is_guarded_and_named(
    command: Any, listening: Any, make_guard: Any, tmp_path: Path, ran: Any
) -> None:
    url = listening("far")
    script = tmp_path / "server.py"
    script.write_text(f"import runpy, sys\nsys.argv[1:] = ['near', {str(tmp_path / 'ran')!r}]\n"
                      f"runpy.run_path({SERVER!r}, run_name='__main__')\n")  # fmt: skip
    described = {"command": sys.executable, "args": command("anything")[1:]}
    one, two = {"mcpServers": {"alone": described}}, {"mcpServers": {"a": {"url": url}, "b": {"url": url}}}
    asking = Client(shop(), elicitation_handler=lambda *_: None)
    targets: list[tuple[Any, str, str, str, str]] = [
        (shop(), "add", "add", "shop", ""),
        (FastMCP("unused"), "", "", "", ""),
        (url, "search", "search", "far", url),
        (script, "search", "search", "near", f"python {script} #"),
        (MCPConfig.from_dict(one), "search", "search", "alone", ""),
        (MCPConfig.from_dict(two), "a_search", "a/search", "a", ""),
        (MCPConfig.from_dict(two), "b_search", "b/search", "b", ""),
        (ClientGroup({"g": Client(url), "g_x": Client(url)}), "g_x_search", "g_x/search", "g_x", ""),
        (asking, "add", "add", "shop", ""),
    ]
    for target, called, known, server, place in targets:
        tools = await tools_of(target)
        if not called:
            assert tools == {}
            continue
        (guarded,) = make_guard().wrap([tools[called]])
        info = identity(guarded)
        assert (info.name, info.server) == (known, server)
        assert info.place.startswith(place) if place.endswith("#") else info.place == place
        assert guarded.name == called
        answer = await guarded.ainvoke({"n": 1} if called == "add" else {"text": "x"})
        assert "2" in str(answer) if called == "add" else "found x" in str(answer)
    assert len(ran()) == 6, "each of them ran once"


async def test_tools_made_one_by_one_are_known_too(make_guard: Any) -> None:
    client = Client(shop())
    async with client:
        made = [await as_langchain_tool(listed, client) for listed in await client.list_tools()]
    apart = [await as_langchain_tool(listed, Client(shop())) for listed in await _listed(client)]
    for tool in (made[0], apart[0]):
        (guarded,) = make_guard({"version": "1", "default": "deny", "tools": {"add": {}}}).wrap([tool])
        assert "2" in str(await guarded.ainvoke({"n": 1}))
    assert (identity(made[0]).server, identity(apart[0]).server) == ("shop", ""), "nobody asked the second its name"


async def _listed(client: Client[Any]) -> Any:
    async with client:
        return await client.list_tools()


async def test_a_server_that_nobody_named_has_no_name() -> None:
    """FastMCP makes one up at each start: an approval, or a run that was suspended, would not be known again."""
    unnamed: FastMCP[Any] = FastMCP()
    unnamed.tool(lambda: "x", name="say")
    assert identity((await tools_of(unnamed))["say"]).server == ""
    unnamed = FastMCP("FastMCP tools")
    unnamed.tool(lambda: "x", name="say")
    assert identity((await tools_of(unnamed))["say"]).server == "FastMCP tools"


@pytest.mark.parametrize("keys", [("a", "a_b"), ("a_b", "a")])
async def test_a_name_that_two_servers_of_a_config_may_have_is_refused(
    keys: Any, listening: Any, make_guard: Any
) -> None:
    """``a`` could list ``b_search`` to be taken for ``search`` of ``a_b``; in a group the route tells them apart."""
    config = {"mcpServers": {key: {"url": listening("?")} for key in keys}}
    tools = await tools_of(config)
    assert identity(tools["a_search"]).name == "a/search"
    with pytest.raises(GuardError, match=r"a_b_search cannot be guarded: .* ClientGroup.from_config"):
        make_guard().wrap([tools["a_b_search"]])
    grouped = await tools_of(ClientGroup.from_config(config))
    assert identity(grouped["a_b_search"]).name == "a_b/search"


class Asked(list[Any]):
    """An approver that says yes to this tool from now on, and notes what it was asked."""

    def __call__(self, request: Any) -> Verdict:
        self.append(request)
        return Verdict.approve(remember="tool")


async def test_a_name_that_a_server_gives_itself_gets_it_nothing(
    command: Any, listening: Any, make_guard: Any, ran: Any
) -> None:
    """Two servers call themselves ``pictify`` and have a tool of one definition: approvals, risk and pins stay apart."""
    asked, store = Asked(), MemoryStore()
    urls = [listening("pictify"), listening("pictify")]
    tools = [(await tools_of(target))["search"] for target in (*urls, stdio(command("pictify")))]
    for times, tool in enumerate(tools, 1):
        (guarded,) = make_guard(ASK_ALL, store=store, approver=asked, session="s").wrap([tool])
        await guarded.ainvoke({"text": "x"})
        await guarded.ainvoke({"text": "y"})
        assert len(asked) == times, "an approval that another one got does not cover it"
        assert asked[-1].server == identity(tool).place != "pictify", "and a human is told where it is"
    assert [request.server for request in asked[:2]] == urls
    assert len(ran()) == 6
    assert len({identity(tool).source for tool in tools}) == 3


async def test_how_errors_are_worded_is_not_believed_of_a_name_that_a_server_gives_itself(
    listening: Any, make_guard: Any, events: Any
) -> None:
    """A 404 in Pictify's words gives charges back where the policy consents, and consent is to Pictify."""
    url = listening("pictify")
    limits = [{"counter": "calls", "window": "hour", "max": 2}]
    entry = {"refunds": "reported", "limits": limits}
    for server, outcome in ((None, "error"), ("pictify", "never_ran")):
        policy = {"version": "1", "default": "deny", "tools": {"fails": entry}}
        guard = make_guard({**policy, "server": server} if server else policy)
        (guarded,) = guard.wrap([(await tools_of(url))["fails"]])
        await guarded.ainvoke(call("fails", {"text": "Error (404): none"}))
        said = events[-1].outcome
        assert said == "error", (server, outcome, "FastMCP puts its own words before it")
    judge = judge_mcp("", None)
    assert judge(ToolResult(content="Error (404): none", is_error=True)) == "error"
    assert judge_mcp("", "pictify")(ToolResult(content="Error (404): none", is_error=True)) == "reported"


async def test_pins_are_found_by_the_users_name_or_by_the_tools_alone(
    command: Any, listening: Any, make_guard: Any
) -> None:
    tools = [(await tools_of(listening("pictify")))["search"]]
    info = identity(tools[0])._replace(place="", server="pictify")
    other = info._replace(server="else", description="Another.")
    grouped = await tools_of(ClientGroup({"pictify": Client(listening("?")), "else": Client(listening("?"))}))
    for lock, runs in ((Lock.of([info]), True), (Lock.of([other]), False), (Lock.of([info, other]), False)):
        (guarded,) = make_guard(lock=lock).wrap(tools)
        answer = await guarded.ainvoke(call("search", {"text": "x"}))
        assert ("found x" in str(answer.content)) is runs, "where two have that name, its own word does not decide"
    keyed = make_guard(lock=Lock.of([info, other])).wrap([grouped["pictify_search"], grouped["else_search"]])
    said = [str((await tool.ainvoke(call(tool.name, {"text": "x"}))).content) for tool in keyed]
    assert "found x" in said[0]
    assert "its description changed since it was pinned" in said[1]


def call(name: str, args: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_call", "id": "c", "name": name, "args": args}


async def test_limits_of_two_servers_with_one_tool_never_run_together(
    listening: Any, make_guard: Any, ran: Any
) -> None:
    limited = {"limits": [{"counter": "calls", "window": "hour", "max": 1}]}
    policy = {"version": "1", "default": "deny", "tools": {"a/search": limited, "b/search": limited}}
    urls = {"a": listening("same"), "b": listening("same")}
    group = ClientGroup({name: Client(url) for name, url in urls.items()})
    for target in ({"mcpServers": {name: {"url": url} for name, url in urls.items()}}, group):
        guard = make_guard(policy)
        tools = await tools_of(target)
        guarded = {tool.name: tool for tool in guard.wrap(list(tools.values()))}
        answers = [
            str((await guarded[name].ainvoke(call(name, {"text": "x"}))).content)
            for name in ("a_search", "a_search", "b_search", "b_search")
        ]
        assert ["found x" in answer for answer in answers] == [True, False, True, False]
        assert {usage.counter for usage in guard.usage()} == {"/a~1search/calls", "/b~1search/calls"}
    assert len(ran()) == 4


async def test_two_single_targets_with_one_tool_are_refused_where_they_would_run_together(
    listening: Any, make_guard: Any, ran: Any
) -> None:
    first, second = [(await tools_of(listening("same")))["search"] for _ in range(2)]
    guard = make_guard()
    with pytest.raises(GuardError, match=r"search is a tool of http://.* and of http://.*ClientGroup"):
        guard.wrap([first, second])
    assert [tool.name for tool in guard.wrap([first, first])] == ["search", "search"], "of one server, it is one tool"
    assert ran() == []


async def test_two_single_targets_with_one_tool_are_refused_one_after_the_other_too(
    listening: Any, make_guard: Any, scripted: Any, answers_of: Any, ran: Any
) -> None:
    """A counter of both would say of neither how often it was called, and one rule would allow both."""
    first, second = [(await tools_of(listening("same")))["search"] for _ in range(2)]
    guard = make_guard()
    guard.wrap([first])
    for again in (guard, guard.for_session("another")):
        with pytest.raises(GuardError, match=r"search is a tool of http://.* and of http://"):
            again.wrap([second])
    assert [tool.name for tool in guard.wrap([first])] == ["search"]
    agent = create_agent(scripted(("search", {"text": "x"})), [second], middleware=[guard.middleware()])
    (answer,) = answers_of(await agent.ainvoke({"messages": [("user", "go")]}))
    assert "search is a tool of http://" in str(answer.content)
    assert ran() == []


async def test_a_list_that_was_refused_leaves_its_names_free(listening: Any, make_guard: Any, ran: Any) -> None:
    first, second = [await tools_of(listening("same")) for _ in range(2)]
    guard = make_guard()
    guard.wrap([first["search"]])
    with pytest.raises(GuardError):
        guard.wrap([second["look_up"], second["search"]])
    assert [tool.name for tool in guard.wrap([first["look_up"]])] == ["look_up"]


async def test_two_accounts_at_one_address_are_one_server_to_a_rule_and_two_to_a_human(make_guard: Any) -> None:
    listed = Tool(name="search", input_schema={"type": "object"})
    keys = ("sk_live_0123456789abcdefghij", "sk_live_abcdefghij0123456789")
    tools = [await as_langchain_tool(listed, Client(f"https://shop.test/mcp?api_key={key}")) for key in keys]
    guard = make_guard()
    assert [tool.name for each in tools for tool in guard.wrap([each])] == ["search", "search"]
    assert len({identity(tool).source for tool in tools}) == 2


async def test_a_server_that_moves_keeps_its_rules_under_a_name_of_the_users(listening: Any, make_guard: Any) -> None:
    guard = make_guard()
    for _ in range(2):
        tools = await tools_of({"mcpServers": {"shop": {"url": listening("?")}}})
        assert [tool.name for tool in guard.wrap([tools["search"]])] == ["search"]


def test_an_interceptor_says_what_it_takes(make_guard: Any) -> None:
    with pytest.raises(GuardError, match=r"pip install 'guarded-tools\[adapters\]'.* guard.wrap"):
        _ = make_guard().interceptor


async def test_hints_of_a_server_only_ever_raise_a_risk(make_guard: Any) -> None:
    tools = await tools_of(build("near", "?"))
    guard = make_guard()
    guard.wrap(list(tools.values()))
    risks = {name: guard.risk_of(identity(tool)) for name, tool in tools.items()}
    assert risks["get_rid"] == "destructive", "its name says get, its server that it destroys"
    assert risks["look_up"] == "write", "it reaches out into the world"
    assert risks["wipe"] == "destructive", "what a server says is read-only is what its name says"
    assert risks["search"] == "read"
    own = tools["get_rid"].model_copy(update={"metadata": {"mine": True}})
    assert identity(own).risk == "destructive", "also where its metadata is the user's by now"
    said = make_guard({"version": "1", "default": "deny", "tools": {"get_rid": {"risk": "read"}}})
    assert said.risk_of(identity(tools["get_rid"])) == "read", "the policy is the user's own word"


async def test_did_it_happen(command: Any, make_guard: Any, events: Any, ran: Any) -> None:
    """Certain is only what failed before there was a connection; a server that dies may have acted."""
    limits = {"limits": [{"counter": "calls", "window": "hour", "max": 9}], "risk": "write"}
    store = MemoryStore()
    policy = {"version": "1", "default": "deny", "tools": {"search": limits, "dies": limits}}
    guard = make_guard(policy, store=store)
    with started([*command("far"), "http"]) as url:
        tools = await tools_of(url)
        (searching, dying) = guard.wrap([tools["search"], tools["dies"]])
        with pytest.raises(Exception) as raised:
            await dying.ainvoke(call("dies", {"text": "x"}))
    assert (events[-1].outcome, ran()) == ("unknown", ["dies x"])
    assert UNCERTAIN in str(raised.value) or UNCERTAIN in "".join(getattr(raised.value, "__notes__", ()))
    with pytest.raises(RuntimeError, match="connect"):
        await searching.ainvoke(call("search", {"text": "x"}))
    assert (events[-1].outcome, events[-1].refunded) == ("never_ran", 1)
    (near,) = make_guard(policy, store=store).wrap([(await tools_of(stdio(command("near"))))["dies"]])
    with pytest.raises(Exception):  # noqa: B017 - likewise
        await near.ainvoke(call("dies", {"text": "y"}))
    assert events[-1].outcome == "unknown"
    assert sorted((usage.counter, usage.used) for usage in guard.usage()) == [("/dies/calls", 2), ("/search/calls", 0)]


def rpc(code: int, message: str) -> MCPError:
    return MCPError(code, message)


@pytest.mark.parametrize(
    ("seen", "outcome"),
    [
        (rpc(-32602, "Invalid params"), "reported"),
        (rpc(-32601, "Method not found"), "reported"),
        (rpc(-32601, "Not Found"), "unknown"),  # the client's own, of an HTTP status
        (rpc(-32603, "Server returned an error response"), "unknown"),
        (rpc(-32603, "boom"), "error"),
        (rpc(-32600, "Session terminated"), "unknown"),
        (rpc(-32700, "Failed to parse JSON response: x"), "unknown"),
        (rpc(-32000, "Connection closed"), "unknown"),
        (rpc(-32001, "Request 'tools/call' timed out"), "unknown"),
        (httpx2.ReadTimeout("t"), "unknown"),
        (httpx2.ConnectError("c", request=httpx2.Request("POST", "http://h", json={"method": "tools/call"})), "never_ran"),
        (httpx2.ConnectError("c", request=httpx2.Request("POST", "http://h", json={"method": "ping"})), "unknown"),
        (RuntimeError("Client failed to connect: said by a body of its own"), "error"),
        (ToolError("no"), "error"),
        (ToolResult(content="no", is_error=True), "error"),
        (ToolResult(content="yes"), "ok"),
        (ToolResult(content="Input validation error: 'n' is a required property", is_error=True), "reported"),
    ],
)  # fmt: skip
def test_errors_of_the_second_generation_are_told_apart(seen: Any, outcome: str) -> None:
    assert judge_mcp("shop")(seen) == outcome


def test_the_metadata_is_not_read_where_langchain_did_not_put_it(make_guard: Any) -> None:
    """A tool of one's own may have metadata of that form: it lives on no server."""
    from langchain_core.tools import tool

    @tool
    def add(n: int) -> int:
        """Add one."""
        return n + 1

    add.metadata = {"mcp": {"server": {"name": "pictify"}}}
    assert identity(add).server == ""
    assert json.dumps(make_guard().wrap([add])[0].metadata) == json.dumps(add.metadata)


async def test_a_place_shows_no_secret_and_stays_one_of_its_own(command: Any) -> None:
    """It is told to humans, to the audit and to the lock's errors; two accounts at one address are two servers."""
    listed = Tool(name="search", input_schema={"type": "object"})
    key = "sk_live_0123456789abcdefghij"
    roads = [
        Client(f"https://ann:{key}@shop.test/mcp"),
        Client(f"https://shop.test/mcp?api_key={key}"),
        Client(f"https://shop.test/mcp?api_key={key}x"),
        Client("https://shop.test/mcp"),
        stdio([*command("near"), "--api-key", key]),
        stdio([*command("near"), "--api-key", f"{key}x"]),
        stdio(["/elsewhere/python", *command("near")[1:], "--api-key", key]),
    ]
    places = [identity(await as_langchain_tool(listed, road)).place for road in roads]
    assert len(set(places)) == len(places)
    assert not any(key in place for place in places)
    assert places[3] == "https://shop.test/mcp"
    assert all(place.startswith("https://shop.test/mcp #") for place in places[:3])
    again = identity(await as_langchain_tool(listed, Client(f"https://shop.test/mcp?api_key={key}")))
    assert again.place == places[1], "it is the same in every process, or no suspended run would be known again"


async def test_an_agents_middleware_knows_them_too(listening: Any, make_guard: Any, scripted: Any, ran: Any) -> None:
    limit = {"limits": [{"counter": "calls", "window": "hour", "max": 1}]}
    policy = {"version": "1", "default": "deny", "hide": ["b/search"], "tools": {"a/search": limit}}
    guard = make_guard(policy)
    tools = await tools_of(ClientGroup({key: Client(listening(key)) for key in ("a", "b")}))
    both = [tools["a_search"], tools["b_search"]]
    calls = [("a_search", {"text": "x"}), ("a_search", {"text": "y"}), ("b_search", {"text": "z"})]
    for given in (both, [*guard.wrap(both[:1]), both[1]]):
        agent = create_agent(scripted(*calls), given, middleware=[guard.middleware()])
        state = await agent.ainvoke({"messages": [("user", "go")]})
        assert len([message for message in state["messages"] if message.type == "tool"]) == 3
        guard.store.reset()
    assert len(ran()) == 2, "once for each agent"
    assert not any("z" in line for line in ran())
