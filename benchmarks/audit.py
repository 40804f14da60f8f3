"""What the audit costs: two lines a call, many writers at once, and reading it all back."""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks import floors
from benchmarks.common import RATIO, Row, paired_us, table
from guarded_tools import Guard, Policy, plots
from guarded_tools.audit import AuditLog, export, newest_first, read, verify
from guarded_tools.audit.log import Fsync
from guarded_tools.audit.refusals import summarise
from guarded_tools.audit.summary import calls
from guarded_tools.audit.tail import latest_calls
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


class _Bare(AuditLog):
    """An audit that writes the floor of two lines in place of the first one, and nothing in place of the second."""

    floor: Callable[[], None]

    def write(self, event: AuditEvent) -> None:
        if event.kind == "admitted":
            self.floor()


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


def _floor(folder: Path) -> Callable[[], None]:
    """The least that two chained lines can cost; the making of the events is in both."""
    admitted, settled = (floors.line(folder, _fields(_event(kind))) for kind in ("admitted", "settled"))

    def body() -> None:
        _event("admitted")
        admitted()
        _event("settled")
        settled()

    return body


def _fields(event: AuditEvent) -> dict[str, object]:
    return {name: value for name, value in event._asdict().items() if value}


def _in_a_call(folder: Path, blocks: int) -> tuple[float, float]:
    """A guarded call with the floor of an audit and with the audit.

    The body does what a small tool does, so that caches are as cold.
    """
    payload = json.dumps([{"id": n, "name": f"template {n}", "tags": ["a", "b"]} for n in range(60)])

    def body(_: dict[str, object]) -> object:
        return json.loads(payload)

    def calling(audit: AuditLog) -> Callable[[], object]:
        guard = Guard(POLICY, store=open_store("memory://"), audit=audit)
        return lambda: guard.call(CALL, body)

    bare, real = _Bare(folder / "silent.jsonl"), AuditLog(folder / "call.jsonl")
    bare.floor = _floor(folder / "bare-call")
    return paired_us(calling(bare), calling(real), blocks=blocks, size=25)


def _write_many(path: str, kind: str, count: int, ready: Any, note: str) -> None:
    if kind == "bare":
        body = floors.line(Path(path).parent, _fields(_event("settled")))
    else:
        log, made = AuditLog(path), _event("settled")
        body = partial(log.write, made)
    body()
    took = []
    ready.wait(120)
    start = time.time()
    for _ in range(count):
        began = time.perf_counter_ns()
        body()
        took.append(time.perf_counter_ns() - began)
    told = start, time.time(), statistics.quantiles(took, n=100)[98] / 1e6, max(took) / 1e6
    Path(note).write_text(json.dumps(told), encoding="utf-8")


def _together(folder: Path, kind: str, count: int) -> tuple[float, float, float]:
    """Lines a second, p99 and worst wait in milliseconds, with eight processes writing as fast as they can."""
    folder.mkdir()
    context = multiprocessing.get_context("spawn")
    path, ready = folder / "many.jsonl", context.Barrier(WRITERS)
    notes = [folder / f"note-{number}" for number in range(WRITERS)]
    processes = [context.Process(target=_write_many, args=(str(path), kind, count, ready, str(note))) for note in notes]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    told = list(zip(*(json.loads(note.read_text(encoding="utf-8")) for note in notes), strict=True))
    if kind != "bare" and (list(verify(path)) or sum(1 for _ in read(path)) != WRITERS * (count + 1)):
        raise RuntimeError("lines were lost under load")
    return WRITERS * count / (max(told[1]) - min(told[0])), statistics.median(told[2]), max(told[3])


