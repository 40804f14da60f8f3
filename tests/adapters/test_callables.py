"""Callables of every kind, as raw LangChain runs them and guarded: the same result, or the same failure.

Their annotations are strings here, since this module postpones them: they mean something only in the scope of the
function that has them, which is ``__call__``'s, ``__new__``'s or ``__init__``'s.
"""

from __future__ import annotations

import functools
from typing import Annotated, Any, Self

import pytest
from langchain_core.callbacks import Callbacks
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolArg, InjectedToolCallId, StructuredTool

SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}}
INPUTS: list[Any] = [
    {"x": 1},
    {"x": 1, "user": "ann", "tool_call_id": "mine", "config": {"tags": ["mine"]}, "callbacks": "mine"},
    {"type": "tool_call", "id": "c1", "name": "t", "args": {"x": 1}},
    {"type": "tool_call", "id": "c1", "name": "t", "args": {"x": 1, "user": "ann", "config": 7}},
]


def shown(**values: Any) -> str:
    """Say what arrived, without what differs in each run."""
    config = values.get("config")
    told = {name: value if isinstance(value, str | int) else type(value).__name__ for name, value in values.items()}
    return str(
        told | {"thread": config["configurable"] if isinstance(config, dict) and "configurable" in config else None}
    )


def plain(x: int, user: Annotated[str, InjectedToolArg] = "nobody", config: RunnableConfig = None) -> str:  # type: ignore[assignment]
    return shown(x=x, user=user, config=config)


def with_all(
    x: int,
    config: RunnableConfig,
    tool_call_id: Annotated[str, InjectedToolCallId] = "none",
    callbacks: Callbacks = None,
) -> str:
    return shown(x=x, config=config, tool_call_id=tool_call_id, callbacks=callbacks)


def unresolvable(x: int, other: NoSuchName = None, config: RunnableConfig = None) -> str:  # type: ignore[name-defined,assignment]  # noqa: F821
    return shown(x=x, other=other, config=config)


class Calls:
    def __call__(self, x: int, user: Annotated[str, InjectedToolArg] = "nobody", config: RunnableConfig = None) -> str:  # type: ignore[assignment]
        return shown(x=x, user=user, config=config)


class CallsWithAnnotations(Calls):
    config: RunnableConfig


class NeedsConfig:
    def __call__(self, x: int, config: RunnableConfig) -> str:
        return shown(x=x, config=config)


class NeedsCallId:
    def __call__(self, x: int, tool_call_id: Annotated[str, InjectedToolCallId]) -> str:
        return shown(x=x, tool_call_id=tool_call_id)


class WithCallbacks:
    def __call__(self, x: int, callbacks: Callbacks = None) -> str:
        return shown(x=x, callbacks=callbacks)

    def method(self, x: int, config: RunnableConfig, user: Annotated[str, InjectedToolArg] = "nobody") -> str:
        return shown(x=x, config=config, user=user)


class Made:
    def __init__(
        self, x: int, tool_call_id: Annotated[str, InjectedToolCallId] = "none", config: RunnableConfig = None
    ):  # type: ignore[assignment]
        self.said = shown(x=x, tool_call_id=tool_call_id, config=config)

    def __str__(self) -> str:
        return self.said


class MadeAnew(str):
    __slots__ = ()

    def __new__(cls, x: int, tool_call_id: Annotated[str, InjectedToolCallId] = "none") -> Self:
        return super().__new__(cls, shown(x=x, tool_call_id=tool_call_id))


def three(prefix: str, x: int, config: RunnableConfig) -> str:
    return shown(prefix=prefix, x=x, config=config)


CALLABLES = {
    "function": plain,
    "function with all": with_all,
    "unresolvable": unresolvable,
    "instance": Calls(),
    "instance with annotations": CallsWithAnnotations(),
    "instance that needs the config": NeedsConfig(),
    "instance that needs the id": NeedsCallId(),
    "instance with callbacks": WithCallbacks(),
    "method": WithCallbacks().method,
    "class": Made,
    "class with new": MadeAnew,
    "partial": functools.partial(three, "p"),
    "partial by name": functools.partial(three, prefix="p"),
    "partial with the config bound": functools.partial(plain, config={"tags": ["bound"]}),
    "partial of a partial": functools.partial(functools.partial(with_all), callbacks=None),
    "partial of an instance": functools.partial(NeedsConfig()),
    "partial of a method": functools.partial(WithCallbacks().method, user="bound"),
}


def outcome(tool: BaseTool, given: Any) -> Any:
    try:
        result = tool.invoke(given, {"configurable": {"thread_id": "t"}})
    except Exception as error:
        return type(error), str(error)
    return str(getattr(result, "content", result))


@pytest.mark.parametrize("name", CALLABLES)
@pytest.mark.parametrize("given", INPUTS, ids=["args", "more args", "call", "call with more"])
@pytest.mark.parametrize("twice", [False, True])
def test_a_callable_behaves_as_raw(name: str, given: Any, twice: bool, make_guard: Any) -> None:
    raw = StructuredTool(name="t", description="d", args_schema=SCHEMA, func=CALLABLES[name])
    guards = [make_guard(), make_guard()] if twice else [make_guard()]
    guarded: BaseTool = raw
    for guard in guards:
        (guarded,) = guard.wrap([guarded])
    assert outcome(guarded, given) == outcome(raw, given)
