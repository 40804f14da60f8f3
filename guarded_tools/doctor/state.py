"""What is to be said of a state directory. Pure: what was found in it is handed in."""

from __future__ import annotations

import shlex
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from guarded_tools.doctor.remark import Level, Remark
from guarded_tools.files import is_draft
from guarded_tools.text.units import counted, date_and_time, soon
from guarded_tools.text.visible import one_line
from guarded_tools.values import GLOBAL, Halted

# fmt: off
NETWORKS: Final = frozenset({
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "gpfs", "lustre",
    "nfs", "nfs4", "prl_fs", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs",
})
# fmt: on
"""File systems, by the kernel's names, that others share over a network or between machines."""

_TIGHT: Final = 64 * 1024 * 1024
_NOTHING: Final = 256 * 1024
_BACKWARDS: Final = 5.0
_WRITTEN: Final = 60.0  # seconds: nobody writes a file for so long
_MOST_NAMED: Final = 3


class Owned(NamedTuple):
    """A file or directory: whose it is, who may do what, when it was written. ``kind`` is as ``ls`` has it."""

    path: Path
    kind: str
    owner: int
    mode: int
    changed: float = 0.0


class Holder(NamedTuple):
    """A process that holds a lock, and its command as far as that may be seen."""

    pid: int
    command: str


class Waiting(NamedTuple):
    """An open question: of which tool, since when, and whether whoever asked is certainly gone."""

    tool: str
    since: float
    gone: bool


class StoreFacts(NamedTuple):
    """What a store says of itself.

    ``fault`` is the error it was opened with, ``skipped`` why it was not examined; with either, nothing is known of
    what is in it. ``new`` is whether no guard ever used it.
    """

    where: str
    new: bool = False
    fault: str = ""
    skipped: str = ""
    halts: Sequence[Halted] = ()
    questions: Sequence[Waiting] = ()


class Locks(NamedTuple):
    """Who is in the counters, and who keeps others from entering; ``None`` where the system has no list of locks."""

    inside: Sequence[Holder] | None = None
    entering: Sequence[Holder] | None = None


class AuditFacts(NamedTuple):
    """What an audit says of itself: what is wrong with its chain, how many pieces of lines, and its last line's time.

    ``doubts`` are heads that are missing, so that a cut could not be seen. ``skipped`` says why nothing was checked.
    """

    path: Path
    size: int
    faults: Sequence[str] = ()
    doubts: Sequence[str] = ()
    torn: int = 0
    last: float = 0.0
    fault: str = ""
    skipped: str = ""


class PlaceFacts(NamedTuple):
    """What was found of a state directory: ``top`` is ``None`` where it is not there, ``nearest`` what is above it.

    ``free`` is in bytes, ``inodes`` in files, ``-1`` where nobody tells. ``unlisted`` says why it cannot be looked
    into.
    """

    path: Path
    top: Owned | None
    nearest: Path
    writable: bool
    read_only: bool
    free: int
    inodes: int
    file_system: str
    inside: Sequence[Owned] = ()
    unlisted: str = ""


class Examined(NamedTuple):
    """All that was found. ``option`` is what makes other commands look at the same state; ``we`` is who looks."""

    place: PlaceFacts
    locks: Locks
    store: StoreFacts
    audit: AuditFacts | None
    we: int
    now: float
    option: str = ""


def judge_state(found: Examined) -> list[Remark]:
    """Say what is right and wrong with a state directory and its store, what refuses calls first."""
    remarks = [*_place(found), *_room(found.place), *_store(found)]
    if found.place.top is not None:
        remarks += [*_locks(found.locks), *_audit(found), *_leftovers(found)]
    return remarks


def _place(found: Examined) -> Iterator[Remark]:
    place, about = found.place, "state"
    path = shlex.quote(str(place.path))
    if place.top is None:
        if place.writable:
            yield Remark("ok", about, f"{place.path} is not there yet; the first guard makes it")
        else:
            said = f"{place.path} is not there, and {place.nearest} may not be written to, so no guard can make it"
            yield Remark("wrong", about, said, "export GUARDED_TOOLS_HOME=~/.guarded-tools")
        return
    if place.top.kind != "d":
        yield Remark("wrong", about, f"{place.path} is not a directory", "export GUARDED_TOOLS_HOME=~/.guarded-tools")
        return
    if place.top.owner != found.we:
        said = f"{place.path} belongs to another user (uid {place.top.owner}; this is {found.we})"
        yield Remark("wrong", about, said, f"sudo chown -R {found.we} {path}")
    elif place.top.mode & (stat.S_IWGRP | stat.S_IWOTH):
        said = f"others may write into {place.path}, and so could forge counters and audit: every call is refused"
        yield Remark("wrong", about, said, f"chmod 700 {path}")
    elif place.unlisted:
        yield Remark("wrong", about, f"{place.path} cannot be looked into: {place.unlisted}", f"chmod 700 {path}")
    elif place.read_only:
        yield Remark("wrong", about, f"{place.path} is on a file system that is read-only", f"findmnt -T {path}")
    elif not place.writable:
        yield Remark("wrong", about, f"{place.path} may not be written to", f"chmod 700 {path}")
    else:
        yield Remark("ok", about, f"{place.path}: yours alone")
    yield from _files(found)


