"""Masking of secrets whose shape is known, wherever text leaves the process: errors, prompts, logs, the audit.

A shape is recognised by the prefix its issuer gives it, or by the name it stands behind. What has neither cannot be
told from other text and is left alone: masking is the second net, not the first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from guarded_tools.text.secret_shapes import MASK, SECRET_NAME, SHAPES, SecretShape, compiled, places, whole

LONGEST_SECRET = 4_200
"""As many characters tell, from its beginning, whether something is a secret."""

# One search for all of them is the fastest for what is masked on every call, such as ids; not for a page of text.
_MARKERS = re.compile("|".join(re.escape(marker) for shape in SHAPES for marker in shape.markers))
_SHORT = 500


def mask(text: str) -> str:
    """Return ``text`` with every secret of a known shape replaced by ``***``; a public prefix or name stays."""
    low = text.lower()
    if len(low) <= _SHORT and not _MARKERS.search(low):
        return text
    for shape in SHAPES:
        if any(marker in low for marker in shape.markers):
            text = _without(text, shape)
    return text


def _without(text: str, shape: SecretShape) -> str:
    pieces, done = [], 0
    for start, end in places(shape, text):
        pieces += [text[done:start], shape.mask]
        done = end
    return "".join([*pieces, text[done:]]) if pieces else text


_QUOTE = re.compile(r"""\\{0,3}["']""")


def secrets(text: str) -> list[tuple[int, int]]:
    """Return where secrets of a known shape stand, as what :func:`mask` replaces: without public prefixes and names.

    Places may overlap, and come in no order.
    """
    low = text.lower()
    if len(low) <= _SHORT and not _MARKERS.search(low):
        return []
    return [
        _unquoted(text, start, end)
        for shape in SHAPES
        if any(marker in low for marker in shape.markers)
        for start, end in places(shape, text)
    ]


def _unquoted(text: str, start: int, end: int) -> tuple[int, int]:
    """Leave the quotes around a secret where they are: a text of JSON stays one."""
    quote = _QUOTE.match(text, start, end)
    if quote is None:
        return start, end
    closed = text.endswith(quote[0], quote.end(), end)
    return quote.end(), end - len(quote[0]) if closed else end


def is_secret_name(name: str) -> bool:
    """Whether what stands under this name, or at this path, is a secret whatever it looks like."""
    return compiled(SECRET_NAME).search(whole(name)) is not None


def mask_json(value: Any) -> Any:
    """Return a copy of a JSON value with secrets masked, also those that only the name of their key gives away."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {
            mask(str(key)): MASK if item is not None and is_secret_name(str(key)) else mask_json(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [mask_json(item) for item in value]
    return value


_PLACE = re.compile(
    r"""://(?:[^\s/?#"'<>]{0,1024}@)?(?P<url>\[[0-9a-fA-F:.%]{2,64}\]|[^\s/?#@:"'<>\\,;]{1,253})"""
    r"""|(?P<mail>[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,8}\.[^\W\d_]{2,24})(?![\w-])"""
    r"""|(?<![\w.-])(?P<host>(?:[a-z0-9-]{1,63}\.){1,8}(?:[a-z]{2}|com|net|org|info|biz|dev|app|cloud|online|site|top|shop|xyz))"""
    r"""(?![\w-])|(?<![\w.])(?P<ip>\d{1,3}(?:\.\d{1,3}){3})(?![\w.])"""
)


def destinations(text: str) -> list[str]:
    """List the hosts and mail addresses that a text names, each once: what a human has to see also of a secret."""
    return list(dict.fromkeys(match[str(match.lastgroup)] for match in _PLACE.finditer(text)))
