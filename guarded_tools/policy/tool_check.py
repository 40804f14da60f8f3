"""A policy against the tools that a server really has: names, globs and argument paths that fit nothing.

A policy is written against names that a server may change, and a rule about ``args.amount`` protects nobody once the
argument is called ``amountCents``. So a policy is held against the list of tools wherever there is one: when a server
is opened, and by ``validate --server``.

A path is followed through the tool's input schema as a call would follow it through the arguments, at each step through
all the alternatives, references and conditions that may hold there. What is told must be certain: a path leads nowhere
only if *every* alternative lists its keys, none of them is the next one, and no further ones may come. A schema that
says less (an object without ``properties``, ``additionalProperties``, a reference out of the document) may have the
key, and nothing is said. A rule for many tools is only vain if none of them has the argument.

Told as well: a memory of approvals that the risk of every such tool forbids, and (:func:`unchecked`) tools whose schema
nothing can be checked against, so that each of their calls is refused.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from guarded_tools.errors import Problem
from guarded_tools.policy.diagnostics import Reporter
from guarded_tools.policy.document import PolicyDocument, Rules
from guarded_tools.policy.engine import is_strict
from guarded_tools.policy.globs import is_glob, matches
from guarded_tools.policy.names import Names
from guarded_tools.policy.paths import EACH, EVERYWHERE, LENGTH, parse_path, pointer
from guarded_tools.policy.reading.consistency import never_remembered
from guarded_tools.policy.result_checks import ResultPlans
from guarded_tools.policy.schema_parts import parts_of
from guarded_tools.text.visible import one_line
from guarded_tools.values import Risk, ToolInfo, widest_memory


def unknown(policy: PolicyDocument, tools: Iterable[str | ToolInfo], problem: Reporter) -> Iterator[Problem]:
    """List the keys, globs and ``hide`` entries that match no tool, the paths that no schema has, and vain memories."""
    infos = _infos(tools)
    known = {info.name: info.schema for info in infos}
    risks = {info.name: info.risk for info in infos}
    yield from unknown_names(policy.hide, policy.tools, known, problem)
    yield from _named_by_rules(policy, list(known), problem)
    names = Names(policy)
    spoken_for: dict[str, list[str]] = {key: [] for key in policy.tools}
    for name in known:
        entry_found = names.entry(name)
        if entry_found is not None and not entry_found.lookalike:
            spoken_for[entry_found.key].append(name)
            risks[name] = entry_found.tool.risk or risks[name]
    for key, rules in policy.tools.items():
        base = pointer("tools", key)
        yield from _paths(rules, base, [known[name] for name in spoken_for[key]], problem)
        # Where the entry itself names the risk, that was told when it was read.
        yield from _memory(rules, base, [] if rules.risk else [risks[name] for name in spoken_for[key]], problem)
    yield from _without_output(policy, names, infos, problem)
    yield from _paths(policy.all_tools, EVERYWHERE, list(known.values()), problem)
    yield from _memory(policy.all_tools, EVERYWHERE, list(risks.values()), problem)


def _named_by_rules(policy: PolicyDocument, known: list[str], problem: Reporter) -> Iterator[Problem]:
    """List the tools that rules across calls look for and that there are not: a misspelt need refuses every call."""
    written = [(EVERYWHERE, policy.all_tools), *((pointer("tools", key), tool) for key, tool in policy.tools.items())]
    for base, rules in written:
        looked_for = [(f"after/{place}/tools", name) for place, a in enumerate(rules.after) for name in a.tools or ()]
        looked_for += [(f"needs/{place}/tool", name) for place, need in enumerate(rules.needs) for name in need.tool]
        for at, name in looked_for:
            yield from _unless_known(f"{base}/{at}", name, known, problem)


def _without_output(
    policy: PolicyDocument, names: Names, infos: list[ToolInfo], problem: Reporter
) -> Iterator[Problem]:
    """List where results have to fit an output schema that a tool does not have: all of them would be kept back."""
    plans = ResultPlans(policy, names)
    found: dict[str, list[str]] = {}
    for info in infos:
        entry = names.entry(info.name)
        denied = names.hides(info.name) or (policy.default == "deny" and entry is None)
        checks = None if denied else plans[info.name].checks
        if info.output is False and checks is not None and checks.schema_rule:
            found.setdefault(checks.schema_rule, []).append(one_line(info.name))
    for rule, tools in found.items():
        also = f" (and {len(tools) - 1} more)" if len(tools) > 1 else ""
        message = f"{tools[0]}{also} has no output schema: every result of it would be kept back"
        yield problem(rule, message, "take it out, or say it only for tools that have one")


def unchecked(policy: PolicyDocument, tools: Iterable[ToolInfo], problem: Reporter) -> Iterator[Problem]:
    """List the tools whose calls are all refused because nothing can be checked against their own input schema."""
    from guarded_tools.policy.schema_check import flaw_of  # jsonschema_rs, only where there are schemas

    names = Names(policy)
    for info in tools:
        entry = names.entry(info.name)
        if policy.shadow or info.schema is None or names.hides(info.name) or not is_strict(policy, entry):
            continue
        flaw = flaw_of(info.schema)
        if flaw:
            at = pointer("tools", entry.key if entry else info.name)
            message = f"every call of {one_line(info.name)} is refused: its input schema cannot be used: {flaw}"
            yield problem(at, message, 'have the server mend it, or say "schema": "off" for this tool', key=True)


def unknown_names(
    hide: Iterable[object], keys: Iterable[object], tools: Iterable[str | ToolInfo], problem: Reporter
) -> Iterator[Problem]:
    """List the keys, globs and ``hide`` entries that match no tool; also of a policy that cannot be used otherwise."""
    known = [info.name for info in _infos(tools)]
    entries = [(pointer("hide", str(place)), entry) for place, entry in enumerate(hide)]
    entries += [(pointer("tools", str(key)), key) for key in keys]
    for at, entry in entries:
        if isinstance(entry, str):
            yield from _unless_known(at, entry, known, problem)


def _unless_known(at: str, entry: str, known: list[str], problem: Reporter) -> Iterator[Problem]:
    fits = any(matches(entry, name) for name in known) if is_glob(entry) else entry in known
    if not fits and entry != "*":
        near = difflib.get_close_matches(entry, known, n=1, cutoff=0.5)
        hint = f"did you mean {one_line(near[0])}?" if near else ""
        yield problem(at, f"{entry!r} matches no tool of the server", hint, key=True)


def _infos(tools: Iterable[str | ToolInfo]) -> list[ToolInfo]:
    return [ToolInfo(tool) if isinstance(tool, str) else tool for tool in tools]


def _paths(rules: Rules, base: str, schemas: list[Mapping[str, Any] | None], problem: Reporter) -> Iterator[Problem]:
    parts = [("require", rules.require), ("deny_if", rules.deny_if)]
    parts += [("approval/when", (rules.approval and rules.approval.when) or ())]
    parts += [(f"labels/{place}/when", label.when or ()) for place, label in enumerate(rules.labels or ())]
    parts += [(f"after/{place}/when", after.when or ()) for place, after in enumerate(rules.after)]
    written = [
        (f"{base}/{part}/{place}/path", predicate.path)
        for part, predicates in parts
        for place, predicate in enumerate(predicates)
    ]
    written += [
        (f"{base}/limits/{place}/count", limit.argument)
        for place, limit in enumerate(rules.limits)
        if limit.argument is not None
    ]
    written += [
        (f"{base}/needs/{place}/same", own) for place, need in enumerate(rules.needs) for _, own in need.same or ()
    ]
    for at, path in written:
        gaps = [gap for schema in schemas if (gap := schema and _gap(schema, parse_path(path).steps))]
        # A rule for many tools speaks about those that have the argument.
        if gaps and len(gaps) == len(schemas):
            yield problem(at, f"{path} {gaps[0].message}", one_line(gaps[0].hint))


def _memory(rules: Rules, base: str, risks: list[Risk | None], problem: Reporter) -> Iterator[Problem]:
    if rules.approval is None or rules.approval.remember == "never" or not risks:
        return
    if all(widest_memory(risk, rules.approval.remember) == "never" for risk in risks):
        yield problem(f"{base}/approval/remember", *never_remembered(str(risks[0])))


class _Gap(NamedTuple):
    """Why a path does not lead where its author meant, and what to write instead."""

    message: str
    hint: str


def _no_key(key: str, known: set[str]) -> _Gap:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    listed = f"there are {', '.join(sorted(known)[:12])}" if known else "nothing is known there"
    return _Gap(f"leads nowhere: the tool has no {key!r} there", f"did you mean {near[0]}?" if near else listed)


_NOT_THE_KEY: Final = _Gap(
    "counts, and never reads the key length that the tool has there", 'write ["length"] for the key'
)


def _gap(schema: Mapping[str, Any], steps: tuple[Any, ...]) -> _Gap | None:
    """Find the first step that the schema knows nothing of; ``None`` where it may be there."""
    here = [schema]
    for step in steps:
        parts = parts_of(here, schema)
        if step is LENGTH:
            listed = [part["properties"] for part in parts if isinstance(part.get("properties"), Mapping)]
            return _NOT_THE_KEY if any("length" in properties for properties in listed) else None
        if isinstance(step, str):
            objects = [part["properties"] for part in parts if isinstance(part.get("properties"), Mapping)]
            if not objects or any(_is_open(part) for part in parts):
                return None
            here = [properties[step] for properties in objects if step in properties]
            if not here:
                return _no_key(step, {key for properties in objects for key in properties})
        else:
            assert step is EACH or isinstance(step, int)
            here = [part["items"] for part in parts if isinstance(part.get("items"), Mapping)]
        here = [found for found in here if isinstance(found, Mapping)]
        if not here:
            return None
    return None


def _is_open(part: Mapping[str, Any]) -> bool:
    """Whether an object may have keys that its schema does not list, and says so, or lists them elsewhere."""
    if part.get("additionalProperties") or "patternProperties" in part or "unevaluatedProperties" in part:
        return True
    reference = part.get("$ref", "#")
    return not (isinstance(reference, str) and (reference + "/").startswith("#/")) or "$dynamicRef" in part
