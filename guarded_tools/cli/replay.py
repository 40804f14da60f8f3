"""``guarded-tools replay``: what a policy would have made of calls that were recorded."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from guarded_tools.cli.app import FINE, PROBLEMS
from guarded_tools.cli.audit import Session, Since, Tool, moment_of
from guarded_tools.cli.options import State
from guarded_tools.cli.recorded import Audit, Calls, Checkpoints, opened
from guarded_tools.cli.server_tools import StartTimeout, ToolsToCheck, known_tools, tools_of

if TYPE_CHECKING:
    from guarded_tools.authoring.replay.engine import Replay
    from guarded_tools.policy.policy import Policy


Base = Annotated[
    str | None,
    typer.Option("--base", metavar="OLD", help="Compare with this policy, not with the record.", show_default=False),
]
Examples = Annotated[int, typer.Option("--examples", "-n", min=0, help="How many calls of each kind to show.")]
Widening = Annotated[
    bool, typer.Option("--allow-widening", help="Exit 0 also where calls are held less than they were.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit 1 also where a call cannot be judged.")]


def replay(
    policy: Annotated[str, typer.Argument(help="A policy file, or a preset's name.", show_default=False)],
    *,
    audit: Audit = None,
    checkpoints: Checkpoints = None,
    calls: Calls = None,
    base: Base = None,
    server: ToolsToCheck = None,
    start_timeout: StartTimeout = None,
    session: Session = None,
    tool: Tool = None,
    since: Since = None,
    examples: Examples = 5,
    allow_widening: Widening = False,
    strict: Strict = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    state: State = None,
) -> None:
    """Say what a policy would have made of recorded calls: what it newly denies, allows or asks about.

    Exit code 1 if any call is held less than it was.
    """
    from guarded_tools.authoring.replay.engine import Replay
    from guarded_tools.authoring.replay.summary import Selection, summarise
    from guarded_tools.cli.replay_view import as_document, print_told

    new, old = _policy(policy), None if base is None else _policy(base)
    wanted = Selection(session, tool, moment_of(since))
    infos = known_tools(new.server, None if server is None else tools_of(server, start_timeout)) or []
    played = Replay(new, infos={info.name: info for info in infos}, base=old)
    with opened(audit, checkpoints, calls, state) as recorded:
        told = summarise(played.rows(recorded), wanted, examples=examples)
        remarks = [*_remarks(played, known=bool(infos)), *recorded.remarks()]
    if as_json:
        typer.echo(json.dumps(as_document(told, remarks), indent=1))
    else:
        print_told(told, remarks)
    failed = (told.widened and not allow_widening) or (strict and told.counts["unjudged"])
    raise typer.Exit(PROBLEMS if failed else FINE)


def _policy(source: str) -> Policy:
    from guarded_tools.policy.policy import load_policy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `validate` tells them
        return load_policy(source)


def _remarks(played: Replay, *, known: bool) -> Iterator[str]:
    """What to know about how far the answer goes."""
    if played.unchecked:
        why = "not every argument was recorded" if known else "no schemas are known: --tools says whose"
        yield f"{played.unchecked} calls were not checked against their tools' schemas ({why})"
    if played.forgotten:
        yield f"{played.forgotten} calls were open for so long that what became of them was not followed"
