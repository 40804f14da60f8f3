"""What is known of Pictify's tools before a server was asked: 31 names, input schemas, descriptions and risks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType

from guarded_tools.values import Risk, ToolInfo

SERVER = "pictify"


@cache
def catalogue() -> Mapping[str, ToolInfo]:
    """The 31 tools by name, in the order in which the server lists them."""
    entries = json.loads(resources.files(__package__).joinpath("catalogue.json").read_text(encoding="utf-8"))
    return MappingProxyType(
        {
            entry["name"]: ToolInfo(
                name=entry["name"],
                server=SERVER,
                description=entry["description"],
                schema=entry["inputSchema"],
                risk=entry["risk"],
            )
            for entry in entries
        }
    )


def risk_of(tool: str) -> Risk:
    """The risk class of ``tool``. A tool that the catalogue does not know is destructive."""
    known = catalogue().get(tool)
    return known.risk if known is not None and known.risk is not None else "destructive"
