"""What comes of a replay: what became of a call, what would have become of it, and what that makes of the two."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

from guarded_tools.authoring.recorded.events import RecordedEvent

Category: TypeAlias = Literal[
    "newly_allowed",  # refused before, or asked about, and would run with nobody asked
    "asked_instead",  # refused before, and a human would be asked
    "newly_asked",  # ran with nobody asked, and a human would be asked
    "newly_denied",  # ran, or a human was asked, and would be refused
    "unjudged",  # too little was recorded to tell
    "same",
    "untold",  # nothing tells what became of it
    "apart",  # refused by no policy: halted, drifted from its pin, or the guard could not do its work
]
WIDER: Final = ("newly_allowed", "asked_instead")
"""What a change of the policy lets through that was held before."""
CATEGORIES: Final[tuple[Category, ...]] = (
    "newly_allowed", "asked_instead", "newly_asked", "newly_denied", "unjudged", "same", "untold", "apart",
)  # fmt: skip


class Fate(NamedTuple):
    """What became, or would have become, of a call.

    ``asked`` is also what a human refused then, and ``unjudged`` what cannot be told. ``counter`` names the limit where
    one refused it. ``ran``: whether it was let through in the end.
    """

    effect: Literal["allow", "ask", "deny", "unjudged", "untold", "apart"]
    rule: str = ""
    message: str = ""
    counter: str = ""
    ran: bool = False


class Compared(NamedTuple):
    """One call with both its fates. ``time`` is when it came, in seconds since the epoch."""

    time: float
    session: str
    grant: str | None
    tool: str
    call_id: str | None
    before: Fate
    after: Fate
    category: Category


def compare(came: RecordedEvent, before: Fate, after: Fate) -> Compared:
    """Compare the two fates of a call."""
    category = _category(before, after)
    return Compared(came.time, came.session, came.grant, came.tool, came.call_id, before, after, category)


def _category(before: Fate, after: Fate) -> Category:  # noqa: PLR0911 - one a category
    old, new = before.effect, after.effect
    if "apart" in (old, new):
        return "apart"
    if "unjudged" in (old, new):
        return "unjudged"
    if old == "untold":
        return "untold"
    if old == new:
        return "same"
    if new == "deny":
        return "newly_denied"
    if new == "allow":
        return "newly_allowed"
    return "newly_asked" if old == "allow" else "asked_instead"
