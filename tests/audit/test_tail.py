"""Reading from the end: the same records as a full pass, whatever the log looks like, and no more of it than needed."""

import itertools
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarded_tools.audit import Filter, backwards, newest_first, read
from guarded_tools.audit.backwards import SLACK, begins, lines_backwards
from guarded_tools.audit.read import opened, parse
from guarded_tools.audit.record import timestamp
from guarded_tools.audit.summary import OPEN, calls
from guarded_tools.audit.tail import latest_calls

START = 1_700_000_000.0

texts = st.sampled_from(["a", "b", "café", "日本", 'say "x"', "back\\slash", "", "\ud800", "a b"])
junk = st.one_of(
    st.sampled_from(
        [b"", b"{", b"null", b"[]", b'{"seq":"1"}', b'{"seq":1,"time":"2023-', b"\xff\xfe", b"\r", b"[" * 400]
    ),
    st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b"")),
)


@st.composite
def records(draw):
    """A record with any of its fields, and how it is written: as the log does, with raw letters, or spaced out."""
    record = {"kind": draw(st.sampled_from(["admitted", "settled", "refused", "shadow", "control"]))}
    for name in ("session", "tool", "outcome", "key"):
        if draw(st.booleans()):
            record[name] = draw(texts)
    if draw(st.integers(0, 9)) == 0:
        record["message"] = draw(st.sampled_from(["long ", "é"])) * draw(st.integers(1, 300))
    # What a model may put into a value: it looks like a line, and like a filter's text.
    record["values"] = draw(
        st.sampled_from([None, {"seq": 7, "time": "1999-01-01T00:00:00.000000Z"}, {"session": "a"}])
    )
    return record, draw(st.sampled_from(["log", "raw", "spaced"]))


def written(seq, moment, record, style):
    whole = {"seq": seq, "time": timestamp(moment), **record}
    if style == "log":
        return json.dumps(whole, separators=(",", ":")).encode()
    text = json.dumps(whole, ensure_ascii=False, separators=(",", ":") if style == "raw" else None)
    return text.encode("utf-8", "surrogatepass")


entries = st.lists(st.tuples(st.one_of(records(), junk), st.floats(0, 200), st.integers(0, 7)), max_size=25)


def make(folder, found, *, torn):
    """Write a log of the entries: lines, the steps between their times, and (at 0) that a file is full behind one."""
    path, moment, files = folder / "audit.jsonl", START, [[]]
    for number, (entry, step, rotation) in enumerate(found, 1):
        moment += step
        files[-1].append(entry if isinstance(entry, bytes) else written(number, moment, *entry))
        if rotation == 0:
            files.append([])
    for number, lines in enumerate(files, 1):
        ending = torn if number == len(files) else b""
        name = path if number == len(files) else path.with_name(f"{path.name}.{number}")
        name.write_bytes(b"".join(line + b"\n" for line in lines) + ending)
    return path, moment


def plain(path):
    """The records as a full pass that knows no shortcut reads them."""
    for _, lines in opened(path):
        for line in lines:
            record = parse(line)
            if record is not None:
                yield record


filters = st.fixed_dictionaries(
    {},
    optional={
        "session": texts,
        "tool": st.sampled_from(["a", "*", "?", "caf*"]),
        "outcome": texts,
        "key": texts,
        "kind": st.sampled_from(["control", "settled"]),
        "shadow": st.booleans(),
    },
)


@settings(max_examples=120, deadline=None)
@given(
    found=entries,
    wanted=filters,
    age=st.one_of(st.none(), st.floats(-100, 4000)),
    block=st.sampled_from([1, 2, 7, 64, 300, 4096]),
    torn=st.sampled_from([b"", b'{"seq":99', b'{"seq":99,"session":"a"}', b"\n"]),
)
def test_it_is_the_full_pass_in_reverse(found, wanted, age, block, torn):
    with TemporaryDirectory() as name:
        path, end = make(Path(name), found, torn=torn)
        wanted = Filter(**wanted, since=None if age is None else end - age)
        full = [record for record in plain(path) if wanted.wants(record)]
        assert list(newest_first(path, wanted, block=block)) == full[::-1]
        fields = {name: getattr(wanted, name) for name in Filter.__slots__}
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(read.__globals__, "begins", lambda path, since: begins(path, since, block))
            assert list(read(path, **fields)) == full


@settings(max_examples=120, deadline=None)
@given(st.binary(max_size=60), st.integers(1, 70))
def test_lines_backwards_are_the_lines(raw, block):
    with TemporaryDirectory() as name:
        path = Path(name) / "file"
        path.write_bytes(raw)
        with path.open("rb") as file:
            assert list(lines_backwards(file, block)) == raw.split(b"\n")[::-1]


