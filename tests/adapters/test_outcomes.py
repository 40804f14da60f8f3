"""Did the call happen? Checked against the log of a server that fails in every way it can."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import anyio
import httpx
import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool, ToolException, tool
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import convert_mcp_tool_to_langchain_tool, load_mcp_tools
from langgraph.prebuilt import ToolNode
from langgraph.runtime import Runtime
from mcp import McpError
from mcp import types as mcp
from mcp.server.fastmcp import FastMCP
from mcp.server.lowlevel import Server
from mcp.shared import _httpx_utils
from mcp.shared.memory import create_connected_server_and_client_session

from guarded_tools.adapters.notes import UNCERTAIN
from guarded_tools.adapters.outcome import judge_mcp, judge_plain
from guarded_tools.errors import ConnectionFailed
from guarded_tools.guard import Guard
from guarded_tools.policy import Policy
from guarded_tools.servers import guarded_tools
from guarded_tools.stores.memory import MemoryStore
from tests import forked
from tests.faulty_sandbox import COMMAND

T = {"templateId": "none"}
PDF = {"templateId": "none", "variableSets": [{}]}
# tool, its arguments, the fault it runs into, the outcome, and whether the model is told that it is open
CASES: list[tuple[str, dict[str, Any], str, str, bool]] = [
    ("pictify_list_templates", {}, "", "ok", False),
    ("pictify_get_template", T, "", "never_ran", False),  # a 404 of its own, and the policy takes the server's word
    ("pictify_create_image", {"html": "<p>"}, "4xx", "error", False),
    ("pictify_create_template", {"name": "n", "html": "<p>"}, "422", "error", False),
    ("pictify_capture_gif", {"url": "https://a.test"}, "429", "error", False),
    ("pictify_create_gif", {"html": "<p>"}, "5xx", "unknown", True),
    ("pictify_list_images", {}, "500", "unknown", False),  # reading again does no harm
    ("pictify_render_pdf", T, "408", "unknown", True),
    ("pictify_list_gifs", {}, "malformed", "unknown", False),
    ("pictify_create_canvas_image", {"fabricJSData": {"objects": []}}, "malformed", "unknown", True),
    ("pictify_start_experiment", {"experimentId": "none"}, "hang", "unknown", True),
    ("pictify_list_experiments", {}, "hang-after", "unknown", False),
    ("pictify_render_multi_page_pdf", PDF, "die-before", "unknown", True),
    ("pictify_get_experiment_quota", {}, "die-after", "unknown", False),
]
FAULTS = [f"--fault={tool}={fault}" for tool, _, fault, *_ in CASES if fault]
LIMIT = {"counter": "calls", "window": "hour", "max": 5, "scope": "session"}
POLICY = {
    "version": "1",
    "default": "deny",
    "server": "pictify",
    "tools": {
        tool: {
            "limits": [LIMIT],
            "risk": "read" if tool.startswith(("pictify_list", "pictify_get")) else "write",
            "refunds": "reported" if tool == "pictify_get_template" else "certain",
        }
        for tool, *_ in CASES
    },
}


class Log:
    """What reached the upstream, as it noted itself."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, tool: str) -> list[str]:
        lines = map(json.loads, self.path.read_text().splitlines()) if self.path.exists() else ()
        return [line["state"] for line in lines if line["tool"] == tool]

    async def until(self, tool: str, state: str) -> None:
        async with asyncio.timeout(10):
            while state not in self(tool):  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.01)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "upstream.jsonl")


@pytest.fixture
def command(log: Log) -> tuple[str, ...]:
    return (*COMMAND, "--log", str(log.path), *FAULTS)


@pytest.fixture
def url(command: tuple[str, ...]) -> Iterator[str]:
    with forked.Popen([*command, "--http", "0"], stdout=forked.PIPE) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


