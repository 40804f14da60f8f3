"""A policy that changes on disk is read anew where it is watched, and never while it is being written."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guarded_tools import Guard, GuardError, Policy, ToolCall, open_store
from guarded_tools.audit import read


def write(path: Path, most: int) -> None:
    fresh = path.with_suffix(".new")
    limits = [{"counter": "n", "window": "hour", "max": most}]
    fresh.write_text(json.dumps({"version": "1", "default": "deny", "tools": {"add": {"limits": limits}}}))
    fresh.replace(path)


@pytest.fixture
def make_guard(tmp_path: Path) -> Callable[[Any], Guard]:
    return lambda policy: Guard(policy, store=open_store("memory://"), audit=tmp_path / "audit.jsonl")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.json"
    write(path, 1)
    return path


def most(guard: Any) -> int:
    return int(guard.explain(ToolCall("add", {})).charges[0].max)


def test_a_new_file_is_in_force_after_two_looks_that_agree(make_guard: Any, file: Path) -> None:
    guard = make_guard(file)
    watch = guard.watching()
    assert [watch.look(), watch.look(), watch.look()] == [False, True, False]  # as it was: nothing is put in force
    write(file, 5)
    assert (watch.look(), most(guard)) == (False, 1)
    assert (watch.look(), most(guard)) == (True, 5)
    assert watch.look() is False


def test_a_file_that_changed_before_the_first_look_is_not_missed(make_guard: Any, file: Path) -> None:
    guard = make_guard(file)
    write(file, 7)
    watch = guard.watching()
    watch.look()
    watch.look()
    assert most(guard) == 7


def test_a_file_that_is_being_written_is_not_read(make_guard: Any, file: Path) -> None:
    guard = make_guard(file)
    watch = guard.watching()
    whole = file.read_text()
    for end in range(1, 40):
        file.write_text(whole[:end])
        assert watch.look() is False


def test_what_cannot_be_used_changes_nothing_and_is_told_once(make_guard: Any, file: Path, tmp_path: Path) -> None:
    guard = make_guard(file)
    watch = guard.watching()
    file.write_text("{")
    assert [watch.look(), watch.look(), watch.look(), watch.look()] == [False, True, False, False]
    assert most(guard) == 1
    file.unlink()
    assert [watch.look(), watch.look()] == [False, False]
    write(file, 3)
    assert [watch.look(), watch.look()] == [False, True]
    assert most(guard) == 3
    told = [(record["rule"], record["outcome"]) for record in read(tmp_path / "audit.jsonl")]
    assert told == [("(reload)", "failed_closed"), ("(reload)", "ok")]


def test_the_thread_looks_until_the_block_ends(make_guard: Any, file: Path) -> None:
    guard = make_guard(file)
    reloaded = threading.Event()
    watch = guard.watching(every=0.01)
    look = watch.look

    def told() -> bool:
        if look() and most(guard) == 9:
            reloaded.set()
        return False

    watch.look = told
    with watch:
        write(file, 9)
        assert reloaded.wait(30)
    assert not [thread for thread in threading.enumerate() if thread.name == "guarded-tools-policy"]


def test_there_has_to_be_a_file_and_a_time(make_guard: Any, file: Path) -> None:
    for source in ("standard", Policy.model_validate({"version": "1", "default": "deny"})):
        with pytest.raises(GuardError, match="no file to watch"):
            make_guard(source).watching()
    for every in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="every is the seconds"):
            make_guard(file).watching(every)
