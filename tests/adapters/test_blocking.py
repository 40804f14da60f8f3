"""An async guarded tool blocks no event loop: not its database, not its audit, not a lock that somebody else holds."""

import asyncio
import fcntl
import os
import sys
import time

import pytest
from blockbuster import BlockingError
from langchain_core.tools import tool

from guarded_tools import Guard, Policy
from guarded_tools.approval.calling import acall_in_place
from guarded_tools.audit.head import head_path
from guarded_tools.errors import ToolDenied
from tests import forked

HOLD = "import fcntl,os,sys; f=os.open(sys.argv[1],os.O_RDWR); fcntl.flock(f,fcntl.LOCK_EX); print('held',flush=True); input()"


@tool
async def send(to: str) -> str:
    """Send."""
    return f"sent to {to}"


@tool
async def delete(to: str) -> str:
    """Delete."""
    return f"deleted {to}"


def made(folder, store, **options):
    policy = {
        "version": "1",
        "default": "deny",
        "tools": {"send": {"rate_limit": "50/hour"}, "delete": {"approval": True, "rate_limit": "5/hour"}},
    }
    store = store if store == "memory://" else f"disk://{folder}"
    guard = Guard(Policy.model_validate(policy), store=store, audit=folder / "audit.jsonl", **options)
    return guard, guard.wrap([send, delete])


async def test_what_blocks_is_found(tmp_path):
    guard, _ = made(tmp_path, "disk")
    with pytest.raises(BlockingError):
        await acall_in_place(guard.store.get, "key")  # this package's own coroutine, and a database


@pytest.mark.parametrize("store", ["disk", "memory://"])
def test_calls_that_pass_and_calls_that_are_refused(tmp_path, store):
    _, (sending, deleting) = made(tmp_path, store)

    async def main():
        answers = await asyncio.gather(*(sending.ainvoke({"to": "ann"}) for _ in range(60)))
        return answers, await deleting.ainvoke({"to": "ann"})

    answers, unasked = asyncio.run(main())
    assert answers.count("sent to ann") == 50
    assert sum("used up" in answer for answer in answers) == 10
    assert "no approver" in unasked


@pytest.mark.parametrize("store", ["disk", "memory://"])
def test_calls_that_a_human_is_asked_about(tmp_path, store):
    async def approve(_):
        await asyncio.sleep(0)
        return True

    _, (_, deleting) = made(tmp_path, store, approver=approve)
    assert asyncio.run(deleting.ainvoke({"to": "ann"})) == "deleted ann"


def test_a_store_that_was_closed_is_opened_where_that_may_take_its_time(tmp_path):
    guard, (sending, _) = made(tmp_path, "disk")
    guard.store.close()
    assert asyncio.run(sending.ainvoke({"to": "ann"})) == "sent to ann"


def test_the_audits_lock_is_waited_for_beside_the_loop(tmp_path):
    guard, (sending, _) = made(tmp_path, "disk")
    asyncio.run(sending.ainvoke({"to": "ann"}))
    words = [sys.executable, "-c", HOLD, str(head_path(guard.audit.path))]
    holder = forked.Popen(words, stdin=forked.PIPE, stdout=forked.PIPE)
    holder.stdout.readline()

    async def main():
        call = asyncio.create_task(sending.ainvoke({"to": "ann"}))
        for _ in range(50):
            await asyncio.sleep(0.002)
        assert not call.done()
        await asyncio.to_thread(holder.communicate, "let go\n")
        return await call

    assert asyncio.run(main()) == "sent to ann"


def test_an_audit_that_stays_locked_refuses_and_gives_back(tmp_path, monkeypatch):
    monkeypatch.setattr("guarded_tools.audit.log.PATIENCE", 0.5)
    guard, (sending, _) = made(tmp_path, "memory://", on_denied="raise")
    asyncio.run(sending.ainvoke({"to": "ann"}))
    handle = os.open(head_path(guard.audit.path), os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        began = time.monotonic()
        with pytest.raises(ToolDenied, match="audit") as caught:
            asyncio.run(sending.ainvoke({"to": "ann"}))
        assert caught.value.outcome == "failed_closed"
        assert 0.5 <= time.monotonic() - began < 5
    finally:
        os.close(handle)
    assert [usage.used for usage in guard.usage()] == [1]
