"""``guarded-tools halt`` and ``resume``: the stop button of every guard on a store, in every process."""

from __future__ import annotations

import os
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from guarded_tools.audit import audit_path, read
from guarded_tools.audit.summary import OPEN, CallRow, calls
from guarded_tools.cli.app import UNREADABLE
from guarded_tools.cli.console import out
from guarded_tools.cli.options import STORE, Grant, Session, State, Url, note, scope_of, store_name, store_url, unused
from guarded_tools.state import state_dir
from guarded_tools.stores import open_stop_button
from guarded_tools.text.visible import plain
from guarded_tools.values import GLOBAL


def halt(
    *,
    session: Session = None,
    grant: Grant = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; agents are told.")],
    state: State = None,
    store: Url = None,
) -> None:
    """Refuse every call from now on, in every process and on every machine of this store."""
    if not reason.strip():
        raise typer.BadParameter("say why: agents and people are told", param_hint="--reason")
    scope = scope_of(session, grant) or GLOBAL
    place, new = plain(store_name(store, state), 500), unused(store, state)
    if store is None:
        state_dir(state)
    open_stop_button(store_url(store, state)).halt(scope, reason)
    note(state, "(halt)", f"halted {scope}: {reason}")
    console = out()
    what = "No call" if scope == GLOBAL else "No call of it"
    console.print(Text(f"Halted: {plain(scope)}, in {place}. {what} is admitted there until you run:"), soft_wrap=True)
    console.print(Text(f"  {plain(_undone_by(session, grant, state, store), 1000)}"), soft_wrap=True)
    if new:
        typer.echo(f"warning: no guard has used {place} yet; is it the one that your agents use?", err=True)
    path = audit_path(state_dir(state))
    rows = calls(read(path, session=session)) if path.exists() else ()
    running = [row for row in rows if row.outcome == OPEN and grant in (None, row.grant)]
    if running:
        console.print(_in_flight(running))
    else:
        console.print("No call is in flight, as far as this machine's audit knows.")


def resume(*, session: Session = None, grant: Grant = None, state: State = None, store: Url = None) -> None:
    """Release the stop button."""
    scope = scope_of(session, grant) or GLOBAL
    source = open_stop_button(store_url(store, state))
    if not source.resume(scope):
        held = ", ".join(plain(halted.scope) for halted in source.halts()) or "nothing"
        place = plain(store_name(store, state), 500)
        typer.echo(f"{plain(scope)} was not halted in {place}; halted is: {held}", err=True)
        raise typer.Exit(UNREADABLE)
    note(state, "(halt)", f"resumed {scope}")
    left = ", ".join(plain(halted.scope) for halted in source.halts())
    out().print(Text(f"Resumed: {plain(scope)}." + (f" Still halted: {left}." if left else "")))


def _undone_by(session: str | None, grant: str | None, state: Path | None, store: str | None) -> str:
    """The command that takes a halt back; a password is left for its owner to fill in."""
    words = ["guarded-tools", "resume"]
    if session is not None:
        words += ["--session", session]
    if grant is not None:
        words += ["--grant", grant]
    if state is not None:
        words += ["--state", str(state.absolute())]
    if store is not None and store != os.environ.get(STORE):
        words += ["--store", re.sub(r"//([^/@]*):[^/@]*@", r"//\1:***@", store)]
    return shlex.join(words)


def _in_flight(rows: list[CallRow]) -> Table:
    table = Table(title="In flight or waiting for a human: these were let through before", title_justify="left")
    for name in ("since (UTC)", "tool", "session", "grant"):
        table.add_column(name)
    for row in rows:
        since = datetime.fromtimestamp(row.time, UTC).strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(since, *(Text(plain(value)) for value in (row.tool, row.session, row.grant)))
    return table
