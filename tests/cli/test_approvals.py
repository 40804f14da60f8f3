"""``guarded-tools approvals``, where no second process is needed. What goes on between processes: tests/approvers."""

import threading
import time

from guarded_tools import Guard, InboxApprover, Policy, ToolCall, Verdict, open_store
from guarded_tools.approvers.inbox import Question, answer, questions
from guarded_tools.state import state_dir
from guarded_tools.values import ApprovalRequest

POLICY = Policy.model_validate(
    {"version": "1", "default": "deny", "tools": {"note": {"risk": "write", "approval": {"remember": "tool"}}}}
)


def test_what_is_remembered_says_whom_the_agent_acts_for(cli):
    for grant in ("ann", "bob", None):
        guard = Guard(POLICY, session="s", grant=grant, approver=lambda _: Verdict.approve("tool"))
        guard.call(ToolCall("note", {}, session="s", grant=grant), lambda args: "ran")
        guard.audit.close()
        guard.store.close()
    listed = cli("approvals", "remembered").out
    sessions = [line.split("│")[4].strip() for line in listed.splitlines() if "note" in line]
    assert sorted(sessions) == ["s", "s, acting for ann", "s, acting for bob"]


def test_what_waits_says_whom_the_agent_acts_for(cli):
    store = open_store(f"disk://{state_dir()}")
    guard = Guard(POLICY, store=store, approver=InboxApprover(store))
    call = ToolCall("note", {}, session="s", grant="ann")
    asking = threading.Thread(target=lambda: guard.call(call, lambda args: "ran"))
    asking.start()
    until = time.monotonic() + 20
    while not (waiting := questions(store)) and time.monotonic() < until:
        time.sleep(0.02)
    listed = cli("approvals").out
    answer(store, waiting[0], Verdict.approve())
    asking.join()
    guard.audit.close()
    store.close()
    assert "s, acting for ann" in listed


def test_a_question_that_draws_on_the_terminal_is_neither_listed_nor_shown(cli):
    store = open_store(f"disk://{state_dir()}")
    evil = "\x1b[2J\x1b[H"
    request = ApprovalRequest("note", {"x": evil}, evil, "d" * 64, evil, reason=evil, grant=evil, description=evil)
    sound = Question.ask(request)
    for question in (sound, sound._replace(id=evil), sound._replace(id="01234567", closes_at=float("inf"))):
        store.put(f"approvals/inbox/{question.id}", question._replace(asker=evil).dump(), 60)
    store.close()
    listed, shown, unknown = cli("approvals"), cli("approvals", "show", sound.id), cli("approvals", "show", evil)
    assert (listed.code, shown.code, unknown.code) == (0, 0, 1)
    assert "\x1b" not in listed.out + shown.out + unknown.out + unknown.err
    assert sound.id in listed.out
    assert "01234567" not in listed.out
