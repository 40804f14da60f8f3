"""What only the second generation's protocol has: questions as results, lists with an age, changes that are listened for."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from guarded_tools.errors import ConnectionFailed
from guarded_tools.mcp_session import HeldSession, HttpServer, StdioServer
from guarded_tools.mcp_session.generation import sdk
from tests.mcp_session.conftest import children, until

SERVER = str(Path(__file__).with_name("modern_server.py"))


class Modern:
    """The server over one road, and what it wrote down."""

    def __init__(self, log, road, request):
        self.log = log
        self.road = road
        self._request = request
        self.process = None

    def server(self, *habits):
        if self.road == "stdio":
            return StdioServer(sys.executable, [SERVER, str(self.log), *habits])
        command = [sys.executable, SERVER, str(self.log), "http", *habits]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

        def end():
            self.process.kill()
            self.process.communicate()

        self._request.addfinalizer(end)
        return HttpServer(self.process.stdout.readline().strip())

    def kill(self):
        pids = [self.process.pid] if self.process else children()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        until(lambda: self.process.poll() is not None if self.process else not children())

    def lines(self):
        return self.log.read_text().splitlines() if self.log.exists() else []

    def calls(self, tool):
        return [line for line in self.lines() if line.startswith(f"call {tool} ")]

    def lists(self):
        return self.lines().count("list")


@pytest.fixture(params=["stdio", "http"])
def modern(request, tmp_path):
    return Modern(tmp_path / "log", request.param, request)


async def red(question):
    return {"colour": f"red of {question.message}"}


def test_a_result_that_asks_is_answered_and_sent_anew(modern):
    with HeldSession(modern.server(), on_question=red) as session:
        [text] = session.call_tool_sync("ask").texts
        assert json.loads(text) == [{"q": ["accept", {"colour": "red of which colour?"}]}, "asked"]
        [text] = session.call_tool_sync("ask_twice").texts
        said = {f"{key}-two": ["accept", {"colour": f"red of {key} of two?"}] for key in ("a", "b")}
        assert json.loads(text) == said
        assert [len(modern.calls(tool)) for tool in ("ask", "ask_twice")] == [2, 3]


def test_a_result_that_only_wants_to_be_asked_again_is_and_not_for_ever(modern):
    with HeldSession(modern.server()) as session:
        assert session.call_tool_sync("wait").texts == ["after 3"]
        with pytest.raises(sdk().ProtocolError, match="always asked back more than 10 times"):
            session.call_tool_sync("always")
        assert len(modern.calls("always")) == 11


@pytest.mark.parametrize("tool", ["ask", "sample"])
def test_where_nobody_can_answer_it_is_an_error_and_not_an_answer(modern, tool):
    with HeldSession(modern.server(), on_question=red if tool == "sample" else None) as session:
        with pytest.raises(sdk().ProtocolError, match=f"{tool} asks for .*, which nobody here can answer"):
            session.call_tool_sync(tool)
        assert len(modern.calls(tool)) == 1


def test_what_is_no_form_is_declined(modern):
    with HeldSession(modern.server(), on_question=red) as session:
        assert session.call_tool_sync("link").texts == ['{"u": ["decline", null]}']


async def test_each_of_many_calls_that_ask_at_once_gets_its_own_answer(modern):
    asked, all_ask = [], asyncio.Event()

    async def answer(question):
        asked.append(question.tool)
        if len(asked) == 3:  # all of them are under way: which is meant is known by where it asks
            all_ask.set()
        await all_ask.wait()
        return {"colour": f"{question.tool}: {question.message}"}

    async with HeldSession(modern.server(), on_question=answer) as session:
        answers = await asyncio.gather(*(session.call_tool(name) for name in ("ask", "ask", "ask_twice")))
        texts = [json.loads(answer.texts[0]) for answer in answers]
        assert texts[0] == texts[1] == [{"q": ["accept", {"colour": "ask: which colour?"}]}, "asked"]
        assert texts[2]["b-two"] == ["accept", {"colour": "ask_twice: b of two?"}]


def test_a_server_that_dies_while_it_asks_may_have_acted_and_is_not_called_again(modern):
    """What left before the question left, whether or not the answer could be sent."""

    async def answer(question):
        await asyncio.to_thread(modern.kill)
        return {"colour": "red"}

    with HeldSession(modern.server(), on_question=answer, name="modern") as session:
        with pytest.raises(ConnectionFailed) as failed:
            session.call_tool_sync("ask")
        assert failed.value.sent
        assert len(modern.calls("ask")) == 1


def test_the_time_of_a_call_stands_still_while_a_human_thinks(modern):
    thinking, done = threading.Event(), threading.Event()

    async def answer(question):
        thinking.set()
        await asyncio.to_thread(done.wait)
        return {"colour": "red"}

    with HeldSession(modern.server(), on_question=answer, read_timeout=1.5) as session:
        session.answer_with(answer, within=60)
        call = session.begin_call("ask")
        assert thinking.wait(30)
        # Longer than the call may take: what is measured is time that passes for the server, in a call beside it.
        with pytest.raises(ConnectionFailed, match=r"within 1\.5 s"):
            session.call_tool_sync("slow")
        done.set()
        assert "red" in call.result(30).texts[0]


def test_headers_that_do_not_fit_are_told_and_the_call_is_not_sent_again(modern):
    with HeldSession(modern.server()) as session:
        with pytest.raises(sdk().ProtocolError, match="the headers do not fit"):
            session.call_tool_sync("mismatch")
        assert session.call_tool_sync("echo").texts == ["echo {}"]
        lines = modern.lines()
        assert len(modern.calls("mismatch")) == 1
        assert "list" in lines[lines.index("call mismatch {}") : -1]  # what the headers are made from


def test_a_cancelled_call_is_cancelled_on_the_server(modern):
    with HeldSession(modern.server()) as session:
        call = session.begin_call("slow")
        until(lambda: modern.calls("slow"))
        call.cancel()
        until(lambda: "cancelled" in modern.lines())
        assert session.call_tool_sync("echo").texts == ["echo {}"]


def test_changes_are_listened_for_and_known_before_the_next_call(modern):
    heard = []
    with HeldSession(modern.server(), on_tools_changed=heard.append) as session:
        session.call_tool_sync("grow")
        until(lambda: heard)
        assert session.tools[-1].name == "late_0"
        assert session.call_tool_sync("late_0").texts == ["late_0 {}"]


def test_a_list_is_asked_for_again_when_its_time_is_over_and_not_before(modern):
    with HeldSession(modern.server("deaf", "silent", "ttl=1")) as session:
        expected = session.tools[0]
        session.call_tool_sync("swap")
        # No time of ours passes: by the time an answer is here, a thousandth of a second is over.
        with pytest.raises(ConnectionFailed, match="nothing was sent") as failed:
            session.call_tool_sync("echo", unchanged=lambda tool: tool == expected)
        assert not failed.value.sent
        assert modern.calls("echo") == []


@pytest.mark.parametrize("habits", [["ttl=3600000"], []])
def test_a_list_that_is_fresh_or_has_no_age_is_not_asked_for_with_every_call(modern, habits):
    with HeldSession(modern.server("deaf", *habits)) as session:
        for _ in range(5):
            session.call_tool_sync("echo")
        assert modern.lists() == 1


def test_a_server_that_stops_telling_of_changes_is_asked_before_the_next_call(modern):
    with HeldSession(modern.server("hang_up", "silent")) as session:
        expected = session.tools[0]
        session.call_tool_sync("swap")  # nobody is told
        session.call_tool_sync("hang_up")
        until(session._thread._connection._watching.done)
        with pytest.raises(ConnectionFailed, match="nothing was sent"):
            session.call_tool_sync("echo", unchanged=lambda tool: tool == expected)
        assert not session._thread._connection._watching.done()  # it is listened for again


def test_both_revisions_are_spoken_with_whoever_speaks_them(modern, tmp_path):
    with HeldSession(modern.server()) as session:
        assert session._thread._connection._session._client.protocol_version == "2026-07-28"
        assert session.server_info.name == "modern"


def test_a_server_without_a_state_of_its_own_is_called_as_any_other(tmp_path, request):
    modern = Modern(tmp_path / "log", "http", request)
    with HeldSession(modern.server("stateless"), on_question=red) as session:
        assert "red" in session.call_tool_sync("ask").texts[0]
        modern.kill()
        with pytest.raises(ConnectionFailed):
            session.call_tool_sync("echo")
