from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from guarded_tools.cli.server_tools import told_by
from guarded_tools.policy import Policy
from guarded_tools.policy.presets import PRESETS
from guarded_tools.tools.lock import Lock

SANDBOX = ("--", sys.executable, "-m", "guarded_tools.pictify.sandbox")


def test_scan_drafts_a_policy_that_loads(cli, tmp_path):
    ran = cli("scan", "--sandbox", "-o", "draft.yaml")
    assert ran.code == 0
    assert "31 tools of pictify: 13 read, 12 write, 3 execute, 3 destructive" in ran.err
    policy = Policy.from_file(tmp_path / "draft.yaml")
    assert policy.server == "pictify"
    assert policy.hides("pictify_delete_template")
    assert not policy.hides("pictify_get_template")


def test_yaml_and_json_say_the_same(cli):
    printed = cli("scan", *SANDBOX)
    as_json = cli("scan", "--format", "json", *SANDBOX)
    assert "31 tools" in as_json.json["description"]
    assert {"description": as_json.json["description"], **yaml.safe_load(printed.out)} == as_json.json
    assert Policy.model_validate(as_json.json).fingerprint


def test_a_suffix_picks_the_format(cli, tmp_path):
    assert cli("scan", "--sandbox", "-o", "draft.json").code == 0
    assert json.loads((tmp_path / "draft.json").read_text())["server"] == "pictify"


def test_a_draft_never_overwrites_a_policy(cli, tmp_path):
    (tmp_path / "mine.yaml").write_text("precious")
    ran = cli("scan", "--sandbox", "-o", "mine.yaml")
    assert ran.code == 2
    assert "there already" in ran.err
    assert (tmp_path / "mine.yaml").read_text() == "precious"


def test_a_server_gets_the_name_it_is_given(cli):
    ran = cli("scan", "--server", "renderer", "--format", "json", *SANDBOX)
    assert ran.json["server"] == "renderer"
    # Under another name the catalogue says nothing, and what a render does cannot be told from the word.
    assert ran.json["tools"]["pictify_render_template"]["risk"] == "write"


def test_one_way_to_name_a_server_and_the_older_spellings_are_the_same(cli, tmp_path):
    drafts = [
        cli("scan", "--format", "json", *said)
        for said in (
            ("--tools", "sandbox"),
            ("--sandbox",),
            ("--tools", f"{sys.executable} -m guarded_tools.pictify.sandbox"),
            ("--tools", "pictify"),
        )
    ]
    assert all(draft.code == 0 and draft.json == drafts[0].json for draft in drafts), drafts
    assert cli("lock", "--tools", "pictify").code == 0
    assert cli("lock", "--tools", "guarded-tools.lock", "--check").code == 0
    assert cli("scan", "--tools", "guarded-tools.lock", "--format", "json").json["tools"] == drafts[0].json["tools"]
    (tmp_path / "policy.json").write_text(drafts[0].out)
    for option in ("--tools", "--server"):
        for tools in ("pictify", "sandbox", "guarded-tools.lock"):
            assert cli("validate", option, tools, "policy.json").code == 0
        ran = cli("explain", "policy.json", "pictify_get_image", option, "guarded-tools.lock", "--json")
        assert ran.json["decision"]["rule"] == "/schema"


def test_a_lock_of_several_servers_is_asked_which(cli):
    cli("lock", "--tools", "pictify")
    cli("lock", "--tools", "pictify", "--server", "other")
    ran = cli("scan", "--tools", "guarded-tools.lock")
    assert ran.code == 2
    assert "say which with --server" in ran.err
    assert cli("scan", "--tools", "guarded-tools.lock", "--server", "other").code == 0


@pytest.mark.parametrize(
    "argv",
    [
        ("--tools", "sandbox", "--sandbox"),
        ("--tools", "nobody"),
        ("--tools", "none.json"),
        (),
        ("--sandbox", "--url", "http://127.0.0.1:1/mcp"),
        ("--sandbox", "--", "x"),
        ("--", "no-such-command-here"),
    ],
)
@pytest.mark.parametrize("command", ["scan", "lock"])
def test_a_server_that_is_not_there_or_not_one_is_an_error(cli, command, argv):
    ran = cli(command, *argv)
    assert ran.code == 2
    assert ran.err.startswith("error: ")
    assert ran.out == ""


@pytest.mark.parametrize("command", ["scan", "lock", "validate", "learn", "drill"])
def test_who_waits_for_a_server_is_told_how_to_wait_longer(cli, command, tmp_path):
    silent = f"{sys.executable} -c 'import sys; sys.stdin.read()'"
    policy = ["standard"] if command in {"validate", "drill"} else []
    (tmp_path / "audit.jsonl").touch()
    recorded = ["--audit", "audit.jsonl"] if command == "learn" else []
    ran = cli(command, *policy, *recorded, "--tools", silent, "--start-timeout", "0.1")
    assert ran.code == 2
    assert "did not answer within 0.1 s" in ran.err
    assert "--start-timeout" in ran.err


