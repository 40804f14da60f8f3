"""Every command at a terminal of 60 columns, with NO_COLOR, in a pipe, and in a pipe that nobody reads."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys

import pytest
import typer

from guarded_tools import Guard, Policy, ToolCall, ToolDenied, Verdict
from guarded_tools.cli.app import COMMANDS, _app, main
from guarded_tools.cli.console import folded
from tests import forked

SESSION = "a-session-with-a-long-name"
POLICY = {
    "version": "1",
    "default": "deny",
    "tools": {
        "pictify_list_templates": {"rate_limit": "2/hour", "labels": ["untrusted"]},
        "note": {"risk": "write", "approval": {"remember": "same"}},
    },
}
MISTAKEN = {
    "version": "1",
    "defualt": "deny",
    "tools": {"t": {"limits": [{"counter": "x", "window": "fortnightly", "max": 3}]}},
}
CASES = [{"name": "reads", "tool": "pictify_list_templates", "expect": effect} for effect in ("allow",)]
CASES += [{"name": "is asked about", "tool": "pictify_list_templates", "expect": "ask"}]

RUNS = [
    *("validate policy.json", "validate mistaken.json", "validate nothing.json"),
    *("explain policy.json pictify_list_templates", "explain standard pictify_create_template"),
    *("test policy.json cases.json", "diff policy.json policy.json", "replay standard"),
    *("lock --tools pictify", "scan --tools pictify -o drawn.yaml", "learn -o learnt.yaml --allow-no-hold-out"),
    *("drill policy.json"),
    *("approvals", "approvals remembered", "approvals withdraw nobody"),
    *("audit", "audit verify", "audit --latest", "audit --shadow", "audit export audit.csv"),
    *("status", "top --once", "report -o report.html", f"session {SESSION}", "reset", "prune"),
    *("halt --reason enough", "status", "resume", "resume"),
    *("init", "init --tools pictify", "doctor", "doctor --policy mistaken.json", "gateway", "explain", "--version"),
    "--help",
]


def helps():
    """Each command and each command of a command, asked for its help."""
    app = typer.main.get_command(_app([]))
    for name in COMMANDS:
        yield f"{name} --help"
        yield from (f"{name} {inner} --help" for inner in getattr(app.commands[name], "commands", {}))


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder and a state in which something happened."""
    folder = tmp_path_factory.mktemp("narrow")
    (folder / "policy.json").write_text(json.dumps(POLICY))
    (folder / "mistaken.json").write_text(json.dumps(MISTAKEN))
    (folder / "cases.json").write_text(json.dumps({"cases": CASES}))
    policy = Policy.model_validate(POLICY)
    with Guard(policy, session=SESSION, state=folder / "state", approver=lambda _: Verdict.approve("same")) as guard:
        for tool in (*["pictify_list_templates"] * 4, "note", "unheard_of"):
            with contextlib.suppress(ToolDenied):
                guard.call(ToolCall(tool, {}, session=SESSION), lambda _: "ran")
    return folder


@pytest.fixture
def run(prepared, monkeypatch):
    """Runs a command with these streams, and returns what it wrote."""
    monkeypatch.chdir(prepared)
    monkeypatch.setenv("GUARDED_TOOLS_HOME", str(prepared / "state"))
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def run(line, stream):
        for name in ("drawn.yaml", "learnt.yaml", "audit.csv", "report.html", "guarded-tools.lock"):
            (prepared / name).unlink(missing_ok=True)
        out, err = stream(), stream()
        with monkeypatch.context() as streams:
            streams.setattr(sys, "stdout", out)
            streams.setattr(sys, "stderr", err)
            with pytest.raises(SystemExit):
                main(line.split())
        return out.getvalue() + err.getvalue()

    return run


def plain(text):
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def is_whole(line):
    """Whether a line may be longer: a path or a pointer that is one word, or a command that is copied."""
    return " " not in line.strip() or re.match(r"\s*(→|guarded-tools|python|pip|export)\s", line)


@pytest.mark.parametrize("line", [*dict.fromkeys(RUNS), *helps()])
def test_at_sixty_columns_nothing_of_ours_is_wider(run, line):
    told = plain(run(line, Terminal))
    assert told.strip()
    wide = [each for each in told.splitlines() if len(each) > 60 and not is_whole(each)]
    assert wide == []


@pytest.mark.parametrize("line", dict.fromkeys(RUNS))
def test_in_a_pipe_nothing_moves_or_colours_and_with_no_color_nothing_colours(run, monkeypatch, line):
    assert "\x1b" not in run(line, io.StringIO)
    monkeypatch.setenv("NO_COLOR", "1")
    told = run(line, Terminal)
    codes = {code for found in re.findall(r"\x1b\[([0-9;]*)m", told) for code in found.split(";")}
    # Help is laid out by the library that reads the options: bold is no colour, and it keeps it.
    assert codes <= ({"0", "1", "2", "22", ""} if "Usage:" in plain(told) else set())


def test_at_a_terminal_there_is_colour(run):
    """Or the test above would pass for ever."""
    assert "\x1b[" in run("doctor", Terminal)
    assert "\x1b[" in run("explain standard pictify_create_template", Terminal)


@pytest.mark.parametrize("line", ["--help", "schema", "audit --json", "explain standard pictify_get_image", "doctor"])
def test_a_pipe_that_nobody_reads_ends_the_command_without_a_word(prepared, line):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        env = {**os.environ, "GUARDED_TOOLS_HOME": str(prepared / "state")}
        command = [sys.executable, "-m", "guarded_tools.cli", *line.split()]
        process = forked.Popen(command, stdout=writer, stderr=forked.PIPE, stdin=forked.DEVNULL, env=env)
        _, err = process.communicate(timeout=60)
    finally:
        os.close(writer)
    assert (process.returncode, err) == (1, "")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("short", ["short"]),
        ("", [""]),
        ("one two three four", ["one two", "  three", "  four"]),
        ("  one two three", ["  one two", "    three"]),
        ("see /a/path/that/is/long now", ["see", "  /a/path/that/is/long", "  now"]),
        ("a\nb c d e f g", ["a", "b c d e f", "  g"]),
    ],
)
def test_lines_are_folded_between_words(text, lines):
    assert folded(text, 9).split("\n") == lines
