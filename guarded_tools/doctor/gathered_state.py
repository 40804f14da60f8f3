"""What is found in a state directory, as facts. Nothing there is changed, created or locked.

Counters are opened by the very code that guards open them with, in a copy: SQLite cannot look into a database that has
a log without writing beside it, and whoever opens a store leaves traces. A copy is taken again where somebody wrote in
between. Who holds locks is read in the kernel's list, for trying a lock would keep others from it.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

from guarded_tools.approvers.inbox import questions
from guarded_tools.approvers.protocol import is_gone
from guarded_tools.audit import audit_path, newest_first, verify, when
from guarded_tools.audit.read import files
from guarded_tools.doctor.state import (
    AuditFacts,
    Examined,
    Holder,
    Locks,
    Owned,
    PlaceFacts,
    StoreFacts,
    Waiting,
)
from guarded_tools.errors import StoreError
from guarded_tools.stores import Store, open_stop_button, open_store
from guarded_tools.stores.disk.address import disk_path, disk_url
from guarded_tools.stores.disk.directory import DATABASE, LOG, in_use
from guarded_tools.values import Halted

_COUNTERS: Final = "counters"
_MOST_COPIED: Final = 256 * 2**20
_MOST_VERIFIED: Final = 64 * 2**20
_MOST_READ: Final = 2**20
_TRIES: Final = 5
_MOST_LISTED: Final = 10_000
_KINDS: Final = {stat.S_IFREG: "-", stat.S_IFDIR: "d", stat.S_IFLNK: "l"}


def gathered(path: Path, url: str, name: str, option: str, now: Callable[[], float] = time.time) -> Examined:
    """Look at the state directory ``path`` and at the store of ``url``, which goes by ``name``."""
    path = path.absolute()
    place = _place(path)
    counters = disk_path(url)
    store: Store | None = None
    facts = StoreFacts(name)
    try:
        with tempfile.TemporaryDirectory(prefix="guarded-tools-doctor-") as folder:
            facts, store = _examined(counters, url, name, Path(folder))
            audit = _audit(audit_path(path), store)
            if store is not None:
                store.close()
    except OSError as error:
        facts = facts._replace(skipped=f"no copy could be made to look into: {error.strerror}")
        audit = _audit(audit_path(path), None)
    locks = Locks() if counters is None else _locks(counters / _COUNTERS)
    return Examined(place, locks, facts, audit, os.geteuid(), now(), option)


def _place(path: Path) -> PlaceFacts:
    top = _owned(path)
    nearest = path
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    writable = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    free, inodes, read_only = -1, -1, False
    with suppress(OSError):
        found = os.statvfs(nearest)
        free, read_only = found.f_bavail * found.f_frsize, bool(found.f_flag & os.ST_RDONLY)
        inodes = found.f_favail if found.f_files else -1
    inside: list[Owned] = []
    unlisted = ""
    if top is not None and top.kind == "d":
        try:
            inside = list(_inside(path))
        except OSError as error:
            unlisted = error.strerror or str(error)
    return PlaceFacts(
        path, top, nearest, writable, read_only, free, inodes, _file_system(nearest), tuple(inside), unlisted
    )


def _owned(path: Path) -> Owned | None:
    """Look at what a name leads to; a state directory itself may be a link to one."""
    try:
        found = path.stat()
    except OSError:
        return None
    return _as_owned(path, found)


def _as_owned(path: Path, found: os.stat_result) -> Owned:
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), "?")
    return Owned(path, kind, found.st_uid, stat.S_IMODE(found.st_mode), found.st_mtime)


def _inside(path: Path) -> Iterator[Owned]:
    """List what stands in the state directory and in its counters; of links, the links themselves."""
    for folder in (path, path / _COUNTERS):
        try:
            names = sorted(folder.iterdir())[:_MOST_LISTED]
        except (FileNotFoundError, NotADirectoryError):
            continue
        for name in names:
            with suppress(FileNotFoundError):
                found = name.lstat()
                yield _as_owned(name, found)


def _file_system(path: Path) -> str:
    """Return the kernel's name of the file system that a path is on, empty where there is no list of mounts."""
    real = os.path.realpath(path)
    best, kind = "", ""
    with suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            before, _, behind = line.partition(" - ")
            mounted = before.split(" ")[4].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
            under = real == mounted or real.startswith(mounted.rstrip("/") + "/")
            if under and len(mounted) >= len(best):
                best, kind = mounted, behind.split(" ")[0]
    return kind


