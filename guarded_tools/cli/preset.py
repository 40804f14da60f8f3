"""``guarded-tools preset``: print a policy to start from."""

from __future__ import annotations

from typing import Annotated

import typer

from guarded_tools.pictify.presets import PRESETS, preset_text


def preset(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(PRESETS)}.", show_default=False)],
) -> None:
    """Print one of Pictify's preset policies, to be changed and used as a file of your own."""
    typer.echo(preset_text(name), nl=False)
