"""What the audit costs: two lines a call, many writers at once, and reading it all back."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.common import RATIO, Row, paired_us, table
from guarded_tools import Guard, Policy
from guarded_tools.audit import AuditLog, read, verify
from guarded_tools.audit.log import Fsync
from guarded_tools.stores import open_store
from guarded_tools.values import AuditEvent, ToolCall

WRITERS = 8

POLICY = Policy.model_validate(
    {
        "version": "1",
        "default": "deny",
        "server": "pictify",
        "all_tools": {"limits": [{"counter": "all", "window": "minute", "max": 10**9, "scope": "session"}]},
        "tools": {
            "pictify_track_experiment_events": {
                "limits": [{"counter": "calls", "window": "minute", "max": 10**8, "scope": "session"}]
            }
        },
    }
)
CALL = ToolCall(
    "pictify_track_experiment_events", {"experiment": "spring-sale", "events": []}, "session-1", id="call_1"
)
CHARGES = (
    ("session:session-1", "pictify/pictify_track_experiment_events/calls", 1, 30, 60),
    ("session:session-1", "pictify/*/all", 1, 600, 3600),
)


class _Silent(AuditLog):
    """An audit that writes nothing, to compare with."""

    def write(self, event: AuditEvent) -> None:
        del event


def _event(kind: str, number: int = 0) -> AuditEvent:
    return AuditEvent(
        kind,  # type: ignore[arg-type]
        tool=CALL.tool,
        session=CALL.session,
        key=f"{number:016x}",
        outcome="ok" if kind == "settled" else None,
        rule=f"/tools/{CALL.tool}",
        server="pictify",
        call_id=f"call_{number:024x}",
        args=("events", "experiment"),
        policy=POLICY.fingerprint,
        charges=CHARGES,
        guard_ms=0.1234,
        tool_ms=2.345 if kind == "settled" else None,
        trace={"run": "01a20ccb-c370-71bd-9776-878286d399df"},
    )


def _two_lines(log: AuditLog) -> Callable[[], None]:
    number = 0

    def body() -> None:
        nonlocal number
        number += 1
        log.write(_event("admitted", number))
        log.write(_event("settled", number))

    return body


def _two_events() -> Callable[[], None]:
    number = 0

    def body() -> None:
        nonlocal number
        number += 1
        _event("admitted", number)
        _event("settled", number)

    return body


def _floor(path: Path) -> Callable[[], None]:
    """The least that two chained lines can cost: encode, hash, append; no lock, no head, no clock, nothing masked."""
    descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    encode = json.JSONEncoder(separators=(",", ":")).encode
    prev = "0" * 64

    def body() -> None:
        nonlocal prev
        for kind in ("admitted", "settled"):
            fields = {name: value for name, value in _event(kind)._asdict().items() if value}
            line = encode(fields | {"prev": prev}).encode()
            prev = hashlib.sha256(line).hexdigest()
            os.write(descriptor, line + b"\n")

    return body


def _in_a_call(folder: Path, blocks: int) -> tuple[float, float]:
    """A guarded call without and with its audit; the body does what a small tool does, so that caches are as cold."""
    payload = json.dumps([{"id": n, "name": f"template {n}", "tags": ["a", "b"]} for n in range(60)])

    def body(_: dict[str, object]) -> object:
        return json.loads(payload)

    def calling(audit: AuditLog) -> Callable[[], object]:
        guard = Guard(POLICY, store=open_store("memory://"), audit=audit)
        return lambda: guard.call(CALL, body)

    silent, real = _Silent(folder / "silent.jsonl"), AuditLog(folder / "call.jsonl")
    return paired_us(calling(silent), calling(real), blocks=blocks, size=25)


def _write_many(path: str, count: int, start: float, waits: str) -> None:
    log = AuditLog(path)
    event = _event("settled")
    worst = 0
    time.sleep(max(0.0, start - time.time()))
    for _ in range(count):
        began = time.perf_counter_ns()
        log.write(event)
        worst = max(worst, time.perf_counter_ns() - began)
    Path(waits).write_text(f"{worst / 1e6} {time.time()}", encoding="utf-8")


def _writers(folder: Path, count: int) -> tuple[float, float]:
    """Lines a second and the worst wait in milliseconds, with eight processes writing as fast as they can."""
    context = multiprocessing.get_context("spawn")
    path = folder / "many.jsonl"
    start = time.time() + 3
    notes = [folder / f"note-{number}" for number in range(WRITERS)]
    processes = [context.Process(target=_write_many, args=(str(path), count, start, str(note))) for note in notes]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    ended = [note.read_text(encoding="utf-8").split() for note in notes]
    if [f.message for f in verify(path)] or sum(1 for _ in read(path)) != WRITERS * count:
        raise RuntimeError("lines were lost under load")
    took = max(float(end) for _, end in ended) - start
    return WRITERS * count / took, max(float(worst) for worst, _ in ended)


def _per_line_us(body: Callable[[], object], lines: int) -> float:
    start = time.perf_counter()
    body()
    return (time.perf_counter() - start) / lines * 1e6


@contextmanager
def _log(folder: Path, name: str, fsync: Fsync = "never", *, stored: bool = False) -> Iterator[AuditLog]:
    store = open_store(f"disk://{folder / 'store'}") if stored else None
    with AuditLog(folder / f"{name}.jsonl", fsync=fsync, store=store) as log:
        yield log
    if store is not None:
        store.close()


def rows(quick: bool = False) -> list[Row]:
    """Measure; ``quick`` takes a tenth of the samples."""
    blocks = 8 if quick else 60
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = []
        with _log(folder, "hot") as log:
            made, written = paired_us(_two_events(), _two_lines(log), blocks=blocks)
            floor, again = paired_us(_floor(folder / "floor.jsonl"), _two_lines(log), blocks=blocks)
        hot = written - made
        found.append(Row("two lines over the least that two chained lines can cost", again / floor, RATIO))
        found.append(Row("two lines, one after the other", hot, "µs", 40, "p50; the making of the events taken off"))
        bare, audited = _in_a_call(folder, blocks)
        note = f"p50; {bare:.0f} µs without, {audited:.0f} µs with, in blocks of 25"
        found.append(Row("what its audit adds to a guarded call", audited - bare, "µs", 40, note))
        with _log(folder, "kept", stored=True) as log:
            _, kept = paired_us(_two_events(), _two_lines(log), blocks=blocks)
        found.append(Row("two lines, the head kept in a disk store", kept - made, "µs", 40, "p50"))
        for fsync in ("second", "always"):
            with _log(folder, fsync, fsync) as log:
                _, forced = paired_us(
                    _two_events(), _two_lines(log), blocks=2 if fsync == "always" else blocks, size=20
                )
            found.append(Row(f'two lines, fsync="{fsync}"', forced - made, "µs", None, "p50; the disk's latency"))
        lines, worst = _writers(folder, 500 if quick else 5000)
        found.append(Row(f"lines of {WRITERS} processes", lines, "1/s", None, "none lost, one chain"))
        found.append(Row(f"worst wait of {WRITERS} saturated processes", worst, "ms", 100))
        found += _reading(folder, 2_000 if quick else 50_000)
    return found


def _reading(folder: Path, count: int) -> list[Row]:
    path = folder / "long.jsonl"
    with AuditLog(path) as log:
        for number in range(count):
            log.write(_event("settled", number))
    reading = statistics.median(_per_line_us(lambda: sum(1 for _ in read(path)), count) for _ in range(3))
    checking = statistics.median(_per_line_us(lambda: verify(path), count) for _ in range(3))
    return [
        Row("reading", reading, "µs/line", None, f"{count:,} lines"),
        Row("verifying", checking, "µs/line", None, f"{count:,} lines"),
    ]


if __name__ == "__main__":
    print(table(rows()))
