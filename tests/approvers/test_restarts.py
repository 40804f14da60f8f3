"""A run that waits for approval outlives its process: with a SQLite checkpointer, a store on disk, and kill -9."""

import json
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import forked

SCRIPT = str(Path(__file__).with_name("restarts.py"))
APPROVE, REJECT = {"type": "approve"}, {"type": "reject"}


class Lives:
    def __init__(self, folder, *calls):
        self.folder = folder
        self.calls = json.dumps(calls)

    def live(self, *resume, dies=False):
        """Start a process that begins the run, or resumes it; return what it said."""
        command = [sys.executable, SCRIPT, str(self.folder), self.calls, *map(json.dumps, resume)]
        ended = forked.run(command, timeout=60)
        if dies:
            assert ended.returncode == -signal.SIGKILL, ended.stderr
            return None
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    def last_line(self):
        return json.loads((self.folder / "audit.jsonl").read_text().splitlines()[-1])

    def ran(self):
        path = self.folder / "ran"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def lives(tmp_path):
    return lambda *calls: Lives(tmp_path, *calls)


def by_x(said):
    return {x: interrupt for interrupt, x in said["pending"].items()}


def test_asks_are_answered_in_later_lives_in_any_order_count_once_and_run_once(lives):
    run = lives({"x": 1}, {"x": 2}, {"x": 3})
    asked = by_x(run.live())
    assert run.ran() == []
    said = run.live({asked[3]: APPROVE})
    assert run.ran() == ["3"]
    assert set(by_x(said)) == {1, 2}
    said = run.live({asked[1]: REJECT, asked[2]: {"type": "edit", "edited_action": {"name": "t", "args": {"x": 20}}}})
    assert run.ran() == ["3", "20"]
    assert said["pending"] == {}
    assert said["answers"]["call_0"].startswith("DENIED")
    assert list(said["used"].values()) == [2]


def test_a_call_that_was_killed_in_the_middle_does_not_run_again(lives):
    run = lives({"x": 1, "die": True})
    run.live()
    run.live(APPROVE, dies=True)
    assert run.ran() == ["1"]
    said = run.live(APPROVE)
    assert run.ran() == ["1"]
    told = said["answers"]["call_0"]
    assert told.startswith("UNKNOWN OUTCOME: t may have taken effect.")
    assert "began to run" in told
    assert "before you call it again" in told
    assert "did not run" not in told
    assert run.last_line()["outcome"] == "unknown"
    assert run.last_line()["kind"] == "refused"
    assert list(said["used"].values()) == [1]


def test_a_call_that_was_killed_after_it_had_paused_may_have_taken_effect_too(lives):
    run = lives({"x": 1, "die": True, "pause": True})
    run.live()
    run.live(APPROVE)
    assert run.ran() == []
    run.live("yes", dies=True)
    assert run.ran() == ["1"]
    said = run.live("yes")
    assert run.ran() == ["1"]
    assert said["answers"]["call_0"].startswith("UNKNOWN OUTCOME")
    assert list(said["used"].values()) == [1]


def test_a_call_whose_result_was_lost_with_its_process_is_not_told_to_be_done_once_more(lives):
    run = lives({"x": 1})
    run.live()
    late = run.folder / "late"
    late.touch()
    run.live(APPROVE, dies=True)
    late.unlink()
    said = run.live(APPROVE)
    assert run.ran() == ["1"]
    assert said["answers"]["call_0"].startswith("UNKNOWN OUTCOME")
    assert "ran to its end" in said["answers"]["call_0"]
    assert "once more" not in said["answers"]["call_0"]


def test_one_answer_given_by_two_processes_at_once_runs_once(lives):
    run = lives({"x": 1})
    run.live()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: run.live(APPROVE), range(2)))
    assert run.ran() == ["1"]
