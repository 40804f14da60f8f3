"""Calls through a held session: from anywhere, and in every way in which one can end."""

import asyncio
import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest

from guarded_tools.errors import ConnectionFailed
from guarded_tools.mcp_session import HeldSession, lines
from tests.mcp_session.conftest import children

SLOW = ("--fault", "pictify_get_image=slow:30")
IMAGE = {"imageId": "img_000001"}


ALL_ROADS = ["stdio", "http", "http-json"]


def said(result):
    return result.content[0].text


def test_from_sync_code_and_from_one_event_loop_after_another(make_sandbox, road):
    sandbox = make_sandbox(road)
    with HeldSession(sandbox.server, name="s") as session:
        assert len(session.tools) == 31
        assert "Welcome" in said(session.call_tool_sync("pictify_list_templates"))
        for _ in range(2):
            assert "Welcome" in said(asyncio.run(session.call_tool("pictify_list_templates")))
    assert sandbox.seen()["list_templates", "completed"] == 3


async def test_blocking_where_a_loop_runs_as_in_a_notebook(make_sandbox, road):
    with HeldSession(make_sandbox(road).server) as session:
        assert "Welcome" in said(session.call_tool_sync("pictify_list_templates"))
        assert "Welcome" in said(await session.call_tool("pictify_list_templates"))


async def test_opened_in_one_task_and_left_in_another(make_sandbox, road):
    session = HeldSession(make_sandbox(road).server)
    await asyncio.create_task(session.aopen())
    assert "Welcome" in said(await asyncio.create_task(session.call_tool("pictify_list_templates")))
    await asyncio.create_task(session.aclose())


@pytest.mark.parametrize("road", ALL_ROADS)
async def test_200_calls_at_once_arrive_once_each(make_sandbox, road):
    sandbox = make_sandbox(road)
    async with HeldSession(sandbox.server) as session:
        results = await asyncio.gather(*(session.call_tool("pictify_list_templates") for _ in range(200)))
    assert all("Welcome" in said(result) for result in results)
    assert sandbox.seen() == {("list_templates", "arrived"): 200, ("list_templates", "completed"): 200}


def test_calls_from_many_threads_get_their_own_answers(make_sandbox, road):
    answers = {}
    with HeldSession(make_sandbox(road).server) as session:

        def ask(number):
            result = session.call_tool_sync("pictify_list_images", {"offset": number})
            answers[number] = f'"offset": {number}' in said(result)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == dict.fromkeys(range(16), True)


async def test_a_cancelled_call_is_cancelled_on_the_server(make_sandbox, road, helpers):
    sandbox = make_sandbox(road, *SLOW)
    async with HeldSession(sandbox.server) as session:
        call = asyncio.create_task(session.call_tool("pictify_get_image", IMAGE))
        await asyncio.to_thread(helpers.wait_until, lambda: sandbox.seen()["get_image", "arrived"])
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.to_thread(helpers.wait_until, lambda: sandbox.seen()["get_image", "cancelled"])
        assert "Welcome" in said(await session.call_tool("pictify_list_templates"))


def test_an_interrupted_blocking_call_is_cancelled_on_the_server(make_sandbox, helpers):
    sandbox = make_sandbox("stdio", *SLOW)

    def interrupt():
        helpers.wait_until(lambda: sandbox.seen()["get_image", "arrived"])
        os.kill(os.getpid(), signal.SIGINT)

    with HeldSession(sandbox.server) as session:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            session.call_tool_sync("pictify_get_image", IMAGE)
        helpers.wait_until(lambda: sandbox.seen()["get_image", "cancelled"])


async def test_a_call_that_takes_too_long_fails_and_is_cancelled(make_sandbox, road, helpers):
    sandbox = make_sandbox(road, *SLOW)
    async with HeldSession(sandbox.server, name="slow one", read_timeout=0.3) as session:
        with pytest.raises(
            ConnectionFailed, match=r"slow one did not answer pictify_get_image within 0\.3 s"
        ) as failed:
            await session.call_tool("pictify_get_image", IMAGE)
        assert failed.value.sent
        await asyncio.to_thread(helpers.wait_until, lambda: sandbox.seen()["get_image", "cancelled"])
        assert "Welcome" in said(await session.call_tool("pictify_list_templates"))


@pytest.mark.serial
@pytest.mark.parametrize("road", ALL_ROADS)
async def test_a_killed_server_costs_the_calls_under_way_and_nothing_more(make_sandbox, road, helpers):
    sandbox = make_sandbox(road, *SLOW)
    async with HeldSession(sandbox.server, name="victim") as session:
        under_way = [asyncio.create_task(session.call_tool("pictify_get_image", IMAGE)) for _ in range(5)]
        await asyncio.to_thread(helpers.wait_until, lambda: sandbox.seen()["get_image", "arrived"] == 5)
        start = time.monotonic()
        sandbox.kill()
        if road != "stdio":
            await asyncio.to_thread(sandbox.start)
        failures = await asyncio.gather(*under_way, return_exceptions=True)
        assert time.monotonic() - start < 4
        assert [(type(failure), failure.sent) for failure in failures] == [(ConnectionFailed, True)] * 5
        # The very next calls open the server anew, once for all of them, and run once each.
        results = await asyncio.gather(*(session.call_tool("pictify_list_templates") for _ in range(5)))
        assert all("Welcome" in said(result) for result in results)
    assert sandbox.seen()["list_templates", "arrived"] == 5


