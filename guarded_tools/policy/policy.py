"""The policy that everybody holds: a document, read from a file or plain data, that says what it makes of a call."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

from guarded_tools.errors import PolicyError, Problem
from guarded_tools.policy.diagnostics import suggest
from guarded_tools.policy.document import PolicyDocument
from guarded_tools.policy.engine import CompiledPolicy, Schema
from guarded_tools.policy.folding import folded_texts
from guarded_tools.policy.html import to_html
from guarded_tools.policy.paths import MISSING, read_all
from guarded_tools.policy.presets import PRESETS, preset_path
from guarded_tools.policy.reading.load import policy_from, read_policy
from guarded_tools.policy.result_checks import ResultPlan
from guarded_tools.policy.tool_check import unchecked, unknown
from guarded_tools.values import Decision, Refunds, Risk, ToolCall, ToolInfo

_NO_POLICY: Final = Decision("deny", "(no policy)", "no policy is in force")


def decide(policy: Policy | None, call: ToolCall, schema: Schema = None, risk: Risk | None = None) -> Decision:
    """Say what the policy makes of a call: allow, ask or deny, by which rule, and what it would take from which limit.

    Pure: nothing is counted, asked or written. ``schema`` is the tool's own JSON Schema, where nobody else checks the
    arguments against it. ``risk`` is what is known of the tool's, for ``flow``, where the policy names none: unknown is
    all but ``read``. What the session did before only a store knows: what to ask it is in ``Decision.across``. Whatever
    cannot be judged is denied; no policy denies everything. It never raises, whatever the arguments.
    """
    if policy is None:
        return _NO_POLICY
    try:
        return policy.compiled[call.tool](call, schema, risk)
    finally:
        if folded_texts:
            folded_texts.clear()


class Policy(PolicyDocument):
    """An immutable policy. Make one with :meth:`from_file` or :meth:`model_validate`."""

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read a policy of either dialect from a JSON or YAML file.

        Raises:
            PolicyError: everything that is wrong with it, each with its place.
        """
        return read_policy(cls, cls._validate, Path(path))

    @classmethod
    def model_validate(cls, obj: Any, **_: Any) -> Self:
        """Make a policy of either dialect from plain data, as ``json.loads`` gives it.

        Raises:
            PolicyError: everything that is wrong with it, each with its JSON pointer.
        """
        return obj if isinstance(obj, cls) else policy_from(cls, cls._validate, obj)

    @classmethod
    def _validate(cls, data: Any) -> Self:
        return super().model_validate(data)

    @cached_property
    def compiled(self) -> CompiledPolicy:
        """The compiled rules by tool name, made when a tool is first called."""
        return CompiledPolicy(self)

    def hides(self, tool: str) -> bool:
        """Whether a tool is kept out of lists and refused, under this name or one that only looks different."""
        return self.compiled.names.hides(tool)

    def risk(self, tool: str) -> Risk | None:
        """The class that the policy itself gives a tool, if it gives one."""
        entry = self.compiled.names.entry(tool)
        return None if entry is None or entry.lookalike else entry.tool.risk

    def refunds(self, tool: str) -> Refunds:
        """Whose word gives a tool's charges back; an entry that is only on trial consents to nothing."""
        entry = self.compiled.names.entry(tool)
        return "certain" if entry is None or entry.lookalike or entry.tool.shadow else entry.tool.refunds

    def results(self, tool: str) -> ResultPlan:
        """What must hold for the result of a tool's call, and what on trial would have to."""
        return self.compiled.results[tool]

    def logged(self, args: Mapping[str, Any]) -> dict[str, Any] | None:
        """Pick the values that the audit may hold, by argument path; ``None`` where the policy lets it hold none."""
        if not self.log_values:
            return None
        found = {path: read_all(path, args) for path in self.log_values}
        return {path: value for path, value in found.items() if value is not MISSING}

    def check_tools(self, tools: Iterable[str | ToolInfo]) -> tuple[Problem, ...]:
        """List what fits none of the server's tools, with what was probably meant.

        That is every key, glob and ``hide`` entry without a tool; where ``tools`` come with their schemas, every
        argument path that leads nowhere; and where they come with their risk, every approval that can never be
        remembered though it says so.
        """
        return tuple(unknown(self, tools, self._report))

    def check_schemas(self, tools: Iterable[ToolInfo]) -> tuple[Problem, ...]:
        """List the tools whose input schema cannot be used, so that each of their calls is refused, and why.

        Nothing is wrong with the policy then; ``"schema": "off"`` in a tool's entry lets its calls go unchecked.
        """
        return tuple(unchecked(self, tools, self._report))

    def _repr_html_(self) -> str:
        return to_html(self)


PolicySource: TypeAlias = Policy | str | os.PathLike[str]
"""A policy, the path of one, or a preset's name."""


def load_policy(source: PolicySource) -> Policy:
    """Read a policy from a path or, where the text names neither a folder nor a suffix, a preset.

    Raises:
        PolicyError: it cannot be read or used; every problem is listed.
        TypeError: it is none of these.
    """
    if isinstance(source, Policy):
        return source
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"a policy is a Policy, a path or a preset's name, not {type(source).__name__}")
    if not _is_name(source):
        return Policy.from_file(source)
    if source not in PRESETS:
        near = suggest(str(source), sorted(PRESETS))
        problem = Problem(str(source), 0, 0, "", "there is no file and no preset of that name", near)
        raise PolicyError((problem,), unreadable=True)
    return Policy.from_file(preset_path(str(source)))


def is_preset(source: PolicySource) -> bool:
    """Whether :func:`load_policy` reads a preset for this source."""
    return not isinstance(source, Policy) and _is_name(source) and source in PRESETS


def _is_name(source: str | os.PathLike[str]) -> bool:
    """Whether a source can only be a preset's name: a file of that name in the working directory wins."""
    if not isinstance(source, str):
        return False
    path = Path(source)
    return path.name == source and not path.suffix and (path.is_dir() or not path.exists())
