"""Pictify's tools behind a guard: from a process of our own, from the hosted server, or from the local sandbox."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Unpack

from guarded_tools.errors import ConnectionFailed
from guarded_tools.mcp_session import READ_TIMEOUT, HttpServer, Server, StdioServer
from guarded_tools.pictify.catalogue import SERVER, risk_of
from guarded_tools.servers import GuardOptions, ServerContext

if TYPE_CHECKING:
    from guarded_tools.policy.policy import PolicySource

KEY = "PICTIFY_API_KEY"
COMMAND = ("npx", "-y", "@pictify/mcp-server")
SANDBOX = (sys.executable, "-m", "guarded_tools.pictify.sandbox")


def pictify_tools(
    policy: PolicySource | Mapping[str, PolicySource] = "standard",
    *,
    sandbox: bool | Sequence[str] = False,
    url: str | None = None,
    api_key: str | None = None,
    command: Sequence[str] = COMMAND,
    env: Mapping[str, str] | None = None,
    read_timeout: float = READ_TIMEOUT,
    start_timeout: float | None = None,
    **options: Unpack[GuardOptions],
) -> ServerContext:
    """Open Pictify's MCP server and guard its tools; use it with ``with`` or ``async with``.

    Without ``url`` and ``sandbox``, ``command`` is started with ``PICTIFY_API_KEY``. One session is held throughout.

    Args:
        policy: A preset's name (``standard``, ``supervised``, ``read_only``) or what
            :class:`~guarded_tools.guard.Guard` takes.
        sandbox: Use the local sandbox instead: no key, no network. A sequence is passed on as its options.
        url: Use the server at this address, such as ``https://mcp.pictify.io``, with the key as bearer token.
        api_key: The key. Default: ``PICTIFY_API_KEY`` of the environment.
        command: What starts the server.
        env: More environment for the server's process, which gets MCP's default one and ``PICTIFY_*``.
        read_timeout: Seconds a call may take.
        start_timeout: Seconds the server may take to start. Default: 60, and 90 for ``npx``.
        **options: What else :class:`~guarded_tools.guard.Guard` takes: ``store``, ``approver``, ``session``, …

    Yields a list of tools with the guard as its ``guard``.

    Raises:
        ConnectionFailed: there is no key, the command is missing, or the server did not start or answer.
        PolicyError: the policy cannot be used.
    """
    server = _server(sandbox=sandbox, url=url, api_key=api_key, command=command, env=env or {})
    return ServerContext(
        {SERVER: server},
        policy,
        read_timeout=read_timeout,
        start_timeout=start_timeout,
        risk=risk_of,
        options=options,
    )


def _server(
    *,
    sandbox: bool | Sequence[str],
    url: str | None,
    api_key: str | None,
    command: Sequence[str],
    env: Mapping[str, str],
) -> Server:
    if sandbox is not False:
        if url is not None:
            raise ConnectionFailed("sandbox and url exclude each other", sent=False)
        # Where this package is found by way of PYTHONPATH, the sandbox has to find it too.
        path = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        return StdioServer(SANDBOX[0], (*SANDBOX[1:], *(() if sandbox is True else sandbox)), {**path, **env})
    key = (api_key or env.get(KEY) or os.environ.get(KEY) or "").strip()
    if not key:
        raise ConnectionFailed(
            f"there is no Pictify API key: set {KEY}, pass api_key=, or try sandbox=True, which needs none", sent=False
        )
    if url is not None:
        return HttpServer(url, {"Authorization": f"Bearer {key}"})
    if isinstance(command, str) or not command:
        raise ConnectionFailed(f"command is a sequence of words, such as {COMMAND}, not {command!r}", sent=False)
    passed_on = {name: value for name, value in os.environ.items() if name.startswith("PICTIFY_")}
    return StdioServer(command[0], tuple(command[1:]), {**passed_on, **env, KEY: key})
