"""Private files: what was planted under a name is refused, what is replaced is whole."""

import os
import stat
import threading

import pytest

from guarded_tools import files
from guarded_tools.errors import StoreError
from guarded_tools.files import lock, make_private, open_private, replace, same_file, try_lock, unlock, user_path
from guarded_tools.state import state_dir, state_path
from guarded_tools.stores.disk.store import DiskStore

ROOT = os.geteuid() == 0


def opened(path, flags=os.O_RDWR):
    descriptor = open_private(path, flags)
    os.close(descriptor)
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_made_for_its_owner_alone_and_closed_to_others(tmp_path):
    assert opened(tmp_path / "new") == 0o600
    (tmp_path / "old").touch(0o644)
    assert opened(tmp_path / "old") == 0o600


def test_what_was_planted_under_a_name_is_not_opened(tmp_path):
    (tmp_path / "aim").touch()
    (tmp_path / "link").symlink_to(tmp_path / "aim")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("link", "pipe", "folder"):
        with pytest.raises(OSError, match=r".") as refused:
            opened(tmp_path / name)
        assert refused.value.strerror
    assert (tmp_path / "aim").read_bytes() == b""


def test_a_file_that_was_moved_away_is_not_the_same(tmp_path):
    descriptor = open_private(tmp_path / "file", os.O_RDWR)
    try:
        assert same_file(descriptor, tmp_path / "file")
        (tmp_path / "file").rename(tmp_path / "away")
        assert not same_file(descriptor, tmp_path / "file")
        (tmp_path / "file").touch()
        assert not same_file(descriptor, tmp_path / "file")
    finally:
        os.close(descriptor)


def test_one_holds_a_lock_and_many_share_one(tmp_path):
    one, other = (open_private(tmp_path / "lock", os.O_RDWR) for _ in range(2))
    try:
        lock(one)
        assert not try_lock(other)
        assert not try_lock(other, shared=True)
        with pytest.raises(TimeoutError, match=r"another process has held its lock for 0\.01 s"):
            lock(other, timeout=0.01)
        waiting = threading.Thread(target=lock, args=(other,))
        waiting.start()
        unlock(one)
        waiting.join()
        assert not try_lock(one)
        unlock(other)
        assert try_lock(one, shared=True)
        assert try_lock(other, shared=True)
    finally:
        os.close(one)
        os.close(other)


def test_a_replaced_file_is_the_new_one_or_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "marker"
    replace(path, b"old")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for step in ("write_all", "flush"):

        def full(*_):
            raise OSError(28, "no space left")

        with monkeypatch.context() as broken:
            broken.setattr(files, step, full)
            with pytest.raises(OSError, match="no space left"):
                replace(path, b"new")
        assert path.read_bytes() in {b"old", b"new"}
        assert list(tmp_path.iterdir()) == [path]


def test_a_directory_that_others_may_write_into_is_refused(tmp_path):
    make_private(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    (tmp_path / "a" / "b").chmod(0o770)
    with pytest.raises(PermissionError, match="chmod 700 it"):
        make_private(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"exists|not a directory"):
        make_private(tmp_path / "file")


def roads(home):
    """Every way to say where the state is."""
    return [lambda: state_dir(home), lambda: DiskStore(home).usage()]


@pytest.mark.skipif(not ROOT, reason="only root can give a directory away")
@pytest.mark.parametrize("road", [0, 1])
@pytest.mark.parametrize("theirs", ["", "counters"])
def test_a_directory_of_another_user_is_refused_whatever_its_mode(tmp_path, road, theirs):
    home = tmp_path / "home"
    (home / "counters").mkdir(mode=0o700, parents=True)
    home.chmod(0o700)
    os.chown(home / theirs, 65534, 65534)
    if theirs and road == 0:
        state_dir(home)  # what is in it is looked at by whoever opens it
        return
    with pytest.raises(StoreError, match=r"belongs to another user \(uid 65534"):
        roads(home)[road]()


def test_a_home_that_others_may_write_into_is_refused_by_every_road(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o777)
    for road in roads(home):
        with pytest.raises(StoreError, match="chmod 700"):
            road()


def test_a_store_makes_its_directories_for_its_owner_alone_whatever_the_umask(tmp_path):
    before = os.umask(0o002)
    try:
        DiskStore(tmp_path / "home").close()
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "home", tmp_path / "home" / "counters")] == [
        0o700,
        0o700,
    ]


def test_a_name_that_begins_with_a_tilde_is_a_home_only_where_there_is_one(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/x") == tmp_path / "x"
    assert str(user_path("~nosuchuser/x")) == "~nosuchuser/x"
    monkeypatch.setenv("GUARDED_TOOLS_HOME", "~nosuchuser")
    assert str(state_path()) == "~nosuchuser"
    assert str(state_path("~nosuchuser/y")) == "~nosuchuser/y"
