"""What broke elsewhere, once each: made to happen on a published library of this field, and not to happen here.

Counting
    Many at once pass the limit: here; by processes: ``stores/test_disk_exact.py``. A new session, guard or process starts at
    zero: here. An eviction takes the counter: ``stores/test_disk_faults.py`` (another opener). Denied and failed calls eat the
    quota, or a failing loop is never limited: here, ``adapters/test_outcomes.py`` (a failing loop ends). A late refund, the edge
    of a window: ``stores/test_contract.py`` (refund, rolling). Negative, fractional and NaN amounts: here. Exceptions lock a
    budget for good: here. A backend that is silently not used: here.
Rules
    Misspelt keys: here, ``policy/problems.yaml``. ``not_in`` and its look-alikes: ``test_rules.py``, ``policy/conformance.yaml``.
    Padding, patterns that explode: ``policy/test_fuzz.py``, ``test_schemas.py``. Escapes in a dump: here. Paths that never match:
    here, ``policy/test_model.py``. Raw text that blocks templates: here. The envelope instead of the arguments: here. Two
    spellings of one key: here.
Approving
    Arguments changed meanwhile: ``approvers/test_exact.py``. Replay: here, ``approvers/test_interrupt.py``,
    ``approvers/test_restarts.py``. A rejected call that runs because a predicate changed its mind, a wrong number of decisions, an
    edit that switches the tool: ``approvers/test_interrupt.py``. "Always" that covers every argument:
    ``approvers/test_remembered.py``, ``test_approvals.py``. Asked what the limit refuses, approved and asked again: here. A prompt
    that shows a hash or escape sequences: ``approvers/test_card.py``. Sixty prompts in a row: ``approvers/test_flood.py``. An
    approver that raises or answers a wrong type: here.
Getting around
    ``.func``, the inner tool, batch, the async path, a hidden tool that is named, a swallowed denial:
    ``adapters/test_bypasses.py``, ``test_wrapping.py``. A middleware outside: ``adapters/test_plugins.py``. A crash after the side
    effect: ``approvers/test_restarts.py``. Ctrl-C: ``test_interrupts.py``.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from guarded_tools.errors import PolicyError, StoreError, ToolDenied
from guarded_tools.guard import Guard
from guarded_tools.policy import Policy, decide
from guarded_tools.stores import open_store
from guarded_tools.values import ApprovalRequest, ToolCall, Verdict

BASE = {"version": "1", "default": "deny"}


def of(**rules: Any) -> dict[str, Any]:
    return {**BASE, "tools": {"t": rules}}


class Counted:
    """A body that counts what really ran."""

    def __init__(self, error: Exception | None = None) -> None:
        self.ran: list[dict[str, Any]] = []
        self._error = error

    def __call__(self, args: dict[str, Any]) -> str:
        time.sleep(0.001)  # long enough for the others to come in
        self.ran.append(args)
        if self._error is not None:
            raise self._error
        return "ran"

    async def later(self, args: dict[str, Any]) -> str:
        await asyncio.sleep(0.001)
        self.ran.append(args)
        return "ran"


def attempt(guard: Guard, body: Any, args: Any = None, session: str = "default") -> str:
    try:
        return str(guard.call(ToolCall("t", {} if args is None else args, session), body))
    except ToolDenied as denied:
        return denied.outcome


@pytest.mark.parametrize("store", ["memory", "disk"])
def test_of_24_at_once_five_run(make_guard: Any, tmp_path: Path, store: str) -> None:
    url = {"memory": "memory://", "disk": f"disk://{tmp_path}/state"}[store]
    guard = make_guard(of(rate_limit="5/hour"), store=url)
    body = Counted()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: attempt(guard, body), range(24)))
    assert len(body.ran) == 5

    async def all_at_once() -> None:
        calls = (guard.acall(ToolCall("t", {}, "tasks"), body.later) for _ in range(24))
        await asyncio.gather(*calls, return_exceptions=True)

    asyncio.run(all_at_once())
    assert len(body.ran) == 10


def test_neither_a_session_nor_a_guard_nor_a_reopened_store_starts_a_global_limit_at_zero(
    make_guard: Any, tmp_path: Path
) -> None:
    policy = of(limits=[{"counter": "c", "max": 5, "window": "day", "scope": "global"}])
    body = Counted()
    for life in range(4):
        guard = make_guard(policy, store=f"disk://{tmp_path}/state")
        for session in "abc":
            attempt(guard, body, session=f"{session}{life}")
        guard.store.close()
    assert len(body.ran) == 5


def test_what_is_denied_takes_nothing_and_what_fails_is_limited(make_guard: Any) -> None:
    policy = of(rate_limit="3/hour", deny_if=[{"path": "args.bad", "op": "eq", "value": True}])
    guard = make_guard(policy)
    assert {attempt(guard, Counted(), {"bad": True}) for _ in range(9)} == {"denied"}
    body = Counted(ValueError("no"))
    for _ in range(9):
        with pytest.raises((ValueError, ToolDenied)):
            guard.call(ToolCall("t", {}), body)
    assert len(body.ran) == 3


@pytest.mark.parametrize(
    "amounts", [[-1_000_000], [0.99] * 2000, [float("nan")], [float("inf")], ["9"], [True], [None]]
)
def test_no_amount_refills_a_cap_or_is_free(make_guard: Any, amounts: list[Any]) -> None:
    guard = make_guard(of(limits=[{"counter": "c", "max": 10, "window": "day", "count": "args.n"}]))
    body = Counted()
    assert [attempt(guard, body, {"n": 6}) for _ in range(2)] == ["ran", "limited"]
    ran = [attempt(guard, body, {"n": amount}) for amount in amounts].count("ran")
    assert ran <= 4
    assert sum(args["n"] for args in body.ran) <= 10


def test_sixty_exceptions_lock_nothing_for_longer_than_the_window(make_guard: Any) -> None:
    now = [1_000_000.0]
    guard = make_guard(of(rate_limit="60/hour"), clock=lambda: now[0])
    for _ in range(60):
        with pytest.raises(OSError, match="down"):
            guard.call(ToolCall("t", {}), Counted(OSError("down")))
    assert attempt(guard, Counted()) == "limited"
    now[0] += 3600 * 65 / 64
    assert attempt(guard, Counted()) == "ran"


@pytest.mark.parametrize(
    "url", ["", "redi://localhost", "sqlite:///x", "memory", "/a/path", "disk://relative", "memory://x"]
)
def test_a_backend_that_there_is_not_is_an_error(url: str) -> None:
    with pytest.raises(StoreError):
        open_store(url)


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": "1", "defualt": "deny", "tools": {}},
        {"version": "1", "defaults": "deny", "tools": {}},
        {**BASE, "tolls": {}},
        of(requre=[{"path": "args.x", "op": "exists"}]),
        of(require=[{"path": "args.x", "op": "equals", "value": 1}]),
        of(require=[{"path": "args.x", "op": "eq", "vlaue": 1}]),
        of(require=[{"path": "x", "op": "eq", "value": 1}]),
        of(require=[{"path": "args.x.", "op": "eq", "value": 1}]),
        of(action="aprove"),
        of(aproval={}),
        {**BASE, "hidden": ["t"], "tools": {}},
    ],
)
def test_a_misspelt_word_is_an_error_and_no_policy(wrong: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        Policy.model_validate(wrong)


def test_a_misspelt_tool_is_an_error_where_the_tools_are_known(make_guard: Any) -> None:
    guard = make_guard({"version": "1", "default": "allow", "tools": {"delte": {"action": "approve"}}})
    with pytest.raises(PolicyError, match="delte"):
        guard.check_names(["delete"])


def said(policy: dict[str, Any], args: Any) -> str:
    return decide(Policy.model_validate(policy), ToolCall("t", args)).effect


def test_escaping_hides_no_word() -> None:
    policy = of(deny_if=[{"path": "args.q", "op": "contains", "value": 'say "drop"\n\u00e9'}])
    assert said(policy, {"q": 'please say "drop"\n\u00e9 now'}) == "deny"
    assert said(policy, {"q": "please say"}) == "allow"


def test_a_template_is_not_an_attack() -> None:
    policy = of(deny_if=[{"path": "args.url", "op": "regex", "value": "<script|\\{\\{"}])
    assert said(policy, {"html": "<script>{{ name }} $(x) ../..; DROP TABLE</script>", "url": "https://x"}) == "allow"


def test_rules_are_about_the_arguments_and_not_about_what_is_around_them() -> None:
    policy = of(require=[{"path": "args.n", "op": "lte", "value": 5}])
    assert said(policy, {"name": "t", "args": {"n": 1}}) == "deny"
    assert said(policy, {"n": 1}) == "allow"


@pytest.mark.parametrize(
    "args", [{1: "safe", "1": "evil"}, {True: 1, "true": 2}, {None: 1, "null": 2}, {1.0: 1, "1.0": 2}]
)
def test_two_spellings_of_one_key_are_refused(make_guard: Any, args: dict[Any, Any]) -> None:
    body = Counted()
    assert attempt(make_guard({**BASE, "default": "allow", "tools": {}}), body, args) == "failed_closed"
    assert body.ran == []


def test_one_question_one_approval_one_execution(make_guard: Any) -> None:
    asked: list[ApprovalRequest] = []

    def approve(request: ApprovalRequest) -> Verdict:
        asked.append(request)
        return Verdict.approve()

    guard = make_guard(of(approval={}, rate_limit="2/hour"), approver=approve)
    body = Counted()
    assert [attempt(guard, body, {"x": 1}) for _ in range(4)] == ["ran", "ran", "limited", "limited"]
    assert len(asked) == len(body.ran) == 2


@pytest.mark.parametrize("answer", [1, "approve", [], {"type": "approve"}, None, Verdict("APPROVE"), OSError("gone")])  # type: ignore[arg-type]
def test_what_is_no_answer_lets_nothing_through(make_guard: Any, answer: Any) -> None:
    def approver(_: ApprovalRequest) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    body = Counted()
    assert attempt(make_guard(of(approval={}), approver=approver), body) == "unanswered"
    assert body.ran == []
