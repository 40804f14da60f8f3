"""``guarded-tools halt`` and ``resume``: the stop button of every guard on a store, in every process."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from guarded_tools.approvers.visible import plain
from guarded_tools.audit import AuditLog, audit_path, read
from guarded_tools.audit.summary import OPEN, CallRow, calls
from guarded_tools.cli.app import UNREADABLE
from guarded_tools.state import state_dir
from guarded_tools.stores import Store, open_store
from guarded_tools.values import AuditEvent

Session = Annotated[str | None, typer.Option("--session", help="Only this agent session.", show_default=False)]
Grant = Annotated[str | None, typer.Option("--grant", help="Only who acts for this identity.", show_default=False)]
State = Annotated[Path | None, typer.Option("--state", help="The state directory. Default: yours.", show_default=False)]
Url = Annotated[
    str | None, typer.Option("--store", help="The store, such as redis://… Default: the state directory's.")
]


def halt(
    *,
    session: Session = None,
    grant: Grant = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; agents are told.")],
    state: State = None,
    store: Url = None,
) -> None:
    """Refuse every call from now on, in every process and on every machine of this store."""
    scope = _scope(session, grant)
    _store(store, state).halt(scope, reason)
    _note(state, f"halted {scope}: {reason}")
    console = Console()
    console.print(Text(f"Halted: {plain(scope)}. Nothing more is admitted until guarded-tools resume."))
    path = audit_path(state_dir(state))
    rows = calls(read(path, session=session)) if path.exists() else ()
    running = [row for row in rows if row.outcome == OPEN and grant in (None, row.grant)]
    if running:
        console.print(_in_flight(running))
    else:
        console.print("No call is in flight, as far as this machine's audit knows.")


def resume(*, session: Session = None, grant: Grant = None, state: State = None, store: Url = None) -> None:
    """Release the stop button."""
    scope = _scope(session, grant)
    opened = _store(store, state)
    if not opened.resume(scope):
        held = ", ".join(plain(halted.scope) for halted in opened.halts()) or "nothing"
        typer.echo(f"{plain(scope)} was not halted; halted is: {held}", err=True)
        raise typer.Exit(UNREADABLE)
    _note(state, f"resumed {scope}")
    left = ", ".join(plain(halted.scope) for halted in opened.halts())
    Console().print(Text(f"Resumed: {plain(scope)}." + (f" Still halted: {left}." if left else "")))


def _scope(session: str | None, grant: str | None) -> str:
    if session is not None and grant is not None:
        raise typer.BadParameter("--session and --grant exclude each other: press the button twice")
    if session is not None:
        return f"session:{session}"
    return "global" if grant is None else f"grant:{grant}"


def _store(url: str | None, state: Path | None) -> Store:
    return open_store(url or f"disk://{state_dir(state)}")


def _note(state: Path | None, message: str) -> None:
    AuditLog(audit_path(state_dir(state))).write(AuditEvent("control", rule="(halt)", message=message, outcome="ok"))


def _in_flight(rows: list[CallRow]) -> Table:
    table = Table(title="In flight or waiting for a human: these were let through before", title_justify="left")
    for name in ("since (UTC)", "tool", "session", "grant"):
        table.add_column(name)
    for row in rows:
        since = datetime.fromtimestamp(row.time, UTC).strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(since, *(Text(plain(value)) for value in (row.tool, row.session, row.grant)))
    return table
