"""The first cases pass on the draft they were made for, whatever the tools; the first agent holds no key."""

from __future__ import annotations

import ast

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from guarded_tools.authoring.first.agent import agent_source
from guarded_tools.authoring.first.cases import UNLISTED, first_cases
from guarded_tools.authoring.first.model import PACKAGES, chosen_model
from guarded_tools.authoring.policy_cases import Cases
from guarded_tools.authoring.policy_tests import run
from guarded_tools.authoring.scan import draft, draft_yaml, rate
from guarded_tools.mcp_session import HttpServer, StdioServer
from guarded_tools.policy import Policy
from guarded_tools.values import ToolInfo

KEY = "sk-proj-abcdefghijklmnop1234567890"

VERBS = st.sampled_from(["list", "get", "create", "send", "run", "delete", "refund", "frobnicate", ""])
NAMES = st.one_of(
    st.tuples(VERBS, st.sampled_from(["_order", "_mail_id", "", "/x~y", " b", "#c", ": d"])).map("".join),
    st.text(min_size=1, max_size=12),
    st.just(UNLISTED),
)
PARTS = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "format": "uri"},
        {"type": "string", "enum": ["a: b", "#c"]},
        {"type": "integer", "minimum": 3},
        {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "string"}}}, "minItems": 1},
        {"type": "boolean"},
        {"type": "no such type"},
        {},
    ]
)
SCHEMAS = st.builds(
    lambda parts, needed: {"type": "object", "properties": parts, "required": sorted(parts)[:needed]},
    st.dictionaries(st.sampled_from(["id", "order_id", "url", "events", "no", "a b"]), PARTS, max_size=4),
    st.integers(0, 4),
)
TOOLS = st.lists(
    st.builds(lambda n, s: ToolInfo(n, "shop", "", s), NAMES, SCHEMAS), max_size=6, unique_by=lambda t: t.name
)


@settings(max_examples=40)
@given(TOOLS)
def test_the_cases_pass_on_the_draft_they_were_made_for(tmp_path_factory, tools):
    folder = tmp_path_factory.getbasetemp()
    rated = [rate(info) for info in tools]
    (folder / "policy.yaml").write_text(draft_yaml("shop", rated), encoding="utf-8")
    policy = Policy.from_file(folder / "policy.yaml")
    (folder / "cases.yaml").write_text(
        first_cases(Policy.model_validate(draft("shop", rated)), rated), encoding="utf-8"
    )
    names = [info.name for info in tools]
    cases = Cases.from_file(folder / "cases.yaml", names)
    failed = [
        result for result in run(policy, cases, schemas={info.name: info.schema for info in tools}) if result.failure
    ]
    assert failed == []


def test_a_case_for_each_tool_and_one_for_a_loop():
    tools = [ToolInfo(name, "shop") for name in ("list_orders", "create_note", "delete_order")]
    rated = [rate(info) for info in tools]
    told = yaml.safe_load(first_cases(Policy.model_validate(draft("shop", rated)), rated))["cases"]
    expected = {case.get("tool"): case.get("expect") for case in told}
    assert expected["list_orders"] == "allow"
    assert expected["create_note"] == "ask"
    assert expected["delete_order"] == {"effect": "deny", "rule": "(hidden)"}
    assert [step["expect"] for step in told[-1]["steps"]] == [
        "ask",
        {"effect": "deny", "rule": "/tools/create_note/limits/calls_per_minute"},
        "ask",
    ]


def servers_of(source, **environ):
    """What the agent's ``servers()`` returns, with these variables set."""
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in {"servers", "needed"}]
    names = {"os": type("os", (), {"environ": environ}), "sys": __import__("sys")}
    exec(compile(tree, "agent.py", "exec"), names)
    return names["servers"]()


@pytest.mark.parametrize(
    ("server", "given", "described"),
    [
        (StdioServer("npx", ("-y", "server-x")), {}, {"command": "npx", "args": ["-y", "server-x"]}),
        (
            StdioServer("npx", ('a "b"\\', "\x1b\u202e", "ü"), {"MODE": KEY}),
            {"MODE": "MODE"},
            {"command": "npx", "args": ['a "b"\\', "\x1b\u202e", "ü"], "env": {"MODE": "$MODE"}},
        ),
        (StdioServer("x", ("--api-key", KEY)), {}, {"command": "x", "args": ["--api-key", "$SERVER_ARGUMENT_2"]}),
        (HttpServer("https://a.example/mcp"), {}, {"url": "https://a.example/mcp"}),
        (
            HttpServer("https://a.example/mcp", {"Authorization": f"Bearer {KEY}"}),
            {"Authorization": "TOKEN"},
            {"url": "https://a.example/mcp", "headers": {"Authorization": "Bearer $TOKEN"}},
        ),
        (HttpServer(f"https://a.example/mcp?key={KEY}"), {}, {"url": "$SERVER_URL"}),
    ],
)
def test_an_agent_reaches_the_server_as_it_was_reached_and_holds_no_key(server, given, described):
    agent = agent_source('it\'s "x"', server, "openai:gpt-5", given=given)
    assert KEY not in agent.source
    variables = {name: f"${name}" for name in (*given.values(), *agent.variables)}
    assert servers_of(agent.source, **variables) == {'it\'s "x"': described}
    if variables:
        with pytest.raises(SystemExit, match="set the environment variable"):
            servers_of(agent.source)


@pytest.mark.parametrize(
    ("installed", "environ", "model", "lacking"),
    [
        ([], {}, "openai:", "pip install langchain-openai && export OPENAI_API_KEY=…"),
        ([], {"OPENAI_API_KEY": "k"}, "openai:", "pip install langchain-openai"),
        (["langchain-anthropic"], {"OPENAI_API_KEY": "k"}, "anthropic:", "export ANTHROPIC_API_KEY=…"),
        (["langchain-anthropic"], {"ANTHROPIC_API_KEY": "k"}, "anthropic:", ""),
        (PACKAGES, {"GROQ_API_KEY": "k"}, "groq:", ""),
        (["langchain-ollama"], {}, "ollama:", ""),
        ([], {"AGENT_MODEL": "mine:own"}, "mine:own", ""),
    ],
)
def test_the_model_is_told_from_what_is_there(installed, environ, model, lacking):
    chosen = chosen_model(installed, environ)
    assert chosen.name.startswith(model)
    assert chosen.lacking == lacking
