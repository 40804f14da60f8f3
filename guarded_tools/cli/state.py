"""``guarded-tools status``, ``reset``, ``prune``, ``halt`` and ``resume``: what is in a store, and the stop button."""

from __future__ import annotations

import json
import os
import re
import shlex
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from guarded_tools.audit import audit_path, read
from guarded_tools.audit.summary import OPEN, CallRow, calls
from guarded_tools.cli.app import FINE, PROBLEMS, UNREADABLE
from guarded_tools.cli.console import out, print_folded, say
from guarded_tools.cli.options import (
    STORE,
    Grant,
    Session,
    State,
    Url,
    opened,
    scope_of,
    store_name,
    store_url,
    unused,
)
from guarded_tools.control import actions
from guarded_tools.errors import StateLost
from guarded_tools.marks import Carried
from guarded_tools.state import state_dir
from guarded_tools.stores import Store, open_stop_button
from guarded_tools.stores.disk.address import DiskAddress
from guarded_tools.text.quantities import of_most, spoken
from guarded_tools.text.tables import Cell, Content, Table, to_rich
from guarded_tools.text.tones import share
from guarded_tools.text.units import date_and_time, remaining, window
from guarded_tools.text.visible import one_line, plain
from guarded_tools.values import GLOBAL, Halted, Usage

_SHOWN = 20


def status(
    *,
    session: Session = None,
    grant: Grant = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    most: Annotated[
        int | None,
        typer.Option("--most", min=1, help="How many sessions and grants: 20, all with --json.", show_default=False),
    ] = None,
    state: State = None,
    store: Url = None,
) -> None:
    """Show every limit that was touched: used, max, and when it frees; the busiest first."""
    scope = scope_of(session, grant)
    new = unused(store, state)
    button = open_stop_button(store_url(store, state))
    source = None if new else opened(store, state)
    shown = most if as_json else most or _SHOWN
    # One more says that there are more. There may be a million sessions.
    usage = [] if source is None else source.usage(scope, None, None if shown is None else shown + 1)
    limits = {name: list(some) for name, some in groupby(usage, key=lambda one: one.scope)}
    found = [scope] if scope is not None else list(limits)
    scopes = found[:shown]
    carried = [] if source is None else [one for name in scopes for one in source.carried(name)]
    carried = [one for one in carried if one.kind == "label"]
    halts = button.halts()
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "limits": [one._asdict() for one in usage if one.scope in scopes],
                    "halted": [halted._asdict() for halted in halts],
                    "labels": [one._asdict() for one in carried],
                },
                indent=1,
            )
        )
        return
    console = out()
    for halted in halts:
        console.print(_halted(halted))
    if not usage and not carried:
        nothing = f"No guard has used {store_name(store, state)} yet." if new else "No limit is in use."
        print_folded(console, Text(plain(nothing)))
        return
    for name in scopes:
        _print_scope(console, name, limits.get(name, []), [one for one in carried if one.scope == name])
    if len(found) > len(scopes):
        console.print("… and more, each as full or less: --most says how many to show.", style="dim")


def reset(
    *,
    session: Session = None,
    grant: Grant = None,
    confirm: Annotated[bool, typer.Option("--confirm", help="Really do it.")] = False,
    state: State = None,
    store: Url = None,
) -> None:
    """Start limits at zero: of one session, of one grant, or all. Open questions of the sessions are withdrawn.

    Counters that were lost need this before any call.
    """
    scope = scope_of(session, grant)
    whose = "all counters" if scope is None else f"the counters of {plain(scope)}"
    source: Store | None
    try:
        source, lost = opened(store, state), ""
    except StateLost as error:
        source, lost = None, str(error)
    if lost and scope is not None:
        say(f"{lost}\nOnly all counters can start anew: leave out --session and --grant.", err=True)
        raise typer.Exit(PROBLEMS)
    if not confirm:
        say(f"This would start {whose} at zero: limits that are used up free at once. Add --confirm to do it.")
        raise typer.Exit(PROBLEMS)
    if source is None:
        _start_over(store_url(store, state))
        actions.write_down(state, "(reset)", f"started {whose} anew after a loss: {lost}")
        say(f"Started {whose} anew; open questions and remembered approvals are gone with the old ones.")
        raise typer.Exit(FINE)
    done = actions.reset(source, state, scope)
    withdrew = f", {done.withdrawn} open questions withdrawn" if done.withdrawn else ""
    say(f"Started {whose} at zero: {done.forgotten} forgotten{withdrew}.")


