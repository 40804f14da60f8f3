"""What is private in LangGraph and is needed here. Run with langgraph 1.1.5 to 1.2.24.

- A tool node keeps what stands around its tools in ``_wrap_tool_call`` and ``_awrap_tool_call``. Only there can be seen
  whether another agent's tools run behind a guard; should they be gone, every such agent counts as unguarded.
- It hands a call to its innermost wrapper by a function called ``execute``. Should that name change, the guard warns
  of an order of middleware that is right.
- What a task's config says of its run stands in ``configurable`` under ``__pregel_scratchpad`` (this is a task of a
  graph) and ``__pregel_checkpointer`` (its run is kept, and can be resumed), and in its metadata: a
  ``langgraph_path`` that begins with ``__pregel_pull`` is a node that the graph itself runs, as all of a step's calls
  at once; others were sent one by one. LangGraph's own ``interrupt()`` reads the same scratchpad. Should a name
  change, no run counts as one that can be resumed, and whoever asks by interrupting refuses to.
- A resume without an interrupt's id stays with the checkpoint after it was used: a run that goes on without an answer,
  as after a crash, would hand it to the next question. One that was just given stands last among the checkpoint's
  writes; one that was kept stands first, as every saver sorts by task. The writes stand in the closure of the
  scratchpad's ``get_null_resume``. Should that change, such a resume is no answer any more.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

INNERMOST = "execute"
"""The name of the function by which a tool node runs a tool, when no other middleware is in between."""


def wrappers(tool_node: Any) -> tuple[Callable[..., Any], ...]:
    """Return what a tool node puts around each of its calls: without an event loop, and with one."""
    around = (getattr(tool_node, name, None) for name in ("_wrap_tool_call", "_awrap_tool_call"))
    return tuple(wrapper for wrapper in around if wrapper is not None)


def is_task(configurable: Mapping[str, Any]) -> bool:
    """Whether it is a graph's task whose config says this, and not some other runnable."""
    return "__pregel_scratchpad" in configurable


def is_kept(configurable: Mapping[str, Any]) -> bool:
    """Whether the run is kept by a checkpointer, so that it can be resumed; ``False`` stands there for none, too."""
    return bool(configurable.get("__pregel_checkpointer"))


def runs_alone(config: Mapping[str, Any]) -> bool:
    """Whether a task is one call that was sent on its own; one of several shares its answers with them."""
    path = (config.get("metadata") or {}).get("langgraph_path") or ("__pregel_pull",)
    return bool(path[0] != "__pregel_pull")


def forget_old_resume(configurable: Mapping[str, Any]) -> bool:
    """Take away what a run was resumed with before, where it is resumed with nothing now.

    ``False``: it was resumed with something, and nobody can tell whether that was now.
    """
    pad = configurable["__pregel_scratchpad"]
    while pad is not None and pad.get_null_resume() is not None:
        kept = inspect.getclosurevars(pad.get_null_resume).nonlocals
        if not {"null_resume_write", "parent_scratchpad", "pending_writes"} <= kept.keys():
            return False
        given, writes = kept["null_resume_write"], kept["pending_writes"]
        if given is None:
            pad = kept["parent_scratchpad"]
            continue
        if given in writes and any(write[0] != given[0] for write in writes[writes.index(given) + 1 :]):
            pad.get_null_resume(True)
        return True
    return True