@pytest.mark.parametrize(("fault", "ran"), [("die-before", 0), ("die-after", 1)])
def test_a_server_that_dies_under_a_call(make_sandbox, road, fault, ran):
    sandbox = make_sandbox(road, "--fault", f"pictify_get_image={fault}")
    with HeldSession(sandbox.server, name="victim") as session:
        with pytest.raises(ConnectionFailed, match=r"victim .* pictify_get_image") as failed:
            session.call_tool_sync("pictify_get_image", IMAGE)
        assert failed.value.sent
        if road != "stdio":
            sandbox.stop()
            sandbox.start()
        assert "Welcome" in said(session.call_tool_sync("pictify_list_templates"))
    assert sandbox.seen()["get_image", "arrived"] == 1
    assert sandbox.seen()["get_image", "completed"] == ran


def test_an_answer_that_is_no_tool_result(make_sandbox, road):
    sandbox = make_sandbox(road, "--fault", "pictify_get_image=malformed")
    with HeldSession(sandbox.server) as session:
        with pytest.raises(ConnectionFailed, match="no tool result") as failed:
            session.call_tool_sync("pictify_get_image", IMAGE)
        assert failed.value.sent
        assert "Welcome" in said(session.call_tool_sync("pictify_list_templates"))
    assert sandbox.seen()["get_image", "completed"] == 1


async def test_arguments_that_are_no_json_cost_only_their_own_call(make_sandbox, road, helpers):
    sandbox = make_sandbox(road, "--fault", "pictify_get_gif=slow:0.3")
    async with HeldSession(sandbox.server) as session:
        other = asyncio.create_task(session.call_tool("pictify_get_gif", {"gifId": "x"}))
        await asyncio.to_thread(helpers.wait_until, lambda: sandbox.seen()["get_gif", "arrived"])
        for arguments in ({"imageId": "\ud800"}, {"imageId": float("nan")}, {"\udfff": 1}):
            with pytest.raises(ConnectionFailed, match="no JSON") as failed:
                await session.call_tool("pictify_get_image", arguments)
            assert not failed.value.sent
        assert "Error (404)" in said(await other)
    assert sandbox.seen()["get_image", "arrived"] == 0


def test_noise_on_stdout_harms_nobody(odd):
    with HeldSession(odd()) as session:
        assert said(session.call_tool_sync("noise")) == "quiet again"
        assert said(session.call_tool_sync("bad_bytes")) == "still here"


def test_a_line_without_an_end_is_given_up(odd, monkeypatch):
    monkeypatch.setattr(lines, "LONGEST_LINE", 1_000_000)
    with HeldSession(odd()) as session:
        with pytest.raises(ConnectionFailed, match="a line that it wrote is longer than 1000000 bytes") as info:
            session.call_tool_sync("endless")
        assert info.value.sent
        assert said(session.call_tool_sync("noise")) == "quiet again"  # on a new connection


def test_a_result_arrives_as_the_server_sent_it(odd_over):
    with HeldSession(odd_over) as session:
        picture = session.call_tool_sync("show").content[1]
        assert (picture.type, picture.model_dump(by_alias=True)["mimeType"]) == ("image", "image/png")
        assert session.call_tool_sync("structured").structured == {"n": 1}
        assert session.call_tool_sync("refuse").failed
        # Whether it fits its output schema is asked where results are handed on: see adapters.mcp_tools.
        assert session.call_tool_sync("structured", {"n": "one"}).structured == {"n": "one"}
        assert (
            said(session.call_tool_sync("echo", {"a": [1, 1.0, "é\U0001f600", None]}))
            == "{'a': [1, 1.0, 'é\U0001f600', None]}"
        )


async def test_hundreds_of_calls_that_hang_leave_room_for_one_more(make_sandbox, helpers):
    sandbox = make_sandbox("http", "--fault", "pictify_get_image=hang")
    async with HeldSession(sandbox.server, read_timeout=20) as session:
        hanging = [asyncio.create_task(session.call_tool("pictify_get_image", IMAGE)) for _ in range(150)]
        await asyncio.to_thread(helpers.wait_until, lambda: sandbox.seen()["get_image", "arrived"] == 150)
        assert "Welcome" in said(await session.call_tool("pictify_list_templates"))
    assert {(type(failure), failure.sent) for failure in await asyncio.gather(*hanging, return_exceptions=True)} == {
        (ConnectionFailed, True)
    }


async def test_who_stops_waiting_for_a_new_server_does_not_stop_it_for_the_others(odd, tmp_path, helpers):
    gate = tmp_path / "gate"
    gate.touch()
    async with HeldSession(odd(f"gate={gate}")) as session:
        with pytest.raises(ConnectionFailed):
            await session.call_tool("stderr")
        gate.unlink()
        impatient, patient = (asyncio.create_task(session.call_tool("echo")) for _ in range(2))
        await asyncio.to_thread(helpers.wait_until, children)  # it starts
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        gate.touch()
        assert said(await patient) == "{}"


async def test_a_call_that_finds_the_stream_closed_was_not_sent():
    from anyio import ClosedResourceError, create_memory_object_stream

    from guarded_tools.mcp_session.pending import Outgoing, PendingCall, pending_call
    from guarded_tools.mcp_session.transport import Streams

    writer, reader = create_memory_object_stream(1)
    request = SimpleNamespace(jsonrpc="2.0", id=7, method="tools/call", params={"name": "x"})
    message = SimpleNamespace(message=request)
    pending = PendingCall("x")
    pending_call.set(pending)
    outgoing = Outgoing(Streams(reader, writer, {}))
    await outgoing.send(message)
    assert (pending.id, pending.sent) == (7, True)
    await outgoing.aclose()
    with pytest.raises(ClosedResourceError):
        await outgoing.send(message)
    assert pending.sent  # before: what it said when it left the first time still stands
    first = PendingCall("y")
    pending_call.set(first)
    with pytest.raises(ClosedResourceError):
        await outgoing.send(message)
    assert not first.sent
    await reader.aclose()
