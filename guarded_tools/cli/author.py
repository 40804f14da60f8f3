"""``scan``, ``test`` and ``lock``: from a server's address to a policy that is tested and tools that are pinned."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from guarded_tools.cli.console import say, write_draft
from guarded_tools.cli.server_tools import (
    Command,
    Env,
    Sandbox,
    ServerName,
    StartTimeout,
    Token,
    Tools,
    Url,
    one_source,
    read_tools,
)
from guarded_tools.errors import GuardError, PolicyError
from guarded_tools.text.units import counted

if TYPE_CHECKING:
    from guarded_tools.authoring.policy_tests import Failure, Result
    from guarded_tools.cli.server_tools import ServerTools, ToolSource
    from guarded_tools.tools.lock import Drift
    from guarded_tools.values import ToolCall

LOCK_FILE = Path("guarded-tools.lock")


def scan(
    command: Command = None,
    *,
    tools: Tools = None,
    sandbox: Sandbox = False,
    url: Url = None,
    server: ServerName = None,
    env: Env = None,
    token_env: Token = None,
    start_timeout: StartTimeout = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file, which must not exist yet.")
    ] = None,
    form: Annotated[
        Literal["yaml", "json"] | None,
        typer.Option("--format", help="YAML has comments. Default: by the suffix of -o."),
    ] = None,
) -> None:
    """Read a server's tools and draft a policy for them, grouped by risk class."""
    from guarded_tools.authoring.scan import draft, draft_yaml, rate
    from guarded_tools.tools.risk import RANK

    offer = _offer(
        one_source(tools, command, sandbox=sandbox, url=url, start_timeout=start_timeout), server, env, token_env
    )
    rated = [rate(info, annotations, offer.known(info.name)) for info, annotations in offer.tools]
    if form is None:
        form = "json" if output is not None and output.suffix == ".json" else "yaml"
    if form == "yaml":
        text = draft_yaml(offer.server, rated)
    else:
        many = counted(len(rated), "tool")
        note = f"A draft for {many}, made from what the server says of them. Read it before you use it."
        text = json.dumps({"description": note, **draft(offer.server, rated)}, indent=2) + "\n"
    write_draft(output, text)
    classes = Counter(tool.risk for tool in rated)
    told = ", ".join(f"{classes[risk]} {risk}" for risk in RANK if classes[risk]) or "none"
    say(f"{counted(len(rated), 'tool')} of {offer.server}: {told}", err=True)


def lock(
    command: Command = None,
    *,
    tools: Tools = None,
    sandbox: Sandbox = False,
    url: Url = None,
    server: ServerName = None,
    env: Env = None,
    token_env: Token = None,
    start_timeout: StartTimeout = None,
    file: Annotated[Path, typer.Option("--file", "-f", help="The lock.")] = LOCK_FILE,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if a tool changed, is new or is gone.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the differences as JSON.")] = False,
) -> None:
    """Pin a server's tools by name, description and schema, or check them against their pins."""
    from guarded_tools.tools.lock import Lock

    pinned = Lock.from_file(file) if check or file.exists() else None
    offer = _offer(
        one_source(tools, command, sandbox=sandbox, url=url, start_timeout=start_timeout), server, env, token_env
    )
    drifts = pinned.compare(offer.server, offer.infos) if pinned is not None else []
    if not check:
        fresh = Lock.of(offer.infos)
        try:
            file.write_text((pinned.joined(fresh) if pinned else fresh).to_json(), encoding="utf-8")
        except OSError as error:
            raise GuardError(f"{file} cannot be written: {error.strerror}") from None
    if as_json:
        typer.echo(json.dumps([drift._asdict() for drift in drifts], indent=1))
    else:
        _say_drift(drifts, len(offer.tools), offer.server, file, checked=check)
    raise typer.Exit(1 if check and drifts else 0)


