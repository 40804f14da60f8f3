"""Reading back: filters, following, calls joined from their records, and CSV."""

import csv
import io
import itertools
import sys
import threading
import time

import pyarrow.parquet as pq
import pytest

from guarded_tools.audit import Filter, export, export_calls, follow, parquet, read, when
from guarded_tools.audit.read import FIELDS
from guarded_tools.audit.refusals import MOST_SESSIONS, summarise
from guarded_tools.audit.rotation import rotated
from guarded_tools.audit.shown import refused, why
from guarded_tools.audit.summary import EXPIRED, OPEN, JoinedCalls, calls
from guarded_tools.audit.tail import latest_calls
from guarded_tools.errors import GuardError
from guarded_tools.pipeline.messages import used_up
from guarded_tools.values import AuditEvent, Charge, Full


@pytest.fixture
def some(make_log, path):
    log = make_log()
    for event in (
        AuditEvent("admitted", tool="list", session="a", key="1"),
        AuditEvent("settled", tool="list", session="a", key="1", outcome="ok", tool_ms=5.0),
        AuditEvent("refused", tool="delete_it", session="a", key="2", outcome="denied", rule="(hidden)", message="no"),
        AuditEvent("refused", tool="delete_it", session="b", key="3", outcome="denied", rule="(hidden)", message="no"),
        AuditEvent("shadow", tool="list", session="b", key="4", outcome="denied", rule="/x"),
        AuditEvent("control", rule="(reload)", outcome="ok"),
    ):
        log.write(event)
    return path


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"session": "a"}, [1, 2, 3]),
        ({"session": ""}, []),
        ({"tool": "list"}, [1, 2, 5]),
        ({"tool": "delete_*"}, [3, 4]),
        ({"tool": "delete"}, []),
        ({"outcome": "denied"}, [3, 4, 5]),
        ({"kind": "control"}, [6]),
        ({"since": 1_700_000_003.0}, [3, 4, 5, 6]),
        ({"shadow": True}, [5]),
        ({"shadow": False}, [1, 2, 3, 4, 6]),
        ({"session": "b", "shadow": False}, [4]),
    ],
)
def test_filters(some, wanted, numbers):
    assert [record["seq"] for record in read(some, **wanted)] == numbers


def test_a_records_time_is_read_back(some):
    assert when(next(read(some))) == 1_700_000_001.0
    assert when({"time": "yesterday"}) == when({}) == 0.0


def test_lines_that_are_no_records_are_passed_over(some):
    with some.open("ab") as file:
        file.write(b'\n[]\n{"seq":"x"}\nnull\n{"a":1}\n\xff\xfe\n' + b"[" * 100_000 + b"\n")
    assert len(list(read(some))) == 6


def test_no_file_reads_as_nothing(path):
    assert list(read(path)) == []


# Following


def collect(path, count, *args, **options):
    """Follow in a thread until ``count`` records came; returns what stands between and a way to wait for it."""
    found, standing, done = [], threading.Event(), threading.Event()

    def stop():
        standing.set()  # asked once the follower has its place
        return done.is_set()

    def work():
        for record in follow(path, *args, poll=0.01, stop=stop, **options):
            found.append(record["seq"])
            if len(found) == count:
                done.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert standing.wait(10)

    def wait():
        thread.join(10)
        assert not thread.is_alive()
        return found

    return wait


def test_following_begins_with_what_is_written_from_now_on(some, make_log, event):
    wait = collect(some, 2)
    log = make_log()
    log.write(event(7))
    log.write(event(8))
    assert wait() == [7, 8]


def test_following_begins_before_there_is_a_file(path, make_log, event):
    wait = collect(path, 2)
    log = make_log()
    log.write(event(1))
    log.write(event(2))
    assert wait() == [1, 2]


def test_following_runs_over_several_rotations_at_once(path, make_log, event):
    log = make_log(max_bytes=600)
    log.write(event(0))
    wait = collect(path, 40)
    for number in range(40):
        log.write(event(number))
    assert wait() == list(range(2, 42))


def test_following_behind_a_record_misses_none(path, make_log, event):
    log = make_log(max_bytes=600)
    for number in range(20):
        log.write(event(number))
    wait = collect(path, 13, after=8)
    log.write(event(20))
    assert wait() == list(range(9, 22))


