"""A terminal in the hands of one question at a time."""

from __future__ import annotations

import atexit
import codecs
import contextlib
import functools
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NoReturn, Self, TypeAlias

from rich.console import Console

from guarded_tools.approvers.protocol import Unanswered, kernel, withdrawn
from guarded_tools.errors import CannotAsk
from guarded_tools.text.units import countdown
from guarded_tools.text.visible import quoted
from guarded_tools.values import ApprovalRequest

_TICK = 0.1
_ERASE = "\r\x1b[2K"
_CTRL_C = "\x03"
_KEEP_CURSOR, _BACK_TO_IT = "\x1b7", "\x1b8"
_SHORTEST = 2


_ELSEWHERE = (
    "Run the program in an interactive terminal, or give the guard another approver: InboxApprover answers from "
    "another terminal, InterruptApprover from a LangGraph front end, NotebookApprover in a notebook"
)
_OF_NOTEBOOKS = (
    "In a notebook, give the guard NotebookApprover(), which asks under the running cell, or InterruptApprover() with "
    "resume_with_buttons(), which asks once the cell has returned"
)


def terminal(request: ApprovalRequest) -> str:
    """The path of the terminal that both hears and shows."""
    try:
        return find_terminal()
    except CannotAsk as why:
        advice = _ELSEWHERE if kernel() is None else _OF_NOTEBOOKS
        raise CannotAsk(
            f"{request.tool} needs a human's approval, and TerminalApprover found no terminal to ask at ({why}). "
            f"{advice}"
        ) from None


def find_terminal() -> str:
    """The path of the terminal that both hears and shows.

    Raises:
        CannotAsk: there is none; it only says why.
    """
    try:
        import termios  # noqa: F401
    except ImportError:
        raise CannotAsk("this system has no POSIX terminals") from None
    try:
        inside = sys.stdin.fileno()
        outside = next((s.fileno() for s in (sys.stdout, sys.stderr) if s is not None and s.isatty()), None)
    except (AttributeError, OSError, ValueError):
        raise CannotAsk("standard input is closed or captured") from None
    if not os.isatty(inside):
        raise CannotAsk("standard input is not a terminal")
    if outside is None:
        raise CannotAsk("neither standard output nor standard error is a terminal")
    with contextlib.suppress(OSError):
        if os.tcgetpgrp(inside) != os.getpgrp():
            raise CannotAsk("the program runs in the background: bring it to the foreground")
    return os.ttyname(inside)


class _Interrupted:
    """When somebody last pressed Ctrl-C at a question of this process."""

    at = 0.0


class _Turns:
    """How many questions of this process wait for a terminal."""

    waiting = 0
    _lock = threading.Lock()

    @classmethod
    @contextlib.contextmanager
    def wait(cls) -> Iterator[None]:
        with cls._lock:
            cls.waiting += 1
        try:
            yield
        finally:
            with cls._lock:
                cls.waiting -= 1