def run_tests(
    policy: Annotated[str, typer.Argument(help="A policy file, or a preset's name.", show_default=False)],
    cases: Annotated[
        list[Path] | None, typer.Argument(help="Files of cases. Default: those that the preset comes with.")
    ] = None,
    *,
    lock_file: Annotated[
        Path | None, typer.Option("--lock", help="Take the tools' schemas from this lock.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Run a policy's own tests: calls, time passing between them, and what has to become of each."""
    from guarded_tools.authoring.explanation import dump, risk_of, standing_in
    from guarded_tools.authoring.policy_cases import Cases
    from guarded_tools.authoring.policy_tests import run
    from guarded_tools.policy.explain import explain
    from guarded_tools.policy.policy import load_policy
    from guarded_tools.values import ToolInfo

    judged = load_policy(policy)
    schemas = _schemas(judged.server, lock_file)
    problems = judged.check_tools(schemas) if schemas else ()
    if problems:
        raise PolicyError(problems)

    def look(call: ToolCall, store: Any, now: float) -> tuple[Any, Any]:
        schema = schemas.get(call.tool)
        explanation = explain(judged, call, schema, risk_of(judged, ToolInfo(call.tool, schema=schema)))
        return explanation, standing_in(store, explanation, call, now)

    # Every file is read before anything runs, so that one broken file is not lost behind the results of another.
    read = [(path, Cases.from_file(path, schemas)) for path in cases or [_preset_cases(policy)]]
    results = [(path, result) for path, found in read for result in run(judged, found, schemas=schemas, explain=look)]
    failed = sum(result.failure is not None for _, result in results)
    if as_json:
        typer.echo(dump([_as_json(path, result) for path, result in results]))
    else:
        for path, result in results:
            _say_result(path, result)
        say(f"{len(results) - failed} of {len(results)} cases passed")
    raise typer.Exit(1 if failed else 0)


def _offer(source: ToolSource, server: str | None, env: list[str] | None, token_env: str | None) -> ServerTools:
    offer = read_tools(source, server=server, env=env, token_env=token_env)
    if not offer.server:
        raise GuardError(f"{source.where} pins several servers: say which with --server NAME")
    return offer


def _preset_cases(policy: str) -> Path:
    from guarded_tools.policy.presets import PRESETS, cases_of

    if policy not in PRESETS:
        raise GuardError("name the files of cases to run")
    return cases_of(policy)


def _schemas(server: str | None, lock_file: Path | None) -> dict[str, Mapping[str, Any] | None]:
    """The schemas of a server's tools: from a lock, else from the catalogue; empty where neither knows it."""
    from guarded_tools.pictify.catalogue import SERVER, catalogue
    from guarded_tools.tools.lock import Lock

    if lock_file is not None:
        servers = Lock.from_file(lock_file).servers
        if server is None and len(servers) == 1:
            (server,) = servers
        if server is None or server not in servers:
            raise GuardError(f"{lock_file} pins no server {server!r}, but {', '.join(map(repr, servers)) or 'none'}")
        return {name: pinned.schema for name, pinned in servers[server].items()}
    return {name: info.schema for name, info in catalogue().items()} if server == SERVER else {}


def _say_drift(drifts: Sequence[Drift], total: int, server: str, file: Path, *, checked: bool) -> None:
    from guarded_tools.text.visible import plain

    for drift in drifts:
        say(f"{plain(drift.tool)}: {drift.summary}")
        if drift.diff:
            typer.echo(drift.diff)
    if not checked:
        say(f"{file}: {counted(total, 'tool')} of {server} {'is' if total == 1 else 'are'} pinned")
    elif not drifts:
        say(f"{file}: {counted(total, 'tool')} of {server}, all as they were pinned")


def _say_result(path: Path, result: Result) -> None:
    from guarded_tools.cli.explanation import print_explanation

    if result.failure is None:
        say(f"ok    {result.case.name} ({result.calls} calls)")
        return
    failure = result.failure
    say(f"FAIL  {result.case.name} ({path})")
    say(f"      step {failure.step}, call {failure.call}: {failure.judged.tool} {json.dumps(failure.judged.args)}")
    for part, wanted, found in failure.expected.differences(failure.seen):
        say(f"      {part}: expected {wanted!r}, was {found!r}")
    seen = failure.seen
    explanation, counts = failure.explained
    said = f": {seen.message}" if seen.message else ""
    say(f"      what became of it: {seen.effect}, by {seen.rule}{said}")
    say("      what explains it, with the counters as that call met them:")
    print_explanation(failure.judged, explanation, counts)


def _as_json(path: Path, result: Result) -> dict[str, Any]:
    return {
        "file": str(path),
        "name": result.case.name,
        "passed": result.failure is None,
        "calls": result.calls,
        "failure": _failure_as_json(result.failure) if result.failure else None,
    }


def _failure_as_json(failure: Failure) -> dict[str, Any]:
    from guarded_tools.authoring.explanation import to_json

    return {
        "step": failure.step,
        "call": failure.call,
        "tool": failure.judged.tool,
        "args": failure.judged.args,
        "seen": failure.seen._asdict(),
        "explained": to_json(*failure.explained),
        "differences": [
            {"part": part, "expected": wanted, "seen": found}
            for part, wanted, found in failure.expected.differences(failure.seen)
        ],
    }
