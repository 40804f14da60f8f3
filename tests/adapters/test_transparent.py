"""With everything allowed, a guarded tool cannot be told from the raw one: tool kind by road."""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import functools
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from langchain_core.callbacks import CallbackManagerForToolRun
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import (
    BaseTool,
    InjectedToolArg,
    InjectedToolCallId,
    StructuredTool,
    Tool,
    ToolException,
    tool,
)
from langgraph.prebuilt import InjectedState, InjectedStore, ToolRuntime
from langgraph.store.base import BaseStore
from langgraph.types import Command
from pydantic import BaseModel, Field
from pydantic_core import SchemaSerializer

from tests.adapters.roads import ROADS, call_of, node, told_of


class Point(BaseModel):
    x: int
    y: int = 2


class Both(BaseTool):
    name: str = "both"
    description: str = "A class with both bodies."
    seen: int = 0

    def _run(self, n: int, run_manager: CallbackManagerForToolRun | None = None) -> str:
        self.seen += 1
        if run_manager is not None:
            run_manager.on_text(f"n={n}")
        return f"sync {n} {run_manager is not None} {self.seen > 0}"

    async def _arun(self, n: int, run_manager: Any = None) -> str:
        return f"async {n} {run_manager is not None}"


class SyncOnly(BaseTool):
    name: str = "sync_only"
    description: str = "A class with one body, which takes the config."
    _secret: str = "kept"

    def _run(self, n: int, *, config: RunnableConfig) -> str:
        return f"{n} {self._secret} {sorted(config.get('tags') or [])} {config['configurable'].get('thread_id')}"


class AsyncOnly(BaseTool):
    name: str = "async_only"
    description: str = "A class that only works with await."

    def _run(self, n: int) -> str:
        raise NotImplementedError("async only")

    async def _arun(self, n: int) -> str:
        return f"async {n}"


class CallsItself(BaseTool):
    name: str = "calls_itself"
    description: str = "Its async body is its sync body."

    def _run(self, n: int) -> str:
        return f"once {n}"

    async def _arun(self, n: int) -> str:
        return self._run(n)


def sync_function() -> BaseTool:
    @tool
    def plain(n: int, word: str = "w") -> str:
        """Say it."""
        return f"{n} {word}"

    return plain


def async_function() -> BaseTool:
    @tool
    async def plain_async(n: int) -> str:
        """Say it later."""
        await asyncio.sleep(0)
        return f"{n}"

    return plain_async


def both_functions() -> BaseTool:
    def body(n: int) -> str:
        return f"sync {n}"

    async def abody(n: int) -> str:
        return f"async {n}"

    return StructuredTool.from_function(
        body, abody, name="both_functions", description="d", tags=["t"], metadata={"k": 1}
    )


def single_input() -> BaseTool:
    return Tool(name="single", description="d", func=lambda text: f"<{text}>")


