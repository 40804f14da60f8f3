"""``pictify_tools``: Pictify's tools behind a guard, opened from sync and async code, from a process or an address."""

import asyncio
import os
import stat
import sys
import traceback

import pytest

from guarded_tools import ConnectionFailed, Verdict, pictify_tools
from guarded_tools.errors import PolicyError
from guarded_tools.pictify import connection
from tests.faulty_sandbox import COMMAND

KEY = "pk_live_0123456789"
VARIANTS = [{"id": "a", "weight": 5000}, {"id": "b", "weight": 5000}]
EXPERIMENT = {"name": "Hero", "type": "ab_test", "slug": "hero", "variants": VARIANTS}
EVENTS = {"events": [{"event": "click", "experiment": "hero"}]}


def named(tools):
    return {tool.name.removeprefix("pictify_"): tool for tool in tools}


def call(name, args, number=0):
    return {"type": "tool_call", "name": name, "id": f"call-{number}", "args": args}


def text(result):
    content = getattr(result, "content", result)
    return content if isinstance(content, str) else "".join(block["text"] for block in content)


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.delenv("PICTIFY_API_KEY", raising=False)
    return {"store": "memory://", "audit": tmp_path / "audit.jsonl", "session": "s", "state": tmp_path}


@pytest.fixture(params=["stdio", "http"])
def road(request, serve, tmp_path):
    """Options that reach a sandbox, and the log of that sandbox."""
    log = tmp_path / "log"
    if request.param == "stdio":
        return {"sandbox": ["--log", str(log)]}, log
    return {"url": serve("--log", str(log), "--key", KEY), "api_key": KEY}, log


def approve(request):
    return Verdict.approve("tool")


def test_in_sync_code(road, options, seen):
    reach, log = road
    with pictify_tools(**reach, **options, approver=approve) as tools:
        assert len(tools) == 28
        by_name = named(tools)
        assert "Welcome" in text(by_name["list_templates"].invoke({}))
        assert "Experiment created" in text(by_name["create_experiment"].invoke(EXPERIMENT))
        by_name["start_experiment"].invoke({"experimentId": "exp_000001"})
        answers = [text(by_name["track_experiment_events"].invoke(call("x", EVENTS, n))) for n in range(40)]
    assert [answer.startswith("Processed 1 of 1") for answer in answers] == [True] * 30 + [False] * 10
    assert all("DENIED" in answer and "calls_per_minute" in answer for answer in answers[30:])
    assert seen(log)["track_experiment_events", "arrived"] == 30


async def test_in_async_code(road, options, seen):
    reach, log = road
    async with pictify_tools(**reach, **options, approver=approve) as tools:
        by_name = named(tools)
        await by_name["create_experiment"].ainvoke(EXPERIMENT)
        await by_name["start_experiment"].ainvoke({"experimentId": "exp_000001"})
        track = by_name["track_experiment_events"]
        # The first answer covers the session; sixty questions at once would be refused as a flood.
        first = await track.ainvoke(call("x", EVENTS))
        answers = [first, *await asyncio.gather(*(track.ainvoke(call("x", EVENTS, n)) for n in range(1, 60)))]
        assert any(used.used == 30 for used in tools.guard.usage("s"))
    assert sum("Processed" in text(answer) for answer in answers) == 30
    assert seen(log)["track_experiment_events", "arrived"] == 30


@pytest.mark.may_block("a call that blocks, in the midst of a running loop, is what it is about")
async def test_a_blocking_call_in_the_midst_of_a_running_loop_as_in_a_notebook(options):
    async with pictify_tools(sandbox=True, **options, approver=approve) as tools:
        assert "Welcome" in text(named(tools)["list_templates"].invoke({}))


def test_what_is_denied_or_out_of_schema_does_not_reach_the_server(road, options, seen):
    reach, log = road
    with pictify_tools("supervised", **reach, **options, approver=lambda _: False) as tools:
        by_name = named(tools)
        assert len(tools) == 31
        assert "DENIED" in text(by_name["delete_template"].invoke(call("x", {"templateId": "tpl_000001"})))
        assert "DENIED" in text(by_name["get_template"].invoke(call("x", {"template": "tpl_000001"})))
        by_name["list_templates"].invoke({})
    assert seen(log) == {("list_templates", "arrived"): 1, ("list_templates", "completed"): 1}


def test_in_supervised_every_call_is_asked(options):
    asked = []

    def approver(request):
        asked.append((request.tool, request.risk, request.remember))
        return Verdict.approve("tool")

    with pictify_tools("supervised", sandbox=True, **options, approver=approver) as tools:
        by_name = named(tools)
        for number in (1, 2):
            assert "deleted" in text(by_name["delete_template"].invoke({"templateId": f"tpl_00000{number}"}))
            by_name["create_image"].invoke({"html": "x"})
    assert (
        asked == [("pictify_delete_template", "destructive", "never"), ("pictify_create_image", "write", "never")] * 2
    )


def test_read_only_has_what_reads(options):
    with pictify_tools("read_only", sandbox=True, **options) as tools:
        assert len(tools) == 13
        assert "Welcome" in text(named(tools)["list_templates"].invoke({}))


