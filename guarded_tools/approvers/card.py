"""What a human is shown of a call: as text, in rich and as HTML, from the same rows.

Strings appear as JSON literals in which nothing is hidden (:mod:`~guarded_tools.text.visible`), so that what is
shown says exactly what will run, and no row can pass for another.
"""

from __future__ import annotations

import difflib
import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from rich.cells import cell_len, chop_cells
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from guarded_tools.text.redaction import MASK, mask, mask_json
from guarded_tools.text.tables import AS_IT_IS
from guarded_tools.text.visible import plain, quoted, remarks, visible
from guarded_tools.values import ApprovalRequest, Usage, is_grave, widest_memory

Style: TypeAlias = Literal["title", "danger", "plain", "quiet", "argument", "note", "removed", "added"]

# A line of a JSON literal, up to and with its ``\n``.
_LINE = re.compile(r"(?:[^\\]++|\\[^n])++(?:\\n)?|\\n")
_HEAD, _TAIL = 600, 200
_ITEMS = 40
_DEPTH = 30
_GUTTER = "  │ "
_GOES_ON = "↳ "  # no row begins with it but one that goes on with the string of the row above


class CardRow(NamedTuple):
    """One line of a card: what it is about, and its harmless text."""

    text: str
    style: Style = "plain"
    label: str = ""


# Arguments


def arguments(args: Mapping[str, Any], *, full: bool = False) -> list[CardRow]:
    r"""Write arguments as JSON, one row a line; a line break in a string begins a new row after its ``\n``.

    Without ``full``, long strings and long lists are folded in the middle, secrets of a known shape are masked, and
    notes say so.
    """
    writer = _Writer(full=full)
    whole = dict(args)
    shown = whole if full else mask_json(whole)
    writer.value("", shown)
    if shown != whole:
        writer.rows.append(CardRow(f"{MASK} stands for what looks like a secret and is MASKED", "note"))
    return writer.rows


def is_folded(args: Mapping[str, Any]) -> bool:
    """Whether :func:`arguments` leaves something out unless it is asked for all."""
    return arguments(args) != arguments(args, full=True)


def editable(args: Mapping[str, Any]) -> str:
    """Write arguments as JSON to edit: the same visible literals, each string on one line."""
    text = json.dumps(dict(args), ensure_ascii=False, indent=2)
    return "\n".join(visible(line) for line in text.split("\n")) + "\n"


def parse_edit(text: str) -> dict[str, Any]:
    """Read edited arguments.

    Raises:
        ValueError: it is no JSON object, names a key twice, or holds NaN or infinity; the message says where.
    """

    def once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        seen = dict(pairs)
        if len(seen) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"the key {quoted(twice)} appears twice")
        return seen

    def no_constant(name: str) -> Any:
        raise ValueError(f"{name} is no JSON number")

    try:
        value = json.loads(text, object_pairs_hook=once, parse_constant=no_constant)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError("the arguments have to be a JSON object, { … }")  # noqa: TRY004 - one kind of error for callers
    return value


def diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[CardRow]:
    """Show how arguments were edited: every row of both that differs, and a little around it.

    What is new is shown in full; secrets of a known shape that were there before are masked.
    """
    shown = _veiled(dict(before), dict(after), mask_json(before))
    old, new = ([row.text for row in arguments(args, full=True)] for args in shown)
    rows: list[CardRow] = []
    for line in list(difflib.unified_diff(old, new, lineterm="", n=2))[2:]:
        if line.startswith("@@"):
            rows.append(CardRow("…", "quiet"))
        else:
            style: Style = "removed" if line[0] == "-" else "added" if line[0] == "+" else "argument"
            rows.append(CardRow(line if style == "added" else mask(line), style))
    return rows[1:] or [CardRow("nothing was changed", "quiet")]


def _veiled(before: Any, after: Any, masked: Any) -> tuple[Any, Any]:
    """Both sides of an edit with secrets masked but for what is new; they never look alike where they differ."""
    if json.dumps(before) == json.dumps(after):
        return masked, masked
    if isinstance(before, Mapping) and isinstance(after, Mapping) and isinstance(masked, Mapping):
        veils = {key: next(iter(mask_json({key: value}).values())) for key, value in before.items()}
        pairs = {key: _veiled(before[key], after[key], veils[key]) for key in before if key in after}
        return (
            {key: pairs[key][0] if key in pairs else veils[key] for key in before},
            {key: pairs[key][1] if key in pairs else after[key] for key in after},
        )
    if isinstance(before, list) and isinstance(after, list) and isinstance(masked, list):
        both = [_veiled(*each) for each in zip(before, after, masked, strict=False)]
        size = len(both)
        return [one for one, _ in both] + masked[size:], [other for _, other in both] + after[size:]
    return (f"{masked} (MASKED)" if masked == after and masked != before else masked), after


