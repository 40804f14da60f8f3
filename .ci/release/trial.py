"""A built package, installed where nothing else is, outside of the checkout, and tried as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from release.extras import PROOFS, SAYS
from release.pages import GRAPH, POLICY, PRELUDE, allowed, blocks

NAMES: Final = """
import sys
import guarded_tools
assert guarded_tools.__file__.startswith(sys.prefix), guarded_tools.__file__
for name in set(guarded_tools.__all__) - {"guarded_tools", "pictify_tools"}:
    getattr(guarded_tools, name)
"""
"""What was installed, and every public name of it but the two that need a server."""

NO_OPTIONAL: Final = """
loaded = sorted(name for name in %r if name in sys.modules)
assert not loaded, loaded
"""


class FailedTrialError(Exception):
    """What was tried does not work; the message has the program, and what it said."""


@dataclass(frozen=True, slots=True)
class Trial:
    """An environment with the package and ``extras``, in a folder of its own that holds nothing else."""

    extras: frozenset[str]
    folder: Path

    @property
    def name(self) -> str:
        """The extras in a word."""
        return "+".join(sorted(self.extras)) or "base"

    @property
    def python(self) -> Path:
        """The environment's Python."""
        return self.folder / "venv" / "bin" / "python"

    def install(self, package: Path) -> None:
        """Make the environment and install a wheel, or a source distribution, with the extras."""
        wanted = f"{package.resolve()}[{','.join(sorted(self.extras))}]" if self.extras else str(package.resolve())
        said(["uv", "venv", "--quiet", "--python", sys.executable, str(self.folder / "venv")], self.folder)
        said(["uv", "pip", "install", "--quiet", "--python", str(self.python), wanted], self.folder)

    def run(self, readme: Path) -> Iterator[str]:
        """Try everything that has to work with these extras, and say what was tried.

        Raises:
            FailedTrialError: something does not.
        """
        program = str(self.python.with_name("guarded-tools"))
        for words in ([program, "--version"], [program, "--help"], [program, "validate", "standard"]):
            self._said(words)
        self._code(NAMES)
        yield "all public names, --version, --help, validate"
        for extra in sorted(self.extras):
            self._code(PROOFS[extra])
            yield f"what {extra} is for"
        code = blocks(readme)
        running = allowed(code, self.extras)
        parts = [PRELUDE, *([GRAPH] if {"agent", "mcp", "gateway"} & self.extras else []), *running]
        self._code("\n\n".join(parts))
        yield f"{len(running)} of the README's {len(code)} blocks"
        if {"agent", "adapters"} <= self.extras or "mcp" in self.extras:
            self._said([program, "demo", "--yes"])
            yield "the demo"

    def misses(self, optional: Sequence[str]) -> Iterator[str]:
        """For the base: that it loads none of the optional packages, and says what to install for each extra.

        Raises:
            FailedTrialError: it does, or does not.
        """
        self._code(NAMES + NO_OPTIONAL % (tuple(optional),))
        yield "no optional package is loaded"
        for extra, proof in PROOFS.items():
            try:
                self._code(proof)
            except FailedTrialError as failed:
                if f"guarded-tools[{SAYS.get(extra, extra)}]" not in str(failed):
                    raise FailedTrialError(f"without {extra} nobody is told to install it:\n{failed}") from failed
            else:
                raise FailedTrialError(f"what proves {extra} runs without it, and so proves nothing")
        yield f"each of {len(PROOFS)} extras is asked for by its name where it is missing"

    def _code(self, code: str) -> None:
        (self.folder / "policy.json").write_text(json.dumps(POLICY), encoding="utf-8")
        script = self.folder / "tried.py"
        script.write_text(code, encoding="utf-8")
        self._said([str(self.python), str(script)])

    def _said(self, words: Sequence[str]) -> None:
        said(words, self.folder)


def said(words: Sequence[str], folder: Path) -> str:
    """What a program printed that ran in this folder, with no more of our environment than it needs.

    Raises:
        FailedTrialError: it ended with another code than 0, or did not end.
    """
    ours = ("PYTHON", "VIRTUAL_ENV", "GUARDED_TOOLS", "COVERAGE")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    env |= {"GUARDED_TOOLS_HOME": str(folder / "state"), "NO_COLOR": "1", "COLUMNS": "100"}
    done = subprocess.run(
        words, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        raise FailedTrialError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout
