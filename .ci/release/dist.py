"""``make dist``: the wheel and the source distribution of a commit, the same bytes each time, checked and tried.

1. Both are built twice, from two copies of the commit that differ in all that must not matter; they must be the same.
2. They are checked: their metadata (twine), what a wheel should not hold (check-wheel-contents), and that they hold
   the package of the commit, no tests and no fault injection.
3. The wheel is installed in a clean environment for the base, each extra and both generations of MCP, the source
   distribution for the base; what the README shows runs there. An inventory of each (CycloneDX) is kept.

``dist/`` then holds what is published, ``build/sbom/`` the inventories and ``build/SHA256SUMS`` the sums of both.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from release.contents import BESIDE_THE_PACKAGE, PACKAGE, problems, sdist_files, wheel_files
from release.extras import PROOFS
from release.trial import FailedTrialError, Trial

ROOT: Final = Path(__file__).parents[2]
BIN: Final = Path(sys.executable).parent

GENERATIONS: Final = (frozenset({"agent", "adapters"}), frozenset({"agent", "mcp"}))
"""What the README needs as a whole, with either generation of MCP."""

OPTIONAL: Final = (
    "anywidget", "fastmcp", "genai_prices", "ipykernel", "jinja2", "langchain", "langchain_mcp_adapters", "langgraph",
    "matplotlib", "mcp", "opentelemetry", "psycopg", "pyarrow", "redis", "starlette", "uvicorn",
)  # fmt: skip
"""Modules that importing the base may not load, for they come with extras."""


class NotFitError(Exception):
    """The commit cannot be released as it is; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, check and try a commit; 1 where it is not fit to be released."""
    parser = argparse.ArgumentParser(prog="python -m release.dist", description=__doc__)
    parser.add_argument("--commit", default="HEAD", help="what to build; what is not committed is not in it")
    parser.add_argument(
        "--only", nargs="*", help="names of the environments to try, as base or agent+mcp; default: all"
    )
    told = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="dist") as folder:
            _release(told.commit, told.only, Path(folder))
    except (NotFitError, FailedTrialError) as why:
        print(f"not fit: {why}", file=sys.stderr)
        return 1
    return 0


def _release(commit: str, only: Sequence[str] | None, folder: Path) -> None:
    built = built_twice(commit, folder)
    print(f"built twice, the same bytes: {', '.join(path.name for path in built)}")
    check(built, tracked(commit))
    print("checked: metadata, contents")
    sboms = ROOT / "build" / "sbom"
    shutil.rmtree(sboms, ignore_errors=True)
    sboms.mkdir(parents=True)
    sdist, wheel = built
    _all_extras_are_tried(wheel)
    for name, package, extras in _environments(sdist, wheel):
        if only is None or name in only:
            trial = Trial(extras, folder / name)
            trial.folder.mkdir()
            trial.install(package)
            tried = [*trial.run(ROOT / "README.md"), *(trial.misses(OPTIONAL) if not extras else ())]
            if package == wheel:
                inventory(trial, sboms / f"{wheel.name.rpartition('-py3')[0]}-{name}.cdx.json", commit)
            print(f"{name}: {'; '.join(tried)}", flush=True)
            shutil.rmtree(trial.folder)
    _keep(built, sboms)


def _environments(sdist: Path, wheel: Path) -> Iterator[tuple[str, Path, frozenset[str]]]:
    yield "base", wheel, frozenset()
    yield "base-from-source", sdist, frozenset()
    for extras in (*(frozenset({extra}) for extra in PROOFS), *GENERATIONS):
        yield "+".join(sorted(extras)), wheel, extras


def built_twice(commit: str, folder: Path) -> tuple[Path, Path]:
    """The source distribution of a commit, and the wheel made of it.

    Raises:
        NotFitError: it does not build, or a second time gave other bytes.
    """
    first = _built(commit, folder / "first", umask=0o022, zone="UTC", seed="0")
    second = _built(commit, folder / "second", umask=0o077, zone="Pacific/Auckland", seed="1")
    for one, other in zip(first, second, strict=True):
        if one.read_bytes() != other.read_bytes():
            raise NotFitError(f"{one.name} is not the same twice: compare {one} and {other}")
    return first


def _built(commit: str, folder: Path, *, umask: int, zone: str, seed: str) -> tuple[Path, Path]:
    source, out = folder / "source", folder / "out"
    source.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "--no-same-permissions", "-C", source], input=archive, umask=umask, check=True)
    env = {**os.environ, "SOURCE_DATE_EPOCH": date_of(commit), "TZ": zone, "PYTHONHASHSEED": seed}
    words = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(words, env=env, umask=umask, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotFitError(f"it does not build:\n{done.stdout}{done.stderr}")
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


def date_of(commit: str) -> str:
    """When it was committed, in seconds; the date of all that is built of it."""
    return _git("show", "--no-patch", "--format=%ct", f"{commit}^{{commit}}")


def tracked(commit: str) -> frozenset[str]:
    """The package's files in a commit."""
    return frozenset(_git("ls-tree", "-r", "--name-only", commit, PACKAGE).splitlines())


def check(built: tuple[Path, Path], package: frozenset[str]) -> None:
    """Check what was built.

    Raises:
        NotFitError: something is wrong with it; all that is, is said.
    """
    sdist, wheel = built
    found = [f"the wheel: {problem}" for problem in problems(wheel_files(wheel), package)]
    found += [f"the source: {problem}" for problem in problems(sdist_files(sdist), package, BESIDE_THE_PACKAGE)]
    for words in (["twine", "check", "--strict", *map(str, built)], ["check-wheel-contents", str(wheel)]):
        done = subprocess.run([BIN / words[0], *words[1:]], capture_output=True, text=True, check=False)
        found += [f"{words[0]}: {done.stdout}{done.stderr}"] if done.returncode else []
    if found:
        raise NotFitError("\n".join(found))


def _all_extras_are_tried(wheel: Path) -> None:
    dists = importlib.metadata.Distribution.discover(path=[str(wheel)])
    provided = {extra for dist in dists for extra in dist.metadata.get_all("Provides-Extra") or ()}
    if untried := provided - PROOFS.keys() - for_work_on_it():
        lacking = ", ".join(sorted(untried))
        raise NotFitError(f"nothing is tried of {lacking}: .ci/release/extras.py says what each is for")


def for_work_on_it() -> frozenset[str]:
    """The extras that no user installs."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return frozenset({"test", "dev", "agentdojo"} & told["project"]["optional-dependencies"].keys())


def inventory(trial: Trial, path: Path, commit: str) -> None:
    """Write what is installed in an environment as CycloneDX, the same bytes for the same packages."""
    words = [
        str(BIN / "cyclonedx-py"),
        "environment",
        "--output-reproducible",
        "--validate",
        "-o",
        str(path),
        str(trial.python),
    ]
    env = {**os.environ, "SOURCE_DATE_EPOCH": date_of(commit)}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotFitError(f"no inventory of {trial.name}: {done.stderr}")


def _keep(built: tuple[Path, Path], sboms: Path) -> None:
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir()
    kept = [Path(shutil.copy(path, dist)) for path in built] + sorted(sboms.iterdir())
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(ROOT)}" for path in kept]
    (ROOT / "build" / "SHA256SUMS").write_text("\n".join(sums) + "\n", encoding="utf-8")
    print("\n".join(sums[:2]))


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