class _Writer:
    """Writes a JSON value row by row."""

    def __init__(self, *, full: bool) -> None:
        self.full = full
        self.rows: list[CardRow] = []

    def value(self, name: str, value: Any, comma: str = "", depth: int = 0) -> None:
        lead = "  " * depth + name
        if isinstance(value, str):
            self._string(lead, value, comma, depth)
        elif isinstance(value, Mapping) and value and depth < _DEPTH:
            items = [(f"{quoted(key)}: ", item) for key, item in value.items()]
            self._container(lead, items, ("{", "}"), comma, depth)
        elif (
            isinstance(value, list) and depth < _DEPTH and any(isinstance(item, str | list | Mapping) for item in value)
        ):
            self._container(lead, [("", item) for item in value], ("[", "]"), comma, depth)
        else:
            self._lines(lead, [visible(json.dumps(value, ensure_ascii=False))], comma, depth)

    def _container(
        self, lead: str, items: Sequence[tuple[str, Any]], brackets: tuple[str, str], comma: str, depth: int
    ) -> None:
        self.rows.append(CardRow(f"{lead}{brackets[0]}", "argument"))
        last = len(items) - 1
        fold = range(0) if self.full or len(items) <= _ITEMS else range(_ITEMS - 5, len(items) - 5)
        for at, (name, item) in enumerate(items):
            if at not in fold:
                self.value(name, item, "," if at < last else "", depth + 1)
            elif at == fold.start:
                self._note(f"… {len(fold):,} of {len(items):,} entries FOLDED here", depth)
        self.rows.append(CardRow(f"{'  ' * depth}{brackets[1]}{comma}", "argument"))

    def _string(self, lead: str, value: str, comma: str, depth: int) -> None:
        lines = _LINE.findall(json.dumps(value, ensure_ascii=False))
        if lines[-1] == '"' and len(lines) > 1:
            lines[-2:] = [lines[-2] + '"']
        self._lines(lead, [visible(line) for line in lines], comma, depth)
        for remark in remarks(value):
            self._note(f"^ {remark}", depth)

    def _lines(self, lead: str, lines: list[str], comma: str, depth: int) -> None:
        size = sum(map(len, lines))
        if self.full or (size <= 2 * (_HEAD + _TAIL) and len(lines) <= _ITEMS):
            self._put(lead, [*lines[:-1], lines[-1] + comma], depth)
            return
        head = _cut(lines, _HEAD)
        tail = [line[::-1] for line in _cut([line[::-1] for line in lines[::-1]], _TAIL)][::-1]
        left_out = size - sum(map(len, head)) - sum(map(len, tail))
        self._put(lead, head, depth)
        self._note(f"… {left_out:,} of {size:,} characters FOLDED here", depth)
        self._put(f"{'  ' * (depth + 1)}{_GOES_ON}", [*tail[:-1], tail[-1] + comma], depth)

    def _put(self, lead: str, lines: Sequence[str], depth: int) -> None:
        goes_on = f"{'  ' * (depth + 1)}{_GOES_ON}"
        self.rows.extend(CardRow(f"{goes_on if at else lead}{line}", "argument") for at, line in enumerate(lines))

    def _note(self, text: str, depth: int) -> None:
        self.rows.append(CardRow(f"{'  ' * (depth + 1)}{text}", "note"))


def _cut(lines: Sequence[str], size: int) -> list[str]:
    """The first ``size`` characters of lines, in at most a dozen of them."""
    kept: list[str] = []
    for line in lines[:12]:
        kept.append(line[:size])
        size -= len(line)
        if size <= 0:
            break
    return kept


# The card


def rows(request: ApprovalRequest, *, full: bool = False) -> list[CardRow]:
    """All that a human is shown of a request, line by line."""
    grant = f", acting for {_said(request.grant, 200)}" if request.grant else ""
    shown = [
        CardRow(plain(request.tool, 200), "title", "tool"),
        CardRow(request.risk, "danger" if is_grave(request.risk) else "plain", "risk"),
        CardRow(plain(request.server, 200), label="server"),
        CardRow(_said(request.description, 600), "quiet", "what it does"),
        CardRow(_said(request.reason, 2_000), label="why you are asked"),
        CardRow(_said(request.rule, 300), "quiet", "rule"),
        CardRow(_said(request.session, 200) + grant, label="session"),
        *(CardRow(_usage(usage), "quiet", "limit") for usage in request.usage[:8]),
    ]
    folded = [CardRow("some is FOLDED or MASKED: look at all of it before you decide", "note")]
    return [
        *(row for row in shown if row.text),
        CardRow("", label="arguments"),
        *arguments(request.args, full=full),
        *(folded if not full and is_folded(request.args) else []),
    ]


