"""What became of a call, as a colour: the one table of outcomes, for terminals, notebooks and pictures.

A **tone** says what a reader should make of something; each medium has its colour for it. ``good``: it ran, or may.
``warn``: look at it, for it failed, may have run, or is not over. ``bad``: it was refused. ``quiet``: it matters less.
An outcome that is not in the table was written by another version, or by another hand: it is shown as bad.

In a picture outcomes stand beside each other, and their order is that of :data:`OUTCOMES`: what ran first, what was
refused last. There each has a colour of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

Tone: TypeAlias = Literal["", "good", "warn", "bad", "quiet"]


class Look(NamedTuple):
    """The tone of an outcome, and its own colour in a picture."""

    tone: Tone
    colour: str


OUTCOMES: Final[Mapping[str, Look]] = {
    "ok": Look("good", "#4c9f70"),
    "error": Look("warn", "#e3b23c"),
    "never_ran": Look("warn", "#f0d58c"),
    "unknown": Look("warn", "#a66a2c"),
    "responded": Look("bad", "#4f86c6"),
    "suspended": Look("warn", "#9fb8d3"),
    "open": Look("warn", "#b8b8b8"),
    "expired": Look("quiet", "#d6cdb8"),
    "limited": Look("bad", "#7b4fa3"),
    "rejected": Look("bad", "#d98032"),
    "unanswered": Look("bad", "#7f8c8d"),
    "denied": Look("bad", "#c0392b"),
    "failed_closed": Look("bad", "#2c2c2c"),
}
"""Every outcome of a call; ``open`` for one of which none is known, ``expired`` for a question that nobody answered."""
EFFECTS: Final[Mapping[str, Tone]] = {"allow": "good", "ask": "warn", "deny": "bad"}
"""The tone of what a policy says of a call."""
TERMINAL: Final[Mapping[Tone, str]] = {"": "", "good": "green", "warn": "yellow", "bad": "red", "quiet": "dim"}
"""How rich writes each tone."""
PICTURE: Final[Mapping[Tone, str]] = {"good": "#4c9f70", "warn": "#e3b23c", "bad": "#c0392b"}
# The text around it is dark on a light page and light on a dark one: mixed with its colour, each can be read on both.
PAGE: Final[Mapping[Tone, str]] = {
    "good": "color-mix(in srgb, var(--jp-success-color1, #388e3c) 60%, currentColor)",
    "warn": "color-mix(in srgb, var(--jp-warn-color1, #f57c00) 45%, currentColor)",
    "bad": "color-mix(in srgb, var(--jp-error-color1, #d32f2f) 60%, currentColor)",
}
"""How a notebook's page writes each tone: in its theme's own colour, or in ours where it names none."""

_OTHER: Final = Look("bad", "#d64545")
_NEARLY_FULL: Final = 0.75


def look(outcome: str) -> Look:
    """Return how an outcome is shown, be it one that is not known here."""
    return OUTCOMES.get(outcome, _OTHER)


def share(used: int, most: int) -> float:
    """Return how full a limit is, from 0.0 to 1.0 and beyond; one that allows nothing is full."""
    return used / most if most > 0 else 1.0


def fullness(part: float) -> Tone:
    """Return the tone of a limit that is so full; from three quarters on it is worth a look."""
    return "bad" if part >= 1 else "warn" if part >= _NEARLY_FULL else "good"
