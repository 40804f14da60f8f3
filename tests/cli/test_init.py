"""``guarded-tools init``: what it writes is checked by the other commands, and the agent is run, without being changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forked

SANDBOX = ("--", sys.executable, "-m", "guarded_tools.pictify.sandbox")
SQLITE = shutil.which("mcp-server-sqlite", path=str(Path(sys.prefix, "bin"))) or shutil.which("mcp-server-sqlite")
KEY = "sk-proj-abcdefghijklmnop1234567890"

# A maker of models, as far as `init_chat_model` looks: the script plays the model.
PROVIDER = """
from guarded_tools.testing import ScriptedModel

def ChatOllama(model):
    calls = [("pictify_list_templates", {}), ("pictify_delete_template", {"templateId": "t"}), ("pictify_create_template", {"name": "n"})]
    return ScriptedModel([[call] for call in calls], last=f"{model} is done")
"""

PLAYED = """
import agent
from guarded_tools.testing import ScriptedModel

model = ScriptedModel([[(name, args)] for name, args in {calls!r}], last="it is done")
print(agent.work(model, "go on"))
for message in model.seen[-1]:
    print(message.type, message.text)
"""


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def played(folder, *calls):
    (folder / "play.py").write_text(PLAYED.format(calls=list(calls)))
    done = forked.run([sys.executable, "play.py"], cwd=folder, stdin=forked.DEVNULL, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_written_is_fine_and_runs(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("AGENT_MODEL", "ollama:scripted")
    monkeypatch.setenv("GUARDED_TOOLS_HOME", str(tmp_path / "home"))
    ran = cli("init", *SANDBOX)
    assert ran.code == 0, ran
    assert ran.out.splitlines() == [
        "31 tools of pictify: 13 read, 12 write, 3 execute, 3 destructive",
        "Wrote policy.yaml, cases.yaml and agent.py.",
        "Next:",
        "  guarded-tools test policy.yaml cases.yaml",
        "  python agent.py",
        "  guarded-tools audit",
    ]
    assert cli("validate", "policy.yaml").code == 0
    tested = cli("test", "policy.yaml", "cases.yaml")
    assert tested.code == 0, tested
    assert "33 of 33 cases passed" in tested.out
    (tmp_path / "langchain_ollama.py").write_text(PROVIDER)
    # As `python agent.py` is: its own folder is where it finds what it imports. Nobody sits at a terminal.
    done = forked.run([sys.executable, "agent.py", "tidy", "up"], cwd=tmp_path, stdin=forked.DEVNULL, timeout=120)
    assert (done.returncode, done.stdout) == (0, "scripted is done\n"), done.stderr
    calls = [json.loads(line) for line in (tmp_path / "home" / "audit.jsonl").read_text().splitlines()]
    became = {call["tool"]: call.get("outcome") for call in calls}
    assert became["pictify_list_templates"] == "ok"
    assert became["pictify_delete_template"] == "denied"
    assert became["pictify_create_template"] not in {"ok", None}


def test_over_http_the_agent_answers_with_the_tools_of_the_server(cli, tmp_path, http_sandbox):
    with http_sandbox() as url:
        assert cli("init", "--url", url, "--dir", "over/http").code == 0
        calls = [("pictify_list_templates", {}), ("pictify_delete_template", {"templateId": "t"})]
        told = played(tmp_path / "over" / "http", *calls)
    assert told.startswith("it is done\n")
    assert "Welcome banner" in told
    assert "(hidden)" in told


@pytest.mark.skipif(SQLITE is None, reason="mcp-server-sqlite is not installed: pip install mcp-server-sqlite")
def test_a_server_that_is_not_ours(cli, tmp_path):
    ran = cli("init", "--server", "db", "--", SQLITE, "--db-path", str(tmp_path / "db.sqlite"))
    assert ran.code == 0, ran
    assert "6 tools of db: 3 read, 2 write, 1 destructive" in ran.out
    server = f"{SQLITE} --db-path {tmp_path / 'db.sqlite'}"
    assert cli("lock", "--tools", server, "--server", "db").code == 0
    assert cli("validate", "--tools", "guarded-tools.lock", "policy.yaml").code == 0
    assert cli("test", "policy.yaml", "cases.yaml", "--lock", "guarded-tools.lock").code == 0
    assert "[]" in played(tmp_path, ("list_tables", {}))


def test_a_server_out_of_a_clients_file_stays_there(cli, tmp_path):
    command, *args = SANDBOX[1:]
    entry = {"command": command, "args": args, "env": {"PICTIFY_API_KEY": KEY}}
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": {"pictures": entry, "other": entry}}))
    ran = cli("init", "--servers", "mcp.json")
    assert ran.code == 2
    assert "say which with --server: pictures, other" in ran.err
    assert cli("init", "--servers", "mcp.json", "--server", "nobody").code == 2
    assert cli("init", "--servers", "mcp.json", "--server", "pictures").code == 0
    assert KEY not in "".join((tmp_path / name).read_text() for name in ("policy.yaml", "cases.yaml", "agent.py"))
    assert cli("test", "policy.yaml", "cases.yaml").code == 0
    assert "Welcome banner" in played(tmp_path, ("pictify_list_templates", {}))


@pytest.mark.parametrize(
    "text",
    [
        '{"mcpServers": {"x": {"command": "python3", "args": ["${HOME}/server.py"]}}}',
        '{"mcpServers": {"x": {"command": "python3", "disabled": false}}}',
        '{"mcpServers": {"x": {"command": "python3"}}} // mine',
    ],
)
def test_what_only_a_client_reads_is_named_by_its_command(cli, tmp_path, text):
    (tmp_path / "mcp.json").write_text(text)
    ran = cli("init", "--servers", "mcp.json")
    assert ran.code == 2
    assert "guarded-tools init --env NAME -- COMMAND" in ran.err
    assert names_in(tmp_path) == ["mcp.json"]


@pytest.mark.parametrize("there", [("policy.yaml",), ("cases.yaml", "agent.py")])
def test_nothing_is_overwritten_and_no_server_started(cli, tmp_path, there):
    for name in there:
        (tmp_path / name).write_text("precious")
    ran = cli("init", "--", sys.executable, "-c", f"open({str(tmp_path / 'started')!r}, 'w')")
    assert ran.code == 2
    assert all(name in ran.err for name in there)
    assert "--dir" in ran.err
    assert names_in(tmp_path) == sorted(there)
    assert all((tmp_path / name).read_text() == "precious" for name in there)


def test_a_link_that_leads_nowhere_is_a_file_that_is_there(cli, tmp_path):
    (tmp_path / "agent.py").symlink_to(tmp_path / "elsewhere.py")
    assert "agent.py is there already" in cli("init", "--sandbox").err
    assert names_in(tmp_path) == ["agent.py"]


def test_all_is_written_or_nothing(cli, tmp_path, monkeypatch):
    """Somebody writes agent.py while the server is asked: theirs stays, and ours go."""
    import guarded_tools.cli.init as command

    asked = command.ask

    def slow(*args, **kwargs):
        (tmp_path / "agent.py").write_text("theirs")
        return asked(*args, **kwargs)

    monkeypatch.setattr(command, "ask", slow)
    ran = cli("init", "--sandbox")
    assert (ran.code, ran.out) == (2, "")
    assert "agent.py cannot be written, so nothing was: File exists" in ran.err
    assert names_in(tmp_path) == ["agent.py"]
    assert (tmp_path / "agent.py").read_text() == "theirs"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk_leaves_nothing_behind(cli, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(small)], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        ran = cli("init", "--sandbox", "--dir", str(small))
        assert (ran.code, ran.out) == (2, "")
        assert "cannot be written, so nothing was: No space left on device" in ran.err
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ((), "name one server"),
        (("--tools", "pictify"), "needs a server that runs"),
        (("--servers", "nowhere.json"), "nowhere.json cannot be read"),
        (("--servers", "mcp.json", "--sandbox"), "--servers names the server"),
        (("--env", "NO_SUCH_THING", *SANDBOX), "NO_SUCH_THING is not set"),
    ],
)
def test_a_server_that_is_not_named_as_it_has_to_be(cli, tmp_path, argv, told):
    ran = cli("init", *argv)
    assert ran.code == 2
    assert told in ran.err
    assert names_in(tmp_path) == []


def test_a_key_in_a_command_is_not_written_down(cli, tmp_path):
    # The sandbox takes a log; what it is called looks like a key here.
    ran = cli("init", *SANDBOX, "--log", f"token={KEY}")
    assert ran.code == 0, ran
    assert KEY not in "".join((tmp_path / name).read_text() for name in ("policy.yaml", "cases.yaml", "agent.py"))
    assert "export SERVER_ARGUMENT_4=…" in ran.out
