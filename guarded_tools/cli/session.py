"""``guarded-tools session``: what a session carries for rules across calls, and the human who takes a label from it."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.text import Text

from guarded_tools.cli.app import PROBLEMS, UNREADABLE
from guarded_tools.cli.console import out, print_folded, say
from guarded_tools.cli.options import State, Url, opened, store_name, unused
from guarded_tools.control.actions import clear_label
from guarded_tools.marks import Carried
from guarded_tools.text.tables import Content, Table, to_rich
from guarded_tools.text.units import date_and_time
from guarded_tools.text.visible import plain
from guarded_tools.values import grant_scope, session_scope

_KINDS = {"label": "carries", "admitted": "called", "succeeded": "succeeded"}


def session(
    session: Annotated[str | None, typer.Argument(help="The session.", show_default=False)] = None,
    *,
    grant: Annotated[str | None, typer.Option("--grant", help="A grant instead.", show_default=False)] = None,
    clear: Annotated[str | None, typer.Option("--clear", metavar="LABEL", help="Take this label away.")] = None,
    by: Annotated[str, typer.Option("--by", help="Who decided so; for the audit.")] = "",
    why: Annotated[str, typer.Option("--why", help="Why it may go; for the audit.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    state: State = None,
    store: Url = None,
) -> None:
    """Show what a session carries for rules across calls: what, which call brought it, and when."""
    if (session is None) == (grant is None):
        raise typer.BadParameter("name a session, or give --grant")
    scope = grant_scope(grant) if session is None and grant is not None else session_scope(session or "")
    if clear is not None:
        _clear(scope, clear, by, why, state=state, store=store)
        return
    new = unused(store, state)
    carried = [] if new else opened(store, state).carried(scope)
    if as_json:
        typer.echo(json.dumps({"scope": scope, "carried": [one._asdict() for one in carried]}, indent=1))
        return
    console = out()
    if not carried:
        nothing = f"No guard has used {store_name(store, state)} yet." if new else f"{scope} carries nothing."
        print_folded(console, Text(plain(nothing)))
        return
    console.print(to_rich(_table(scope, carried)))


def _clear(scope: str, label: str, by: str, why: str, *, state: State, store: Url) -> None:
    if not (by.strip() and why.strip()):
        raise typer.BadParameter('say who decides so and why: --by ann --why "…"', param_hint="--clear")
    done = clear_label(opened(store, state), state, scope, label, by=by, why=why)
    if done == "absent":
        say(f"{plain(scope)} does not carry {plain(label)} in {plain(store_name(store, state), 500)}", err=True)
        raise typer.Exit(UNREADABLE)
    if done == "gone":
        say(f"{plain(label)} was taken away meanwhile", err=True)
        raise typer.Exit(PROBLEMS)
    out().print(Text(f"{plain(scope)} no longer carries {plain(label)}."))


def _table(scope: str, carried: list[Carried]) -> Table:
    rows: list[list[Content]] = [
        [_KINDS[one.kind], one.name, one.tool, date_and_time(one.first), date_and_time(one.last)] for one in carried
    ]
    return Table(("", "what", "brought by", "first (UTC)", "last (UTC)"), rows, scope)
