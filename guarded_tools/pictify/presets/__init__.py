"""Policies for Pictify that a user picks by name.

``standard``: what reads is allowed; what writes or executes is limited and asks a human, who may answer for the rest
of the session; what destroys is hidden. ``supervised``: nothing is hidden and no answer is remembered.
``read_only``: only what reads.
"""

from __future__ import annotations

from importlib import resources

from guarded_tools.errors import PolicyError, Problem

PRESETS = ("standard", "supervised", "read_only")


def preset_text(name: str) -> str:
    """The text of a preset, as a user would put it in a file.

    Raises:
        PolicyError: there is no preset of this name.
    """
    if name not in PRESETS:
        problem = Problem(name, 0, 0, "", "there is no such preset", f"there are {', '.join(PRESETS)}")
        raise PolicyError((problem,), unreadable=True)
    return resources.files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8")