@pytest.mark.parametrize("after", [None, 0, 2, 5])
@pytest.mark.parametrize("looks", [1, 2, 3])
@pytest.mark.parametrize(("before", "behind"), [(1, 0), (0, 1), (0, 2), (1, 1), (2, 2), (3, 0), (0, 3)])
def test_rotations_while_the_files_are_listed_lose_nothing(
    monkeypatch, path, make_log, event, after, looks, before, behind
):
    log = make_log(max_bytes=1)  # a file for each record
    for number in range(4):
        log.write(event(number))
    listed = 0

    def rotating(current):
        nonlocal listed
        listed += 1
        for number in range(before * (listed <= looks)):
            log.write(event(number))
        found = rotated(current)
        for number in range(behind * (listed <= looks)):
            log.write(event(number))
        return found

    monkeypatch.setitem(follow.__globals__, "rotated", rotating)
    rounds = itertools.count()
    records = follow(path, after=after, poll=0, stop=lambda: next(rounds) == 50)
    found = [record["seq"] for record in records]
    end = 4 + min(listed, looks) * (before + behind)
    begin = found[0] if after is None and found else (after or 0) + 1
    assert found == list(range(begin, end + 1))


def test_a_name_that_is_gone_between_two_files_is_no_error(path, make_log, event):
    log = make_log(max_bytes=1)
    for number in range(3):
        log.write(event(number))
    path.rename(f"{path}.3")  # as in the middle of a rotation
    for after, expected in ((None, []), (0, [1, 2, 3]), (1, [2, 3])):
        assert [record["seq"] for record in follow(path, after=after, poll=0, stop=lambda: True)] == expected


def test_following_filters(some, make_log, event):
    wait = collect(some, 1, Filter(session="wanted"))
    log = make_log()
    log.write(event(7, session="other"))
    log.write(event(8, session="wanted"))
    assert wait() == [8]


def test_half_a_line_is_not_delivered(some):
    with some.open("rb") as file:
        line = file.readline()
    wait = collect(some, 1)
    with some.open("ab", buffering=0) as file:
        file.write(line[:50])
        time.sleep(0.05)
        file.write(line[50:])
    assert wait() == [1]


# Calls


def test_calls_are_joined_and_refusals_grouped(some):
    found = summarise(calls(read(some)))
    assert found.outcomes == {"ok": 1, "denied": 2}
    assert [(row.sessions, row.tool, row.times, row.rule) for row in found.refusals] == [
        (2, "delete_it", 2, "(hidden)")
    ]
    by_session = summarise(calls(read(some)), by_session=True).refusals
    assert [(row.session, row.sessions, row.tool, row.times, row.rule) for row in by_session] == [
        ("a", 1, "delete_it", 1, "(hidden)"),
        ("b", 1, "delete_it", 1, "(hidden)"),
    ]
    ok = found.latest[0]
    assert (ok.tool, ok.time, ok.ended, ok.tool_ms) == ("list", 1_700_000_001.0, 1_700_000_002.0, 5.0)


def full(used, amount, *, most=9, message=""):
    return used_up(Full(Charge("session:s", "s/t/rate", amount, most, 60, "/rate", message), used, 1.0))


def test_the_most_frequent_refusal_comes_first_whatever_was_used(make_log, path):
    log = make_log()
    for number, (tool, used) in enumerate((("a", 9), ("b", 7), ("b", 8), ("b", 9))):
        said = full(used, 3 if used < 9 else 1)
        log.write(AuditEvent("refused", tool=tool, key=str(number), outcome="limited", message=said))
    rows = summarise(calls(read(path))).refusals
    assert [(row.tool, row.times) for row in rows] == [("b", 3), ("a", 1)]
    assert "9 used" in rows[0].message
    assert rows[0].last - rows[0].first == 2


def test_what_is_told_of_several_reasons_says_that_there_are_others(make_log, path):
    log = make_log()
    reasons = ["not on sundays", "not for bob", "not for bob", "order 1", "order 2"]
    for number, message in enumerate(reasons):
        log.write(AuditEvent("refused", tool="t", key=f"d{number}", outcome="denied", rule="/r", message=message))
    for number, message in enumerate((full(9, 1), full(9, 1, most=8), full(9, 1, message="no more"))):
        log.write(AuditEvent("refused", tool="t", key=f"l{number}", outcome="limited", rule="/r", message=message))
    rows = summarise(calls(read(path))).refusals
    assert [(row.outcome, row.times, row.messages) for row in rows] == [("denied", 5, 2), ("limited", 3, 2)]
    assert why(rows[0]) == "order 2 (and for other reasons)"


def test_the_counts_of_a_limit_are_no_other_reason(make_log, path):
    log = make_log()
    for number, message in enumerate((full(9, 1), full(8, 2))):
        log.write(AuditEvent("refused", tool="t", key=f"l{number}", outcome="limited", rule="/r", message=message))
    (row,) = summarise(calls(read(path))).refusals
    assert (row.times, why(row)) == (2, full(8, 2))


def refused_call(number, session="s", tool="t"):
    return {"kind": "refused", "outcome": "denied", "session": session, "tool": tool, "key": str(number)}


