"""The user's own editor, for the arguments of a call."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from guarded_tools.text.visible import plain

LOOK = 0.1
"""How often, in seconds, it is looked whether an editor that is open may stay so."""


def editor() -> str:
    """Name the command of the user's editor, ``$VISUAL`` or else ``$EDITOR``; "" where they set none."""
    return os.environ.get("VISUAL") or os.environ.get("EDITOR") or ""


def edit_in(command: str, text: str, *, look: Callable[[], None] = lambda: None) -> str:
    """Let the user change a text in an editor, in a file that only they can read.

    ``look`` is called while the editor is open; what it raises closes the editor and is raised here.

    Raises:
        ValueError: the editor did not work, or left something that is no text.
    """
    try:
        words = shlex.split(command)
        with tempfile.TemporaryDirectory(prefix="guarded-tools-") as folder:
            path = Path(folder) / "arguments.json"
            path.write_text(text, encoding="utf-8")
            _run([*words, str(path)], look)
            return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ValueError(f"the editor {plain(command, 80)} (VISUAL or EDITOR) did not work: {error}") from None


def _run(command: list[str], look: Callable[[], None]) -> None:
    with subprocess.Popen(command) as process:  # noqa: S603 - the user's own editor
        while process.poll() is None:
            try:
                look()
            except BaseException:
                process.terminate()
                raise
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LOOK)
