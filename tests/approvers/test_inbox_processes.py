"""An agent in one process waits, people in others answer; each side is killed, and the audit tells the story."""

import json
import os
import shlex
import signal
import sys
import time
from pathlib import Path

import pexpect
import pytest

from guarded_tools.approvers.inbox import answer, questions
from guarded_tools.stores import open_store
from guarded_tools.values import Verdict
from tests import forked

WAITS = str(Path(__file__).with_name("waits.py"))
COMMAND = [sys.executable, "-m", "guarded_tools.cli", "approvals"]


class Agent:
    """A process that makes one call and waits."""

    def __init__(self, folder, **options):
        self.folder = folder
        options = {"args": {"x": 1}} | options
        self.process = forked.Popen([sys.executable, WAITS, str(folder), json.dumps(options)], stdout=forked.PIPE)
        assert self.process.stdout.readline() == "READY\n"

    def question(self):
        store = open_store(f"disk://{self.folder}")
        until = time.monotonic() + 10
        while time.monotonic() < until:
            waiting = [question for question in questions(store) if question.pid == self.process.pid]
            if waiting:
                return waiting[0].id
            time.sleep(0.02)
        raise AssertionError("no question came")

    def ended(self):
        out, _ = self.process.communicate(timeout=30)
        return json.loads(out)


class Office:
    """Where people sit: runs the command beside the agents."""

    def __init__(self, folder):
        self.folder = folder
        self.agents = []

    def agent(self, **options):
        self.agents.append(Agent(self.folder, **options))
        return self.agents[-1]

    def run(self, *arguments, code=0, **env):
        command = [*COMMAND, "--store", f"disk://{self.folder}", *arguments]
        ended = forked.run(command, stdin=forked.DEVNULL, timeout=30, env={**os.environ, "COLUMNS": "120", **env})
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    def sit(self, *arguments, **env):
        """Run the command at a terminal of its own."""
        command = [*COMMAND, "--store", f"disk://{self.folder}", *arguments]
        env = {**os.environ, **env}
        return pexpect.spawn(command[0], command[1:], encoding="utf-8", timeout=20, dimensions=(50, 100), env=env)

    def watch(self):
        return self.sit("watch")

    def ran(self):
        path = self.folder / "ran"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def story(self):
        lines = [json.loads(line) for line in (self.folder / "audit.jsonl").read_text().splitlines()]
        return [line for line in lines if line["kind"] in ("asked", "answered", "admitted", "settled", "refused")]


@pytest.fixture
def office(tmp_path):
    office = Office(tmp_path / "state")
    office.folder.mkdir(mode=0o700)
    yield office
    for agent in office.agents:
        agent.process.kill()
        agent.process.communicate()


def test_a_human_elsewhere_edits_and_approves_the_edited_call_runs_once_and_the_audit_tells_it_all(office):
    agent = office.agent(args={"x": 1, "keep": "\u202e"})
    question = agent.question()
    listed = office.run()
    assert question in listed
    assert r"\u202e" in listed
    shown = office.run("show", question)
    assert '"x": 1' in shown
    assert "seal " in shown
    said = office.run("edit", question, "--args", '{"x": 7, "keep": "\\u202e"}', "--yes")
    answered = time.time()
    assert '+    "x": 7' in said.replace('+  "x"', '+    "x"')
    assert "the agent goes on with it" in said
    ended = agent.ended()
    assert ended["said"] == "ran"
    assert ended["ended"] - answered < 0.5
    assert office.ran() == [{"x": 7, "keep": "\u202e"}]
    assert office.run() == "No question waits.\n"
    asked, heard, admitted, settled = office.story()
    assert (asked["kind"], heard["kind"], admitted["kind"], settled["kind"]) == (
        "asked",
        "answered",
        "admitted",
        "settled",
    )
    assert heard["approval"]["verdict"] == "edit"
    assert heard["approval"]["edited"] == ["args.x"]
    user, _, host = heard["approval"]["by"].partition("@")
    assert user
    assert host == os.uname().nodename
    assert heard["human_ms"] > 0
    assert len({line["key"] for line in (asked, heard, admitted, settled)}) == 1
    assert settled["outcome"] == "ok"


