"""``validate`` and ``explain``: what is wrong with a policy, and what it would say of a call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def validate(files: Annotated[list[Path], typer.Argument()]) -> None:
    """Report every problem of policy files at once."""
    from guarded_tools.policy import Policy

    for file in files:
        Policy.from_file(file)


def explain(file: Annotated[Path, typer.Argument()], tool: Annotated[str, typer.Argument()]) -> None:
    """Say what a policy would decide about a call, and why. Changes nothing."""
    from guarded_tools.policy import Policy, decide
    from guarded_tools.values import ToolCall

    typer.echo(decide(Policy.from_file(file), ToolCall(tool, {})))
