"""Follows docs/agents-guide.md to the letter, and shows that what it forbids does not come through its commands."""

from __future__ import annotations

import re

import pytest

from guarded_tools.pictify.catalogue import catalogue
from guarded_tools.tools.lock import Lock
from tests.authoring.walk import DOCS, blocks, edit, walk

FILES = {mark: text for kind, mark, text in blocks("agents-guide.md") if kind == "yaml"}

INVENTED_TOOL = """\
-  pictify_delete_template:
+  pictify_remove_template:
"""
INVENTED_ARGUMENT = """\
-      - {path: args.url, op: url_host, value: [example.com, "*.example.com"]}
+      - {path: args.address, op: url_host, value: [example.com]}
"""
OPEN = """\
-default: deny
+default: allow
"""
UNASKED = """\
       - {counter: deletions, window: hour, max: 10, scope: session}
-    approval: true
"""
WIDER = """\
-      - {counter: calls_per_minute, window: minute, max: 5, scope: session}
+      - {counter: calls_per_minute, window: minute, max: 20, scope: session}
"""
WEAKER = """\
-      - {path: args.url, op: url_host, value: [example.com, "*.example.com"]}
+      - {path: args.url, op: contains, value: example.com}
"""
CASES_FOR_UNASKED = """\
-      - {tool: pictify_delete_template, args: {templateId: tpl_000001}, approved: false, expect: ask}
-      - {tool: pictify_delete_template, args: {templateId: tpl_000001}, expect: ask}
+      - {tool: pictify_delete_template, args: {templateId: tpl_000001}, expect: allow}
"""


@pytest.fixture
def files(tmp_path):
    """The files of the guide, and a lock of the tools that they are about."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    lock = Lock.of(info for info in catalogue().values() if info.name in FILES["policy.yaml"])
    (tmp_path / "small.lock").write_text(lock.to_json())
    return tmp_path


def test_the_guide_ends_green(cli, files, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "120")
    ran = walk("agents-guide.md", cli, files, capsys)
    assert list(dict.fromkeys(ran)) == ["lock", "scan", "validate", "test", "explain", "drill", "diff"]


def test_the_command_prints_it(cli):
    assert cli("guide").out == (DOCS / "agents-guide.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("hunk", "said"), [(INVENTED_TOOL, "matches no tool of the server"), (INVENTED_ARGUMENT, "leads nowhere")]
)
def test_what_was_invented_is_no_valid_policy(cli, files, hunk, said):
    edit(files / "policy.yaml", hunk)
    checked = cli("validate", "policy.yaml", "--tools", "small.lock")
    assert checked.code == 1
    assert said in checked.err


@pytest.mark.parametrize(
    ("hunk", "case"),
    [
        (OPEN, "what is not listed is denied"),
        (UNASKED, "every deletion is asked"),
        (WIDER, "five recordings a minute"),
        (WEAKER, "only pages of our own"),
    ],
)
def test_what_was_loosened_fails_its_cases(cli, files, hunk, case):
    edit(files / "policy.yaml", hunk)
    assert cli("validate", "policy.yaml", "--tools", "small.lock").code == 0
    tested = cli("test", "policy.yaml", "cases.yaml", "--lock", "small.lock")
    assert tested.code == 1
    assert f"FAIL  {case}" in tested.out


def test_what_was_loosened_together_with_its_cases_fails_the_drill(cli, files):
    edit(files / "policy.yaml", UNASKED)
    edit(files / "cases.yaml", CASES_FOR_UNASKED)
    assert cli("test", "policy.yaml", "cases.yaml", "--lock", "small.lock").code == 0
    drilled = cli("drill", "policy.yaml", "--tools", "small.lock", "--fail-under", "A")
    assert drilled.code == 1
    assert re.findall("^PASSED +([a-z-]+)", drilled.out, re.MULTILINE) == ["session-hop", "unseen"]
    assert "grade D" in drilled.out
