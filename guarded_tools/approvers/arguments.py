"""Arguments as rows: JSON, a row a line, in which nothing is hidden, and which is never too long to be read.

A card of tens of thousands of rows hides what it shows: the tool's name is beyond the scrollback, and what is left on
the screen is what the model put last. So folding is a budget for all of the arguments. Each container shares its rows
out among its entries: small entries are shown whole, what they leave is shared by the large ones, and an entry that
gets one row says on it that it is FOLDED. A note says so wherever something is left out, and ``full=True`` leaves out
nothing. Secrets of a known shape are masked likewise; where something goes is not a secret, so a host that stood in
what was masked is named below it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from guarded_tools.text.lookalikes import remarks
from guarded_tools.text.redaction import destinations, mask_json
from guarded_tools.text.secret_shapes import MASK
from guarded_tools.text.visible import plain, quoted, visible

Style: TypeAlias = Literal["title", "danger", "plain", "quiet", "argument", "note", "removed", "added"]

# A line of a JSON literal, up to and with its ``\n``.
_LINE = re.compile(r"(?:[^\\]++|\\[^n])++(?:\\n)?|\\n")
_HEAD, _TAIL = 600, 200
_ITEMS = 40
_DEPTH = 30
_ROWS: Final = 160
_WIDE: Final = 80
_LONG_KEY: Final = 200
_PLACES: Final = 8
GOES_ON: Final = "↳ "
"""No row begins with it but one that goes on with the string of the row above."""
REMARK: Final = "^ "
"""Of the notes, those begin with it that say how what stands above them may be misread."""


class CardRow(NamedTuple):
    """One line of a card: what it is about, and its harmless text."""

    text: str
    style: Style = "plain"
    label: str = ""


def arguments(args: Mapping[str, Any], *, full: bool = False) -> list[CardRow]:
    r"""Write arguments as JSON, one row a line; a line break in a string begins a new row after its ``\n``.

    Without ``full``, what would take more than some 160 rows is folded, secrets of a known shape are masked, and notes
    say so.
    """
    return written(args, full=full)[0]


def is_folded(args: Mapping[str, Any]) -> bool:
    """Whether :func:`arguments` leaves something out unless it is asked for all."""
    return written(args, full=False)[1]


def written(args: Mapping[str, Any], *, full: bool) -> tuple[list[CardRow], bool]:
    """Return what :func:`arguments` does, and whether something was left out."""
    whole = dict(args)
    shown = whole if full else mask_json(whole)
    writer = _Writer(full=full)
    writer.value("", shown, budget=_ROWS)
    masked = shown != whole
    if masked:
        writer.rows.append(CardRow(f"{MASK} stands for what looks like a secret and is MASKED", "note"))
        there = destinations(json.dumps(shown, ensure_ascii=False))
        hidden = [place for place in destinations(json.dumps(whole, ensure_ascii=False)) if place not in there]
        said = [plain(place, 120) for place in hidden[:_PLACES]]
        said += [f"{len(hidden) - _PLACES:,} more"] if len(hidden) > _PLACES else []
        writer.rows += [CardRow(f"where {MASK} stands, this was named: {', '.join(said)}", "note")] if hidden else []
        writer.rows += [CardRow(f"  {REMARK}{remark}", "note") for remark in remarks(" ".join(hidden))]
    return writer.rows, masked or writer.folded


def _cost(value: Any, most: int) -> int:
    """About how many rows a value takes, counted no further than ``most``."""
    if isinstance(value, str):
        return min(most, 1 + value.count("\n") + len(value) // _WIDE)
    entries = value.items() if isinstance(value, Mapping) else ((0, item) for item in value) if _is_open(value) else ()
    total = 2 if entries else 1
    for key, item in entries:
        if total >= most:
            break
        total += _cost(item, most - total) + len(str(key)) // _WIDE
    return min(total, most)


def _is_open(value: Any) -> bool:
    """Whether a list takes a row an entry; one of numbers is one row."""
    return isinstance(value, list) and any(isinstance(item, str | list | Mapping) for item in value)


def _shares(costs: Sequence[int], budget: int) -> list[int]:
    """Share rows out: who needs little gets it whole, the others the same part of the rest, and everybody one."""
    shares = [1] * len(costs)
    left = budget
    for place, at in enumerate(sorted(range(len(costs)), key=costs.__getitem__)):
        shares[at] = max(1, min(costs[at], left // (len(costs) - place)))
        left -= shares[at]
    return shares


class _Writer:
    """Writes a JSON value row by row. ``folded``: something was left out."""

    def __init__(self, *, full: bool) -> None:
        self.full = full
        self.rows: list[CardRow] = []
        self.folded = False

    def value(self, name: str, value: Any, comma: str = "", depth: int = 0, budget: int = _ROWS) -> None:
        lead = "  " * depth + name
        if isinstance(value, str):
            self._string(lead, value, comma, depth, budget)
        elif isinstance(value, Mapping) and value and depth < _DEPTH:
            self._container(lead, list(value.items()), ("{", "}"), comma, depth, budget)
        elif _is_open(value) and depth < _DEPTH:
            self._container(lead, [(None, item) for item in value], ("[", "]"), comma, depth, budget)
        else:
            self._lines(lead, [visible(json.dumps(value, ensure_ascii=False))], comma, depth, budget)

    def _container(  # noqa: PLR0917 - where it stands, and what it holds
        self,
        lead: str,
        items: Sequence[tuple[str | None, Any]],
        brackets: tuple[str, str],
        comma: str,
        depth: int,
        budget: int,
    ) -> None:
        room = budget - 2
        needed = 0 if self.full else sum(_cost(item, budget) for _, item in items[: budget + 1])
        if needed > room and room < min(len(items), 2):
            text = f"{lead}{brackets[0]} … {_many(len(items))} FOLDED here … {brackets[1]}{comma}"
            self._fold(CardRow(text, "note"))
            return
        self.rows.append(CardRow(f"{lead}{brackets[0]}", "argument"))
        # Of a list rather a few entries whole than many folded; of an object every key that there is room for.
        each = 1 if brackets[0] == "{" or self.full else _cost(items[0][1], max(room // 2, 1))
        most = max(2, min(_ITEMS, (room - 1) // each))
        fold = range(0) if self.full or len(items) <= most else range(most - most // 4, len(items) - most // 4)
        seen = [at for at in range(len(items)) if at not in fold]
        shares = dict(zip(seen, self._shared([items[at][1] for at in seen], room - bool(fold)), strict=True))
        for at in seen:
            if fold and at == fold.stop:
                self._fold(self._note(f"… {len(fold):,} of {_many(len(items))} FOLDED here", depth))
            key, item = items[at]
            self.value(self._key(key, depth), item, "," if at < len(items) - 1 else "", depth + 1, shares[at])
        self.rows.append(CardRow(f"{'  ' * depth}{brackets[1]}{comma}", "argument"))

    def _shared(self, items: Sequence[Any], room: int) -> list[int]:
        return [_ROWS] * len(items) if self.full else _shares([_cost(item, room) for item in items], room)

    def _key(self, key: str | None, depth: int) -> str:
        if key is None:
            return ""
        if len(key) > _LONG_KEY and not self.full:
            self._fold(
                self._note(f"of the next key, {len(key) - _LONG_KEY:,} of {len(key):,} characters are FOLDED", depth)
            )
            key = f"{key[:_LONG_KEY]}…"
        for remark in remarks(key):
            self._put_note(f"{REMARK}of the next key: {remark}", depth)
        return f"{quoted(key)}: "

    def _string(self, lead: str, value: str, comma: str, depth: int, budget: int) -> None:
        lines = _LINE.findall(json.dumps(value, ensure_ascii=False))
        if lines[-1] == '"' and len(lines) > 1:
            lines[-2:] = [lines[-2] + '"']
        self._lines(lead, [visible(line) for line in lines], comma, depth, budget)
        for remark in remarks(value):
            self._put_note(f"{REMARK}{remark}", depth)

    def _lines(self, lead: str, lines: list[str], comma: str, depth: int, budget: int) -> None:
        size = sum(map(len, lines))
        fits = size <= budget * _WIDE and len(lines) <= budget
        if self.full or (fits and size <= 2 * (_HEAD + _TAIL) and len(lines) <= _ITEMS):
            self._put(lead, [*lines[:-1], lines[-1] + comma], depth)
            return
        short = budget < (_HEAD + _TAIL) // _WIDE
        head = _cut(lines, _WIDE if short else _HEAD, 1 if short else 12)
        tail = _cut([line[::-1] for line in lines[::-1]], _WIDE // 2 if short else _TAIL, 1 if short else 12)[::-1]
        left_out = size - sum(map(len, head)) - sum(map(len, tail))
        if left_out <= 0:
            self._put(lead, [*lines[:-1], lines[-1] + comma], depth)
            return
        self._put(lead, head, depth)
        self._fold(self._note(f"… {left_out:,} of {size:,} characters FOLDED here", depth))
        tail = [line[::-1] for line in tail]
        self._put(f"{'  ' * (depth + 1)}{GOES_ON}", [*tail[:-1], tail[-1] + comma], depth)

    def _put(self, lead: str, lines: Sequence[str], depth: int) -> None:
        goes_on = f"{'  ' * (depth + 1)}{GOES_ON}"
        self.rows.extend(CardRow(f"{goes_on if at else lead}{line}", "argument") for at, line in enumerate(lines))

    def _fold(self, row: CardRow) -> None:
        self.folded = True
        self.rows.append(row)

    def _put_note(self, text: str, depth: int) -> None:
        self.rows.append(self._note(text, depth))

    @staticmethod
    def _note(text: str, depth: int) -> CardRow:
        return CardRow(f"{'  ' * (depth + 1)}{text}", "note")


def _many(entries: int) -> str:
    return "1 entry" if entries == 1 else f"{entries:,} entries"


def _cut(lines: Sequence[str], size: int, most: int) -> list[str]:
    """The first ``size`` characters of lines, in at most ``most`` of them."""
    kept: list[str] = []
    for line in lines[:most]:
        kept.append(line[:size])
        size -= len(line)
        if size <= 0:
            break
    return kept