def test_a_variable_is_named_and_its_value_never_shown(cli, monkeypatch):
    assert "NO_SUCH_THING is not set" in cli("scan", "--env", "NO_SUCH_THING", *SANDBOX).err
    monkeypatch.setenv("MY_TOKEN", "s3cret-value")
    ran = cli("scan", "--url", "http://192.0.2.1/mcp", "--token-env", "MY_TOKEN")
    assert ran.code == 2
    assert "s3cret-value" not in ran.out + ran.err


def test_lock_pins_and_check_passes(cli, tmp_path):
    assert "31 tools of pictify are pinned" in cli("lock", "--sandbox").out
    first = (tmp_path / "guarded-tools.lock").read_bytes()
    assert cli("lock", "--sandbox", "--check").code == 0
    assert cli("lock", "--sandbox").code == 0
    assert (tmp_path / "guarded-tools.lock").read_bytes() == first


def test_check_fails_on_what_changed_is_new_or_is_gone_and_writes_nothing(cli, tmp_path):
    cli("lock", "--sandbox")
    path = tmp_path / "guarded-tools.lock"
    lock = Lock.from_file(path)
    tools = dict(lock.servers["pictify"])
    tools["pictify_gone"] = tools["pictify_list_gifs"]
    del tools["pictify_list_images"]
    old = tools["pictify_get_template"]._replace(description="Look up one template.")
    from guarded_tools.values import ToolInfo

    infos = [ToolInfo(name, "pictify", pinned.description, pinned.schema) for name, pinned in tools.items()]
    infos = [
        info._replace(description=old.description) if info.name == "pictify_get_template" else info for info in infos
    ]
    path.write_text(Lock.of(infos).to_json())
    before = path.read_bytes()

    ran = cli("lock", "--sandbox", "--check")
    assert ran.code == 1
    assert "pictify_list_images: it is new" in ran.out
    assert "pictify_gone: it is gone" in ran.out
    assert "pictify_get_template: its description changed" in ran.out
    assert "-Look up one template." in ran.out
    kinds = {drift["tool"]: drift["kind"] for drift in cli("lock", "--sandbox", "--check", "--json").json}
    assert kinds == {"pictify_list_images": "new", "pictify_gone": "gone", "pictify_get_template": "changed"}
    assert path.read_bytes() == before

    ran = cli("lock", "--sandbox")
    assert ran.code == 0
    assert "-Look up one template." in ran.out, "whoever pins anew sees what he pins"
    assert cli("lock", "--sandbox", "--check").code == 0


def test_check_without_a_lock_cannot_be_read(cli):
    assert cli("lock", "--sandbox", "--check").code == 2


@pytest.mark.parametrize(
    "broken",
    [{"version": "2"}, {"version": "1", "servers": {"s": {"t": {"hash": "", "description": "", "schema": None}}}}],
)
def test_a_broken_lock_says_how_to_come_by_a_whole_one(cli, tmp_path, broken):
    file = tmp_path / "guarded-tools.lock"
    file.write_text(json.dumps(broken))
    ran = cli("lock", "--sandbox")
    assert ran.code == 1
    assert "delete it, then write it anew with `guarded-tools lock`" in ran.err
    file.unlink()
    assert cli("lock", "--sandbox").code == 0


def test_a_lock_keeps_the_other_servers(cli, tmp_path):
    cli("lock", "--sandbox")
    cli("lock", "--server", "other", *SANDBOX)
    assert set(Lock.from_file(tmp_path / "guarded-tools.lock").servers) == {"pictify", "other"}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_passes_its_own_cases(cli, preset):
    ran = cli("test", preset)
    assert ran.code == 0, ran.out
    assert "FAIL" not in ran.out


def test_a_preset_and_its_cases_can_be_taken_away(cli, tmp_path):
    (tmp_path / "policy.json").write_text(cli("preset", "standard").out)
    (tmp_path / "cases.yaml").write_text(cli("preset", "standard", "--cases").out)
    assert cli("test", "policy.json", "cases.yaml").code == 0


def test_a_failing_case_shows_what_was_expected_and_what_explains_it(cli, tmp_path):
    (tmp_path / "cases.yaml").write_text("""
cases:
  - {name: fine, tool: pictify_list_images, expect: allow}
  - {name: wrong, tool: pictify_list_images, times: 121, expect: allow}
  - name: last
    steps:
      - {tool: pictify_list_images, times: 119, expect: allow}
      - {tool: pictify_list_images, expect: deny}
""")
    ran = cli("test", "standard", "cases.yaml")
    assert ran.code == 1
    assert "ok    fine" in ran.out
    assert "FAIL  wrong" in ran.out
    assert "call 121" in ran.out
    assert "effect: expected 'allow', was 'deny'" in ran.out
    assert "/all_tools/limits/session_per_minute" in ran.out
    assert "session:default: 120 of 120 in a minute, takes 1, full, fits in 60 seconds" in ran.out, "what explain shows"
    assert "session:default: 119 of 120 in a minute, takes 1, frees in 60 s" in ran.out, (
        "before the failing call was counted"
    )
    assert "1 of 3 cases passed" in ran.out
    wrong = cli("test", "standard", "cases.yaml", "--json").json[1]
    assert (wrong["passed"], wrong["failure"]["call"]) == (False, 121)
    assert wrong["failure"]["explained"]["limits"][0]["used"] == 120


