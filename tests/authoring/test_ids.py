"""Which arguments look like ids, and what a draft says of them."""

from __future__ import annotations

import json
import time

import pytest
import yaml

from guarded_tools.authoring.ids import ids_of
from guarded_tools.authoring.scan import draft, draft_yaml, rate
from guarded_tools.pictify.catalogue import catalogue
from guarded_tools.policy import Policy, decide
from guarded_tools.policy.presets import preset_text
from guarded_tools.values import ToolCall, ToolInfo

TEXT = {"type": "string"}


def found(properties, required=(), **rest):
    schema = {"type": "object", "properties": properties, "required": list(required), **rest}
    return [(one.path, one.certain) for one in ids_of(schema)]


@pytest.mark.parametrize(
    "name",
    [
        "id",
        "templateId",
        "template_id",
        "TEMPLATE-ID",
        "userID",
        "uid",
        "issueKey",
        "slug",
        "repo",
        "owner",
        "commit_sha",
    ],
)
def test_a_name_tells(name):
    path = f"args.{name}"
    assert found({name: TEXT}) == [(path, False)]
    assert found({name: TEXT}, [name]) == [(path, True)]


@pytest.mark.parametrize(
    "said",
    [
        "The ID of the page",
        "Page id",
        "UUID of the row.",
        "Template UID to render",
        "Unique identifier",
        "The page's slug",
    ],
)
def test_the_first_words_of_a_description_tell(said):
    assert found({"page": {**TEXT, "description": said}}) == [("args.page", False)]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "format": "uuid"},
        {"type": "string", "pattern": "^[a-z0-9-]{1,40}$"},
        {"type": ["string", "null"], "description": "id"},
        {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "The id."},
        {"anyOf": [{"type": "string"}, {"type": "integer"}], "description": "The id."},
        {"$ref": "#/$defs/Uid"},
    ],
)
def test_format_pattern_and_whatever_a_schema_is_put_together_from_tell(schema):
    assert found({"page": schema}, **{"$defs": {"Uid": {"type": "string", "description": "The uid"}}}) == [
        ("args.page", False)
    ]


@pytest.mark.parametrize(
    "properties",
    [
        {"id": {"type": "integer"}},
        {"id": {"type": "string", "enum": ["a", "b"]}},
        {"id": {"type": "string", "format": "uri"}},
        {"id": {"type": "string", "pattern": "^projects/[^/]+$"}},
        {"repo": {"type": "string", "description": "As owner/name"}},
        {"userId": {"type": "string", "description": "Id or e-mail of the user"}},
        {"urlId": {"type": "string"}},
        {"api_key": TEXT},
        {"publicKey": TEXT},
        {"query": {"type": "string", "description": "What to look for: an id, a name"}},
        {"text": TEXT},
        {"idea": TEXT},
        {"paid": TEXT},
        {"page": {"type": "string", "pattern": "^.*$"}},
        {"page": {"type": "string", "pattern": "[a-z]("}},
        {"id": True},
        {"id": {}},
    ],
)
def test_what_is_no_id_or_is_more_than_one_is_left_alone(properties):
    assert found(properties) == []


def test_and_or_is_no_path():
    assert found({"id": {"type": "string", "description": "The id and/or nothing"}}) == [("args.id", False)]


def test_ids_in_lists_and_objects_are_found():
    properties = {
        "ids": {"type": "array", "items": TEXT},
        "pageIds": {"type": "array", "items": TEXT, "minItems": 1},
        "events": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "object", "properties": {"uid": TEXT}, "required": ["uid"]},
        },
        "to": {"type": "object", "properties": {"channel-id": TEXT, 'a."b"id': TEXT}},
    }
    assert sorted(found(properties, ["ids", "pageIds", "events", "to"])) == [
        ("args.events[*].uid", True),
        ("args.ids[*]", False),
        ("args.pageIds[*]", True),
        ("args.to.channel-id", False),
        (r'args.to["a.\"b\"id"]', False),
    ]


def test_a_name_that_no_path_can_say_is_left_out():
    assert found({"\ud800id": TEXT, "": TEXT, "id": TEXT}) == [("args.id", False)]


def test_a_schema_without_end_costs_little():
    loop = {"type": "object", "properties": {f"p{n}": {"$ref": "#/$defs/Loop"} for n in range(30)} | {"id": TEXT}}
    many = {"type": "object", "properties": {f"x{n}_id": TEXT for n in range(50_000)}}
    started = time.process_time()
    assert len(found({"a": {"$ref": "#/$defs/Loop"}}, **{"$defs": {"Loop": loop}})) <= 64
    assert len(ids_of(many)) == 64
    assert time.process_time() - started < 5


def test_the_presets_say_more_than_a_draft_would_and_nothing_less():
    drafted = draft("pictify", [rate(info, None, "write") for info in catalogue().values()])["tools"]
    for name in ("standard", "supervised", "read_only"):
        tools = json.loads(preset_text(name))["tools"]
        for tool, entry in tools.items():
            for part in ("require", "deny_if"):
                missing = [one for one in drafted[tool].get(part, []) if one not in entry.get(part, [])]
                assert missing == [], (name, tool)


def test_a_draft_lets_no_id_lead_elsewhere():
    schema = {
        "type": "object",
        "properties": {"page_id": TEXT, "tagIds": {"type": "array", "items": TEXT}},
        "required": ["page_id"],
    }
    rated = [
        rate(ToolInfo("get_page", "wiki", "Get a page.", schema)),
        rate(ToolInfo("delete_page", "wiki", "", schema)),
    ]
    text = draft_yaml("wiki", rated)
    assert yaml.safe_load(text) == draft("wiki", rated)
    policy = Policy.model_validate(draft("wiki", rated))
    for args, effect in (
        ({"page_id": "p1"}, "allow"),
        ({"page_id": "p1", "tagIds": []}, "allow"),
        ({"page_id": "p1", "tagIds": ["a", "b"]}, "allow"),
        ({"page_id": "p1", "tagIds": ["a", "b/delete"]}, "deny"),
        ({"page_id": "p1/delete"}, "deny"),
        ({"page_id": ".."}, "deny"),
    ):
        assert decide(policy, ToolCall("get_page", args), schema).effect == effect, args
    # A tool that is switched on by taking the # away has them, too.
    assert "  #    - {path: args.page_id, op: segment}" in text
