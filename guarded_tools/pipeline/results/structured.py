"""The structured content of a result, wherever its form keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guarded_tools.pipeline.results.fitting import STRUCTURED, is_mcp
from guarded_tools.policy.paths import MISSING


def structured_of(value: Any) -> Any:
    """Return the structured content of a result; ``MISSING`` where it has none.

    It is a member of MCP's own results, and of the artifact of LangChain's.
    """
    artifact = value if is_mcp(value) else getattr(value, "artifact", None)
    if type(value) is tuple and len(value) == 2:  # noqa: PLR2004 - content and artifact
        artifact = value[1]
    held = artifact if isinstance(artifact, Mapping) else getattr(artifact, "__dict__", {})
    for name in STRUCTURED:
        if held.get(name) is not None:
            return held[name]
    return MISSING
