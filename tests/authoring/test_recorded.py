"""The audit as a stream: what is no record is counted and passed over, and what was masked or cut is not known."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from guarded_tools.audit import AuditLog
from guarded_tools.audit.read import FIELDS
from guarded_tools.authoring.recorded.audit import AuditReader, event_of
from guarded_tools.values import AuditEvent

EVENT = AuditEvent("admitted", tool="pay", session="s", key="1", args=("amount", "note"))


def written(tmp_path, *events, now=1_700_000_000.25):
    with AuditLog(tmp_path / "audit.jsonl", clock=lambda: now) as log:
        for event in events:
            log.write(event)
    return tmp_path / "audit.jsonl"


def test_an_event_is_what_was_written(tmp_path):
    asked = EVENT._replace(
        kind="asked", charges=(("session:s", "/pay/day", 7, 9, 60),), values={"args.amount": 7}, policy="p", call_id="c"
    )
    answered = asked._replace(kind="answered", approval={"verdict": "edit", "edited": ["args.amount"]}, grant="g")
    (one, two) = AuditReader(written(tmp_path, asked, EVENT._replace(kind="shadow"), answered))
    assert (one.kind, one.time, one.tool, one.session, one.key) == ("asked", 1_700_000_000.25, "pay", "s", "1")
    assert (one.names, one.args, one.complete) == (("amount", "note"), {"amount": 7}, False)
    assert (one.charges, one.policy, one.call_id) == ((("session:s", "/pay/day", 7),), "p", "c")
    assert (two.verdict, two.edited, two.grant) == ("edit", ("args.amount",), "g")


def test_what_was_masked_cut_or_lies_deeper_is_not_known(tmp_path):
    values = {
        "args.amount": 7, "args.note": "the key sk-abcdefghijklmnop", "args.to.name": "x", "args.list[*].id": [1],
        'args["odd name"]': 1, "args.password": "x",
    }  # fmt: skip
    names = ("amount", "list", "note", "odd name", "password", "to")
    many = tuple(f"n{number:03}" for number in range(60))
    reader = AuditReader(
        written(
            tmp_path,
            EVENT._replace(args=names, values=values),
            EVENT._replace(args=many),
            EVENT._replace(args=("sk-abcdefghijklmnop",)),
            EVENT._replace(args=("a",), values={"args.a": "x" * 20_000}),
            EVENT._replace(args=()),
        )
    )
    known, cut, masked, long, empty = reader
    assert known.args == {"amount": 7, "odd name": 1}
    assert not known.complete
    assert cut.names is None
    assert masked.names is None
    assert (long.names, long.args) == (("a",), {})
    assert empty.complete
    assert reader.broken == 0


def test_lines_that_are_no_records_are_counted(tmp_path):
    path = written(tmp_path, EVENT, EVENT)
    first, second = path.read_bytes().splitlines()
    edited = [
        {**json.loads(first), **change}
        for change in (
            {"time": "yesterday"},
            {"kind": "made"},
            {"tool": 5},
            {"key": None},
            {"session": []},
            {"grant": 1},
        )
    ]
    lines = [first[:50], b"", second, *(json.dumps(each).encode() for each in edited), b"[1]", b"\xff\x00", b"[" * 5000]
    path.write_bytes(b"\n".join(lines))
    reader = AuditReader(path)
    assert [event.tool for event in reader] == ["pay"]
    assert reader.broken == len(lines) - 2
    assert reader.backwards == 0


def test_a_clock_that_goes_back_is_told(tmp_path):
    written(tmp_path, EVENT, now=1_700_000_100.0)
    written(tmp_path, EVENT, now=1_700_000_095.0)
    reader = AuditReader(written(tmp_path, EVENT, now=1_700_000_000.0))
    assert len(list(reader)) == 3
    assert reader.backwards == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.sampled_from(["admitted", "refused", "asked", "settled", "control"]),
    st.dictionaries(st.sampled_from(FIELDS), json_values),
)
def test_no_edited_record_stops_the_stream(kind, changes):
    record = {"seq": 1, "time": "2026-01-01T00:00:00Z", "kind": kind, "tool": "t", "session": "s", "key": "k"}
    event = event_of(record | changes)
    assert event is None or type(event.tool) is type(event.session) is type(event.outcome) is str
