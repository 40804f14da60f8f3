"""Which generation of the MCP SDK is installed: ``mcp`` 1 with langchain-mcp-adapters, or ``mcp`` 2 with FastMCP 4.

The two cannot be installed together, and each needs packages of its own: whichever SDK is there decides. What is
installed by halves is an error that says which command mends it; nothing else is tried in its place.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from guarded_tools.errors import GuardError, install

if TYPE_CHECKING:
    from guarded_tools.mcp_session.protocol import Converter, Sdk

Number: TypeAlias = Literal[1, 2]
Version: TypeAlias = tuple[int, ...]

FIRST = install("adapters")
SECOND = install("mcp")
_SDK, _ADAPTERS, _FASTMCP = "mcp", "langchain-mcp-adapters", "fastmcp"
_LOWEST: dict[str, Version] = {_SDK: (2, 3), _FASTMCP: (4, 1, 6)}


@functools.cache
def installed() -> Number:
    """Return the generation that is installed: 1 (``mcp`` below 2) or 2 (``mcp`` from 2.3).

    Raises:
        GuardError: as :func:`chosen`.
    """
    return chosen(versions())


def versions() -> dict[str, Version]:
    """Return which of the packages that make a generation are installed, in which versions."""
    return {name: version for name in (_SDK, _ADAPTERS, _FASTMCP) if (version := _version(name)) is not None}


def require_second(what: str) -> None:
    """Make sure that the second generation is installed, for ``what`` needs it.

    Raises:
        GuardError: it is not.
    """
    if installed() == 1:
        raise GuardError(f"{what}, which is not installed: {SECOND}")


@functools.cache
def sdk() -> Sdk:
    """Return the SDK that is installed. The first time, it reads hundreds of files: no event loop should wait for it.

    Raises:
        GuardError: as :func:`chosen`.
    """
    if installed() == 1:
        from guarded_tools.mcp_session import mcp1

        return mcp1
    from guarded_tools.mcp_session import mcp2

    return mcp2


def converter() -> Converter:
    """Return what makes LangChain tools of an SDK's.

    Raises:
        GuardError: as :func:`chosen`.
    """
    if installed() == 1:
        from guarded_tools.mcp_session import mcp1_tools

        return mcp1_tools
    from guarded_tools.mcp_session import mcp2_tools

    return mcp2_tools


def http_library() -> Any:
    """Return the library by which the SDK speaks HTTP: httpx, or httpx2, which has the same names.

    Raises:
        GuardError: as :func:`chosen`.
    """
    return import_module("httpx" if installed() == 1 else "httpx2")


def chosen(versions: Mapping[str, Version]) -> Number:
    """Return the generation that these packages are, by name and version.

    Raises:
        GuardError: there is no MCP SDK, or what it needs beside it is missing or too old.
    """
    sdk = versions.get(_SDK)
    if sdk is None:
        raise GuardError(
            f"the MCP SDK is not installed. With langchain-mcp-adapters: {FIRST}. With langchain.mcp: {SECOND}"
        )
    if sdk >= (2,):
        _check_second(versions)
        return 2
    if _ADAPTERS not in versions:
        beside = f", and FastMCP {_said(versions[_FASTMCP])} does not take its place" if _FASTMCP in versions else ""
        raise GuardError(
            f"mcp {_said(sdk)} is installed without langchain-mcp-adapters{beside}: {FIRST}."
            f" For langchain.mcp: {SECOND}"
        )
    return 1


def _check_second(versions: Mapping[str, Version]) -> None:
    old = [
        f"{name} {_said(versions[name])} is older than {_said(lowest)}"
        for name, lowest in _LOWEST.items()
        if versions.get(name, lowest) < lowest
    ]
    if not old and _FASTMCP in versions:
        return
    wrong = " and ".join(old) if old else f"mcp {_said(versions[_SDK])} is installed without FastMCP 4"
    if _ADAPTERS not in versions:
        raise GuardError(f"{wrong}: {SECOND}")
    # pip leaves the other generation's package where it is told to go on in spite of the conflict.
    raise GuardError(
        f"{wrong}, but with langchain-mcp-adapters, which needs mcp 1. For that: {FIRST}."
        f" For langchain.mcp: pip uninstall langchain-mcp-adapters && {SECOND}"
    )


def _version(name: str) -> Version | None:
    try:
        said = metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
    return tuple(int(part) for part in said.split(".")[:3] if part.isdecimal())


def _said(version: Version) -> str:
    return ".".join(map(str, version))
