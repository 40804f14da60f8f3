"""``validate``, ``explain``, ``schema``, ``preset``: what is wrong with a policy, and what it would say of a call."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guarded_tools.cli.app import FINE, PROBLEMS, UNREADABLE
from guarded_tools.cli.console import say, write_draft
from guarded_tools.cli.options import State, Url
from guarded_tools.cli.server_tools import StartTimeout, ToolsToCheck, known_tools, tools_of
from guarded_tools.errors import GuardError, PolicyError, Problem
from guarded_tools.policy.presets import PRESETS, cases_of, preset_text
from guarded_tools.text.strict_json import no_key_twice
from guarded_tools.text.units import counted
from guarded_tools.text.visible import one_line

if TYPE_CHECKING:
    from guarded_tools.policy import Policy
    from guarded_tools.values import ToolInfo

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write to this file, which must not exist yet.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def validate(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Policy files, or presets' names.")],
    *,
    server: ToolsToCheck = None,
    start_timeout: StartTimeout = None,
    as_json: AsJson = False,
) -> None:
    """Report every problem of policy files at once, each with its place and what to write instead.

    Tools are looked up where --tools says which there are, and for Pictify's, which are known, without.
    """
    given = None if server is None else tools_of(server, start_timeout)
    told: list[dict[str, Any]] = []
    code = FINE
    for file in files:
        policy, problems, unreadable = _read(file)
        remarks = policy.warnings if policy else ()
        if policy is None:
            problems += () if unreadable else _unknown_names(file, given)
        elif (tools := known_tools(policy.server, given)) is not None:
            problems += policy.check_tools(tools)
            remarks += policy.check_schemas(tools)
        told += [{"level": "error", **problem._asdict()} for problem in problems]
        told += [{"level": "warning", **problem._asdict()} for problem in remarks]
        code = max(code, UNREADABLE if unreadable else PROBLEMS if problems else FINE)
        if not as_json:
            _say(file, policy, problems, remarks)
    if as_json:
        typer.echo(json.dumps(told, indent=1))
    raise typer.Exit(code)


def explain(
    file: Annotated[str, typer.Argument(help="A policy file, or a preset's name.", show_default=False)],
    tool: Annotated[str, typer.Argument(help="The tool to call.", show_default=False)],
    *,
    args: Annotated[str, typer.Option("--args", help="The arguments as a JSON object.")] = "{}",
    session: Annotated[str, typer.Option("--session", help="The session that calls.")] = "default",
    grant: Annotated[str | None, typer.Option("--grant", help="The identity it acts for.", show_default=False)] = None,
    server: ToolsToCheck = None,
    start_timeout: StartTimeout = None,
    store: Url = None,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Say what would become of a call, and why: every predicate with what it saw, every limit. Counts nothing."""
    from guarded_tools.authoring.explanation import dump, risk_of, standing, to_json
    from guarded_tools.cli.explanation import print_explanation
    from guarded_tools.policy.diagnostics import suggest
    from guarded_tools.policy.explain import explain as look
    from guarded_tools.policy.policy import load_policy
    from guarded_tools.values import ToolCall, ToolInfo

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        policy = load_policy(file)
    call = ToolCall(tool, _arguments(args), session, grant)
    tools = tools_of(server or "pictify", start_timeout) if server or policy.server == "pictify" else []
    info = next((info for info in tools if info.name == tool), ToolInfo(tool))
    explanation = look(policy, call, info.schema, risk_of(policy, info))
    met = standing(explanation, call, store, state)
    if as_json:
        typer.echo(dump(to_json(explanation, met)))
    else:
        print_explanation(call, explanation, met)
    if tools and info not in tools:
        names = [info.name for info in tools]
        hint = suggest(tool, names)
        say(one_line(f"{policy.server or 'the server'} has no tool {tool}{f': {hint}' if hint else ''}"), err=True)
        raise typer.Exit(PROBLEMS)


def schema(output: Output = None) -> None:
    """Print the JSON Schema of a policy file, for editors; a policy names it under "$schema"."""
    from guarded_tools.policy.reading.json_schema import shipped

    write_draft(output, shipped())


def _read(file: str) -> tuple[Policy | None, tuple[Problem, ...], bool]:
    from guarded_tools.policy.policy import load_policy

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # shown with the problems
            return load_policy(file), (), False
    except PolicyError as error:
        return None, error.problems, error.unreadable


def _unknown_names(file: str, given: list[ToolInfo] | None) -> tuple[Problem, ...]:
    """What a policy with problems of its own names in vain: told with the rest, not after the rest is mended."""
    from guarded_tools.policy.reading.source import read_source
    from guarded_tools.policy.tool_check import unknown_names

    try:
        source = read_source(Path(file))
    except PolicyError:
        return ()
    data = source.data if type(source.data) is dict else {}
    tools = known_tools(data.get("server"), given)
    if tools is None:
        return ()
    hide, keys = data.get("hide"), data.get("tools")
    hidden, listed = hide if type(hide) is list else [], keys if type(keys) is dict else {}
    return tuple(unknown_names(hidden, listed, tools, source.problem))


def _say(file: str, policy: Policy | None, problems: Iterable[Problem], remarks: Iterable[Problem]) -> None:
    for problem in problems:
        say(one_line(str(problem)), err=True)
    if policy is None:
        return
    for warning in remarks:
        say(one_line(f"{warning} [warning]"), err=True)
    if not problems:
        say(f"{file}: fine, {counted(len(policy.tools), 'tool or glob', 'tools and globs')}, {len(policy.hide)} hidden")


def _arguments(text: str) -> dict[str, Any]:
    try:
        # NaN and infinity are let through: a model may send them, and what becomes of that call is to be explained.
        args = json.loads(text, object_pairs_hook=no_key_twice)
    except (ValueError, RecursionError) as error:
        raise GuardError(f"--args cannot be read as JSON: {error}") from None
    if type(args) is not dict:
        raise GuardError("--args is a JSON object, like '{\"amount\": 5}'")
    return args


def preset(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(PRESETS)}.", show_default=False)],
    *,
    cases: Annotated[bool, typer.Option("--cases", help="Print its tests instead, for `guarded-tools test`.")] = False,
    output: Output = None,
) -> None:
    """Print one of Pictify's preset policies, to be changed and used as a file of your own."""
    write_draft(output, cases_of(name).read_text(encoding="utf-8") if cases else preset_text(name))
