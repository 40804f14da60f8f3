"""Halt, resume, reset, take a label away: done, and written down in the audit with who did it.

``state`` is the state directory, ``None`` for the user's own; the audit is there. The stop button comes before its
line, for it has to work where no line can be written; a label goes only after its line, for one that went without would
have gone unseen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from guarded_tools.approval.withdrawal import withdraw
from guarded_tools.audit import AuditLog, audit_path
from guarded_tools.state import state_dir
from guarded_tools.stores import StopButton, Store
from guarded_tools.values import AuditEvent, trial_scope


class ResetDone(NamedTuple):
    """How many scopes were forgotten, and how many open questions withdrawn."""

    forgotten: int
    withdrawn: int


def write_down(
    state: Path | None, rule: str, message: str, *, session: str = "", grant: str | None = None, label: str = ""
) -> None:
    """Write down what a person did to the state, or to a label of one session or grant.

    Raises:
        AuditError: it cannot be written.
    """
    with AuditLog(audit_path(state_dir(state))) as log:
        about = AuditEvent("control", session=session, grant=grant, labels=(label,) if label else ())
        log.write(about._replace(rule=rule, message=message, outcome="ok"))


def halt(button: StopButton, state: Path | None, scope: str, reason: str, *, by: str = "") -> None:
    """Press the stop button for a scope.

    Raises:
        StoreError: it could not be pressed.
        AuditError: it is pressed, and could not be written down.
    """
    button.halt(scope, reason)
    write_down(state, "(halt)", f"halted {scope}{_by(by)}: {reason}")


def resume(button: StopButton, state: Path | None, scope: str, *, by: str = "", why: str = "") -> bool:
    """Release the stop button of a scope; returns whether it was pressed.

    Raises:
        StoreError: it could not be released.
        AuditError: it is released, and could not be written down.
    """
    if not button.resume(scope):
        return False
    write_down(state, "(halt)", f"resumed {scope}{_by(by)}{_why(why)}")
    return True


def reset(store: Store, state: Path | None, scope: str | None, *, by: str = "", why: str = "") -> ResetDone:
    """Start the counters of a scope, or all, at zero; open questions of its sessions are withdrawn.

    Raises:
        StoreError: the store cannot be relied on.
        AuditError: it is done, and could not be written down.
    """
    forgotten = store.reset(scope)
    if scope is not None:
        forgotten += store.reset(trial_scope(scope))
    kind, _, name = (scope or "").partition(":")
    # A question belongs to a session.
    gone = withdraw(name if kind == "session" else None, store=store) if kind in {"", "session"} else 0
    whose = "all counters" if scope is None else f"the counters of {scope}"
    withdrew = f", {gone} open questions withdrawn" if gone else ""
    write_down(state, "(reset)", f"started {whose} at zero{_by(by)} ({forgotten} forgotten{withdrew})" + _why(why))
    return ResetDone(forgotten, gone)


def clear_label(
    store: Store, state: Path | None, scope: str, label: str, *, by: str, why: str
) -> Literal["cleared", "absent", "gone"]:
    """Take a label from a scope, and from what rules on trial know of it.

    ``absent``: the scope does not carry it, and nothing was written. ``gone``: somebody took it meanwhile.

    Raises:
        StoreError: the store cannot be relied on; the label stays.
        AuditError: it cannot be written down; the label stays.
    """
    scopes = (scope, trial_scope(scope))
    if not any(one.kind == "label" and one.name == label for each in scopes for one in store.carried(each)):
        return "absent"
    kind, _, name = scope.partition(":")
    said = f"clears the label {label!r} of {scope}{_by(by)}{_why(why)}"
    if kind == "session":
        write_down(state, "(clear)", said, session=name, label=label)
    else:
        write_down(state, "(clear)", said, grant=name, label=label)
    gone = [store.clear(each, label) for each in scopes]
    return "cleared" if any(gone) else "gone"


def _by(by: str) -> str:
    return f" by {by}" if by else ""


def _why(why: str) -> str:
    return f": {why}" if why else ""
