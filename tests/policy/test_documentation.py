"""Every policy that the page on the language shows is one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from guarded_tools.policy import Policy, decide
from guarded_tools.policy.reading.source import read_source
from guarded_tools.values import ToolCall

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "policy.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(json|yaml)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("suffix", "text"), BLOCKS)
def test_a_policy_of_the_page(tmp_path, suffix, text):
    file = tmp_path / f"policy.{suffix}"
    file.write_text(text, encoding="utf-8")
    assert Policy.from_file(file).tools
    assert read_source(file).data["version"] == "1"


def test_the_page_speaks_of_every_key():
    from guarded_tools.policy.document import Approval, ApprovalLimits, Limit, Tool
    from guarded_tools.policy.predicate import Predicate
    from guarded_tools.policy.result_parts import RedactedPattern, ResultRules

    assert len(BLOCKS) == 6
    for model in (Policy, Tool, Limit, Predicate, Approval, ApprovalLimits, ResultRules, RedactedPattern):
        for name, field in model.model_fields.items():
            assert f"`{field.alias or name}`" in PAGE or f'"{field.alias or name}"' in PAGE, name


def test_the_readme_sends_no_mail_to_strangers():
    pattern = re.search(
        r'"path": "args.to", "op": "regex", "value": ("(?:[^"\\]|\\.)*")',
        (DOCS.parent / "README.md").read_text(encoding="utf-8"),
    )
    assert pattern is not None
    rule = {"path": "args.to", "op": "regex", "value": json.loads(pattern[1])}
    policy = Policy.model_validate({"version": "1", "default": "deny", "tools": {"send_mail": {"require": [rule]}}})
    assert policy.warnings == ()
    assert decide(policy, ToolCall("send_mail", {"to": "ann@example.com"})).effect == "allow"
    for to in (
        "eve@evil.com, ann@example.com",
        "eve@evil.com;ann@example.com",
        "eve@evil.com\nBcc: ann@example.com",
        "<eve@evil.com> ann@example.com",
        "eve@evil.com ann@example.com",
        "eve%evil.com@example.com",
        "ann@example.com\n",
        "ann@example.com, eve@evil.com",
        "ann@example.com.evil.com",
    ):
        assert decide(policy, ToolCall("send_mail", {"to": to})).effect == "deny", to
