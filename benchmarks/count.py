"""How many system calls a guarded call makes, and how many its floor: a figure that is the same on every machine.

``strace -c`` counts those of a process that makes a hundred calls, and those of one that makes three hundred; the
difference is two hundred calls' own. Nothing is counted where no strace is installed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common import RATIO, Row, table

FEW, MANY = 100, 300


def rows(quick: bool = False) -> Iterator[Row]:
    """Count; ``quick`` changes nothing."""
    del quick
    if shutil.which("strace") is None:
        return
    guarded, bare = (_counted(kind) for kind in ("guarded", "bare"))
    total, least = sum(guarded.values()), sum(bare.values())
    note = f"{_told(guarded)}; the floor: {_told(bare)}"
    yield Row("system calls of a guarded call, over its floor's", total / least, RATIO, 1.15, note)


def _told(counts: Counter[str]) -> str:
    each = ", ".join(f"{round(count)} {name}" for name, count in counts.most_common() if round(count))
    return f"{sum(counts.values()):.1f} ({each})"


def _counted(kind: str) -> Counter[str]:
    few, many = _trace(kind, FEW), _trace(kind, MANY)
    return Counter({name: (many[name] - few[name]) / (MANY - FEW) for name in many if many[name] > few[name]})


def _trace(kind: str, calls: int) -> Counter[str]:
    with tempfile.TemporaryDirectory() as folder:
        summary = Path(folder) / "summary"
        words = ["strace", "-f", "-c", "-U", "calls,name", "-o", str(summary), sys.executable, "-m", "benchmarks.count"]
        subprocess.run([*words, kind, str(calls)], check=True)
        lines = [text.split() for text in summary.read_text(encoding="utf-8").splitlines()]
    return Counter(
        {words[1]: int(words[0]) for words in lines if len(words) == 2 and words[0].isdecimal() and words[1] != "total"}
    )


def _call(kind: str, times: int) -> None:
    from benchmarks import floors
    from benchmarks.guarded import ARGS, by_schema, guard_of

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        guard = guard_of(folder, "noop")
        (tool,) = guard.wrap([by_schema()])
        tool.invoke(ARGS)
        begin, end = floors.call(folder / "floor", folder / "counters", folder / "audit.jsonl")
        for _ in range(times):
            if kind == "guarded":
                tool.invoke(ARGS)
            else:
                begin()
                end()
        guard.audit.close()
        guard.store.close()


if __name__ == "__main__":
    _call(sys.argv[1], int(sys.argv[2])) if sys.argv[1:] else print(table(rows()))
