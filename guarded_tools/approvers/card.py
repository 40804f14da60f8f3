"""What a human is shown of a call: as text, in rich and as HTML, from the same rows.

Strings appear as JSON literals in which nothing is hidden (:mod:`~guarded_tools.text.visible`), so that what is
shown says exactly what will run, and no row can pass for another.
"""

from __future__ import annotations

import difflib
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from guarded_tools.approvers.arguments import GOES_ON, REMARK, CardRow, Style, arguments, is_folded, written
from guarded_tools.text import strict_json
from guarded_tools.text.lookalikes import remarks
from guarded_tools.text.quantities import of_most, spoken
from guarded_tools.text.redaction import mask, mask_json
from guarded_tools.text.tables import AS_IT_IS
from guarded_tools.text.tones import PAGE
from guarded_tools.text.units import duration, window
from guarded_tools.text.visible import plain, visible
from guarded_tools.text.width import columns, pieces
from guarded_tools.values import ApprovalRequest, Usage, is_grave, widest_memory

__all__ = [
    "CardRow",
    "Style",
    "arguments",
    "diff",
    "durations",
    "editable",
    "is_folded",
    "parse_edit",
    "rows",
    "rows_to_html",
    "to_html",
    "to_rich",
    "to_text",
]

_GUTTER = "  │ "
_LONG = 12
_NARROW = 50
_LEAST = 8

# Arguments, edited


def editable(args: Mapping[str, Any]) -> str:
    """Write arguments as JSON to edit: the same visible literals, each string on one line."""
    text = json.dumps(dict(args), ensure_ascii=False, indent=2)
    return "\n".join(visible(line) for line in text.split("\n")) + "\n"


def parse_edit(text: str) -> dict[str, Any]:
    """Read edited arguments.

    Raises:
        ValueError: it is no JSON object, names a key twice, or holds NaN or infinity; the message says where.
    """
    try:
        value = strict_json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError("the arguments have to be a JSON object, { … }")  # noqa: TRY004 - one kind of error for callers
    return value


def diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[CardRow]:
    """Show how arguments were edited: every row of both that differs, and a little around it.

    What is new is shown in full; secrets of a known shape that were there before are masked. The order of keys says
    nothing, and is that of before.
    """
    shown = _veiled(dict(before), _in_order(after, before), mask_json(before))
    old, new = ([row.text for row in arguments(args, full=True)] for args in shown)
    rows: list[CardRow] = []
    for line in list(difflib.unified_diff(old, new, lineterm="", n=2))[2:]:
        if line.startswith("@@"):
            rows.append(CardRow("…", "quiet"))
        else:
            style: Style = "removed" if line[0] == "-" else "added" if line[0] == "+" else "argument"
            rows.append(CardRow(line if style == "added" else mask(line), style))
    return rows[1:] or [CardRow("nothing was changed", "quiet")]


def _in_order(after: Any, before: Any) -> Any:
    """Put keys in the order in which they stood before; new ones come last."""
    if isinstance(after, Mapping) and isinstance(before, Mapping):
        keys = [*(key for key in before if key in after), *(key for key in after if key not in before)]
        return {key: _in_order(after[key], before.get(key)) for key in keys}
    if isinstance(after, list) and isinstance(before, list):
        return [_in_order(*each) for each in zip(after, before, strict=False)] + after[len(before) :]
    return after


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


# The card


def rows(request: ApprovalRequest, *, full: bool = False) -> list[CardRow]:
    """All that a human is shown of a request, line by line; who and what is repeated below long arguments."""
    args, folded = written(request.args, full=full)
    who_and_what = [
        *_field("tool", plain(request.tool, 200), request.tool, "title"),
        CardRow(request.risk, "danger" if is_grave(request.risk) else "plain", "risk"),
    ]
    whose = [
        *_field("session", _said(request.session, 200), request.session),
        *_field("acting for", _said(request.grant or "", 200), request.grant or ""),
    ]
    return [
        *who_and_what,
        *_field("server", plain(request.server, 200), request.server),
        *_field("what it does", _said(request.description, 600), request.description, "quiet"),
        *_field("why you are asked", _said(request.reason, 2_000), request.reason),
        *_field("rule", _said(request.rule, 300), "", "quiet"),
        *whose,
        *(CardRow(_usage(usage), "quiet", "limit") for usage in request.usage[:8]),
        CardRow("", label="arguments"),
        *args,
        *([CardRow("some is FOLDED or MASKED: look at all of it before you decide", "note")] if folded else []),
        *([*who_and_what, *whose] if _screen_lines(args) > _LONG else []),
    ]


def _field(label: str, text: str, original: str, style: Style = "plain") -> list[CardRow]:
    """A row of its own, and a note for each word in it that may read as another; nothing where it is empty."""
    if not text:
        return []
    return [
        CardRow(text, style, label),
        *(CardRow(f"{REMARK}{remark}", "note") for remark in remarks(original[:2_000])),
    ]


