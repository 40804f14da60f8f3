"""Tables as HTML fragments for notebooks: no script, no link, and no text that could become either."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias

from guarded_tools.text.visible import lines

Tone: TypeAlias = Literal["", "good", "warn", "bad", "quiet"]

# Colours of middle lightness and see-through lines, which read on light and on dark pages.
_COLOURS: dict[Tone, str] = {
    "good": "color:#2a9d5c;font-weight:600",
    "warn": "color:#c98500;font-weight:600",
    "bad": "color:#d64545;font-weight:600",
    "quiet": "opacity:.65",
}
_CELL = "padding:.25em .9em .25em 0;text-align:left;vertical-align:top;border-bottom:1px solid #8884"
_TEXT = "white-space:pre-wrap;overflow-wrap:anywhere;direction:ltr;unicode-bidi:isolate"
_BAR = "display:inline-block;width:8em;height:.7em;margin-right:.6em;border:1px solid #8888;border-radius:2px"
_FULLNESS = ((1.0, "#d64545"), (0.75, "#c98500"), (0.0, "#2a9d5c"))


AS_IT_IS = 'class="tex2jax_ignore mathjax_ignore"'
"""Of the outermost element: JupyterLab typesets dollars in HTML as mathematics, and would show ``$1 %9999 $`` as 1."""


class Cell(NamedTuple):
    """A cell with more to it than its text. ``share``, from 0 to 1, is drawn as a bar in front of it."""

    text: str
    tone: Tone = ""
    share: float | None = None


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str | Cell]], note: str = "") -> str:
    """Lay out a table. All texts are escaped, and what is invisible in them is shown as such."""
    head = "".join(f'<th style="{_CELL};font-weight:600">{_escape(column)}</th>' for column in columns)
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
    below = f'<div style="{_COLOURS["quiet"]};margin-top:.4em">{_escape(note)}</div>' if note else ""
    return (
        f'<div {AS_IT_IS} style="font-size:.92em;margin:.4em 0">'
        f'<div style="font-weight:700;margin-bottom:.3em">{_escape(title)}</div>'
        f'<table style="border-collapse:collapse"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        f"{below}</div>"
    )


def _cell(cell: str | Cell) -> str:
    cell = Cell(cell) if isinstance(cell, str) else cell
    style = f"{_TEXT};{_COLOURS[cell.tone]}" if cell.tone else _TEXT
    bar = "" if cell.share is None else _bar(cell.share)
    return f'<td style="{_CELL}">{bar}<span style="{style}">{_escape(cell.text)}</span></td>'


def _bar(share: float) -> str:
    share = min(max(share, 0.0), 1.0)
    colour = next(colour for least, colour in _FULLNESS if share >= least)
    filled = f"linear-gradient(90deg,{colour} {share:.0%},transparent {share:.0%})"
    return f'<span style="{_BAR};background:{filled}"></span>'


def _escape(text: str) -> str:
    return html.escape(lines(text))
