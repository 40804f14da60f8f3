from __future__ import annotations

import json
import re

import pytest
import yaml

from guarded_tools.authoring.scan import draft, draft_yaml, rate
from guarded_tools.pictify.catalogue import catalogue
from guarded_tools.policy import Policy
from guarded_tools.policy.presets import preset_text
from guarded_tools.values import ToolInfo


def test_a_draft_for_pictify_is_its_standard_preset_but_for_what_only_a_person_knows():
    preset = json.loads(preset_text("standard"))
    drafted = draft("pictify", [rate(info, None, info.risk) for info in catalogue().values()])
    assert sorted(drafted["hide"]) == sorted(preset["hide"])
    assert drafted["default"] == preset["default"]
    assert drafted["tools"].keys() == preset["tools"].keys()
    for name, entry in drafted["tools"].items():
        kept = preset["tools"][name]
        assert entry.get("approval") == kept.get("approval"), name
        assert entry.get("risk") == kept.get("risk"), name
        # What reads, and costs all the same, no server says.
        if name != "pictify_render_template":
            assert entry.get("limits", []) == kept.get("limits", [])[:2], name

    def without_words(limits):
        return [{key: value for key, value in limit.items() if key != "on_deny"} for limit in limits]

    assert without_words(drafted["all_tools"]["limits"]) == without_words(preset["all_tools"]["limits"])


def test_comments_change_nothing():
    rated = [rate(info) for info in catalogue().values()]
    assert yaml.safe_load(draft_yaml("pictify", rated)) == draft("pictify", rated)


def test_a_draft_says_what_a_tool_does_takes_and_why_it_has_its_class():
    schema = {
        "type": "object",
        "properties": {
            "rows": {"type": "array", "items": {"type": "object"}, "minItems": 1, "maxItems": 9},
            "callbackUrl": {"type": "string"},
            "mode": {"enum": ["a", "b"]},
        },
        "required": ["rows"],
    }
    text = draft_yaml("db", [rate(ToolInfo("insert_rows", "db", "Insert rows.", schema))])
    assert "# Insert rows." in text
    assert 'Takes rows: array of 1..9 object, callbackUrl?: string, mode?: "a" | "b"' in text
    assert "Classed: name says 'insert'" in text
    assert "count: args.rows.length" in text
    assert "path: args.callbackUrl, op: url_host" in text


def test_the_worst_classes_are_hidden_and_stand_ready_to_be_enabled():
    tools = [rate(ToolInfo(name)) for name in ("get_thing", "pay_invoice", "delete_thing", "frobnicate")]
    drafted = draft("shop", tools)
    assert drafted["hide"] == ["pay_invoice", "delete_thing", "frobnicate"]
    assert list(drafted["tools"]) == ["get_thing"]
    text = draft_yaml("shop", tools)
    lines = text.replace("  - delete_thing\n", "").splitlines()
    at = lines.index("  #delete_thing:")
    lines[at : at + 6] = [line.replace("#", "", 1) for line in lines[at : at + 6]]
    enabled = "\n".join(lines)
    entry = yaml.safe_load(enabled)["tools"]["delete_thing"]
    assert entry["approval"] is True
    assert entry["risk"] == "destructive"
    assert entry["labels"] == ["outward"]


def test_a_draft_proposes_labels_and_says_why():
    takes = {"properties": {"url": {"type": "string"}}}
    tools = [
        rate(ToolInfo("read_inbox", "mail", "Reads the inbox.")),
        rate(ToolInfo("list_plans", "mail", "Lists plans."), {"openWorldHint": True}),
        rate(ToolInfo("fetch_page", "mail", "Fetches a page.", takes)),
        rate(ToolInfo("echo", "mail", "Echoes.")),
        rate(ToolInfo("get_widget", "mail")),
    ]
    text = draft_yaml("mail", tools)
    entries = draft("mail", tools)["tools"]
    assert {name: entry["labels"] for name, entry in entries.items()} == {
        "read_inbox": ["untrusted", "private"],
        "list_plans": ["untrusted", "private", "outward"],
        "fetch_page": ["untrusted", "outward"],
        "echo": [],
        "get_widget": ["untrusted", "private"],
    }
    assert "# Labelled: untrusted, private: name says 'inbox'." in text
    assert "untrusted, outward: server says it reaches out into the world" in text
    assert "# Labelled: untrusted: name says 'page'; outward: goes to any address: takes 'url'." in text
    assert "# Labelled: nothing, it only computes or acts." in text
    assert "untrusted: nothing tells who wrote it; private: nothing tells that everybody may know it" in text
    Policy.model_validate(yaml.safe_load(text))


