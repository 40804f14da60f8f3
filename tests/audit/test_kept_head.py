"""The store's copy of the head is found again by the log itself, whatever the host is called and whoever else is there."""

import json
import shutil

import pytest

from guarded_tools import open_store
from guarded_tools.audit import AuditLog, verify
from guarded_tools.audit.head import head_path
from guarded_tools.audit.kept_head import is_kept, kept_head, log_keys, place_key
from guarded_tools.values import AuditEvent


@pytest.fixture
def call_host(monkeypatch):
    def name(host):
        monkeypatch.setattr("socket.gethostname", lambda: host)

    return name


def write(path, store, number, **options):
    with AuditLog(path, store=store, **options) as log:
        for _ in range(number):
            log.write(AuditEvent("admitted", "t"))


def cut(path, number):
    """Take away the last lines, and put the head back to what it was then."""
    lines = path.read_bytes().splitlines(keepends=True)[:-number]
    path.write_bytes(b"".join(lines))
    last = json.loads(lines[-1])
    head = b"%018d %b %018d %08d\n" % (last["seq"], last["hash"].encode(), path.stat().st_size, 0)
    head_path(path).write_bytes(head)


def faults(path, store, **options):
    return [finding.fault for finding in verify(path, store, **options)]


@pytest.mark.parametrize("goes_on", [0, 1, 9], ids=["nothing more", "shorter than before", "longer than before"])
def test_a_cut_tail_is_found_under_another_host_name(tmp_path, call_host, goes_on):
    store, path = open_store("memory://"), tmp_path / "audit.jsonl"
    call_host("8f2c1a")
    write(path, store, 6)
    call_host("b7710e")
    assert faults(path, store) == []
    cut(path, 3)
    write(path, store, goes_on)
    assert faults(path, store) == (["removed"] if goes_on else ["cut"])


def test_a_log_is_known_where_it_was_moved_to(tmp_path, call_host):
    store, path = open_store("memory://"), tmp_path / "a" / "audit.jsonl"
    call_host("one")
    write(path, store, 6)
    shutil.move(tmp_path / "a", tmp_path / "b")
    path = tmp_path / "b" / "audit.jsonl"
    call_host("two")
    cut(path, 2)
    assert faults(path, store) == ["cut"]


def test_two_machines_of_one_name_and_path_keep_a_copy_each(tmp_path):
    store, place = open_store("memory://"), tmp_path / "state"
    path = place / "audit.jsonl"
    write(path, store, 3)  # the first machine
    place.rename(tmp_path / "first")
    write(path, store, 2)  # the second one begins where the store says that its place has been before
    place.rename(tmp_path / "second")
    (tmp_path / "first").rename(place)
    write(path, store, 4)
    assert faults(path, store) == []
    cut(path, 1)
    assert faults(path, store) == ["cut"]
    place.rename(tmp_path / "first")
    (tmp_path / "second").rename(place)
    assert faults(path, store, first=4) == []
    cut(path, 1)
    assert faults(path, store, first=4) == ["cut"]


def test_a_log_that_begins_anew_has_to_answer_for_what_was_at_its_place(tmp_path):
    store, path = open_store("memory://"), tmp_path / "audit.jsonl"
    write(path, store, 5)
    other = tmp_path / "other" / "audit.jsonl"
    write(other, None, 9)
    for name in ("audit.jsonl", "audit.head"):
        shutil.copy(tmp_path / "other" / name, tmp_path / name)
    write(path, store, 1)
    assert kept_head(store, path).seq == 5
    assert not any(map(store.get, log_keys(path)))
    assert "edited" in faults(path, store)


def test_a_log_is_known_after_its_oldest_files_were_archived(tmp_path, call_host):
    store, path = open_store("memory://"), tmp_path / "audit.jsonl"
    write(path, store, 10, max_bytes=700)
    before = log_keys(path)
    (tmp_path / "audit.jsonl.1").unlink()
    write(path, store, 1, max_bytes=700)
    assert log_keys(path)[0] != before[0]
    call_host("another")
    assert kept_head(store, path).seq == 11


def test_a_copy_of_before_is_still_read(tmp_path):
    store, path = open_store("memory://"), tmp_path / "audit.jsonl"
    write(path, store, 4)
    old = store.get(place_key(path))
    (own,) = log_keys(path)
    store.take(own)
    cut(path, 1)
    assert faults(path, store) == ["cut"]
    assert json.loads(old)["seq"] == 4
    write(path, store, 2)
    assert kept_head(store, path).seq == 6
    assert faults(path, store) == ["removed"]


def test_a_log_without_a_first_record_is_known_by_its_place_alone(tmp_path):
    path = tmp_path / "audit.jsonl"
    assert log_keys(path) == []
    path.write_bytes(b"half a li")
    assert log_keys(path) == []


def archive(path, number):
    """Move that many of the oldest files away; the first record that is left."""
    full = sorted(path.parent.glob("audit.jsonl.[0-9]*"), key=lambda file: int(file.suffix[1:]))
    for file in full[:number]:
        file.rename(path.parent / f"archived{file.suffix}")
    (left, *_) = (*full[number:], path)
    return json.loads(left.read_bytes().splitlines()[0])["seq"]


@pytest.mark.parametrize("number", [1, 2, 99], ids=["one", "two", "all"])
def test_a_log_is_known_where_files_were_archived_the_host_changed_and_nothing_was_written(tmp_path, call_host, number):
    store, path = open_store("memory://"), tmp_path / "audit.jsonl"
    call_host("one")
    write(path, store, 14, max_bytes=700)
    first = archive(path, number)
    call_host("two")
    assert is_kept(store, path)
    assert kept_head(store, path).seq == 14
    assert faults(path, store, first=first) == []
    cut(path, 1)
    assert faults(path, store, first=first) == ["cut"]


def test_a_file_that_is_put_back_from_the_archive_brings_no_old_copy_with_it(tmp_path):
    store, path = open_store("memory://"), tmp_path / "audit.jsonl"
    write(path, store, 8, max_bytes=700)
    archive(path, 1)
    write(path, store, 1, max_bytes=700)
    assert kept_head(store, path).seq == 9
    (tmp_path / "archived.1").rename(tmp_path / "audit.jsonl.1")
    assert kept_head(store, path).seq == 9
    assert faults(path, store) == []
    cut(path, 1)
    assert faults(path, store) == ["cut"]
