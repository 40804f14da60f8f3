"""Did the call happen? Checked against the log of a server that fails in every way it can."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import traceback
from pathlib import Path
from typing import Any
from urllib.error import URLError

import anyio
import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import ToolException, tool
from langgraph.prebuilt import ToolNode
from langgraph.runtime import Runtime
from mcp.shared import _httpx_utils

from guarded_tools.adapters.notes import UNCERTAIN
from guarded_tools.adapters.outcome import judge_mcp, judge_plain
from guarded_tools.errors import ConnectionFailed
from guarded_tools.policy import Policy
from guarded_tools.servers import guarded_tools
from guarded_tools.stores.memory import MemoryStore
from tests.adapters import clients
from tests.adapters.clients import Server, answered, http, refusal
from tests.adapters.faults import CASES, LIMIT, POLICY, Log, T, call, check, named, text
from tests.faulty_sandbox import COMMAND


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


async def test_through_langchains_own_client(url: str, log: Log, make_guard: Any, events: list[Any]) -> None:
    guard = make_guard(POLICY)
    tools = guard.wrap(await clients.listening_at(url))
    for case in CASES:
        if "die" in case[2] or "hang" in case[2] or case[2] == "malformed":
            continue
        answer = await named(tools, case[0]).ainvoke(call(case[0], case[1]))
        check(guard, log, events, case, text(answer))


async def test_an_answer_that_is_none_is_no_mistake_in_the_arguments(
    command: tuple[str, ...], log: Log, make_guard: Any, events: list[Any]
) -> None:
    """As it comes from the SDK, LangGraph asks the model to correct its arguments and to write once more."""
    guard = make_guard(POLICY)
    tools = guard.wrap(await clients.started_by(command))
    [case] = [case for case in CASES if case[0] == "pictify_create_canvas_image"]
    with pytest.raises(ConnectionFailed, match="no tool result") as failed:
        await named(tools, case[0]).ainvoke(call(case[0], case[1]))
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
    tools = {"*": {"limits": [LIMIT], "refunds": refunds}}
    return {"version": "1", "default": "deny", "server": "pictify", "tools": tools}


@pytest.mark.parametrize(("refunds", "outcome"), [("reported", "never_ran"), ("certain", "error")])
async def test_what_the_server_refuses_before_it_acts_never_ran_where_the_policy_believes_it(
    url: str, log: Log, make_guard: Any, outcomes: Any, refunds: str, outcome: str
) -> None:
    guard = make_guard(consenting(refunds=refunds))
    async with clients.unlisted(url, "pictify_create_image", "pictify_nothing") as raw:
        tools = guard.wrap(raw)
        answer = await tools[0].ainvoke({"width": "wide"})
        assert "MCP error -32602" in text(answer)
        assert "MCP error -32602" in text(await tools[1].ainvoke({}))
    assert [outcome for kind, _, outcome in outcomes() if kind == "settled"] == [outcome, outcome]
    assert sum(usage.used for usage in guard.usage()) == (0 if outcome == "never_ran" else 2)
    assert log("pictify_create_image") == ["arrived", "invalid"]


@pytest.mark.parametrize("target", [["/nonexistent/server"], "http://127.0.0.1:9/mcp"], ids=["stdio", "http"])
async def test_a_server_that_is_not_there_never_ran_it(target: Any, make_guard: Any, outcomes: Any) -> None:
    async with clients.unlisted(target, "add") as raw:
        (add,) = make_guard().wrap(raw)
        with pytest.raises(Exception):  # noqa: B017 - whatever the transport raises
            await add.ainvoke({})
    assert outcomes()[-1] == ("settled", "add", "never_ran")


async def test_python_servers_word_their_refusals_otherwise(make_guard: Any, outcomes: Any) -> None:
    server: Any = Server("adder")

    @server.tool()
    def add(n: int) -> str:
        raise ValueError(f"no {n}")

    guard = make_guard(consenting())
    async with clients.unlisted(server, "add", "gone") as raw:
        add_tool, gone = guard.wrap(raw)
        await add_tool.ainvoke({"n": "one"})
        await gone.ainvoke({})
        await add_tool.ainvoke({"n": 1})
    settled = [outcome for kind, _, outcome in outcomes() if kind == "settled"]
    assert settled == ["never_ran", "never_ran", "error"]


async def test_a_failing_loop_ends(make_guard: Any, outcomes: Any, url: str) -> None:
    guard = make_guard(POLICY)
    tool = named(guard.wrap(await clients.listening_at(url)), "pictify_create_image")
    answers = ["DENIED" in text(await tool.ainvoke({"html": "<p>"})) for _ in range(7)]
    assert answers == [False] * 5 + [True] * 2


async def test_a_failing_loop_ends_also_where_the_servers_word_is_taken(make_guard: Any, url: str) -> None:
    guard = make_guard(consenting())
    tool = named(guard.wrap(await clients.listening_at(url)), "pictify_get_template")
    answers = ["DENIED" in text(await tool.ainvoke(T)) for _ in range(12)]
    assert answers == [False] * 10 + [True] * 2  # five that are given back, five that are not


LIES = [
    "Input validation error: 'x' is not of type 'integer'",
    "Unknown tool: pay",
    "MCP error -32602: Invalid params",
    "Error (404): Not found",
    "Error (409): Conflict",
    "Error executing tool pay: 1 validation error for payArguments\nn",
    "1 validation error for call[pay]\nn",
    -32601,
    -32602,
]


@pytest.mark.parametrize("lie", LIES)
async def test_a_server_that_acts_and_says_that_nothing_ran_is_counted(make_guard: Any, lie: str | int) -> None:
    effects: list[Any] = []
    guard = make_guard({"version": "1", "default": "deny", "server": "pictify", "tools": {"pay": {"limits": [LIMIT]}}})
    async with clients.opened(clients.lying("pay", lie, effects)) as raw:
        (pay,) = guard.wrap(raw)
        for _ in range(10):
            with contextlib.suppress(clients.ProtocolError, ToolException):
                await pay.ainvoke({})
    assert len(effects) == 5


async def _entered(context: Any, *args: Any, **kwargs: Any) -> None:
    async with context(*args, **kwargs):
        pass


async def test_an_address_that_redirects_may_have_acted_before_nobody_listened_at_the_next() -> None:
    by_the_sdk = getattr(_httpx_utils, "stream_within_origin", None)  # older ones leave it to httpx
    acted: list[http.Request] = []

    def answer(request: http.Request) -> http.Response:
        if request.url.path == "/there":
            raise http.ConnectError("nobody listens", request=request)
        acted.append(request)
        return http.Response(307, headers={"location": "/there"})

    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    for follow in (True, *([False] if by_the_sdk else [])):
        acted.clear()
        async with http.AsyncClient(transport=http.MockTransport(answer), follow_redirects=follow) as client:
            sending = client.post if follow else functools.partial(_entered, by_the_sdk, client, "POST")
            with pytest.raises(http.ConnectError) as lost:
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


def undelivered(method: str) -> http.ConnectError:
    request = http.Request("POST", "http://a.test", json={"jsonrpc": "2.0", "id": 1, "method": method})
    return http.ConnectError("x", request=request)


@pytest.mark.parametrize(
    ("seen", "outcome"),
    [
        (answered("Error (404): Not found", failed=True), "reported"),
        (answered("Error (402): Payment Required", failed=True), "reported"),
        (answered("Error (408): Timeout", failed=True), "unknown"),
        (answered("Error (429): Slow down", failed=True), "error"),
        (answered("Error (500): x", failed=True), "unknown"),
        (answered("Error (302): x", failed=True), "error"),
        (answered("Something about Error (404): x", failed=True), "error"),
        (answered("Error (4040): x", failed=True), "error"),
        (answered("I ran, then MCP error -32602", failed=True), "error"),
        (answered("", failed=True), "error"),
        (answered(failed=True), "error"),
        (answered("Error (404): fine"), "ok"),
        (refusal(-32602), "reported"),
        (refusal(-32601), "reported"),
        (refusal(-32603), "error"),
        (refusal(408), "unknown"),
        (refusal(-32000), "unknown"),
        (ConnectionFailed("x", sent=False), "never_ran"),
        (ConnectionFailed("x"), "unknown"),
        (undelivered("initialize"), "never_ran"),
        (undelivered("tools/call"), "never_ran"),
        (undelivered("tools/list"), "unknown"),  # the client lists after it called, to check the answer
        (undelivered("notifications/progress"), "unknown"),
        (http.ConnectError("x"), "unknown"),
        (http.ConnectError("x", request=http.Request("GET", "http://a.test")), "unknown"),
        (http.ReadTimeout("x"), "unknown"),
        (http.RemoteProtocolError("x"), "unknown"),
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
    assert judge_mcp("other")(answered("Error (404): Not found", failed=True)) == "error"
    assert judge_mcp("", None)(answered("Error (404): Not found", failed=True)) == "error"
    assert judge_mcp("mine", "pictify")(answered("Error (404): Not found", failed=True)) == "reported"


@pytest.mark.parametrize(
    ("seen", "outcome"),
    [
        ("text", "ok"),
        (("text", {"artifact": 1}), "ok"),
        (None, "ok"),
        (ValueError("MCP error -32602: the body may have done much before"), "error"),
        (ToolException("x"), "error"),
        (http.ConnectError("x"), "unknown"),
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
