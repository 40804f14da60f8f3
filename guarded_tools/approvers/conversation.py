"""What is said between the card and the verdict, wherever lines can be shown and read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from guarded_tools.approvers import card
from guarded_tools.approvers.protocol import who
from guarded_tools.text.visible import plain
from guarded_tools.values import ApprovalRequest, Verdict


class Screen(Protocol):
    """Where one question is asked. Any method may raise to end it."""

    def line(self, prompt: str) -> str:
        """Show ``prompt``, and return the line that is typed after it, without its end."""

    def show(self, rows: Sequence[card.CardRow], title: str) -> None:
        """Show a card under ``title``; what is in its rows is harmless already, its width is the screen's to keep."""

    def say(self, lines: Sequence[str]) -> None:
        """Show lines of ours, or of others that were made harmless, below what is there."""

    def edit(self, text: str) -> str:
        """Let the human change a JSON text. A ``ValueError`` is shown, and the question stays open."""


TITLE = "A tool call waits for you"


def converse(request: ApprovalRequest, screen: Screen, title: str = TITLE) -> Verdict:
    """Show a request and talk until there is a verdict. A command counts once its line is sent, and only as a whole."""
    return _Conversation(request, screen).verdict(title)


class _Conversation:
    def __init__(self, request: ApprovalRequest, screen: Screen) -> None:
        self.request = request
        self.screen = screen
        self.offers = card.durations(request)
        self.by = who()
        self.commands: dict[str, tuple[str, Callable[[], Verdict | None]]] = {
            "a": ("approve, this once", lambda: Verdict.approve(by=self.by)),
            "s": (f"approve {self.offers.get('same')}", lambda: Verdict.approve("same", by=self.by)),
            "t": (f"approve {self.offers.get('tool')}", lambda: Verdict.approve("tool", by=self.by)),
            "e": ("edit the arguments", self.edit),
            "r": ("reject", self.reject),
            "w": ("answer in its place", self.respond),
            "v": ("view all of it", self.view),
        }
        for key, offered in (("s", "same" in self.offers), ("t", "tool" in self.offers), ("v", self.folded())):
            if not offered:
                del self.commands[key]

    def folded(self) -> bool:
        return card.is_folded(self.request.args)

    def verdict(self, title: str) -> Verdict:
        self.screen.show(card.rows(self.request), title)
        while True:
            self.screen.say([f"{key}  {what}" for key, (what, _) in self.commands.items()])
            typed = self.screen.line("your answer")
            if typed not in self.commands:
                self.screen.say([f"{plain(typed, 40)} is none of these"] if typed else [])
                continue
            verdict = self.commands[typed][1]()
            if verdict is not None:
                self.screen.say([f"your answer: {verdict.kind} {self.offers.get(verdict.remember, '')}"])
                return verdict

    def reject(self) -> Verdict:
        return Verdict.reject(self.screen.line("why? (told to the model; may be empty)"), by=self.by)

    def respond(self) -> Verdict | None:
        text = self.screen.line("what shall the model read as the answer?")
        return Verdict.respond(text, by=self.by) if text else None

    def view(self) -> None:
        self.screen.show(card.rows(self.request, full=True), "All of it")

    def edit(self) -> Verdict | None:
        text = card.editable(self.request.args)
        while True:
            try:
                text = self.screen.edit(text)
                if not text.strip():
                    return None
                args = card.parse_edit(text)
                problem = self.request.check_edit(args) if self.request.check_edit else ""
            except ValueError as error:
                problem = str(error)
            if not problem:
                break
            self.screen.say([f"not accepted: {plain(problem, 500)}"])
            if self.screen.line("Enter to edit again, x to leave it") == "x":
                return None
        self.screen.show(card.diff(self.request.args, args), "Your edit")
        while typed := self.screen.line("y to run this, Enter to go back"):
            if typed == "y":
                return Verdict.edit(args, by=self.by)
            self.screen.say([f"{plain(typed, 40)} is not y"])
        return None