def call(tool: str, args: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_call", "id": f"call-{tool}", "name": tool, "args": args}


def text(answer: Any) -> str:
    return answer if isinstance(answer, str) else json.dumps(getattr(answer, "content", answer))


def check(guard: Guard, log: Log, events: list[Any], case: tuple[Any, ...], answer: str) -> None:
    tool, _, _, outcome, told = case
    assert [event.outcome for event in events if event.tool == tool and event.kind == "settled"] == [outcome], tool
    kept = [usage.used for usage in guard.usage() if f"/{tool}/" in usage.counter]
    assert sum(kept) == (outcome != "never_ran"), tool
    if outcome == "never_ran":
        assert "completed" not in log(tool)
    assert (UNCERTAIN in answer) is told, (tool, answer)
    assert "arrived" in log(tool)


@pytest.mark.parametrize("awaited", [True, False])
@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_through_a_held_session(
    transport: str, awaited: bool, command: tuple[str, ...], log: Log, events: list[Any], tmp_path: Path, request: Any
) -> None:
    # Nobody restarts a server that listens: over HTTP only the last of them can die.
    cases = [case for case in CASES if transport == "stdio" or case[2] != "die-before"]
    server = (
        {"command": command[0], "args": command[1:]}
        if transport == "stdio"
        else {"url": request.getfixturevalue("url")}
    )
    options: Any = {
        "policy": Policy.model_validate(POLICY),
        "store": MemoryStore(),
        "audit": tmp_path / "audit.jsonl",
        "observers": [events.append],
    }
    opening = guarded_tools({"pictify": server}, read_timeout=1.0, **options)

    async def run() -> None:
        async with opening as tools:
            for case in cases:
                answer = await named(tools, case[0]).ainvoke(call(case[0], case[1]))
                check(tools.guard, log, events, case, text(answer))

    if awaited:
        asyncio.run(run())
        return
    with opening as tools:
        for case in cases:
            answer = named(tools, case[0]).invoke(call(case[0], case[1]))
            check(tools.guard, log, events, case, text(answer))


def named(tools: list[BaseTool], name: str) -> BaseTool:
    return next(tool for tool in tools if tool.name == name)


@pytest.mark.parametrize("plugin", ["wrap", "interceptor", "both"])
async def test_through_langchains_own_client(
    plugin: str, url: str, log: Log, make_guard: Any, events: list[Any]
) -> None:
    guard = make_guard(POLICY)
    interceptors = [] if plugin == "wrap" else [guard.interceptor]
    connection: Any = {"transport": "streamable_http", "url": url, "timeout": 1, "sse_read_timeout": 1}
    client = MultiServerMCPClient({"pictify": connection}, tool_interceptors=interceptors)
    tools = await client.get_tools()
    tools = tools if plugin == "interceptor" else guard.wrap(tools)
    for case in CASES:
        if "die" in case[2] or "hang" in case[2] or case[2] == "malformed":
            continue
        answer = await named(tools, case[0]).ainvoke(call(case[0], case[1]))
        check(guard, log, events, case, text(answer))


@pytest.mark.parametrize("plugin", ["wrap", "interceptor", "both"])
async def test_an_answer_that_is_none_is_no_mistake_in_the_arguments(
    plugin: str, command: tuple[str, ...], log: Log, make_guard: Any, events: list[Any]
) -> None:
    """As it comes from the SDK, LangGraph asks the model to correct its arguments and to write once more."""
    guard = make_guard(POLICY)
    connection: Any = {"transport": "stdio", "command": command[0], "args": list(command[1:])}
    interceptors = [] if plugin == "wrap" else [guard.interceptor]
    tools = await MultiServerMCPClient({"pictify": connection}, tool_interceptors=interceptors).get_tools()
    [case] = [case for case in CASES if case[0] == "pictify_create_canvas_image"]
    own = named(tools if plugin == "interceptor" else guard.wrap(tools), case[0])
    with pytest.raises(ConnectionFailed, match="no tool result") as failed:
        await own.ainvoke(call(case[0], case[1]))
    assert failed.value.sent
    check(guard, log, events, case, str(failed.value))


async def test_a_cancelled_call_is_kept_and_reaches_the_server(log: Log, tmp_path: Path, events: list[Any]) -> None:
    command = [*COMMAND, "--log", str(log.path), "--fault=pictify_create_image=hang"]
    async with guarded_tools(
        {"pictify": {"command": command[0], "args": command[1:]}},
        policy=Policy.model_validate(POLICY),
        store=MemoryStore(),
        audit=tmp_path / "audit.jsonl",
        observers=[events.append],
    ) as tools:
        running = asyncio.create_task(named(tools, "pictify_create_image").ainvoke({"html": "<p>"}))
        await log.until("pictify_create_image", "arrived")
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await log.until("pictify_create_image", "cancelled")
        assert [event.outcome for event in events if event.kind == "settled"] == ["unknown"]
        assert [usage.used for usage in tools.guard.usage()] == [1]


def consenting(*, refunds: str = "reported") -> dict[str, Any]:
    return {"version": "1", "default": "deny", "tools": {"*": {"limits": [LIMIT], "refunds": refunds}}}


@pytest.mark.parametrize(("refunds", "outcome"), [("reported", "never_ran"), ("certain", "error")])
async def test_what_the_server_refuses_before_it_acts_never_ran_where_the_policy_believes_it(
    url: str, log: Log, make_guard: Any, outcomes: Any, refunds: str, outcome: str
) -> None:
    guard = make_guard(consenting(refunds=refunds))
    connection: Any = {"transport": "streamable_http", "url": url}
    definitions = [
        mcp.Tool(name="pictify_create_image", inputSchema={"type": "object"}),
        mcp.Tool(name="pictify_nothing", inputSchema={"type": "object"}),
    ]
    tools = guard.wrap(
        [convert_mcp_tool_to_langchain_tool(None, definition, connection=connection) for definition in definitions]
    )
    answer = await tools[0].ainvoke({"width": "wide"})
    assert "MCP error -32602" in text(answer)
    assert "MCP error -32602" in text(await tools[1].ainvoke({}))
    assert [outcome for kind, _, outcome in outcomes() if kind == "settled"] == [outcome, outcome]
    assert sum(usage.used for usage in guard.usage()) == (0 if outcome == "never_ran" else 2)
    assert log("pictify_create_image") == ["arrived", "invalid"]


@pytest.mark.parametrize(
    "connection",
    [
        {"transport": "stdio", "command": "/nonexistent/server", "args": []},
        {"transport": "streamable_http", "url": "http://127.0.0.1:9/mcp"},
    ],
)
async def test_a_server_that_is_not_there_never_ran_it(connection: Any, make_guard: Any, outcomes: Any) -> None:
    definition = mcp.Tool(name="add", inputSchema={"type": "object"})
    (add,) = make_guard().wrap([convert_mcp_tool_to_langchain_tool(None, definition, connection=connection)])
    with pytest.raises(Exception):  # noqa: B017 - whatever the transport raises
        await add.ainvoke({})
    assert outcomes()[-1] == ("settled", "add", "never_ran")


async def test_python_servers_word_their_refusals_otherwise(make_guard: Any, outcomes: Any) -> None:
    server = FastMCP("adder")

    @server.tool()
    def add(n: int) -> str:
        raise ValueError(f"no {n}")

    guard = make_guard(consenting())
    async with create_connected_server_and_client_session(server) as session:
        definitions = [
            mcp.Tool(name="add", inputSchema={"type": "object"}),
            mcp.Tool(name="gone", inputSchema={"type": "object"}),
        ]
        add_tool, gone = guard.wrap([convert_mcp_tool_to_langchain_tool(session, item) for item in definitions])
        await add_tool.ainvoke({"n": "one"})
        await gone.ainvoke({})
        await add_tool.ainvoke({"n": 1})
    settled = [outcome for kind, _, outcome in outcomes() if kind == "settled"]
    assert settled == ["never_ran", "never_ran", "error"]


async def test_a_failing_loop_ends(make_guard: Any, outcomes: Any, url: str) -> None:
    guard = make_guard(POLICY)
    connection: Any = {"transport": "streamable_http", "url": url}
    client = MultiServerMCPClient({"pictify": connection})
    tool = named(guard.wrap(await client.get_tools()), "pictify_create_image")
    answers = ["DENIED" in text(await tool.ainvoke({"html": "<p>"})) for _ in range(7)]
    assert answers == [False] * 5 + [True] * 2


async def test_a_failing_loop_ends_also_where_the_servers_word_is_taken(make_guard: Any, url: str) -> None:
    guard = make_guard(consenting())
    client = MultiServerMCPClient({"pictify": {"transport": "streamable_http", "url": url}})
    tool = named(guard.wrap(await client.get_tools()), "pictify_get_template")
    answers = ["DENIED" in text(await tool.ainvoke(T)) for _ in range(12)]
    assert answers == [False] * 10 + [True] * 2  # five that are given back, five that are not


LIES = [
    "Input validation error: 'x' is not of type 'integer'",
    "Unknown tool: pay",
    "MCP error -32602: Invalid params",
    "Error (404): Not found",
    "Error (409): Conflict",
    "Error executing tool pay: 1 validation error for payArguments\nn",
    -32601,
    -32602,
]


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("plugin", ["wrap", "interceptor"])
async def test_a_server_that_acts_and_says_that_nothing_ran_is_counted(
    make_guard: Any, lie: str | int, plugin: str
) -> None:
    effects: list[Any] = []
    server: Server[Any, Any] = Server("pictify")

    @server.list_tools()
    async def list_tools() -> list[mcp.Tool]:
        return [mcp.Tool(name="pay", inputSchema={"type": "object"})]

    @server.call_tool(validate_input=False)
    async def call_tool(name: str, arguments: Any) -> Any:
        return []

    async def acts(_: Any) -> mcp.ServerResult:
        effects.append(1)
        if isinstance(lie, int):
            raise McpError(mcp.ErrorData(code=lie, message="no such method, says the upstream"))
        return mcp.ServerResult(failed(lie))

    server.request_handlers[mcp.CallToolRequest] = acts
    guard = make_guard({"version": "1", "default": "deny", "server": "pictify", "tools": {"pay": {"limits": [LIMIT]}}})
    async with create_connected_server_and_client_session(server) as session:
        interceptors = [guard.interceptor] if plugin == "interceptor" else []
        tools = await load_mcp_tools(session, server_name="pictify", tool_interceptors=interceptors)
        (pay,) = guard.wrap(tools) if plugin == "wrap" else tools
        for _ in range(10):
            with contextlib.suppress(McpError, ToolException):
                await pay.ainvoke({})
    assert len(effects) == 5


async def _entered(context: Any, *args: Any, **kwargs: Any) -> None:
    async with context(*args, **kwargs):
        pass


async def test_an_address_that_redirects_may_have_acted_before_nobody_listened_at_the_next() -> None:
    by_the_sdk = getattr(_httpx_utils, "stream_within_origin", None)  # older ones leave it to httpx
    acted: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/there":
            raise httpx.ConnectError("nobody listens", request=request)
        acted.append(request)
        return httpx.Response(307, headers={"location": "/there"})

    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    for follow in (True, *([False] if by_the_sdk else [])):
        acted.clear()
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer), follow_redirects=follow) as client:
            sending = client.post if follow else functools.partial(_entered, by_the_sdk, client, "POST")
            with pytest.raises(httpx.ConnectError) as lost:
                await sending("http://a.test/here", json=message)
        assert len(acted) == 1
        assert judge_mcp()(lost.value) == "unknown"


