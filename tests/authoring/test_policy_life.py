"""Walks docs/policy-life.md, from the scan to the reload."""

from __future__ import annotations

from tests.authoring.walk import walk

STEPS = ("scan", "validate", "explain", "test", "drill", "lock", "audit", "replay", "learn", "diff")


def test_the_life_that_the_page_describes(cli, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "120")
    ran = walk("policy-life.md", cli, tmp_path, capsys)
    assert [step for step in dict.fromkeys(ran) if step != "cp"] == list(STEPS)
