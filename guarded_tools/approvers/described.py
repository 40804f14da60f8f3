"""A question as front ends of LangGraph show it: one plain line for their lists, and the card in a block of code."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from guarded_tools.approvers import card
from guarded_tools.text.redaction import mask_json
from guarded_tools.text.secret_shapes import MASK
from guarded_tools.text.visible import plain
from guarded_tools.text.width import columns, pieces
from guarded_tools.values import ApprovalRequest

SERVER_ASKS = "(elicitation)"
"""The rule of a question that a server asks in the middle of a call."""
CARD_WIDTH = 60
"""The columns of a card that stands beside the buttons of a page."""
_LINE_WIDTH = 100
_NAME, _VALUE = 60, 40
# What Markdown, HTML in it, or mathematics would make something of in the middle of a line.
_READ = re.compile(r"(?:[`*{}\[\]<>|~$&^]|\\(?![a-zA-Z0-9])|//|(?<![^\W_])_|_(?![^\W_]))+")
_LETTER = re.compile(r"[^\W\d_]")


def described(request: ApprovalRequest, refuse: str = "reject") -> str:
    """Write a question as Markdown of which nothing is read but one block of code; ``refuse`` is the page's word."""
    rows = [*card.rows(request), card.CardRow(refuse, "note", "to refuse")]
    if request.rule != SERVER_ASKS:  # there a response is an answer to the server
        rows.append(card.CardRow("it is the tool's answer to the model", "note", "if you respond"))
    # No line of a card can end the block.
    return f"{in_a_line(request)}\n\n```text\n{card.to_text(rows, CARD_WIDTH)}```"


def in_a_line(request: ApprovalRequest) -> str:
    """Name a call in at most 100 columns, as ``refund · financial · customer Ann, amount 500``.

    Secrets of a known shape are masked, and nothing is invisible. What would be read as Markdown is left out, as ``…``:
    the card has all of it.
    """
    said = ", ".join(f"{_bare(name, _NAME)} {_shown(value)}".rstrip() for name, value in _masked(request.args).items())
    line = " · ".join(filter(None, (_bare(request.tool, _NAME), request.risk, said)))
    line = line if _LETTER.match(line) else f"tool {line}"  # or it would begin a list
    return line if columns(line) <= _LINE_WIDTH else f"{pieces(line, _LINE_WIDTH - 2)[0]}…"


def _masked(args: Mapping[str, Any]) -> dict[str, Any]:
    masked: dict[str, Any] = mask_json(dict(args))
    return masked


def _shown(value: Any) -> str:
    if value == MASK:
        return "MASKED"
    if isinstance(value, str):
        return _bare(value, _VALUE)
    return "…" if isinstance(value, Mapping | list) and value else _bare(json.dumps(value), _VALUE)


def _bare(text: str, limit: int) -> str:
    cut = text if len(text) <= limit else f"{text[:limit]}…"
    return _READ.sub("…", plain(cut)).strip()
