"""``guarded-tools learn``: a draft of a policy from calls that were recorded."""

from __future__ import annotations

import json
import warnings
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from guarded_tools.cli.app import FINE, PROBLEMS
from guarded_tools.cli.console import write_draft
from guarded_tools.cli.options import State
from guarded_tools.cli.recorded import Audit, Calls, Checkpoints, opened
from guarded_tools.cli.server_tools import StartTimeout, ToolsToCheck, parse_source, read_tools
from guarded_tools.errors import GuardError

if TYPE_CHECKING:
    from guarded_tools.authoring.learn.base import Base
    from guarded_tools.authoring.learn.draft import KnownTool
    from guarded_tools.authoring.learn.terms import Terms
    from guarded_tools.cli.server_tools import ToolSource

_MOST_ROOM = 1000


Below = Annotated[
    str | None, typer.Option("--base", metavar="POLICY", help="Only ever tighten this policy.", show_default=False)
]
Headroom = Annotated[
    str, typer.Option("--headroom", metavar="TIMES", help="How many times the most that was seen is let through.")
]
Values = Annotated[int, typer.Option("--values", min=1, max=32, help="How many values of an argument are few.")]
Tolerate = Annotated[
    float, typer.Option("--tolerate", min=0, max=100, metavar="PERCENT", help="Exit 1 where the hold-out denies more.")
]
NoHoldOut = Annotated[
    bool, typer.Option("--allow-no-hold-out", help="Exit 0 also where there are too few sessions for one.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write to this file, which must not exist yet.", show_default=False),
]
Form = Annotated[
    Literal["yaml", "json"] | None,
    typer.Option("--format", help="YAML has comments. Default: by the suffix of -o.", show_default=False),
]


def learn(
    *,
    audit: Audit = None,
    checkpoints: Checkpoints = None,
    calls: Calls = None,
    base: Below = None,
    server: ToolsToCheck = None,
    start_timeout: StartTimeout = None,
    headroom: Headroom = "1.5",
    values: Values = 8,
    tolerate: Tolerate = 5.0,
    no_hold_out: NoHoldOut = False,
    output: Output = None,
    force: Annotated[bool, typer.Option("--force", help="Write over the file of -o.")] = False,
    form: Form = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document, with the draft in it.")] = False,
    state: State = None,
) -> None:
    """Draft a policy from recorded calls, and say what a draft of a part of them makes of the rest."""
    from guarded_tools.authoring.learn.run import WALKS, Given, learn_from
    from guarded_tools.cli.learn_view import as_document, print_learnt, text_of

    terms = _terms(headroom, values)
    under = None if base is None else _base(base)
    if output is not None and output.exists() and not force:
        write_draft(output, "")
    asked = None if server is None else parse_source(server, start_timeout)
    known, name = _known(asked, None if under is None else under.policy.server)
    with opened(audit, checkpoints, calls, state, doing="Learning", walks=WALKS) as recorded:
        learnt = learn_from(recorded.__iter__, Given(known, terms, under, name), steps=recorded.steps)
        remarks = [*learnt.remarks, *recorded.remarks()]
    if form is None:
        form = "json" if output is not None and output.suffix == ".json" else "yaml"
    if output is not None or not as_json:
        write_draft(output, text_of(learnt, form), force=force)
    if as_json:
        typer.echo(json.dumps(as_document(learnt, remarks), indent=1))
    else:
        print_learnt(learnt, remarks, tolerate)
    told = learnt.hold_out
    failed = not no_hold_out if told is None else 100 * told.denied > tolerate
    raise typer.Exit(PROBLEMS if failed else FINE)


def _terms(headroom: str, values: int) -> Terms:
    from guarded_tools.authoring.learn.terms import Terms

    try:
        room = Decimal(headroom)
        fits = 1 <= room <= _MOST_ROOM
    except InvalidOperation:
        fits = False
    if not fits:
        raise GuardError(f"--headroom is a number from 1 to {_MOST_ROOM}, as 1.5, not {headroom!r}")
    return Terms(room, values)


def _base(source: str) -> Base:
    from guarded_tools.authoring.learn.base import Base
    from guarded_tools.policy.policy import is_preset, load_policy
    from guarded_tools.policy.presets import preset_path
    from guarded_tools.policy.reading.load import read_data

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `validate` tells them
        policy = load_policy(source)
    return Base(read_data(Path(preset_path(source) if is_preset(source) else source)), policy)


def _known(said: ToolSource | None, server: str | None) -> tuple[dict[str, KnownTool], str]:
    """What is known of the tools: those that were named, else those of the base's own server; and whose they are."""
    from guarded_tools.authoring.learn.draft import KnownTool
    from guarded_tools.pictify.catalogue import SERVER

    if said is None and server != SERVER:
        return {}, ""
    offer = read_tools(said or parse_source(SERVER))
    return {info.name: KnownTool(info, hints, offer.known(info.name)) for info, hints in offer.tools}, offer.server
