from __future__ import annotations

import json

import pytest

TOOLS = [
    {"name": "list_products", "inputSchema": {"type": "object", "properties": {}, "additionalProperties": False}},
    {
        "name": "send_mail",
        "description": "Send a mail.",
        "inputSchema": {
            "type": "object",
            "properties": {"to": {"type": "string"}, "body": {"type": "string"}},
            "required": ["to", "body"],
            "additionalProperties": False,
        },
    },
]
GOOD = """
version: "1"
default: deny
all_tools:
  limits: [{counter: calls, window: hour, max: 300, scope: grant, counts: attempts}]
tools:
  list_products: {}
  send_mail: {approval: true}
"""
THEIRS = """
def guarded(tools, ask):
    by_name = {tool.name: tool for tool in tools}

    def call(name, args, session):
        from guarded_tools.authoring.drill.values import Asking

        if name == "send_mail" and ask(Asking(name, args)) == "reject":
            return "no"
        return by_name[name].invoke(args)

    return call


def unusable(tools):
    return 7


class Holder:
    number = 5
"""


@pytest.fixture
def shop(tmp_path, monkeypatch):
    (tmp_path / "tools.json").write_text(json.dumps({"tools": TOOLS}))
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "weak.yaml").write_text('version: "1"\ndefault: allow\n')
    (tmp_path / "theirs_to_drill.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_good_policy_gets_an_a(cli, shop):
    good = cli("drill", "good.yaml", "--server", "tools.json", "--fail-under", "A", "-o", "drill.svg")
    assert (good.code, good.err) == (0, "")
    assert good.out.splitlines()[-1].startswith("grade A:")
    assert (shop / "drill.svg").read_text().startswith("<?xml")


def test_what_passed_says_what_to_add(cli, shop):
    said = cli("drill", "good.yaml", "--tools", "tools.json", "--no-grant", "--fail-under", "A")
    assert said.code == 1
    assert "closed by docs/recipes.md#9-session-hopping" in said.out


def test_it_is_one_json_document(cli, shop):
    said = cli("drill", "weak.yaml", "--tools", "tools.json", "--json", "--no-lock", "--no-grant")
    assert said.code == 0
    assert said.json["grade"] == "F"
    assert said.json["assumed"] == "no lock, no grant"
    by_name = {pattern["name"]: pattern for pattern in said.json["patterns"]}
    assert not by_name["tool-swap"]["held"]
    assert by_name["loop-same"]["unasked"] > 300
    assert by_name["loop-same"]["breaches"][0]["example"] == "{}"


def test_without_a_grant_no_limit_of_a_grant_holds(cli, shop):
    held = cli("drill", "good.yaml", "--tools", "tools.json", "--json", "--no-grant").json
    assert [pattern["name"] for pattern in held["patterns"] if not pattern["held"]] == ["session-hop"]
    assert held["grade"] == "B"


def test_another_guard_is_drilled_alike(cli, shop):
    said = cli("drill", "--against", "theirs_to_drill:guarded", "--tools", "tools.json", "--json")
    assert said.code == 0
    by_name = {pattern["name"]: pattern for pattern in said.json["patterns"]}
    assert by_name["approval-replay"]["held"]
    assert not by_name["malformed"]["held"]
    assert by_name["tool-swap"]["note"].startswith("cannot be expressed")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name what to drill"),
        (("good.yaml", "--against", "a:b"), "name what to drill"),
        (("good.yaml",), "say whose tools"),
        (("nowhere.yaml", "--tools", "tools.json"), "nowhere.yaml"),
        (("good.yaml", "--tools", "tools.json", "-o", "drill.txt"), "no picture"),
        (("--against", "nonsense", "--tools", "tools.json"), "is not module:object"),
        (("--against", "theirs_to_drill:nothing", "--tools", "tools.json"), "cannot be imported"),
        (("--against", "theirs_to_drill:Holder.number", "--tools", "tools.json"), "name a function"),
        (
            ("--against", "theirs_to_drill:unusable", "--tools", "tools.json"),
            "a list of LangChain tools, or a function",
        ),
    ],
)
def test_what_cannot_be_drilled_says_why(cli, shop, words, said):
    ended = cli("drill", *words)
    assert ended.code == 2
    assert said in ended.err
    assert ended.out == ""


def test_there_have_to_be_tools(cli, shop):
    (shop / "none.json").write_text('{"tools": []}')
    ended = cli("drill", "good.yaml", "--tools", "none.json")
    assert (ended.code, ended.err) == (2, "error: there are no tools to attack\n")