def _writers(folder: Path, count: int) -> Iterator[Row]:
    """Eight processes that write, against bare ones that take the same lock and make the same system calls."""
    bare, ours = _together(folder / "eight-bare", "bare", count), _together(folder / "eight", "ours", count)
    note = f"{ours[0]:,.0f}/s over {bare[0]:,.0f}/s; none lost, one chain"
    yield Row(f"lines of {WRITERS} processes, over bare ones", ours[0] / bare[0], RATIO, 0.15, note, at_least=True)
    note = f"{ours[2]:.0f} ms over {bare[2]:.0f} ms; p99 {ours[1]:.2f} ms over {bare[1]:.2f} ms"
    yield Row(f"worst wait of {WRITERS} saturated processes, over bare ones", ours[2] / bare[2], RATIO, 5, note)


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


def rows(quick: bool = False) -> Iterator[Row]:
    """Measure; ``quick`` takes a tenth of the samples."""
    blocks = 8 if quick else 60
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from lines(folder, blocks)
        with _log(folder, "plain") as log:
            plain = _two_lines(log)
            with _log(folder, "kept", stored=True) as other:
                without, kept = paired_us(plain, _two_lines(other), blocks=blocks)
            note = f"{kept:.1f} µs over {without:.1f} µs"
            yield Row("two lines, the head kept in a disk store, over without", kept / without, RATIO, 1.25, note)
            for fsync in ("second", "always"):
                few = 2 if fsync == "always" else blocks
                with _log(folder, fsync, fsync) as other:
                    without, forced = paired_us(plain, _two_lines(other), blocks=few, size=20)
                note = f"{without:.1f} µs without; the difference is the disk's flush"
                yield Row(f'two lines, fsync="{fsync}"', forced, "µs", None, note)
        yield from _writers(folder, 500 if quick else 5000)
        yield from _reading(folder, 2_000 if quick else 50_000)


def lines(folder: Path, blocks: int) -> Iterator[Row]:
    """Two lines one after the other, and in a guarded call, over their floor."""
    with _log(folder, "hot") as log:
        floor, ours = paired_us(_floor(folder / "bare"), _two_lines(log), blocks=blocks)
    yield Row("two lines, over their floor", ours / floor, RATIO, 3, f"{ours:.1f} µs over {floor:.1f} µs")
    bare, audited = _in_a_call(folder, blocks)
    note = f"{audited:.0f} µs over {bare:.0f} µs, in blocks of 25"
    yield Row("a guarded call in memory with its audit, over one with the floor", audited / bare, RATIO, 1.6, note)


def _exported(path: Path) -> int:
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        return export(read(path), nowhere)


def _reading(folder: Path, count: int) -> Iterator[Row]:
    """Read a log that grew by a line a second: all of it, and its end, which must not cost more where it is longer."""
    path, start = folder / "long.jsonl", 1_700_000_000
    seconds = iter(range(start, start + count))
    with AuditLog(path, clock=lambda: next(seconds)) as log:
        for number in range(count // 2):
            log.write(_event("admitted", number))
            log.write(_event("settled", number))
    whole: dict[str, Callable[[], object]] = {
        "reading": lambda: sum(1 for _ in read(path)),
        "reading, joined into calls and summarised": lambda: summarise(calls(read(path))),
        "exported as CSV": lambda: _exported(path),
        "drawn on one page": lambda: plots.overview(path),
        "verifying": lambda: verify(path),
    }
    for name, body in whole.items():
        cost = statistics.median(_per_line_us(body, count) for _ in range(3))
        yield Row(name, cost, "µs/line", None, f"{count:,} lines")
    ends: dict[str, Callable[[], object]] = {
        "the latest 50 records": lambda: list(islice(newest_first(path), 50)),
        "the latest 15 calls": lambda: latest_calls(path),
        "the records of the last five minutes": lambda: list(read(path, since=start + count - 300)),
    }
    for name, body in ends.items():
        cost = statistics.median(_per_line_us(body, 1000) for _ in range(5))
        yield Row(name, cost, "ms", None, f"of {count:,} lines")


if __name__ == "__main__":
    print(table(rows()))