def _said(text: str, limit: int) -> str:
    return plain(mask(text), limit)


def _usage(usage: Usage) -> str:
    whose = f"{plain(usage.counter, 120)}, {_said(usage.scope, 120)}"
    return f"{usage.used:,} of {usage.max:,} used in {usage.window:,} s: {whose}"


def durations(request: ApprovalRequest) -> dict[str, str]:
    """What may be answered to "for how long?", in words that say what it covers."""
    seconds = min(request.remember_for, 86_400)
    size, unit = (seconds, "second") if seconds % 60 else (seconds / 60, "minute")
    span = f"{size:g} {unit}{'' if size == 1 else 's'}"
    tool = plain(request.tool, 120)
    offers = {"same": f"these same arguments, for {span}", "tool": f"ANY arguments of {tool}, for {span}"}
    widest = widest_memory(request.risk, request.remember)
    return {} if widest == "never" else offers if widest == "tool" else {"same": offers["same"]}


def to_text(shown: Sequence[CardRow], width: int = 100) -> str:
    """Lay rows out as text of at most ``width`` columns. What belongs to an argument begins with a bar."""
    return "".join(f"{lead}{text}".rstrip() + "\n" for row in shown for lead, text in _wrapped(row, width))


def to_rich(shown: Sequence[CardRow], title: str = "A tool call waits for you", width: int = 100) -> RenderableType:
    """Lay rows out for a rich console of ``width`` columns. Nothing in them is read as markup."""
    lines = [
        Text.assemble((lead, "cyan" if row.label else "dim"), (text, _RICH[row.style]), no_wrap=True)
        for row in shown
        for lead, text in _wrapped(row, width - 4)
    ]
    return Panel(Group(*lines), title=Text(title), title_align="left", border_style="yellow", width=width)


def to_html(request: ApprovalRequest) -> str:
    """Lay a request out as an HTML fragment: no script, no link, no attribute that holds anything of the call."""
    folded = is_folded(request.args)
    everything = _html_rows(arguments(request.args, full=True)) if folded else ""
    more = f"<details><summary>Show all arguments in full</summary>{everything}</details>" if folded else ""
    return rows_to_html(rows(request), "A tool call waits for you", more)


def rows_to_html(shown: Sequence[CardRow], title: str, more: str = "") -> str:
    """Lay rows out as an HTML fragment, as :func:`to_html` does. ``more`` is HTML to put below them."""
    return f'<div {AS_IT_IS} style="{_BOX}"><b>{html.escape(title)}</b>{_html_rows(shown)}{more}</div>'


_RICH: Mapping[Style, str] = {
    "title": "bold",
    "danger": "bold red",
    "plain": "",
    "quiet": "dim",
    "argument": "",
    "note": "yellow",
    "removed": "red",
    "added": "green",
}
_CSS: Mapping[Style, str] = {
    "title": "font-weight:bold",
    "danger": "font-weight:bold;color:#b00020",
    "plain": "",
    "quiet": "opacity:.7",
    "argument": "",
    "note": "color:#8a6d00",
    "removed": "color:#b00020",
    "added": "color:#006b2d",
}
_BOX = "border:1px solid #c90;border-radius:4px;padding:.6em 1em"
# The line above each row, and the indent of what wraps, keep padding in a value from passing for a row of its own.
_ROW = (
    "font-family:monospace;white-space:pre-wrap;overflow-wrap:anywhere;direction:ltr;unicode-bidi:isolate;"
    "border-top:1px dotted #8884;padding-left:8ch;text-indent:-8ch;"
)


def _label(row: CardRow) -> str:
    return f"{row.label + ':':<19}" if row.label else _GUTTER


def _wrapped(row: CardRow, width: int) -> Iterator[tuple[str, str]]:
    """Break a row where the screen would, so that what spills over is marked as such."""
    room = max(width - len(_label(row)), 20)
    pieces = chop_cells(row.text, room - len(_GOES_ON)) if cell_len(row.text) > room else [row.text]
    for at, piece in enumerate(pieces):
        yield (_label(row) if at == 0 else _GUTTER), (piece if at == 0 else f"{_GOES_ON}{piece}")


def _html_rows(shown: Sequence[CardRow]) -> str:
    return "".join(f'<div style="{_ROW}{_CSS[row.style]}">{html.escape(_label(row) + row.text)}</div>' for row in shown)
