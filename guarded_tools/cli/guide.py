"""``guarded-tools guide``: what a coding agent has to do before it says that a policy is done."""

from __future__ import annotations

from importlib.resources import files

import typer


def guide() -> None:
    """Print the steps by which a coding agent writes a policy and its cases, as Markdown."""
    typer.echo(files(__package__).joinpath("agents-guide.md").read_text(encoding="utf-8"), nl=False)
