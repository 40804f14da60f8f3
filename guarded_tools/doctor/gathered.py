"""What is installed here, as facts; nothing is judged, and nothing but metadata is read."""

from __future__ import annotations

import platform
import re
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata

from guarded_tools.approvers.keyboard import find_terminal
from guarded_tools.doctor.installation import Installation, Requirement, TerminalFacts
from guarded_tools.errors import CannotAsk
from guarded_tools.mcp_session.generation import versions

_OURS = "guarded-tools"


def installation() -> Installation:
    """Look at what is installed."""
    try:
        own = metadata.metadata(_OURS)
        required = metadata.requires(_OURS) or []
    except metadata.PackageNotFoundError:  # a checkout on the path
        own, required = None, []
    needed = tuple(_requirements(required))
    found = {one.name: version for one in needed if (version := _version(one.name))}
    python = "" if own is None else own["Requires-Python"] or ""
    return Installation(
        platform.python_version(), python, needed, found, versions(), sqlite3.sqlite_version_info, _terminal()
    )


def _requirements(lines: Iterable[str]) -> Iterator[Requirement]:
    """Read metadata: each package with the extras for which it is wanted, those that fit this machine."""
    from packaging.requirements import InvalidRequirement
    from packaging.requirements import Requirement as Written

    for line in lines:
        try:
            written = Written(line)
        except InvalidRequirement:
            continue
        # One that names this very package stands for other extras, which build tools write out.
        if written.name == _OURS:
            continue
        marker = str(written.marker or "")
        extra = re.search(r"""extra == ['"]([^'"]+)['"]""", marker)
        name = extra[1] if extra else ""
        if written.marker is None or written.marker.evaluate({"extra": name}):
            yield Requirement(written.name, str(written.specifier), name)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _terminal() -> TerminalFacts:
    try:
        find_terminal()
    except CannotAsk as error:
        fault = str(error)
    else:
        fault = ""
    return TerminalFacts(fault, getattr(sys.stdout, "encoding", None) or "")
