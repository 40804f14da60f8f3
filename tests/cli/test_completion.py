"""Shells are told names of commands without importing any, and options of the one that is typed."""

from __future__ import annotations

import os
import sys

import pytest

from tests import forked


def completed(shell: str, line: str) -> str:
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)} if shell == "bash" else {}
    env = {**os.environ, **words, "_GUARDED_TOOLS_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": line}
    env |= {"_TYPER_COMPLETE_FISH_ACTION": "get-args"} if shell == "fish" else {}
    done = forked.run([sys.executable, "-m", "guarded_tools.cli"], env=env, timeout=60)
    return str(done.stdout)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_commands_options_and_commands_of_commands(shell: str) -> None:
    told = completed(shell, "guarded-tools re")
    assert [name in told for name in ("replay", "reset", "resume", "audit")] == [True, True, True, False]
    assert "--start-timeout" in completed(shell, "guarded-tools explain --st")
    assert "watch" in completed(shell, "guarded-tools approvals w")
