"""What is to be redacted in a text, and the text without it.

A text is searched as it came and once more as it reads, without what is invisible in it and with escapes undone
(:mod:`guarded_tools.text.seen_through`); whatever either search finds is replaced. Searching takes time in proportion
to the text: every pattern is RE2's, those of a policy as well as our own of secrets and mail addresses.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, Final, NamedTuple, TypeAlias

from guarded_tools.policy.operators import compile_regex
from guarded_tools.policy.result_parts import EMAILS, SECRETS, Redaction
from guarded_tools.text import redaction
from guarded_tools.text.secret_shapes import whole
from guarded_tools.text.seen_through import see_through

Find: TypeAlias = Callable[[str], Iterable[tuple[int, int]]]

# Letters of any script may stand in an address; one character on each side of the @ makes none.
_EMAIL: Final = r"[\pL\pN._%+'-]+@(?:[\pL\pN-]+\.)+\pL[\pL\pN-]+"
_NAMES: Final = {SECRETS: "secret", EMAILS: "email"}


def mark_of(what: Redaction) -> str:
    """Return what stands in the place of what was redacted."""
    return f"[redacted: {_NAMES[what] if isinstance(what, str) else what.name}]"


class Hit(NamedTuple):
    """Where something stands that is to be redacted, and as the how manieth kind."""

    start: int
    end: int
    kind: int


class Redactor:
    """Finds and replaces what some kinds of redaction speak of."""

    def __init__(self, kinds: Sequence[Redaction]) -> None:
        self.marks = tuple(map(mark_of, kinds))
        self.secrets = kinds.index(SECRETS) if SECRETS in kinds else None
        self.numbers = any(not isinstance(kind, str) for kind in kinds)  # what has a name is never a bare number
        self._find: tuple[Find, ...] = tuple(map(_finder, kinds))
        self._marked = re.compile("|".join(map(re.escape, self.marks)) or "(?!)")

    def hits(self, text: str) -> list[Hit]:
        """Return what is to be redacted, in order and apart from each other."""
        found = self._hits_in(text)
        seen = see_through(text)
        if seen is not None:
            found += [Hit(*seen.origin(start, end), kind) for start, end, kind in self._hits_in(seen.text)]
        if not found:
            return found
        marked = [match.span() for match in self._marked.finditer(text)]
        return merged(_outside(sorted(found), marked))

    def _hits_in(self, text: str) -> list[Hit]:
        return [
            Hit(start, end, kind) for kind, find in enumerate(self._find) for start, end in find(text) if start < end
        ]

    def parts(self, texts: Sequence[str], counts: Counter[int]) -> Sequence[str]:
        """Return texts that are read as one, redacted; the very same where nothing is.

        What begins in one text and ends in another is replaced in the first, and left out of the others.
        """
        offsets = [0, *accumulate(map(len, texts))]
        found = [hit for text, at in zip(texts, offsets, strict=False) for hit in _moved(self.hits(text), at)]
        if len(texts) > 1:
            found += self.hits("".join(texts))
        if not found:
            return texts
        out = list(texts)
        hits = merged(sorted(found))
        counts.update(hit.kind for hit in hits)
        place = 0
        for number, (text, at) in enumerate(zip(texts, offsets, strict=False)):
            pieces, done, end = [], at, at + len(text)
            while place < len(hits) and hits[place].start < end:
                start, stop, kind = hits[place]
                pieces.append(text[done - at : max(start, at) - at])
                pieces.append(self.marks[kind] if start >= at else "")
                done = min(stop, end)
                if stop > end:
                    break
                place += 1
            if pieces:
                out[number] = "".join([*pieces, text[done - at :]])
        return out

    def text(self, text: str, counts: Counter[int]) -> str:
        """Return one text redacted; the very same where nothing is."""
        return self.parts((text,), counts)[0]


def _moved(hits: Iterable[Hit], by: int) -> Iterable[Hit]:
    return (Hit(start + by, end + by, kind) for start, end, kind in hits)


def merged(hits: Iterable[Hit]) -> list[Hit]:
    """Make one of hits that overlap, of the kind of the first; they come in order."""
    out: list[Hit] = []
    for hit in hits:
        if out and hit.start < out[-1].end:
            out[-1] = out[-1]._replace(end=max(out[-1].end, hit.end))
        else:
            out.append(hit)
    return out


def _outside(hits: list[Hit], marked: list[tuple[int, int]]) -> Iterable[Hit]:
    """Leave out what lies within a mark: that was redacted before, by this guard or by one further in."""
    place = 0
    for hit in hits:
        while place < len(marked) and marked[place][1] <= hit.start:
            place += 1
        if place == len(marked) or hit.start < marked[place][0] or hit.end > marked[place][1]:
            yield hit


def _finder(kind: Redaction) -> Find:
    if kind == SECRETS:
        return redaction.secrets
    pattern = compile_regex(_EMAIL if isinstance(kind, str) else kind.regex, fold_case=False)
    if isinstance(kind, str):
        return lambda text: _spans(pattern, text) if "@" in text else ()
    return lambda text: _spans(pattern, text)


def _spans(pattern: Any, text: str) -> Iterable[tuple[int, int]]:
    return [match.span() for match in pattern.finditer(whole(text))]


@lru_cache(maxsize=256)
def redactor_of(kinds: tuple[Redaction, ...]) -> Redactor:
    """Return the redactor for these kinds, made once."""
    return Redactor(kinds)
