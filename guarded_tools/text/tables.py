"""Tables for terminals and notebooks, laid out from the same description: no text in them can act, or hide.

A :class:`Table` is data: its columns, and rows of contents. :func:`to_html` makes of it an HTML fragment for a
notebook, without a script and without a link, and :func:`to_rich` what a rich console prints. Whoever describes a table
hands in text as it came, from models and servers too; whoever lays it out makes it harmless for the medium:

- HTML is escaped, and what is invisible is shown; line breaks stay, since a cell there may grow.
- On a terminal all of it stands on one line, what would move the cursor is shown as its escape, nothing is read as
  markup, and what is longer than its cell's ``limit`` is cut and says so.

A content of several pieces is a list of cells, each with a tone and a limit of its own, so that a name that is cut
takes nothing of the next one with it. Only :data:`BREAK`, this very object, begins a new line on a terminal: no text
that somebody else wrote can.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from guarded_tools.text.tones import PAGE, TERMINAL, Tone, fullness
from guarded_tools.text.visible import lines, plain
from guarded_tools.text.width import columns as width

if TYPE_CHECKING:
    import rich.table
    from rich.text import Text

_CSS: Final[Mapping[Tone, str]] = {
    **{tone: f"color:{colour};font-weight:600" for tone, colour in PAGE.items()},
    "quiet": "opacity:.75",
}
_CELL = "padding:.25em .9em .25em 0;text-align:left;vertical-align:top;border-bottom:1px solid #8884"
_TEXT = "direction:ltr;unicode-bidi:isolate"
# A page that is too narrow takes room from the long columns, between words, and leaves each a few words a line. Only a
# word that is longer than any that a person writes may be broken.
_SHORT = "white-space:pre"
_LONG = "white-space:pre-wrap;min-width:12em"
_SHORTEST = 28
_TOO_LONG = re.compile(r"\S{41,}")
_BREAKABLE = 20
_BAR = "display:inline-block;width:8em;height:.7em;margin-right:.6em;border:1px solid #8888;border-radius:2px"
_BLOCKS = 12


AS_IT_IS = 'class="tex2jax_ignore mathjax_ignore"'
"""Of the outermost element: JupyterLab typesets dollars in HTML as mathematics, and would show ``$1 %9999 $`` as 1."""


class Cell(NamedTuple):
    """A text, and how it is shown. ``share``, from 0 to 1, is drawn as a bar in front of it.

    ``limit`` is how many characters of it a terminal shows; a notebook shows all.
    """

    text: str
    tone: Tone = ""
    share: float | None = None
    limit: int = 2_000


BREAK: Final = Cell("\n")
"""Between two pieces of a content: the next one begins a new line."""

Content: TypeAlias = str | Cell | list[Cell]


class Table(NamedTuple):
    """What a table says. ``numbers`` are the columns that a terminal aligns on the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Content]]
    title: str = ""
    note: str = ""
    numbers: Collection[str] = ()


def _pieces(content: Content) -> list[Cell]:
    return content if isinstance(content, list) else [Cell(content) if isinstance(content, str) else content]


# For notebooks


def to_html(table: Table) -> str:
    """Lay out a table as an HTML fragment. All texts are escaped, and what is invisible in them is shown as such."""
    fits = [_is_short(column) for column in zip_longest(*table.rows, fillvalue="")]
    head = "".join(
        f'<th style="{_CELL};font-weight:600;white-space:nowrap">{escaped(column)}</th>' for column in table.columns
    )
    body = "".join(
        f"<tr>{''.join(_html_cell(content, short=fits[at]) for at, content in enumerate(row))}</tr>"
        for row in table.rows
    )
    below = f'<div style="{_CSS["quiet"]};margin-top:.4em">{escaped(table.note)}</div>' if table.note else ""
    return (
        f'<div {AS_IT_IS} style="font-size:.92em;margin:.4em 0">'
        f'<div style="font-weight:700;margin-bottom:.3em">{escaped(table.title)}</div>'
        f'<table style="border-collapse:collapse"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        f"{below}</div>"
    )


def _is_short(column: Sequence[Content]) -> bool:
    """Whether no line of any content is so long that it may have to be broken."""
    return all(
        width(line) <= _SHORTEST
        for content in column
        for line in "".join(lines(piece.text) for piece in _pieces(content)).split("\n")
    )


def _html_cell(content: Content, *, short: bool) -> str:
    pieces = _pieces(content)
    bars = "".join(_html_bar(piece.share) for piece in pieces if piece.share is not None)
    shown = ""
    for tone, alike in groupby(pieces, key=lambda piece: piece.tone):
        style = f"{_TEXT};{_CSS[tone]}" if tone else _TEXT
        shown += f'<span style="{style}">{"".join(_breakable(piece.text) for piece in alike)}</span>'
    return f'<td style="{_CELL};{_SHORT if short else _LONG}">{bars}{shown}</td>'


def _html_bar(share: float) -> str:
    share = min(max(share, 0.0), 1.0)
    filled = f"linear-gradient(90deg,{PAGE[fullness(share)]} {share:.0%},transparent {share:.0%})"
    return f'<span style="{_BAR};background:{filled}"></span>'


def escaped(text: str) -> str:
    """Escape a text for a page; what is invisible in it is shown, and line breaks stay."""
    return html.escape(lines(text))


def _breakable(text: str) -> str:
    """Escape a text in which words that are too long for any column may go on in the next line."""
    shown, parts, end = lines(text), [], 0
    for word in _TOO_LONG.finditer(shown):
        pieces = (word[0][at : at + _BREAKABLE] for at in range(0, len(word[0]), _BREAKABLE))
        parts += [html.escape(shown[end : word.start()]), "<wbr>".join(map(html.escape, pieces))]
        end = word.end()
    return "".join([*parts, html.escape(shown[end:])])


# For terminals


def to_rich(table: Table, *, framed: bool = True, headed: bool = True) -> rich.table.Table:
    """Lay out a table for a rich console: with lines around its cells, or as bare columns; with their names, or not.

    What is wide is folded.
    """
    from rich.table import Table as Layout
    from rich.text import Text

    style: dict[str, Any] = {} if framed else {"box": None, "pad_edge": False, "padding": (0, 2, 0, 0)}
    title = Text(plain(table.title), "table.title" if framed else "bold") if table.title else None
    layout = Layout(title=title, title_justify="left", show_header=headed, **style)
    for column in table.columns:
        layout.add_column(Text(plain(column)), justify="right" if column in table.numbers else "left", overflow="fold")
    for row in table.rows:
        layout.add_row(*map(to_text, row))
    return layout


def to_text(content: Content) -> Text:
    """Return one content as a rich text in which nothing acts."""
    from rich.text import Text

    said = Text()
    for piece in _pieces(content):
        if piece.share is not None:
            filled = min(max(math.ceil(piece.share * _BLOCKS), 0), _BLOCKS)
            colour = TERMINAL[fullness(piece.share)]
            said.append("█" * filled, colour)
            said.append("░" * (_BLOCKS - filled), f"{TERMINAL['quiet']} {colour}")
            said.append(" " if piece.text else "")
        said.append(piece.text if piece is BREAK else plain(piece.text, piece.limit), TERMINAL[piece.tone])
    return said
