"""What is in force right now: policies, the tools they govern, and the lock. Shared by a guard and all its views."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from guarded_tools.errors import GuardError
from guarded_tools.policy.engine import decide
from guarded_tools.policy.model import Policy
from guarded_tools.values import Decision, ToolCall, ToolInfo

if TYPE_CHECKING:
    from guarded_tools.policy.lock import Lock

PolicySource: TypeAlias = Policy | str | os.PathLike[str]

_NO_POLICY = Decision("deny", "(no policy)", "no policy is attached to this grant")


def load_policy(source: PolicySource) -> Policy:
    """Read a policy from a path or, where the text names neither a folder nor a suffix, a preset.

    Raises:
        PolicyError: it cannot be read or used; every problem is listed.
    """
    if isinstance(source, Policy):
        return source
    path = Path(source)
    if isinstance(source, str) and path.name == source and not path.suffix and not path.exists():
        preset = Path(str(files("guarded_tools.pictify"))) / "presets" / f"{source}.json"
        if preset.exists():
            return Policy.from_file(preset)
    return Policy.from_file(path)


class InForce:
    """Policies and tools as they are now. Replacing ``policies`` is one assignment, so a call sees one or the other."""

    def __init__(self, source: PolicySource | Mapping[str, PolicySource], lock: Lock | None = None) -> None:
        self._source = source
        self._lock = lock
        self._drift: dict[str, str] = {}
        self.tools: dict[str, ToolInfo] = {}
        self.policies: Policy | Mapping[str, Policy] = self._read()

    def _read(self) -> Policy | Mapping[str, Policy]:
        if isinstance(self._source, Mapping):
            return {grant: load_policy(source) for grant, source in self._source.items()}
        return load_policy(self._source)

    def reload(self) -> None:
        """Read the source anew; what was in force stays if that fails.

        Raises:
            PolicyError: the source cannot be used.
        """
        self.policies = self._read()

    def policy(self, grant: str | None) -> Policy | None:
        """The policy of a grant; the one policy where there are no grants."""
        if isinstance(self.policies, Policy):
            return self.policies
        return None if grant is None else self.policies.get(grant)

    def only_policy(self) -> Policy:
        """The one policy.

        Raises:
            GuardError: there is one per grant, so the question has no single answer.
        """
        if isinstance(self.policies, Policy):
            return self.policies
        raise GuardError("this guard has a policy per grant; give it one grant, or look at the grant's own policy")

    def visible(self, tool: str, grant: str | None) -> bool:
        """Whether a model may see a tool: some policy that could apply does not hide it."""
        if grant is not None or isinstance(self.policies, Policy):
            policy = self.policy(grant)
            return policy is not None and not policy.hides(tool)
        return any(not policy.hides(tool) for policy in self.policies.values())

    def register(self, info: ToolInfo) -> None:
        """Make a tool known, and note how it differs from the one that was pinned."""
        self.tools[info.name] = info
        change = self._lock.check(info) if self._lock is not None else None
        if change:
            self._drift[info.name] = change
        else:
            self._drift.pop(info.name, None)

    def info(self, tool: str) -> ToolInfo:
        """What is known of a tool."""
        return self.tools.get(tool) or ToolInfo(tool)

    def decide(self, call: ToolCall, info: ToolInfo) -> Decision:
        """Judge a call under the policy in force, the lock first."""
        policy = self.policy(call.grant)
        if policy is None:
            return _NO_POLICY
        if self._lock is not None:
            change = self._drift.get(call.tool)
            if change is None and call.tool not in self.tools:
                change = "it was never listed, so it cannot be compared"
            if change:
                return Decision("deny", "(lock)", f"this is not the tool that was pinned: {change}")
        return decide(policy, call, info.schema)
