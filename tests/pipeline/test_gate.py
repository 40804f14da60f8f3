"""What a guard is given and cannot use is refused at once, with words about what to write instead."""

import asyncio
import json

import pytest

from guarded_tools import Guard, InboxApprover, Policy, ToolCall, open_store

POLICY = Policy.model_validate({"version": "1", "default": "deny", "tools": {"t": {"rate_limit": "1/hour"}}})


def guard(tmp_path, **options):
    return Guard(POLICY, **{"store": "memory://", "audit": tmp_path / "audit.jsonl"} | options)


@pytest.mark.parametrize("session", [7, b"ann", ["ann"]], ids=repr)
def test_a_session_that_is_no_text(tmp_path, session):
    with pytest.raises(TypeError, match=r"session must be a text, not .*: write "):
        guard(tmp_path, session=session)
    with pytest.raises(TypeError, match=r"session must be a text, not .*: write "):
        guard(tmp_path).for_session(session)


def test_a_grant_that_is_no_text(tmp_path):
    with pytest.raises(TypeError, match=r"grant must be a text or a function of the config, not 7: write '7'"):
        guard(tmp_path, grant=7)


class Partial:
    """What somebody may take for a store: it counts, and can do nothing else."""

    def reserve(self, charges, now=None, scopes=()):
        raise AssertionError("asked")


@pytest.mark.parametrize(
    ("store", "said"),
    [(5, "int, which has no aadd, "), (Partial(), "Partial, which has no aadd, "), (Partial, "class")],
)
def test_a_store_that_is_none(tmp_path, store, said):
    with pytest.raises(TypeError, match=rf"store must be a URL.* not .*{said}"):
        guard(tmp_path, store=store)


def test_a_store_that_stands_before_another_one_is_a_store(tmp_path):
    class Before:
        def __init__(self, store):
            self._store = store

        def __getattr__(self, name):
            return getattr(self._store, name)

    assert guard(tmp_path, store=Before(open_store("memory://"))).call(ToolCall("t", {}), lambda args: "ran") == "ran"


@pytest.mark.parametrize("policy", [{"default": "deny", "tools": {}}, {"ann": {"version": "1", "default": "deny"}}])
def test_a_policy_that_is_still_a_dict(policy):
    with pytest.raises(TypeError, match=r"make a policy of a dict with Policy\.model_validate"):
        Guard(policy, store="memory://")


@pytest.mark.parametrize("policy", [None, 5, {"ann": None}], ids=repr)
def test_a_policy_that_is_none(policy):
    with pytest.raises(TypeError, match=r"a policy is a Policy, a path or a preset's name, not "):
        Guard(policy, store="memory://")


def test_an_inbox_takes_no_url():
    with pytest.raises(TypeError, match=r"not a URL: InboxApprover\(open_store\(url\)\)"):
        InboxApprover("memory://")


def test_an_approver_that_is_a_class_and_needs_something_is_not_to_be_made_of_nothing(tmp_path):
    with pytest.raises(TypeError, match=r"write InboxApprover\(…\)"):
        guard(tmp_path, approver=InboxApprover)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_guard_that_is_closed_leaves_a_closed_store(tmp_path, asynchronous):
    def made():
        policy = Policy.model_validate({"version": "1", "default": "allow"})
        return Guard(policy, store=f"disk://{tmp_path / 'state'}", audit=tmp_path / "audit.jsonl")

    def state():
        return json.loads((tmp_path / "state" / "counters" / "store.json").read_text())["state"]

    async def within():
        async with made() as guard:
            await guard.acall(ToolCall("t", {}), ran)
            during = state()
        return guard, during

    async def ran(_):
        return "ran"

    if asynchronous:
        guard, during = asyncio.run(within())
    else:
        with made() as guard:
            guard.call(ToolCall("t", {}), lambda _: "ran")
            during = state()
    assert (during, state()) == ("open", "closed")
    assert guard.for_session("s").call(ToolCall("t", {}), lambda _: "again") == "again"
    assert state() == "open"
    guard.close()
    assert state() == "closed"
    assert len((tmp_path / "audit.jsonl").read_text().splitlines()) == 4
