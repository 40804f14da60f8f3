"""What a held session needs of an MCP SDK, and the values in which it speaks of tools and answers.

Two generations of the SDK are supported (:mod:`~guarded_tools.mcp_session.generation`). Each is one module that keeps
the promises of :class:`Sdk`: :mod:`~guarded_tools.mcp_session.mcp1` and :mod:`~guarded_tools.mcp_session.mcp2`. What
differs between them ends there: field names, how a protocol revision is negotiated, who tells a server that a call was
given up, how a server asks back, how it says that its tools changed. Everything else of this room knows neither.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from langchain_core.tools import StructuredTool


class ListedTool(NamedTuple):
    """A tool as its server lists it. ``annotations`` are named as on the wire; ``own`` is the SDK's own object."""

    name: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None
    annotations: Mapping[str, Any]
    own: Any


class ToolPage(NamedTuple):
    """A part of a server's tools. ``ttl``: seconds for which the list may be taken for true, where the server says."""

    tools: tuple[ListedTool, ...]
    cursor: str | None
    ttl: float | None = None


class Answer(NamedTuple):
    """What a tool answered. ``content`` holds the SDK's own blocks, ``own`` is its own result."""

    failed: bool
    content: tuple[Any, ...]
    structured: Mapping[str, Any] | None
    own: Any

    @property
    def texts(self) -> list[str]:
        """Its blocks of text."""
        return [block.text for block in self.content if block.type == "text"]


class Unreadable(Exception):  # noqa: N818 - says what happened
    """A call was answered by something that is no answer."""


Call: TypeAlias = Callable[[str, Mapping[str, Any]], Awaitable[Answer]]
"""Calls a tool by the name that its server has for it."""
Ask: TypeAlias = Callable[[str, Mapping[str, Any] | None], Awaitable[Mapping[str, Any] | None]]
"""Answers a message with a schema (``None``: not a form) by the fields of the answer, or declines by ``None``."""


class OnProgressOfCall(Protocol):
    """What is told of the progress of one call."""

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        """Take note of it."""
        ...


class Hooks(NamedTuple):
    """What a session calls. ``ask`` is ``None`` where nobody can be asked; ``beside`` runs work that must not wait."""

    tools_changed: Callable[[], None]
    ask: Ask | None
    beside: Callable[[Coroutine[Any, Any, None]], object]


class SdkSession(Protocol):
    """A session whose protocol was negotiated. Used in the loop that entered it."""

    @property
    def server_info(self) -> object:
        """What the server says that it is, in the SDK's own object; ``None`` where it does not."""
        ...

    async def list_tools(self, cursor: str | None) -> ToolPage:
        """Return a page of the server's tools."""
        ...

    async def call_tool(self, name: str, arguments: dict[str, Any], told: OnProgressOfCall | None) -> Answer:
        """Send a call once, and again only with answers that the server asked for.

        Raises:
            Sdk.ProtocolError: it was answered by an error, or the stream has ended.
            Unreadable: it was answered by something that the SDK cannot read, and that ends nothing else.
        """
        ...

    async def tell_cancelled(self, request: int | str, why: str) -> None:
        """Tell the server that nobody waits for a request any more, where the SDK does not do so itself."""
        ...

    def watch(self) -> Coroutine[Any, Any, bool] | None:
        """Return what listens for changed tools, where that takes a request of its own.

        It ends with true where it may be tried again, since the server or something on the way hung up.
        """
        ...


class Sdk(Protocol):
    """One generation of the SDK. A module keeps these promises."""

    @property
    def PATIENCE(self) -> float:  # noqa: N802 - a module's constant
        """Seconds beyond a server's own that negotiating the protocol may take, with servers that keep silent."""
        ...

    @property
    def ProtocolError(self) -> type[Exception]:  # noqa: N802 - a module's class
        """What is raised where a server answered with an error of the protocol."""
        ...

    def open_http(self, url: str, client: Any) -> AbstractAsyncContextManager[tuple[Any, Any]]:
        """Return the two message streams of streamable HTTP over a client of :func:`generation.http_library`."""
        ...

    def error_message(self, request: Any, code: int, text: str) -> Any:
        """Return what stands in a stream for a JSON-RPC error that answers a request."""
        ...

    def enter(self, incoming: Any, outgoing: Any, hooks: Hooks) -> AbstractAsyncContextManager[SdkSession]:
        """Open a session on two streams and negotiate the protocol."""
        ...

    def without_secrets(self, error: Any, mask: Callable[[str], str]) -> Exception:
        """Return an error of the protocol with everything masked that a server wrote into it."""
        ...


class Converter(Protocol):
    """How one generation makes LangChain tools. A module keeps this promise."""

    def convert(
        self, tool: ListedTool, call: Call, *, server: str, prefixed: bool, server_info: object
    ) -> StructuredTool:
        """Return a tool whose coroutine awaits nothing but ``call``.

        With ``prefixed``, models know it by its server's name as well: ``server_tool``.
        """
        ...
