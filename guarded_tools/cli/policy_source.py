"""A policy as a command names it: a file, a preset's name, or a file as it stands in a commit of git."""

from __future__ import annotations

import subprocess
import tempfile
import warnings
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from guarded_tools.errors import GuardError, PolicyError

if TYPE_CHECKING:
    from guarded_tools.policy.policy import Policy

GIT: Final = "git:"
_LONGEST: Final = 60
_LARGEST: Final = 10_000_000


def read_policy(source: str) -> Policy:
    """Read a policy from a path, a preset's name, or ``git:REV:path``; ``git::path`` is what is staged.

    As git has it, the path is from the top of the repository, or with ``./`` from the working directory. Warnings are
    for ``guarded-tools validate`` to tell.

    Raises:
        GuardError: git does not have it.
        PolicyError: it cannot be read or used.
    """
    from guarded_tools.policy.policy import load_policy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _of_commit(source) if source.startswith(GIT) else load_policy(source)


def _of_commit(source: str) -> Policy:
    from guarded_tools.policy.policy import Policy

    revision, colon, path = source.removeprefix(GIT).partition(":")
    if not (colon and path):
        raise GuardError(f"{source} names no file: write git:REV:path, as in git:HEAD:policy.yaml")
    # Where the file of a policy stands says nothing of it but whether it is JSON or YAML.
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"policy{PurePosixPath(path).suffix}"
        copy.write_bytes(_blob(source, revision, path))
        try:
            return Policy.from_file(copy)
        except PolicyError as error:
            problems = tuple(problem._replace(file=source) for problem in error.problems)
            raise PolicyError(problems, unreadable=error.unreadable) from None


def _blob(source: str, revision: str, path: str) -> bytes:
    """Read a file out of git as it is kept there: no filter and no program that a repository names is run."""
    if revision.startswith("-"):
        raise GuardError(f"{source}: {revision} is no revision")
    command = ["git", "cat-file", "blob", f"{revision}:{path}"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_LONGEST, check=False)  # noqa: S603 - git itself
    except FileNotFoundError:
        raise GuardError(f"{source} cannot be read: git is not installed") from None
    except subprocess.TimeoutExpired:
        raise GuardError(f"{source} cannot be read: git did not answer in {_LONGEST} seconds") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().removeprefix("fatal: ")
        raise GuardError(f"{source} cannot be read: {said or f'git ended with {done.returncode}'}")
    if len(done.stdout) > _LARGEST:
        raise GuardError(f"{source} is no policy: it is larger than {_LARGEST:,} bytes")
    return done.stdout