def test_approve_and_reject_by_the_first_letters_of_the_id(office):
    first = office.agent()
    office.run("approve", first.question()[:6], "--yes")
    assert first.ended()["said"] == "ran"
    second = office.agent()
    office.run("reject", second.question(), "--message", "not today")
    assert "not today" in second.ended()["said"]
    third = office.agent()
    office.run("respond", third.question(), "--message", "forty-two")
    assert third.ended()["said"] == "responded: forty-two"
    assert len(office.ran()) == 1


def test_an_empty_id_answers_nothing(office):
    agent = office.agent()
    question = agent.question()
    said = office.run("approve", "", "--yes", code=2)  # as of a script whose variable was never set
    assert said == f"error: an empty ID names no question; those that wait: {question}\n"
    assert office.ran() == []


def test_at_a_terminal_one_sees_it_and_confirms_or_not(office, tmp_path):
    agent = office.agent()
    question = agent.question()
    at = office.sit("approve", question)
    at.expect('"x": 1')
    at.expect("approve this once.*> ")
    at.send("n\r")
    at.expect("nothing was answered")
    at.close()
    (tmp_path / "editor").write_text(f"#!{sys.executable}\nimport sys\nopen(sys.argv[1], 'w').write('{{\"x\": 2}}')\n")
    (tmp_path / "editor").chmod(0o700)
    at = office.sit("edit", question, EDITOR=str(tmp_path / "editor"))
    at.expect(r'\+ +"x": 2')
    at.expect("run it with these arguments.*> ")
    at.send("y\r")
    at.expect("the agent goes on with it")
    assert agent.ended()["said"] == "ran"
    assert office.ran() == [{"x": 2}]
    at.close()


@pytest.mark.parametrize("command", [["approve"], ["edit", "--args", '{"x": 9}']], ids=lambda words: words[0])
def test_what_was_typed_before_the_question_stood_there_confirms_nothing(office, command):
    agent = office.agent(timeout=60)
    go = office.folder / "go"
    words = [*COMMAND, "--store", f"disk://{office.folder}", command[0], agent.question(), *command[1:]]
    waits = f"until [ -e {go} ]; do sleep 0.01; done; exec {shlex.join(words)}"
    at = pexpect.spawn("sh", ["-c", waits], encoding="utf-8", timeout=20, dimensions=(50, 100))
    at.send("y\ry\r")  # while the command has not begun
    at.expect_exact("y\r\ny\r\n")  # what the terminal echoes, it has
    go.touch()
    at.expect("y or n .*> ")
    at.expect(r"y or n \[\d+:\d\d\] > ")  # the prompt is drawn anew each second: it still waits
    assert office.ran() == []
    at.send("\r")
    at.expect("nothing was answered")
    at.close()
    office.run("reject", agent.question())
    agent.ended()
    assert office.ran() == []


def test_the_question_to_confirm_is_shown_where_it_is_answered(office):
    """Not in the file that standard output goes to, unseen."""
    agent = office.agent(args={"x": 4711}, timeout=60)
    words = [*COMMAND, "--store", f"disk://{office.folder}", "approve", agent.question()]
    at = pexpect.spawn("sh", ["-c", f"{shlex.join(words)} > {office.folder}/said"], encoding="utf-8", timeout=20)
    at.expect("4711")
    at.expect("approve this once.*> ")
    at.send("yes\r")
    at.expect(pexpect.EOF)
    at.close()
    assert agent.ended()["said"] == "ran"


def test_ctrl_c_confirms_nothing(office):
    agent = office.agent(timeout=60)
    at = office.sit("approve", agent.question())
    at.expect("y or n .*> ")
    at.send("y\x03")
    at.expect(pexpect.EOF)
    at.close()
    assert at.exitstatus != 0
    office.run("reject", agent.question())
    assert agent.ended()["said"].startswith("rejected")


