"""``gateway wrap`` and ``gateway unwrap``: a gateway before each server in a client's configuration, and away again."""

from __future__ import annotations

import difflib
import hashlib
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from guarded_tools.cli.app import FINE, PROBLEMS
from guarded_tools.cli.console import say
from guarded_tools.cli.options import State
from guarded_tools.errors import GuardError
from guarded_tools.state import state_dir
from guarded_tools.text.visible import one_line

if TYPE_CHECKING:
    from guarded_tools.gateway.client_config import Wrapped

Config = Annotated[Path, typer.Argument(metavar="FILE", help="A client's configuration.")]
Policies = Annotated[
    list[str], typer.Option("--policy", metavar="POLICY", help="For all servers; or NAME=POLICY, once for each.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


class _Record(NamedTuple):
    """What a file held before it was wrapped and after: kept in the state directory, since both may hold secrets."""

    before: Path
    after: Path

    def read(self) -> tuple[str, str] | None:
        try:
            return self.before.read_bytes().decode(), self.after.read_bytes().decode()
        except FileNotFoundError:
            return None

    def write(self, before: str, after: str) -> None:
        from guarded_tools import files

        files.make_private(self.before.parent)
        files.replace(self.before, before.encode())
        files.replace(self.after, after.encode())

    def forget(self) -> None:
        self.before.unlink(missing_ok=True)
        self.after.unlink(missing_ok=True)


def wrap(config: Config, *, policy: Policies, yes: Yes = False, state: State = None) -> None:
    """Put a gateway before each server of a client's configuration; shows what changes first."""
    from guarded_tools.gateway.client_config import wrap as wrapped_in
    from guarded_tools.mcp_session import generation

    generation.require_second("gateway takes the second generation of MCP")
    path, text = _read(config)
    chosen = _policies(policy)
    more = [] if state is None else ["--state", str(state.absolute())]

    def options(name: str) -> Sequence[str] | None:
        found = chosen.get(name) or chosen.get("")
        return None if found is None else [*found, *_named(name, found), *more]

    result = _understood(path, lambda: wrapped_in(text, _program(), options))
    _tell(result, "put behind a gateway")
    if not result.done:
        say("There is nothing to change.")
        raise typer.Exit(FINE)
    record = _record(path, state)
    before = text if (known := record.read()) is None else _unwrapped(path, text, known).text
    _show(path, text, result.text)
    _confirm(yes)
    record.write(before, result.text)
    _replace(path, text, result.text)
    say(f"Written. As it was: {record.before}; to take it back: guarded-tools gateway unwrap {config}")


def unwrap(config: Config, *, yes: Yes = False, state: State = None) -> None:
    """Take the gateways out of a client's configuration again; shows what changes first."""
    path, text = _read(config)
    record = _record(path, state)
    known = record.read()
    if known is None:
        raise GuardError(f"nothing is known of {config}: it was wrapped with another --state, or never")
    result = _unwrapped(path, text, known)
    if text != known[1]:
        say(f"{config} was edited since it was wrapped: only the servers' entries are put back.")
    _tell(result, "as before")
    if result.text != text:
        _show(path, text, result.text)
        _confirm(yes)
        _replace(path, text, result.text)
    if result.left:
        raise typer.Exit(PROBLEMS)
    record.forget()


def _read(config: Path) -> tuple[Path, str]:
    """Follow links to a file, and read it.

    Raises:
        GuardError: it cannot be read.
    """
    try:
        path = config.resolve(strict=True)
        return path, path.read_bytes().decode()
    except (OSError, ValueError, RuntimeError) as error:
        raise GuardError(f"{config} cannot be read: {one_line(str(error))}") from None


def _policies(given: Sequence[str]) -> dict[str, list[str]]:
    """Return the options that name a server's policy, by server; under no name, those of all."""
    from guarded_tools.policy.policy import load_policy

    pairs = [("", each) if Path(each).exists() or "=" not in each else each.split("=", 1) for each in given]
    found: dict[str, list[str]] = {}
    for name, source in pairs:
        if name in found:
            raise GuardError("name one --policy, or one for each server: --policy github=one.json --policy db=two.json")
        server = load_policy(source).server
        # A client starts it wherever it likes.
        where = str(Path(source).absolute()) if Path(source).exists() else source
        found[name] = ["--policy", where, *(["--server", server] if server else [])]
    return found


def _named(name: str, options: Sequence[str]) -> list[str]:
    return [] if "--server" in options else ["--server", name]


def _program() -> list[str]:
    """Return what starts this program, from wherever a client starts it."""
    beside = Path(sys.executable).with_name("guarded-tools")
    return [str(beside)] if beside.exists() else [sys.executable, "-m", "guarded_tools.cli"]


def _record(path: Path, state: Path | None) -> _Record:
    name = f"{hashlib.sha256(str(path).encode()).hexdigest()[:16]}-{path.name}"
    folder = state_dir(state) / "wrapped"
    return _Record(folder / f"{name}.before", folder / f"{name}.after")


def _unwrapped(path: Path, text: str, known: tuple[str, str]) -> Wrapped:
    from guarded_tools.gateway.client_config import unwrap as unwrapped_in

    return _understood(path, lambda: unwrapped_in(text, *known))


def _understood(path: Path, work: Any) -> Wrapped:
    try:
        result: Wrapped = work()
    except ValueError as error:
        raise GuardError(f"{path}: {one_line(str(error))}") from None
    return result


def _tell(result: Wrapped, how: str) -> None:
    for name in result.done:
        say(one_line(f"{name}: {how}"))
    for why in result.left:
        say(one_line(f"left as it is: {why}"))


def _show(path: Path, old: str, new: str) -> None:
    """Show the difference, without what is secret in it."""
    from guarded_tools.gateway.client_config import values_in
    from guarded_tools.mcp_session.transport import Masker

    mask = Masker([*values_in(old), *values_in(new)])
    lines = difflib.unified_diff(
        mask(old).splitlines(), mask(new).splitlines(), str(path), f"{path} (new)", lineterm=""
    )
    for line in lines:
        say(one_line(line))
    say("Values of env, headers and addresses with keys are not shown.")


def _confirm(yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise GuardError("nothing was changed: nobody is here to be asked; with --yes it is done all the same")
    if not typer.confirm("Write it?"):
        say("Nothing was changed.")
        raise typer.Exit(PROBLEMS)


def _replace(path: Path, old: str, new: str) -> None:
    """Write the file, with the mode that it had.

    Raises:
        GuardError: it changed meanwhile, or cannot be written.
    """
    from guarded_tools import files

    try:
        if path.read_bytes() != old.encode():
            raise GuardError(f"{path} changed meanwhile; nothing was written: do it again")
        files.replace(path, new.encode(), stat.S_IMODE(path.stat().st_mode))
    except OSError as error:
        raise GuardError(f"{path} cannot be written: {error.strerror or error}") from None
