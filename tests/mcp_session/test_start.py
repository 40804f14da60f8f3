"""A server that does not start, and what the user is told: one clear error, with its last words and without a key."""

import asyncio
import subprocess
import sys
import time
import traceback

import pytest

from guarded_tools.errors import ConnectionFailed
from guarded_tools.mcp_session import HeldSession, HttpServer, StdioServer
from guarded_tools.mcp_session.transport import Masker
from tests import forked

KEY = "pk_live_0123456789/+x"


def python(code, **env):
    return StdioServer(sys.executable, ["-c", code], env)


def failure(server, **options):
    with pytest.raises(ConnectionFailed) as failed, HeldSession(server, name="pictify", **options):
        pass
    assert not failed.value.sent
    assert KEY not in "".join(traceback.format_exception(failed.value))
    return str(failed.value)


def test_a_command_that_is_not_installed():
    assert failure(StdioServer("no-such-command")) == (
        "the command 'no-such-command' was not found on PATH. Install it, or name it by its whole path."
    )


def test_npx_that_is_not_installed(tmp_path):
    text = failure(StdioServer("npx", env={"PATH": str(tmp_path)}))
    assert text == "the command 'npx' was not found on PATH. It comes with Node.js: https://nodejs.org."


def test_a_command_that_cannot_be_run(tmp_path):
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF nonsense")
    program.chmod(0o755)
    assert "could not be started: Exec format error" in failure(StdioServer(str(program)))


def test_a_server_that_ends_before_anything_can_be_written():
    assert {failure(StdioServer("true")) for _ in range(10)} == {
        "pictify ended before it answered; it said nothing, so run it by itself to see why: true"
    }


def test_what_a_server_says_last_cannot_drive_a_terminal():
    code = r"import sys; sys.stderr.write('\x1b]0;owned\x07\x1b[2J\u202eok\tdone\n'); sys.exit(3)"
    assert r"\x1b]0;owned\x07\x1b[2J\u202eok\tdone" in failure(python(code))


def test_a_server_that_ends_at_once_is_quoted():
    code = "import sys; [print('line', n, file=sys.stderr) for n in range(30)]; sys.exit(3)"
    text = failure(python(code))
    assert text.startswith("pictify ended before it answered\nIts last words:\n")
    assert text.endswith("  line 28\n  line 29")
    assert len(text.splitlines()) == 14


@pytest.mark.parametrize(
    "code",
    [
        "print(k)",
        "print(repr(k), k * 3)",
        "print('x' * 399 + k)",
        "print('x' * 65530 + k)",
        "from urllib.parse import quote; print('https://x/?key=' + quote(k, safe=''))",
        "import json; print(json.dumps({'k': k}))",
        "sys.stderr.write(k[:9]); sys.stderr.flush(); sys.stderr.write(k[9:])",
        "raise SystemExit('bad key: ' + k)",
    ],
)
def test_what_a_server_says_of_its_key_is_masked(code):
    text = failure(
        python(f"import os, sys; sys.stdout = sys.stderr; k = os.environ['SOME_API_KEY']; {code}", SOME_API_KEY=KEY)
    )
    assert KEY[8:14] not in text


def test_a_key_among_the_arguments_is_masked():
    code = "import sys; sys.exit(' '.join(sys.argv))"
    assert KEY not in failure(StdioServer(sys.executable, ["-c", code, "--api-key", KEY]))
    assert KEY not in failure(StdioServer(sys.executable, ["-c", code, f"--token={KEY}"]))


@pytest.mark.serial
def test_a_server_that_does_not_answer(monkeypatch, caplog):
    monkeypatch.setattr("guarded_tools.mcp_session.session_thread._SILENCE", 0.1)
    monkeypatch.setattr("guarded_tools.mcp_session.session_thread._watched", lambda: True)
    start = time.monotonic()
    text = failure(
        python("import sys, time; print('hm', file=sys.stderr, flush=True); sys.stdin.read()"), start_timeout=0.7
    )
    assert text == (
        "pictify did not answer within 0.7 s; a server that starts slower gets more with start_timeout (in the shell:"
        " --start-timeout)\nIts last words:\n  hm"
    )
    assert "waiting for pictify …" in caplog.messages
    assert time.monotonic() - start < 3


def test_how_long_a_server_may_take():
    assert StdioServer("npx").start_timeout == 90
    assert StdioServer("/usr/bin/npx").start_timeout == 90
    assert StdioServer("uvx").start_timeout == 90
    assert StdioServer("node").start_timeout == 60
    assert HttpServer("https://x").start_timeout == 60


