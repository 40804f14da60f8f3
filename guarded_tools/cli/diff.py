"""``guarded-tools diff``: what a change of a policy means."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from guarded_tools.cli.app import FINE, PROBLEMS
from guarded_tools.cli.console import print_folded
from guarded_tools.cli.policy_source import read_policy
from guarded_tools.cli.replay import Strict, Widening
from guarded_tools.cli.server_tools import StartTimeout, ToolsToCheck, known_tools, tools_of

if TYPE_CHECKING:
    from guarded_tools.authoring.diff import Difference
    from guarded_tools.authoring.diff.values import Direction

_NAMED = "A policy file, a preset's name, or git:REV:path."
_HEADINGS: Final[dict[Direction, str]] = {
    "looser": "Looser", "untold": "Cannot be told", "tighter": "Tighter", "changed": "Changed",
}  # fmt: skip
_STYLES: Final[dict[Direction, str]] = {"looser": "bold red", "untold": "bold yellow"}


def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help=_NAMED, show_default=False)],
    new: Annotated[str, typer.Argument(metavar="NEW", help=_NAMED, show_default=False)],
    *,
    server: ToolsToCheck = None,
    start_timeout: StartTimeout = None,
    allow_widening: Widening = False,
    strict: Strict = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say what a change of a policy means: what is newly reachable, unasked or hidden, which limits are wider.

    Exit code 1 if anything is looser.
    """
    from guarded_tools.authoring.diff import compare
    from guarded_tools.authoring.diff.words import to_json

    before, after = read_policy(old), read_policy(new)
    given = None if server is None else tools_of(server, start_timeout)
    listed = known_tools(after.server, given) or known_tools(before.server, given) or []
    infos = {info.name: info for info in listed}
    with _progress() as told:
        found = compare(before, after, infos.values(), told=told)
    if as_json:
        typer.echo(json.dumps({"old": old, "new": new, "listed": len(infos), **to_json(found)}, indent=1))
    else:
        _print(found, len(infos))
    failed = (found.looser and not allow_widening) or (strict and found.untold)
    raise typer.Exit(PROBLEMS if failed else FINE)


def _print(found: Difference, listed: int) -> None:
    from rich.text import Text

    from guarded_tools.authoring.diff.values import DIRECTIONS
    from guarded_tools.authoring.diff.words import in_words, tools_in_words
    from guarded_tools.cli.console import out
    from guarded_tools.text.visible import plain

    console = out()
    print_folded(console, Text(_compared(found, listed)))
    if not found.changes:
        console.print("The policies say the same.")
    for direction in DIRECTIONS:
        findings = found.of(direction)
        if findings:
            console.print(Text(f"\n{_HEADINGS[direction]}", _STYLES.get(direction, "bold")))
        for each in findings:
            tools = f"{tools_in_words(each.tools, found.stand_ins)}: " if each.tools else ""
            line = Text.assemble((f"  {each.kind}  ", "dim"), (tools, "bold"), plain(each.words, 600))
            print_folded(console, line)
            if each.example is not None:
                print_folded(console, Text(f"    {in_words(each.example, found.stand_ins)}"))
    if found.looser:
        said = "1 thing is looser" if len(found.looser) == 1 else f"{len(found.looser)} things are looser"
        console.print(Text(f"\n{said} (--allow-widening lets that pass).", "bold red"))


def _compared(found: Difference, listed: int) -> str:
    """Say which tools were compared."""
    from guarded_tools.authoring.diff.tools import LOOKALIKE

    more = len(found.tools) - len(found.stand_ins) - listed
    parts = [f"{listed} tools that the server lists"] if listed else []
    whose = "only the policies name" if listed else "the policies name"
    parts += [f"{more} {'tool' if more == 1 else 'tools'} that {whose}"] if more else []
    alike = [meant for meant in found.stand_ins.values() if meant.startswith(LOOKALIKE)]
    parts += [meant for meant in dict.fromkeys(found.stand_ins.values()) if meant not in alike]
    parts += ["names that only look like one that changed"] if alike else []
    schemas = "" if listed else ". No schemas are known: --tools says whose tools they are"
    return f"Compared: {', '.join(parts)}{schemas}."


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show on standard error how many tools are done, where a terminal is there to show it."""
    from guarded_tools.cli.console import progress

    parts = 1_000
    with progress("Comparing", parts) as advance:
        shown = 0

        def told(done: int, total: int) -> None:
            nonlocal shown
            reached = parts * done // total
            advance(reached - shown)
            shown = reached

        yield told
