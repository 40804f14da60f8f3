"""Checkpoints that real agents left, in SQLite and in Postgres: every call with its arguments, and what came of it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite import SqliteSaver

from guarded_tools import AuditLog, InterruptApprover, Policy
from guarded_tools.authoring.recorded import checkpoints as checkpoints_module
from guarded_tools.authoring.recorded.audit import AuditReader
from guarded_tools.authoring.recorded.checkpoints import read_checkpoints
from guarded_tools.authoring.recorded.shelf import Joined, Shelf
from guarded_tools.authoring.replay.engine import Replay
from guarded_tools.errors import GuardError
from guarded_tools.testing import ScriptedModel, memory_guard

POLICY = Policy.model_validate(
    {
        "version": "1",
        "default": "deny",
        "tools": {
            "pay": {"deny_if": [{"path": "args.amount", "op": "gt", "value": 50}]},
            "read": {},
            "ask": {"approval": True},
        },
    }
)


@tool
def pay(amount: int, note: str = "") -> str:
    """Pay."""
    if amount == 13:
        raise ValueError("no luck")
    return "paid"


@tool
def read(path: str) -> str:
    """Read."""
    return "words"


@tool
def ask(what: str) -> str:
    """Ask."""
    return "answered"


TURNS = [[("read", {"path": "a"}), ("pay", {"amount": 5, "note": "x"})], [("pay", {"amount": 99, "note": ""})]]


def play(saver, audit):
    """Two threads: one comes to its end, one waits for a human."""
    with AuditLog(audit) as log:
        guard = memory_guard(POLICY, audit=log, approver=InterruptApprover(), session=None)
        for thread, turns in {"one": TURNS, "two": [*TURNS[:1], [("ask", {"what": "?"})]]}.items():
            agent = create_agent(
                ScriptedModel(turns), [pay, read, ask], checkpointer=saver, middleware=[guard.middleware()]
            )
            agent.invoke({"messages": [("user", "go")]}, {"configurable": {"thread_id": thread}})


def told(url):
    return [(call.session, call.tool, dict(call.args), call.outcome, call.untold) for call in read_checkpoints(url)]


EXPECTED = [
    ("one", "read", {"path": "a"}, "ok", False),
    ("one", "pay", {"amount": 5, "note": "x"}, "ok", False),
    ("one", "pay", {"amount": 99, "note": ""}, "denied", False),
    ("two", "read", {"path": "a"}, "ok", False),
    ("two", "pay", {"amount": 5, "note": "x"}, "ok", False),
    ("two", "ask", {"what": "?"}, "", True),
]


@pytest.fixture
def checkpoints(tmp_path):
    path = tmp_path / "check points.sqlite"
    with SqliteSaver.from_conn_string(str(path)) as saver:
        play(saver, tmp_path / "audit.jsonl")
    return path


def test_every_call_is_told_with_what_came_of_it(checkpoints):
    assert told(f"sqlite:///{checkpoints}") == EXPECTED
    calls = list(read_checkpoints(f"sqlite:///{checkpoints}"))
    assert all(call.time > 1_700_000_000 for call in calls)
    assert calls[2].rule == "/tools/pay/deny_if/args.amount-gt"
    assert calls[0].id == "call-0-0"


def test_the_audit_and_the_checkpoints_together_judge_all_of_it(checkpoints, tmp_path):
    alone = list(Replay(POLICY).rows(AuditReader(tmp_path / "audit.jsonl")))
    assert {row.tool for row in alone if row.category == "unjudged"} == {"pay"}
    with closing(Shelf()) as shelf:
        shelf.fill(read_checkpoints(f"sqlite:///{checkpoints}"))
        joined = Joined(AuditReader(tmp_path / "audit.jsonl"), shelf)
        rows = list(Replay(POLICY).rows(joined))
        assert (joined.found, joined.missed) == (6, 0)
        assert {row.category for row in rows} == {"same"}
        assert len(rows) == 6
        # Of the checkpoints alone nobody can tell what became of the call that waits.
        assert [row.category for row in Replay(POLICY).rows(shelf.events())].count("untold") == 1


def test_the_command_reads_them(cli, checkpoints, tmp_path):
    narrow = '{"version": "1", "default": "deny", "tools": {"pay": {"require": [{"path": "args.note", "op": "eq", "value": "x"}]}}}'
    (tmp_path / "policy.json").write_text(narrow)
    url = f"sqlite:///{checkpoints}"
    ran = cli("replay", "policy.json", "--checkpoints", url, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["counts"]["newly_denied"] == 2
    both = cli("replay", "policy.json", "--checkpoints", url, "--audit", "audit.jsonl", "--json")
    assert (both.code, both.json["counts"]["unjudged"], both.json["counts"]["newly_denied"]) == (0, 0, 3)


def test_nothing_is_written_and_nothing_that_is_not_trusted_is_made(checkpoints):
    before = checkpoints.read_bytes()
    checkpoints.chmod(0o400)
    assert told(f"sqlite:///{checkpoints}") == EXPECTED
    assert checkpoints.read_bytes() == before
    checkpoints.chmod(0o600)
    with closing(sqlite3.connect(checkpoints)) as base:
        base.execute("UPDATE checkpoints SET type = 'pickle', checkpoint = ?", (b"cos\nsystem\n(S'true'\ntR.",))
        base.commit()
    with pytest.raises(GuardError, match="pickle"):
        told(f"sqlite:///{checkpoints}")


def test_a_message_that_two_graphs_share_is_one():
    message = AIMessage(
        "", id="m1", tool_calls=[{"name": "pay", "args": {"amount": 1}, "id": "c", "type": "tool_call"}]
    )

    class Found:
        def __init__(self, namespace, moment, message):
            self.config = {"configurable": {"checkpoint_ns": namespace}}
            self.checkpoint = {"ts": moment, "channel_values": {"messages": [message], "one": message, "other": 5}}

    class Saver:
        def list(self, _):
            other = message.model_copy(update={"id": "m2"})
            yield Found("", "2026-01-03T00:00:00+00:00", message)
            yield Found("sub:1", "2026-01-02T00:00:00+00:00", message)
            yield Found("sub:2", "2026-01-01T00:00:00+00:00", other)

    days = [call.time / 86_400 % 1 for call in checkpoints_module._calls("t", Saver())]
    assert days == [0.0, 0.0]
    assert [call.untold for call in checkpoints_module._calls("t", Saver())] == [True, True]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://host/base", "checkpoints are at"),
        ("nothing", "checkpoints are at"),
        ("sqlite:///nowhere.sqlite", "there are no checkpoints at"),
        ("sqlite:///here.txt", "cannot be read as checkpoints"),
        ("postgresql://127.0.0.1:1/none?connect_timeout=2", "127.0.0.1/none cannot be read"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, monkeypatch, url, said):
    pytest.importorskip("psycopg", reason="psycopg is not installed: make setup")
    monkeypatch.chdir(tmp_path)
    Path("here.txt").write_text("x" * 5000)
    with pytest.raises(GuardError, match=said):
        list(read_checkpoints(url))


@pytest.fixture
def postgres():
    """The URL of a Postgres of this test's own."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: make setup")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = str(found[-1]) if found else shutil.which("initdb")
    if initdb is None:
        pytest.skip("Postgres is not installed (Debian: apt-get install postgresql)")
    # Another user's folder is not reached through those of this one; and a socket's path is short.
    data = Path(f"/tmp/gt-pg-{os.getpid()}")
    run = []
    if os.getuid() == 0:  # it refuses to run as root
        run = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    data.mkdir(mode=0o700)
    try:
        if run:
            shutil.chown(data, "postgres", "postgres")

        def do(*words):
            subprocess.run([*run, *words], check=True, capture_output=True, cwd="/", timeout=120)

        words = ["-D", data, "-U", "me", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        do(initdb, *words)
        control = Path(initdb).with_name("pg_ctl")
        # The socket is for whoever may enter the folder: this user and its own.
        options = f"-c listen_addresses='' -c unix_socket_directories={data} -c fsync=off -c shared_buffers=1MB"
        do(control, "-D", data, "-w", "-l", data / "log", "-o", options, "start")
        try:
            yield f"postgresql:///postgres?host={data}&user=me"
        finally:
            do(control, "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(data, ignore_errors=True)


def test_postgres_tells_the_same(postgres, tmp_path):
    from langgraph.checkpoint.postgres import PostgresSaver

    with PostgresSaver.from_conn_string(postgres) as saver:
        saver.setup()
        play(saver, tmp_path / "audit.jsonl")
    assert told(postgres) == EXPECTED
    with pytest.raises(GuardError, match="read-only"), checkpoints_module._opened(postgres) as (saver, _):
        saver.conn.execute("DELETE FROM checkpoints")