class Keyboard:
    """A terminal in the hands of one question: nobody else asks there, and keys come one by one, with a deadline."""

    def __init__(self, path: str, deadline: float) -> None:
        self._path = path
        self._deadline = deadline
        self._began = time.monotonic()
        self._pending = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def __enter__(self) -> Self:
        # A description of its own, because locks belong to those: threads and forked children take turns, too.
        self._fd = os.open(self._path, os.O_RDWR | os.O_NOCTTY)
        try:
            self._take_turn()
            self.stop_if_over()
        except BaseException:
            os.close(self._fd)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def _take_turn(self) -> None:
        import fcntl

        with _Turns.wait():
            while True:
                try:
                    fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    self.stop_if_over()
                    time.sleep(_TICK)
                else:
                    return

    @contextlib.contextmanager
    def raw(self) -> Iterator[None]:
        """Hear every key, without echo; Ctrl-Z keeps its meaning. Forgets what was typed before."""
        import termios
        import tty

        before = termios.tcgetattr(self._fd)
        restore = functools.partial(termios.tcsetattr, self._fd, termios.TCSAFLUSH, before)
        atexit.register(restore)  # a program that ends on Ctrl-C does not wait for the thread that asks
        tty.setcbreak(self._fd, termios.TCSAFLUSH)
        # Also what came in one piece with the end of the last line: it was typed before this line was asked for.
        self._pending = ""
        self._decoder.reset()
        attributes = termios.tcgetattr(self._fd)
        attributes[6][termios.VINTR] = bytes([os.fpathconf(self._fd, "PC_VDISABLE")])
        termios.tcsetattr(self._fd, termios.TCSANOW, attributes)
        try:
            yield
        finally:
            restore()
            atexit.unregister(restore)

    @property
    def seconds_left(self) -> float:
        """How long the question may still be asked."""
        return max(self._deadline - time.monotonic(), 0.0)

    @property
    def columns(self) -> int:
        """How wide the terminal is."""
        try:
            return max(os.get_terminal_size(self._fd).columns, 40)
        except OSError:
            return 80

    def stop_if_over(self) -> None:
        """End the question if its time is up or nobody waits for it."""
        if _Interrupted.at > self._began:
            raise Unanswered("Ctrl-C was pressed")
        if withdrawn():
            raise Unanswered("the question was taken back")
        if not self.seconds_left:
            raise Unanswered("nobody answered in time")

    def write(self, text: str) -> None:
        """Put text on the terminal as it is: only what was made harmless."""
        data = text.encode("utf-8", "replace")
        while data:
            data = data[os.write(self._fd, data) :]

    def console(self) -> Console:
        """Open a rich console on the terminal; whoever opens it closes its file."""
        return Console(file=os.fdopen(os.dup(self._fd), "w", encoding="utf-8"), force_terminal=True, width=self.columns)

    def key(self) -> str | None:
        """Return the next character, or ``None`` a tick later."""
        if not self._pending:
            ready, _, _ = select.select([self._fd], [], [], _TICK)
            if ready:
                data = os.read(self._fd, 4096)
                if not data:
                    raise CannotAsk("the terminal was closed while it showed a question")
                self._pending += self._decoder.decode(data)
                if _CTRL_C in self._pending:
                    self._interrupt()
        if not self._pending:
            return None
        char, self._pending = self._pending[0], self._pending[1:]
        return char

    def _interrupt(self) -> NoReturn:
        """Do what the key does, and end every question: an executor's thread hears no signal, and would ask on."""
        _Interrupted.at = time.monotonic()
        self.write("\r\n")
        os.killpg(os.tcgetpgrp(self._fd), signal.SIGINT)
        raise Unanswered("Ctrl-C was pressed")

    def line(self, prompt: str, typed: str = "") -> str:
        """Read one line, which begins as ``typed``. The prompt counts down, and says how many questions wait too.

        Left, Right, Home and End move, Delete and Backspace delete, ``Ctrl-U`` begins anew; other keys are ignored.
        """
        before, after = typed, ""
        drawn = ""
        while True:
            self._stop_line_if_over(drawn)
            shown = self._shown(prompt, before, after)
            if shown != drawn:
                self.write(_ERASE + shown)
                drawn = shown
            char = self.key()
            if char in ("\r", "\n"):
                self.write("\r\n")
                return (before + after).strip()
            if char is not None:
                before, after = self._typed(before, after, char)

    def _stop_line_if_over(self, drawn: str) -> None:
        try:
            self.stop_if_over()
        except Unanswered:
            self.write("\r\n" if drawn else "")  # what the program says next has a line of its own
            raise

    def _shown(self, prompt: str, before: str, after: str) -> str:
        others = f", {_Turns.waiting} more {'waits' if _Turns.waiting == 1 else 'wait'}" if _Turns.waiting else ""
        lead = f"{prompt} [{countdown(self.seconds_left)}{others}] > "
        room = self.columns - len(lead) - 1
        behind = _shown_head(after, room // 2)
        shown = lead + _shown_tail(before, room - len(behind))
        return f"{shown}{_KEEP_CURSOR}{behind}{_BACK_TO_IT}" if behind else shown

    def _typed(self, before: str, after: str, char: str) -> tuple[str, str]:
        edit = _EDITS.get(self._sequence() if char == "\x1b" else char)
        if edit is not None:
            return edit(before, after)
        return (before + char, after) if char.isprintable() or char == "\t" else (before, after)

    def _sequence(self) -> str:
        """Read what follows ``Esc``: a key that is no letter sends several characters."""
        said = "\x1b" + (self.key() or "")
        while said.startswith(("\x1b[", "\x1bO")) and (len(said) == _SHORTEST or said[-1] < "@"):
            char = self.key()
            if char is None:
                break
            said += char
        return said


_Edit: TypeAlias = Callable[[str, str], tuple[str, str]]
_BY_NAME: Mapping[str, _Edit] = {
    "left": lambda before, after: (before[:-1], before[-1:] + after),
    "right": lambda before, after: (before + after[:1], after[1:]),
    "home": lambda before, after: ("", before + after),
    "end": lambda before, after: (before + after, ""),
    "delete": lambda before, after: (before, after[1:]),
    "back": lambda before, after: (before[:-1], after),
    "anew": lambda before, after: ("", ""),  # noqa: ARG005 - whatever it was
}
_KEYS = {
    "left": ("\x1b[D", "\x1bOD"),
    "right": ("\x1b[C", "\x1bOC"),
    "home": ("\x01", "\x1b[H", "\x1bOH", "\x1b[1~", "\x1b[7~"),
    "end": ("\x05", "\x1b[F", "\x1bOF", "\x1b[4~", "\x1b[8~"),
    "delete": ("\x1b[3~",),
    "back": ("\x7f", "\x08"),
    "anew": ("\x15",),
}
_EDITS = {key: _BY_NAME[name] for name, keys in _KEYS.items() for key in keys}


def _drawn(typed: str) -> str:
    return quoted(typed)[1:-1].replace('\\"', '"').replace("\\\\", "\\")


def _shown_tail(typed: str, room: int) -> str:
    shown, room = _drawn(typed), max(room, 10)
    return shown if len(shown) <= room else "…" + shown[-room + 1 :]


def _shown_head(typed: str, room: int) -> str:
    shown, room = _drawn(typed), max(room, 10)
    return shown if len(shown) <= room else shown[: room - 1] + "…"
