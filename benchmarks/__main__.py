"""``make bench``: every benchmark in one run, written to ``benchmarks/results.md``. ``--quick`` takes fewer samples."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import sqlite3
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.common import measure, table

SUITES = (
    "policy",
    "stores",
    "overhead",
    "generations",
    "gateway",
    "audit",
    "budget",
    "replay",
    "page",
    "service",
    "slow",
)
RESULTS = Path(__file__).parent / "results.md"
PACKAGES = (
    "guarded-tools",
    "langchain-core",
    "langgraph",
    "langchain-mcp-adapters",
    "mcp",
    "pydantic",
    "diskcache",
    "redis",
    "fastapi",
    "uvicorn",
)


def main() -> int:
    """Run all suites and return how many bounds are not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="*", default=SUITES, help=f"of {', '.join(SUITES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="fewer samples, figures less sure")
    chosen = parser.parse_args()
    began = time.monotonic()
    sections, broken = [], 0
    for suite in chosen.suites:
        print(f"\n## {suite}\n", flush=True)
        start = time.monotonic()
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
            rows = alone.submit(measure, suite, chosen.quick).result()
        broken += sum(not row.holds for row in rows)
        text = table(rows)
        print(f"{text}\n\n{time.monotonic() - start:.0f} s", flush=True)
        sections.append(f"## {suite}\n\n{text}\n")
    if not chosen.quick and tuple(chosen.suites) == SUITES:
        head = "\n".join(["# What it costs", "", *_about(time.monotonic() - began), ""])
        RESULTS.write_text("\n".join([head, *sections]), encoding="utf-8")
        print(f"\nwritten to {RESULTS.relative_to(Path.cwd()) if RESULTS.is_relative_to(Path.cwd()) else RESULTS}")
    print(f"\n{broken} bounds are not kept" if broken else "\nevery bound is kept")
    return broken


def _about(took: float) -> Iterator[str]:
    yield "One run of `make bench`; ratios first, since they carry over from one machine to another."
    yield ""
    yield f"- {_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"
    yield f"- {platform.python_implementation()} {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    yield f"- {', '.join(_versions())}"
    yield f"- {time.strftime('%Y-%m-%d', time.gmtime())}, {took / 60:.1f} minutes"


def _versions() -> Iterator[str]:
    for package in PACKAGES:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            yield f"{package} not installed"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    sys.exit(bool(main()))
