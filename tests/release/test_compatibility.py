"""The page of compatibility says what was measured, and nothing else."""

import dataclasses

import pytest

from release import matrix
from release.cells import BESIDE, CELLS, PARTS
from release.compatibility import BEGIN, END, Outcome, rewritten, tables

REPORT = """<testsuites><testsuite>
<testcase classname="tests.a" name="one"/>
<testcase classname="tests.a" name="two"><failure message="no">…</failure></testcase>
<testcase classname="tests.a" name="three"><skipped/></testcase>
<testcase classname="tests.a" name="four"><error message="no">…</error></testcase>
</testsuite></testsuites>"""


def row(text, begins):
    (found,) = [line for line in text.splitlines() if line.startswith(f"| {begins} |")]
    return [cell.strip() for cell in found.split("|")[1:-1]]


def test_the_page_says_what_the_results_say():
    page = matrix.PAGE.read_text()
    assert rewritten(page, matrix.kept()) == page


def test_a_cell_that_was_not_run_says_so_and_why():
    assert row(tables({}), "3.12") == ["3.12", *["not run"] * 4]
    lacking = {cell.name: Outcome(lacking="no Python 3.14 here") for cell in CELLS if cell.python == "3.14"}
    assert row(tables(lacking), "3.14") == ["3.14", *["not run: no Python 3.14 here"] * 4]
    assert row(tables({}), BESIDE[0].name)[3] == "not run"


def test_what_passed_and_what_failed():
    passed = Outcome(python="3.12.1", passed=1200, versions={"mcp": "1.24"}, date="2026-11-28")
    failed = Outcome(python="3.12.1", passed=3, failed=("tests.a::b",), versions={"mcp": "1.27"}, date="2026-11-29")
    text = tables({"3.12/lowest/mcp1": passed, "3.12/newest/mcp1": failed})
    assert row(text, "3.12.1") == ["3.12.1", "1,200 passed", "**1 failed**, 3 passed", "not run", "not run"]
    assert "- 3.12/newest/mcp1: `tests.a::b`" in text
    assert "Run on 2026-11-28 and 2026-11-29." in text
    assert row(text, "MCP 1, lowest")[5] == "1.24"


def test_only_what_stands_between_the_marks_is_written_anew():
    page = rewritten(f"above\n{BEGIN}\nold\n{END}\nbelow\n", {})
    assert page == f"above\n{BEGIN}\n\n{tables({})}\n\n{END}\nbelow\n"
    assert rewritten(page, {}) == page
    with pytest.raises(ValueError, match="the page needs a line"):
        rewritten("a page of somebody else", {})


def test_a_report_is_counted():
    assert matrix.added(Outcome(passed=1), REPORT) == Outcome(
        passed=2, skipped=1, failed=("tests.a::two", "tests.a::four")
    )


def test_a_python_that_cannot_be_had_is_lacking_and_no_failure(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(matrix, "interpreter", lambda wanted: (_ for _ in ()).throw(matrix.CannotRunError("none")))
    assert matrix.run(CELLS[0]) == Outcome(lacking="none")


def test_results_are_kept_as_they_were(monkeypatch, tmp_path):
    monkeypatch.setattr(matrix, "RESULTS", tmp_path / "matrix.json")
    assert matrix.kept() == {}
    results = {part.name: dataclasses.replace(Outcome(passed=2), failed=("a",)) for part in PARTS[:3]}
    matrix.keep(results)
    assert matrix.kept() == results


def test_every_cell_has_a_name_of_its_own_and_tests_that_are_there():
    assert len({part.name for part in PARTS}) == len(PARTS)
    for part in PARTS:
        for word in part.words:
            if word.removeprefix("--ignore=").startswith("tests/"):
                assert (matrix.ROOT / word.removeprefix("--ignore=")).exists(), word
