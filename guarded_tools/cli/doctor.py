"""``guarded-tools doctor``: what is wrong with the installation and the state, why, and what to run next."""

from __future__ import annotations

import json
import shlex
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.text import Text

from guarded_tools.cli.app import FINE, PROBLEMS
from guarded_tools.cli.console import out
from guarded_tools.cli.options import State, Url, store_name, store_url
from guarded_tools.doctor.remark import Level, Remark
from guarded_tools.errors import PolicyError, StoreError
from guarded_tools.state import state_path
from guarded_tools.text.tones import TERMINAL, Tone
from guarded_tools.text.units import counted
from guarded_tools.text.visible import one_line

_TONES: Final[Mapping[Level, Tone]] = {"ok": "good", "warning": "warn", "wrong": "bad"}
_MARGIN: Final = 9


def doctor(
    policy: Annotated[
        str | None, typer.Option("--policy", help="Also load this policy: file or preset.", show_default=False)
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    state: State = None,
    store: Url = None,
) -> None:
    """Check the installation and the state: what is wrong, why, and what to run next. Changes nothing."""
    remarks = [*_installation(), *_state(state, store), *([] if policy is None else [_policy(policy)])]
    if as_json:
        typer.echo(json.dumps([remark._asdict() for remark in remarks], indent=1))
    else:
        _show(out(), remarks)
    raise typer.Exit(PROBLEMS if any(remark.level == "wrong" for remark in remarks) else FINE)


def _installation() -> list[Remark]:
    from guarded_tools.doctor.gathered import installation
    from guarded_tools.doctor.installation import judge_installation

    return judge_installation(installation())


def _state(state: Path | None, store: str | None) -> list[Remark]:
    from guarded_tools.doctor.gathered_state import gathered
    from guarded_tools.doctor.state import judge_state

    option = "" if state is None else f" --state {shlex.quote(str(state))}"
    try:
        url, name = store_url(store, state), store_name(store, state)
        found = gathered(state_path(state), url, name, option)
    except StoreError as error:
        return [Remark("wrong", "store", one_line(str(error)), "guarded-tools doctor --help")]
    return judge_state(found)


def _policy(source: str) -> Remark:
    from guarded_tools.policy.policy import load_policy

    try:
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            found = load_policy(source)
    except PolicyError as error:
        first, more = error.problems[0], len(error.problems) - 1
        said = f"{first}, and {counted(more, 'problem')} more" if more else str(first)
        return Remark("wrong", "policy", said, f"guarded-tools validate {shlex.quote(source)}")
    return Remark("ok", "policy", one_line(f"{source}: fine, {counted(len(found.tools), 'tool')}"))


def _show(console: Console, remarks: Sequence[Remark]) -> None:
    indent = " " * _MARGIN
    for remark in remarks:
        # Commands are copied, so they are never broken in two.
        words = one_line(f"{remark.about}: {remark.said}")
        told = textwrap.wrap(words, console.width - _MARGIN, break_long_words=False, break_on_hyphens=False)
        line = Text(f"{remark.level:<{_MARGIN}}", style=TERMINAL[_TONES[remark.level]])
        line.append(f"\n{indent}".join(told), style="default")
        if remark.next:
            line.append(f"\n{indent}→ {one_line(remark.next)}", style="default")
        console.print(line, soft_wrap=True)
    counts = {level: sum(remark.level == level for remark in remarks) for level in _TONES}
    wrong, warned = counts["wrong"], counts["warning"]
    console.print(
        "Nothing is wrong." if not wrong + warned else f"{counted(wrong, 'thing')} wrong, {counted(warned, 'warning')}."
    )