def log_of(path, count, *, every=60.0):
    """Write a log of ``count`` settled calls, one each so many seconds; returns the time of the last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (
        written(n, START + n * every, {"kind": "settled", "tool": "t"}, "log") + b"\n" for n in range(1, count + 1)
    )
    path.write_bytes(b"".join(lines))
    return START + count * every


class Counted:
    """Counts what is read of files by place."""

    def __init__(self, monkeypatch):
        self.bytes = 0
        pread = os.pread

        def counting(descriptor, size, place):
            found = pread(descriptor, size, place)
            self.bytes += len(found)
            return found

        monkeypatch.setattr(backwards.os, "pread", counting)


def test_what_is_older_is_not_read(path, monkeypatch):
    end = log_of(path, 4000)
    counted, size = Counted(monkeypatch), path.stat().st_size
    assert [record["seq"] for record in itertools.islice(newest_first(path, block=1000), 3)] == [4000, 3999, 3998]
    assert counted.bytes <= 1000
    assert len(list(newest_first(path, Filter(since=end - 590), block=1000))) == 10
    assert counted.bytes < size / 20
    assert len(list(newest_first(path, Filter(session="nobody"), most_bytes=5000, block=1000))) == 0
    assert counted.bytes < size / 15
    assert begins(path, end - 590, 1000).offset > size * 0.9


def test_a_clock_that_was_set_back_by_minutes_hides_nothing(path):
    path.parent.mkdir(parents=True)
    moments = [*range(0, 1000, 10), *range(1000 - int(SLACK) + 10, 1500, 10)]
    lines = [written(n, START + moment, {"kind": "settled"}, "log") for n, moment in enumerate(moments, 1)]
    path.write_bytes(b"\n".join(lines) + b"\n")
    for since in range(0, 1500, 50):
        expected = [n for n, moment in enumerate(moments, 1) if moment >= since]
        assert [record["seq"] for record in newest_first(path, Filter(since=START + since), block=100)] == expected[
            ::-1
        ]
        for block in (100, 1000):
            assert begins(path, START + since, block).offset <= path.read_bytes().find(lines[expected[0] - 1])


def test_one_line_with_a_wrong_time_ends_no_reading(path, monkeypatch):
    monkeypatch.setitem(read.__globals__, "begins", lambda path, since: begins(path, since, 2000))
    end = log_of(path, 200)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[150] = lines[150].replace(b'"time":"2023', b'"time":"1999')
    path.write_bytes(b"".join(lines))
    found = [record["seq"] for record in newest_first(path, Filter(since=end - 6000), block=2000)]
    assert found == [n for n in range(200, 99, -1) if n != 151]
    assert [record["seq"] for record in read(path, since=end - 6000)] == found[::-1]


@pytest.mark.parametrize("since", [float("-inf"), float("inf"), float("nan"), -1e18, 1e18, 0.0])
def test_any_moment_can_be_asked_for(path, since):
    log_of(path, 5)
    expected = [5, 4, 3, 2, 1] if since <= 0 else []
    assert [record["seq"] for record in newest_first(path, Filter(since=since))] == expected
    assert [record["seq"] for record in read(path, since=since)] == expected[::-1]


@pytest.mark.parametrize("text", [b'"ann"', b'"\\u0061nn"', b'"\\u0061\\u006e\\u006e"'])
def test_a_text_is_found_however_it_is_written(path, text):
    path.parent.mkdir(parents=True)
    path.write_bytes(b'{"seq":1,"session":%b}\n{"seq":2,"session":"bob","message":"\\n"}\n' % text)
    assert [record["seq"] for record in read(path, session="ann")] == [1]
    assert [record["seq"] for record in newest_first(path, Filter(session="ann"))] == [1]


def test_what_is_written_and_rotated_meanwhile_is_neither_lost_nor_told_twice(make_log, path, event):
    log = make_log(max_bytes=900)
    for number in range(10):
        log.write(event(number))
    reading = newest_first(path)
    first = [next(reading)["seq"]]
    for number in range(10):
        log.write(event(number))
    assert first + [record["seq"] for record in reading] == list(range(10, 0, -1))


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_rotations_before_the_files_are_listed_lose_nothing(monkeypatch, make_log, path, event, count):
    log = make_log(max_bytes=1)
    for number in range(4):
        log.write(event(number))
    listed = backwards.rotated

    def rotating(current):
        for number in range(count):
            log.write(event(number))
        return listed(current)

    monkeypatch.setattr(backwards, "rotated", rotating)
    assert [record["seq"] for record in newest_first(path)] == [4, 3, 2, 1]


def test_a_file_that_is_archived_or_rotated_after_the_place_was_found(monkeypatch, make_log, path, event):
    log = make_log(max_bytes=900)
    for number in range(30):
        log.write(event(number))
    since = START + 25

    def then(path, since):
        place = begins(path, since, 1)
        for number in range(5):
            log.write(event(number))
        return place

    monkeypatch.setattr(backwards, "SLACK", 0.0)
    monkeypatch.setitem(read.__globals__, "begins", then)
    assert [record["seq"] for record in read(path, since=since)] == list(range(25, 36))


def test_no_log_reads_as_nothing(path):
    assert list(newest_first(path)) == []
    assert list(read(path, since=START)) == []


# Calls

SCRIPTS = (
    "refused", "admitted", "asked", "shadow", "admitted settled", "asked refused", "asked answered refused",
    "asked answered admitted settled", "asked answered admitted", "asked; asked", "asked; admitted settled",
    "asked; asked; refused", "asked; admitted",
)  # fmt: skip


@st.composite
def logs_of_calls(draw):
    """Lines of calls that run at once. A run that was resumed has another key (behind ``;``), and the same call_id."""
    running = []
    for number, script in enumerate(draw(st.lists(st.sampled_from(SCRIPTS), max_size=8))):
        shared = {"session": draw(st.sampled_from("ab")), "tool": draw(st.sampled_from("tu")), "call_id": f"c{number}"}
        lines = []
        for stretch, kinds in enumerate(script.split("; ")):
            for kind in kinds.split():
                line = {"kind": kind, "key": f"{number}.{stretch}", **shared}
                if kind in {"settled", "refused", "shadow"}:
                    line["outcome"] = draw(st.sampled_from(["ok", "denied"]))
                if kind in {"answered", "admitted", "refused"} and ("asked" in kinds or stretch):
                    line |= draw(
                        st.sampled_from([{"approval": {"verdict": "approve", "by": "ann"}}, {"human_ms": 9.0}])
                    )
                lines.append(line)
        running.append(lines)
    order = draw(st.permutations([number for number, lines in enumerate(running) for _ in lines]))
    return [(running[number].pop(0), "log") for number in order]


@settings(max_examples=120, deadline=None)
@given(
    found=logs_of_calls(),
    rotations=st.lists(st.integers(0, 6), min_size=40, max_size=40),
    count=st.integers(0, 6),
    wanted=st.fixed_dictionaries(
        {},
        optional={
            "session": st.just("a"),
            "tool": st.just("t"),
            "outcome": st.sampled_from(["ok", OPEN]),
            "shadow": st.booleans(),
            "since": st.integers(0, 20).map(lambda second: START + second),
        },
    ),
)
def test_the_latest_calls_are_the_last_of_all(found, rotations, count, wanted):
    with TemporaryDirectory() as name:
        path, _ = make(
            Path(name), [(entry, 1.0, full) for entry, full in zip(found, rotations, strict=False)], torn=b""
        )
        fields = {"shadow": False, **wanted}
        outcome = fields.pop("outcome", None)
        rows = calls(read(path, **fields), shadow=fields["shadow"])
        expected = sorted((row for row in rows if outcome in {None, row.outcome}), key=lambda row: row.ended)
        found = latest_calls(path, Filter(outcome=outcome, **fields), count=count)
        assert found == (expected[-count:] if count else [])


def test_the_latest_calls_of_a_long_log_are_read_from_its_end(path, monkeypatch):
    log_of(path, 20_000)
    counted = Counted(monkeypatch)
    assert [row.ended for row in latest_calls(path, count=2)] == [START + 19_999 * 60, START + 20_000 * 60]
    assert counted.bytes < path.stat().st_size


# One line

numbers = st.one_of(st.integers(), st.floats(), st.integers(10**17, 10**40))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text()), lambda inner: st.lists(inner, max_size=4)
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(), values, max_size=4), st.booleans())
def test_a_line_is_read_as_pythons_own_reader_reads_it(members, ascii_only):
    line = json.dumps({"seq": 1, **members}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert repr(parse(line)) == repr(json.loads(line) if type(json.loads(line)["seq"]) is int else None)


@pytest.mark.parametrize(
    "member",
    [b"-0", b"-0.0", b"NaN", b"-Infinity", b"1e400", b'"\\ud800"', b'"\\ud83d\\ude00"', b"[" * 300 + b"]" * 300,
     b"1" * 5000, b"01", b"1.", b'"\x01"', b'"\xed\xa0\x80"', b'1,"seq":2', b'1,"seq":"x"', b"[1,]", b"\xff"],
)  # fmt: skip
def test_what_one_reader_refuses_the_other_decides(member):
    line = b'{"seq":1,"a":' + member + b"}\n"
    try:
        expected = json.loads(line)
    except ValueError:
        expected = None
    assert repr(parse(line)) == repr(expected if expected is None or type(expected["seq"]) is int else None)


def test_a_mark_at_a_files_beginning_hides_no_record():
    assert parse(b'\xef\xbb\xbf{"seq":1}\n') == {"seq": 1}
