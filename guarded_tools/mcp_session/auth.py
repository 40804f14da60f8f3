"""An ``httpx.Auth`` of the user's, under which a tool is still called once.

Such an object may see the answer to a request and send it anew: after a 401 it renews a token, say. For whatever does
nothing (``initialize``, a list) that is what it is for. A ``tools/call`` that got a status has been answered, and what
answered it may have acted (:mod:`guarded_tools.mcp_session.http`). So everything else that an ``auth`` wants to send is
sent, and it learns what it learns, but the call does not go again: its first answer stands.

What it writes into ``Authorization`` is a key, and is told to the masker before anything leaves.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING

from guarded_tools.mcp_session.generation import http_library
from guarded_tools.mcp_session.transport import Masker, secrets_of_header

if TYPE_CHECKING:
    import httpx
else:
    httpx = http_library()


class Answered(Exception):  # noqa: N818 - says what became of the request
    """A call was answered, and its ``auth`` would send it again; ``response`` is the answer, and was read."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__()
        self.response = response


class SendsCallsOnce(httpx.Auth):
    """Stands around another ``auth``. ``is_call`` tells the requests that must not go twice.

    Raises :class:`Answered` where one would.
    """

    def __init__(self, auth: httpx.Auth, is_call: Callable[[httpx.Request], bool], mask: Masker) -> None:
        self._auth = auth
        self._is_call = is_call
        self._mask = mask

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Hand on what the other sends and is answered."""
        flow = self._auth.async_auth_flow(request)
        answer: httpx.Response | None = None
        try:
            outgoing = await anext(flow)
            while True:
                for secret in secrets_of_header(outgoing.headers.get("authorization", "")):
                    self._mask.learn(secret)
                again = self._is_call(outgoing)
                if again and answer is not None:
                    await answer.aread()
                    raise Answered(answer)
                response = yield outgoing
                answer = response if again else answer
                outgoing = await flow.asend(response)
        except StopAsyncIteration:
            return
        finally:
            await flow.aclose()