def test_a_tool_that_says_it_is_none_has_run(make_guard: Any, outcomes: Any) -> None:
    @tool
    def add(n: int) -> str:
        """Add."""
        raise ToolException("Error: add is not a valid tool, try one of [].")

    add.handle_tool_error = True
    node = ToolNode([add], wrap_tool_call=make_guard().middleware().wrap_tool_call)
    message = AIMessage("", tool_calls=[call("add", {"n": 1})])
    said = node.invoke({"messages": [message]}, {"configurable": {"__pregel_runtime": Runtime()}})
    assert "is not a valid tool" in text(said["messages"][-1])
    assert outcomes()[-1] == ("settled", "add", "error")


# The table, line by line, for what no real server can be made to do at will


def failed(message: str) -> mcp.CallToolResult:
    return mcp.CallToolResult(content=[mcp.TextContent(type="text", text=message)], isError=True)


def rpc(code: int) -> McpError:
    return McpError(mcp.ErrorData(code=code, message="m"))


def undelivered(method: str) -> httpx.ConnectError:
    request = httpx.Request("POST", "http://a.test", json={"jsonrpc": "2.0", "id": 1, "method": method})
    return httpx.ConnectError("x", request=request)


@pytest.mark.parametrize(
    ("seen", "outcome"),
    [
        (failed("Error (404): Not found"), "reported"),
        (failed("Error (402): Payment Required"), "reported"),
        (failed("Error (408): Timeout"), "unknown"),
        (failed("Error (429): Slow down"), "error"),
        (failed("Error (500): x"), "unknown"),
        (failed("Error (302): x"), "error"),
        (failed("Something about Error (404): x"), "error"),
        (failed("Error (4040): x"), "error"),
        (failed("I ran, then MCP error -32602"), "error"),
        (failed(""), "error"),
        (mcp.CallToolResult(content=[], isError=True), "error"),
        (mcp.CallToolResult(content=[mcp.TextContent(type="text", text="Error (404): fine")]), "ok"),
        (rpc(-32602), "reported"),
        (rpc(-32601), "reported"),
        (rpc(-32603), "error"),
        (rpc(408), "unknown"),
        (rpc(-32000), "unknown"),
        (ConnectionFailed("x", sent=False), "never_ran"),
        (ConnectionFailed("x"), "unknown"),
        (undelivered("initialize"), "never_ran"),
        (undelivered("tools/call"), "never_ran"),
        (undelivered("tools/list"), "unknown"),  # the client lists after it called, to check the answer
        (undelivered("notifications/progress"), "unknown"),
        (httpx.ConnectError("x"), "unknown"),
        (httpx.ConnectError("x", request=httpx.Request("GET", "http://a.test")), "unknown"),
        (httpx.ReadTimeout("x"), "unknown"),
        (httpx.RemoteProtocolError("x"), "unknown"),
        (TimeoutError(), "unknown"),
        (ConnectionResetError(), "unknown"),
        (asyncio.CancelledError(), "unknown"),
        (KeyboardInterrupt(), "unknown"),
        (FileNotFoundError("written by an interceptor after the call"), "error"),
        (RuntimeError("Invalid structured content returned by tool add"), "error"),
        (NotImplementedError("AudioContent"), "error"),
        (ExceptionGroup("g", [undelivered("tools/call")]), "never_ran"),
        (ExceptionGroup("g", [undelivered("tools/call"), ValueError()]), "unknown"),
    ],
)
def test_the_table(seen: Any, outcome: str) -> None:
    assert judge_mcp("pictify")(seen) == outcome


