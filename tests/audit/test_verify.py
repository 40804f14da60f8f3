"""What a change to the log's files looks like to the one who checks them."""

import errno
import fcntl
import hashlib
import json
import os
import sys
from pathlib import Path

import pytest

from guarded_tools import files
from guarded_tools.audit import read, verify
from guarded_tools.audit.head import Head, head_path, parse, peek
from guarded_tools.audit.kept_head import place_key


def faults(path, store=None, **options):
    return [(finding.fault, finding.line, finding.seq) for finding in verify(path, store, **options)]


def rewrite(path, change):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(change(lines)))


def resealed(line, **changes):
    """The line with other contents and a hash that fits them, as an attacker would write it."""
    record = json.loads(line) | changes
    record.pop("hash")
    body = json.dumps(record, separators=(",", ":")).encode()[:-1]
    return body + b',"hash":"' + hashlib.sha256(body).hexdigest().encode() + b'"}\n'


def test_an_untouched_log_has_no_findings(written):
    assert verify(written) == []


def test_no_log_has_no_findings(path):
    assert verify(path) == []


@pytest.mark.parametrize("line", [1, 5, 10])
def test_an_edited_line_is_found_where_it_is(written, line):
    rewrite(written, lambda ls: [*ls[: line - 1], ls[line - 1].replace(b'"ok"', b'"denied"'), *ls[line:]])
    assert faults(written) == [("edited", line, line)]


@pytest.mark.parametrize("line", [1, 5, 9])
def test_an_edited_line_with_a_hash_to_match_is_found_all_the_same(written, line):
    rewrite(written, lambda ls: [*ls[: line - 1], resealed(ls[line - 1], outcome="denied"), *ls[line:]])
    assert faults(written) == [("edited", line, line)]


def test_the_last_line_rewritten_with_a_hash_to_match_is_told_by_the_head(written):
    rewrite(written, lambda ls: [*ls[:-1], resealed(ls[-1], outcome="denied")])
    assert faults(written) == [("edited", 10, 10)]


def test_a_whole_rest_rewritten_in_a_chain_of_its_own_is_told_by_the_head(written):
    def change(lines):
        prev = json.loads(lines[3])["hash"]
        for position in range(4, 10):
            lines[position] = resealed(lines[position], outcome="denied", prev=prev)
            prev = json.loads(lines[position])["hash"]
        return lines

    rewrite(written, change)
    assert faults(written) == [("edited", 10, 10)]


def test_an_edited_number_is_found_once(written):
    rewrite(written, lambda ls: [*ls[:4], ls[4].replace(b'"seq":5,', b'"seq":500,'), *ls[5:]])
    assert [fault for fault, _, _ in faults(written)] == ["edited"]
    assert verify(written)[0].line == 5


def test_an_edited_link_is_found(written):
    prev = json.loads(written.read_bytes().splitlines()[4])["prev"].encode()
    rewrite(written, lambda ls: [*ls[:4], ls[4].replace(prev, b"0" * 64), *ls[5:]])
    assert faults(written) == [("edited", 5, 5)]


def test_a_line_made_unreadable_is_an_edited_one(written):
    rewrite(written, lambda ls: [*ls[:4], b"#" + ls[4], *ls[5:]])
    assert faults(written) == [("edited", 5, 5)]


@pytest.mark.parametrize("first", [1, 4])
def test_removed_lines_are_named_and_where(written, first):
    rewrite(written, lambda ls: ls[: first - 1] + ls[first + 1 :])
    (finding,) = verify(written)
    assert (finding.fault, finding.line, finding.seq) == ("removed", first, first)
    assert f"records {first} to {first + 1} are missing" in str(finding)
    assert str(finding).startswith(f"audit.jsonl:{first}: removed: ")


def test_reordered_lines_are_found(written):
    rewrite(written, lambda ls: [*ls[:3], ls[4], ls[3], *ls[5:]])
    assert faults(written) == [("reordered", 5, 4)]


def test_a_line_moved_far_is_found(written):
    rewrite(written, lambda ls: [*ls[:1], *ls[2:], ls[1]])
    assert faults(written) == [("reordered", 10, 2)]


def test_a_repeated_line_is_found(written):
    rewrite(written, lambda ls: [*ls[:5], ls[2], *ls[5:]])
    assert faults(written) == [("inserted", 6, 3)]


def test_a_line_of_ones_own_is_found(written):
    rewrite(written, lambda ls: [*ls[:5], resealed(ls[5], tool="mine"), *ls[5:]])
    found = faults(written)
    assert ("inserted", 7, 6) in found


