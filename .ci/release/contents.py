"""What may be inside a wheel and a source distribution: the package as it is in the commit, and no tests or faults."""

from __future__ import annotations

import ast
import fnmatch
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path, PurePosixPath
from typing import Final

PACKAGE: Final = "guarded_tools"

BESIDE_THE_PACKAGE: Final = {
    ".gitignore", "CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "docs/agents-guide.md", "pyproject.toml",
}  # fmt: skip
"""What a source distribution holds besides."""

_TESTS: Final = ("test", "tests", "test_*.py", "*_test.py", "conftest.py", "fake*", "faulty*", "*hammer*", "crash*")
_FOR_TESTS: Final = {"blockbuster", "freezegun", "hypothesis", "pytest", "tests", "unittest"}


def wheel_files(path: Path) -> Mapping[str, bytes]:
    """Every file of a wheel but what describes it."""
    with zipfile.ZipFile(path) as wheel:
        names = [name for name in wheel.namelist() if not PurePosixPath(name).parts[0].endswith(".dist-info")]
        return {name: wheel.read(name) for name in names}


def sdist_files(path: Path) -> Mapping[str, bytes]:
    """Every file of a source distribution, by its name below the one folder that there is; links are not followed."""
    with tarfile.open(path) as sdist:
        files = {entry.name.partition("/")[2]: sdist.extractfile(entry) for entry in sdist if entry.isfile()}
        links = {entry.name.partition("/")[2]: b"" for entry in sdist if entry.issym()}
        return {**{name: file.read() for name, file in files.items() if file is not None}, **links}


def problems(
    files: Mapping[str, bytes], tracked: AbstractSet[str], beside: AbstractSet[str] = frozenset()
) -> list[str]:
    """What is wrong with the files of a distribution, in words.

    ``tracked`` are the package's files in the commit: nothing may be missing and nothing more be there, but for what
    may stand ``beside`` them.
    """
    found = [f"{name} is in no commit" for name in sorted(files.keys() - tracked - beside)]
    found += [f"{name} is missing" for name in sorted((tracked | beside) - files.keys())]
    for name in sorted(files):
        found += [f"{name} is for tests" for part in PurePosixPath(name).parts if _of_tests(part)]
        if name.endswith(".py"):
            found += [f"{name} imports {module}" for module in _imported(files[name]) if module in _FOR_TESTS]
    return found


def _of_tests(part: str) -> bool:
    return any(fnmatch.fnmatch(part, pattern) for pattern in _TESTS)


def _imported(source: bytes) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]