def test_a_status_is_only_read_in_a_format_that_is_known() -> None:
    assert judge_mcp("other")(failed("Error (404): Not found")) == "error"
    assert judge_mcp("", None)(failed("Error (404): Not found")) == "error"
    assert judge_mcp("mine", "pictify")(failed("Error (404): Not found")) == "reported"


@pytest.mark.parametrize(
    ("seen", "outcome"),
    [
        ("text", "ok"),
        (("text", {"artifact": 1}), "ok"),
        (None, "ok"),
        (ValueError("MCP error -32602: the body may have done much before"), "error"),
        (ToolException("x"), "error"),
        (httpx.ConnectError("x"), "unknown"),
        (TimeoutError(), "unknown"),
        (SystemExit(), "unknown"),
        (URLError(ConnectionResetError(104, "reset")), "unknown"),
        (URLError(FileNotFoundError(2, "no such file")), "error"),
        (ExceptionGroup("g", [TimeoutError()]), "unknown"),
    ],
)
def test_a_body_of_which_nothing_is_known_is_never_refunded(seen: Any, outcome: str) -> None:
    assert judge_plain(seen) == outcome


class Column:
    """As in a data frame: compared, it is a column again, which is neither true nor false."""

    def __eq__(self, other: object) -> Any:
        return self

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise ValueError("the truth value of a column is ambiguous")


