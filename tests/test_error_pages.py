"""What users meet, provoked for real, has its section in ``docs/errors``."""

import pytest
from langchain_core.tools import tool

from guarded_tools import (
    Guard,
    InterruptApprover,
    Policy,
    ToolCall,
    ToolDenied,
    Verdict,
    guarded_tools,
    open_store,
    pictify_tools,
)
from guarded_tools.errors import GuardError, StateLost
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.testing import FrozenClock, ScriptedApprover, memory_guard
from guarded_tools.tools.lock import Lock
from guarded_tools.values import ToolInfo
from tests import messages

ANY = {"version": "1", "default": "allow"}


def sections(text, page):
    """The lines of a page that say this."""
    return [line for at, line in messages.lines() if at.stem == page and messages.says(line, text)]


@tool
def refund(customer: str, amount: int) -> str:
    """Pay money back."""
    return f"{amount} sent to {customer}"


def told(entry, args=None, *, name="refund", times=1, approver=None, **more):
    """What a model is told of the last of some calls under a policy with one entry."""
    policy = {"version": "1", "default": "deny", "tools": {name: entry}, **more}
    [guarded] = memory_guard(policy, approver=approver or ScriptedApprover(), clock=FrozenClock()).wrap([refund])
    answers = [guarded.invoke({"customer": "ann", "amount": 5} if args is None else args) for _ in range(times)]
    return answers[-1]


def ask(answer):
    return {"entry": {"approval": True}, "approver": answer}


def failing(_):
    raise OSError("the chat is down")


AMOUNT = {"path": "args.amount", "op": "lte", "value": 3}
LIMIT = {"counter": "c", "window": "hour", "max": 1}


@pytest.mark.parametrize(
    ("page", "heading", "call"),
    [
        ("refused", "… is not allowed by the policy", {"entry": {}, "name": "search"}),
        ("refused", "… is denied by the policy", {"entry": {"action": "deny"}}),
        ("refused", "… is not a listed tool; it only looks like …", {"entry": {}, "name": "Refund"}),
        ("refused", "… must be …", {"entry": {"require": [AMOUNT]}}),
        ("refused", "… must not be …", {"entry": {"deny_if": [AMOUNT | {"value": 9}]}}),
        ("refused", "… is missing", {"entry": {"require": [AMOUNT | {"path": "args.currency"}]}}),
        ("refused", "cannot be compared with a number: it is …", {"entry": {"require": [AMOUNT | {"path": "args.customer"}]}}),
        ("refused", "… has not succeeded … in this …", {"entry": {}, "tools": {"read": {}, "refund": {"needs": [{"tool": "read"}]}}}),
        ("limited", "a limit of … in … is used up", {"entry": {"limits": [LIMIT]}, "times": 2}),
        ("limited", "a limit allows … in …, and this call would take …", {"entry": {"limits": [LIMIT | {"count": "args.amount"}]}}),
        ("unanswered", "a human rejected it", ask(ScriptedApprover(Verdict.reject("no")))),
        ("unanswered", "humans rejected this very call twice", {**ask(lambda _: False), "times": 3}),
        ("unanswered", "the approver failed with …: …", ask(failing)),
        ("unanswered", "the approver returned …, which is no answer", ask(lambda _: None)),
        ("unanswered", "NOTE: … did not run. A human answered in its place:", ask(lambda _: Verdict.respond("done"))),
        ("unanswered", "NOTE: a human changed this call before it ran. What ran is …", ask(lambda _: Verdict.edit({"customer": "bob", "amount": 1}))),
    ],
)  # fmt: skip
def test_what_a_model_is_told(page, heading, call):
    text = told(**call) if "NOTE" not in heading else of_call(call)
    assert heading in sections(text, page), text


def of_call(call):
    """The message, which has the note, of a tool that is called by a model."""
    policy = {"version": "1", "default": "deny", "tools": {"refund": call["entry"]}}
    [guarded] = memory_guard(policy, approver=call["approver"]).wrap([refund])
    return guarded.invoke(
        {"type": "tool_call", "id": "1", "name": "refund", "args": {"customer": "ann", "amount": 5}}
    ).text


