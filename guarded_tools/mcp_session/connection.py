"""One life of an MCP server: from its start to its end, with every call that ends in between.

A connection is opened, is ready, is over; it never comes back, whoever needs a server again opens another. In between
it may be *retired*: the server has forgotten the session, so no new call takes it, and it is over when the last call
under way has its answer.

Every call ends in one of four ways, and the first two alone know what became of it: with a result; with an error of
the protocol, in the server's words; before it could leave (``sent`` is false, and it may go again); or any other way
(``sent`` is true: it may have run). Which of them it is, is decided in one place, :meth:`Connection._account_for`, from
what :mod:`guarded_tools.mcp_session.pending` knows of the call. When in doubt it was sent.

All of it lives in one event loop. What the server announces (another list of tools) or asks (elicitation) is dealt with
in tasks beside the loop that reads, because they wait for answers that only that loop can receive.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from anyio import BrokenResourceError, ClosedResourceError

from guarded_tools.errors import ConnectionFailed
from guarded_tools.mcp_session.generation import sdk
from guarded_tools.mcp_session.pending import Incoming, Outgoing, PendingCall, pending_call
from guarded_tools.mcp_session.protocol import Answer, Hooks, ListedTool, SdkSession, Unreadable
from guarded_tools.mcp_session.sdk_logs import redact_sdk_logs
from guarded_tools.mcp_session.streams import open_streams
from guarded_tools.mcp_session.transport import (
    Elicitation,
    Masker,
    OnProgress,
    OnQuestion,
    Progress,
    Server,
    StderrTail,
    Unreachable,
)
from guarded_tools.text.visible import one_line

T = TypeVar("T")

_LAST_WORDS = 0.3
_COURTESY_TIMEOUT = 5.0
_MAX_PAGES = 1000
_HUNG_UP = (BrokenResourceError, ClosedResourceError, OSError)  # what writing to a server that ended raises

log = logging.getLogger("guarded_tools.mcp")


class ConnectionHost(Protocol):
    """What a connection needs of whoever holds it."""

    server: Server
    name: str
    mask: Masker
    read_timeout: float
    question_timeout: float
    on_progress: OnProgress | None
    on_question: OnQuestion | None
    server_info: object

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` beside everything else."""
        ...

    def adopt(self, tools: tuple[ListedTool, ...], *, first: bool) -> None:
        """Take note of what the server lists."""
        ...