def test_a_record_appended_by_hand_is_told_by_nothing_until_the_next_line(written, make_log, event):
    """A chain without a key cannot tell its writer from another who may write the file."""
    rewrite(written, lambda ls: [*ls, resealed(ls[-1], seq=11, prev=json.loads(ls[-1])["hash"])])
    assert faults(written) == []


# The end


def test_a_cut_tail_is_told_by_the_heads_file(written):
    rewrite(written, lambda ls: ls[:-3])
    (finding,) = verify(written)
    assert (finding.fault, finding.line, finding.seq) == ("cut", 7, 8)
    assert "records 8 to 10 are cut off the end" in finding.message


def test_a_tail_cut_within_a_line_is_told_too(written):
    rewrite(written, lambda ls: [*ls[:-1], ls[-1][:40]])
    assert faults(written) == [("edited", 10, 10)]


def test_a_cut_stays_visible_after_more_lines_were_written(written, make_log, event):
    rewrite(written, lambda ls: ls[:-3])
    with make_log() as log:
        log.write(event(11))
    assert [record["seq"] for record in read(written)][-2:] == [7, 11]
    assert faults(written) == [("removed", 8, 8)]


def test_a_log_that_was_deleted_is_missed(written):
    written.unlink()
    assert faults(written) == [("cut", 0, 1)]


def test_a_missing_head_is_said(written):
    head_path(written).unlink()
    assert faults(written) == [("headless", 0, 10)]


def cut_both(path, keep):
    rewrite(path, lambda ls: ls[:keep])
    record = json.loads(path.read_bytes().splitlines()[-1])
    head_path(path).write_bytes(bytes(Head(record["seq"], record["hash"], path.stat().st_size)))


def test_a_tail_cut_together_with_the_heads_file_is_told_by_the_store(path, make_log, event, store):
    with make_log(store=store) as log:
        for number in range(1, 11):
            log.write(event(number))
    cut_both(path, 7)
    assert faults(path) == []
    assert faults(path, store) == [("cut", 7, 8)]


def test_a_new_process_does_not_close_the_chain_over_such_a_cut(path, make_log, event, store):
    with make_log(store=store) as log:
        for number in range(1, 11):
            log.write(event(number))
    cut_both(path, 7)
    with make_log(store=store) as log:
        log.write(event(11))
    assert faults(path) == [("removed", 8, 8)]
    assert faults(path, store) == [("removed", 8, 8)]


def test_nor_does_a_process_that_is_running(path, make_log, event):
    log = make_log()
    for number in range(1, 11):
        log.write(event(number))
    cut_both(path, 7)
    log.write(event(11))
    assert faults(path) == [("removed", 8, 8)]


def test_everything_deleted_but_the_store(path, make_log, event, store):
    with make_log(store=store) as log:
        log.write(event(1))
    path.unlink()
    head_path(path).unlink()
    assert faults(path, store) == [("cut", 0, 1)]


def test_a_store_without_a_head_is_said(written, store):
    assert faults(written, store) == [("headless", 0, 10)]


def test_the_store_knows_of_a_log_before_its_first_line_is_out(path, make_log, event, store):
    make_log(store=store).write(event(1))
    assert place_key(path) in store.kept
    assert faults(path, store) == []


def test_the_stores_head_is_written_behind_the_caller_and_at_the_end(path, make_log, event, store):
    with make_log(store=store) as log:
        for number in range(500):
            log.write(event(number))
    assert json.loads(store.kept[place_key(path)])["seq"] == 500
    assert peek(head_path(path)).seq == 500


def test_a_store_that_is_down_is_logged_and_costs_no_line(path, make_log, event, store, caplog):
    store.broken = True
    with make_log(store=store) as log:
        log.write(event(1))
        log.write(event(2))
    assert len(list(read(path))) == 2
    assert "could not be kept" in caplog.text
    store.broken = False
    with make_log(store=store) as log:
        log.write(event(3))
    assert json.loads(store.kept[place_key(path)])["seq"] == 3


def test_an_older_head_in_the_store_is_no_finding(path, make_log, event, store):
    with make_log(store=store) as log:
        for number in range(1, 5):
            log.write(event(number))
    behind = dict(store.kept)
    with make_log(store=store) as log:
        for number in range(5, 11):
            log.write(event(number))
    store.kept = behind
    assert faults(path, store) == []
    rewrite(path, lambda ls: [*ls[:3], resealed(ls[3], outcome="denied"), *ls[4:]])
    assert ("edited", 4, 4) in faults(path, store)


