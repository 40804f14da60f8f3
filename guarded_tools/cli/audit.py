"""``guarded-tools audit``: who was refused what, and why; whether the account is whole; and a table of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, get_args

import typer

from guarded_tools.audit import Filter, Record, audit_path, export, export_calls, follow, read, verify
from guarded_tools.audit.head import head_path, peek
from guarded_tools.audit.kept_head import is_kept
from guarded_tools.audit.read import files, matching
from guarded_tools.audit.summary import EXPIRED, OPEN, CallRow, calls
from guarded_tools.cli.app import FINE, PROBLEMS
from guarded_tools.cli.audit_view import (
    last_number,
    print_as_they_come,
    print_findings,
    print_latest,
    print_summary,
    read_along,
)
from guarded_tools.cli.console import say
from guarded_tools.cli.options import State, Url
from guarded_tools.errors import AuditError, StoreError
from guarded_tools.state import state_dir
from guarded_tools.stores import Store, open_store
from guarded_tools.stores.disk.address import disk_url
from guarded_tools.stores.disk.directory import DATABASE
from guarded_tools.values import Outcome

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class By(StrEnum):
    """What refusals are grouped by."""

    RULE = "rule"
    SESSION = "session"


app = typer.Typer(no_args_is_help=False, help="Who was refused what, and why.")

File = Annotated[
    Path | None, typer.Option("--file", help="The audit's file. Default: the state directory's.", show_default=False)
]
Session = Annotated[str | None, typer.Option("--session", help="Only this session.", show_default=False)]
Tool = Annotated[
    str | None, typer.Option("--tool", help="Only this tool; * and ? stand for others.", show_default=False)
]
OutcomeOption = Annotated[
    str | None, typer.Option("--outcome", help="Only this outcome: ok, denied, limited, rejected …", show_default=False)
]
Since = Annotated[
    str | None,
    typer.Option(
        "--since", help="Only from then on: 10m, 2h, 7d, or 2026-01-31 or 2026-01-31T12:00 (UTC).", show_default=False
    ),
]


@app.callback(invoke_without_command=True)
def audit(
    context: typer.Context,
    *,
    session: Session = None,
    tool: Tool = None,
    outcome: OutcomeOption = None,
    since: Since = None,
    shadow: Annotated[bool, typer.Option("--shadow", help="What rules under trial would have refused.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the latest calls to list.")] = 15,
    most: Annotated[int, typer.Option("--most", min=1, help="How many kinds of refusal to list.")] = 20,
    by: Annotated[
        By, typer.Option("--by", help="Group refusals by tool, outcome and rule, or by who was refused as well.")
    ] = By.RULE,
    latest: Annotated[bool, typer.Option("--latest", help="Only the latest calls: quick on any log.")] = False,
    follow_on: Annotated[bool, typer.Option("--follow", "-f", help="Go on as calls are made, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The records themselves, one JSON object a line.")] = False,
    file: File = None,
    state: State = None,
) -> None:
    """Show who was refused what, and why; then the latest calls."""
    if context.invoked_subcommand is not None:
        return
    outcome = _outcome(outcome)
    path = audit_at(_path(file, state))
    wanted = Filter(session=session, tool=tool, since=moment_of(since), shadow=shadow)
    try:
        if as_json:
            _print_json(path, replace(wanted, outcome=outcome), follow_on=follow_on)
        else:
            if latest:
                last = print_latest(path, wanted, outcome, lines)
            else:
                last = print_summary(path, wanted, outcome, lines, most, by_session=by is By.SESSION)
            if follow_on:
                print_as_they_come(path, wanted, outcome, last)
    except KeyboardInterrupt:
        raise typer.Exit(FINE) from None


@app.command("verify")
def verify_command(
    *,
    store: Url = None,
    first: Annotated[
        int, typer.Option("--first", min=1, help="The first record expected, if older ones were archived.")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    file: File = None,
    state: State = None,
) -> None:
    """Find lines that were edited, removed or reordered, and an end that was cut off. Exit code 1 if there are any.

    The end is compared with the head that the store keeps, where one does.
    """
    path = _path(file, state)
    second = _store(store, path)
    if second is None or not is_kept(second, path):  # else the store misses what is not there
        audit_at(path)
    findings = verify(path, second, first=first)
    tampered = [finding for finding in findings if not finding.tolerated]
    if as_json:
        typer.echo(json.dumps([finding._asdict() | {"tolerated": finding.tolerated} for finding in findings], indent=2))
    else:
        print_findings(path, findings, second)
    raise typer.Exit(PROBLEMS if tampered else FINE)


@app.command("export")
def export_command(
    target: Annotated[
        Path,
        typer.Argument(
            help="The file to write, which must not exist yet: Parquet where its name ends in .parquet, else CSV;"
            " - for standard output.",
            show_default=False,
        ),
    ],
    *,
    by_call: Annotated[bool, typer.Option("--calls", help="A row a call, with what became of it.")] = False,
    session: Session = None,
    tool: Tool = None,
    outcome: OutcomeOption = None,
    since: Since = None,
    file: File = None,
    state: State = None,
) -> None:
    """Write the records, or the calls, as CSV or Parquet, one row each."""
    outcome = _outcome(outcome)
    path = audit_at(_path(file, state))
    wanted = Filter(session=session, tool=tool, since=moment_of(since))
    if not by_call:
        wanted = replace(wanted, outcome=outcome)

    def rows(records: Iterable[Record]) -> Iterator[CallRow]:
        return (row for row in calls(records) if outcome in {None, row.outcome})

    if str(target) == "-":  # a bar would stand among the rows
        found = matching(path, wanted)
        _ = export_calls(rows(found), sys.stdout) if by_call else export(found, sys.stdout)
        return
    try:
        if target.suffix == ".parquet":
            from guarded_tools.audit import parquet

            found = read_along(path, wanted)
            count = parquet.write_calls(rows(found), target) if by_call else parquet.write_records(found, target)
        else:
            with target.open("x", encoding="utf-8", newline="") as sink:
                found = read_along(path, wanted)
                count = export_calls(rows(found), sink) if by_call else export(found, sink)
    except FileExistsError:
        raise AuditError(f"{target} is there already; name another file, or - for standard output") from None
    except OSError as error:
        raise AuditError(f"{target} cannot be written: {error.strerror}") from error
    say(f"{count} {'calls' if by_call else 'records'} written to {target}")


def _path(file: Path | None, state: Path | None) -> Path:
    return file or audit_path(state_dir(state))


def audit_at(path: Path) -> Path:
    """Return the path of an audit in which there is something.

    Raises:
        AuditError: there is none.
    """
    try:
        path.open("rb").close()
    except FileNotFoundError:
        pass
    except OSError as error:
        why = f"{path} cannot be read as an audit's file: {error.strerror} (--state names a directory, --file a file)"
        raise AuditError(why) from None
    if not files(path) and not head_path(path).exists():
        raise AuditError(
            f"there is no audit at {path}: no guard has written there yet (--state or --file name another)"
        )
    # A head tells that records were there: then `verify` says which are missing.
    if next(read(path), None) is None and peek(head_path(path)) is None:
        raise AuditError(f"{path} is no audit: there is no record in it (--state or --file name another)")
    return path


def _outcome(name: str | None) -> str | None:
    known = (*get_args(Outcome), OPEN, EXPIRED)
    if name is not None and name not in known:
        raise typer.BadParameter(f"{name!r} is none; they are {', '.join(known)}", param_hint="--outcome")
    return name


def moment_of(text: str | None) -> float | None:
    """Read ``--since``, in seconds since the epoch.

    Raises:
        typer.BadParameter: it is neither an age nor a date.
    """
    if text is None:
        return None
    number, unit = text[:-1], text[-1:]
    try:
        if unit in _UNITS and number.isdecimal():
            return (datetime.now(UTC) - timedelta(seconds=int(number) * _UNITS[unit])).timestamp()
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):  # an age may reach back beyond the calendar
        raise typer.BadParameter(
            f"{text!r} is neither an age such as 10m, 2h or 7d nor a date", param_hint="--since"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _store(url: str | None, path: Path) -> Store | None:
    """Open the store that was named, else the one beside the log if that keeps this log's head."""
    if url is not None:
        return open_store(url)
    if not any(path.parent.glob(f"*/{DATABASE}")):  # to open a store would make one
        return None
    try:
        store = open_store(disk_url(path.parent))
        return store if is_kept(store, path) else None
    except StoreError as error:
        say(f"The store beside the log cannot be read, so its head was not compared: {error}", err=True)
        return None


def _print_json(path: Path, wanted: Filter, *, follow_on: bool) -> None:
    last = last_number(path)
    for record in matching(path, wanted):
        last = max(last, record["seq"])
        typer.echo(json.dumps(record))
    if follow_on:
        for record in follow(path, wanted, after=last):
            typer.echo(json.dumps(record))
