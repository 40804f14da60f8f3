"""What a replay costs: a million lines of an audit, and whether memory grows with their number."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.common import RATIO, Row, table
from guarded_tools import Policy
from guarded_tools.audit import AuditLog
from guarded_tools.values import AuditEvent

LINES: Final = 1_000_000
SESSIONS: Final = 500
_START: Final = 1_800_000_000.0
_SECONDS_APART: Final = 3
_PREFIX: Final = "shop/"

_OLD: Final = {
    "version": "1",
    "default": "deny",
    "server": "shop",
    "all_tools": {"limits": [{"counter": "all", "window": "hour", "max": 100_000, "scope": "global"}]},
    "tools": {
        "list_orders": {"rate_limit": "60/minute"},
        "refund": {"limits": [{"counter": "refunded", "window": "day", "max": 10_000, "count": "args.amount"}]},
    },
}
NEW: Final = {
    "version": "1",
    "default": "deny",
    "server": "shop",
    "all_tools": {"limits": [{"counter": "all", "window": "hour", "max": 1_000, "scope": "global"}]},
    "tools": {
        "list_orders": {"rate_limit": "20/hour", "labels": ["private"]},
        "refund": {
            "require": [{"path": "args.amount", "op": "lte", "value": 90}],
            "limits": [{"counter": "refunded", "window": "day", "max": 600, "count": "args.amount"}],
            "approval": {"when": [{"path": "args.amount", "op": "gt", "value": 50}]},
            "after": [{"labels": ["private"], "when": [{"path": "args.note", "op": "exists"}], "then": "deny"}],
        },
    },
}
"""What the lines are played to: conditions, an approval, a rule across calls, limits of one and of all sessions."""

# In a process of its own: /proc tells the most memory that it ever had, and not what it was started from.
_PLAY: Final = """
import sys
from guarded_tools.cli.app import main
try:
    main(sys.argv[1:])
finally:
    print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")), file=sys.stderr)
"""


def write(path: Path, lines: int) -> None:
    """Write an audit: most calls admitted and settled, each tenth refused; of the amounts, half are logged."""
    policy = Policy.model_validate(_OLD).fingerprint
    now = _START
    log = AuditLog(path, clock=lambda: now)
    batch: list[tuple[AuditEvent]] = []
    call = written = 0
    while written < lines:
        call += 1
        for event in _call(call, policy):
            batch.append((event,))
            written += 1
        if call % SESSIONS == 0 or written >= lines:
            log.write_together(batch)
            batch.clear()
        now = _START + call * _SECONDS_APART
    log.close()


def _call(number: int, policy: str) -> Iterator[AuditEvent]:
    session, amount = f"session-{number % SESSIONS}", number % 100
    pays = number % 3 == 0
    scope = f"session:{session}"
    event = AuditEvent(
        "refused" if number % 10 == 0 else "admitted",
        tool="refund" if pays else "list_orders",
        session=session,
        key=f"{number:016x}",
        outcome="denied" if number % 10 == 0 else None,
        rule="/tools/refund" if pays else "/tools/list_orders",
        server="shop",
        call_id=f"call_{number:024x}",
        args=("amount", "order") if pays else ("page",),
        values={"args.amount": amount} if pays and number % 2 else None,
        policy=policy,
        charges=(
            (scope, f"{_PREFIX}refund/refunded", amount, 10_000, 86_400)
            if pays
            else (scope, f"{_PREFIX}list_orders/rate_limit", 1, 60, 60),
            ("global", f"{_PREFIX}*/all", 1, 100_000, 3600),
        ),
        guard_ms=0.1234,
        trace={"run": "01a20ccb-c370-71bd-9776-878286d399df"},
    )
    yield event
    if event.kind == "admitted":
        yield event._replace(kind="settled", outcome="ok", args=(), values=None, tool_ms=2.345)


class _Played(NamedTuple):
    """What a replay took: seconds by the wall's clock, seconds of processors, megabytes at most."""

    wall: float
    busy: float
    memory: float


def _play(folder: Path, lines: int) -> _Played:
    folder.mkdir()
    (folder / "policy.json").write_text(json.dumps(NEW), encoding="utf-8")
    write(folder / "audit.jsonl", lines)
    command = [sys.executable, "-c", _PLAY, "replay", "policy.json", "--audit", "audit.jsonl", "--allow-widening"]
    began, used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*command, "--json"], cwd=folder, capture_output=True, text=True, check=True)
    took, uses = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    kinds = json.loads(done.stdout)["counts"]
    assert sum(kinds.values()) > lines / 2, kinds
    assert len([kind for kind, count in kinds.items() if count]) > 3, kinds  # it is no replay where all is alike
    busy = uses.ru_utime + uses.ru_stime - used.ru_utime - used.ru_stime
    return _Played(took, busy, int(done.stderr.split("VmHWM:")[1].split()[0]) / 1024)


def rows(quick: bool) -> Iterator[Row]:
    """Time for a million lines, and memory for a tenth of them and for all."""
    most = LINES // 10 if quick else LINES
    with tempfile.TemporaryDirectory() as folder:
        few = _play(Path(folder, "few"), most // 10)
        many = _play(Path(folder, "many"), most)
    note = f"{many.busy:.1f} s of one core, {most / many.busy:,.0f} lines a second"
    yield Row(f"{most:,} lines of an audit replayed, by the command", many.wall, "s", 60 * most / LINES, note)
    yield Row(f"memory for {most // 10:,} lines", few.memory, "MB", note="at most, libraries included")
    yield Row(f"memory for {most:,} lines", many.memory, "MB", note="at most, libraries included")
    yield Row(f"memory, {most:,} lines over {most // 10:,}", many.memory / few.memory, RATIO, 1.3)


if __name__ == "__main__":
    print(table(rows("--quick" in sys.argv)))
