"""How a session begins and ends, also for users who forget, fork or interrupt."""

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time

import pytest

from guarded_tools.errors import ConnectionFailed
from guarded_tools.mcp_session import HeldSession, StdioServer
from tests import forked


@pytest.fixture
def script(helpers):
    """Run a program of its own that opens a session; gives what became of it, and its server's id."""

    def script(body, server):
        setup = f"""
import os, sys, threading
from guarded_tools.mcp_session import HeldSession, StdioServer
session = HeldSession(StdioServer({forked.PYTHON!r}, {list(server.args)!r}))
session.open()
print(flush=True)
sys.stdin.readline()
"""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with subprocess.Popen([forked.PYTHON, "-c", setup + body], text=True, **pipes) as program:
            assert program.stdout.readline() == "\n"
            (pid,) = helpers.servers(program.pid)
            _, errors = program.communicate("\n", timeout=30)
        return program.returncode, errors, pid

    return script


def threads():
    names = ("guarded-tools-mcp", "guarded-tools-stderr")
    return {thread for thread in threading.enumerate() if thread.name in names}


def test_closing_ends_the_server_and_the_threads(odd, helpers):
    with HeldSession(odd()) as session:
        (pid,) = helpers.servers()
        assert helpers.is_alive(pid)
    assert not helpers.is_alive(pid)
    helpers.wait_until(lambda: not threads())
    session.close()
    with pytest.raises(ConnectionFailed, match="is not open"):
        session.call_tool_sync("echo")
    with pytest.raises(ConnectionFailed, match="opened before"):
        session.open()


def test_before_it_is_opened_a_session_says_so(odd):
    with pytest.raises(ConnectionFailed, match="is not open") as failed:
        HeldSession(odd()).call_tool_sync("echo")
    assert not failed.value.sent


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", 0),
        ("sys.exit(7)", 7),
        ("raise ValueError", 1),
        ("threading.Thread(target=session.call_tool_sync, args=('echo',)).start()", 0),
    ],
)
def test_a_user_who_forgets_to_close(odd, helpers, script, body, code):
    returned, errors, server = script(body, odd())
    assert returned == code
    assert ("ValueError" in errors) == (code == 1)
    assert "asyncio" not in errors
    helpers.wait_until(lambda: not helpers.is_alive(server))


def test_a_server_that_ignores_the_end_of_its_input_and_sigterm_is_ended_all_the_same(odd, helpers, script):
    _, _, server = script("", odd("stubborn"))
    assert not helpers.is_alive(server)


def test_a_killed_user_leaves_no_server_behind(odd, helpers, script):
    returned, _, server = script("os.kill(os.getpid(), 9)", odd())
    assert returned == -9
    helpers.wait_until(lambda: not helpers.is_alive(server))


def test_a_session_that_nobody_holds_any_more_ends(odd, helpers):
    session = HeldSession(odd())
    session.open()
    (pid,) = helpers.servers()
    del session
    gc.collect()
    helpers.wait_until(lambda: not helpers.is_alive(pid) and not threads())


def test_a_dead_server_leaves_no_thread_behind(odd, helpers):
    with HeldSession(odd()) as session:
        with pytest.raises(ConnectionFailed):
            session.call_tool_sync("stderr")
        helpers.wait_until(lambda: [thread.name for thread in threads()] == ["guarded-tools-mcp"])


async def test_closing_fails_the_calls_under_way(make_sandbox, helpers):
    sandbox = make_sandbox("stdio", "--fault", "pictify_get_image=hang")
    async with HeldSession(sandbox.server, name="s") as session:
        call = asyncio.create_task(session.call_tool("pictify_get_image", {"imageId": "x"}))
        await asyncio.to_thread(helpers.wait_until, lambda: sandbox.seen()["get_image", "arrived"])
    with pytest.raises(ConnectionFailed, match="was closed") as failed:
        await call
    assert failed.value.sent


async def test_cancelled_while_it_is_opened(helpers, odd):
    session = HeldSession(StdioServer(sys.executable, ["-c", "import sys; sys.stdin.read()  # odd_server"]))
    opening = asyncio.create_task(session.aopen())
    (pid,) = await asyncio.to_thread(helpers.wait_until, helpers.servers)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await asyncio.to_thread(helpers.wait_until, lambda: not helpers.is_alive(pid))


def test_a_forked_child_is_told_and_disturbs_nobody(odd):
    with HeldSession(odd()) as session:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                session.call_tool_sync("echo")
            except ConnectionFailed as failed:
                os.write(writer, f"{failed.sent} {failed}".encode())
                session.close()
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as told:
            assert told.read() == (
                "False the session with the MCP server was opened before this process was forked; open one in this process"
            )
        os.waitpid(pid, 0)
        assert session.call_tool_sync("echo").content[0].text == "{}"


def test_the_server_gets_the_default_environment_and_what_it_is_given(odd, monkeypatch):
    monkeypatch.setenv("A_SECRET_OF_THE_USER", "x")
    with HeldSession(odd(GIVEN="1")) as session:
        names = set(session.call_tool_sync("env").content[0].text.split("\n"))
    assert {"GIVEN", "PATH", "HOME"} <= names
    assert names <= {"GIVEN", "HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LC_CTYPE"}


def test_a_list_that_changed_is_listed_anew(odd_over, helpers):
    heard = []
    with HeldSession(odd_over) as session:
        session.on_tools_changed = lambda tools: heard.append(tools[-1].name)

        def grow():
            # Over HTTP a server can say so only once the stream for it is open, and nobody tells when that is.
            session.call_tool_sync("grow")
            return heard

        helpers.wait_until(grow)
        assert heard[0].startswith("late_")
        assert session.tools[-1].name in heard
        assert session.call_tool_sync(heard[0]).content[0].text == "late"


@pytest.mark.serial
def test_closing_does_not_wait_for_a_list_that_is_on_its_way(odd, helpers):
    for _ in range(3):
        with HeldSession(odd()) as session:
            session.call_tool_sync("grow")
            start = time.monotonic()
        assert time.monotonic() - start < 3


def test_a_reopened_server_that_lists_others_is_news_too(odd, helpers):
    heard = []
    with HeldSession(odd()) as session:
        session.call_tool_sync("grow")
        helpers.wait_until(lambda: session.tools[-1].name == "late_0")
        session.on_tools_changed = lambda tools: heard.append(tools[-1].name)
        with pytest.raises(ConnectionFailed):
            session.call_tool_sync("stderr")
        session.call_tool_sync("echo")
        assert heard == ["stderr"]


def test_a_callback_that_fails_or_waits_for_its_own_session_harms_nobody(odd, helpers, caplog):
    def calls_back(_):
        session.call_tool_sync("echo")

    with HeldSession(odd(), on_tools_changed=calls_back) as session:
        session.call_tool_sync("grow")
        helpers.wait_until(lambda: "cannot be waited for in its own thread" in caplog.text)
        assert session.call_tool_sync("echo").content[0].text == "{}"