def test_a_hundred_thousand_sessions_are_one_row_and_kept_as_a_number():
    rows = summarise(calls(refused_call(number, f"s{number}") for number in range(5_000))).refusals
    assert [(row.times, row.sessions) for row in rows] == [(5_000, MOST_SESSIONS)]
    assert refused(rows[0]) == ("1,000 sessions or more",)


def test_kinds_without_number_are_forgotten_but_for_the_frequent(monkeypatch):
    monkeypatch.setattr("guarded_tools.audit.refusals.MOST_KINDS", 20)
    made = (refused_call(number, tool="often" if number % 3 == 0 else f"t{number}") for number in range(600))
    kinds = summarise(calls(made)).refusals
    assert (kinds[0].tool, kinds[0].times) == ("often", 200)
    assert len(kinds) <= 20


def test_open_calls_stand_at_their_time_among_the_latest(make_log, path):
    log = make_log()
    for number in range(30):
        log.write(AuditEvent("admitted", tool="t", key=f"open{number}"))
    for number in range(30):
        log.write(AuditEvent("refused", tool="t", key=f"later{number}", outcome="denied"))
    assert {row.key[:5] for row in summarise(calls(read(path))).latest} == {"later"}


def test_a_timeout_and_an_altered_question_are_two_kinds_of_refusal(make_log, path):
    log = make_log()
    for number, cause in enumerate(("timeout", "changed", "human", "remembered")):
        approval = {"verdict": "reject", "cause": cause}
        log.write(AuditEvent("refused", tool="t", key=str(number), outcome="unanswered", approval=approval))
    rows = summarise(calls(read(path))).refusals
    # What was remembered is an answer: not it refused the call.
    assert [(row.ended, row.times) for row in rows] == [
        ("unanswered", 2),
        ("unanswered (timeout)", 1),
        ("unanswered (changed)", 1),
    ]


def test_what_was_admitted_and_never_settled_stays_open(make_log, path):
    log = make_log()
    log.write(AuditEvent("admitted", tool="t", key="1"))
    log.write(AuditEvent("asked", tool="u", key="2"))
    assert [(row.tool, row.outcome, row.asked) for row in calls(read(path))] == [("t", OPEN, False), ("u", OPEN, True)]


def test_a_question_that_nobody_answered_says_so_once_it_has_expired(make_log, path):
    log = make_log()
    log.write(AuditEvent("asked", tool="u", key="1", timeout=600.0))
    log.write(AuditEvent("asked", tool="a", key="2", timeout=600.0))
    log.write(AuditEvent("answered", tool="a", key="2"))
    asked = 1_700_000_001.0
    for later, outcome in ((599, OPEN), (600, EXPIRED)):
        rows = {row.key: row.outcome for row in calls(read(path), now=asked + later)}
        assert rows == {"1": outcome, "2": OPEN}
        latest = latest_calls(path, Filter(outcome=outcome), now=asked + later)
        assert [row.key for row in latest] == (["1"] if outcome == EXPIRED else ["1", "2"])
    joined = JoinedCalls()
    for record in read(path):
        joined.add(record)
    assert [next(row.outcome for row in joined.open(asked + later)) for later in (0, 600)] == [OPEN, EXPIRED]


def test_a_call_that_a_human_answered_says_who_and_how_long(make_log, path):
    log = make_log()
    said = {"verdict": "reject", "by": "ann"}
    log.write(AuditEvent("asked", tool="t", key="1"))
    log.write(AuditEvent("answered", tool="t", key="1", approval=said, human_ms=2000.0))
    log.write(AuditEvent("refused", tool="t", key="1", outcome="rejected", approval=said, human_ms=2000.0))
    (row,) = calls(read(path))
    assert (row.asked, row.answer, row.answered_by, row.human_ms) == (True, "reject", "ann", 2000.0)


def test_a_call_that_waited_in_a_checkpoint_is_one_call(make_log, path):
    log = make_log()
    for key in ("1", "2"):
        log.write(AuditEvent("asked", tool="t", session="s", key=key, call_id="c"))
    log.write(AuditEvent("admitted", tool="t", session="s", key="3", call_id="c"))
    log.write(AuditEvent("settled", tool="t", session="s", key="3", call_id="c", outcome="ok"))
    (row,) = calls(read(path))
    assert (row.outcome, row.asked, row.time) == ("ok", True, 1_700_000_001.0)


def test_shadow_calls_are_apart(some):
    assert [(row.session, row.outcome) for row in calls(read(some), shadow=True)] == [("b", "denied")]


def test_a_tampered_record_breaks_no_reader():
    record = {"seq": 1, "kind": "settled", "outcome": ["x"], "session": {}, "call_id": [], "guard_ms": "fast"}
    (row,) = calls([record, {"seq": 2, "kind": "control"}])
    assert row.guard_ms == 0.0


# CSV


