"""Run every subject that is installed here, and print a table."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.comparison.subjects import SUBJECTS

LIMIT = 30
PROCESSES = 4
TRIES = 20


def sent(folder: Path) -> int:
    """How many messages left, by the tool's own account."""
    log = folder / "sent"
    return len(log.read_bytes()) if log.exists() else 0


def start(subject: str, folder: Path, tries: int) -> subprocess.Popen[bytes]:
    """Start a process that tries to send so many messages."""
    words = [sys.executable, "-m", "benchmarks.comparison.subjects", subject, str(folder), str(LIMIT), str(tries)]
    return subprocess.Popen(words)


def ended(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process.

    Raises:
        RuntimeError: it failed, so that what it sent says nothing.
    """
    if process.wait(300):
        raise RuntimeError(f"{process.args!r} failed")


def at_once(subject: str) -> int:
    """Count what four processes send of 20 each, at the same time, in one session."""
    with tempfile.TemporaryDirectory() as name:
        processes = [start(subject, Path(name), TRIES) for _ in range(PROCESSES)]
        for process in processes:
            ended(process)
        return sent(Path(name))


def one_by_one(subject: str) -> int:
    """Count what is sent when a process takes up the session where the one before it ended."""
    with tempfile.TemporaryDirectory() as name:
        for _ in range(PROCESSES):
            ended(start(subject, Path(name), TRIES))
        return sent(Path(name))


def directly(subject: str) -> int:
    """Count what code sends that calls the tool it was handed, not the agent."""
    with tempfile.TemporaryDirectory() as name:
        ended(start(subject, Path(name), -TRIES * PROCESSES))
        return sent(Path(name))


def measured(subject: str) -> dict[str, int]:
    """Measure one subject: messages sent of 80 tried, of which 30 may."""
    return {"at once": at_once(subject), "one by one": one_by_one(subject), "directly": directly(subject)}


if __name__ == "__main__":
    for each, needs in SUBJECTS.items():
        if importlib.util.find_spec(needs) is None:
            print(f"{each}: not measured, {needs} is not installed")
        else:
            print(f"{each}: {measured(each)}")