class Table:
    status = Column()


class Refuses:
    @property
    def status(self) -> str:
        raise RuntimeError("read too early")


@pytest.mark.parametrize("value", [Table(), Refuses(), (Table(), 1)])
def test_a_result_that_only_looks_as_if_it_had_a_status_arrives(make_guard: Any, outcomes: Any, value: Any) -> None:
    @tool
    def orders(n: int) -> Any:
        """Fetch orders."""
        return value

    (guarded,) = make_guard().wrap([orders])
    assert guarded.invoke({"n": 1}) is value
    assert outcomes()[-1] == ("settled", "orders", "ok")


async def test_what_goes_wrong_while_an_answer_is_checked_has_run(make_guard: Any, outcomes: Any) -> None:
    server = Server("lister")
    listed: list[int] = []

    @server.list_tools()
    async def list_tools() -> list[mcp.Tool]:
        listed.append(1)
        if len(listed) > 1:
            raise McpError(mcp.ErrorData(code=-32602, message="no such page"))
        return [mcp.Tool(name="add", inputSchema={"type": "object"})]

    @server.call_tool(validate_input=False)
    async def call_tool(name: str, arguments: Any) -> list[Any]:
        return [mcp.TextContent(type="text", text="added")]

    async with create_connected_server_and_client_session(server) as session:
        (add,) = make_guard().wrap(await load_mcp_tools(session))
        session._tool_output_schemas.clear()
        listed.append(1)
        with pytest.raises(McpError):
            await add.ainvoke({})
    assert outcomes()[-1] == ("settled", "add", "error")