class Connection:
    """One life of the server: from its start to its end."""

    def __init__(self, host: ConnectionHost) -> None:
        self.over = asyncio.Event()
        self._retired = False
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.reason = "ended before it answered"
        self._fate = "died"
        self._host = host
        self._tail = StderrTail(host.mask)
        self._failures: dict[Any, ConnectionFailed] = {}
        self._session: SdkSession | None = None
        self._calls: set[asyncio.Task[Any]] = set()
        self._under_way: set[PendingCall] = set()
        self._errands: set[asyncio.Task[Any]] = set()
        self._relisting: asyncio.Task[None] | None = None
        self._stale = False
        self._lasts: float | None = None  # until when the list may be taken for true, in the loop's time
        self._watching: asyncio.Task[bool] | None = None

    @property
    def usable(self) -> bool:
        """Whether a new call may take it."""
        return not (self._retired or self.over.is_set())

    async def run(self) -> None:
        """Enter and leave the session, in one task as it has to be."""
        host = self._host
        redact_sdk_logs(host.mask)
        try:
            # A stream on which a human is waited for says nothing meanwhile.
            longest = max(host.read_timeout, host.question_timeout)
            async with open_streams(host.server, self._tail, host.mask, read_timeout=longest) as streams:
                self._failures = streams.failures
                incoming, outgoing = Incoming(streams, self.over), Outgoing(streams)
                ask = self._on_question if host.on_question is not None else None
                hooks = Hooks(self._on_tools_changed, ask, self._run_errand)
                async with sdk().enter(incoming, outgoing, hooks) as session:
                    self._session = session
                    host.server_info = session.server_info
                    self._watch()
                    host.adopt(await self._list(), first=True)
                    self.ready.set_result(None)
                    if self._stale:
                        self._on_tools_changed()
                    await self.over.wait()
        except* ConnectionFailed as group:
            self.reason = str(_leaf(group))
        except* Exception as group:  # noqa: BLE001 - whatever a transport raises at its end is the end
            # The last one: what was tried before it, to learn what the server speaks, may fail.
            error, told = _leaf(group), next(reversed(self._failures.values()), None)
            log.debug("The connection to %s ended: %s", host.name, host.mask(repr(error)))
            if told is not None:
                self.reason = f"could not be reached: {told}"
            elif not (self.over.is_set() and isinstance(error, (sdk().ProtocolError, *_HUNG_UP))):
                self.reason = f"could not be opened: {error}"
        finally:
            self.finish()

    def finish(self, fate: str = "died") -> None:
        """Let the session end, and fail the calls under way; ``fate`` is what they are told."""
        if not self.over.is_set():
            self._fate = fate
        self.over.set()
        watching = set() if self._watching is None else {self._watching}
        for task in (self._calls | self._errands | watching) - {asyncio.current_task()}:
            task.cancel()

    async def call(self, tool: str, arguments: Mapping[str, Any] | None) -> Answer:
        """Call a tool, and say of every way in which that can end whether the call may have run.

        Raises:
            ConnectionFailed: there is no answer; ``sent`` says whether the call may have run.
            Sdk.ProtocolError: the answer is an error of the protocol, in the server's words without our secrets.
        """
        assert self._session is not None
        pending = PendingCall(tool)
        pending_call.set(pending)  # each call has a task, and so a context, of its own
        redact_sdk_logs(self._host.mask)  # the second SDK logs where it was called from
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        self._under_way.add(pending)
        told = None if self._host.on_progress is None else functools.partial(self._tell_progress, pending)
        try:
            async with asyncio.timeout(self._host.read_timeout) as pending.timer:
                return await self._session.call_tool(tool, dict(arguments or {}), told)
        except BaseException as error:  # noqa: BLE001 - raised again, or told as what it means for the call
            text = self._account_for(error, pending)
            if text is None:
                raise self._without_secrets(error) from error.__cause__
        finally:
            self._calls.discard(task)
            self._under_way.discard(pending)
            if self._retired and not self._calls:
                self.finish()
        raise await self.failed(f"{self._host.name} {text}", sent=pending.sent) from None

    def _account_for(self, error: BaseException, pending: PendingCall) -> str | None:  # noqa: PLR0911 - one for each ending
        """Say what an exception means for the call; ``None`` leaves it as it is."""
        from pydantic import ValidationError

        protocol_error = sdk().ProtocolError
        lost = f"{self._fate} while {pending.tool} was under way"
        match error:
            case TimeoutError():
                self._tell_cancelled(pending, "timed out")
                return f"did not answer {pending.tool} within {self._host.read_timeout:g} s"
            case asyncio.CancelledError() if self.over.is_set():
                return lost
            case asyncio.CancelledError():
                self._tell_cancelled(pending, "cancelled")
            case protocol_error() if pending.id in self._failures:
                failure = self._failures.pop(pending.id)
                if not failure.sent:
                    pending.not_sent()
                if isinstance(failure, Unreachable):
                    self._retired = True  # other calls may still be answered
                return f"did not answer {pending.tool}: {failure}"
            case BrokenResourceError() | ClosedResourceError() | protocol_error() if not pending.sent:
                self.finish()
                return f"{self._fate} before {pending.tool} could be sent"
            case protocol_error() if self.over.is_set():
                return lost
            case ValidationError() | Unreadable() if pending.sent:
                return f"answered {pending.tool} with something that is no tool result"
        return None

    def _without_secrets(self, error: BaseException) -> BaseException:
        """Mask what a server wrote into an error of the protocol: some quote the key that they were called with."""
        own = sdk()
        return own.without_secrets(error, self._host.mask) if isinstance(error, own.ProtocolError) else error

    async def _tell_progress(
        self, pending: PendingCall, progress: float, total: float | None, message: str | None
    ) -> None:
        said = one_line(self._host.mask(message or ""))
        report = Progress(self._host.name, pending.tool, progress, total, said)
        try:
            if self._host.on_progress is not None:
                pending.context.copy().run(self._host.on_progress, report)
        except Exception:
            log.exception("Telling of the progress of %s failed", one_line(pending.tool))

    async def _on_question(self, message: str, schema: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Have somebody answer what the server asks; decline where it cannot be told in which call it does.

        The time of the call stands still meanwhile: it is the human's.
        """
        ask, pending = self._host.on_question, pending_call.get()
        if pending is None and len(self._under_way) == 1:
            [pending] = self._under_way
        if ask is None or schema is None or pending is None:
            log.warning("A question of %s was declined: no form, or not in one call alone", self._host.name)
            return None
        question = Elicitation(self._host.name, pending.tool, self._host.mask(message), schema)
        pending.wait(None)
        try:
            return await asyncio.create_task(_awaited(ask(question)), context=pending.context.copy())
        except Exception:
            log.exception("A question of %s was declined: answering it failed", self._host.name)
            return None
        finally:
            pending.wait(self._host.read_timeout)

    def _tell_cancelled(self, pending: PendingCall, why: str) -> None:
        if pending.sent and pending.id is not None:
            self._run_errand(self._notify_cancelled(pending.id, why))

    def _run_errand(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        errand = self._host.spawn(work)
        self._errands.add(errand)
        errand.add_done_callback(self._errands.discard)
        return errand

    async def _notify_cancelled(self, request_id: int | str, why: str) -> None:
        assert self._session is not None
        with suppress(Exception):  # a courtesy; a server that is gone needs none
            async with asyncio.timeout(_COURTESY_TIMEOUT):
                await self._session.tell_cancelled(request_id, why)

    def _on_tools_changed(self) -> None:
        self._stale = True
        if self.ready.done() and (self._relisting is None or self._relisting.done()):
            # Asking for the list here would wait for an answer that only this very loop can receive.
            self._relisting = self._run_errand(self._relist())

    def _watch(self) -> None:
        """Listen for changed tools, where that takes a request of its own."""
        assert self._session is not None
        work = self._session.watch()
        self._watching = None if work is None else asyncio.get_running_loop().create_task(work)

    async def relisted(self) -> None:
        """Wait until the changes are listed that the server has told of; not for ever, and not for those of later.

        Where nobody would tell of one any more, since a list has had its time or the listening was cut off, it is
        listed anew.
        """
        if self._watching is not None and self._watching.done() and not self._watching.cancelled():
            cut_off = self._watching.exception() is not None or self._watching.result()
            self._watching = None
            if cut_off:
                self._watch()  # first, so that nothing falls in between
                self._on_tools_changed()
        if self._lasts is not None and asyncio.get_running_loop().time() >= self._lasts:
            self._on_tools_changed()
        if self._relisting is not None and not self._relisting.done():
            await asyncio.wait({self._relisting}, timeout=self._host.read_timeout)

    async def _relist(self) -> None:
        try:
            while self._stale and not self.over.is_set():
                self._stale = False
                async with asyncio.timeout(self._host.read_timeout):
                    self._host.adopt(await self._list(), first=False)
        except Exception as error:  # noqa: BLE001 - the old list stays, and calls say what is wrong
            log.warning(
                "The changed tools of %s could not be listed: %s",
                self._host.name,
                one_line(self._host.mask(str(error))),
            )

    async def _list(self) -> tuple[ListedTool, ...]:
        assert self._session is not None
        tools: list[ListedTool] = []
        cursor, asked = None, asyncio.get_running_loop().time()
        ttls: list[float] = []
        for _ in range(_MAX_PAGES):
            page = await self._session.list_tools(cursor)
            tools += page.tools
            ttls += [] if page.ttl is None else [page.ttl]
            cursor = page.cursor
            if not cursor:
                self._lasts = asked + min(ttls) if ttls else None
                return tuple(tools)
        raise ConnectionFailed(f"lists more than {_MAX_PAGES} pages of tools", sent=False)

    async def failed(self, message: str, *, sent: bool, unsaid: str = "") -> ConnectionFailed:
        """Make the error that says what happened, with the server's last words and without secrets.

        ``unsaid`` is what to tell in their place where it had none.
        """
        for _ in range(int(_LAST_WORDS / 0.01)):
            if self._tail.ended or not self.over.is_set():
                break
            await asyncio.sleep(0.01)
        words = str(self._tail)
        said = one_line(self._host.mask(message if words else message + unsaid))
        return ConnectionFailed(said + (f"\nIts last words:\n{words}" if words else ""), sent=sent)


async def _awaited(answer: Awaitable[T]) -> T:
    return await answer


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
