"""Asks at the terminal the program runs in."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from guarded_tools.approvers import card
from guarded_tools.approvers.conversation import TITLE, converse
from guarded_tools.approvers.keyboard import TICK, Keyboard, terminal
from guarded_tools.approvers.protocol import Unanswered
from guarded_tools.values import ApprovalRequest, Verdict


class TerminalApprover:
    """Shows each call on the terminal and reads what to do about it.

    A command counts once Enter confirms it. What was typed before the question is thrown away. Questions of parallel
    calls take turns, also between processes that share the terminal; each waits at most its own ``timeout``, and one
    that nobody waits for any more disappears. Arguments are edited in ``$VISUAL`` or ``$EDITOR``, else typed as JSON.

    Raises:
        CannotAsk: standard input or output is no terminal, or the program runs in the background.
    """

    def check(self, request: ApprovalRequest) -> None:
        """Raise :class:`CannotAsk` where there is no terminal to ask at."""
        terminal(request)

    def __call__(self, request: ApprovalRequest) -> Verdict:
        """Ask, and return the answer."""
        return ask_at_terminal(request, TITLE)


def ask_at_terminal(request: ApprovalRequest, title: str) -> Verdict:
    """Ask at the terminal this runs in, under a title of the caller's.

    Raises:
        CannotAsk: as :class:`TerminalApprover` does.
    """
    with Keyboard(terminal(request), time.monotonic() + request.timeout) as keyboard:
        return converse(request, _TerminalScreen(keyboard), title)


class _TerminalScreen:
    def __init__(self, keyboard: Keyboard) -> None:
        self._keyboard = keyboard

    def line(self, prompt: str) -> str:
        with self._keyboard.raw():
            return self._keyboard.line(prompt)

    def show(self, rows: Sequence[card.CardRow], title: str) -> None:
        console = self._keyboard.console()
        console.print()
        console.print(card.to_rich(rows, title, self._keyboard.columns))
        console.file.close()

    def say(self, lines: Sequence[str]) -> None:
        self._keyboard.write("".join(f"  {line}\r\n" for line in lines))

    def edit(self, text: str) -> str:
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
        if not editor:
            return self.line("all arguments, as a JSON object")
        try:
            command = shlex.split(editor)
            with tempfile.TemporaryDirectory(prefix="guarded-tools-") as folder:
                path = Path(folder) / "arguments.json"
                path.write_text(text, encoding="utf-8")
                self._run([*command, str(path)])
                return path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ValueError(f"the editor {editor} (VISUAL or EDITOR) did not work: {error}") from None

    def _run(self, command: list[str]) -> None:
        with subprocess.Popen(command) as process:  # noqa: S603 - the user's own editor
            while process.poll() is None:
                try:
                    self._keyboard.stop_if_over()
                except Unanswered:
                    process.terminate()
                    raise
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(TICK)
