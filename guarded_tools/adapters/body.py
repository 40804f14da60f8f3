"""One body of a tool, behind the guard: what goes in is judged first, what comes out is left as it is.

LangChain has parsed and filled in arguments before it calls a body, and makes a message of what the body returns. The
guard sits between, so it sees what the body would really receive, and nothing that LangChain does is done twice.

**Invariant.** What runs is what was judged. The arguments are captured once, at the door; policy, limits and human see
the JSON view of that capture, and the body gets the captured objects, not the ones that a caller still holds. A human's
edits go through the tool's own parsing and are captured likewise; of all captures the one runs whose view is the one
that was judged, and where there is none nothing runs.

**Three kinds of arguments** come through that door together (:class:`_Received` tells them apart):

- *the model's*, which are judged. They go by the names of the tool's schema, which policies are written against, also
  where LangChain hands them on by position;
- *filled in* around the body, such as the run's config, callbacks and injected state (see
  :mod:`~guarded_tools.adapters.signatures` for who fills in what). They are nobody's choice and are not judged. A name
  counts as filled in only where it is, around this callable: elsewhere it is an argument like any other;
- *the id of the call*, which travels from argument parsing to here under :data:`CALL_ID`. It is set after the model's
  arguments were read, so that no argument of that name gets through.

**Which body runs.** A copy of a guarded tool has a state of its own, and its body has to see that one: a method is
bound anew to the state of whoever was called, in the shape of the *raw* class. What a body calls on itself is part of
the call that was admitted, so it meets no guard there.

A tool can be guarded more than once (:attr:`GuardedCallable.nested`): the id is handed on then, because the next guard
needs it as well, and the ticket of :mod:`~guarded_tools.adapters.ticket` says to each guard which calls it has seen.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import types
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tools import BaseTool
from pydantic import ValidationError

from guarded_tools.adapters import answers
from guarded_tools.adapters.arguments import CapturedArguments, capture
from guarded_tools.adapters.invocation import Invocation
from guarded_tools.adapters.outcome import OutcomeClassifier
from guarded_tools.adapters.signatures import (
    call_id_parameter,
    copy_signature,
    handed_in,
    injected_parameters,
    looks,
    resolved_signature,
)
from guarded_tools.adapters.ticket import admitted
from guarded_tools.errors import GuardError
from guarded_tools.libraries import langchain_core
from guarded_tools.text.visible import one_line
from guarded_tools.values import ToolCall, ToolInfo, canonical

if TYPE_CHECKING:
    from guarded_tools.pipeline.gate import Gate

CALL_ID = "__guarded_tools_call_id"
"""Carries the id of a tool call from LangChain's argument parsing to the body, where a denial needs it.

