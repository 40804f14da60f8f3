"""Sub-agents of a deep agent, guarded as the agent itself is.

``create_deep_agent`` hands its sub-agents the agent's tools and none of its middleware, and adds one of its own that is
called ``general-purpose``. So each needs the guard's middleware in its own description, also the one nobody described.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from guarded_tools.adapters import beforehand
from guarded_tools.adapters.delegation import unguarded
from guarded_tools.adapters.middleware import GuardMiddleware
from guarded_tools.errors import GuardError
from guarded_tools.text.visible import one_line

try:
    from deepagents.middleware.subagents import GENERAL_PURPOSE_SUBAGENT
except ImportError as error:
    raise GuardError("deep agents are not installed: pip install deepagents") from error

if TYPE_CHECKING:
    from guarded_tools.pipeline.gate import Gate


def subagents(guard: Gate, specs: Iterable[Mapping[str, Any]], *, general_purpose: bool) -> list[dict[str, Any]]:
    """Return the descriptions with the guard's middleware last in each, and one of the general-purpose sub-agent.

    Raises:
        GuardError: an agent was compiled without a guard, or runs on a server of its own.
    """
    guarded = [_guarded(guard, spec) for spec in specs]
    if general_purpose and all(spec.get("name") != GENERAL_PURPOSE_SUBAGENT["name"] for spec in guarded):
        guarded.insert(0, _guarded(guard, GENERAL_PURPOSE_SUBAGENT))
    return guarded


def _guarded(guard: Gate, spec: Mapping[str, Any]) -> dict[str, Any]:
    name = one_line(str(spec.get("name")))
    if "graph_id" in spec:
        raise GuardError(
            f"the sub-agent {name} runs on a server of its own, where this guard sees nothing: guard it there, and"
            " hand its description to create_deep_agent as it is"
        )
    if "runnable" in spec:
        if open_ := unguarded([spec["runnable"]], GuardMiddleware):
            raise GuardError(
                f"the sub-agent {name} was compiled without a guard around {', '.join(map(one_line, open_))}:"
                " give guard.middleware() to the create_agent that makes it"
            )
        return dict(spec)
    middleware = list(spec.get("middleware") or ())
    if not any(isinstance(each, GuardMiddleware) for each in middleware):
        middleware.append(beforehand.middleware(guard))
    return {**spec, "middleware": middleware}