def test_what_upstream_refuses_is_told_as_it_was_said_and_keeps_the_charge(options):
    with pictify_tools(sandbox=True, **options, approver=approve) as tools:
        message = named(tools)["pause_experiment"].invoke(call("x", {"experimentId": "nope"}))
        assert (message.status, text(message)) == ("error", "Error (404): Not Found\nThere is no experiment nope.")
        # A 404 may be the answer to a retry of what took effect: it proves nothing.
        used = {
            used.counter.rpartition("/")[2]: used.used
            for used in tools.guard.usage("s")
            if "pause_experiment" in used.counter
        }
        assert used == {"calls_per_minute": 1, "calls_per_hour": 1}


def test_an_answer_that_may_be_that_of_a_second_try_gives_nothing_back(options, tmp_path, seen):
    # The real server repeats a 5xx that took effect; then its upstream says 409.
    log = tmp_path / "log"
    command = [*COMMAND, "--log", str(log), "--fault", "pictify_create_experiment=409"]
    with pictify_tools(command=command, api_key=KEY, **options, approver=approve, clock=lambda: 1.7e9) as tools:
        create = named(tools)["create_experiment"]
        answers = [text(create.invoke(call("x", EXPERIMENT | {"slug": f"slug-{n}"}, n))) for n in range(35)]
    assert [answer.startswith("Error (409)") for answer in answers] == [True] * 30 + [False] * 5
    assert seen(log)["create_experiment", "arrived"] == 30


def test_a_lost_connection_is_told_to_the_model_and_costs_one_call(options, tmp_path, seen):
    log = tmp_path / "log"
    command = [*COMMAND, "--log", str(log), "--fault", "pictify_create_image=die-after"]
    with pictify_tools(command=command, api_key=KEY, **options, approver=approve) as tools:
        by_name = named(tools)
        message = by_name["create_image"].invoke(call("x", {"html": "x"}))
        assert message.status == "error"
        assert text(message).startswith("pictify died while pictify_create_image was under way")
        assert "Check before retrying" in text(message)
        assert "Welcome" in text(by_name["list_templates"].invoke({}))
        assert {used.used for used in tools.guard.usage("s") if "create_image" in used.counter} == {1}
    assert seen(log)["create_image", "completed"] == 1


def failure(**options):
    with pytest.raises(ConnectionFailed) as failed, pictify_tools(**options):
        pass
    assert KEY not in "".join(traceback.format_exception(failed.value))
    return str(failed.value)


def test_without_a_key(options):
    assert failure(**options) == (
        "there is no Pictify API key: set PICTIFY_API_KEY, pass api_key=, or try sandbox=True, which needs none"
    )
    assert "no Pictify API key" in failure(**options, api_key="  ")
    assert "no Pictify API key" in failure(**options, url="https://mcp.pictify.io")


def test_without_npx(options, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert failure(**options, api_key=KEY).startswith("the command 'npx' was not found on PATH. It comes with Node.js")


def test_a_key_to_another_machine_goes_over_https(options):
    assert "https only" in failure(**options, api_key=KEY, url="http://mcp.pictify.io")


def test_sandbox_and_url_exclude_each_other(options):
    assert "exclude each other" in failure(**options, sandbox=True, url="https://mcp.pictify.io")


def test_a_command_is_a_sequence_of_words(options):
    assert "sequence of words" in failure(**options, api_key=KEY, command="npx -y @pictify/mcp-server")


@pytest.mark.parametrize(
    "code", ["import sys; sys.exit('bad key ' + os.environ['PICTIFY_API_KEY'])", "import sys; sys.stdin.read()"]
)
def test_a_server_that_dies_or_does_not_answer(options, code):
    command = (sys.executable, "-c", f"import os, time; {code}")
    assert "pictify " in failure(**options, api_key=KEY, command=command, start_timeout=1)


def test_a_policy_that_cannot_be_used_starts_nothing(options, tmp_path):
    started = tmp_path / "started"
    command = (sys.executable, "-c", f"open({str(started)!r}, 'w')")
    with pytest.raises(PolicyError), pictify_tools("no_such_preset", **options, api_key=KEY, command=command):
        pass
    assert not started.exists()


def test_by_default_npx_starts_the_published_server_with_the_key(options, tmp_path, monkeypatch):
    """An ``npx`` of ours stands in; it runs the sandbox, and notes how it was called."""
    notes = tmp_path / "notes"
    npx = tmp_path / "npx"
    npx.write_text(
        f'#!/bin/sh\necho "$@" > {notes}\nenv >> {notes}\nexec {sys.executable} -m guarded_tools.pictify.sandbox\n'
    )
    npx.chmod(npx.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PICTIFY_API_KEY", KEY)
    monkeypatch.setenv("PICTIFY_BASE_URL", "https://staging.example")
    monkeypatch.setenv("PICTIFY_DEBUG", "1")
    monkeypatch.setenv("OTHER_SECRET", "no")
    with pictify_tools(**options, env={"EXTRA": "1"}) as tools:
        assert len(tools) == 28
    arguments, *environment = notes.read_text().splitlines()
    assert arguments == "-y @pictify/mcp-server"
    assert {f"PICTIFY_API_KEY={KEY}", "PICTIFY_BASE_URL=https://staging.example", "EXTRA=1", "PICTIFY_DEBUG=1"} <= set(
        environment
    )
    assert "OTHER_SECRET" not in notes.read_text()
    assert connection.COMMAND == ("npx", "-y", "@pictify/mcp-server")


def test_the_key_of_the_caller_wins_over_the_environment(serve, options, monkeypatch):
    monkeypatch.setenv("PICTIFY_API_KEY", "another")
    with pictify_tools(url=serve("--key", KEY), api_key=KEY, **options) as tools:
        assert "Welcome" in text(named(tools)["list_templates"].invoke({}))
