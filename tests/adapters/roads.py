"""Every road by which LangChain runs a tool, and everything that comes out of it in a form that can be compared."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.graph import MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command


class Recorder(BaseCallbackHandler):
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def on_tool_start(self, serialized: Any, input_str: str, *, inputs: Any = None, **kwargs: Any) -> None:
        told = {key: kwargs.get(key) for key in ("tags", "metadata", "name", "tool_call_id")}
        self.calls.append(("start", serialized, input_str, plain(inputs), plain(told)))

    def on_tool_end(self, output: Any, **kwargs: Any) -> None:
        self.calls.append(("end", plain(output), kwargs.get("name")))

    def on_tool_error(self, error: BaseException, **kwargs: Any) -> None:
        self.calls.append(("error", plain(error), kwargs.get("tool_call_id")))

    def on_text(self, text: str, **kwargs: Any) -> None:
        self.calls.append(("text", text))


def plain(value: Any) -> Any:  # noqa: PLR0911 - one line for each kind of value
    """The comparable form of anything that comes out of a run."""
    if isinstance(value, BaseException):
        return (type(value), str(value), plain(value.__cause__))
    if isinstance(value, BaseMessage):
        return plain(value.model_dump(exclude={"id"}))
    if isinstance(value, Command):
        return ("command", plain(dataclasses.asdict(value)))
    if isinstance(value, str):
        return "lc_" if value.startswith("lc_") else value  # ids made up by the adapter
    if isinstance(value, dict):
        drop = {"run_id", "parent_ids", "langgraph_checkpoint_ns", "checkpoint_ns", "ls_integration"}
        return {key: plain(item) for key, item in value.items() if key not in drop and not str(key).startswith("__")}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else (type(value).__name__, str(value)[:0])


def call_of(subject: BaseTool, args: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_call", "id": "call-1", "name": subject.name, "args": dict(args)}


CONFIG = {"configurable": {"thread_id": "T"}, "tags": ["tag"], "metadata": {"m": 1}}


def node(subject: BaseTool) -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode([subject]))
    graph.set_entry_point("tools")
    return graph.compile(store=InMemoryStore())


def state_of(subject: BaseTool, args: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [AIMessage("", tool_calls=[call_of(subject, args)], id="asked")]}


async def events_of(subject: BaseTool, args: Any, config: Any) -> list[Any]:
    seen = []
    try:
        seen.extend([event async for event in subject.astream_events(args, config, version="v2")])
    except Exception as error:
        seen.append(error)
    return plain(seen)


def agent(scripted: Any, subject: BaseTool, args: dict[str, Any]) -> Any:
    return create_agent(scripted((subject.name, args)), [subject], store=InMemoryStore())


def run_of(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "config": config}


ASK = {"messages": [("user", "go")]}
ROADS: dict[str, Callable[..., Any]] = {
    "invoke": lambda t, a, c, s: t.invoke(dict(a), c),
    "invoke with a call": lambda t, a, c, s: t.invoke(call_of(t, a), c),
    "run": lambda t, a, c, s: t.run(dict(a), callbacks=c["callbacks"], tags=c["tags"], config=c, tool_call_id="call-1"),
    "batch": lambda t, a, c, s: t.batch([call_of(t, a), dict(a)], c, return_exceptions=True),
    "stream": lambda t, a, c, s: list(t.stream(dict(a), c)),
    "ToolNode": lambda t, a, c, s: node(t).invoke(state_of(t, a), c),
    "create_agent": lambda t, a, c, s: agent(s, t, a).invoke(ASK, c),
    "ainvoke": lambda t, a, c, s: asyncio.run(t.ainvoke(dict(a), c)),
    "ainvoke with a call": lambda t, a, c, s: asyncio.run(t.ainvoke(call_of(t, a), c)),
    "arun": lambda t, a, c, s: asyncio.run(t.arun(dict(a), callbacks=c["callbacks"], config=c, tool_call_id="call-1")),
    "abatch": lambda t, a, c, s: asyncio.run(t.abatch([call_of(t, a), dict(a)], c, return_exceptions=True)),
    "astream": lambda t, a, c, s: asyncio.run(collected(t.astream(dict(a), c))),
    "astream_events": lambda t, a, c, s: asyncio.run(events_of(t, dict(a), c)),
    "astream_events with a call": lambda t, a, c, s: asyncio.run(events_of(t, call_of(t, a), c)),
    "ToolNode async": lambda t, a, c, s: asyncio.run(node(t).ainvoke(state_of(t, a), c)),
    "create_agent async": lambda t, a, c, s: asyncio.run(agent(s, t, a).ainvoke(ASK, c)),
    "bind_tools": lambda t, a, c, s: convert_to_openai_tool(t),
    "schema": lambda t, a, c, s: (
        t.args,
        t.get_input_jsonschema(),
        t.is_single_input,
        t.return_direct,
        t.response_format,
        t.extras,
    ),
}


async def collected(stream: Any) -> list[Any]:
    return [item async for item in stream]


def told_of(subject: BaseTool, road: str, args: Any, scripted: Any) -> tuple[Any, list[Any]]:
    """What a caller gets on one road, and what callbacks hear meanwhile."""
    recorder = Recorder()
    try:
        result = ROADS[road](subject, args, {**CONFIG, "callbacks": [recorder]}, scripted)
    except Exception as error:
        result = error
    return plain(result), sorted(recorder.calls, key=repr) if "batch" in road else recorder.calls
