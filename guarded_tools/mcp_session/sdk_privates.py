"""Every private part of the MCP SDK (generation 1, ``mcp`` below 2) that we touch, and why there is no other way.

``pyproject.toml`` bounds the SDK on both sides for the sake of this file; whoever moves a bound runs the tests of
``mcp_session`` and ``adapters`` at it. Two kinds of things are here: a method that is replaced, and names of functions
that are looked for in the traceback of an error. Should the SDK rename one of the latter, errors are taken for later
ones than they are, so that a charge is kept which could have been given back: never the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcp import ClientSession
    from mcp.types import CallToolResult

_STARTING = "_create_platform_compatible_process"
_CHECKING = "_validate_tool_result"
# Where the SDK and httpx keep how many redirects they followed.
_REDIRECTS = {"stream_within_origin": "followed", "_send_handling_redirects": "history"}


def check_no_results(session: ClientSession) -> None:
    """Keep a session from comparing results with the server's output schemas; it has no option for that.

    It would match patterns of the server's own against strings of the server's own, by backtracking: one answer could
    stop every thread of this process for hours. And what it cannot check, it loses. Whoever hands results on checks
    them in linear time.
    """
    session._validate_tool_result = _unchecked  # type: ignore[method-assign]  # noqa: SLF001


def asking_beside(kind: type[ClientSession], spawn: Callable[[Coroutine[Any, Any, None]], object]) -> Any:
    """Return a kind of session that answers what its server asks beside everything else.

    The SDK says that this method can be overridden, and calls it in the loop that reads: while a human thinks, no
    other call would get its answer.
    """

    class Session(kind):  # type: ignore[misc,valid-type]
        async def _received_request(self, responder: Any) -> None:
            spawn(super()._received_request(responder))

    return Session


async def _unchecked(name: str, result: CallToolResult) -> None:
    """Leave a result as it came."""


def was_starting(error: BaseException) -> bool:
    """Whether an error comes from starting a server's process: there was nobody yet who could act.

    The SDK hands on the bare ``OSError``, which a tool's own body may raise as well.
    """
    return isinstance(error, OSError) and _STARTING in {frame for frame, _ in _frames(error.__traceback__)}


def was_checking(error: BaseException) -> bool:
    """Whether an error comes from comparing an answer with its schema, whatever else it says: the call has run."""
    return _CHECKING in {frame for frame, _ in _frames(error.__traceback__)}


def followed_a_redirect(error: BaseException) -> bool:
    """Whether another address had the request before the one that failed, and may have acted on it.

    Neither the error nor its request tells; the SDK and httpx count on the way.
    """
    counts = ((_REDIRECTS.get(frame), values) for frame, values in _frames(error.__traceback__))
    return any(name is not None and values.get(name) for name, values in counts)


def _frames(traceback: TracebackType | None) -> Iterator[tuple[str, dict[str, object]]]:
    while traceback is not None:
        frame = traceback.tb_frame
        name = frame.f_code.co_name
        yield name, frame.f_locals if name in _REDIRECTS else {}
        traceback = traceback.tb_next
