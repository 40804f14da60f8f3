"""``guarded_tools``: any MCP servers, several at once, every tool guarded, also those that come later."""

import asyncio
import os
import signal
import sys
import threading
import time

import pytest

from guarded_tools import ConnectionFailed, guarded_tools
from guarded_tools.errors import GuardError, PolicyError
from guarded_tools.mcp_session import HeldSession, StdioServer


def named(tools):
    return {tool.name: tool for tool in tools}


def call(args=None):
    return {"type": "tool_call", "name": "x", "id": "call-1", "args": args or {}}


def text(message):
    content = message.content
    return content if isinstance(content, str) else content[0]["text"]


def until(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def test_the_tools_of_one_server(odd, options, policy):
    with guarded_tools({"odd": odd()}, policy=policy({"echo": {}, "show": {}}), **options) as tools:
        assert text(named(tools)["echo"].invoke(call({"a": 1}))) == "{'a': 1}"
        assert "DENIED" in text(named(tools)["env"].invoke(call()))


def test_results_reach_the_model_as_they_are(odd, options, policy):
    everything = policy(default="allow")
    with guarded_tools({"odd": odd()}, policy=everything, **options) as tools:
        by_name = named(tools)
        seen = by_name["show"].invoke(call())
        assert [block["type"] for block in seen.content] == ["text", "image"]
        assert seen.content[1]["mime_type"] == "image/png"
        structured = by_name["structured"].invoke(call())
        assert structured.artifact == {"structured_content": {"n": 1}}
        refused = by_name["refuse"].invoke(call())
        assert (refused.status, text(refused)) == ("error", "refused")

        async def the_same_async():
            return [(await by_name[name].ainvoke(call())) for name in ("show", "structured", "refuse")]

        def without_ids(message):
            content = [{key: value for key, value in block.items() if key != "id"} for block in message.content]
            return content, message.artifact, message.status

        again = asyncio.run(the_same_async())
        assert [without_ids(one) for one in again] == [without_ids(one) for one in (seen, structured, refused)]


def test_two_servers_with_a_tool_of_one_name(odd, options, policy):
    two = {"a": odd(), "b": odd()}
    with pytest.raises(GuardError, match="the servers a and b both have a tool called echo; pass keyed=True"):
        guarded_tools(two, policy=policy(), **options).__enter__()
    allowed = policy({"a/echo": {}, "b/*": {"action": "deny"}})
    with guarded_tools(two, policy=allowed, keyed=True, **options) as tools:
        by_name = named(tools)
        assert text(by_name["a_echo"].invoke(call({"x": 1}))) == "{'x': 1}"
        assert "DENIED" in text(by_name["b_echo"].invoke(call({"x": 1})))
        assert "/tools/b~1*" in text(by_name["b_echo"].invoke(call({"x": 1})))


def test_one_server_that_lists_a_name_twice(odd, options, policy):
    with pytest.raises(GuardError, match="the server odd lists two tools that go by the name echo"):
        guarded_tools({"odd": odd("twins")}, policy=policy(), **options).__enter__()


HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202e\n2026-01-01 INFO guarded_tools all calls were approved"


def test_names_of_a_server_cannot_drive_a_terminal_or_forge_a_line(odd, options, policy, caplog):
    with pytest.raises(GuardError, match=r"the name \\x1b\]0;owned\\x07\\x1b\[2J\\u202e\\n2026") as failed:
        guarded_tools({"odd": odd(f"name={HOSTILE}", "twins")}, policy=policy(), **options).__enter__()
    assert str(failed.value).isprintable()
    near = policy({HOSTILE.splitlines()[1]: {}})
    with pytest.raises(PolicyError, match="did you mean") as failed:
        guarded_tools({"odd": odd(f"name={HOSTILE}")}, policy=near, **options).__enter__()
    assert str(failed.value).isprintable()
    with guarded_tools({"odd": odd(f"name={HOSTILE}")}, policy=policy(), **options) as tools:
        assert text(named(tools)[HOSTILE].invoke(call())).isprintable()
    with guarded_tools({"odd": odd(f"name={HOSTILE}", "twins later")}, policy=policy({"grow": {}}), **options) as tools:
        named(tools)["grow"].invoke(call())
        until(lambda: "the old ones stay in use" in caplog.text)
    assert all(record.getMessage().isprintable() for record in caplog.records if record.name.startswith("guarded"))


def test_a_rule_on_an_argument_that_no_tool_has_is_refused_at_start(odd, options, policy):
    rules = {"echo": {"deny_if": [{"path": "args.amuont", "op": "gt", "value": 5}]}}
    with pytest.raises(PolicyError, match="'amuont'"):
        guarded_tools({"odd": odd()}, policy=policy(rules), **options).__enter__()


def test_a_policy_may_speak_of_a_tool_that_came_later(odd, options, tmp_path):
    file = tmp_path / "policy.json"
    file.write_text('{"version": "1", "default": "deny", "tools": {"grow": {}}}')
    with guarded_tools({"odd": odd()}, policy=file, **options) as tools:
        named(tools)["grow"].invoke(call())
        until(lambda: "late_0" in named(tools))
        file.write_text('{"version": "1", "default": "deny", "tools": {"grow": {}, "late_0": {}}}')
        tools.guard.reload()
        assert text(named(tools)["late_0"].invoke(call())) == "late"
        file.write_text('{"version": "1", "default": "deny", "tools": {"late_1": {}}}')
        with pytest.raises(PolicyError, match="did you mean late_0"):
            tools.guard.reload()


def test_a_tool_that_comes_later_is_guarded(odd, options, policy):
    with guarded_tools({"odd": odd()}, policy=policy({"grow": {}}), **options) as tools:
        before = named(tools)
        before["grow"].invoke(call())
        until(lambda: "late_0" in named(tools))
        assert "DENIED" in text(named(tools)["late_0"].invoke(call()))
        assert text(before["grow"].invoke(call())) == "grown"


def test_a_tool_that_comes_later_is_counted(odd, options, policy):
    one = {"counter": "all", "window": "hour", "max": 2, "scope": "session"}
    rules = policy(default="allow", all_tools={"limits": [one]})
    with guarded_tools({"odd": odd()}, policy=rules, **options) as tools:
        named(tools)["grow"].invoke(call())
        until(lambda: "late_0" in named(tools))
        answers = [text(named(tools)["late_0"].invoke(call())) for _ in range(2)]
        assert answers[0] == "late"
        assert "DENIED" in answers[1]


def test_a_tool_that_comes_later_and_is_hidden_stays_hidden(odd, options, policy):
    rules = policy(default="allow", hide=["*_*"])
    with guarded_tools({"odd": odd()}, policy=rules, **options) as tools:
        named(tools)["grow"].invoke(call())
        heard = tools.guard.visible
        until(lambda: tools._sessions[0].tools[-1].name == "late_0")
        assert not heard("late_0")
        named(tools)["echo"].invoke(call())
        assert "late_0" not in named(tools)


async def test_one_server_that_does_not_start_ends_the_others(odd, options, policy):
    servers = {"good": odd(), "bad": {"command": "no-such-command"}}
    with pytest.raises(ConnectionFailed, match="no-such-command"):
        await guarded_tools(servers, policy=policy(), **options).__aenter__()
    with pytest.raises(ConnectionFailed, match="no-such-command"):
        guarded_tools(servers, policy=policy(), **options).__enter__()


def silent(folder):
    """A server that writes down its process and never says a word."""
    code = "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); sys.stdin.read()"
    return {"command": sys.executable, "args": ["-c", code, str(folder / "pid")]}


def test_who_waits_for_several_servers_hears_of_the_first_that_fails(tmp_path, options, policy):
    bad = {"command": sys.executable, "args": ["-c", "raise SystemExit('no licence')"]}
    with pytest.raises(ConnectionFailed, match="no licence"):
        guarded_tools(
            {"silent": silent(tmp_path), "bad": bad}, policy=policy(), start_timeout=20, **options
        ).__enter__()


def test_who_interrupts_the_start_does_not_wait_for_it(tmp_path, options, policy):
    over, late = threading.Event(), threading.Event()
    pid = tmp_path / "pid"

    def interrupt():
        until(lambda: pid.exists() and pid.read_text())
        os.kill(os.getpid(), signal.SIGINT)
        if not over.wait(15):
            late.set()
            os.kill(int(pid.read_text()), signal.SIGKILL)  # else this test would wait as long as its user had to

    watching = threading.Thread(target=interrupt)
    watching.start()
    with pytest.raises(KeyboardInterrupt):
        guarded_tools({"silent": silent(tmp_path)}, policy=policy(), start_timeout=60, **options).__enter__()
    over.set()
    watching.join()
    assert not late.is_set()


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({}, "exactly one of command and url"),
        ({"command": "x", "url": "https://x"}, "exactly one of command and url"),
        (
            {"command": "x", "alwaysAllow": ["delete"]},
            "alwaysAllow is not known beside command; command, args, env, cwd",
        ),
        ({"url": "https://x", "env": {}}, "env is not known beside url"),
        (
            {"url": "https://x", "transport": "websocket"},
            "the transport is http or streamable_http or streamable-http or sse, not websocket",
        ),
        ({"command": "x", "type": "http"}, "the transport is stdio"),
        ({"command": ["npx"]}, "command is a text"),
        ({"command": "x", "args": "-y"}, "args is a list of texts"),
        ({"command": "x", "args": [1]}, "args is a list of texts"),
        ({"command": "x", "env": {"A_KEY": 12345678}}, "env is a mapping of texts to texts"),
        ({"url": "https://x", "headers": ["a"]}, "headers is a mapping of texts to texts"),
    ],
)
def test_a_server_that_is_described_wrongly(config, problem, policy, options):
    with pytest.raises(ConnectionFailed, match=problem) as failed:
        guarded_tools({"it": config}, policy=policy(), **options)
    assert str(failed.value).startswith("the server it is described wrongly: ")
    assert "12345678" not in str(failed.value)


async def test_an_opening_that_is_cancelled_while_it_starts_is_ended(monkeypatch):
    held = HeldSession(StdioServer(sys.executable, ("-c", "import sys; sys.stdin.read()")), name="s")
    go, begin = threading.Event(), held._thread.start
    monkeypatch.setattr(held._thread, "start", lambda: go.wait() and begin())
    opening = asyncio.create_task(held.aopen())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    go.set()
    await asyncio.to_thread(held._thread._stopped.result, 10)
