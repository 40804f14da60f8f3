"""Drafts as YAML: values that read back as themselves, and words of others on one line of a comment."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import yaml

from guarded_tools.text.visible import one_line

LONGEST: Final = 160
"""Characters of what others wrote that a comment shows."""
_LONGEST_KEY: Final = 1024  # in YAML, on one line


def flow(value: Any) -> str:
    """Write a value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


def scalar(value: Any) -> str:
    """Write a value as YAML that reads back as itself: plain where that is safe, quoted where it is not."""
    if not isinstance(value, str):
        return json.dumps(value)
    if re.fullmatch(r"[A-Za-z][\w.-]*", value, re.ASCII) and yaml.safe_load(value) == value:
        return value
    return '"' + one_line(value.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def shown(text: str, longest: int = LONGEST) -> str:
    """Write a text on one line, cut, with every character that a terminal would obey or hide written out."""
    line = " ".join(text.split())
    line = line if len(line) <= longest else line[: longest - 1] + "…"
    return one_line(line)


def can_be_named(name: str) -> bool:
    """Whether there is a policy's key that means this tool and no other: one called ``*`` would speak for all."""
    return bool(name.strip()) and not re.search("[*?\\[\\]\ud800-\udfff]", name) and len(scalar(name)) <= _LONGEST_KEY
