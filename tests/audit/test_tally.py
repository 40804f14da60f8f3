"""What a page asks of a long log: its calls counted by the minute, and one call's story, without reading it all."""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarded_tools.audit import AuditLog, read, when
from guarded_tools.audit.summary import OPEN, JoinedCalls, calls
from guarded_tools.audit.tail import story
from guarded_tools.audit.tally import tally
from guarded_tools.values import AuditEvent
from tests.audit.test_tail import START, entries, make, plain

EVERYTHING = 2**40


def counted(path, **options):
    """All that is counted, and how far it reaches in the end."""
    minutes = {}
    tallies = list(tally(path, **{"since": 0.0, "before": EVERYTHING, "most_bytes": EVERYTHING} | options))
    for some in tallies:
        for minute, outcomes in some.minutes.items():
            minutes.setdefault(minute, Counter()).update(outcomes)
    return minutes, tallies[-1].reach


@settings(max_examples=60, deadline=None)
@given(entries, st.integers(0, 30), st.sampled_from([1, 7, 64, 300, 4096]))
def test_what_is_looked_at_is_what_is_read(found, before, block):
    with TemporaryDirectory() as name:
        path, _ = make(Path(name), found, torn=b'{"seq":1,"time')
        expected = {}
        for record in plain(path):
            if record["seq"] < before and record.get("kind") in {"settled", "refused"}:
                minute = expected.setdefault(int(when(record) // 60), Counter())
                minute[str(record.get("outcome", ""))] += 1
        minutes, reach = counted(path, before=before, block=block)
        assert {minute: one for minute, one in minutes.items() if one} == expected
        assert reach is None


@pytest.fixture
def day(tmp_path):
    """A call a minute for a day, the last one at the end of it."""
    times = iter(range(1, 1_441))
    with AuditLog(tmp_path / "audit.jsonl", clock=lambda: START + 60 * next(times), max_bytes=40_000) as log:
        for number in range(1_440):
            log.write(AuditEvent("refused", 'a "t', session="\\", outcome="denied", key=str(number)))
    return tmp_path / "audit.jsonl"


def test_no_more_is_looked_at_than_asked_for(day):
    end = START + 60 * 1_440
    minutes, reach = counted(day, since=end - 3_600, block=1_000)
    assert (sum(one.total() for one in minutes.values()), reach) == (61, None)
    minutes, reach = counted(day, most_bytes=10_000)
    assert 10 < sum(one.total() for one in minutes.values()) < 100
    assert reach == min(minutes)


@settings(max_examples=60, deadline=None)
@given(entries, st.sampled_from(["a", "b", "café", 'say "x"', "back\\slash", "a b"]), st.sampled_from([1, 7, 64, 4096]))
def test_a_story_is_all_that_a_full_pass_finds(found, key, block):
    as_logged = [(one if isinstance(one, bytes) else (one[0], "log"), *rest) for one, *rest in found]
    with TemporaryDirectory() as name:
        path, _ = make(Path(name), as_logged, torn=b"")
        expected = [record for record in plain(path) if record.get("key") == key]
        assert story(path, key, most_bytes=EVERYTHING, block=block) == sorted(expected, key=lambda one: one["seq"])


def test_a_story_begins_before_the_run_was_resumed(tmp_path):
    with AuditLog(tmp_path / "audit.jsonl") as log:
        for kind, key, call in (
            ("asked", "first", "call-1"),
            ("admitted", "other", "call-2"),
            ("asked", "second", "call-1"),
            ("answered", "second", "call-1"),
            ("admitted", "second", "call-1"),
            ("settled", "second", "call-1"),
            ("refused", "third", "call-1"),  # a model that uses its id again
            ("asked", "fourth", "call-1"),
        ):
            log.write(AuditEvent(kind, "t", session="s", key=key, call_id=call))
        log.write(AuditEvent("asked", "t", session="another", key="fifth", call_id="call-1"))
    found = story(log.path, "second", most_bytes=EVERYTHING)
    assert [record["key"] for record in found] == ["first", *["second"] * 4]
    assert [record["key"] for record in story(log.path, "third", most_bytes=EVERYTHING)] == ["third"]
    assert story(log.path, "second", most_bytes=1) == []


def test_calls_are_joined_as_they_come(tmp_path):
    with AuditLog(tmp_path / "audit.jsonl") as log:
        for number in range(6):
            log.write(AuditEvent("admitted", "t", session="s", key=str(number)))
        log.write(AuditEvent("settled", "t", session="s", key="2", outcome="ok"))
        log.write(AuditEvent("asked", "t", session="s", key="0"))
    joined, ended = JoinedCalls(), []
    for at, record in enumerate(read(log.path), 1):
        row = joined.add(record)
        ended += [] if row is None else [row]
        # At any time it is what those that came make together.
        assert [*ended, *joined.open()] == list(calls(list(read(log.path))[:at]))
    assert [row.outcome for row in joined.open()] == [OPEN] * 5
    joined.forget(5)
    assert [row.key for row in joined.open()] == ["0", "4", "5"]