def test_the_end_of_its_time_confirms_nothing(office):
    agent = office.agent(timeout=8)
    at = office.sit("approve", agent.question())
    at.expect("y or n .*> ")
    at.send("y")
    at.expect("nothing was answered: nobody answered in time")
    at.close()
    assert agent.ended()["said"].startswith("unanswered")


def test_a_seal_that_still_holds_answers_what_was_shown(office):
    agent = office.agent()
    question = agent.question()
    seal = office.run("show", question).split("seal ")[1].strip()
    office.run("approve", question, "--seal", seal)
    assert agent.ended()["said"] == "ran"


def test_waiting_costs_nothing_and_needs_nobody(office):
    agent = office.agent(timeout=1)
    ended = agent.ended()
    assert ended["said"].startswith("unanswered")
    assert ended["busy"] < 0.2
    assert office.ran() == []
    assert office.run() == "No question waits.\n"


def test_an_agent_that_was_killed_leaves_a_question_that_expires_and_runs_nothing(office):
    agent = office.agent(timeout=6)
    question = agent.question()
    agent.process.send_signal(signal.SIGKILL)
    agent.process.wait()
    assert question in office.run()
    said = office.run("approve", question, "--yes", code=1)
    assert "nobody picked the answer up yet" in said
    until = time.monotonic() + 30
    while question in office.run() and time.monotonic() < until:
        time.sleep(0.2)
    assert office.run() == "No question waits.\n"
    assert office.ran() == []


@pytest.mark.parametrize("answered_first", [True, False])
def test_a_call_that_is_made_again_takes_up_the_question_of_its_killed_process(office, answered_first):
    killed = office.agent(timeout=60)
    question = killed.question()
    killed.process.send_signal(signal.SIGKILL)
    killed.process.wait()
    if answered_first:
        assert "nobody picked the answer up yet" in office.run("approve", question, "--yes", code=1)
    assert office.agent(args={"x": 2}, timeout=60).question() != question
    again = office.agent(timeout=60)
    if not answered_first:
        office.run("approve", question, "--yes")
    assert again.ended()["said"] == "ran"
    assert office.ran() == [{"x": 1}]
    assert [line["kind"] for line in office.story()].count("admitted") == 1


def test_an_answering_process_that_was_killed_leaves_the_question_to_others(office):
    agent = office.agent()
    question = agent.question()
    watcher = office.watch()
    watcher.expect("your answer")
    watcher.send("a")  # typed, but not confirmed
    watcher.kill(signal.SIGKILL)
    watcher.close()
    office.run("approve", question, "--yes")
    assert agent.ended()["said"] == "ran"
    assert office.ran() == [{"x": 1}]


def test_watch_shows_each_question_reads_the_answer_and_closes_what_others_answered(office):
    first = office.agent(args={"x": 1})
    one, other = office.watch(), office.watch()
    try:
        one.expect(f"question {first.question()}")
        one.expect('"x": 1')
        one.expect("your answer.*> ")
        other.expect("your answer.*> ")
        one.send("r\r")
        one.expect("why.*> ")
        one.send("no thanks\r")
        assert "no thanks" in first.ended()["said"]
        other.expect("is closed: reject by")
        second = office.agent(args={"x": 2})
        for watch in (one, other):
            watch.expect('"x": 2')
            watch.expect("your answer.*> ")
        other.send("a\r")
        assert second.ended()["said"] == "ran"
        one.expect("is closed: approve by")
        one.send("\x03")
        one.expect(pexpect.EOF)
        one.close()
        assert one.exitstatus == 0
    finally:
        one.close(force=True)
        other.close(force=True)


def test_watch_asks_again_about_a_question_whose_edit_the_agent_did_not_accept(office):
    agent = office.agent(args={"x": 1}, rule={"deny_if": [{"path": "args.x", "op": "gt", "value": 100}]})
    watcher = office.sit("watch", VISUAL="", EDITOR="")
    try:
        watcher.expect("your answer.*> ")
        watcher.send("e\r")
        watcher.expect("JSON object.*> ")
        watcher.send('\x15{"x": 999}\r')
        watcher.expect("go back.*> ")
        watcher.send("y\r")
        watcher.expect("does not accept it: .*more than 100")
        watcher.expect(f"question {agent.question()}")
        watcher.expect("your answer.*> ")
        watcher.send("a\r")
        assert agent.ended()["said"] == "ran"
        assert office.ran() == [{"x": 1}]
    finally:
        watcher.close(force=True)