def artifact() -> BaseTool:
    @tool(response_format="content_and_artifact", return_direct=True, extras={"defer_loading": True})
    def with_artifact(n: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Give both."""
        return [{"type": "text", "text": f"{n}"}, {"type": "image", "base64": "AAAA", "mime_type": "image/png"}], {
            "n": n
        }

    return with_artifact


def bad_artifact() -> BaseTool:
    @tool(response_format="content_and_artifact")
    def bad_artifact(n: int) -> str:
        """Give one where two are owed."""
        return f"{n}"

    return bad_artifact


def config_and_callbacks() -> BaseTool:
    @tool
    def configured(n: int, cfg: RunnableConfig, callbacks: Any = None) -> str:
        """Use what LangChain fills in."""
        return f"{n} {cfg['configurable'].get('thread_id')} {cfg['metadata'].get('m')} {type(callbacks).__name__}"

    return configured


def models() -> BaseTool:
    @tool
    def with_models(n: int, at: dt.datetime, points: list[Point], tags: set[str] = frozenset()) -> str:  # type: ignore[assignment]
        """Take parsed values."""
        return f"{n} {at!r} {points!r} {sorted(tags)}"

    return with_models


def aliased() -> BaseTool:
    class Args(BaseModel):
        n: int = Field(alias="nn")
        more: dict[str, list[int]] = Field(default_factory=dict)

    return StructuredTool.from_function(
        lambda n, more: f"{n} {more}", name="aliased", description="d", args_schema=Args
    )


def injected() -> BaseTool:
    @tool
    def injected(
        n: int,
        state: Annotated[dict[str, Any], InjectedState],
        messages: Annotated[list[BaseMessage], InjectedState("messages")],
        store: Annotated[Any, InjectedStore()],
        call_id: Annotated[str, InjectedToolCallId],
        runtime: ToolRuntime,
    ) -> str:
        """Use everything that is injected."""
        store.put(("seen",), str(n), {"n": n})
        return f"{n} {len(state['messages'])} {len(messages)} {call_id} {runtime.tool_call_id} {type(runtime).__name__}"

    return injected


def runtime_by_name() -> BaseTool:
    @tool
    def by_name(n: int, runtime: Any = None) -> str:
        """Take what ToolNode fills in by its name alone."""
        return f"{n} {type(runtime).__name__}"

    return by_name


def injected_into_unions() -> BaseTool:
    def body(
        n: int, runtime: ToolRuntime | None = None, store: Annotated[BaseStore, InjectedStore()] | None = None
    ) -> str:
        return f"{n} {type(runtime).__name__} {type(store).__name__}"

    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False}
    return StructuredTool(name="unions", description="d", func=body, args_schema=schema)


def injected_class() -> BaseTool:
    class Args(BaseModel):
        n: int
        state: Annotated[dict[str, Any], InjectedState]
        user: Annotated[str, InjectedToolArg] = "nobody"

    class Injected(BaseTool):
        name: str = "injected_class"
        description: str = "d"
        args_schema: type[BaseModel] = Args

        def _run(self, n: int, state: dict[str, Any], user: str) -> str:
            return f"{n} {len(state['messages'])} {user}"

    return Injected()


def command() -> BaseTool:
    @tool
    def command(n: int, call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
        """Change the state."""
        return Command(update={"messages": [ToolMessage(f"moved {n}", tool_call_id=call_id, id="fixed")]})

    return command


def raising(error: Exception, **options: Any) -> Callable[[], BaseTool]:
    def make() -> BaseTool:
        def failing(n: int) -> str:
            raise error

        return StructuredTool.from_function(failing, name="failing", description="d", **options)

    return make


N = {"n": 1}
KINDS: dict[str, tuple[Callable[[], BaseTool], Any]] = {
    "sync function": (sync_function, N),
    "async function": (async_function, N),
    "both functions": (both_functions, N),
    "single input": (single_input, {"__arg1": "x"}),
    "class": (Both, N),
    "sync class": (SyncOnly, N),
    "async class": (AsyncOnly, N),
    "class whose bodies share": (CallsItself, N),
    "artifact": (artifact, N),
    "no artifact where one is owed": (bad_artifact, N),
    "config and callbacks": (config_and_callbacks, N),
    "models": (models, {"n": "1", "at": "2026-01-02T03:04:05Z", "points": [{"x": 1}], "tags": ["b", "a"]}),
    "alias": (aliased, {"nn": 1}),
    "injected": (injected, N),
    "injected into a class": (injected_class, N),
    "command": (command, N),
    "error": (raising(ValueError("no")), N),
    "tool error": (raising(ToolException("no")), N),
    "handled tool error": (
        raising(ToolException("no"), handle_tool_error=lambda e: [{"type": "text", "text": f"h {e}"}]),
        N,
    ),
    "invalid arguments": (sync_function, {"n": "x"}),
    "handled invalid arguments": (
        lambda: sync_function().model_copy(update={"handle_validation_error": True}),
        {"n": "x"},
    ),
    "missing arguments": (sync_function, {}),
}


@functools.cache
def made(kind: str) -> BaseTool:
    """A tool of a kind, which goes every road; LangChain takes longest to make it."""
    return KINDS[kind][0]()


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_guarded_tool_cannot_be_told_from_the_raw_one(
    kind: str, road: str, make_guard: Any, scripted: Any, events: Any
) -> None:
    tool, args = made(kind), KINDS[kind][1]
    guarded_tool = make_guard().wrap([tool])[0]
    raw, guarded = (told_of(subject, road, args, scripted) for subject in (tool, guarded_tool))
    assert guarded == raw
    if any(call[0] == "end" for call in guarded[1]) and "arguments" not in kind:
        assert {event.kind for event in events} == {"admitted", "settled"}  # it did go through the guard


@pytest.mark.parametrize(
    ("make", "said"), [(runtime_by_name, "1 ToolRuntime"), (injected_into_unions, "1 ToolRuntime InMemoryStore")]
)
def test_what_toolnode_fills_in_where_langchain_sees_no_injection(make_guard: Any, make: Any, said: str) -> None:
    """It was taken for an argument, copied with all that hangs on it, and refused because it is no JSON."""
    (guarded,) = make_guard().wrap([make()])
    for subject in (make(), guarded):
        asked = AIMessage("", tool_calls=[call_of(subject, N)])
        assert node(subject).invoke({"messages": [asked]})["messages"][-1].content == said


@pytest.mark.parametrize("make", [runtime_by_name, Both])
def test_a_guarded_tool_is_written_as_the_tool_itself_where_pydantic_meets_it(make_guard: Any, make: Any) -> None:
    """A runtime holds all tools of its node; for pydantic before 2.14 one that is not built cannot be written."""
    raw = make()
    (once,) = make_guard().wrap([raw])
    (twice,) = make_guard().wrap([once])
    for guarded in (once, twice):
        assert type(type(guarded).__pydantic_serializer__) is SchemaSerializer
        assert guarded.model_dump().keys() == raw.model_dump().keys()


def test_what_a_body_changes_on_itself_shows_on_the_guarded_tool(make_guard: Any) -> None:
    raw = Both()
    (guarded,) = make_guard().wrap([raw])
    guarded.invoke({"n": 1})
    assert (guarded.seen, raw.seen) == (1, 1)


class Tenant(BaseTool):
    name: str = "tenant"
    description: str = "Acts with a key of its own."
    key: str = "alice's"
    used: list[str]
    _mark: str = "first"

    def _run(self, n: int) -> str:
        self.used.append(self.key)
        return f"{n} {self.key} {self._mark}"

    async def _arun(self, n: int) -> str:
        return self._run(n)


@pytest.mark.parametrize(
    "copied",
    [
        lambda t: t.model_copy(update={"key": "bob's"}),
        lambda t: with_key(copy.copy(t), "bob's"),
        lambda t: with_key(copy.deepcopy(t), "bob's"),
        lambda t: with_key(t.model_copy().model_copy(), "bob's"),
    ],
)
def test_a_copy_of_a_guarded_tool_runs_with_its_own_state(make_guard: Any, outcomes: Any, copied: Any) -> None:
    guard, other = make_guard(), make_guard()
    (guarded,) = other.wrap(guard.wrap([Tenant(used=[])]))
    bob, like_raw = copied(guarded), copied(Tenant(used=[]))
    assert bob.invoke({"n": 1}) == like_raw.invoke({"n": 1}) == "1 bob's first"
    assert asyncio.run(bob.ainvoke({"n": 2})) == "2 bob's first"
    assert guarded.invoke({"n": 3}) == "3 alice's first"
    assert like_raw.used == ["bob's"]
    assert bob.used[:2] == ["bob's", "bob's"]
    settled = [outcome for kind, _, outcome in outcomes() if kind == "settled"]
    assert settled == ["ok"] * 6, "three calls past two guards"


def with_key(tool: Any, key: str) -> Any:
    tool.key = key
    return tool


def test_a_body_that_calls_another_body_of_its_own_counts_once(make_guard: Any, outcomes: Any) -> None:
    (guarded,) = make_guard().wrap([CallsItself()])
    assert asyncio.run(guarded.ainvoke({"n": 1})) == "once 1"
    assert outcomes() == [("admitted", "calls_itself", None), ("settled", "calls_itself", "ok")]


def test_a_guarded_tool_is_an_instance_of_the_tools_class_and_looks_like_one(make_guard: Any) -> None:
    raw = Both()
    (guarded,) = make_guard().wrap([raw])
    assert isinstance(guarded, Both)
    assert type(guarded).__name__ == "Both"
    assert repr(guarded) == repr(raw)
    assert guarded.args_schema is raw.args_schema
