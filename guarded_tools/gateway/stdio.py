"""A gateway that a client starts as a process: one client, whose session is the process's or the one that was named.

It ends with the client. Where the server ends first, what is under way is answered, and then it ends as well, as the
server itself would have.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher

from guarded_tools.errors import ConnectionFailed
from guarded_tools.gateway.guarded import Principal
from guarded_tools.gateway.line import Gateway
from guarded_tools.gateway.pipes import open_pipes
from guarded_tools.gateway.upstream import Params

_LAST_ANSWERS = 5.0
_LAST_WORDS = 100  # hundredths of a second


async def serve_stdio(gateway: Gateway, principal: Principal) -> None:
    """Serve the client at stdin and stdout; as :func:`serve`."""
    async with open_pipes() as (incoming, outgoing):
        await serve(gateway, principal, incoming, outgoing)


async def serve(gateway: Gateway, principal: Principal, incoming: Any, outgoing: Any) -> None:
    """Serve one client, until it or the server is gone.

    Raises:
        ConnectionFailed: the server cannot be started, or ended before its client did.
    """
    client: JSONRPCDispatcher[Any] = JSONRPCDispatcher(incoming, outgoing)
    line = gateway.line(client, principal)
    under_way = 0
    idle = asyncio.Event()
    idle.set()

    async def asked(request: Any, method: str, params: Params) -> dict[str, Any]:
        nonlocal under_way
        under_way += 1
        idle.clear()
        try:
            return await line.answer(request, method, params, principal)
        finally:
            under_way -= 1
            if not under_way:
                idle.set()

    async def told(_: object, method: str, params: Params) -> None:
        await line.tell(method, params)

    async with incoming, outgoing:
        await line.start()
        serving = asyncio.create_task(client.run(asked, told))
        ended = asyncio.create_task(line.ended())
        try:
            await asyncio.wait({serving, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(idle.wait(), _LAST_ANSWERS)
            for _ in range(_LAST_WORDS):  # the last answer goes out, and what the server says of its end comes in
                await asyncio.sleep(0.01)
                if line.last_words():
                    break
            raise ConnectionFailed(f"the server is gone{line.last_words()}")
        finally:
            ended.cancel()
            serving.cancel()
            await asyncio.wait({serving, ended})
            await line.close()
