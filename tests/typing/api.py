"""The public API as somebody's type checker sees it. Nothing here runs: mypy and pyright read it, both strict.

Each name that ``guarded_tools`` exports is used as the documentation uses it; a signature that changes shows here before
it shows in users' code.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, assert_type

from langchain_core.tools import BaseTool

from guarded_tools import (
    ApprovalRequest,
    Approver,
    AuditError,
    AuditEvent,
    AuditLog,
    CannotAsk,
    Charge,
    ConnectionFailed,
    Decision,
    Guard,
    GuardError,
    InboxApprover,
    InterruptApprover,
    Lock,
    NotebookApprover,
    Policy,
    PolicyError,
    StateLost,
    Store,
    StoreError,
    TerminalApprover,
    ToolCall,
    ToolDenied,
    ToolInfo,
    Verdict,
    decide,
    deny_all,
    guarded_tools,
    open_store,
    pictify_tools,
    resume_with_buttons,
    withdrawn,
)
from guarded_tools.errors import Problem
from guarded_tools.testing import FrozenClock, ScriptedApprover, ScriptedModel, approve_all, memory_guard
from guarded_tools.values import Usages


def policies(path: str, given: Mapping[str, Any]) -> None:
    policy = Policy.from_file(path)
    assert_type(policy, Policy)
    assert_type(Policy.model_validate(given), Policy)
    decision = decide(policy, ToolCall("t", {"x": 1}, session="s", grant=None, id="1"), schema=None)
    assert_type(decision, Decision)
    assert_type(decision.charges, tuple[Charge, ...])
    assert_type(policy.check_tools([ToolInfo("t"), "u"]), tuple[Problem, ...])
    assert_type(policy.fingerprint, str)


def by_rule(request: ApprovalRequest) -> Verdict | bool:
    if request.args["amount"] > 100:
        return Verdict.reject("too much")
    return True if withdrawn() else Verdict.approve(remember="same", by="ann")


async def from_a_page(request: ApprovalRequest) -> bool:
    return request.risk == "read"


class Desk:
    def __call__(self, request: ApprovalRequest) -> Awaitable[Verdict | bool]:
        return from_a_page(request)


def approvers(store: Store) -> Sequence[Approver]:
    return [
        by_rule,
        from_a_page,
        Desk(),
        deny_all,
        approve_all,
        ScriptedApprover(True, Verdict.edit({"x": 2}), Verdict.respond("done")),
        TerminalApprover(),
        NotebookApprover(),
        InterruptApprover(),
        InboxApprover(store),
    ]


def observe(event: AuditEvent) -> None:
    print(event.kind, event.outcome, event.charges)


def who(config: Mapping[str, Any]) -> str | None:
    found = config.get("user")
    return found if isinstance(found, str) else None


def guards(policy: Policy, tools: Sequence[BaseTool], audit: AuditLog, lock: Lock) -> None:
    guard = Guard(
        policy,
        store="memory://",
        approver=by_rule,
        audit=audit,
        session="s",
        grant=who,
        clock=FrozenClock(),
        on_denied="raise",
        lock=lock,
        observers=[observe],
        state=None,
    )
    Guard({"ann": policy, "bob": "standard"}, grant="ann")
    assert_type(guard.wrap(tools), list[BaseTool])
    assert_type(guard.for_session("t"), Guard)
    assert_type(guard.usage("s"), Usages)
    assert_type(guard.policy, Policy)
    assert_type(guard.explain(ToolCall("t", {})), Decision)
    assert_type(guard.store, Store)
    assert_type(guard.audit, AuditLog)
    assert_type(guard.call(ToolCall("t", {}), len), int)
    guard.middleware()
    guard.fastmcp_middleware(session=lambda context: str(context.client_id))
    guard.fastmcp_middleware()
    guard.reload()


async def calls(guard: Guard) -> None:
    async def body(args: dict[str, Any]) -> list[str]:
        return list(args)

    assert_type(await guard.acall(ToolCall("t", {}), body), list[str])
    assert_type(await guard.ausage("s"), Usages)
    assert_type(await guard.awithdraw("s"), int)
    await guard.areload()


def stores() -> None:
    store = open_store("disk:///tmp/x")
    assert_type(store, Store)
    store.reset("session:s")
    store.close()


async def servers() -> None:
    async with guarded_tools({"files": {"command": "x"}}, policy="policy.json", approver=approve_all) as tools:
        assert_type(tools.guard, Guard)
        for tool in tools:
            assert_type(tool, BaseTool)
    with pictify_tools(policy="standard", sandbox=True, session="s") as pictify:
        assert_type(pictify[0], BaseTool)


def failures(guard: Guard) -> str:
    try:
        guard.call(ToolCall("t", {}), lambda _: None)
    except ToolDenied as denied:
        assert_type(denied.decision, Decision)
        assert_type(denied.outcome, str)
        assert_type(denied.retry_after, float | None)
        return str(denied)
    except PolicyError as error:
        assert_type(error.problems, tuple[Problem, ...])
    except ConnectionFailed as error:
        assert_type(error.sent, bool)
    except (StateLost, StoreError, AuditError, CannotAsk, GuardError) as error:
        return str(error)
    return ""


def users_tests(agent: Any) -> None:
    guard = memory_guard({"version": "1", "default": "deny"}, approver=ScriptedApprover())
    assert_type(guard, Guard)
    ScriptedModel([[("t", {"x": 1})]], last="done")
    clock = FrozenClock()
    clock.advance(60.0)
    resume_with_buttons(agent, {"messages": []}, {"configurable": {"thread_id": "1"}})
