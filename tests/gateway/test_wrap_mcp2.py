"""A client's configuration with gateways in it, and back to the byte."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarded_tools.gateway.client_config import is_gateway, unwrap, wrap
from guarded_tools.text.commented_json import read_parts
from tests import forked
from tests.wire import NEW, Wire

PROGRAM = ["/opt/bin/guarded-tools"]


def all_of_them(name: str) -> list[str]:
    return ["--policy", "/p.json", "--server", name]


def wrapped(text: str) -> str:
    return wrap(text, PROGRAM, all_of_them).text


CLAUDE_CODE = """{
  "numStartups": 7,
  "mcpServers": {
    "files": {"command": "npx", "args": ["-y", "server-filesystem", "/home/ann"]}
  },
  "projects": {
    "/home/ann/a": {"mcpServers": {"db": {"type": "stdio", "command": "uvx", "args": [], "env": {"DB_KEY": "s3cret"}}}},
    "/home/ann/b": {"mcpServers": {}, "history": ["mcpServers"]}
  }
}
"""
VS_CODE = """// mine
{
\t"inputs": [{"type": "promptString", "id": "key", "password": true}], // asked for
\t"servers": {
\t\t/* the shop's */
\t\t"shop": {
\t\t\t"type": "http",
\t\t\t"url": "https://shop.example.com/mcp",
\t\t\t"headers": {"X-Api-Key": "${input:key}"},
\t\t},
\t},
}
"""


def test_what_a_gateway_is_started_with() -> None:
    data = read_parts(wrapped(CLAUDE_CODE)).value
    files = data["mcpServers"]["files"]
    assert files["command"] == PROGRAM[0]
    assert files["args"] == ["gateway", *all_of_them("files"), "--", "npx", "-y", "server-filesystem", "/home/ann"]
    db = data["projects"]["/home/ann/a"]["mcpServers"]["db"]
    assert db["args"] == ["gateway", *all_of_them("db"), "--env", "DB_KEY", "--", "uvx"]
    assert (db["env"], db["type"]) == ({"DB_KEY": "s3cret"}, "stdio")
    assert data["numStartups"] == 7


def test_comments_stay_and_no_secret_comes_onto_a_command_line() -> None:
    text = wrapped(VS_CODE)
    for kept in ("// mine", "// asked for", "/* the shop's */", '\n\t\t"shop": {\n\t\t\t"type": "stdio",\n'):
        assert kept in text
    shop = read_parts(text).value["servers"]["shop"]
    words = ["--url", "https://shop.example.com/mcp", "--header-env", "X-Api-Key=GUARDED_TOOLS_HEADER_1"]
    assert shop["args"] == ["gateway", *all_of_them("shop"), *words]
    assert shop["env"] == {"GUARDED_TOOLS_HEADER_1": "${input:key}"}
    keyed = json.dumps({"mcpServers": {"a": {"url": "https://a.example.com/mcp?key=s3cret", "type": "sse"}}})
    entry = json.loads(wrapped(keyed))["mcpServers"]["a"]
    assert "s3cret" not in str(entry["args"])
    assert entry["args"][-3:] == ["--url-env", "GUARDED_TOOLS_URL", "--sse"]
    assert entry["env"] == {"GUARDED_TOOLS_URL": "https://a.example.com/mcp?key=s3cret"}


def test_what_is_behind_a_gateway_stays_as_it_is() -> None:
    once = wrapped(CLAUDE_CODE)
    again = wrap(once, PROGRAM, all_of_them)
    assert (again.text, again.done) == (once, ())
    assert all("already" in why for why in again.left)


def test_what_a_gateway_cannot_stand_before_stays_and_is_told() -> None:
    odd = {
        "both": {"command": "x", "url": "https://x"}, "none": {}, "list": [], "number": {"command": 3}, "text": "x",
        "ws": {"url": "wss://x", "type": "websocket"}, "file": {"command": "x", "envFile": ".env"},
        "oauth": {"url": "https://x", "oauth": {"clientId": "y"}}, "nested": {"command": "x", "env": {"A": {}}},
    }  # fmt: skip
    result = wrap(json.dumps({"mcpServers": odd}), PROGRAM, all_of_them)
    assert result.done == ()
    assert len(result.left) == len(odd)
    assert "envFile" in " ".join(result.left)
    named = wrap(CLAUDE_CODE, PROGRAM, lambda name: all_of_them(name) if name == "db" else None)
    assert (len(named.done), named.left) == (1, ("files: no policy is named for it",))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"mcpServers": 3}', '{"a": 1, "a": 2}', '{"mcpServers": {', "{]", "7 8"]
)
def test_what_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"line|no servers"):
        wrapped(text)


def test_edited_since_only_the_entries_go_back() -> None:
    after = wrapped(CLAUDE_CODE)
    edited = after.replace('"numStartups": 7', '"numStartups": 8').replace("s3cret", "an0ther")
    edited = edited.replace('"projects"', '"more": {"x": [1, 2]},\n  "projects"')
    result = unwrap(edited, CLAUDE_CODE, after)
    data = json.loads(result.text)
    assert (data["numStartups"], data["more"]) == (8, {"x": [1, 2]})
    assert data["mcpServers"] == json.loads(CLAUDE_CODE)["mcpServers"]
    db = data["projects"]["/home/ann/a"]["mcpServers"]["db"]
    assert db == {"type": "stdio", "command": "uvx", "args": [], "env": {"DB_KEY": "an0ther"}}
    assert result.left == ()
    # Written anew by its client, as Claude Code does all the time.
    anew = json.dumps({**json.loads(after), "numStartups": 9}, indent=4)
    assert json.loads(unwrap(anew, CLAUDE_CODE, after).text) == {**json.loads(CLAUDE_CODE), "numStartups": 9}


def test_what_was_changed_otherwise_stays_and_is_told() -> None:
    after = wrapped(CLAUDE_CODE)
    edited = after.replace('/home/ann"]', '/home/bob"]').replace('"db"', '"database"')
    result = unwrap(edited, CLAUDE_CODE, after)
    assert result.done == ()
    assert result.text == edited
    assert any("changed since" in why for why in result.left)
    assert any("database" in why for why in result.left)


texts = st.text(max_size=8) | st.sampled_from(["\ud800", "//", "/*", '"', "\\", "mcpServers", "\u2028", "é"])
names = st.text(min_size=1, max_size=6)
commands = st.fixed_dictionaries(
    {"command": texts, "args": st.lists(texts, max_size=3)},
    optional={"env": st.dictionaries(names, texts, max_size=2), "cwd": texts, "timeout": st.integers()},
)
addresses = st.fixed_dictionaries(
    {"url": st.sampled_from(["https://a.example.com/mcp", "https://b.example.com/x?key=0123456789abcdef"]) | texts},
    optional={"headers": st.dictionaries(names, texts, max_size=2), "type": st.sampled_from(["http", "sse", "ws"])},
)
sections = st.dictionaries(names, commands | addresses | st.sampled_from([None, 3, [], {}]), max_size=3)
configs = st.fixed_dictionaries(
    {"mcpServers": sections.filter(bool)},
    optional={
        "servers": sections,
        "projects": st.dictionaries(names, st.fixed_dictionaries({"mcpServers": sections}), max_size=2),
        "theme": texts,
    },
)


@settings(max_examples=80)
@given(configs, st.sampled_from([None, 0, 2, "\t"]), st.booleans(), st.booleans())
def test_there_and_back(config: Any, indent: Any, escaped: bool, commented: bool) -> None:
    before = json.dumps(config, indent=indent, ensure_ascii=escaped)
    if commented:
        before = "/* mine */ " + before.replace("{", "{ // begins\n", 1) + "\r\n// the end"
    result = wrap(before, PROGRAM, all_of_them)
    read = read_parts(result.text).value
    assert {key: read[key] for key in read if key == "theme"} == {k: v for k, v in config.items() if k == "theme"}
    for name, entry in config["mcpServers"].items():
        new = read["mcpServers"][name]
        assert new == entry or is_gateway(new)
        if new != entry and "env" in entry:
            assert new["env"] == entry["env"]
    assert wrap(result.text, PROGRAM, all_of_them).text == result.text
    assert unwrap(result.text, before, result.text).text == before
    anew = json.dumps({**read, "theme": "other"})
    assert json.loads(unwrap(anew, before, result.text).text) == {**config, "theme": "other"}


# As a command.


def run(*argv: str) -> Any:
    return forked.run([sys.executable, "-m", "guarded_tools.cli", "gateway", *argv], input="", timeout=60)


@pytest.fixture
def state(tmp_path: Path) -> list[str]:
    return ["--state", str(tmp_path / "state")]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "real.json"
    sandbox = {
        "command": sys.executable,
        "args": ["-m", "guarded_tools.pictify.sandbox"],
        "env": {"SHOP_KEY": "s3cret-of-mine"},
    }
    path.write_text(json.dumps({"mcpServers": {"shop": sandbox}}, indent=2))
    path.chmod(0o640)
    link = tmp_path / "link.json"
    link.symlink_to(path)
    return link


def test_a_configuration_is_shown_then_written_then_restored(config: Path, state: list[str], tmp_path: Path) -> None:
    before = config.read_bytes()
    policy = tmp_path / "policy.json"
    policy.write_text('{"version": "1", "default": "deny", "tools": {"pictify_list_images": {}}}')
    asked = run("wrap", str(config), "--policy", str(policy), *state)
    assert asked.returncode == 2
    assert "nobody is here to be asked" in asked.stderr
    assert "+" in asked.stdout
    assert "s3cret-of-mine" not in asked.stdout
    assert config.read_bytes() == before
    done = run("wrap", str(config), "--policy", str(policy), "--yes", *state)
    assert done.returncode == 0, done.stderr
    assert config.is_symlink()
    assert stat.S_IMODE(config.stat().st_mode) == 0o640
    kept = next((tmp_path / "state" / "wrapped").glob("*.before"))
    assert (kept.read_bytes(), stat.S_IMODE(kept.stat().st_mode)) == (before, 0o600)
    entry = json.loads(config.read_text())["mcpServers"]["shop"]
    assert entry["env"] == {"SHOP_KEY": "s3cret-of-mine"}
    again = run("wrap", str(config), "--policy", str(policy), "--yes", *state)
    assert "nothing to change" in again.stdout
    # As its client starts it: beside this Python there may be no program of ours.
    words = entry["args"] if entry["args"][0] == "-m" else ["-m", "guarded_tools.cli", *entry["args"]]
    with Wire(words, NEW, env={**os.environ, **entry["env"]}) as client:
        assert not client.call("pictify_list_images").get("isError")
        assert client.call("pictify_list_templates")["isError"]
    back = run("unwrap", str(config), "--yes", *state)
    assert back.returncode == 0, back.stderr
    assert config.read_bytes() == before
    assert stat.S_IMODE(config.stat().st_mode) == 0o640
    assert list((tmp_path / "state" / "wrapped").iterdir()) == []
    assert "nothing is known" in run("unwrap", str(config), "--yes", *state).stderr


def test_servers_that_came_later_are_wrapped_and_all_go_back(config: Path, state: list[str], tmp_path: Path) -> None:
    run("wrap", str(config), "--policy", "standard", "--yes", *state)
    data = json.loads(config.read_text())
    first = data["mcpServers"]["shop"]
    data["mcpServers"]["later"] = {"command": "npx", "args": ["later"]}
    config.write_text(json.dumps(data))
    run("wrap", str(config), "--policy", "read_only", "--yes", *state)
    now = json.loads(config.read_text())["mcpServers"]
    assert now["shop"] == first
    assert "read_only" in now["later"]["args"]
    run("unwrap", str(config), "--yes", *state)
    assert [entry["command"] for entry in json.loads(config.read_text())["mcpServers"].values()] == [
        sys.executable,
        "npx",
    ]


def test_what_cannot_be_wrapped_says_why(config: Path, state: list[str], tmp_path: Path) -> None:
    for words, told in (
        (("wrap", str(tmp_path / "none.json"), "--policy", "standard"), "cannot be read"),
        (("wrap", str(config), "--policy", "no-such-policy"), "no-such-policy"),
        (("wrap", str(config), "--policy", "standard", "--policy", "standard"), "name one --policy"),
        (("unwrap", str(config)), "nothing is known"),
    ):
        failed = run(*words, "--yes", *state)
        assert failed.returncode == 2, failed.stdout
        assert told in failed.stderr