def _files(found: Examined) -> Iterator[Remark]:
    strangers = [one for one in found.place.inside if one.owner != found.we]
    if strangers and found.place.top is not None and found.place.top.owner == found.we:
        said = f"of another user, and refused: {_some([str(one.path) for one in strangers])}"
        yield Remark("wrong", "files", said, f"sudo chown -R {found.we} {shlex.quote(str(found.place.path))}")
    open_to_all = [one for one in found.place.inside if one.kind == "d" and one.mode & (stat.S_IWGRP | stat.S_IWOTH)]
    for one in open_to_all:
        said = f"others may write into {one.path}, and so could forge what is in it"
        yield Remark("wrong", "files", said, f"chmod 700 {shlex.quote(str(one.path))}")
    odd = [one for one in found.place.inside if one.kind not in "-d"]
    if odd:
        said = f"neither a file nor a directory, and refused: {_some([str(one.path) for one in odd])}"
        yield Remark("wrong", "files", said, f"ls -la {shlex.quote(str(odd[0].path.parent))}")


def _room(place: PlaceFacts) -> Iterator[Remark]:
    path = shlex.quote(str(place.path if place.top else place.nearest))
    if place.file_system in NETWORKS:
        said = (
            f"{place.path} is on {place.file_system}, which machines share: locks are not to be relied on, so limits"
            " may be exceeded. Take a local disk, or Redis"
        )
        yield Remark("wrong", "file system", said, "export GUARDED_TOOLS_HOME=/var/lib/guarded-tools")
    if 0 <= place.free < _NOTHING or place.inodes == 0:
        what = "no files" if place.inodes == 0 else "no space"
        said = f"{what} left on the disk: calls are refused, for they cannot be counted and written down"
        yield Remark("wrong", "disk", said, f"df -h {path}")
    elif 0 <= place.free < _TIGHT:
        said = f"only {place.free / 2**20:.0f} MB left: once it is full, calls are refused"
        yield Remark("warning", "disk", said, f"df -h {path}")
    elif place.free >= 0:
        yield Remark("ok", "disk", f"{place.free / 2**30:,.1f} GB free")


def _store(found: Examined) -> Iterator[Remark]:
    store = found.store
    if store.fault:
        lost = "reset --confirm" in store.fault
        command = "reset --confirm" if lost else "status"
        yield Remark("wrong", "counters", one_line(store.fault), f"guarded-tools {command}{found.option}")
    elif store.skipped:
        said = f"not examined: {store.skipped}"
        yield Remark("warning", "counters", said, f"guarded-tools status{found.option}")
    elif store.new:
        yield Remark("ok", "counters", f"no guard has used {store.where} yet")
    else:
        yield Remark("ok", "counters", f"{store.where} opens, and holds what it should")
    for halted in store.halts:
        kind, _, name = halted.scope.partition(":")
        whose = "" if halted.scope == GLOBAL else f" --{kind} {shlex.quote(name)}"
        said = f"{halted.scope} is halted since {_utc(halted.since)}: {halted.reason}"
        yield Remark("warning", "stop button", one_line(said), f"guarded-tools resume{whose}{found.option}")
    if store.questions:
        gone = sum(one.gone for one in store.questions)
        of_gone = f", {gone} of them from a process that is gone" if gone else ""
        oldest = min(store.questions, key=lambda one: one.since)
        said = f"{counted(len(store.questions), 'question')} open{of_gone}; {oldest.tool} since {_utc(oldest.since)}"
        level: Level = "warning" if gone else "ok"
        yield Remark(level, "questions", one_line(said), f"guarded-tools approvals{found.option}")


def _locks(locks: Locks) -> Iterator[Remark]:
    for holder in locks.entering or ():
        said = (
            f"process {holder.pid} ({holder.command}) keeps others from opening the counters. That takes milliseconds;"
            " if it is still so when you look again, it hangs"
        )
        yield Remark("warning", "lock", one_line(said), f"ps -fp {holder.pid}")
    if locks.inside:
        told = _some([f"{holder.pid} ({holder.command})" for holder in locks.inside])
        yield Remark("ok", "in use by", one_line(told))


def _audit(found: Examined) -> Iterator[Remark]:
    audit, about = found.audit, "audit"
    if audit is None:
        yield Remark("ok", about, "nothing was written yet")
        return
    check = f"guarded-tools audit verify{found.option}"
    if audit.fault:
        yield Remark("wrong", about, f"{audit.path} cannot be read: {audit.fault}", check)
    for fault in audit.faults[:_MOST_NAMED]:
        yield Remark("wrong", about, one_line(fault), check)
    if len(audit.faults) > _MOST_NAMED:
        yield Remark("wrong", about, f"and {len(audit.faults) - _MOST_NAMED:,} more faults in its chain", check)
    for doubt in audit.doubts:
        yield Remark("warning", about, one_line(doubt), check)
    if audit.torn:
        said = f"{counted(audit.torn, 'piece')} of a line, as a crash leaves it; nothing is missing for it"
        yield Remark("warning", about, said, check)
    if audit.skipped:
        yield Remark("ok", about, f"its chain was not checked: {audit.skipped}", check)
    elif not (audit.fault or audit.faults or audit.doubts or audit.torn):
        yield Remark("ok", about, f"{audit.path}: every line is as it was written")
    ahead = audit.last - found.now
    if ahead > _BACKWARDS:
        said = (
            f"the audit's last line is from {_utc(audit.last)}, {soon(ahead)} from now: the clock was set back, and"
            " what was counted then may take that much longer to free"
        )
        yield Remark("warning", "clock", said, "date -u")


def _leftovers(found: Examined) -> Iterator[Remark]:
    """Tell of drafts of files that were being replaced when a process was killed."""
    old = [one.path for one in found.place.inside if one.kind == "-" and found.now - one.changed > _WRITTEN]
    drafts = [path for path in old if is_draft(path.name)]
    if drafts:
        said = f"{counted(len(drafts), 'draft')} of a file that a killed process was writing; nothing reads them"
        told = " ".join(shlex.quote(str(path)) for path in drafts[:_MOST_NAMED])
        yield Remark("warning", "leftovers", said, f"rm {told}")


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _utc(moment: float) -> str:
    return f"{date_and_time(moment)} UTC"
