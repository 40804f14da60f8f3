"""Walks docs/authoring.md: scan, edit, test, pin, run; over stdio, over HTTP, and with a server that is not ours."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import pytest

from guarded_tools import guarded_tools
from guarded_tools.tools.lock import Lock
from tests.authoring.walk import blocks, edit

BLOCKS = [(kind, text) for kind, _, text in blocks("authoring.md")]
SQLITE = shutil.which("mcp-server-sqlite", path=str(Path(sys.prefix, "bin"))) or shutil.which("mcp-server-sqlite")


@pytest.fixture(params=["stdio", "http"])
def road(request, http_sandbox):
    """How the page's commands and its program reach the sandbox."""
    if request.param == "stdio":
        yield lambda text: text
        return
    with http_sandbox() as url:
        yield lambda text: text.replace("--sandbox", f"--url {url}").replace(
            "sandbox=True", f'url="{url}", api_key="k"'
        )


def test_the_path_that_the_page_describes(cli, road, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GUARDED_TOOLS_HOME", str(tmp_path / "home"))
    ran = []
    for kind, text in BLOCKS:
        if kind == "console":
            for line in text.splitlines():
                command = shlex.split(road(line.removeprefix("$ guarded-tools ")))
                result = cli(*command)
                assert result.code == 0, (line, result)
                ran.append(command[0])
        elif kind == "diff":
            edit(tmp_path / "policy.yaml", text)
        elif kind == "yaml":
            (tmp_path / "cases.yaml").write_text(text)
        elif kind == "python":
            exec(compile(road(text), "docs/authoring.md", "exec"), {})
            assert "Welcome banner" in capsys.readouterr().out
    assert ran == ["scan", "validate", "test", "lock", "lock", "audit"]


def test_the_edited_policy_does_what_the_page_says(cli, tmp_path):
    cli("scan", "--sandbox", "-o", "policy.yaml")
    for diff in (text for kind, text in BLOCKS if kind == "diff"):
        edit(tmp_path / "policy.yaml", diff)
    (tmp_path / "cases.yaml").write_text(
        """
cases:
  - name: ten reports of a hundred events
    steps:
      - {tool: pictify_track_experiment_events, args: {events: &hundred [EVENTS]}, times: 10, expect: ask}
      - {tool: pictify_track_experiment_events, args: {events: *hundred}, expect: {effect: deny, rule: /tools/pictify_track_experiment_events/limits/events}}
""".replace("EVENTS", ", ".join(["{experiment: hero, event: view}"] * 100))
    )
    assert cli("test", "policy.yaml", "cases.yaml").code == 0


@pytest.mark.skipif(SQLITE is None, reason="mcp-server-sqlite is not installed: pip install mcp-server-sqlite")
def test_the_path_with_a_server_that_is_not_ours(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("GUARDED_TOOLS_HOME", str(tmp_path / "home"))
    server = ("--server", "db", "--", SQLITE, "--db-path", str(tmp_path / "db.sqlite"))

    # scan
    scanned = cli("scan", "-o", "policy.yaml", *server)
    assert scanned.code == 0, scanned
    assert "6 tools of db: 3 read, 2 write, 1 destructive" in scanned.err

    # edit: rows may be inserted, each time with a human's consent, and nothing else may be written
    edit(tmp_path / "policy.yaml", " hide:\n-  - write_query\n+  []\n")
    edit(
        tmp_path / "policy.yaml",
        "-  #write_query:\n-  #  risk: destructive\n-  #  labels: [untrusted, private, outward]\n-  #  limits:\n"
        "-  #    - {counter: calls_per_minute, window: minute, max: 1, scope: session}\n-  #  approval: true\n"
        "+  write_query:\n+    risk: write\n+    approval: true\n"
        "+    require: [{path: args.query, op: regex, value: '(?i)^\\s*insert\\s[^;]*$', on_deny: Rows are only added.}]\n"
        "+    limits:\n"
        "+      - {counter: calls_per_minute, window: minute, max: 2, scope: session}\n",
    )
    assert cli("validate", "policy.yaml").code == 0

    # pin, then test with the pinned schemas
    assert cli("lock", *server).code == 0
    (tmp_path / "cases.yaml").write_text("""
cases:
  - {name: reads, tool: read_query, args: {query: SELECT 1}, expect: allow}
  - {name: the schema is the server's, tool: read_query, args: {sql: SELECT 1}, expect: {effect: deny, rule: /schema}}
  - name: two rows a minute
    steps:
      - {tool: write_query, args: &row {query: INSERT INTO t VALUES (1)}, times: 2, expect: ask}
      - {tool: write_query, args: *row, expect: {effect: deny, retry_after: 60}}
  - name: nothing is deleted
    tool: write_query
    args: {query: DELETE FROM t}
    expect: {effect: deny, rule: /tools/write_query/require/args.query-regex, message: only added}
""")
    tested = cli("test", "policy.yaml", "cases.yaml", "--lock", "guarded-tools.lock")
    assert tested.code == 0, tested
    assert cli("lock", "--check", *server).code == 0

    # run
    def run(lock):
        command = {"command": SQLITE, "args": ["--db-path", str(tmp_path / "db.sqlite")]}
        opened = guarded_tools(
            {"db": command}, policy=tmp_path / "policy.yaml", lock=lock, approver=lambda request: True, session="s"
        )
        with opened as tools:
            call = {tool.name: tool for tool in tools}
            answers = [
                call["create_table"].invoke({"query": "CREATE TABLE IF NOT EXISTS t (n INTEGER)"}),
                call["write_query"].invoke({"query": "INSERT INTO t VALUES (7)"}),
                call["write_query"].invoke({"query": "DELETE FROM t"}),
                call["read_query"].invoke({"query": "SELECT n FROM t"}),
            ]
        return [str(answer) for answer in answers]

    created, inserted, deleted, read = run(tmp_path / "guarded-tools.lock")
    assert "DENIED" not in created + inserted + read
    assert "DENIED" in deleted
    assert "Rows are only added" in deleted
    assert "7" in read

    # the server changes: one description in the lock is older than what the server says now
    lock = Lock.from_file(tmp_path / "guarded-tools.lock")
    from guarded_tools.values import ToolInfo

    older = Lock.of(
        ToolInfo(name, "db", "Inserts a row." if name == "write_query" else pinned.description, pinned.schema)
        for name, pinned in lock.servers["db"].items()
    )
    (tmp_path / "guarded-tools.lock").write_text(older.to_json())
    assert cli("lock", "--check", *server).code == 1
    _, inserted, _, read = run(tmp_path / "guarded-tools.lock")
    assert "DENIED" in inserted
    assert "description changed" in inserted
    assert "INSERT, UPDATE, or DELETE" not in inserted, "the new description must not reach the model"
    assert "DENIED" not in read
