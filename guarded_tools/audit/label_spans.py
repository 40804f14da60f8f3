"""How long a session carried each label, as its audit tells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from guarded_tools.audit.read import Record, when


class Span(NamedTuple):
    """How long a session carried a label: from the call of ``tool`` that brought it, until it was taken away, if so."""

    label: str
    tool: str
    first: float
    last: float | None = None


def carried_over(records: Iterable[Record], session: str) -> list[Span]:
    """List what a session carried, in the order in which it came: told from admitted calls, clearings and resets."""
    carried: dict[str, Span] = {}
    ended: list[Span] = []
    for record in records:
        kind, moment = record.get("kind"), when(record)
        named = [str(label) for label in record.get("labels") or ()]
        if kind == "admitted" and record.get("session") == session:
            for label in named:
                carried.setdefault(label, Span(label, str(record.get("tool", "")), moment))
        elif kind == "control" and record.get("rule") in ("(clear)", "(reset)"):
            said = str(record.get("message", ""))
            all_of_it = f"session:{session} " in said or "all counters" in said
            mine = record.get("session") == session if record["rule"] == "(clear)" else all_of_it
            gone = named if record["rule"] == "(clear)" else list(carried)
            ended += [carried.pop(label)._replace(last=moment) for label in gone if mine and label in carried]
    return sorted([*ended, *carried.values()], key=lambda span: span.first)
