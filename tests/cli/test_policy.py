"""``validate`` and ``explain``: what they say, in words and as JSON, and with which exit code."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from guarded_tools.cli.app import main
from guarded_tools.stores import open_store
from guarded_tools.values import Charge
from tests import forked

COMMA = "this comma" if sys.version_info >= (3, 13) else "the comma before it"

POLICY = {
    "version": "1",
    "default": "deny",
    "server": "shop",
    "hide": ["drop"],
    "tools": {
        "pay": {
            "require": [{"path": "args.to[*].name", "op": "in", "value": ["ann", "bob"]}],
            "deny_if": [{"path": "args.amount", "op": "gt", "value": 100, "on_deny": "too much"}],
            "limits": [
                {"counter": "calls", "window": "minute", "max": 2},
                {"counter": "spend", "window": "day", "max": 500, "scope": "grant", "count": "args.amount"},
            ],
            "approval": {"when": [{"path": "args.amount", "op": "gte", "value": 50}], "message": "it is a lot"},
        },
        "try": {"shadow": True, "action": "deny"},
    },
}


@pytest.fixture(autouse=True)
def _own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("GUARDED_TOOLS_HOME", str(tmp_path / "state"))


@pytest.fixture
def policy(tmp_path):
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(POLICY))
    return str(file)


@pytest.fixture
def run(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as done:
            main(arguments)
        out, err = capsys.readouterr()
        return done.value.code or 0, out, err

    return call


def test_a_policy_without_problems_is_fine(run, policy):
    code, out, err = run("validate", policy)
    assert (code, err) == (0, "")
    assert "fine" in out


def test_every_problem_of_every_file_is_told(run, policy, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text('version: "1"\ndefualt: deny\ntools:\n  "e\\e[2Jvil": {limit: []}\n')
    code, out, err = run("validate", policy, str(bad))
    assert code == 1
    assert f"{policy}: fine" in out
    assert f"{bad}:2:1: /defualt: unknown key 'defualt' (did you mean default?)" in err
    assert ":4:17: /tools/e\\x1b[2Jvil/limit" in err, "what a terminal would obey is escaped"
    code, out, _ = run("validate", "--json", policy, str(bad))
    assert code == 1
    told = json.loads(out)
    assert {(one["level"], one["pointer"]) for one in told} >= {("error", "/defualt"), ("error", "/default")}
    assert told[1] == {
        "level": "error", "file": str(bad), "line": 2, "column": 1, "pointer": "/defualt",
        "message": "unknown key 'defualt'", "hint": "did you mean default?",
    }  # fmt: skip


def test_what_cannot_be_read_is_told_apart(run, policy, tmp_path):
    code, _, err = run("validate", str(tmp_path / "none.json"), policy)
    assert code == 2
    assert "cannot be read" in err
    assert run("explain", str(tmp_path / "none.json"), "pay")[0] == 2
    (tmp_path / "broken.json").write_text("{")
    assert run("validate", str(tmp_path / "broken.json"))[0] == 1
    assert run("explain", str(tmp_path / "broken.json"), "pay")[0] == 1


def test_a_misspelt_preset_is_no_missing_file(run):
    code, _, err = run("validate", "standart")
    assert code == 2
    assert err == "standart: there is no file and no preset of that name (did you mean standard?)\n"
    assert "known here: read_only, standard, supervised" in run("explain", "mine", "pay")[2]
    assert "cannot be read" in run("validate", "mine.yaml")[2]


def test_a_directory_of_a_presets_name_is_not_taken_for_a_policy(run, tmp_path, monkeypatch):
    (tmp_path / "standard").mkdir()
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("validate", "standard")
    assert (code, out[:14]) == (0, "standard: fine")


def test_a_version_without_quotes_is_told_so(run, tmp_path):
    (tmp_path / "p.yaml").write_text("version: 1\ndefault: deny\n")
    assert 'must be a text (write it in quotes: "1")' in run("validate", str(tmp_path / "p.yaml"))[2]


def test_a_missing_default_of_the_second_dialect_is_a_warning(run, tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text('version: "1"\ntools: {a: {rules: []}}\n')
    code, out, err = run("validate", str(file))
    assert code == 0
    assert "fine" in out
    assert "every tool that is not listed is allowed" in err
    code, out, _ = run("validate", "--json", str(file))
    assert [(one["level"], one["pointer"]) for one in json.loads(out)] == [("warning", "/tools")]


@pytest.mark.parametrize("form", ["list", "answer", "catalogue"])
def test_names_and_paths_are_checked_against_a_servers_tools(run, policy, tmp_path, form):
    tools = [
        {"name": "paid", "inputSchema": {"type": "object", "properties": {}}},
        {"name": "try", "inputSchema": {"type": "object", "properties": {"amount": {"type": "number"}}}},
        {"name": "drop"},
    ]
    if form == "catalogue":
        code, _, err = run("validate", "--server", "pictify", policy)
        assert code == 1
        assert "'drop' matches no tool of the server" in err
        return
    file = tmp_path / "tools.json"
    file.write_text(json.dumps(tools if form == "list" else {"tools": tools}))
    code, out, err = run("validate", "--server", str(file), policy)
    assert code == 1
    assert err.count("\n") == 1
    assert "/tools/pay: 'pay' matches no tool of the server (did you mean paid?)" in err
    assert "fine" not in out


@pytest.mark.parametrize("broken", [{}, {"versoin": "1"}], ids=["sound", "broken"])
def test_a_policy_for_pictify_is_checked_against_its_tools_unasked(run, tmp_path, broken):
    file = tmp_path / "p.json"
    tools = {"pictify_get_templat": {}}
    file.write_text(json.dumps({"version": "1", "default": "deny", "server": "pictify", "tools": tools, **broken}))
    code, _, err = run("validate", str(file))
    assert code == 1
    assert "'pictify_get_templat' matches no tool of the server (did you mean pictify_get_template?)" in err
    others = tmp_path / "tools.json"
    others.write_text('[{"name": "pictify_get_templat"}]')
    assert "matches no tool" not in run("validate", "--server", str(others), str(file))[2]


@pytest.mark.parametrize(
    ("server", "message"),
    [("nobody", "is no server's name"), ("none.json", "cannot be read"), ("wrong.json", "nor a list of tools")],
)
def test_a_server_that_cannot_be_asked_is_an_input_that_cannot_be_read(
    run, policy, tmp_path, monkeypatch, server, message
):
    (tmp_path / "wrong.json").write_text('{"tools": [1]}')
    monkeypatch.chdir(tmp_path)
    code, _, err = run("validate", "--server", server, policy)
    assert code == 2
    assert message in err


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ('[{"name": 5}]', "nor a list of tools"),
        ('[{"name": "pay", "inputSchema": 5}]', "nor a list of tools"),
        ("[" * 100_000, "cannot be read as JSON"),
    ],
    ids=["name", "schema", "depth"],
)
def test_a_file_of_tools_that_are_none_cannot_be_read(run, policy, tmp_path, tools, message):
    file = tmp_path / "tools.json"
    file.write_text(tools)
    code, _, err = run("validate", "--server", str(file), policy)
    assert code == 2
    assert message in err


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (f"{sys.executable} -c pass --config server.json", "ended before it answered"),
        ("http://127.0.0.1:9/tools.json", "127.0.0.1 could not be reached"),
        ("mine/own tools.json", "'pay' matches no tool of the server"),
    ],
    ids=["command", "address", "file"],
)
def test_a_command_or_an_address_that_ends_like_a_file_is_asked(run, policy, tmp_path, monkeypatch, server, message):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "own tools.json").write_text("[]")
    monkeypatch.chdir(tmp_path)
    assert message in run("validate", "--server", server, policy)[2]


def test_a_command_with_an_open_quote_is_no_server(run, policy):
    code, _, err = run("validate", "--server", "unclosed '", policy)
    assert code == 2
    assert "No closing quotation" in err


def test_explain_shows_every_predicate_with_what_it_saw_and_every_limit(run, policy):
    code, out, _ = run("explain", policy, "pay", "--args", '{"to": [{"name": "ann"}, {"name": "eve"}], "amount": 60}')
    assert code == 0
    assert out.startswith("deny  pay  by /tools/pay/require/args.to[*].name-in\n")
    assert 'must: args.to[*].name in ["ann", "bob"]\n  saw "ann", "eve": fails → denies' in out
    assert "must not: args.amount gt 100\n  saw 60: it is not\n" in out
    assert "ask if: args.amount gte 50\n  saw 60: it is → asks" in out
    assert "/tools/pay/limits/calls\n  session:default: 0 of 2 in a minute, takes 1, nothing is used\n" in out
    assert "/tools/pay/limits/spend\n  session:default: 0 of 500 in a day, takes 60, nothing is used\n" in out


def test_explain_says_when_a_human_is_asked(run, policy):
    _, out, _ = run("explain", policy, "pay", "--args", '{"to": [{"name": "ann"}], "amount": 60}')
    assert out.startswith("ask  pay  by /tools/pay/approval/when/args.amount-gte\n  it is a lot\n")
    assert "a human is asked and has 10 minutes" in out


def test_explain_says_what_is_on_trial(run, policy):
    _, out, _ = run("explain", policy, "try")
    assert out.startswith("allow  try  by /tools/try\n  on trial: deny by /tools/try/action\n")


def test_explain_exits_0_whatever_the_decision(run, policy):
    for tool, effect in (("drop", "deny"), ("try", "allow"), ("none", "deny")):
        code, out, _ = run("explain", policy, tool)
        assert code == 0
        assert out.startswith(effect)


def test_explain_says_where_no_schema_is_checked(run, tmp_path):
    file = tmp_path / "p.json"
    file.write_text('{"version": "1", "default": "deny", "tools": {"a": {"schema": "off"}, "b": {}}}')
    for tool, checked in (("a", "off"), ("b", "strict")):
        code, out, _ = run("explain", str(file), tool)
        assert code == 0
        assert ('"schema": "off"' in out) == (checked == "off")
        assert json.loads(run("explain", str(file), tool, "--json")[1])["schema"] == checked


def test_explain_counts_as_the_store_does_and_changes_nothing(run, policy, tmp_path):
    url = f"disk://{tmp_path / 'state'}"
    store = open_store(url)
    charge = Charge("session:s1", "shop/pay/calls", 1, 2, 60, "/tools/pay/limits/calls")
    store.reserve([charge])
    store.reserve([charge])
    before = store.usage()
    store.close()
    arguments = ("explain", policy, "pay", "--args", '{"to": [{"name": "ann"}], "amount": 5}')
    _, out, _ = run(*arguments, "--session", "s1", "--grant", "g1")
    assert out.startswith("limited  pay")
    assert "session:s1: 2 of 2 in a minute, takes 1, full, fits in " in out
    assert "grant:g1: 0 of 500" in out
    _, out, _ = run(*arguments, "--session", "s1", "--json", "--store", url)
    told = json.loads(out)
    assert told["would_run"] is False
    assert told["decision"]["effect"] == "allow"
    calls, spend = told["limits"]
    assert (calls["used"], calls["max"], calls["fits"]) == (2, 2, False)
    # A rolling window holds a slot of it longer, at most.
    assert 0 < calls["retry_after"] <= 61
    assert 0 < calls["frees_in"] <= 61
    assert (spend["used"], spend["takes"], spend["fits"]) == (0, 5, True)
    _, out, _ = run(*arguments, "--session", "s2", "--json")
    assert json.loads(out)["would_run"] is True
    again = open_store(url)
    assert [usage[:4] for usage in again.usage()] == [usage[:4] for usage in before]
    again.close()


@pytest.mark.parametrize(
    ("amount", "words"), [(60_000, "60000"), (10**400, f"{2**62} or more")], ids=["some", "endless"]
)
def test_explain_tells_what_a_call_would_take_that_could_never_fit(run, policy, amount, words):
    arguments = ("explain", policy, "pay", "--args", f'{{"to": [{{"name": "ann"}}], "amount": {amount}}}')
    _, out, _ = run(*arguments)
    assert f"session:default: 0 of 500 in a day, takes {words}, can never fit\n" in out
    _, out, _ = run(*arguments, "--json")
    assert json.loads(out)["limits"][1]["takes"] == min(amount, 2**62)


def test_explain_says_why_an_amount_cannot_be_counted_whatever_the_model_is_told(run, tmp_path):
    file = tmp_path / "p.json"
    limit = {"counter": "c", "window": "day", "max": 9, "count": "args.n", "on_deny": "enough for today"}
    file.write_text(json.dumps({"version": "1", "default": "deny", "tools": {"t": {"limits": [limit]}}}))
    code, out, _ = run("explain", str(file), "t", "--args", '{"n": "x"}', "--json")
    told = json.loads(out)
    assert code == 0
    assert told["decision"]["message"].startswith("enough for today (args.n cannot be counted")
    assert told["limits"][0]["reason"] == "args.n cannot be counted: it is a string; count its .length"


@pytest.mark.parametrize(("given", "saw"), [("1e999", "Infinity"), ("NaN", "NaN")])
def test_what_is_not_finite_is_told_in_json_that_every_program_reads(run, policy, given, saw):
    def no_json(constant):
        raise AssertionError(f"{constant} is not JSON")

    _, out, _ = run("explain", policy, "pay", "--args", f'{{"amount": {given}}}', "--json")
    assert ["args.amount", [saw]] in [
        [seen["path"], seen["saw"]] for seen in json.loads(out, parse_constant=no_json)["predicates"]
    ]


def test_explain_reads_the_store_that_the_environment_names(run, policy, tmp_path, monkeypatch):
    url = f"disk://{tmp_path / 'fleet'}"
    store = open_store(url)
    store.reserve([Charge("session:default", "shop/pay/calls", 2, 2, 60, "/tools/pay/limits/calls")])
    store.close()
    monkeypatch.setenv("GUARDED_TOOLS_STORE", url)
    assert run("explain", policy, "pay", "--args", '{"to": [{"name": "ann"}], "amount": 5}')[1].startswith("limited")


def test_explain_makes_no_state_where_there_is_none(run, policy, tmp_path):
    run("explain", policy, "pay", "--args", '{"amount": 5}')
    assert not (tmp_path / "state").exists()
    _, out, _ = run("explain", policy, "pay", "--args", '{"amount": 5}', "--store", f"disk://{tmp_path / 'other'}")
    assert "0 of 2 in a minute" in out
    assert not (tmp_path / "other").exists()


def test_what_names_no_tool_is_told_with_the_other_problems(run, tmp_path):
    (tmp_path / "tools.json").write_text('[{"name": "pay"}, {"name": "drop_all"}]')
    bad = tmp_path / "bad.yaml"
    bad.write_text('version: "1"\ndefualt: deny\nhide: [drop_al, 5]\ntools: {pya: {}, pay: {limit: []}}\n')
    code, _, err = run("validate", "--server", str(tmp_path / "tools.json"), str(bad))
    assert code == 1
    assert "/defualt: unknown key" in err
    assert ":3:8: /hide/0: 'drop_al' matches no tool of the server (did you mean drop_all?)" in err
    assert ":4:9: /tools/pya: 'pya' matches no tool of the server (did you mean pay?)" in err
    assert "/tools/pay/limit: unknown key" in err
    assert err.count("matches no tool") == 2


def test_explain_checks_the_arguments_against_the_tools_schema(run, tmp_path):
    file = tmp_path / "p.json"
    file.write_text('{"version": "1", "default": "allow", "server": "pictify"}')
    _, out, _ = run("explain", str(file), "pictify_get_template", "--args", "{}")
    assert out.startswith("deny  pictify_get_template  by /schema\n")


def test_explain_speaks_json(run, policy):
    _, out, _ = run("explain", policy, "pay", "--json", "--args", '{"to": "ann", "amount": "5"}')
    told = json.loads(out)
    assert told["decision"]["rule"] == "/tools/pay/require/args.to[*].name-in"
    first = told["predicates"][0]
    assert (first["kind"], first["answer"], first["refuses"], first["saw"]) == ("require", "unjudgeable", True, [])
    assert "there is a string" in first["reason"]
    assert told["limits"][1] == {
        "rule": "/tools/pay/limits/spend",
        "trial": False,
        "reason": "args.amount cannot be counted: it is a string; count its .length",
    }


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "is a JSON object"),
        ('{"a": 1, "a": 2}', 'the key "a" appears twice'),
        ('{"a": [{"b\u202e": 1, "b\u202e": 2}]}', r'the key "b\u202e" appears twice'),
        ("[" * 9999, "cannot be read as JSON"),
    ],
)
def test_arguments_that_are_no_object_cannot_be_read(run, policy, args, message):
    code, _, err = run("explain", policy, "pay", "--args", args)
    assert code == 2
    assert message in err


def test_what_a_terminal_would_obey_is_escaped(run, policy):
    args = json.dumps({"to": [{"name": "\x1b]0;evil\x07\u202e"}], "amount": 1})
    for arguments in (("pay", "--args", args), ("\x1b[2Jtool",)):
        _, out, _ = run("explain", policy, *arguments)
        assert "\x1b" not in out
        assert "\u202e" not in out


def test_so_is_what_a_broken_file_says(run, tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text('version: "1"\ndefault: deny\ntools: {t: {"\\e[2J": 1, b: 2}}\n')
    code, _, err = run("explain", str(file), "t")
    assert code == 1
    assert err.count("error: ") == err.count("\n") == 2
    assert "\x1b" not in err


def test_a_command_loads_no_other_and_no_framework():
    code = "import sys; sys.argv = ['x', 'validate', 'standard']\nfrom guarded_tools.cli.app import main\ntry: main()\nexcept SystemExit: print(*sys.modules)"
    done = subprocess.run([forked.PYTHON, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "guarded_tools.cli.policy" in loaded
    assert not loaded & {"langchain_core", "mcp", "diskcache", "redis", "guarded_tools.guard", "guarded_tools.cli.demo"}


def test_version_help_and_an_unknown_command(run):
    code, out, _ = run("--version")
    assert code == 0
    assert out.startswith("guarded-tools ")
    code, out, err = run("valdate")
    assert code == 2
    assert "validate" in err


def test_schemas_that_cannot_be_used_are_warned_of(run, tmp_path):
    policy, tools = tmp_path / "policy.json", tmp_path / "tools.json"
    policy.write_text('{"version": "1", "default": "deny", "tools": {"t": {}, "u": {"schema": "off"}}}')
    flawed = {"properties": {"screen": {"$ref": "#/$defs/Screen"}}}
    tools.write_text(json.dumps({"tools": [{"name": name, "inputSchema": flawed} for name in ("t", "u")]}))
    code, out, err = run("validate", "--server", str(tools), str(policy))
    assert (code, err.count("[warning]")) == (0, 1)
    assert "every call of t is refused" in err
    assert "/$defs/Screen" in err
    assert "fine" in out
    _, out, _ = run("validate", "--json", "--server", str(tools), str(policy))
    assert [(one["level"], one["pointer"]) for one in json.loads(out)] == [("warning", "/tools/t")]


def test_explain_says_what_a_result_would_meet(run, tmp_path):
    file = tmp_path / "results.json"
    result = {"max_chars": 500, "redact": ["secrets", {"regex": "[0-9]{16}", "name": "card"}], "schema": "strict"}
    everywhere = {"result": {"max_chars": 9000, "on_breach": "deny"}}
    tools = {
        "pay": {"result": result},
        "try": {"shadow": True, "result": {"max_chars": 5}},
        "never": {"action": "deny"},
    }
    file.write_text(json.dumps({"version": "1", "default": "deny", "all_tools": everywhere, "tools": tools}))
    _, out, _ = run("explain", str(file), "pay")
    assert "/tools/pay/result/max_chars\n  result: at most 500 characters, else withheld\n" in out
    assert "result: without card [0-9]{16}, else withheld" in out
    assert "result: fits the output schema and no more, else withheld" in out
    _, out, _ = run("explain", str(file), "try", "--json")
    found = json.loads(out)["result"]
    assert found["checks"] == {"on_breach": "deny", "max_chars": {"rule": "/all_tools/result/max_chars", "value": 9000}}
    assert found["trial"] == {"on_breach": "cut", "max_chars": {"rule": "/tools/try/result/max_chars", "value": 5}}
    _, out, _ = run("explain", str(file), "never", "--json")
    assert json.loads(out)["result"] is None


def test_validate_knows_which_tools_have_an_output_schema(run, tmp_path):
    policy, tools = tmp_path / "strict.json", tmp_path / "tools.json"
    policy.write_text(json.dumps({"version": "1", "default": "allow", "all_tools": {"result": {"schema": "strict"}}}))
    listed = [{"name": "a", "inputSchema": {}, "outputSchema": {"type": "object"}}, {"name": "b", "inputSchema": {}}]
    tools.write_text(json.dumps({"tools": listed}))
    code, out, err = run("validate", str(policy), "--tools", str(tools))
    assert code == 1
    assert "/all_tools/result/schema: b has no output schema: every result of it would be kept back" in out + err
    tools.write_text(json.dumps({"tools": listed[:1]}))
    assert run("validate", str(policy), "--tools", str(tools))[0] == 0


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("a.yaml", 'version: "1"\ndefault: deny\ntools:\n\tadd: {}\n', "YAML takes no tabs"),
        ("a.json", '{\n  // mine\n  "version": "1", "default": "deny"}', "JSON has no comments"),
        ("a.json", '{"version": "1", # mine\n "default": "deny"}', "JSON has no comments"),
        # From Python 3.13 on the place is the comma's own, before that what follows it.
        ("a.json", '{"version": "1", "default": "deny",}', f"take {COMMA} away"),
        ("a.json", '{"version": "1", "default": "deny", "hide": ["a", ]}', "comma"),
        ("a.json", "{'version': '1'}", "JSON has double quotes"),
    ],
)
def test_what_other_formats_take_is_told_how_to_mend(run, tmp_path, name, text, hint):
    (tmp_path / name).write_text(text)
    code, _, err = run("validate", str(tmp_path / name))
    assert (code, hint in err) == (1, True), err


@pytest.mark.parametrize("order", ["utf-16", "utf-16-be"])
def test_a_file_as_powershell_redirects_it_is_read(run, tmp_path, order):
    path = tmp_path / "p.json"
    path.write_bytes((b"" if order == "utf-16" else b"\xfe\xff") + '{"version": "1", "default": "deny"}'.encode(order))
    assert run("validate", str(path))[0] == 0
    path.write_bytes(b"\xff\xfe{")
    assert "save it as UTF-8" in run("validate", str(path))[2]


def test_explain_of_a_tool_that_is_not_there_says_which_is(run):
    code, out, err = run("explain", "standard", "pictify_creat_image")
    assert (code, err) == (1, "pictify has no tool pictify_creat_image: did you mean pictify_create_image?\n")
    assert "deny" in out


def test_what_is_printed_can_be_written_to_a_file_that_is_not_there_yet(run, tmp_path):
    for words in (("preset", "standard"), ("preset", "standard", "--cases"), ("schema",)):
        path = tmp_path / "-".join(words)
        assert run(*words, "-o", str(path))[0] == 0
        assert path.read_text() == run(*words)[1]
        assert "is there already" in run(*words, "-o", str(path))[2]


def test_a_lock_that_is_not_there_is_told_how_to_come_by(run, tmp_path):
    code, _, err = run("validate", "standard", "--tools", str(tmp_path / "my.lock"))
    assert (code, "`guarded-tools lock -f` makes a lock" in err) == (2, True)
