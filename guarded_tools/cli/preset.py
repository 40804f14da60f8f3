"""``guarded-tools preset``: print a policy to start from."""

from __future__ import annotations

from typing import Annotated

import typer

from guarded_tools.policy.presets import PRESETS, cases_of, preset_text


def preset(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(PRESETS)}.", show_default=False)],
    *,
    cases: Annotated[bool, typer.Option("--cases", help="Print its tests instead, for `guarded-tools test`.")] = False,
) -> None:
    """Print one of Pictify's preset policies, to be changed and used as a file of your own."""
    typer.echo(cases_of(name).read_text(encoding="utf-8") if cases else preset_text(name), nl=False)
