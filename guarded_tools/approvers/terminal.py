"""Asks at the terminal the program runs in."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from guarded_tools.approvers import card
from guarded_tools.approvers.calling import Unanswered, who
from guarded_tools.approvers.keyboard import TICK, Keyboard, terminal
from guarded_tools.approvers.visible import plain
from guarded_tools.values import ApprovalRequest, Verdict


class TerminalApprover:
    """Shows each call on the terminal and reads what to do about it.

    A command counts once Enter confirms it. What was typed before the question is thrown away. Questions of parallel
    calls take turns, also between processes that share the terminal; each waits at most its own ``timeout``, and one
    that nobody waits for any more disappears.

    Raises:
        CannotAsk: standard input or output is no terminal, or the program runs in the background.
    """

    def check(self, request: ApprovalRequest) -> None:
        """Raise :class:`CannotAsk` where there is no terminal to ask at."""
        terminal(request)

    def __call__(self, request: ApprovalRequest) -> Verdict:
        """Ask, and return the answer."""
        deadline = time.monotonic() + request.timeout
        with Keyboard(terminal(request), deadline) as keyboard:
            return _Question(request, keyboard).ask()


class _Question:
    """One request on its way to a verdict."""

    def __init__(self, request: ApprovalRequest, keyboard: Keyboard) -> None:
        self.request = request
        self.keyboard = keyboard
        self.offers = card.durations(request)
        self.by = who()

    def ask(self) -> Verdict:
        self.show(card.to_rich(card.rows(self.request), width=self.keyboard.columns))
        while True:
            self.menu()
            verdict = self.answer(self.line("your answer"))
            if verdict is not None:
                self.say(f"your answer: {verdict.kind} {self.offers.get(verdict.remember, '')}")
                return verdict

    def menu(self) -> None:
        lines = ["a  approve, this once"]
        lines += [f"{kind[0]}  approve {what}" for kind, what in self.offers.items()]
        lines += ["e  edit the arguments", "r  reject", "w  answer in its place"]
        lines += ["v  view all of it"] if card.is_folded(self.request.args) else []
        self.say("\n".join(lines))

    def answer(self, command: str) -> Verdict | None:
        actions: dict[str, Callable[[], Verdict | None]] = {
            "a": lambda: Verdict.approve(by=self.by),
            "e": self.edit,
            "r": lambda: Verdict.reject(self.line("why? (told to the model; may be empty)"), by=self.by),
            "w": self.respond,
            "v": self.show_all,
        }
        if "same" in self.offers:
            actions["s"] = lambda: Verdict.approve("same", by=self.by)
        if "tool" in self.offers:
            actions["t"] = lambda: Verdict.approve("tool", by=self.by)
        if command in actions:
            return actions[command]()
        if command:
            self.say(f"{plain(command, 40)} is none of these")
        return None

    def respond(self) -> Verdict | None:
        text = self.line("what shall the model read as the answer?")
        return Verdict.respond(text, by=self.by) if text else None

    def show_all(self) -> None:
        self.show(card.to_rich(card.rows(self.request, full=True), width=self.keyboard.columns))

    def edit(self) -> Verdict | None:
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
        text = card.editable(self.request.args)
        while True:
            text = self.in_editor(editor, text) if editor else self.line("all arguments, as a JSON object")
            if not text.strip():
                return None
            try:
                args = card.parse_edit(text)
                problem = self.request.check_edit(args) if self.request.check_edit else ""
            except ValueError as error:
                problem = str(error)
            if not problem:
                break
            self.say(f"not accepted: {plain(problem, 500)}")
            if self.line("Enter to edit again, x to leave it") == "x":
                return None
        self.show(card.to_rich(card.diff(self.request.args, args), "Your edit", width=self.keyboard.columns))
        return Verdict.edit(args, by=self.by) if self.line("y to run this, anything else to go back") == "y" else None

    def in_editor(self, editor: str, text: str) -> str:
        with tempfile.TemporaryDirectory(prefix="guarded-tools-") as folder:
            path = Path(folder) / "arguments.json"
            path.write_text(text, encoding="utf-8")
            self.run([*shlex.split(editor), str(path)])
            return path.read_text(encoding="utf-8")

    def run(self, command: list[str]) -> None:
        with subprocess.Popen(command) as process:  # noqa: S603 - the user's own editor
            while process.poll() is None:
                try:
                    self.keyboard.stop_if_over()
                except Unanswered:
                    process.terminate()
                    raise
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(TICK)

    def line(self, prompt: str) -> str:
        with self.keyboard.raw():
            return self.keyboard.line(prompt)

    def show(self, what: Any) -> None:
        console = self.keyboard.console()
        console.print()
        console.print(what)
        console.file.close()

    def say(self, text: str) -> None:
        self.keyboard.write("".join(f"  {line}\r\n" for line in text.split("\n")))
