"""``guarded-tools top`` and ``report``: what is so now, live in a terminal, or on a page to keep."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guarded_tools.cli.app import UNREADABLE
from guarded_tools.cli.console import out, say, write_draft
from guarded_tools.cli.options import State, Url, opened, store_name, store_url, unused
from guarded_tools.errors import GuardError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from guarded_tools.control.present import Present
    from guarded_tools.stores import Store

_EVERY = 2.0
_END = frozenset({b"q", b"Q", b"\x03", b""})  # the last: whoever typed is gone


def top(
    *,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and end.")] = False,
    most: Annotated[int, typer.Option("--most", min=1, help="How many sessions, and refusals, to show.")] = 8,
    state: State = None,
    store: Url = None,
) -> None:
    """Show halts, open questions, the fullest limits and the latest refusals, live; q or Ctrl-C ends it."""
    looking = _Looking(state, store, most)
    if once:
        from rich.console import Group

        out().print(Group(*_tables(looking.look())))
        return
    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        say("top shows itself in a terminal; --once prints one frame anywhere", err=True)
        raise typer.Exit(UNREADABLE)
    from rich.live import Live

    with contextlib.suppress(KeyboardInterrupt), _keys() as pressed, Live(screen=True, auto_refresh=False) as live:
        while True:
            live.update(_frame(looking), refresh=True)
            if pressed(_EVERY) in _END:
                return


def report(
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file to write. Default: standard output.", show_default=False),
    ] = None,
    since: Annotated[str, typer.Option("--since", help="From when on to look back: 2h, 7d or a date.")] = "1d",
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    state: State = None,
    store: Url = None,
) -> None:
    """Write a page on the same, and on what happened since: one HTML file that needs nothing else."""
    from guarded_tools.audit import Filter
    from guarded_tools.cli.audit import moment_of
    from guarded_tools.cli.audit_view import read_along
    from guarded_tools.control.present import look_back
    from guarded_tools.control.report import page
    from guarded_tools.text.units import date_and_time

    looking = _Looking(state, store, 20)
    present = looking.look()
    begin = moment_of(since) or 0.0
    records = read_along(looking.audit, Filter(since=begin)) if looking.audit.exists() else iter(())
    past = look_back(records, present.at)
    text = page(present, past, looking.place, f"{date_and_time(begin)} UTC")
    write_draft(output, text, force=force)
    if output is not None:
        say(f"Written to {output}")


class _Looking:
    """A store that stays open from one look to the next, once there is one."""

    def __init__(self, state: Path | None, store: str | None, most: int) -> None:
        from guarded_tools.audit import audit_path
        from guarded_tools.state import state_path

        self._where = state, store
        self._most = most
        self._store: Store | None = None
        self.audit = audit_path(state_path(state))
        self.place = store_name(store, state)

    def look(self) -> Present:
        """Look once."""
        from guarded_tools.control.present import look
        from guarded_tools.stores import open_stop_button

        state, store = self._where
        if self._store is None and not unused(store, state):
            self._store = opened(store, state)
        button = open_stop_button(store_url(store, state))
        return look(self._store, button, self.audit, time.time(), most=self._most)


def _tables(present: Present) -> list[RenderableType]:
    from rich.text import Text

    from guarded_tools.control.shown import tables
    from guarded_tools.text.tables import to_rich
    from guarded_tools.text.visible import plain

    shown: list[RenderableType] = []
    for table in tables(present):
        shown.append(to_rich(table, framed=False) if table.rows else Text(plain(table.title), "dim"))
        shown.append(Text(plain(table.note), "dim"))
    return shown


def _frame(looking: _Looking) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from guarded_tools.text.units import date_and_time
    from guarded_tools.text.visible import plain

    head = Text(f"{plain(looking.place, 200)}  {date_and_time(time.time())} UTC  (q ends)\n", "bold")
    try:
        return Group(head, *_tables(looking.look()))
    except (GuardError, OSError) as error:  # it may be over by the next look
        return Group(head, Text(plain(str(error), 2_000), "red"))


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], bytes]]:
    """Hear keys as they are pressed; what is given waits so many seconds for one, and returns a space for none."""
    import termios
    import tty

    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)

    def pressed(seconds: float) -> bytes:
        ready, _, _ = select.select([keyboard], [], [], seconds)
        return os.read(keyboard, 1) if ready else b" "

    tty.setcbreak(keyboard)
    try:
        yield pressed
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
