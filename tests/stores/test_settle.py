"""The truth in the place of an estimate: what was spent stays spent, on every backend, whoever is killed meanwhile."""

import os
import random
import signal
import sys
import time
import uuid
from pathlib import Path

import pytest

from guarded_tools.errors import StoreError
from guarded_tools.stores.disk.address import disk_url
from guarded_tools.values import Full, Reservation
from tests import forked
from tests.stores.marks_hammer import opened
from tests.stores.settle_hammer import BUDGET, ESTIMATE

T = 1_800_000_000.0
HAMMER = Path(__file__).with_name("settle_hammer.py")


def used(store, now=T):
    return [usage.used for usage in store.usage("session:s", now)]


def test_what_is_less_is_free_again(store, charge):
    taken = store.reserve([charge(amount=8, max=10)], T)
    store.settle(taken, [3], T + 1)
    assert used(store, T + 1) == [3]
    assert isinstance(store.reserve([charge(amount=7, max=10)], T + 1), Reservation)
    assert isinstance(store.reserve([charge(amount=1, max=10)], T + 1), Full)


def test_an_over_run_is_kept_and_blocks_the_next_call_until_it_ages_out(store, charge):
    taken = store.reserve([charge(amount=2, max=10)], T)
    store.settle(taken, [25], T + 1)
    assert used(store, T + 1) == [25]
    refused = store.reserve([charge(amount=1, max=10)], T + 1)
    assert refused.used == 25
    assert isinstance(store.reserve([charge(amount=1, max=10)], T + 1 + refused.retry_after), Reservation)


def test_it_counts_in_the_slot_of_the_call(store, charge):
    taken = store.reserve([charge(amount=2, max=10)], T)
    store.settle(taken, [9], T + 59)
    assert isinstance(store.reserve([charge(amount=9, max=10)], T + 61), Reservation)


def test_what_comes_after_the_window_counts_from_then_on(store, charge):
    """The estimate has aged out; what nobody had counted has not."""
    taken = store.reserve([charge(amount=2, max=10)], T)
    store.settle(taken, [9], T + 100)
    assert used(store, T + 100) == [7]
    assert used(store, T + 100 + 61) == [0]
    late = store.reserve([charge(amount=9, max=10)], T + 200)
    store.settle(late, [1], T + 300)
    assert used(store, T + 300) == [0]


def test_of_what_was_reset_the_over_run_alone_counts(store, charge):
    taken = store.reserve([charge(amount=2, max=10)], T)
    store.reset("session:s")
    other = store.reserve([charge(amount=4, max=10)], T)
    store.settle(taken, [0], T)
    assert used(store) == [4]
    store.settle(other, [4], T)
    again = store.reserve([charge(amount=2, max=10)], T)
    store.reset("session:s")
    store.settle(again, [5], T)
    assert used(store) == [3]


@pytest.mark.parametrize("second", ["settle", "refund"])
def test_once(store, charge, second):
    taken = store.reserve([charge(amount=5, max=10)], T)
    store.settle(taken, [2], T)
    if second == "settle":
        store.settle(taken, [9], T)
    else:
        assert store.refund(taken, T) == 0
    assert used(store) == [2]


def test_what_was_refunded_is_not_settled(store, charge):
    taken = store.reserve([charge(amount=5, max=10)], T)
    assert store.refund(taken, T) == 1
    store.settle(taken, [9], T)
    assert used(store) == [0]


def test_all_charges_of_a_call_at_once(store, charge):
    taken = store.reserve(
        [charge("a", amount=5, max=9), charge("b", amount=0), charge("c", scope="global", amount=1)], T
    )
    store.settle(taken, [6, 7, 0], T)
    assert [(u.counter, u.used) for scope in ("session:s", "global") for u in store.usage(scope, T)] == [
        ("a", 6),
        ("b", 7),
        ("c", 0),
    ]


def test_settling_is_no_refund_and_uses_none_of_them_up(store, charge):
    for n in range(50):
        taken = store.reserve([charge(amount=3, max=10)], T + n / 100)
        store.settle(taken, [0], T + n / 100)
    taken = store.reserve([charge(amount=3, max=10)], T + 1)
    assert store.refund(taken, T + 1) == 1


@pytest.mark.parametrize("amount", [-1, 1.5, True, float("nan"), "3", None])
def test_what_is_no_amount_leaves_the_estimate(store, charge, amount):
    taken = store.reserve([charge("a", amount=5, max=9), charge("b", amount=1)], T)
    with pytest.raises(StoreError, match="not an amount"):
        store.settle(taken, [2, amount], T)
    assert sorted(used(store)) == [1, 5]


def test_no_amount_is_too_large_to_keep(store, charge):
    for amount in (10**30, 2**62, 10**18):
        taken = store.reserve([charge(f"c{amount}", amount=1, max=10)], T)
        store.settle(taken, [amount], T)
        assert isinstance(store.reserve([charge(f"c{amount}", amount=1, max=10)], T), Full)
    assert min(used(store)) >= 2**53


def test_two_over_runs_of_any_size(store, charge):
    first, second = (store.reserve([charge(amount=1, max=10)], T) for _ in range(2))
    for taken in (first, second):
        store.settle(taken, [2**62], T)
    assert used(store)[0] >= 2**53
    assert isinstance(store.reserve([charge(amount=1, max=10)], T), Full)


@pytest.fixture(params=["disk", "redis"])
def url(request, tmp_path):
    if request.param == "disk":
        return disk_url(tmp_path / "state")
    return f"{request.getfixturevalue('redis_server').url}?namespace={uuid.uuid4().hex}"


def spending(url, journal):
    return forked.Popen([sys.executable, str(HAMMER), url, str(journal)], stderr=forked.PIPE)


def sums(url, scope):
    store = opened(url)
    try:
        return sum(usage.used for usage in store.usage(scope))
    finally:
        store.close()


def test_processes_spend_exactly_what_they_settle(url, tmp_path, report):
    journals = [tmp_path / f"journal{n}" for n in range(3)]
    for process in [spending(url, journal) for journal in journals]:
        said = process.communicate(timeout=120)[1]
        assert process.returncode == 0, said
    settled = [int(line[2:]) for journal in journals for line in journal.read_text().splitlines() if line[0] == "s"]
    spent = sum(settled)
    assert sums(url, "session:s") == sums(url, "global") == spent
    # Each of twelve callers may over-run once, by what one call takes beyond its estimate.
    assert BUDGET - ESTIMATE < spent <= BUDGET + 12 * ESTIMATE
    report(calls=len(settled), spent=spent, budget=BUDGET)


def test_kill_9_leaves_the_estimate_or_the_truth(url, tmp_path, report):
    dice, journals, kills = random.Random(7), [], 0
    for n in range(6):
        journals.append(tmp_path / f"journal{n}")
        process = spending(url, journals[-1])
        deadline = time.monotonic() + 60
        while not (journals[-1].exists() and journals[-1].stat().st_size):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(dice.uniform(0, 0.01))
        kills += process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=10)
    lines = [line.split() for journal in journals for line in journal.read_text().splitlines()]
    reserved, settled = (sum(what == kind for what, _ in lines) for kind in "rs")
    known = sum(int(amount) for what, amount in lines if what == "s") + ESTIMATE * (reserved - settled)
    # Of each caller that was killed one call may stand at its estimate, at its truth, or be one nobody heard of.
    doubt = 4 * kills * 2 * ESTIMATE
    spent = sums(url, "session:s")
    assert spent == sums(url, "global"), "all of a call or nothing"
    assert known - doubt <= spent <= known + doubt
    report(kills=kills, reserved=reserved, settled=settled, spent=spent)
