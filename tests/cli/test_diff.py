"""``guarded-tools diff``: what it says, its exit codes, and policies as git has them."""

import json
import subprocess

import pytest

OLD = {"version": "1", "default": "deny", "tools": {"pay": {"rate_limit": "10/minute"}, "read": {}}}
NEW = OLD | {"tools": {"pay": {"rate_limit": "500/hour"}, "read": {}, "drop": {}}}
NARROW = OLD | {"tools": {"pay": {"rate_limit": "5/minute"}, "read": {}}}
OPEN = OLD | {"tools": {**OLD["tools"], "read": {"schema": "off"}}}
TOOLS = [{"name": name, "inputSchema": {"type": "object", "properties": {}}} for name in ("pay", "evil\x1b[2Jtool")]


@pytest.fixture
def files(tmp_path):
    for name, said in {"old": OLD, "new": NEW, "narrow": NARROW, "open": OPEN, "tools": TOOLS}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(said))
    (tmp_path / "broken.json").write_text('{"version": "1"}')
    return tmp_path


def test_what_is_looser_comes_first_with_its_calls(cli, files):
    ran = cli("diff", "old.json", "new.json")
    assert ran.code == 1
    lines = ran.out.splitlines()
    assert lines[0].startswith("Compared: 3 tools that the policies name, any other tool, names that only look like")
    assert lines[2:5] == [
        "Looser",
        "  limit  pay: 10 calls in a minute; now 500 calls in an hour",
        "    11 calls of pay {} at once: deny /tools/pay/rate_limit → allow /tools/pay",
    ]
    assert "    501 calls of pay {} in 50 minutes: allow /tools/pay → deny /tools/pay/rate_limit" in lines
    assert lines.index("Looser") < lines.index("Tighter")
    assert lines[-1] == "2 things are looser (--allow-widening lets that pass)."
    assert cli("diff", "old.json", "new.json", "--allow-widening").code == 0


def test_exit_codes(cli, files):
    assert cli("diff", "old.json", "old.json").out.splitlines()[-1] == "The policies say the same."
    assert cli("diff", "old.json", "narrow.json").code == 0
    assert cli("diff", "old.json", "open.json").code == 0  # whether anything is looser cannot be told without schemas
    assert cli("diff", "old.json", "open.json", "--strict").code == 1
    broken = cli("diff", "old.json", "broken.json")
    assert (broken.code, "broken.json" in broken.err) == (1, True)
    assert cli("diff", "old.json", "missing.json").code == 2


def test_it_is_one_json_document(cli, files):
    told = cli("diff", "old.json", "new.json", "--json").json
    assert set(told) == {"old", "new", "listed", "counts", "tools", "stand_ins", "changes"}
    assert told["counts"] == {"looser": 2, "untold": 0, "tighter": 1, "changed": 0}
    change = told["changes"][0]
    assert set(change) == {"kind", "direction", "tools", "words", "rule", "example"}
    assert change["example"]["calls"] == 11
    assert change["example"]["old"]["rule"] == "/tools/pay/rate_limit"
    assert sum(step["times"] for step in change["example"]["steps"]) == 11


def test_a_server_s_own_names_move_no_cursor(cli, files):
    (files / "wide.json").write_text(json.dumps(OLD | {"default": "allow"}))
    ran = cli("diff", "old.json", "wide.json", "--tools", "tools.json")
    assert ran.code == 1
    assert "2 tools that the server lists, 1 tool that only the policies name" in ran.out
    assert "\x1b" not in ran.out


def git(folder, *words):
    said = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *said, *words], cwd=folder, check=True, capture_output=True)


def test_two_commits(cli, files):
    (files / "policy.json").write_text(json.dumps(OLD))
    git(files, "init", "-q")
    git(files, "add", "policy.json", "broken.json")
    git(files, "commit", "-qm", "first")
    (files / "policy.json").write_text(json.dumps(NEW))
    ran = cli("diff", "git:HEAD:policy.json", "policy.json")
    assert (ran.code, "11 calls of pay" in ran.out) == (1, True)
    assert cli("diff", "git:HEAD:./policy.json", "git::policy.json").code == 0  # what is staged
    broken = cli("diff", "git:HEAD:broken.json", "policy.json")
    assert (broken.code, broken.err.startswith("error: git:HEAD:broken.json")) == (1, True)
    for source in ("git:HEAD:missing.json", "git:nowhere:policy.json", "git:policy.json", "git:--help:policy.json"):
        ran = cli("diff", source, "policy.json")
        assert (ran.code, ran.err.startswith(f"error: {source}")) == (2, True)
