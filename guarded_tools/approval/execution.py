"""The execution that a call was admitted for: while it runs, when it pauses, and when its run comes back.

A tool's body may call LangGraph's ``interrupt()``, and once more after the answer. Each time its run is suspended, and
LangGraph runs the body anew from its beginning when it is resumed. That is *one* execution: it is charged and recorded
as admitted when it first begins, nothing is given back while it is suspended (it may have acted), and it is recorded as
settled when it ends.

``executions/<task, call, digest>``
    written by :func:`pause`, taken by :func:`come_back`, atomically: once per pause. It holds what joins the audit's
    lines, what was charged, and the human's answer that permits it. The task is LangGraph's: it is the same whenever
    the suspended run goes on, and another in a fork or a replay, whose execution is one of its own. A hand-over to a
    parent graph is no pause: that body is done.

``approvals/task/<task>``
    for an answer that came by resuming a run: ``spent`` once it was heard, ``begun`` right before the body runs,
    ``ended <outcome>@<process>`` after it. A run whose process died comes back to ``begun``, and whoever resumes it is
    told that the call may have taken effect, not that nothing ran. The answer that was spent never runs it again.

What was written stays for :data:`KEPT` seconds. A run that is resumed later is a call like any other: counted, asked
about anew.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from guarded_tools.approval.result import ApprovalResult, Cause, Spent, refusal
from guarded_tools.errors import StoreError
from guarded_tools.flow import Await, Flow
from guarded_tools.libraries import langgraph
from guarded_tools.stores import Store
from guarded_tools.values import Outcome, Verdict, digest

KEPT = 30 * 86_400.0
"""For how many seconds a suspended execution, and what became of a spent answer, is remembered."""

Charged: TypeAlias = tuple[tuple[str, str, int, int, int], ...]
"""As in the audit: scope, counter, amount, max, window in seconds."""

_SPENT: Final = "spent"
_BEGUN: Final = "begun"
_STARTED = secrets.token_hex(8)


class Paused(NamedTuple):
    """An execution that is suspended. ``key`` joins its lines in the audit.

    ``verdict`` is the human's answer that permits it, unless that comes again from the approver itself; ``spent`` is
    where it came from, if it was handed over.
    """

    key: str
    charges: Charged = ()
    verdict: Verdict | None = None
    spent: Spent | None = None


def task() -> str:
    """Name the LangGraph task this runs in, if its run can be suspended and come back; else ""."""
    runnables = sys.modules.get("langchain_core.runnables.config")  # nothing runs in a task where it was never imported
    config = None if runnables is None else runnables.var_child_runnable_config.get()
    configurable = (config or {}).get("configurable") or {}
    if not langgraph.is_kept(configurable):
        return ""
    return digest(str(configurable.get("thread_id")), configurable.get("checkpoint_ns") or "")


def named(task: str, call_id: str | None, call: str) -> str:
    """Name the execution of a call in a task, by the call's id and digest."""
    return f"executions/{digest(task, call_id, call)}"


def come_back(name: str, *, store: Store) -> Flow[Paused | None]:
    """Take up the execution that was suspended under this name, once; ``None`` where none was.

    Raises:
        StoreError: what is kept there cannot be read.
    """
    if (yield Await(store.get, store.aget, (name,))) is None:  # a look is cheaper, and nearly always enough
        return None
    kept = yield Await(store.take, store.atake, (name,))
    return None if kept is None else _read(kept)


def pause(name: str, paused: Paused, answer: ApprovalResult | None, *, store: Store) -> Flow[None]:
    """Keep an execution while its run is suspended; the answer it was permitted by counts once more."""
    spent = None if answer is None else answer.spent
    if spent is not None and not spent.handed:
        yield from reopen(spent, store=store)
    elif answer is not None:
        paused = paused._replace(verdict=answer.verdict, spent=spent)
    verdict = None if paused.verdict is None else _written(paused.verdict)
    said = None if paused.spent is None else {**paused.spent._asdict(), "record": paused.spent.record.decode()}
    record = json.dumps({"key": paused.key, "charges": paused.charges, "verdict": verdict, "spent": said}).encode()
    yield Await(store.put, store.aput, (name, record, KEPT))


