"""Asks at the terminal the program runs in."""

from __future__ import annotations

import time
from collections.abc import Sequence

from guarded_tools.approvers import card
from guarded_tools.approvers.conversation import TITLE, converse
from guarded_tools.approvers.editor import edit_in, editor
from guarded_tools.approvers.keyboard import Keyboard, terminal
from guarded_tools.values import ApprovalRequest, Verdict

_AHEAD = 0.25  # seconds


class TerminalApprover:
    """Shows each call on the terminal and reads what to do about it.

    A command counts once Enter confirms it. What was typed before the question is thrown away. Questions of parallel
    calls take turns, also between processes that share the terminal; each waits at most its own ``timeout``, and one
    that nobody waits for any more disappears. Arguments are edited in ``$VISUAL`` or ``$EDITOR``, else as one line.

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
    # A little before the guard gives it up: whatever the program prints then begins a new line.
    lasts = max(request.timeout - _AHEAD, request.timeout / 2)
    with Keyboard(terminal(request), time.monotonic() + lasts) as keyboard:
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
        command = editor()
        if not command:
            with self._keyboard.raw():
                return self._keyboard.line("all arguments, as a JSON object", _in_one_line(text))
        return edit_in(command, text, look=self._keyboard.stop_if_over)


def _in_one_line(text: str) -> str:
    """Join the lines of a JSON text; none ends within a string."""
    return " ".join(line.strip() for line in text.strip().split("\n"))
