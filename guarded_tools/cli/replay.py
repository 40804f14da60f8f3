"""``guarded-tools replay``: what a policy would have made of calls that were recorded."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guarded_tools.cli.app import FINE, PROBLEMS
from guarded_tools.cli.audit import Session, Since, Tool, audit_at, moment_of
from guarded_tools.cli.console import progress
from guarded_tools.cli.options import State
from guarded_tools.cli.server_tools import ToolsToCheck, known_tools, tools_of

if TYPE_CHECKING:
    from guarded_tools.authoring.recorded.audit import AuditReader
    from guarded_tools.authoring.replay.engine import Replay
    from guarded_tools.policy.policy import Policy


Audit = Annotated[
    Path | None, typer.Option("--audit", help="The audit's file. Default: the state directory's.", show_default=False)
]
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
    base: Base = None,
    server: ToolsToCheck = None,
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
    from guarded_tools.audit import audit_path
    from guarded_tools.audit.read import files
    from guarded_tools.authoring.recorded.audit import AuditReader
    from guarded_tools.authoring.replay.engine import Replay
    from guarded_tools.authoring.replay.summary import Selection, summarise
    from guarded_tools.cli.replay_view import as_document, print_told
    from guarded_tools.state import state_path

    new, old = _policy(policy), None if base is None else _policy(base)
    wanted = Selection(session, tool, moment_of(since))
    infos = known_tools(new.server, None if server is None else tools_of(server)) or []
    path = audit_at(audit or audit_path(state_path(state)))
    played = Replay(new, infos={info.name: info for info in infos}, base=old)
    with progress("Replaying", sum(file.stat().st_size for file in files(path))) as advance:
        reader = AuditReader(path, advance)
        told = summarise(played.rows(reader), wanted, examples=examples)
    remarks = list(_remarks(played, reader, known=bool(infos)))
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


def _remarks(played: Replay, reader: AuditReader, *, known: bool) -> Iterator[str]:
    """What to know about how far the answer goes."""
    if played.unchecked:
        why = "not every argument was recorded" if known else "no schemas are known: --tools says whose"
        yield f"{played.unchecked} calls were not checked against their tools' schemas ({why})"
    if reader.broken:
        yield f"{reader.broken} lines are no records and were passed over; `guarded-tools audit verify` says which"
    if reader.backwards:
        yield f"{reader.backwards} lines are older than one before them: were logs mixed, or a clock set back?"
    if played.forgotten:
        yield f"{played.forgotten} calls were open for so long that what became of them was not followed"