def test_an_export_has_a_row_each_and_names_its_columns(some):
    file = io.StringIO()
    assert export(read(some), file) == 6
    rows = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert tuple(rows[0]) == FIELDS
    assert [row["outcome"] for row in rows] == ["", "ok", "denied", "denied", "denied", "ok"]


def test_calls_are_exported_a_row_each(some):
    file = io.StringIO()
    assert export_calls(calls(read(some)), file) == 3
    rows = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert [(row["tool"], row["outcome"], row["asked"]) for row in rows] == [
        ("list", "ok", "False"),
        ("delete_it", "denied", "False"),
        ("delete_it", "denied", "False"),
    ]
    assert (rows[0]["time"], rows[0]["ended"]) == ("2023-11-14T22:13:21.000000Z", "2023-11-14T22:13:22.000000Z")
    assert (rows[0]["tool_ms"], rows[0]["expires"], rows[0]["retry_after"]) == ("5.0", "", "")


def test_parquet_holds_what_csv_does_with_its_types(some, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "_AT_ONCE", 2)
    for name, write, rows in (
        ("records", parquet.write_records, list(read(some))),
        ("calls", parquet.write_calls, list(calls(read(some)))),
    ):
        assert write(rows, tmp_path / name) == len(rows)
    records = pq.read_table(tmp_path / "records").to_pylist()
    assert [record["seq"] for record in records] == [record["seq"] for record in read(some)]
    assert tuple(records[0]) == FIELDS
    assert (records[0]["time"].timestamp(), records[0]["outcome"]) == (1_700_000_001.0, None)
    called = pq.read_table(tmp_path / "calls").to_pylist()
    assert [(row["tool"], row["outcome"], row["asked"]) for row in called] == [
        (row.tool, row.outcome, row.asked) for row in calls(read(some))
    ]
    assert (called[0]["ended"] - called[0]["time"]).total_seconds() == 1
    assert (called[0]["tool_ms"], called[0]["retry_after"]) == (5.0, None)


def test_parquet_of_what_somebody_edited_is_written_all_the_same(tmp_path):
    odd = {"seq": 2**70, "time": 5, "kind": ["x"], "session": "\ud800", "guard_ms": "fast", "args": {"a": 1}}
    for rows in ([odd], []):
        assert parquet.write_records(rows, tmp_path / f"{len(rows)}") == len(rows)
    (row,) = pq.read_table(tmp_path / "1").to_pylist()
    assert (row["seq"], row["guard_ms"], row["session"], row["args"]) == (None, None, "\\ud800", '{"a":1}')
    assert row["kind"] == '["x"]'
    assert pq.read_table(tmp_path / "0").num_rows == 0


def test_without_pyarrow_it_says_what_to_install_and_leaves_no_file(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(GuardError, match=r"pip install 'guarded-tools\[parquet\]'"):
        parquet.write_records([], tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_no_cell_is_a_formula(make_log, path):
    make_log().write(AuditEvent("refused", tool="=HYPERLINK(1)", session="+1", message="-1", rule="@x", args=("=1",)))
    file = io.StringIO()
    export(read(path), file)
    (row,) = csv.DictReader(io.StringIO(file.getvalue()))
    assert (row["tool"], row["session"], row["message"], row["rule"]) == ("'=HYPERLINK(1)", "'+1", "'-1", "'@x")
    assert row["args"] == '["=1"]'


def test_half_a_surrogate_pair_in_a_name_ends_no_export(make_log, path, tmp_path):
    make_log().write(AuditEvent("refused", tool="\ud800", session="\udfff", args=("\udabc",), outcome="denied"))
    with (tmp_path / "out.csv").open("w", encoding="utf-8", newline="") as file:
        export(read(path), file)
    (row,) = csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8", newline=""))
    assert (row["tool"], row["session"], row["args"]) == ("\\ud800", "\\udfff", '["\\udabc"]')


def test_every_field_of_an_event_has_a_column():
    assert set(AuditEvent._fields) <= set(FIELDS)


def test_a_rotation_while_one_reads_loses_nothing(path, make_log, event):
    log = make_log(max_bytes=900)
    for number in range(10):
        log.write(event(number))
    reading = read(path)
    first = [next(reading)["seq"] for _ in range(2)]
    for number in range(10):
        log.write(event(number))
    assert first + [record["seq"] for record in reading] == list(range(1, 21))


def test_a_file_that_is_archived_while_one_reads_is_passed_over(path, make_log, event):
    log = make_log(max_bytes=900)
    for number in range(10):
        log.write(event(number))
    reading = read(path)
    next(reading)
    path.with_name("audit.jsonl.2").unlink()
    numbers = [record["seq"] for record in reading]
    assert numbers[-1] == 10
    assert len(numbers) < 9
