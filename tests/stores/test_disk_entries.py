"""Which database belongs into a directory: older copies and other stores' are missed, and nobody waits to find out."""

import shutil
import sqlite3

import pytest

from guarded_tools.errors import StateLost
from guarded_tools.stores.disk.database import Database
from guarded_tools.stores.disk.directory import StateDirectory
from guarded_tools.stores.disk.store import DiskStore, start_over
from guarded_tools.values import Charge, Full, Reservation

FIVE = [Charge("session:s", "t/calls", 1, 5, 86_400, "/r")]


def use(store, times):
    """How many of so many calls are admitted."""
    return sum(isinstance(store.reserve(FIVE), Reservation) for _ in range(times))


def copy_of(counters, to):
    source = sqlite3.connect(f"file:{counters}/cache.db?mode=ro", uri=True)
    copy = sqlite3.connect(to)
    with copy:
        source.backup(copy)
    source.close()
    copy.close()


@pytest.mark.parametrize("entries", [0, 1, 2])
def test_a_copy_that_was_made_while_it_was_in_use_is_older_than_what_follows(tmp_path, entries):
    """However often the directory was left and entered since, also when never but for the end."""
    counters = tmp_path / "home" / "counters"
    store = DiskStore(tmp_path / "home")
    assert use(store, 1) == 1
    copy_of(counters, tmp_path / "copy")
    for _ in range(entries):
        store.close()
        assert use(store, 1) == 1
    assert use(store, 9) == 4 - entries
    store.close()
    shutil.copy(tmp_path / "copy", counters / "cache.db")
    for _ in range(2):
        with pytest.raises(StateLost, match="older than its last use"):
            use(DiskStore(tmp_path / "home"), 1)
    start_over(tmp_path / "home")
    assert use(DiskStore(tmp_path / "home"), 9) == 5


def test_a_copy_of_the_last_state_is_as_good_as_the_database(tmp_path):
    """Stopped, all of the directory may be moved: nothing is older than its own marker."""
    store = DiskStore(tmp_path / "home")
    assert use(store, 3) == 3
    store.close()
    shutil.copytree(tmp_path / "home", tmp_path / "moved")
    for path in (tmp_path / "moved", tmp_path / "home"):
        moved = DiskStore(path)
        assert use(moved, 9) == 2
        moved.close()


def test_another_stores_directory_is_not_taken_for_a_reset(tmp_path):
    running, other = DiskStore(tmp_path / "home"), DiskStore(tmp_path / "other")
    assert use(running, 5) == 5
    assert isinstance(other.reserve([FIVE[0]._replace(scope="global")]), Reservation)
    other.close()
    (tmp_path / "home" / "counters").rename(tmp_path / "away")
    shutil.copytree(tmp_path / "other" / "counters", tmp_path / "home" / "counters")
    for _ in range(3):
        with pytest.raises(StateLost, match="another store stands in their place"):
            running.reserve(FIVE)
    # Whoever stood there is still whole, and a person can decide to go on.
    assert isinstance(DiskStore(tmp_path / "other").reserve(FIVE), Reservation)
    start_over(tmp_path / "home")
    assert use(running, 9) == 5


def test_a_reset_is_one_for_everybody_who_runs_however_often_it_comes(tmp_path):
    stores = [DiskStore(tmp_path / "home") for _ in range(3)]
    assert [use(store, 1) for store in stores] == [1, 1, 1]
    for times in range(4):
        start_over(tmp_path / "home")
        assert use(stores[times % 3], 9) == 5
    assert all(isinstance(store.reserve(FIVE), Full) for store in stores)


def test_nobody_waits_while_another_looks_for_damage(tmp_path, monkeypatch):
    """Thirty processes that start at once on a large store look at the same time, not one after the other."""
    looked = []
    examine = Database._examine

    def watched(database):
        other = StateDirectory(database.path, 0.0)
        with other.exclusive():
            looked.append(database)
        examine(database)

    monkeypatch.setattr(Database, "_examine", watched)
    stores = [DiskStore(tmp_path / "home") for _ in range(3)]
    assert [use(store, 1) for store in stores] == [1, 1, 1]
    assert len(looked) == 3, "each of them looks"
