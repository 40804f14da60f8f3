"""What is to be said of an installation. Pure: versions, terminal and the like are handed in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from guarded_tools.doctor.remark import Remark
from guarded_tools.errors import GuardError, install
from guarded_tools.mcp_session.generation import Version, chosen
from guarded_tools.stores.disk.cache import OLDEST_SQLITE, sqlite_fault

EXTRAS: Final[Mapping[str, str]] = {
    "agent": "agents of LangChain, and the demo",
    "redis": "a store on Redis",
    "web": "guarded-tools web",
    "notebook": "pictures, and buttons in notebooks",
    "budget": "what models cost, for budgets in dollars",
    "otel": "OpenTelemetry",
    "checkpoints": "replays of LangGraph's checkpoints",
    "parquet": "exports as Parquet",
}
"""Extras by name, and what each is needed for; those that bring MCP are told of by their generation."""


class Requirement(NamedTuple):
    """A package that this one takes, in the versions of ``allowed``; an empty ``extra`` means that it always does."""

    name: str
    allowed: str
    extra: str = ""


class TerminalFacts(NamedTuple):
    """Where questions could be asked: ``fault`` says why they cannot. ``encoding`` is standard output's."""

    fault: str
    encoding: str


class Installation(NamedTuple):
    """What is installed. ``versions`` are those of the packages that are required, where they are there."""

    python: str
    python_allowed: str
    requirements: Sequence[Requirement]
    versions: Mapping[str, str]
    mcp: Mapping[str, Version]
    sqlite: tuple[int, ...]
    terminal: TerminalFacts


def judge_installation(found: Installation) -> list[Remark]:
    """Say what is right and wrong with an installation, the most basic things first."""
    return [
        _python(found),
        *_core(found),
        _mcp(found.mcp),
        *_extras(found),
        _sqlite(found.sqlite),
        *_terminal(found.terminal),
    ]


def fits(version: str, allowed: str) -> bool:
    """Whether a version is among those that a requirement allows; pre-releases count as the versions they are."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion

    try:
        return SpecifierSet(allowed).contains(version, prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return True  # nobody can tell


def _python(found: Installation) -> Remark:
    if fits(found.python, found.python_allowed):
        return Remark("ok", "Python", found.python)
    said = f"{found.python} is too old: {found.python_allowed} is needed"
    return Remark("wrong", "Python", said, "python3.12 -m venv .venv")


def _core(found: Installation) -> Iterator[Remark]:
    core = [one for one in found.requirements if not one.extra]
    faults = [one for one in core if not _is_met(one, found.versions)]
    for one in faults:
        version = found.versions.get(one.name)
        said = f"{version} is installed, and {one.allowed} is needed" if version else "is not installed"
        yield Remark("wrong", one.name, said, _install(one))
    if not faults:
        yield Remark("ok", "packages", f"all {len(core)} that are always needed, in versions that fit")


def _is_met(one: Requirement, versions: Mapping[str, str]) -> bool:
    return one.name in versions and fits(versions[one.name], one.allowed)


def _install(one: Requirement) -> str:
    return f"pip install '{one.name}{one.allowed}'"


def _mcp(versions: Mapping[str, Version]) -> Remark:
    try:
        number = chosen(versions)
    except GuardError as error:
        # Without MCP at all, tools of one's own are guarded all the same; by halves, nothing of it works.
        said, _, command = str(error).partition(": ")
        if "mcp" not in versions:
            return Remark("ok", "MCP", "not installed; guards of tools of your own need none", _command(str(error)))
        return Remark("wrong", "MCP", said, _command(command))
    told = ", ".join(f"{name} {'.'.join(map(str, version))}" for name, version in versions.items())
    generation = "first" if number == 1 else "second"
    if number == 1 and "fastmcp" in versions:
        said = f"the {generation} generation, with a package of the other beside it ({told})"
        return Remark("warning", "MCP", said, "pip uninstall fastmcp")
    return Remark("ok", "MCP", f"the {generation} generation ({told})")


def _command(text: str) -> str:
    """Pick the first command out of a message."""
    _, pip, rest = text.partition("pip ")
    return pip + rest.split(". For ")[0].split(". With ")[0] if pip else ""


def _extras(found: Installation) -> Iterator[Remark]:
    absent, complete = [], []
    for extra, purpose in EXTRAS.items():
        needed = [one for one in found.requirements if one.extra == extra]
        there = [one for one in needed if one.name in found.versions]
        misfits = [one for one in there if not _is_met(one, found.versions)]
        for one in misfits:
            said = f"for {purpose}: {one.name} {found.versions[one.name]} is installed, and {one.allowed} is needed"
            yield Remark("warning", f"extra {extra}", said, _install(one))
        if needed and len(there) == len(needed) and not misfits:
            complete.append(extra)
        elif needed and not misfits:
            absent.append((extra, purpose))
    if complete:
        yield Remark("ok", "extras", f"installed: {', '.join(complete)}")
    for extra, purpose in absent:
        said = f"not installed; it is for {purpose}"
        yield Remark("ok", f"extra {extra}", said, install(extra))


def _sqlite(version: tuple[int, ...]) -> Remark:
    told = ".".join(map(str, version))
    fault = sqlite_fault(version)
    if fault:
        return Remark("wrong", "SQLite", fault, "uv venv --python 3.12")
    return Remark("ok", "SQLite", f"{told}; {'.'.join(map(str, OLDEST_SQLITE))} or newer is needed")


def _terminal(found: TerminalFacts) -> Iterator[Remark]:
    if found.fault:
        said = f"none here: {found.fault}. Questions can be answered from another one"
        yield Remark("warning", "terminal", said, "guarded-tools approvals watch")
    else:
        yield Remark("ok", "terminal", "questions can be asked here")
    if found.encoding.lower().replace("-", "") not in {"utf8", "utf8sig"}:
        said = f"standard output is {found.encoding or 'of no known encoding'}: what is not in it shows as escapes"
        yield Remark("warning", "encoding", said, "export PYTHONUTF8=1")
