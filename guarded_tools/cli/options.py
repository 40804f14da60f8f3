"""Options that commands share: whose state, in which store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from guarded_tools.state import state_dir, state_path
from guarded_tools.stores import Store, open_store
from guarded_tools.stores.disk.address import disk_path, disk_url
from guarded_tools.stores.redis.address import Address
from guarded_tools.values import grant_scope, session_scope

STORE = "GUARDED_TOOLS_STORE"
State = Annotated[Path | None, typer.Option("--state", help="The state directory. Default: yours.", show_default=False)]
Url = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar=STORE,
        help="The store, such as redis://… Default: on disk, in the state directory.",
        show_default=False,
    ),
]
Session = Annotated[str | None, typer.Option("--session", help="Only this agent session.", show_default=False)]
Grant = Annotated[str | None, typer.Option("--grant", help="Only who acts for this identity.", show_default=False)]


def scope_of(session: str | None, grant: str | None) -> str | None:
    """Name the scope that was picked, ``None`` where none was.

    Raises:
        typer.BadParameter: two were.
    """
    if session is not None and grant is not None:
        raise typer.BadParameter("--session and --grant exclude each other: run the command twice")
    if session is not None:
        return session_scope(session)
    return None if grant is None else grant_scope(grant)


def store_url(url: str | None, state: Path | None) -> str:
    """Say where the store is, without making it."""
    return url or disk_url(state_path(state))


def store_name(url: str | None, state: Path | None) -> str:
    """Say it for people: a directory, or a URL without its password."""
    where = store_url(url, state)
    if where.startswith(("redis://", "rediss://")):
        address = Address.parse(where)
        return f"{address.name}?namespace={address.namespace}"
    return str(disk_path(where) or where)


def unused(url: str | None, state: Path | None) -> bool:
    """Whether no guard ever used the store, as far as its directory tells; makes none."""
    from guarded_tools.stores.disk.store import was_used

    path = disk_path(store_url(url, state))
    return path is not None and not was_used(path)


def opened(url: str | None, state: Path | None) -> Store:
    """Open the store, in a directory that is made if need be.

    Raises:
        StoreError: it cannot be relied on.
    """
    if url is None:
        state_dir(state)
    return open_store(store_url(url, state))


class StateAnywhere(TyperGroup):
    """Takes ``--store`` and ``--state`` behind a command too, where all other commands have them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read them as if they stood before the command."""
        own: list[str] = []
        rest: list[str] = []
        words = iter(args)
        for word in words:
            if word in {"--store", "--state"}:
                value = next(words, None)
                if value is None:
                    raise typer.BadParameter(f"{word} needs a value")
                own += [word, value]
            else:
                (own if word.startswith(("--store=", "--state=")) else rest).append(word)
        return super().parse_args(ctx, [*own, *rest])
