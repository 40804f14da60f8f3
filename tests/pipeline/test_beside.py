"""What a guard does with files has a twin to await, and the twin leaves the event loop free."""

import asyncio
import json
from contextvars import ContextVar
from functools import partial

import pytest
from blockbuster import BlockingError
from langchain_core.tools import tool

from guarded_tools import Guard, ToolCall
from guarded_tools.approval import pending
from guarded_tools.approvers.protocol import CallAddress
from guarded_tools.errors import GuardError, PolicyError, StoreError
from guarded_tools.flow import run
from guarded_tools.policy import ApprovalLimits, Policy

CALL = ToolCall("t", {}, session="s")
HERE = CallAddress("call", "task", "thread", "1")


@tool
def t() -> str:
    """Do something."""
    return "done"


def written(path, tools):
    path.write_text(json.dumps({"version": "1", "default": "deny", "tools": tools}))
    return path


@pytest.fixture(params=["disk", "memory"])
def guard(request, tmp_path):
    path = written(tmp_path / "policy.json", {"t": {"rate_limit": "5/hour"}})
    store = "memory://" if request.param == "memory" else f"disk://{tmp_path}"
    guard = Guard(path, store=store, audit=tmp_path / "audit.jsonl")
    yield guard
    guard.audit.close()
    guard.store.close()


def controls(guard):
    lines = map(json.loads, guard.audit.path.read_text().splitlines())
    return [(line["rule"], line["outcome"]) for line in lines if line["kind"] == "control"]


async def done(_args):
    return "done"


async def on_the_loop(work):
    """Do what blocks where a loop does it, with nobody's frame around it but the loop's."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    found = []
    loop.set_exception_handler(lambda _, context: found.append(context["exception"]))
    loop.call_soon(work)
    loop.call_soon(ended.set)
    await ended.wait()
    return found


async def test_what_was_used(guard):
    await guard.acall(CALL, done)
    used = await guard.ausage("s")
    assert [(usage.used, usage.max) for usage in used] == [(1, 5)]
    assert type(used) is type(guard.usage("s"))
    assert [usage.scope for usage in await guard.ausage()] == ["session:s"]
    assert await guard.ausage("another") == []


async def test_a_new_policy(guard, tmp_path):
    written(tmp_path / "policy.json", {})
    assert guard.explain(CALL).effect == "allow"
    await guard.areload()
    assert guard.explain(CALL).rule == "(default deny)"
    assert controls(guard) == [("(reload)", "ok")]


async def test_a_new_policy_that_cannot_be_used(guard, tmp_path):
    (tmp_path / "policy.json").write_text("{")
    with pytest.raises(PolicyError):
        await guard.areload()
    assert guard.explain(CALL).effect == "allow"
    assert controls(guard) == [("(reload)", "failed_closed")]


async def test_a_policy_that_no_file_holds():
    guard = Guard(Policy.model_validate({"version": "1", "default": "deny", "tools": {}}), store="memory://")
    with pytest.raises(GuardError, match="nothing to read again"):
        await guard.areload()


async def test_questions_that_are_taken_back(guard):
    limits = ApprovalLimits(max_pending=2)
    for question in ("one", "two"):
        assert run(pending.claim("s", question, 60, limits, HERE, store=guard.store))
    assert await guard.awithdraw("another") == 0
    assert await guard.awithdraw("s") == 2
    assert await guard.awithdraw("s") == 0
    assert controls(guard) == [("(withdraw)", "ok")] * 3
    with pytest.raises(TypeError, match="session must be a text"):
        await guard.awithdraw(7)


async def test_a_store_that_fails(guard, monkeypatch):
    def fails(*_):
        raise StoreError("gone")

    monkeypatch.setattr(guard.store, "usage", fails)
    with pytest.raises(StoreError, match="gone"):
        await guard.ausage()


async def test_observers_hear_with_the_callers_context(tmp_path):
    who, heard = ContextVar("who"), []
    path = written(tmp_path / "policy.json", {})
    guard = Guard(path, store="memory://", audit=tmp_path / "a", observers=[lambda _: heard.append(who.get(None))])
    who.set("ann")
    await guard.areload()
    await guard.awithdraw("s")
    assert heard == ["ann", "ann"]


@pytest.mark.parametrize("view", [False, True])
async def test_nothing_else_of_a_guard_touches_a_file(guard, view):
    guard = guard.for_session("s") if view else guard
    assert guard.middleware()  # its libraries are imported now
    assert guard.interceptor
    for work in (
        partial(guard.explain, CALL),
        partial(guard.for_session, "other"),
        partial(guard.wrap, [t]),
        guard.middleware,
        partial(getattr, guard, "interceptor"),
        partial(getattr, guard, "policy"),
    ):
        assert await on_the_loop(work) == [], work


@pytest.mark.parametrize("method", ["reload", "usage", "withdraw"])
async def test_what_has_a_twin_does(guard, method):
    args = ("s",) if method == "withdraw" else ()
    if type(guard.store).__name__ == "MemoryStore" and method == "usage":
        return  # no file is in it
    (error,) = await on_the_loop(partial(getattr(guard, method), *args))
    assert isinstance(error, BlockingError)


def test_all_of_the_twins():
    public = {name for name in dir(Guard) if not name.startswith("_")}
    twins = {name for name in public if "a" + name in public}
    assert twins == {"call", "attempt", "attempt_model", "close", "reload", "usage", "withdraw"}
