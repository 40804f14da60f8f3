"""What a human approved is what runs, whatever was tried while they looked."""

import asyncio

import pytest
from langchain_core.tools import StructuredTool, tool

from guarded_tools import AuditLog, Guard, Policy, Verdict, open_store

POLICY = Policy.model_validate({"version": "1", "default": "deny", "tools": {"pay": {"approval": True}}})
SCHEMA = {"type": "object", "properties": {"amount": {"type": "number"}}, "required": ["amount"]}


def tools(ran):
    @tool
    def pay(amount: float) -> str:
        """Pay."""
        ran.append(amount)
        return "paid"

    def note(amount):
        ran.append(amount)
        return "paid"

    async def apay(amount):
        ran.append(amount)
        return "paid"

    return {
        "pydantic": pay,
        "dict": StructuredTool(name="pay", description="Pay.", args_schema=SCHEMA, func=note, coroutine=apay),
    }


@pytest.fixture(params=["pydantic", "dict"])
def kind(request):
    return request.param


@pytest.fixture(params=["sync", "async"])
def pay(request, kind, tmp_path):
    def pay(approver):
        ran = []
        guard = Guard(POLICY, store=open_store("memory://"), audit=AuditLog(tmp_path / "a.jsonl"), approver=approver)
        [guarded] = guard.wrap([tools(ran)[kind]])
        if request.param == "sync":
            guarded.invoke({"amount": 1})
        else:
            asyncio.run(guarded.ainvoke({"amount": 1}))
        return ran

    return pay


def test_an_edit_that_was_only_tried_does_not_run(pay):
    def approver(request):
        assert request.check_edit({"amount": 9999}) == ""
        return True

    assert pay(approver) == [1]


def test_the_edit_that_was_decided_runs_not_the_last_one_tried(pay):
    def approver(request):
        for amount in (7, 9999):
            request.check_edit({"amount": amount})
        return Verdict.edit({"amount": 7})

    assert pay(approver) == [7]


def test_an_edit_tried_after_the_answer_changes_nothing(pay):
    kept = []

    def approver(request):
        kept.append(request)
        return Verdict.edit({"amount": 7.0})

    assert pay(approver) == [7.0]
    kept[0].check_edit({"amount": 1})


def test_a_refused_edit_that_was_tried_leaves_the_call_as_it_was(pay):
    def approver(request):
        assert request.check_edit({"amount": "a lot"})
        assert request.check_edit({})
        return True

    assert pay(approver) == [1]
