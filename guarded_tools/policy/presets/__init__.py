"""Policies for Pictify that a user picks by name.

``standard``: what reads is allowed; what writes or executes is limited and asks a human, who may answer for the rest
of the session; what destroys is hidden. ``supervised``: nothing is hidden and no answer is remembered.
``read_only``: only what reads.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from guarded_tools.errors import PolicyError, Problem

_OUR_SCHEMA = "../reading/schema.json"

PRESETS = ("standard", "supervised", "read_only")


def preset_text(name: str) -> str:
    """The text of a preset, as a user would put it in a file.

    Its ``$schema`` is the file beside it that ``guarded-tools schema > policy.schema.json`` makes.

    Raises:
        PolicyError: there is no preset of this name.
    """
    return preset_path(name).read_text(encoding="utf-8").replace(_OUR_SCHEMA, "./policy.schema.json", 1)


def preset_path(name: str) -> Path:
    """The file of a preset.

    Raises:
        PolicyError: there is no preset of this name.
    """
    return _beside(name, ".json")


def cases_of(name: str) -> Path:
    """The file of a preset's own tests, as ``guarded-tools test`` runs them.

    Raises:
        PolicyError: there is no preset of this name.
    """
    return _beside(name, ".cases.yaml")


def _beside(name: str, suffix: str) -> Path:
    if name not in PRESETS:
        problem = Problem(name, 0, 0, "", "there is no such preset", f"there are {', '.join(PRESETS)}")
        raise PolicyError((problem,), unreadable=True)
    return Path(str(resources.files(__name__))) / f"{name}{suffix}"