def prune(*, state: State = None, store: Url = None) -> None:
    """Forget what changes no answer any more: counters that hold nothing, values that have expired."""
    say(f"{opened(store, state).prune()} forgotten.")


def halt(
    *,
    session: Session = None,
    grant: Grant = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; agents are told.")] = "",
    state: State = None,
    store: Url = None,
) -> None:
    """Refuse every call from now on, in every process and on every machine of this store."""
    reason = reason.strip() or "no reason given"
    scope = scope_of(session, grant) or GLOBAL
    place, new = plain(store_name(store, state), 500), unused(store, state)
    if store is None:
        state_dir(state)
    actions.halt(open_stop_button(store_url(store, state)), state, scope, reason)
    console = out()
    what = "No call" if scope == GLOBAL else "No call of it"
    print_folded(console, Text(f"Halted: {plain(scope)}, in {place}. {what} is admitted there until you run:"))
    console.print(Text(f"  {plain(_undone_by(session, grant, state, store), 1000)}"), soft_wrap=True)
    if new:
        say(f"warning: no guard has used {place} yet; is it the one that your agents use?", err=True)
    path = audit_path(state_dir(state))
    rows = calls(read(path, session=session)) if path.exists() else ()
    running = [row for row in rows if row.outcome == OPEN and grant in (None, row.grant)]
    if running:
        console.print(to_rich(_in_flight(running)))
    else:
        console.print("No call is in flight, as far as this machine's audit knows.")


def resume(*, session: Session = None, grant: Grant = None, state: State = None, store: Url = None) -> None:
    """Release the stop button."""
    scope = scope_of(session, grant) or GLOBAL
    source = open_stop_button(store_url(store, state))
    if not actions.resume(source, state, scope):
        held = ", ".join(plain(halted.scope) for halted in source.halts()) or "nothing"
        place = plain(store_name(store, state), 500)
        say(f"{plain(scope)} was not halted in {place}; halted is: {held}", err=True)
        raise typer.Exit(UNREADABLE)
    left = ", ".join(plain(halted.scope) for halted in source.halts())
    out().print(Text(f"Resumed: {plain(scope)}." + (f" Still halted: {left}." if left else "")))


def _start_over(url: str) -> None:
    from guarded_tools.stores.disk.store import start_over

    start_over(DiskAddress.parse(url).path)


def _print_scope(console: Console, name: str, limits: list[Usage], labels: list[Carried]) -> None:
    console.print(Text(plain(name), style="bold"))
    if limits:
        _print_limits(console, limits)
    told = ", ".join(f"{one.name} ({one.tool}, {date_and_time(one.last)})" for one in labels)
    if told:
        console.print(Padding(Text(f"carries {plain(told, 500)}"), (0, 0, 0, 1)), soft_wrap=True)


def _print_limits(console: Console, limits: list[Usage]) -> None:
    rows: list[list[Content]] = []
    for one in limits:
        frees = f"frees in {remaining(one.frees_in)}" if one.used else ""
        bar = Cell("", share=share(one.used, one.max))
        used = one_line(of_most(one.counter, one.used, one.max))
        rows.append([bar, used, f"{spoken(one.counter)} in {window(one.window)}", frees])
    table = to_rich(Table(("", "used", "", "frees"), rows, numbers=("used", "frees")), framed=False, headed=False)
    console.print(Padding(table, (0, 0, 0, 1)))


def _halted(halted: Halted) -> Text:
    return Text(f"HALTED {plain(halted.scope)}: {plain(halted.reason)}", style="bold red")


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
    title = "In flight or waiting for a human: these were let through before"
    cells = [[date_and_time(row.time), row.tool, row.session, row.grant] for row in rows]
    return Table(("since (UTC)", "tool", "session", "grant"), cells, title)
