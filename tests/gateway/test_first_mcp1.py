"""Where the first generation of MCP is installed, the command says what it takes."""

from __future__ import annotations


def test_the_first_generation_is_told_what_it_takes(cli):
    ran = cli("gateway", "--policy", "strict", "--", "true")
    assert ran.code == 2
    assert "gateway takes the second generation of MCP" in ran.err
    assert "pip install" in ran.err