def test_the_flow_of_a_draft_is_one_character_away():
    tools = [rate(ToolInfo(name)) for name in ("read_inbox", "find_customer", "send_mail")]
    text = draft_yaml("mail", tools)
    assert "flow" not in yaml.safe_load(text)
    in_force = Policy.model_validate(yaml.safe_load(text.replace("#flow:", "flow:")))
    assert in_force.flow == "trifecta"
    assert "flow" not in draft_yaml("mail", tools[2:])


def test_what_a_server_calls_a_parameter_stays_in_its_comment():
    takes = {"properties": {"url\n  wipe: {}\u2028x": {"type": "string"}}}
    text = draft_yaml("mail", [rate(ToolInfo("fetch_page", "mail", "", takes))])
    assert list(yaml.safe_load(text)["tools"]) == ["fetch_page"]


@pytest.mark.parametrize(
    "text",
    [
        "harmless\n  delete_everything: {}",
        "harmless\r  delete_everything: {}",
        "harmless\u2028  delete_everything: {}",
        "harmless\x85  delete_everything: {}",
        "\x1b[2J\u202e\u200b# x",
        "'\"\\: {}[]",
        "\ud800",
    ],
)
def test_what_a_server_writes_cannot_become_policy(text):
    schema = {"properties": {text: {"type": text, "enum": [text]}}, "required": [text]}
    tools = [rate(ToolInfo("get_thing", text, text, schema)), rate(ToolInfo("x_" + text, text, text, schema))]
    written = draft_yaml(text, tools)
    for bad in "\x1b\u202e\u200b\r\u2028\x85\ud800":
        assert bad not in written
    loaded = yaml.safe_load(written)
    named = set(loaded["tools"]) | set(loaded["hide"])
    assert named <= {tool.info.name for tool in tools}
    assert "delete_everything" not in loaded["tools"]


@pytest.mark.parametrize(
    "name", ["yes", "null", "on", "1e3", "2024-01-01", "get thing", "get_thing:", "a#b", "-", "é", "🎈"]
)
def test_a_name_comes_back_as_itself(name):
    tool = rate(ToolInfo(name, description="Get it."), known="read")
    assert list(yaml.safe_load(draft_yaml("s", [tool]))["tools"]) == [name]


@pytest.mark.parametrize("name", ["*", "get_*", "get_?", "[a]", ""])
def test_a_name_that_reads_as_a_pattern_is_left_out_and_said_so(name):
    tools = [rate(ToolInfo(name), known="read"), rate(ToolInfo("get_thing"))]
    assert list(draft("s", tools)["tools"]) == ["get_thing"]
    assert name not in draft("s", tools)["hide"]
    assert f"#   {name}" in draft_yaml("s", tools)


def test_a_catalogue_decides_and_annotations_may_raise_it():
    info = ToolInfo("render_thing", description="Render it.")
    assert rate(info, None, "read").risk == "read"
    assert rate(info, {"destructiveHint": True}, "read").risk == "destructive"
    assert rate(info, {"readOnlyHint": True}, "destructive").risk == "destructive"


@pytest.mark.parametrize(
    "names",
    [["delete_thing"], ["frobnicate", "pay_invoice"], [], [" "], ["get_thing", "\u3000"], ["get_" + "x" * 1100]],
    ids=["destructive", "unknown", "none", "blank", "blanks", "long"],
)
def test_every_draft_is_a_policy(tmp_path, names):
    tools = [rate(ToolInfo(name, description="")) for name in names]
    file = tmp_path / "draft.yaml"
    file.write_text(draft_yaml("s", tools), encoding="utf-8")
    assert Policy.from_file(file) == Policy.model_validate(draft("s", tools))


def test_ceilings_wait_for_the_first_tool_that_is_let_through():
    text = draft_yaml("s", [rate(ToolInfo("delete_thing"))])
    assert "all_tools" not in yaml.safe_load(text)
    lines = text.replace("  - delete_thing\n", "").replace("tools: {}", "tools:").replace("hide:", "hide: []")
    enabled = "\n".join(re.sub(r"^( *)#(?! \S)", r"\1", line) for line in lines.splitlines())
    policy = Policy.model_validate(yaml.safe_load(enabled))
    assert len(policy.all_tools.limits) == 4
    assert policy.tools["delete_thing"].approval


def test_a_server_without_tools():
    assert yaml.safe_load(draft_yaml("", [])) == draft("", [])