def test_cases_may_take_schemas_from_a_lock(cli, tmp_path):
    cli("lock", "--server", "other", *SANDBOX)
    (tmp_path / "policy.json").write_text('{"version": "1", "default": "allow", "server": "other"}')
    (tmp_path / "cases.yaml").write_text("""
cases:
  - {name: schema, tool: pictify_get_template, expect: {effect: deny, rule: /schema}}
""")
    assert cli("test", "policy.json", "cases.yaml").code == 1, "nobody knows the schema"
    assert cli("test", "policy.json", "cases.yaml", "--lock", "guarded-tools.lock").code == 0


def test_exit_codes_of_what_cannot_be_read(cli, tmp_path):
    (tmp_path / "broken.yaml").write_text("cases: [{name: x}]")
    assert cli("test", "standard", "none.yaml").code == 2
    assert cli("test", "none.json", "broken.yaml").code == 2
    ran = cli("test", "standard", "broken.yaml")
    assert ran.code == 1
    assert "broken.yaml:1:" in ran.err
    assert cli("test", "policy.json").code == 2


def test_a_server_over_http_is_told_who_asks(cli, monkeypatch, http_sandbox):
    monkeypatch.setenv("MY_KEY", "k-for-the-sandbox")
    with http_sandbox("--key", "k-for-the-sandbox") as url:
        ran = cli("scan", "--url", url, "--token-env", "MY_KEY", "--format", "json")
        assert ran.code == 0, ran
        assert ran.json["server"] == "pictify"


def test_a_server_that_uses_a_name_twice_gets_no_policy_and_no_lock(cli):
    for command in ("scan", "lock"):
        ran = cli(command, "--", sys.executable, str(Path(__file__).parents[1] / "tools" / "odd_server.py"), "--twins")
        assert ran.code == 2
        assert "uses twice" in ran.err


def test_a_policy_with_a_misspelt_tool_is_not_tested_but_refused(cli, tmp_path):
    (tmp_path / "policy.yaml").write_text("""
version: "1"
server: pictify
default: deny
tools: {pictify_list_image: {}}
""")
    (tmp_path / "cases.yaml").write_text("cases: [{name: x, tool: pictify_list_images, expect: deny}]")
    ran = cli("test", "policy.yaml", "cases.yaml")
    assert ran.code == 1
    assert "did you mean pictify_list_images?" in ran.err


def test_a_command_that_is_no_server_is_one_line(cli):
    ran = cli("scan", "--", sys.executable, "-c", "print(1)")
    assert ran.code == 2
    assert "ended before it answered" in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("options", [("--env", "NOPE"), ("--token-env", "NOPE")])
def test_an_option_that_would_do_nothing_is_refused(cli, options):
    ran = cli("scan", "--sandbox", *options)
    assert ran.code == 2
    assert options[0] in ran.err


def test_a_lock_that_cannot_be_written_is_an_error(cli, tmp_path):
    ran = cli("lock", "--sandbox", "-f", str(tmp_path / "no" / "lock"))
    assert ran.code == 2
    assert ran.err.startswith("error: ")
    assert "cannot be written" in ran.err


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["mcp-server-x", "--db", "y"], "mcp-server-x"),
        (["/opt/bin/mcp-server-x"], "mcp-server-x"),
        (["npx", "-y", "@scope/server-x"], "server-x"),
        (["npx", "-y", "server-x@1.2.3", "/data"], "server-x"),
        (["python3.12", "-m", "some.server"], "some.server"),
        (["node", "/opt/server/index.js"], "index.js"),
        (["npx"], "npx"),
        (["python3", "-c", "print(1)"], "python3"),
        (["node", "-e", "x()"], "node"),
    ],
)
def test_a_server_is_called_after_what_starts_it(command, name):
    assert told_by(command) == name


def test_a_failing_case_shows_every_predicate_with_what_it_saw(cli, tmp_path):
    (tmp_path / "policy.yaml").write_text("""
version: "1"
default: deny
tools:
  put: {require: [{path: args.size, op: lte, value: 9}], deny_if: [{path: args.name, op: eq, value: root}]}
""")
    (tmp_path / "cases.yaml").write_text("cases: [{name: x, tool: put, args: {size: 10, name: me}, expect: allow}]")
    ran = cli("test", "policy.yaml", "cases.yaml")
    explained = cli("explain", "policy.yaml", "put", "--args", '{"size": 10, "name": "me"}').out
    assert "/tools/put/require/args.size-lte" in explained
    for line in explained.splitlines():
        assert line in ran.out
