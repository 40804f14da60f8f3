"""The ``guarded-tools`` command: a table of commands, each loaded when it is the one that was asked for."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from guarded_tools._version import __version__
from guarded_tools.errors import GuardError, PolicyError
from guarded_tools.text.visible import one_line

FINE, PROBLEMS, UNREADABLE = 0, 1, 2
"""Exit codes: all is well; the input was read and something is wrong with it; the input could not be read."""

COMMANDS = {
    "init": "guarded_tools.cli.init:init",
    "doctor": "guarded_tools.cli.doctor:doctor",
    "validate": "guarded_tools.cli.policy:validate",
    "explain": "guarded_tools.cli.policy:explain",
    "schema": "guarded_tools.cli.policy:schema",
    "preset": "guarded_tools.cli.policy:preset",
    "guide": "guarded_tools.cli.guide:guide",
    "scan": "guarded_tools.cli.author:scan",
    "test": "guarded_tools.cli.author:run_tests",
    "diff": "guarded_tools.cli.diff:diff",
    "replay": "guarded_tools.cli.replay:replay",
    "learn": "guarded_tools.cli.learn:learn",
    "lock": "guarded_tools.cli.author:lock",
    "drill": "guarded_tools.cli.drill:drill",
    "gateway": "guarded_tools.cli.gateway:app",
    "approvals": "guarded_tools.cli.approvals:app",
    "audit": "guarded_tools.cli.audit:app",
    "demo": "guarded_tools.cli.demo:demo",
    "status": "guarded_tools.cli.state:status",
    "top": "guarded_tools.cli.top:top",
    "report": "guarded_tools.cli.top:report",
    "session": "guarded_tools.cli.session:session",
    "reset": "guarded_tools.cli.state:reset",
    "prune": "guarded_tools.cli.state:prune",
    "halt": "guarded_tools.cli.state:halt",
    "resume": "guarded_tools.cli.state:resume",
    "web": "guarded_tools.cli.web:web",
}
"""Name of a command → ``module:function``, or ``module:app`` for a ``typer.Typer`` with commands of its own."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit. An error of this package becomes one message on standard error.

    Raises:
        SystemExit: always, with one of the exit codes above.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        _app(arguments)(arguments, prog_name="guarded-tools")
    except PolicyError as error:
        _fail(error, UNREADABLE if error.unreadable else PROBLEMS)
    except GuardError as error:
        _fail(error, UNREADABLE)
    except ImportError as error:
        if error.name != "fcntl":  # what guarded_tools.files says where there is none, as on Windows
            raise
        _fail(GuardError(str(error)), UNREADABLE)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _fail(GuardError("the output cannot be written: no space left on the device"), UNREADABLE)


def _app(arguments: Sequence[str]) -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True)
    app.callback()(_root)
    completed = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")
    completing = "_GUARDED_TOOLS_COMPLETE" in os.environ
    words = completed.split()[1:] if completing else arguments
    asked_for = next((word for word in words if not word.startswith("-")), "")
    if completing and asked_for not in COMMANDS:
        for name in COMMANDS:  # a shell that waits for names waits for no import
            app.command(name)(lambda: None)
        return app
    # An unknown name loads them all: the help and "did you mean" need every command.
    for name in [asked_for] if asked_for in COMMANDS else COMMANDS:
        module, _, attribute = COMMANDS[name].partition(":")
        command = getattr(import_module(module), attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"guarded-tools {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Policy checks, exact limits, human approval and an audit log in front of an agent's tools."""


def _fail(error: GuardError, code: int) -> None:
    from guarded_tools.cli.console import say

    for line in str(error).splitlines():
        say(one_line(f"error: {line}"), err=True)
    raise SystemExit(code)
