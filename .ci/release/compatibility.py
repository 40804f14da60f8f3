"""The page of compatibility, as it follows from what was measured: nothing is filled in by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from release.cells import BESIDE, CELLS, DEPENDENCIES, GENERATIONS, PARTS, PYTHONS, SHOWN, Beside, Cell

BEGIN: Final = "<!-- make matrix writes from here -->"
END: Final = "<!-- to here -->"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a cell. ``lacking`` says why it could not be run here, and nothing else is known then."""

    lacking: str = ""
    python: str = ""
    passed: int = 0
    skipped: int = 0
    failed: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    date: str = ""

    @property
    def text(self) -> str:
        """The outcome as it stands in a table."""
        if self.lacking:
            return f"not run: {self.lacking}"
        if self.failed:
            return f"**{len(self.failed)} failed**, {self.passed:,} passed"
        return f"{self.passed:,} passed"


Results = Mapping[str, Outcome]


def read_results(data: Mapping[str, Mapping[str, Any]]) -> Results:
    """The results as :func:`write_results` wrote them."""
    return {name: Outcome(**{**told, "failed": tuple(told["failed"])}) for name, told in data.items()}


def tables(results: Results) -> str:
    """Everything that was measured, as Markdown."""
    dates = sorted({outcome.date for outcome in results.values()} - {""})
    when = "Nothing was run yet." if not dates else f"Run on {' and '.join(dict.fromkeys((dates[0], dates[-1])))}."
    parts = [when, "", *_pythons(results), "", *_versions(results), "", *_beside(results)]
    failures = list(_failures(results))
    return "\n".join([*parts, *(["", *failures] if failures else [])])


def rewritten(page: str, results: Results) -> str:
    """The page with the tables of these results between its two marks.

    Raises:
        ValueError: The marks are not there.
    """
    before, begin, rest = page.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page needs a line {BEGIN!r}, and after it one {END!r}")
    return f"{before}{begin}\n{tables(results)}\n\n{end}{after}"


def _pythons(results: Results) -> Iterator[str]:
    heads = [f"MCP {mcp}, {newness}" for mcp in GENERATIONS for newness in DEPENDENCIES]
    yield from _head("Python", *heads)
    for python in PYTHONS:
        cells = [cell for cell in CELLS if cell.python == python]
        exact = {results[cell.name].python for cell in cells if cell.name in results} - {""}
        yield _row(", ".join(sorted(exact)) or python, *(_text(results, cell) for cell in cells))


def _versions(results: Results) -> Iterator[str]:
    yield "What was installed for them; where Pythons differ, from the oldest to the newest:"
    yield ""
    shown = sorted({name for names in SHOWN.values() for name in names})
    yield from _head("", *shown)
    for mcp in GENERATIONS:
        for newness in DEPENDENCIES:
            cells = [cell for cell in CELLS if (cell.mcp, cell.dependencies) == (mcp, newness)]
            outcomes = [results[cell.name] for cell in cells if cell.name in results]
            yield _row(f"MCP {mcp}, {newness}", *(_installed(outcomes, name) for name in shown))


def _installed(outcomes: list[Outcome], package: str) -> str:
    found = dict.fromkeys(outcome.versions[package] for outcome in outcomes if package in outcome.versions)
    return ", ".join(found) or "-"


def _beside(results: Results) -> Iterator[str]:
    yield from _head("with", "releases", "what was tried", "result", "what does not work, or was not tried")
    for part in BESIDE:
        outcome = results.get(part.name, Outcome())
        releases = ", ".join(f"{name} {version}" for name, version in outcome.versions.items())
        yield _row(part.name, releases or "-", part.tried, _text(results, part), part.missing)


def _failures(results: Results) -> Iterator[str]:
    for part in PARTS:
        for failed in results.get(part.name, Outcome()).failed:
            yield f"- {part.name}: `{failed}`"


def _text(results: Results, part: Cell | Beside) -> str:
    return results[part.name].text if part.name in results else "not run"


def _head(*cells: str) -> Iterator[str]:
    yield _row(*cells)
    yield "|" + "---|" * len(cells)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
