"""``make matrix``: tests in fresh environments, one after the other, and the page that says what came of it.

Each cell is a Python, the lowest or newest releases of other libraries and a generation of MCP, or a program that the
guard is used with. A Python that is not here is fetched by uv, or the page says that it was lacking. Results are
written after every cell to ``.ci/release/matrix.json``; what was not run again keeps its result, with its date.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from release.cells import ASK_FOR_NEWER, PARTS, SHOWN, Beside, Cell
from release.compatibility import Outcome, Results, read_results, rewritten

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = ROOT / ".ci" / "release" / "matrix.json"
PAGE: Final = ROOT / "docs" / "compatibility.md"

LONGEST: Final = 900
"""Seconds until the tests of a cell are given up."""

WHEELS: Final = ("--only-binary", ":all:", "--no-binary", "forbiddenfruit", "--no-binary", "guarded-tools")
"""What is not built for a Python yet does not count as allowed there; but for a part of our tests, and ourselves."""


class CannotRunError(Exception):
    """A cell that cannot be run on this machine; the message says why, for the page."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen cells, write what came of them, and return how many do not work."""
    parser = argparse.ArgumentParser(prog="python -m release.matrix", description=__doc__)
    parser.add_argument("chosen", nargs="*", help="beginnings of cells' names, as 3.12 or 3.11/lowest; default: all")
    parser.add_argument("--page", action="store_true", help="run nothing, write the page from the results")
    told = parser.parse_args(arguments)
    # A shell that puts this into the background ignores it, and so would the tests that interrupt themselves.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    results = dict(kept())
    parts = [part for part in PARTS if not told.chosen or part.name.startswith(tuple(told.chosen))]
    for part in () if told.page else parts:
        print(f"{part.name} … ", end="", flush=True)
        began = time.monotonic()
        results[part.name] = outcome = run(part)
        print(f"{outcome.text}, {time.monotonic() - began:.0f} s", *outcome.failed, sep="\n  ", flush=True)
        keep(results)
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
    return sum(bool(results[part.name].failed) for part in parts if part.name in results)


def kept() -> Results:
    """What earlier runs found."""
    return read_results(json.loads(RESULTS.read_text(encoding="utf-8"))) if RESULTS.exists() else {}


def keep(results: Results) -> None:
    """Write the results down, in the order of the page."""
    names = [part.name for part in PARTS]
    told = {name: dataclasses.asdict(results[name]) for name in names if name in results}
    RESULTS.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def run(part: Cell | Beside) -> Outcome:
    """The tests of a cell in an environment that is made for them and removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="matrix"))
    try:
        python = installed(part, folder)
        return tested(part, python, folder)
    except CannotRunError as why:
        return Outcome(lacking=str(why))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def interpreter(wanted: str) -> str:
    """The path of a Python of this release: one that is here, or that uv fetches.

    Raises:
        CannotRunError: There is none, and none can be had.
    """
    # pyenv's shims stand for what is switched on alone; what it has is beside them.
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, sorted(pyenv.glob("*/bin")))])
    for attempt in (("find",), ("install",), ("find",)):
        words = ["uv", "python", *attempt, wanted]
        done = subprocess.run(words, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)
        if attempt == ("find",) and done.returncode == 0:
            return done.stdout.strip()
    raise CannotRunError(f"no Python {wanted} here, and uv could not fetch it")


def installed(part: Cell | Beside, folder: Path) -> Path:
    """Make the cell's environment below ``folder`` and return its Python.

    Raises:
        CannotRunError: What the cell needs cannot be had.
    """
    wanted = part.python if isinstance(part, Cell) else f"{sys.version_info.major}.{sys.version_info.minor}"
    lowest = isinstance(part, Cell) and part.dependencies == "lowest"
    excluded = folder / "excluded.txt"
    excluded.write_text("\n".join(ASK_FOR_NEWER if lowest else ("pyright", "ruff")), encoding="utf-8")
    python = folder / "venv" / "bin" / "python"
    made = ["uv", "venv", "--quiet", "--python", interpreter(wanted), str(folder / "venv")]
    install = [
        *("uv", "pip", "install", "--quiet", "--python", str(python), "--excludes", str(excluded), *WHEELS),
        *("--resolution", "lowest-direct" if lowest else "highest", "--editable", part.requirement),
        *part.pinned,
    ]
    for words in (made, install):
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            raise CannotRunError((done.stderr.strip().splitlines() or ["uv failed"])[0][:120])
    return python


def tested(part: Cell | Beside, python: Path, folder: Path) -> Outcome:
    """Run the cell's tests, those that need the machine to themselves last, and count what came of them."""
    counted = Outcome()
    runs = (("parallel", "-n", "2", "--dist", "worksteal", "-m", "not serial"), ("serial", "-m", "serial"))
    for name, *how in runs:
        report = folder / f"{name}.xml"
        words = [str(python), "-m", "pytest", *how, f"--junitxml={report}", *part.words]
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
        try:
            done = subprocess.run(
                words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=LONGEST, check=False
            )
        except subprocess.TimeoutExpired:
            return dataclasses.replace(counted, failed=(f"the tests took longer than {LONGEST} seconds",))
        if done.returncode not in {0, 1, 5}:  # 1 is told by the report, 5 says that there is no such test
            print(done.stdout[-3000:], done.stderr[-3000:], file=sys.stderr)
            return dataclasses.replace(counted, failed=(f"pytest ended with {done.returncode}",))
        counted = added(counted, report.read_text(encoding="utf-8"))
    if not counted.passed:
        return dataclasses.replace(counted, failed=(*counted.failed, "no test passed"))
    about = "import platform; print(platform.python_version())"
    packages = SHOWN[part.mcp] if isinstance(part, Cell) else part.packages
    return dataclasses.replace(
        counted,
        python=_said([str(python), "-c", about]),
        versions={name: _version(python, name) for name in packages},
        date=time.strftime("%Y-%m-%d", time.gmtime()),
    )


def added(so_far: Outcome, report: str) -> Outcome:
    """The counts of one more run, whose report is JUnit's XML as pytest writes it."""
    passed, skipped, failed = so_far.passed, so_far.skipped, list(so_far.failed)
    for case in ET.fromstring(report).iter("testcase"):  # noqa: S314 - written by the pytest that was just run
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            failed.append(f"{case.get('classname')}::{case.get('name')}")
        elif "skipped" in kinds:
            skipped += 1
        else:
            passed += 1
    return dataclasses.replace(so_far, passed=passed, skipped=skipped, failed=tuple(failed))


def _version(python: Path, package: str) -> str:
    return _said([str(python), "-c", f"import importlib.metadata as m; print(m.version({package!r}))"])


def _said(words: Sequence[str]) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(bool(main()))