async def test_many_who_wait_for_a_start_share_its_failure(odd, tmp_path):
    flag = tmp_path / "started"
    code = f"open({str(flag)!r}, 'a').write('x'); import sys; sys.exit('no')"
    good = odd()
    session = HeldSession(StdioServer(sys.executable, [*good.args]))
    async with session:
        with pytest.raises(ConnectionFailed):
            await session.call_tool("stderr")
        session._thread.server = python(code)
        failures = await asyncio.gather(*(session.call_tool("echo") for _ in range(20)), return_exceptions=True)
        assert {(type(one), one.sent) for one in failures} == {(ConnectionFailed, False)}
        assert flag.read_text() == "x"
        session._thread.server = good
        assert (await session.call_tool("echo")).content[0].text == "{}"


def test_the_last_words_of_a_server_that_dies_under_a_call(odd):
    with HeldSession(odd(SOME_API_KEY=KEY), name="odd") as session, pytest.raises(ConnectionFailed) as failed:
        session.call_tool_sync("stderr")
    assert str(failed.value) == "odd died while stderr was under way\nIts last words:\n  a line with the key ***"


def test_descriptions_show_no_key():
    assert KEY not in repr(StdioServer("npx", ["--key", KEY], {"A_KEY": KEY}))
    assert KEY not in repr(HttpServer("https://x", {"Authorization": f"Bearer {KEY}"}))


ODD_KEYS = [
    "Zk9vQ2h5c0pXb1RrN2FhYmJjY2Rk",
    "550e8400-e29b-41d4-a716-446655440000",
    "3f2504e04f8911d39a0c0305e82c3301",
    "ZDM4YTQ2ZTgtNTk0ZC00",
    "1234567890123456",
    "Zk9vQ2h5c0p%2BXb1RrN2FhYm",
]


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("https://mcp.pictify.io", True),
        ("http://127.0.0.1:1/mcp", True),
        ("http://localhost:1/mcp", True),
        ("http://[::1]:1/mcp", True),
        ("http://127.8.9.1/mcp", True),
        ("http://mcp.pictify.io", False),
        ("http://127.0.0.1.evil.example/mcp", False),
        ("http://localhost.evil.example/mcp", False),
        ("http://127.0.0.1@evil.example/mcp", False),
        ("http://10.0.0.1/mcp", False),
        ("http://0.0.0.0/mcp", False),
        ("HTTP://mcp.pictify.io", False),
    ],
)
def test_a_key_goes_over_https_or_stays_on_this_machine(url, fine):
    server = HttpServer(url, {"Authorization": f"Bearer {KEY}"})
    if fine:
        server.check()
    else:
        assert "over https only" in failure(server)


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example/mcp?api_key=abcdef",
        "http://user:abcdef@evil.example/mcp",
        "http://abcdef@evil.example/mcp",
        "http://evil.example/mcp;key=abcdef",
        "http://evil.example/key/abcdef/mcp",
        "http://evil.example/mcp#abcdef=abcdef",
        *(f"http://evil.example/s/{key}/mcp" for key in ODD_KEYS),
    ],
)
def test_a_key_in_the_address_counts_as_one(url):
    text = failure(HttpServer(url))
    assert "over https only" in text
    assert not any(key in text for key in ("abcdef", *ODD_KEYS))
    assert not any(key in Masker(HttpServer(url).secrets())(url) for key in ("=abcdef", "/abcdef/", *ODD_KEYS))
    # As a bridge to it is told where to go.
    bridge = StdioServer("npx", ["mcp-remote", url, "--allow-http"])
    assert not any(key in Masker(bridge.secrets())(url) for key in ("=abcdef", "/abcdef/", *ODD_KEYS))


@pytest.mark.parametrize("path", ["mcp", "api/v1/mcp", "my-company-agent-tools-v2/mcp", "ListAllTheThingsNow"])
@pytest.mark.parametrize(
    "more", ["", "/release-2024-06-18-rc1", "/streamable-http-endpoint", "/mcp-server-version-2024-11"]
)
def test_a_name_in_a_path_is_no_key(path, more):
    assert list(HttpServer(f"http://tools.example/{path}{more}").secrets()) == []


@pytest.mark.parametrize("url", ["", "mcp.pictify.io", "ftp://x/mcp", "https://"])
def test_an_address_that_is_none(url):
    assert "has to begin with https://" in failure(HttpServer(url))


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ("from gevent import monkey; monkey.patch_all()", "gevent has replaced threads by greenlets"),
        ("import eventlet; eventlet.monkey_patch()", "eventlet has replaced threads by greenlets"),
    ],
)
def test_where_threads_are_none_it_says_so_at_once(patch, words, odd):
    pytest.importorskip(words.partition(" ")[0])
    server = odd()
    code = f"""
{patch}
from guarded_tools.mcp_session import HeldSession, StdioServer
try:
    HeldSession(StdioServer({server.command!r}, {server.args!r}), name="x").open()
except Exception as error:
    print(type(error).__name__, error, flush=True)
import os
os._exit(0)
"""
    done = subprocess.run([forked.PYTHON, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith(f"ConnectionFailed {words}"), done.stderr