def test_watch_asks_again_about_a_question_whose_edit_by_another_was_not_accepted(office):
    agent = office.agent()
    store = open_store(f"disk://{office.folder}")
    watcher = office.watch()
    try:
        watcher.expect("your answer.*> ")
        agent.process.kill()  # what it does with such an edit is done below
        (question,) = questions(store)
        assert answer(store, question, Verdict.edit({"x": 999}), wait=0).kind == "unclaimed"
        watcher.expect("is closed: edit by")
        store.take(f"approvals/answer/{question.id}")
        watcher.expect(f"question {question.id}")
        watcher.expect("your answer.*> ")
    finally:
        watcher.close(force=True)


def test_watch_without_a_terminal_ends_at_once_and_says_how_to_answer(office):
    said = office.run("watch", code=2)
    assert said.startswith("error: there is no terminal")
    assert "guarded-tools approvals approve ID" in said
    assert said.count("\n") == 1


def test_the_second_to_answer_is_told_who_was_first(office):
    agent = office.agent()
    question = agent.question()
    office.run("approve", question, "--yes")
    said = office.run("reject", question, code=1)
    assert "it was answered: approve by" in said
    agent.ended()


def test_an_answer_is_to_what_was_shown(office):
    agent = office.agent()
    question = agent.question()
    seal = office.run("show", question).split("seal ")[1].strip()
    store = open_store(f"disk://{office.folder}")
    key = f"approvals/inbox/{question}"
    record = json.loads(store.get(key))
    record["request"]["args"] = {"x": 9_999}
    store.put(key, json.dumps(record).encode(), 60)
    assert "altered" in office.run("approve", question, "--seal", seal, code=1)
    assert "altered" in office.run("approve", question, "--yes", code=1)
    assert agent.ended()["said"].startswith("unanswered")
    assert office.ran() == []
    assert office.story()[1]["approval"]["cause"] == "changed"


def test_nobody_there_to_confirm_answers_nothing(office):
    agent = office.agent()
    question = agent.question()
    assert "pass --seal, or pass --yes" in office.run("approve", question, code=2)
    assert "not accepted" in office.run("edit", question, "--args", '{"x": 1, "x": 2}', "--yes", code=1)
    assert "set EDITOR" in office.run("edit", question, code=2, EDITOR="", VISUAL="")
    assert "did not work" in office.run("edit", question, code=2, EDITOR="/no/such/editor", VISUAL="")
    assert "no question zz waits" in office.run("show", "zz", code=1)
    assert "not ever" in office.run("approve", question, "--remember", "ever", "--yes", code=1)
    assert question in office.run()


def test_the_list_masks_secrets(office):
    secret = "ghp_" + "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9v"
    agent = office.agent(session=f"for {secret}")
    question = agent.question()
    listed = office.run(COLUMNS="300")
    assert secret not in listed
    assert "for ghp_***" in listed
    office.run("reject", question)
    agent.ended()


def test_remembered_approvals_are_listed_and_revoked(office):
    agent = office.agent()
    office.run("approve", agent.question(), "--remember", "tool", "--yes")
    assert agent.ended()["said"] == "ran"
    covered = office.agent(args={"x": 5})
    assert covered.ended()["said"] == "ran"
    listed = office.run("remembered")
    assert "ANY arguments" in listed
    entry = next(word for word in listed.split() if len(word) == 10 and all(c in "0123456789abcdef" for c in word))
    office.run("remembered", "--revoke", entry)
    assert "No approval is remembered" in office.run("remembered")
    assert "no approval" in office.run("remembered", "--revoke", entry, code=1)
    asked_again = office.agent(args={"x": 6})
    office.run("reject", asked_again.question())
    assert asked_again.ended()["said"].startswith("rejected")
