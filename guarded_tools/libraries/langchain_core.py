"""What is private in langchain-core and is needed here. Run with langchain-core 1.3.3 to 1.8.3.

- ``_is_injected_arg_type`` and ``get_all_basemodel_annotations`` tell which arguments no model writes. LangGraph's tool
  node asks the same two; whoever answered in another way would judge, or leave unjudged, something else than it strips.
- ``_get_runnable_config_param`` tells which parameter gets the run's config. It goes by a callable's own annotations,
  which an instance with ``__call__`` has none of; a guarded tool has to miss there what the raw one misses.
- ``_get_ls_params`` is where every model says, for traces, who provides it and what it is called.
- ``_to_args_and_kwargs`` is where LangChain makes arguments of what a model wrote, once the call's id is known. It is
  overridden to carry that id to the body, and called for arguments that a human wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.tools import BaseTool, InjectedToolArg
from langchain_core.tools.base import (
    _get_runnable_config_param,
    _is_injected_arg_type,
    get_all_basemodel_annotations,
)

PARSES = "_to_args_and_kwargs"
"""The name of the method by which a tool makes arguments of its input."""


def is_injected(annotation: Any, kind: type[InjectedToolArg] | None = None) -> bool:
    """Whether a parameter of this type is filled in, and not by a model; with ``kind``, whether by that kind."""
    return _is_injected_arg_type(annotation, kind)


def annotations_of(schema: Any) -> dict[str, Any]:
    """Return the annotations of a model's fields, those of its bases as well."""
    return get_all_basemodel_annotations(schema)


def config_parameter(function: Callable[..., Any]) -> str | None:
    """Return the name under which LangChain hands the run's config to a function, if it does."""
    return _get_runnable_config_param(function)


def parsed(tool: BaseTool, written: dict[str, Any], call_id: str | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what the tool makes of arguments that were written for it.

    Raises:
        Exception: whatever its schema raises.
    """
    return tool._to_args_and_kwargs(written, call_id)  # noqa: SLF001


def model_name(model: Any, settings: Mapping[str, Any]) -> str:
    """Name a model as ``provider:name``, or by its name alone; one that says neither by its class."""
    try:
        said = model._get_ls_params(**settings)  # noqa: SLF001
    except Exception:  # noqa: BLE001 - a model of somebody's own; its class is still known
        said = {}
    name = said.get("ls_model_name") or next(
        (each for each in (getattr(model, "model_name", None), getattr(model, "model", None)) if isinstance(each, str)),
        type(model).__name__,
    )
    return f"{said['ls_provider']}:{name}" if said.get("ls_provider") else str(name)


def is_langchains(function: Any, module: str = "langchain_core.") -> bool:
    """Whether a function is LangChain's own, and not that of a tool."""
    return str(getattr(function, "__module__", "")).startswith(module)
