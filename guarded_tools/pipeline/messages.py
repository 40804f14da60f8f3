"""What a model is told when a call is refused: stable words it can act on."""

from __future__ import annotations

from functools import partial

from guarded_tools.errors import GuardError
from guarded_tools.policy.engine import SCHEMA_RULE
from guarded_tools.text.quantities import quantity
from guarded_tools.text.units import soon, wait, window
from guarded_tools.text.visible import lines, one_line
from guarded_tools.values import MOST_TOLD, Charge, Full, Halted, Outcome

_ADVICE: dict[str, str] = {
    "denied": "The policy does not change by retrying: do not repeat this call.",
    "limited": "This call can never fit into that limit: do not repeat it.",
    "rejected": "A human refused it: do not repeat this call, and do not look for another way to the same effect.",
    "unanswered": "It was not approved, so it did not run. Do not repeat it unless the user asks for it.",
    "unknown": "Check whether it took effect before you call it again.",
    "failed_closed": "The guard refuses whatever it cannot check. Tell the user; do not repeat this call.",
}

TOOL_CHANGED = "the server changed the tool while a human was asked about it; call it once more"

_CORRECT = "The arguments do not fit the tool's schema: correct them and call the tool again."


def used_up(full: Full) -> str:
    """Say which limit is full, and how full; or that it could never hold so much."""
    charge = full.charge
    shown = partial(quantity, charge.counter)
    most, span = shown(charge.max), window(charge.window)
    if charge.amount > charge.max:
        over = f"a limit allows {most} in {span}, and this call would take {taken(charge)}"
    else:
        over = f"a limit of {most} in {span} is used up ({shown(full.used)} used"
        over += ")" if charge.amount == 1 else f", this call would take {taken(charge)})"
    return f"{charge.message.rstrip('. ')}: {over}" if charge.message else over


def taken(charge: Charge) -> str:
    """Write how much a call would take."""
    shown = quantity(charge.counter, charge.amount) if charge.amount < MOST_TOLD else f"{MOST_TOLD} or more"
    return f"about {shown}" if charge.result else shown


def halted(halt: Halted) -> str:
    """Say who was stopped, and why."""
    return f"calls are halted for {halt.scope}: {halt.reason or 'no reason given'}"


def effect(outcome: Outcome) -> str:
    """Say of a call whose result is cut or withheld that it is about the answer, and not about the effect."""
    if outcome == "never_ran":
        return "The call took no effect."
    if outcome == "unknown":
        return "The call may have taken effect. Check before you call it again."
    return "The call was executed: do not repeat it for the rest."


def withheld(tool: str, rule: str, reason: str, outcome: Outcome) -> str:
    """Say that a call was executed and its result is not handed on, and why. Nothing in it is the result's."""
    became = {"never_ran": "did not run", "unknown": "may have taken effect", "error": "was executed and failed"}
    ran = became.get(outcome, "was executed")
    return (
        f"RESULT WITHHELD: {one_line(tool)} {ran}, and its result is not handed on. Rule: {one_line(rule)}. Reason: "
        f"{one_line(reason)}. {effect(outcome)}"
    )


def broken(error: Exception) -> str:
    """Say what kept the guard from doing its work; of an error that is not one of ours, also what kind it is."""
    known = isinstance(error, (GuardError, ValueError, RecursionError))
    try:
        said = str(error) if known else f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - an error that cannot even be read is refused like any other
        said = type(error).__name__
    return f"the guard could not do its work: {said}"


def stopped(outcome: Outcome, reason: str, retry_after: float | None) -> str:
    """Tell a person why an agent's run ends: its model was not called."""
    shown = lines if outcome == "rejected" else one_line
    said = f"The run ends here, for the model was not called: {shown(reason).rstrip('. ')}."
    return said if retry_after is None else f"{said} It may be called again in {soon(retry_after)}."


def text(
    tool: str,
    rule: str,
    outcome: Outcome,
    reason: str,
    retry_after: float | None,
    *,
    paused: bool = False,
    advice: str = "",
) -> str:
    """Put a refusal into words: DENIED, the rule, the reason, and what to do next.

    It is one line in which nothing acts, whatever names a model or a server made up; only a human's own words keep
    their line breaks. ``paused``: what is refused is to go on, where its run was suspended; what it did before is done.
    ``advice`` takes the place of what is said to do next.
    """
    advice = advice or _ADVICE.get(outcome, _ADVICE["denied"])
    if outcome == "denied" and rule == SCHEMA_RULE and "cannot be" not in reason:  # what cannot be checked, stays so
        advice = _CORRECT
    shown = lines if outcome == "rejected" else one_line
    if retry_after is not None:
        advice = f"Retry after {wait(retry_after)} seconds."
    why = shown(reason) or "the policy says so"
    became = f"DENIED: {one_line(tool)} did not run"
    if outcome == "unknown":
        became = f"UNKNOWN OUTCOME: {one_line(tool)} may have taken effect"
    elif paused:
        became = f"DENIED: {one_line(tool)} had begun, and did not go on"
    return f"{became}. Rule: {one_line(rule)}. Reason: {why}. {one_line(advice)}"