def _examined(counters: Path | None, url: str, name: str, folder: Path) -> tuple[StoreFacts, Store | None]:
    """Open a store, of one on disk a copy in ``folder``, and say what is in it."""
    replaced = ("", "")
    try:
        if counters is not None:
            own = counters / _COUNTERS
            if not in_use(own):
                return StoreFacts(name, new=True, halts=_halts_alone(url)), None
            why_not = _copied(own, folder / _COUNTERS)
            if why_not:
                return StoreFacts(name, skipped=why_not, halts=_halts_alone(url)), None
            replaced, url = (str(folder), str(counters)), disk_url(folder)
        store = open_store(url)
        waiting = [Waiting(one.request.tool, one.asked_at, is_gone(one.asker, one.pid)) for one in questions(store)]
        return StoreFacts(name, halts=store.halts(), questions=waiting), store
    except StoreError as error:
        return StoreFacts(name, fault=str(error).replace(*replaced) if replaced[0] else str(error)), None


def _halts_alone(url: str) -> list[Halted]:
    return open_stop_button(url).halts()


def _copied(source: Path, target: Path) -> str:
    """Copy counters as they are at one moment; returns why it could not be done."""
    target.mkdir(mode=0o700)
    for _ in range(_TRIES):
        before = _moment(source)
        if sum(_size(source / name) for name in (DATABASE, LOG)) > _MOST_COPIED:
            return f"they are larger than {_MOST_COPIED // 2**20} MB"
        try:
            for path in source.iterdir():
                # Not the index of the log, which is made anew, nor the lock.
                if path.name in {DATABASE, LOG} or path.suffix == ".json":
                    shutil.copyfile(path, target / path.name, follow_symlinks=False)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            return f"{error.filename} cannot be read: {error.strerror}"
        if _moment(source) == before:
            return ""
        for path in target.iterdir():
            path.unlink()
    return "somebody writes all the time"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _moment(folder: Path) -> Sequence[tuple[int, ...]]:
    """What shows that the database was written to, or its log begun anew: of the log, appended lines do not matter."""
    found: list[tuple[int, ...]] = []
    with suppress(OSError):
        database = (folder / DATABASE).stat()
        found.append((database.st_size, database.st_ino, database.st_mtime_ns))
    with suppress(OSError), (folder / LOG).open("rb") as log:
        found.append((0, os.fstat(log.fileno()).st_ino, *log.read(32)))
    return found


def _locks(counters: Path) -> Locks:
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return Locks()
    return Locks(_holding(lines, counters), _holding(lines, counters / "lock"))


def _holding(lines: Sequence[str], path: Path) -> list[Holder]:
    try:
        found = path.stat()
    except OSError:
        return []
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    # As in `1: FLOCK  ADVISORY  READ 7999 fe:00:2269267 0 EOF`; who waits has an arrow behind the number.
    held = [words for line in lines if (words := line.split())[1:2] == ["FLOCK"] and place in words]
    pids = sorted({int(words[4]) for words in held} - {os.getpid()})
    return [Holder(pid, _command(pid)) for pid in pids]


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "of which no more is known"
    return " ".join(word.decode("utf-8", "replace") for word in words if word)[:200] or "no command"


def _audit(path: Path, store: Store | None) -> AuditFacts | None:
    try:
        there = files(path)
        size = sum(file.stat().st_size for file in there)
    except OSError as error:
        return AuditFacts(path, 0, fault=error.strerror or str(error))
    if not there and store is None:
        return None
    try:
        latest = islice(newest_first(path, most_bytes=_MOST_READ), _MOST_LISTED)
        last = max(map(when, latest), default=0.0)
        if size > _MOST_VERIFIED:
            return AuditFacts(path, size, last=last, skipped=f"it is larger than {_MOST_VERIFIED // 2**20} MB")
        found = verify(path, store)
    except (OSError, StoreError) as error:
        return AuditFacts(path, size, fault=str(getattr(error, "strerror", None) or error))
    if not there and not found:
        return None
    faults = [str(finding) for finding in found if not finding.tolerated and finding.fault != "headless"]
    doubts = [str(finding) for finding in found if finding.fault == "headless"]
    return AuditFacts(path, size, faults, doubts, len(found) - len(faults) - len(doubts), last)
