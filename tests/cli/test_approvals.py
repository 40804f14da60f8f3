"""``guarded-tools approvals``, where no second process is needed. What goes on between processes: tests/approvers."""

import json
import threading
import time

import pytest

from guarded_tools import Guard, InboxApprover, Policy, ToolCall, ToolDenied, Verdict, open_store
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


@pytest.fixture
def asking():
    """A guard whose calls wait at its inbox, each in a thread; started as ``asking(session)``."""
    store = open_store(f"disk://{state_dir()}")
    guard = Guard(POLICY, store=store, approver=InboxApprover(store))
    threads = []

    def start(session):
        said = []

        def call():
            with pytest.raises(ToolDenied) as denied:
                guard.call(ToolCall("note", {"n": len(threads)}, session=session), lambda args: "ran")
            said.append(denied.value)

        before = len(questions(store))
        threads.append(threading.Thread(target=call))
        threads[-1].start()
        until = time.monotonic() + 20
        while len(questions(store)) == before and time.monotonic() < until:
            time.sleep(0.02)
        return threads[-1], said

    start.guard = guard
    yield start
    for question in questions(store):
        answer(store, question, Verdict.reject(), wait=0)
    for thread in threads:
        thread.join(20)
    guard.audit.close()
    store.close()


WITHDRAW = {
    "command": lambda cli, guard: cli("approvals", "withdraw", "--session", "s"),
    "guard": lambda cli, guard: guard.withdraw("s"),
    "reset": lambda cli, guard: cli("reset", "--session", "s", "--confirm"),
}


@pytest.mark.parametrize("way", WITHDRAW)
def test_withdrawing_ends_what_a_session_waits_for_and_no_other(cli, asking, way):
    (thread, said), (other, _) = asking("s"), asking("t")
    WITHDRAW[way](cli, asking.guard)
    thread.join(20)
    (denied,) = said
    assert denied.outcome == "unanswered"
    assert "withdrawn" in str(denied)
    assert [question.request.session for question in questions(asking.guard.store)] == ["t"]
    assert other.is_alive()
    lines = [json.loads(line) for line in asking.guard.audit.path.read_text().splitlines()]
    (control,) = [line for line in lines if line["kind"] == "control"]
    assert "session:s" in control["message"]
    assert [line["approval"]["cause"] for line in lines if line["kind"] == "answered"] == ["stray"]


def test_withdrawn_questions_are_no_rejections_and_their_places_are_free(cli, asking):
    for _ in range(7):  # five may be open, and three rejections close a tool
        thread, said = asking("s")
        assert cli("approvals", "withdraw", "--session", "s").out.startswith("1 open questions of s")
        thread.join(20)
        assert "withdrawn" in str(said[0])
    assert cli("approvals", "withdraw", "--session", "s").out.startswith("0 ")


def test_a_reset_of_all_withdraws_the_questions_of_all(cli, asking):
    waiting = [asking("s"), asking("t")]
    assert "2 open questions withdrawn" in cli("reset", "--confirm").out
    for thread, said in waiting:
        thread.join(20)
        assert "withdrawn" in str(said[0])


def test_a_reset_of_a_grant_withdraws_nothing(cli, asking):
    asking("s")
    assert "withdrawn" not in cli("reset", "--grant", "s", "--confirm").out
    assert len(questions(asking.guard.store)) == 1


def test_a_session_that_is_no_text_withdraws_nothing(asking):
    with pytest.raises(TypeError, match="session must be a text"):
        asking.guard.withdraw(None)


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


def test_the_store_may_be_named_before_or_behind_a_command(cli, tmp_path):
    home = str(tmp_path / "elsewhere")
    guard = Guard(POLICY, state=home, session="s", approver=lambda _: Verdict.approve("tool"))
    guard.call(ToolCall("note", {}, session="s"), lambda args: "ran")
    guard.close()
    for words in (("--state", home, "remembered"), ("remembered", "--state", home), ("remembered", f"--state={home}")):
        assert "note" in cli("approvals", *words).out
    assert "No approval" in cli("approvals", "remembered").out
    ran = cli("approvals", "remembered", "--store")
    assert (ran.code, "--store needs a value" in ran.err) == (2, True)