def test_a_garbled_head_in_the_store_is_no_head(written, store):
    store.put(place_key(written), b"?")
    assert faults(written, store) == [("headless", 0, 10)]


# Several files


@pytest.fixture
def rotated(make_log, event, path):
    with make_log(max_bytes=900) as log:
        for number in range(1, 13):
            log.write(event(number))
    return path


def test_a_removed_file_is_found(rotated):
    per_file = len(rotated.with_name("audit.jsonl.1").read_bytes().splitlines())
    rotated.with_name("audit.jsonl.2").unlink()
    (finding,) = verify(rotated)
    assert (finding.fault, finding.file, finding.line) == ("removed", "audit.jsonl.3", 1)
    assert finding.seq == per_file + 1


def test_archived_files_are_not_missed_when_the_first_number_is_given(rotated):
    rotated.with_name("audit.jsonl.1").unlink()
    first = json.loads(rotated.with_name("audit.jsonl.2").read_bytes().splitlines()[0])["seq"]
    assert faults(rotated) == [("removed", 1, 1)]
    assert faults(rotated, first=first) == []


def test_an_edit_in_a_full_file_names_that_file(rotated):
    full = rotated.with_name("audit.jsonl.2")
    rewrite(full, lambda ls: [ls[0].replace(b'"ok"', b'"no"'), *ls[1:]])
    (finding,) = verify(rotated)
    assert (finding.fault, finding.file, finding.line) == ("edited", "audit.jsonl.2", 1)


def test_findings_come_in_the_order_of_the_records(written):
    rewrite(written, lambda ls: [ls[0], ls[2], ls[4], ls[3], ls[5].replace(b'"ok"', b'"no"'), *ls[6:-1]])
    assert [(fault, seq) for fault, _, seq in faults(written)] == [
        ("removed", 2),
        ("reordered", 4),
        ("edited", 6),
        ("cut", 10),
    ]


def test_a_log_that_is_written_meanwhile_is_whole(make_log, event, path, monkeypatch):
    log = make_log(max_bytes=900)
    for number in range(10):
        log.write(event(number))
    module = sys.modules["guarded_tools.audit.verify"]
    parse_line = module.parse_line
    written = iter(range(100))

    def write_more(line):
        number = next(written)
        if number < 12:
            log.write(event(number))
        return parse_line(line)

    monkeypatch.setattr(module, "parse_line", write_more)
    assert verify(path) == []


def test_a_head_that_is_being_written_is_not_read_half(written, monkeypatch):
    old, new = bytes(Head(3, "a" * 64, 300)), bytes(Head(4, "b" * 64, 400))
    with head_path(written).open("r+b", buffering=0) as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        writer.write(new[:60] + old[60:])

        def finish(_seconds):
            os.pwrite(writer.fileno(), new, 0)
            fcntl.flock(writer, fcntl.LOCK_UN)

        monkeypatch.setattr(files.time, "sleep", finish)
        assert peek(head_path(written)) == parse(new)


def test_a_line_that_is_being_written_is_not_torn(written, make_log, event, monkeypatch):
    head, lines = head_path(written).read_bytes(), written.read_bytes()
    with make_log() as log:
        log.write(event(11))
    line = written.read_bytes()[len(lines) :]
    head_path(written).write_bytes(head)
    written.write_bytes(lines)
    module = sys.modules["guarded_tools.audit.verify"]
    parse_line = module.parse_line
    with head_path(written).open("rb") as writer, written.open("ab", buffering=0) as file:

        def begin(seen):
            if file.tell() == len(lines):
                fcntl.flock(writer, fcntl.LOCK_EX)
                file.write(line[:50])
            return parse_line(seen)

        def finish(_seconds):
            file.write(line[50:])
            fcntl.flock(writer, fcntl.LOCK_UN)

        monkeypatch.setattr(module, "parse_line", begin)
        monkeypatch.setattr(files.time, "sleep", finish)
        assert verify(written) == []
        assert file.tell() == len(lines) + len(line)


def test_a_file_system_without_locks_is_read_all_the_same(written, monkeypatch):
    def unknown(*_):
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(fcntl, "flock", unknown)
    before = len(list(Path("/dev/fd").iterdir()))
    assert verify(written) == []
    assert len(list(Path("/dev/fd").iterdir())) == before