def _screen_lines(written: Sequence[CardRow]) -> int:
    return sum(1 + len(row.text) // 70 for row in written)


def _said(text: str, limit: int) -> str:
    return plain(mask(text), limit)


def _usage(usage: Usage) -> str:
    whose = f"{plain(spoken(usage.counter), 120)}, {_said(usage.scope, 120)}"
    used = of_most(usage.counter, usage.used, usage.max, grouped=True)
    return f"{plain(used, 120)} used in {window(usage.window)}: {whose}"


def durations(request: ApprovalRequest) -> dict[str, str]:
    """What may be answered to "for how long?", in words that say what it covers."""
    span = duration(min(request.remember_for, 86_400))
    tool = plain(request.tool, 120)
    offers = {"same": f"these same arguments, for {span}", "tool": f"ANY arguments of {tool}, for {span}"}
    widest = widest_memory(request.risk, request.remember)
    return {} if widest == "never" else offers if widest == "tool" else {"same": offers["same"]}


def to_text(shown: Sequence[CardRow], width: int = 100) -> str:
    """Lay rows out as text of at most ``width`` columns. What belongs to an argument begins with a bar."""
    return "".join(f"{lead}{text}".rstrip() + "\n" for row in shown for lead, text in _wrapped(row, width))


def to_rich(shown: Sequence[CardRow], title: str = "A tool call waits for you", width: int = 100) -> RenderableType:
    """Lay rows out for a rich console of ``width`` columns. Nothing in them is read as markup.

    The frame has no right side: a line that is padded to it would be as wide as rich thinks, and not as the terminal.
    """
    frame = "yellow"
    said = pieces(title, max(width - 5, 1))[0]
    lines = [
        Text.assemble(("│ ", frame), (lead, "cyan" if row.label else "dim"), (text, _RICH[row.style]), no_wrap=True)
        for row in shown
        for lead, text in _wrapped(row, width - 2)
    ]
    top = Text(f"╭─ {said} ".ljust(width - 1, "─"), frame, no_wrap=True)
    return Group(top, *lines, Text("╰".ljust(width - 1, "─"), frame, no_wrap=True))


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
    "danger": f"font-weight:bold;color:{PAGE['bad']}",
    "plain": "",
    "quiet": "opacity:.75",
    "argument": "",
    "note": f"color:{PAGE['warn']}",
    "removed": f"color:{PAGE['bad']}",
    "added": f"color:{PAGE['good']}",
}
_BOX = "border:1px solid #c90;border-radius:4px;padding:.6em 1em;margin:.4em 0"
# The line above each row, and the indent of what wraps, keep padding in a value from passing for a row of its own. The
# bar in front of what belongs to an argument is no text: nobody copies it, and no value can draw it.
_APART = "border-top:1px dotted #8884;text-indent:-8ch;"
_ROW = "font-family:monospace;white-space:pre-wrap;overflow-wrap:anywhere;direction:ltr;unicode-bidi:isolate;" + _APART
_FIELD = "padding-left:8ch;"
_BAR = "margin-left:2ch;border-left:2px solid #8888;padding-left:9ch;"
# What goes on with a string: to the eye a row of its own, to whoever copies no new line.
_ON = (
    "display:inline-block;vertical-align:top;box-sizing:border-box;width:calc(100% + 8ch);margin-left:-8ch;"
    "padding-left:8ch;" + _APART
)
_OURS = "-webkit-user-select:none;user-select:none"


def _label(row: CardRow, width: int = 100) -> str:
    if not row.label:
        return _GUTTER
    return f"{row.label + ':':<19}" if width >= _NARROW else f"{row.label}: "


def _wrapped(row: CardRow, width: int) -> Iterator[tuple[str, str]]:
    """Break a row before any screen would, so that what spills over is marked as such."""
    label = _label(row, width)
    room = max(width - len(label), _LEAST)
    parts = [row.text] if columns(row.text) <= room else pieces(row.text, room - len(GOES_ON))
    for at, piece in enumerate(parts):
        yield (label if at == 0 else _GUTTER), (piece if at == 0 else f"{GOES_ON}{piece}")


def _html_rows(shown: Sequence[CardRow]) -> str:
    """Lay out rows of which a reader copies what is theirs: arguments are JSON, and a string in them is one line."""
    divs: list[str] = []
    before: Style = "plain"
    for row in shown:
        ours, text = "", _label(row) + row.text if row.label else row.text
        goes_on = row.style == before == "argument" and text.lstrip(" ").startswith(GOES_ON)
        if goes_on:
            ours, text = text[: (at := text.index(GOES_ON) + len(GOES_ON))], text[at:]
        elif row.style == "note" and text.lstrip(" ").startswith(REMARK):
            ours, text = text, ""
        inner = (f'<span style="{_OURS}">{html.escape(ours)}</span>' if ours else "") + html.escape(text)
        if goes_on:
            divs[-1] += f'<span style="{_ON}">{inner}</span>'
        else:
            divs.append(f'<div style="{_ROW}{_FIELD if row.label else _BAR}{_CSS[row.style]}">{inner}')
        before = row.style
    return "".join(f"{div}</div>" for div in divs)