def test_a_program_that_an_interceptor_starts_is_not_the_server(make_guard: Any) -> None:
    async def start() -> BaseException:
        try:
            await anyio.open_process(["/nonexistent/program"])
        except OSError as error:
            return error
        raise AssertionError

    assert judge_mcp("pictify")(asyncio.run(start())) == "error"


class OddTimeoutError(Exception):
    """As urllib3 and requests make theirs: of several values, or around another."""


class NumberedTimeoutError(TimeoutError):
    """Has words of its own, and none of them in its arguments."""

    def __str__(self) -> str:
        return "code 7"


LOST = [
    TimeoutError(),
    TimeoutError("t"),
    ConnectionResetError(104, "reset"),
    ConnectionResetError(104, "reset", "/socket"),
    OddTimeoutError("aborted", ConnectionResetError(104, "reset")),
    OddTimeoutError(TimeoutError("read timed out")),
    ConnectionError(OddTimeoutError("aborted", OSError("hung up"))),
    URLError(ConnectionResetError(104, "reset")),
]


@pytest.mark.parametrize("error", LOST, ids=repr)
def test_an_open_outcome_is_said_in_whatever_error_there_is(make_guard: Any, error: Exception) -> None:
    """In its text and in its representation: tool nodes and retrying middleware show a model one of the two."""

    @tool
    def add(n: int) -> str:
        """Add."""
        raise error

    said, kind = str(error), type(error)
    (guarded,) = make_guard().wrap([add])
    for _ in range(2):  # the same error once more says it no louder
        with pytest.raises(kind) as caught:
            guarded.invoke({"n": 1})
        assert caught.value is error
        assert str(error).count(UNCERTAIN) == repr(error).count(UNCERTAIN) == 1
        assert said.partition(":")[0].strip("()<>") in str(error)
    if isinstance(error, ConnectionResetError):
        number, _ = error.args  # as who catches it takes it apart
        assert number == error.errno == 104


def test_an_error_with_words_of_its_own_gets_a_note(make_guard: Any) -> None:
    @tool
    def add(n: int) -> str:
        """Add."""
        raise NumberedTimeoutError

    (guarded,) = make_guard().wrap([add])
    with pytest.raises(NumberedTimeoutError) as caught:
        guarded.invoke({"n": 1})
    assert UNCERTAIN in "".join(traceback.format_exception_only(caught.value))


def test_what_certainly_ran_is_no_open_outcome(make_guard: Any) -> None:
    @tool
    def add(n: int) -> str:
        """Add."""
        raise OSError

    (guarded,) = make_guard().wrap([add])
    with pytest.raises(OSError, match=r"^$"):
        guarded.invoke({"n": 1})


def test_an_open_outcome_of_reading_is_not_said(make_guard: Any) -> None:
    @tool
    def add(n: int) -> str:
        """Look."""
        raise TimeoutError("t")

    (guarded,) = make_guard({"version": "1", "default": "deny", "tools": {"add": {"risk": "read"}}}).wrap([add])
    with pytest.raises(TimeoutError) as caught:
        guarded.invoke({"n": 1})
    assert str(caught.value) == "t"
