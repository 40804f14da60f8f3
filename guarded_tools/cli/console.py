"""Where commands print their tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from guarded_tools.errors import GuardError

if TYPE_CHECKING:
    from rich.console import Console

_UNBROKEN = 10_000


def out() -> Console:
    """Where tables are printed: as wide as a terminal, and in a pipe so wide that no name is cut in two."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else _UNBROKEN)


def write_draft(output: Path | None, text: str, *, force: bool = False) -> None:
    """Write a draft to a file that must not be there yet, unless it is forced; without one, to standard output.

    Raises:
        GuardError: it is there, or cannot be written.
    """
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        with output.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        # A draft over an edited policy would be a day's work lost.
        raise GuardError(f"{output} is there already; write the draft elsewhere and compare") from None
    except OSError as error:
        raise GuardError(f"{output} cannot be written: {error.strerror}") from None


@contextmanager
def progress(doing: str, total: int, *, after: float = 0.0) -> Iterator[Callable[[int], None]]:
    """Show on standard error how far something is, of ``total`` bytes, where a terminal is there to show it.

    What is given takes how many bytes more are done. The bar comes after so many seconds, and goes when all is done.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn(doing), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task(doing, total=total or None)
    waiting, begin = 0, time.monotonic() + after

    def advance(more: int) -> None:
        nonlocal waiting
        waiting += more
        if waiting * 200 >= total:
            bar.advance(task, waiting)
            waiting = 0
            if time.monotonic() >= begin:
                bar.start()

    try:
        if not after:
            bar.start()
        yield advance
    finally:
        bar.stop()
