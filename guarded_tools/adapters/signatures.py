"""What LangChain fills in around a body, and the looks by which a stand-in gets the same.

A tool's body gets more than the model wrote. Who fills in what, and how they find out:

===========================  =================================  ====================================================
what                         who                                found by
===========================  =================================  ====================================================
``run_manager``              ``BaseTool.run``, into ``_run``    the name, in the signature of ``_run``
``callbacks``                ``StructuredTool``, into ``func``  the name, in the signature of the function
the run's config             both of them                       the annotation ``RunnableConfig`` that a callable shows
the id of the call           argument parsing                   ``InjectedToolCallId``, in the schema or the signature
state, store, runtime        LangGraph's tool node              annotations of schema and function; ``runtime`` by name
any ``InjectedToolArg``      whoever calls the tool             the same; the tool node strips what a model wrote there
===========================  =================================  ====================================================

A guarded tool's functions are stand-ins. LangChain looks at them and must find what it would have found on the raw
ones: no more, or a parameter is filled in that was an argument, and nobody judges it; no less, or the body fails. So a
stand-in carries the signature of its body with annotations as objects, since names would be looked up in our modules
(:func:`resolved_signature` says in which scope they mean something), and the annotations that a callable shows
itself. It has no ``__wrapped__``: that leads around the guard.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from langchain_core.runnables.config import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolCallId

from guarded_tools.libraries import langchain_core

_PLAIN = frozenset({str, int, float, bool, type(None), dict, list})


@functools.cache
def forwarding_method(method: Callable[..., Any], *, describes: bool) -> Callable[..., Any]:
    """Return a method of LangChain's own with its annotations resolved, which LangChain does anew at every call.

    LangChain has few, so each is made once and serves every tool. Where nobody makes a schema of it (``describes`` is
    false), all that LangChain looks for is where the config goes.
    """

    def relay(self: Any, *args: Any, **kwargs: Any) -> Any:
        return method(self, *args, **kwargs)

    async def arelay(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await method(self, *args, **kwargs)

    stand_in: Any = arelay if inspect.iscoroutinefunction(method) else relay
    copy_signature(stand_in, method, resolved_signature(method))
    if not describes:
        config = langchain_core.config_parameter(method)
        stand_in.__annotations__ = {} if config is None else {config: RunnableConfig}
    return stand_in  # type: ignore[no-any-return]


def copy_signature(stand_in: Any, original: Any, signature: inspect.Signature) -> None:
    """Give a stand-in the looks LangChain inspects, and no ``__wrapped__`` that leads around the guard."""
    for name, value in looks(original, signature).items():
        setattr(stand_in, name, value)


def looks(original: Any, signature: inspect.Signature) -> dict[str, Any]:
    """Return the attributes of a callable that LangChain inspects, as those of one with this signature."""
    config = langchain_core.config_parameter(original)
    annotations = {
        name: p.annotation
        for name, p in signature.parameters.items()
        if p.annotation is not inspect.Parameter.empty and (p.annotation is not RunnableConfig or name == config)
    }
    if config is not None and config not in annotations:
        annotations[config] = RunnableConfig  # filled in, even where the signature has none of it any more
    if signature.return_annotation is not inspect.Signature.empty:
        annotations["return"] = signature.return_annotation
    names = ("__name__", "__qualname__", "__doc__", "__module__")
    named = {name: value for name in names if (value := getattr(original, name, None)) is not None}
    return {"__signature__": signature, "__annotations__": annotations, **named}


def resolved_signature(body: Callable[..., Any]) -> inspect.Signature:
    """Return a signature whose annotations are objects, where the scope they were written in knows them."""
    signature = inspect.signature(body)
    scope = _scope(body)

    def resolved(annotation: Any) -> Any:
        if not isinstance(annotation, str):
            return annotation
        holder = type("holder", (), {"__annotations__": {"it": annotation}})
        try:
            return get_type_hints(holder, globalns=scope, include_extras=True)["it"]
        except Exception:  # noqa: BLE001 - LangChain leaves a name alone that nobody can resolve, and so do we
            return annotation

    return signature.replace(
        parameters=[p.replace(annotation=resolved(p.annotation)) for p in signature.parameters.values()],
        return_annotation=resolved(signature.return_annotation),
    )


def _scope(body: Any) -> dict[str, Any]:
    """Return the globals of the function whose signature a callable has."""
    body = inspect.unwrap(body, stop=lambda inner: hasattr(inner, "__signature__"))
    if isinstance(body, functools.partial):
        return _scope(body.func)
    if isinstance(body, types.MethodType):
        return _scope(body.__func__)
    if isinstance(scope := getattr(body, "__globals__", None), dict):
        return scope
    if isinstance(body, type):
        constructor = _constructor(body)
        return {} if constructor is None else _scope(constructor)
    call = getattr(type(body), "__call__", None)  # noqa: B004 - the function is wanted, not whether there is one
    return _scope(call) if isinstance(call, types.FunctionType | types.MethodType | functools.partial) else {}


def _constructor(kind: type) -> Any:
    """Return whose signature a class has: its metaclass's call, else the nearest of ``__new__`` and ``__init__``."""
    call = getattr(type(kind), "__call__", None)  # noqa: B004
    if isinstance(call, types.FunctionType):
        return call
    for base in kind.__mro__:
        for name in ("__new__", "__init__"):
            method = base.__dict__.get(name)
            method = method.__func__ if isinstance(method, staticmethod | classmethod) else method
            if isinstance(method, types.FunctionType):
                return method
    return None


def call_id_parameter(signature: inspect.Signature) -> str | None:
    """Return the parameter that LangChain fills in by this very name, even where the tool's schema has none of it."""
    found = signature.parameters.get("tool_call_id")
    return found.name if found and langchain_core.is_injected(found.annotation, InjectedToolCallId) else None


def injected_parameters(tool: BaseTool) -> frozenset[str]:
    """Return the names whose values the model cannot write: those ``ToolNode`` strips from what it wrote.

    It looks at the tool's schema, and at the annotations of its plain function. LangChain injects by the signature of
    ``_run`` as well, but there it takes whatever the model wrote: such a parameter is an argument like any other.
    """
    annotations: dict[str, Any] = {}
    function = getattr(tool, "func", None) or getattr(tool, "coroutine", None)
    if function is not None:
        annotations |= {name: p.annotation for name, p in resolved_signature(function).parameters.items()}
    if not isinstance(tool.args_schema, dict):
        annotations |= langchain_core.annotations_of(tool.args_schema or tool.get_input_schema())
    return frozenset(name for name, annotation in annotations.items() if langchain_core.is_injected(annotation))


def handed_in(kwargs: Mapping[str, Any]) -> frozenset[str]:
    """Return the names that hold what ``ToolNode`` alone can have put there, whatever the parameter is declared as.

    It fills in ``runtime`` by its name and looks into unions, where LangChain sees no injection. What a model writes
    never becomes one of these objects, so here the value tells, and any other value of that name is an argument.
    """
    odd = [name for name, value in kwargs.items() if type(value) not in _PLAIN]
    if not odd:
        return frozenset()
    graph, store = sys.modules.get("langgraph.prebuilt.tool_node"), sys.modules.get("langgraph.store.base")
    kinds = (getattr(graph, "ToolRuntime", None), getattr(store, "BaseStore", None))
    known = tuple(kind for kind in kinds if kind is not None)
    return frozenset(name for name in odd if isinstance(kwargs[name], known))
