"""``drill``: attacks on the user's own policy, or on another guard, with a grade."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from guarded_tools.cli.app import FINE, PROBLEMS
from guarded_tools.cli.console import say
from guarded_tools.cli.server_tools import StartTimeout, ToolsToCheck, parse_source, read_tools
from guarded_tools.errors import GuardError

if TYPE_CHECKING:
    from guarded_tools.authoring.drill.report import Heading
    from guarded_tools.authoring.drill.run import Drilled
    from guarded_tools.cli.server_tools import ServerTools, ToolSource
    from guarded_tools.policy import Policy


def drill(
    policy: Annotated[
        str | None, typer.Argument(help="A policy file, or a preset's name. Not with --against.", show_default=False)
    ] = None,
    *,
    server: ToolsToCheck = None,
    start_timeout: StartTimeout = None,
    lock: Annotated[bool, typer.Option("--lock/--no-lock", help="Whether your program pins the tools.")] = True,
    grant: Annotated[
        bool, typer.Option("--grant/--no-grant", help="Whether your program says who the agent acts for.")
    ] = True,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="MODULE:OBJECT", help="Drill another guard: what makes its tools."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Draw a picture, as .svg, .png or .pdf.", show_default=False)
    ] = None,
    fail_under: Annotated[
        Literal["A", "B", "C", "D", "E", "F"] | None,
        typer.Option("--fail-under", help="Exit 1 where the grade is worse.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Attack a policy with patterns bound to a server's tools, through the real guard; nothing is contacted."""
    from guarded_tools.authoring.drill.grade import worse
    from guarded_tools.authoring.drill.report import lines, to_json
    from guarded_tools.authoring.explanation import dump

    if output is not None and output.suffix not in {".svg", ".png", ".pdf"}:
        raise GuardError(f"-o {output} is no picture: name one that ends with .svg, .png or .pdf")
    if (policy is None) == (against is None):
        raise GuardError("name what to drill: a policy, or another guard with --against module:object")
    asked = None if server is None else parse_source(server, start_timeout)
    heading, drilled = _policy(policy, asked, lock=lock, grant=grant) if policy else _foreign(against or "", asked)
    if output is not None:
        _draw(output, heading, drilled)
    if as_json:
        typer.echo(dump(to_json(heading, drilled)))
    else:
        for line in lines(heading, drilled):
            say(line)
    failed = fail_under is not None and worse(drilled.grade.letter, fail_under)
    raise typer.Exit(PROBLEMS if failed else FINE)


def _policy(source: str, server: ToolSource | None, *, lock: bool, grant: bool) -> tuple[Heading, Drilled]:
    from guarded_tools.authoring.drill.course import pinned, targets_of
    from guarded_tools.authoring.drill.report import Heading
    from guarded_tools.authoring.drill.run import drill as run
    from guarded_tools.authoring.drill.subjects import GuardedPolicy
    from guarded_tools.policy.policy import load_policy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they are about is found, or is for `validate` to say
        judged = load_policy(source)
    offer = _offer(server, judged)
    targets = targets_of(offer.tools, judged, offer.known)
    subject = GuardedPolicy(judged, pinned(targets) if lock else None, grant)
    with _progress() as told:
        drilled = run(subject, targets, judged, told=told)
    return Heading(source, offer.server or "several servers", _assumed(lock=lock, grant=grant)), drilled


def _foreign(against: str, server: ToolSource | None) -> tuple[Heading, Drilled]:
    from guarded_tools.authoring.drill.course import targets_of
    from guarded_tools.authoring.drill.report import Heading
    from guarded_tools.authoring.drill.run import drill as run
    from guarded_tools.authoring.drill.subjects import Foreign, read_subject

    sys.path.insert(0, "")  # as `python -m` does: a module of one's own stands in the working directory
    subject = read_subject(against)
    if isinstance(subject, Foreign):
        offer = _offer(server, None)
        targets, whose = targets_of(offer.tools, None, offer.known), offer.server or "several servers"
    else:
        targets, whose = targets_of([(info, {}) for info in subject.infos()], None), "the list"
    with _progress() as told:
        return Heading(against, whose), run(subject, targets, told=told)


def _offer(server: ToolSource | None, policy: Policy | None) -> ServerTools:
    from guarded_tools.pictify.catalogue import SERVER

    if server is None and (policy is None or policy.server != SERVER):
        raise GuardError("say whose tools are attacked: --tools TOOLS, as for `guarded-tools validate`")
    found = read_tools(server or parse_source(SERVER))
    if not found.tools:
        raise GuardError("there are no tools to attack")
    return found


def _assumed(*, lock: bool, grant: bool) -> str:
    said = [
        "your program gives the guard a lock (--no-lock if not)" if lock else "no lock",
        "it says who the agent acts for (--no-grant if not)" if grant else "no grant",
    ]
    return ", ".join(said)


def _draw(output: Path, heading: Heading, drilled: Drilled) -> None:
    from guarded_tools.authoring.drill.picture import draw

    # The same input, the same file: without the time of day.
    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(output.suffix)
    try:
        draw(heading, drilled).savefig(output, facecolor="white", metadata=undated)
    except OSError as error:
        raise GuardError(f"{output} cannot be written: {error.strerror}") from None


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Say on standard error which pattern is under way, where somebody looks."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    from guarded_tools.authoring.drill.patterns import PATTERNS

    console = Console(stderr=True)
    columns = (BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=len(PATTERNS) + 1)

        def told(title: str) -> None:
            bar.update(task, description=title, advance=1)

        yield told