def reopen(spent: Spent | None, *, store: Store) -> Flow[None]:
    """Let the answer that came by resuming a run count once more, for the execution that is still to come or go on."""
    if spent is not None:
        yield Await(store.put, store.aput, (spent.key, spent.record, KEPT))


def permitted_by(paused: Paused | None) -> ApprovalResult | None:
    """Give the human's answer that permits a paused execution once more; ``None`` where it needs none of this kind."""
    if paused is None or paused.verdict is None:
        return None
    cause: Cause = "remembered" if paused.spent is None else "human"
    return ApprovalResult(paused.verdict, cause, "approved before its run was suspended", spent=paused.spent)


def spend(spent: Spent, *, store: Store) -> Flow[None]:
    """Note that the answer of a task was heard: resumed once more, the run hears it again before any other."""
    yield from _mark(spent, _SPENT, store)


def begin(spent: Spent | None, *, store: Store) -> Flow[None]:
    """Note, right before a body runs, that the answer which permits it may have taken effect from now on."""
    if spent is not None:
        yield from _mark(spent, _BEGUN, store)


def unbegin(spent: Spent | None, *, store: Store) -> Flow[None]:
    """Take :func:`begin` back: the body certainly did not run."""
    if spent is not None:
        yield from _mark(spent, _SPENT, store)


def end(spent: Spent | None, outcome: Outcome, *, store: Store) -> Flow[None]:
    """Note what became of the body."""
    if spent is not None:
        yield from _mark(spent, f"ended {outcome}@{_process()}", store)


def what_became(holder: bytes | None, key: str, claim: str) -> ApprovalResult | Literal["spent", "ran"] | None:
    """Say what became of the answer that a task had, to whoever comes by again with a claim on it.

    ``None``: it had none for the question kept under ``key``. ``spent``: it had, and nothing is open about that;
    ``ran``: the very call ran to its end in this process, which has its result. A refusal: it ran where nobody has the
    result any more, or may have run.
    """
    state, _, of = (holder or b"").decode("ascii", "replace").partition(":")
    if of != claim:
        return _SPENT if of.startswith(key) else None
    state, _, process = state.partition("@")
    if state in (_BEGUN, "ended unknown"):
        return refusal("unknown", "a human approved it and it began to run; how that ended, nobody knows")
    if process == _process():
        return "ran" if state == "ended ok" else _SPENT
    if state in ("ended ok", "ended error"):
        return refusal(
            "unknown", "it was approved and ran to its end, but the run was stopped before it had the result"
        )
    return _SPENT


def _process() -> str:
    return digest(_STARTED, os.getpid())[:16]  # the pid, because a forked child starts with our text


def _mark(spent: Spent, state: str, store: Store) -> Flow[None]:
    yield Await(store.put, store.aput, (spent.task, f"{state}:{spent.claim}".encode(), KEPT))


def _written(verdict: Verdict) -> dict[str, Any]:
    return {"kind": verdict.kind, "args": verdict.args, "message": verdict.message, "by": verdict.by}


def _spent(said: dict[str, Any] | None) -> Spent | None:
    return None if said is None else Spent(**{**said, "record": said["record"].encode()})


def _read(kept: bytes) -> Paused:
    try:
        record = json.loads(kept)
        verdict = None if record["verdict"] is None else Verdict(**record["verdict"])
        charges = tuple(tuple(charge) for charge in record["charges"])
        if isinstance(record["key"], str) and (verdict is None or verdict.kind in ("approve", "edit")):
            return Paused(record["key"], charges, verdict, _spent(record.get("spent")))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(f"the record of a suspended execution cannot be read ({error})") from None
    raise StoreError("the record of a suspended execution cannot be read (it holds something else)")
