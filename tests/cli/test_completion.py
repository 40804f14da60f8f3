"""Shells are told names of commands without importing any, and options of the one that is typed."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pexpect
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


@pytest.mark.parametrize("shell", ["bash"])
def test_a_shell_completes_once_it_is_installed_there(shell: str, tmp_path: Path) -> None:
    """In the shell itself, as a person types it. zsh and fish begin to read keys when they like, so not for a test."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed (Debian: apt-get install {shell})")
    own = Path(sys.prefix, "bin")
    if not (own / "guarded-tools").exists():
        pytest.skip("the command is not installed")
    env = {"HOME": str(tmp_path), "PATH": f"{own}:/usr/bin:/bin", "TERM": "xterm", "LANG": "C.UTF-8"}
    command = [forked.PYTHON, "-m", "guarded_tools.cli", "--install-completion", shell]
    told = {**env, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # else it is the shell that started the tests
    _, code = pexpect.run(" ".join(command), env=told, withexitstatus=True, encoding="utf-8", timeout=60)
    assert code == 0
    child = pexpect.spawn(program, ["-i"], env=env, encoding="utf-8", timeout=60, dimensions=(40, 100))
    child.send("echo rea''dy\r")
    child.expect("ready")
    child.send("guarded-tools res\t\t")
    child.expect("reset")
    child.expect("resume")
    child.close(force=True)
