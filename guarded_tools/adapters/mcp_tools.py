"""LangChain tools over a held MCP session, made as LangChain makes them and usable from sync code as well."""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, cast, get_type_hints

from langchain_core.tools import StructuredTool, ToolException

from guarded_tools.adapters.signatures import resolved_signature
from guarded_tools.errors import ConnectionFailed, UnfitResult
from guarded_tools.flow import Flow, arun, run
from guarded_tools.mcp_session.generation import converter, sdk
from guarded_tools.mcp_session.protocol import Answer, ListedTool
from guarded_tools.policy.schema_check import misfit_of_result
from guarded_tools.values import Judged, Risk, ToolInfo, judged_as

if TYPE_CHECKING:
    from guarded_tools.adapters.held_calls import HeldCalls
    from guarded_tools.mcp_session import HeldSession


def langchain_tools(
    session: HeldSession,
    *,
    keyed: bool = False,
    risk: Callable[[str], Risk | None] = lambda _: None,
    calls: HeldCalls | None = None,
) -> list[StructuredTool]:
    """Convert what the server lists, in its order. Results and errors reach the model as the server sent them.

    With ``keyed``, policies know a tool as ``server/tool`` and models as ``server_tool``. ``risk`` gives the risk class
    that is known of a tool. ``calls`` holds those whose run is suspended by a question of the server.
    """
    return [_convert(session, tool, keyed=keyed, risk=risk(tool.name), calls=calls) for tool in session.tools]


def _convert(
    session: HeldSession, tool: ListedTool, *, keyed: bool, risk: Risk | None, calls: HeldCalls | None
) -> StructuredTool:
    convert = functools.partial(
        converter().convert, tool, server=session.name, prefixed=keyed, server_info=session.server_info
    )
    known_as = f"{session.name}/{tool.name}" if keyed else tool.name
    converted = convert(_Calls(session, tool, known_as, calls))
    blocking = convert(_BlockingCalls(session, tool, known_as, calls))
    assert converted.coroutine is not None
    assert blocking.coroutine is not None
    converted.func = _run_through(blocking.coroutine)
    converted.handle_tool_error = _tell(converted.handle_tool_error)
    listed = (known_as, session.name, risk, tool.name, "", None, (), tool.output_schema or False)
    converted.coroutine.__mcp__ = listed  # type: ignore[attr-defined]
    return converted


class ServerFailed(ConnectionFailed, ToolException):
    """A connection that failed under a tool call. LangChain tells the model of it instead of ending the run."""


class ServerRefused(sdk().ProtocolError, ToolException):  # type: ignore[misc]
    """A tool call that was answered by an error of the protocol. LangChain tells the model what the server said."""

    def __init__(self, refusal: Exception) -> None:
        Exception.__init__(self, str(refusal))
        self.error = refusal.error  # type: ignore[attr-defined]  # both SDKs keep it there


class _Calls:
    """Calls one tool as it was listed when it was converted."""

    def __init__(self, session: HeldSession, tool: ListedTool, known_as: str, calls: HeldCalls | None) -> None:
        self._session = session
        self._tool = tool
        self._known_as = known_as
        self._calls = calls

    async def __call__(self, name: str, arguments: Mapping[str, Any]) -> Answer:
        try:
            answer = await self._call(name, arguments, self._is_judged(judged_as.get()))
        except ConnectionFailed as failure:
            raise ServerFailed(str(failure), sent=failure.sent) from None
        except sdk().ProtocolError as refusal:
            raise ServerRefused(refusal) from None
        if not answer.failed:
            self._check(name, answer)
        return answer

    def _is_judged(self, judged: Judged | None) -> Callable[[ListedTool], bool]:
        """Say how to tell whether a tool, as the server lists it when the call leaves, is the one that was judged."""
        info = ToolInfo("") if judged is None else judged.info
        if (info.name, info.server) != (self._known_as, self._session.name):
            return lambda listed: listed == self._tool  # no guard has seen this call
        return lambda listed: (listed.description, listed.input_schema) == (info.description, info.schema)

    def _check(self, name: str, answer: Answer) -> None:
        """Compare a result with the output schema that the server lists now, as MCP's own session does.

        The call has run, so its result is not dropped: what cannot be compared is handed on, and the error says what
        the server answered.

        Raises:
            UnfitResult: it does not fit.
        """
        schema = next((tool.output_schema for tool in self._session.tools if tool.name == name), None)
        if schema is None:
            return
        texts = answer.texts
        answered = "\n".join(["\nThe tool has run. It answered:", *texts]) if texts else "\nThe tool has run."
        if answer.structured is None:
            raise UnfitResult(f"Tool {name} has an output schema but did not return structured content{answered}")
        why = misfit_of_result(schema, answer.structured)
        if why is not None:
            said = json.dumps(answer.structured, ensure_ascii=False)
            raise UnfitResult(f"Invalid structured content returned by tool {name}: {why}{answered}\n{said}")

    async def _call(self, name: str, arguments: Mapping[str, Any], unchanged: Callable[[ListedTool], bool]) -> Answer:
        held = self._held(name, arguments, unchanged)
        if held is not None:
            return await arun(held)
        return await self._session.call_tool(name, arguments, unchanged=unchanged)

    def _held(
        self, name: str, arguments: Mapping[str, Any], unchanged: Callable[[ListedTool], bool]
    ) -> Flow[Answer] | None:
        """Return the line that attends to a call whose run may be suspended by a question, where one may."""
        place = "" if self._calls is None else self._calls.place()
        if self._calls is None or not place:
            return None
        make = functools.partial(self._session.begin_call, name, arguments, unchanged=unchanged)
        return self._calls.attend(place, make)


class _BlockingCalls(_Calls):
    """As :class:`_Calls`, but it blocks instead of waiting, so that the adapter's coroutine never suspends."""

    async def _call(self, name: str, arguments: Mapping[str, Any], unchanged: Callable[[ListedTool], bool]) -> Answer:
        held = self._held(name, arguments, unchanged)
        if held is not None:
            return run(held)
        return self._session.call_tool_sync(name, arguments, unchanged=unchanged)


def _tell(handler: Any) -> Callable[[ToolException], Any]:
    def handle(error: ToolException) -> Any:
        return str(error) if isinstance(error, ServerFailed | ServerRefused) else handler(error)

    return handle


def _run_through(coroutine: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    def call(**arguments: Any) -> Any:
        running = cast("Coroutine[Any, Any, Any]", coroutine(**arguments))
        try:
            running.send(None)
        except StopIteration as done:
            return done.value
        running.close()
        raise RuntimeError("the adapter's tool waits for something other than its session")

    # LangChain looks here for what it has to inject; names in annotations mean what they do where that one was written.
    call.__signature__ = resolved_signature(coroutine)  # type: ignore[attr-defined]
    call.__annotations__ = get_type_hints(coroutine, include_extras=True)
    return call