Always set after the model's arguments were read, so that no argument of this name gets through.
"""
GUARDED_BY = "__guarded_by__"
"""The attribute of a stand-in that says which guard, or view of one, stands there."""


_POSITIONAL = frozenset({inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD})


class GuardedCallable:
    """A callable of a tool, and the guard in front of it.

    ``filled_in`` is the parameter that LangChain fills in right around this callable, if it has one of that name.
    Around others the same name is an argument like any other.
    """

    def __init__(
        self,
        guard: Gate,
        tool: BaseTool,
        info: ToolInfo,
        judge: OutcomeClassifier,
        target: Callable[..., Any],
        *,
        filled_in: str,
    ) -> None:
        self.guard = guard
        self.tool = tool
        self.info = info
        self.judge = judge
        self.target = target
        self.nested = hasattr(type(tool), "__guards__")
        self.signature = resolved_signature(target)
        inner = getattr(tool, "func", None) or getattr(tool, "coroutine", None)
        self._inner = resolved_signature(inner) if inner is not None else self.signature
        self._injected = injected_parameters(tool)
        self.injected = self._injected | (
            (self.signature.parameters.keys() & {filled_in}) | {langchain_core.config_parameter(target)} - {None}
        )
        self._call_id_at = call_id_parameter(self.signature)

    def under(self, guard: Gate) -> GuardedCallable:
        """Return the same callable behind another view of its guard."""
        if guard is self.guard:
            return self
        other = copy.copy(self)
        other.guard = guard
        return other

    @functools.cached_property
    def _fields(self) -> list[str]:
        return list(self.tool.args)

    def own_id(self, kwargs: Mapping[str, Any], call_id: str | None) -> frozenset[str]:
        """Return the name under which LangChain handed on the id of the call itself; another value is an argument."""
        at = self._call_id_at
        return frozenset({at} if at is not None and at in kwargs and kwargs[at] == call_id else ())

    def named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return all arguments by name: by that of the schema, which is what policies are written against.

        Raises:
            ValueError: two arguments have one name.
        """
        if not args:
            return kwargs
        positional = [p.name for p in self._inner.parameters.values() if p.kind in _POSITIONAL]
        named = dict(kwargs)
        for at, value in enumerate(args):
            name = positional[at] if at < len(positional) else f"args[{at}]"
            if name not in self._fields and at < len(self._fields):
                name = self._fields[at]
            if name in named:
                raise ValueError(f"two arguments are called {name!r}")
            named[name] = value
        return named

    def parsed(
        self, edited: Mapping[str, Any], injected: Mapping[str, Any], call_id: str | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what the tool's own parsing makes of arguments that did not come through LangChain.

        Raises:
            ValueError: the tool refuses them.
        """
        filled_in = self._injected | handed_in(injected)
        known = {name: value for name, value in injected.items() if name in filled_in}
        try:
            args, kwargs = langchain_core.parsed(self.tool, {**edited, **known}, call_id)
        except Exception as error:  # noqa: BLE001 - a schema runs code of its own
            raise ValueError(
                f"{one_line(self.tool.name)} does not take these arguments: {_without_values(error)}"
            ) from None
        handed_on = {CALL_ID, *self.injected, *injected, *self.own_id(kwargs, call_id)}
        return args, {name: value for name, value in kwargs.items() if name not in handed_on}

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any], owner: BaseTool | None = None) -> Any:
        """Run the body if the guard lets it; that of a method with the state of ``owner``."""
        received = _Received(self, args, kwargs, self._target_of(owner))
        return received.invocation(received.run).run()

    async def acall(self, args: tuple[Any, ...], kwargs: dict[str, Any], owner: BaseTool | None = None) -> Any:
        """As :meth:`call`, for a body that is awaited."""
        received = _Received(self, args, kwargs, self._target_of(owner))
        return await received.invocation(received.arun).arun()

    def _target_of(self, owner: BaseTool | None) -> Callable[..., Any]:
        """Return the callable that runs with the state of ``owner``: a copy of the guarded tool has one of its own."""
        tool, target = self.tool, self.target
        if owner is None or vars(owner) is vars(tool) or not isinstance(target, types.MethodType):
            return target
        if target.__self__ is not tool or not {"func", "coroutine"}.isdisjoint(type(tool).model_fields):
            return target  # the guarded one has a state of its own there, with guarded functions in it
        # What the body calls on itself is part of this call, so it is not given the guarded copy.
        behind = object.__new__(type(tool))
        for name in ("__dict__", "__pydantic_private__", "__pydantic_extra__", "__pydantic_fields_set__"):
            object.__setattr__(behind, name, getattr(owner, name))
        return types.MethodType(target.__func__, behind)

    def function(self) -> Callable[..., Any]:
        """Return the guarded stand-in of a plain function."""

        def guarded(*args: Any, **kwargs: Any) -> Any:
            return self.call(args, kwargs)

        self._dress(guarded)
        return guarded

    def coroutine(self) -> Callable[..., Awaitable[Any]]:
        """Return the guarded stand-in of a coroutine function."""

        async def guarded(*args: Any, **kwargs: Any) -> Any:
            return await self.acall(args, kwargs)

        self._dress(guarded)
        return guarded

    def method(self) -> Callable[..., Any]:
        """Return the guarded stand-in of a method; it runs on the tool behind the guard, which is not guarded."""

        def guarded(_self: Any, *args: Any, **kwargs: Any) -> Any:
            return self.call(args, kwargs, _self)

        self._dress(guarded, bound=True)
        return guarded

    def coroutine_method(self) -> Callable[..., Awaitable[Any]]:
        """As :meth:`method`, for a coroutine method."""

        async def guarded(_self: Any, *args: Any, **kwargs: Any) -> Any:
            return await self.acall(args, kwargs, _self)

        self._dress(guarded, bound=True)
        return guarded

    def _dress(self, guarded: Any, *, bound: bool = False) -> None:
        if bound:
            itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
            signature = self.signature.replace(parameters=[itself, *self.signature.parameters.values()])
            copy_signature(guarded, self.target, signature)
            return
        for name, value in self._looks.items():
            setattr(guarded, name, value)
        setattr(guarded, GUARDED_BY, self.guard)

    @functools.cached_property
    def _looks(self) -> dict[str, Any]:
        return looks(self.target, self.signature)


class _Received:
    """What LangChain handed to a body for one call, what a human wrote instead, and which of these runs."""

    __slots__ = ("_body", "_call_id", "_edits", "_injected", "_own", "_target")

    def __init__(
        self, body: GuardedCallable, args: tuple[Any, ...], kwargs: dict[str, Any], target: Callable[..., Any]
    ) -> None:
        self._body = body
        self._target = target
        self._call_id: str | None = kwargs.pop(CALL_ID, None)
        injected = body.injected | body.own_id(kwargs, self._call_id) | handed_in(kwargs)
        self._injected = {name: kwargs.pop(name) for name in injected if name in kwargs}
        self._own = capture(args, kwargs, body.named)
        self._edits: list[CapturedArguments] = []

    def invocation(self, body: Callable[[dict[str, Any]], Any]) -> Invocation:
        """Return the call that is to be made; ``body`` is :meth:`run` or :meth:`arun`."""
        guard, info, config = self._body.guard, self._body.info, var_child_runnable_config.get()
        session, grant = guard.session_for(config), guard.grant_for(config)
        call = ToolCall(info.name, self._own.view, session, grant, self._call_id)
        pairs = self._body.tool.response_format == "content_and_artifact"
        return Invocation(guard, call, info, self._body.judge, body, self._refusal, self._read, self._own.fault, pairs)

    def _read(self, edited: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the body would receive for arguments that a human wrote. They run only if they are judged.

        Raises:
            ValueError: the tool's own schema refuses them, or they cannot be judged.
        """
        args, kwargs = self._body.parsed(edited, self._injected, self._call_id)
        captured = capture(args, kwargs, self._body.named)
        if captured.fault:
            raise ValueError(captured.fault)
        self._edits.append(captured)
        return captured.view

    def _judged(self, judged: dict[str, Any]) -> CapturedArguments:
        """Find the arguments whose view was judged: a human may have tried several edits and decided for none."""
        if not self._edits:
            return self._own
        wanted = canonical(judged)
        candidates: list[CapturedArguments] = [*reversed(self._edits), self._own]
        for captured in candidates:
            with contextlib.suppress(ValueError):
                if canonical(captured.view) == wanted:
                    return captured
        raise GuardError("what was judged is not what the tool would have received; nothing ran")

    def run(self, judged: dict[str, Any]) -> Any:
        """Run the body with the arguments that were judged."""
        captured = self._judged(judged)
        with admitted(self._body.guard, self._body.info.name, judged):
            return self._target(*captured.args, **captured.kwargs, **self._handed_on())

    async def arun(self, judged: dict[str, Any]) -> Any:
        """As :meth:`run`, for a body that is awaited."""
        captured = self._judged(judged)
        with admitted(self._body.guard, self._body.info.name, judged):
            return await self._target(*captured.args, **captured.kwargs, **self._handed_on())

    def _handed_on(self) -> dict[str, Any]:
        return {**self._injected, CALL_ID: self._call_id} if self._body.nested else self._injected

    def _refusal(self, denied: answers.Refusal) -> Any:
        """Turn a refusal into what LangChain takes for a result."""
        tool = self._body.tool
        content = str(denied) if self._call_id is None else answers.message(denied, tool.name, self._call_id)
        return (content, answers.artifact(denied)) if tool.response_format == "content_and_artifact" else content


def _without_values(error: Exception) -> str:
    """Say what is wrong with arguments, but not what they are: this is recorded, and told to a model."""
    if not isinstance(error, ValidationError):
        return str(error)
    found = error.errors(include_url=False, include_context=False, include_input=False)
    # Behind the name of a secret and a colon, masking would take what is said for the secret.
    return "; ".join(f"{each['msg']} at {'.'.join(map(str, each['loc'])) or 'the top'}" for each in found)
