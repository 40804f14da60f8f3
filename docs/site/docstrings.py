"""Docstrings are written for editors and ``help()``: their references in Sphinx's form become links of the site."""

from __future__ import annotations

import re
from typing import Any

import griffe

REFERENCE = re.compile(r":(?:class|func|meth|data|mod|attr|exc|obj):`(~?)([\w.]+)`")


def linked(reference: re.Match[str]) -> str:
    """Link a name where the site has it, and show it as code where not."""
    short, name = reference[1], reference[2].lstrip(".")
    shown = name.rpartition(".")[2] if short else name
    return f'<autoref identifier="{name}" optional><code>{shown}</code></autoref>'


class References(griffe.Extension):
    """Rewrites references, and the sign for a block of plain text, in every docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            text = REFERENCE.sub(linked, obj.docstring.value)
            alone = re.sub(r"^::\n", "", text, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r"::\n\n(?= )", ":\n\n", alone)
