"""Where commands print their tables."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from guarded_tools.errors import GuardError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_UNBROKEN = 10_000


def out() -> Console:
    """Where tables are printed: as wide as a terminal, and in a pipe so wide that no name is cut in two."""
    from rich.console import Console

    # Rich takes NO_COLOR for colours alone; who sets it wants no codes at all.
    plain: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    return Console(highlight=False, color_system=plain, width=None if sys.stdout.isatty() else _UNBROKEN)


def say(text: str, *, err: bool = False) -> None:
    """Print words of ours: at a terminal folded between words at its width, in a pipe on the line they are on.

    What cannot be folded without being cut in two, a path or a pointer, stays whole.
    """
    stream = sys.stderr if err else sys.stdout
    if stream.isatty():
        text = folded(text, shutil.get_terminal_size().columns)
    typer.echo(text, err=err)


def folded(text: str, width: int) -> str:
    """Fold each line between words; what is left of it is indented by two columns more."""
    return "\n".join(_folded(line, width) for line in text.split("\n"))


def _folded(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    margin = line[: len(line) - len(line.lstrip())] + "  "
    fold = textwrap.TextWrapper(
        width, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    )
    return fold.fill(line)


def print_folded(console: Console, said: Text) -> None:
    """Print words of ours that have colours, folded as :func:`say` does, without a margin."""
    for line in said.split("\n", allow_blank=True):
        for part in line.divide(_breaks(line.plain, console.width)):
            part.rstrip()
            console.print(part, soft_wrap=True)


def _breaks(line: str, width: int) -> list[int]:
    """Say where a line is to be broken: in front of words that do not fit any more. No word is cut in two."""
    breaks, start = [], 0
    for place, word in enumerate(re.finditer(r"\S+", line)):
        if place and word.end() - start > width:
            start = word.start()
            breaks.append(start)
    return breaks


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
