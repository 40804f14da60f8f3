"""A policy as a person likes to look at it in a notebook."""

from __future__ import annotations

from guarded_tools.policy.document import Approval, PolicyDocument, Rules, Tool
from guarded_tools.policy.limit import Limit
from guarded_tools.policy.model_budget import ModelRules
from guarded_tools.policy.predicate import Predicate
from guarded_tools.policy.result_parts import ResultRules
from guarded_tools.policy.session_parts import After, LabelRule, Need
from guarded_tools.text.tables import Cell, Content, Table
from guarded_tools.text.tables import to_html as laid_out
from guarded_tools.text.tones import EFFECTS
from guarded_tools.text.units import duration, exact, window

_CALLS_ARE = {
    effect: Cell(words, EFFECTS[effect])
    for effect, words in (("allow", "allowed"), ("ask", "asked"), ("deny", "denied"))
}
_CHECKED = {"off": "off, arguments are not checked against it", "strict": "strict"}


def to_html(policy: PolicyDocument) -> str:
    """Lay out what a policy says of each tool, for a notebook."""
    return laid_out(table(policy))


def table(policy: PolicyDocument) -> Table:
    """Say what a policy makes of each tool, in the order in which a call meets it."""
    rows: list[list[Content]] = [[name, Cell("hidden", "bad"), "", "", "", ""] for name in policy.hide]
    if policy.all_tools != type(policy.all_tools)():
        rows.append(_row("every tool", policy.all_tools, ""))
    rows += [_row(name, tool, tool.risk or "") for name, tool in policy.tools.items()]
    effect = _CALLS_ARE[policy.default]
    rows.append([Cell("any other tool", "quiet"), effect, "", "", "", ""])
    if policy.schema_check == "off":
        rows.insert(len(policy.hide), ["every tool", "", "", "", f"schema: {_CHECKED['off']}", ""])
    if policy.flow is not None:
        rows.insert(len(policy.hide), ["every tool", "", "", "", f"flow: {policy.flow}", "after what the session did"])
    if policy.model is not None:
        rows.append(_model_row(policy.model))
    title = f"Policy for {policy.server}" if policy.server else "Policy"
    note = f"fingerprint {policy.fingerprint[:12]}" + ("; on trial: only hide is in force" if policy.shadow else "")
    return Table(("tool", "calls are", "risk", "limits", "conditions", "a human is asked"), rows, title, note)


def _row(name: str, rules: Rules | Tool, risk: str) -> list[Content]:
    effect = _CALLS_ARE["allow"]
    if rules.action == "deny":
        effect = _CALLS_ARE["deny"]
    elif rules.action == "approve" or rules.approval is not None:
        effect = _CALLS_ARE["ask"]
    if isinstance(rules, Tool) and rules.shadow:
        effect = Cell(f"on trial: {effect.text}", "quiet")
    limits = [f"{rules.rate_limit.max} calls {_per(rules.rate_limit.window)}"] if rules.rate_limit else []
    limits += [_limit(limit) for limit in rules.limits]
    if isinstance(rules, Tool) and rules.refunds == "reported":
        limits.append("refunds: given back on the server's word too")
    conditions = [f"must: {_predicate(one)}" for one in rules.require]
    conditions += [f"never: {_predicate(one)}" for one in rules.deny_if]
    if isinstance(rules, Tool) and rules.schema_check is not None:
        conditions.append(f"schema: {_CHECKED[rules.schema_check]}")
    conditions += [_after(one) for one in rules.after] + [_need(one) for one in rules.needs]
    if rules.labels is not None:
        conditions.append(f"brings: {', '.join(map(_label, rules.labels)) or 'nothing'}")
    if rules.result is not None:
        conditions.append(f"result: {_result(rules.result)}")
    asked = _asked(rules.approval) if rules.approval else "every time" if rules.action == "approve" else ""
    return [name, effect, risk, "\n".join(limits), "\n".join(conditions), asked]


_UTC = ", UTC"


def _model_row(rules: ModelRules) -> list[Content]:
    limits = [
        f"{limit.max} {limit.counter} {_per(limit.window)}, {_whose(limit.scope)}{_UTC if limit.align == 'utc' else ''}"
        for limit in rules.limits
    ]
    terms = rules.approval
    asked = ""
    if terms is not None:
        more = ", ".join(f"{amount} {counter}" for counter, amount in terms.more.items())
        asked = f"for {more} more, for {_span(terms.lasts)}"
    return [Cell("the agent's own model", "quiet"), _CALLS_ARE["allow"], "", "\n".join(limits), "", asked]


def _limit(limit: Limit) -> str:
    what = "calls" if limit.count == 1 else str(limit.count).removeprefix("args.")
    what = f"{limit.unit or ''} {'' if limit.unit and what == 'calls' else what}".strip()
    if limit.result:
        what += f" (taken to be {limit.estimate} until then)"
    extra = "".join(
        f", {word}"
        for word, shown in (("attempts", limit.counts == "attempts"), ("UTC", limit.align == "utc"))
        if shown
    )
    return f"{limit.counter}: {limit.max} {what} {_per(limit.window)}, {_whose(limit.scope)}{extra}"


def _result(rules: ResultRules) -> str:
    found = [] if rules.max_chars is None else [f"at most {rules.max_chars} characters"]
    if rules.redact:
        kinds = (kind if isinstance(kind, str) else f"{kind.name} {kind.regex!r}" for kind in rules.redact)
        found.append(f"without {', '.join(kinds)}")
    found += ["fits its schema strictly"] if rules.schema_check else []
    return f"{'; '.join(found)}; else {'withheld' if rules.on_breach == 'deny' else 'cut'}"


def _predicate(one: Predicate) -> str:
    return f"{one.path} {one.op} {one.value!r}"


def _when(predicates: tuple[Predicate, ...] | None) -> str:
    return f" when {' or '.join(map(_predicate, predicates))}" if predicates else ""


def _label(one: LabelRule) -> str:
    return one.label + _when(one.when)


def _after(one: After) -> str:
    found = " and ".join(one.labels or ()) or " or ".join(one.tools or ())
    lately = f" within {_span(one.within)}" if one.within is not None else ""
    return (
        f"{'asked' if one.then == 'approve' else 'denied'} after {found}{lately}{_when(one.when)}, {_whose(one.scope)}"
    )


def _need(one: Need) -> str:
    lately = f" within {_span(one.within)}" if one.within is not None else ""
    same = "".join(f", {theirs} = {own}" for theirs, own in one.same or ())
    return f"needs: {' or '.join(one.tool)}{lately}{same}, {_whose(one.scope)}"


def _asked(approval: Approval) -> str:
    when = _when(approval.when).strip() or "every time"
    kept = {"never": "", "same": "\nmay remember the same arguments", "tool": "\nmay remember the whole tool"}
    return f"{when}\nwaits {_span(approval.timeout)}{kept[approval.remember]}"


def _whose(scope: str) -> str:
    return "for all together" if scope == "global" else f"per {scope}"


def _per(seconds: int) -> str:
    return window(seconds) if exact(seconds) in {(1, "day"), (1, "hour"), (1, "minute")} else f"in {_span(seconds)}"


def _span(seconds: int) -> str:
    return f"{seconds} s" if exact(seconds)[1] == "second" else duration(seconds)