def refused(policy, tool="refund", **options):
    """What a program is told of a call that is refused."""
    guard = memory_guard({"version": "1", "default": "allow", **policy}, on_denied="raise", **options)
    with pytest.raises(ToolDenied) as denied:
        guard.call(ToolCall(tool, {}), lambda _: "ran")
    return str(denied.value)


def test_refusals_of_a_guard():
    assert "… is not available" in sections(refused({"hide": ["refund"]}), "refused")
    pinned = Lock.of([ToolInfo("refund", schema={})])
    assert "this is not the tool that was pinned: …" in sections(refused({}, lock=pinned), "refused")
    assert "… is a name of the guard's own, and no tool's" in sections(refused({}, tool="(model)"), "refused")
    asking = {"tools": {"refund": {"approval": True}}}
    heading = "… needs a human's approval and no approver was given to the guard: pass approver=TerminalApprover(), …"
    assert heading in sections(refused(asking), "unanswered")
    heading = "… needs a human's approval, and InterruptApprover cannot ask …"
    assert heading in sections(refused(asking, approver=InterruptApprover()), "unanswered")


def test_the_stop_button():
    store = MemoryStore()
    store.halt("global", "smoke")
    assert "calls are halted for …: …" in sections(refused({}, store=store), "refused")


def test_a_store_that_does_not_work(tmp_path):
    class Broken(MemoryStore):
        def reserve(self, *_, **__):
            raise OSError("no disk")

    limited = {"all_tools": {"limits": [LIMIT]}}
    assert "the guard could not do its work: …" in sections(refused(limited, store=Broken()), "state")
    with pytest.raises(StateLost) as lost:
        lose(tmp_path)
    assert "counters in … were lost: …" in sections(str(lost.value), "state")


def lose(folder):
    store = open_store(f"disk://{folder}")
    store.put("key", b"value", 60)
    store.close()
    for database in folder.rglob("cache.db"):
        database.unlink()
    open_store(f"disk://{folder}").get("key")


def denied_for(grant):
    guard = Guard(
        {"ann": Policy.model_validate({"version": "1", "default": "allow"})}, grant=grant, store=MemoryStore()
    )
    return guard.explain(ToolCall("refund", {}, grant=grant)).message


def test_a_grant_without_a_policy(tmp_path, monkeypatch):
    monkeypatch.setenv("GUARDED_TOOLS_HOME", str(tmp_path))
    assert "no policy is attached to this grant" in sections(denied_for("bob"), "refused")


@pytest.mark.parametrize(
    ("page", "heading", "work"),
    [
        ("state", "… is not a kind of store; use disk:///path, memory:// or redis://host", lambda: open_store("sqlite:///x")),
        ("servers", "the command … was not found on PATH.", lambda: opened({"command": "no-such-program"})),
        ("servers", "the server … is described wrongly: …", lambda: opened({"command": "x", "url": "https://example.com"})),
        ("servers", "the url has to begin with https:// (or http:// and name this machine)", lambda: opened({"url": "ftp://example.com"})),
        ("servers", "there is no Pictify API key: set …, pass api_key=, or try sandbox=True, which needs none", lambda: pictify_tools().__enter__()),
        ("policy", "there is nothing to read again: the policy was given as an object; give the guard a path", lambda: memory_guard(ANY).reload()),
        ("policy", "unknown key …", lambda: Policy.model_validate(ANY | {"defualt": "deny"})),
        ("policy", "… is required", lambda: Policy.model_validate({"version": "1"})),
        ("policy", "null says nothing", lambda: Policy.model_validate(ANY | {"description": None, "server": None})),
        ("policy", "cannot be read: …", lambda: Policy.from_file("gone.yaml")),
    ],
)  # fmt: skip
def test_what_is_raised(page, heading, work, monkeypatch):
    monkeypatch.delenv("PICTIFY_API_KEY", raising=False)
    with pytest.raises(GuardError) as error:
        work()
    assert heading in sections(str(error.value), page), error.value


def opened(server):
    return guarded_tools({"shop": server}, policy=Policy.model_validate(ANY), store=MemoryStore()).__enter__()
