"""What is in force right now: policies, the tools they govern, and the lock. Shared by a guard and all its views."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from guarded_tools.errors import GuardError, PolicyError, Problem
from guarded_tools.policy.model_rules import decide_model, decide_more
from guarded_tools.policy.policy import Policy, PolicySource, decide, is_preset, load_policy
from guarded_tools.tools.lock import Lock
from guarded_tools.tools.risk import classify
from guarded_tools.values import Decision, Risk, ToolCall, ToolInfo

log = logging.getLogger("guarded_tools")

_NO_POLICY = Decision("deny", "(no policy)", "no policy is attached to this grant")


class Registry:
    """Policies and tools as they are now. Replacing ``policies`` is one assignment, so a call sees one or the other."""

    def __init__(self, source: PolicySource | Mapping[str, PolicySource], lock: Lock | None = None) -> None:
        if isinstance(source, Mapping) and (
            {"version", "default"} <= source.keys() or any(isinstance(value, Mapping) for value in source.values())
        ):
            raise TypeError("a mapping is a policy per grant; make a policy of a dict with Policy.model_validate(...)")
        self._source = source
        self._lock = lock
        self._compared: dict[tuple[str, str], tuple[ToolInfo, str | None]] = {}
        self._told: dict[tuple[str, str], Risk] = {}
        self._reloading = threading.Lock()
        self._names: tuple[str, ...] = ()
        self._warned: set[Problem] = set()
        self.tools: dict[str, ToolInfo] = {}
        self._listed: dict[tuple[str, str], ToolInfo] = {}
        self._sites: dict[str, str] = {}
        self._claiming = threading.Lock()
        self.policies: Policy | Mapping[str, Policy] = self._read()

    def _read(self) -> Policy | Mapping[str, Policy]:
        if isinstance(self._source, Mapping):
            return {grant: load_policy(source) for grant, source in self._source.items()}
        return load_policy(self._source)

    def reload(self) -> None:
        """Read the source anew; what was in force stays if that fails.

        Raises:
            GuardError: there is no file to read: the policies were given as objects.
            PolicyError: the source cannot be used, or names tools that do not exist.
        """
        sources = self._source.values() if isinstance(self._source, Mapping) else (self._source,)
        if all(isinstance(source, Policy) for source in sources):
            raise GuardError("there is nothing to read again: the policy was given as an object; give the guard a path")
        with self._reloading:  # else one that read the older file could come last
            fresh = self._read()
            self._check(fresh, self._names)
            self.policies = fresh

    def files(self) -> list[Path]:
        """The files that policies are read from.

        Raises:
            GuardError: there is none: they were given as objects, or are presets.
        """
        sources = self._source.values() if isinstance(self._source, Mapping) else (self._source,)
        files = [Path(source) for source in sources if not isinstance(source, Policy) and not is_preset(source)]
        if not files:
            raise GuardError("there is no file to watch: the policy was given as an object, or is a preset")
        return files

    def outdated(self) -> bool:
        """Whether the source says something else by now than what is in force, or cannot be used."""
        try:
            fresh = self._read()
        except PolicyError:
            return True
        return _fingerprints(fresh) != _fingerprints(self.policies)

    def policy(self, grant: str | None) -> Policy | None:
        """The policy of a grant; the one policy where there are no grants."""
        if isinstance(self.policies, Policy):
            return self.policies
        return None if grant is None else self.policies.get(grant)

    def budgets(self, grant: str | None) -> bool:
        """Whether calls of the agent's own model are counted. For nobody's policy they are, if any policy does."""
        policy = self.policy(grant)
        if policy is not None:
            return policy.model is not None
        return isinstance(self.policies, Mapping) and any(each.model is not None for each in self.policies.values())

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
        """Make a tool known: class it, and compare it with its pin. What changed is logged in full, for people."""
        where = (info.source, info.name)
        if self.tools.get(info.name) == info and where in self._told:
            return
        self.tools[info.name] = info
        self._told[where] = classify(info.name, info.description, info.schema).risk
        if self._lock is None:
            return
        drift = self._lock.drift(info)
        before = self._compared.get(where)
        self._compared[where] = (info, drift.summary if drift else None)
        if drift is not None and (before is None or before[0] != info):
            log.warning("The tool %r is refused: %s\n%s", info.name, drift.summary, drift.diff)

    def claim(self, sites: Mapping[str, str]) -> tuple[str, str] | None:
        """Have these names of tools stand for those of these servers from now on.

        Where one stands for another server's already, none is taken, and that name and that server are returned.
        """
        with self._claiming:
            for name, site in sites.items():
                if self._sites.get(name, site) != site:
                    return name, self._sites[name]
            self._sites |= sites
        return None

    def follow(self, infos: Iterable[ToolInfo]) -> None:
        """Take note of what servers list now: from here on their tools are judged as that, whoever calls them."""
        self._listed |= {(info.source, info.name): info for info in infos}

    def current(self, info: ToolInfo) -> ToolInfo:
        """Return a tool as its server lists it now, where that is known; an agent may hold it as it was."""
        return self._listed.get((info.source, info.name), info) if info.kind == "tool" else info

    def risk(self, info: ToolInfo, grant: str | None) -> Risk:
        """Class a tool: as the policy says, else as it is known, else as its words tell; a stranger is destructive."""
        policy = self.policy(grant)
        said = policy.risk(info.name) if policy is not None else None
        return said or info.risk or self._told.get((info.source, info.name), "destructive")

    def check_names(self, names: Sequence[str]) -> None:
        """Compare the policy with all the tools that there are.

        Raises:
            PolicyError: the policy names tools that do not exist, or arguments that none of them has. A preset of ours
                only warns: a server that dropped a tool since must not stop everybody.
        """
        self._names = tuple(names)
        self._check(self.policies, self._names)

    def _check(self, policies: Policy | Mapping[str, Policy], names: Sequence[str]) -> None:
        if not names:
            return
        # Servers list tools later, too; and where a tool's schema is known, so are its arguments.
        tools = self.tools.copy()
        known = [tools.get(name, ToolInfo(name)) for name in dict.fromkeys((*names, *tools))]
        sources = self._source.values() if isinstance(self._source, Mapping) else (self._source,)
        each = tuple(policies.values()) if isinstance(policies, Mapping) else (policies,)
        self._warn_of_schemas(each, known)
        found: list[Problem] = []
        for source, policy in zip(sources, each, strict=True):
            problems = policy.check_tools(known)
            if not is_preset(source):
                found += problems
                continue
            for problem in problems:
                log.warning("%s", problem)
        if found:
            raise PolicyError(tuple(found))

    def _warn_of_schemas(self, policies: Sequence[Policy], tools: Sequence[ToolInfo]) -> None:
        """Say once of each tool that its calls are all refused because its input schema cannot be used."""
        for problem in dict.fromkeys(problem for policy in policies for problem in policy.check_schemas(tools)):
            if problem not in self._warned:
                self._warned.add(problem)
                log.warning("%s", problem)

    def info(self, tool: str) -> ToolInfo:
        """Return what was registered of a tool; of one that nobody registered, its name alone."""
        return self.tools.get(tool) or ToolInfo(tool)

    def decide(self, call: ToolCall, info: ToolInfo) -> Decision:
        """Judge a call under the policy in force."""
        return self.judge(self.policy(call.grant), call, info)

    def judge(self, policy: Policy | None, call: ToolCall, info: ToolInfo) -> Decision:
        """Judge a call under one policy, the lock first."""
        if policy is None:
            return _NO_POLICY
        if info.kind != "tool":
            return (decide_model if info.kind == "model" else decide_more)(policy, call)
        change = self._changed(info)
        if change:
            return Decision("deny", "(lock)", f"this is not the tool that was pinned: {change}")
        # Only a preset asks for it, and what a tool's words tell is looked up.
        return decide(policy, call, info.schema, self.risk(info, call.grant) if policy.flow else None)

    def _changed(self, info: ToolInfo) -> str | None:
        """Say how a tool differs from its pin: the one that is called, or what its server has said of it since."""
        if self._lock is None:
            return None
        known, change = self._compared.get((info.source, info.name), (None, None))
        if known is None and info == ToolInfo(info.name, info.server, place=info.place):
            return "nobody has listed it, so it cannot be compared"
        return change if change or known == info else self._lock.check(info)


def _fingerprints(policies: Policy | Mapping[str, Policy]) -> dict[str, str]:
    return (
        {"": policies.fingerprint} if isinstance(policies, Policy) else {g: p.fingerprint for g, p in policies.items()}
    )
