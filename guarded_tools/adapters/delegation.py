"""Which tools hand work to agents whose own tools run without a guard.

A middleware guards the agent that it was given to. Where a tool of that agent runs another agent, as the ``task`` of
deep agents does, the other one has the tools and none of the middleware: a model that is denied a tool hands the work
on, and it runs there, with no line in the audit. So before such a tool runs, whatever its body can reach is looked at:

- what a function holds: its closure, defaults, and those global names that its code mentions; of a method, its object;
- what a tool, a runnable or an agent's graph is made of, and what lists and mappings hold.

Each tool node that is found there either has a guard's middleware around it, and looks after what its own tools hand
on; or only tools that ``Guard.wrap`` made, which are looked into; or it is unguarded. What is not looked into are
objects of other kinds: a database that happens to know an agent is no way to it. An agent that is made anew in the body
of a tool, or that runs on another machine, cannot be found; ``docs/plugins.md`` says so.
"""

from __future__ import annotations

import functools
import types
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langgraph.prebuilt import ToolNode
from langgraph.pregel import Pregel

from guarded_tools.adapters.body import GuardedCallable
from guarded_tools.adapters.wrap import guards
from guarded_tools.libraries import langchain_core, langgraph

_MOST = 5_000
"""As many objects are looked at; whoever holds more is not an agent's tool, but a program."""
_WIDEST = 1_000
"""As many values of one object are looked at: what holds more is data."""


def unguarded_below(tool: BaseTool, middleware: type) -> tuple[str, ...]:
    """Return the names of the tools that run without a guard where ``tool`` hands work on, sorted.

    ``middleware`` is the kind of middleware that guards an agent's tools, whichever guard's it is.
    """
    return unguarded(_held(tool), middleware)


def unguarded(roots: Iterable[Any], middleware: type) -> tuple[str, ...]:
    """As :func:`unguarded_below`, for agents, or whatever else may hold some."""
    found: set[str] = set()
    for value in _reach(roots, middleware):
        if isinstance(value, ToolNode) and not _is_guarded(value, middleware):
            found |= {name for name, tool in value.tools_by_name.items() if not guards(tool)}
    return tuple(sorted(found))


def _reach(roots: Iterable[Any], middleware: type) -> Iterator[Any]:
    """Walk what can be reached, the nearest first; not into what a middleware looks after itself."""
    known: dict[int, Any] = {}  # holds what it has seen, so that no id is used again
    queue = deque(roots)
    while queue and len(known) < _MOST:
        value = queue.popleft()
        if id(value) in known:
            continue
        known[id(value)] = value
        yield value
        if isinstance(value, Pregel):
            queue.extend(_nodes(value, middleware))
        elif not (isinstance(value, ToolNode) and _is_guarded(value, middleware)):
            queue.extend(islice(_held(value), _WIDEST))


def _nodes(graph: Pregel[Any, Any, Any, Any], middleware: type) -> Iterator[Any]:
    """Yield what the nodes of a graph run.

    Beside tools that are guarded stand the model, which holds the very same tools and runs none, and hooks.
    """
    nodes = [node.bound for node in graph.nodes.values()]
    guarded = any(isinstance(node, ToolNode) and _is_guarded(node, middleware) for node in nodes)
    yield from (node for node in nodes if not guarded or isinstance(node, ToolNode | Pregel))


def _is_guarded(node: ToolNode, middleware: type) -> bool:
    """Whether a guard's middleware is among what stands around the calls of a tool node."""
    around = langgraph.wrappers(node)
    return any(isinstance(value, middleware) for value in _reach(around, middleware))


def _held(value: Any) -> Iterator[Any]:  # noqa: C901 - one line for each kind of thing
    match value:
        case GuardedCallable():
            yield value.target
        case types.FunctionType():
            yield from _held_by_function(value)
        case types.MethodType():
            yield value.__func__
            yield value.__self__
            yield from _state(value.__self__)
        case functools.partial():
            yield from (value.func, *value.args, *value.keywords.values())
        case ToolNode():
            yield from value.tools_by_name.values()
        case BaseTool():
            yield from _state(value)
            bodies = (type(value)._run, type(value)._arun)  # noqa: SLF001
            yield from (body for body in bodies if not langchain_core.is_langchains(body))
        case Runnable():
            yield from _state(value)
        case dict():
            yield from value.values()
        case list() | tuple() | set() | frozenset():
            yield from value
        case _ if isinstance(call := getattr(type(value), "__call__", None), types.FunctionType):  # noqa: B004
            yield call
            yield from _state(value)


def _state(owner: Any) -> Iterator[Any]:
    """Yield what an object holds in fields; a class is no object, and holds what everybody may use."""
    if not isinstance(owner, type | types.ModuleType):
        yield from list(getattr(owner, "__dict__", {}).values())
        yield from list((getattr(owner, "__pydantic_private__", None) or {}).values())


def _held_by_function(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    if (inner := getattr(function, "__wrapped__", None)) is not None:
        yield inner
    scope = function.__globals__
    for name in _mentioned(function.__code__):
        value = scope.get(name)
        # Of functions only neighbours: those of libraries mention everything in the end.
        if not isinstance(value, types.FunctionType) or value.__module__ == function.__module__:
            yield value


def _mentioned(code: types.CodeType) -> Iterator[str]:
    """Yield the global names that a function's code mentions, also within the functions that it makes."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _mentioned(constant)
