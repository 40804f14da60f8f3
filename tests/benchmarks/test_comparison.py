"""The cells of docs/comparison.md that are ours, measured; and that the page shows what was measured."""

import re
from pathlib import Path

import pytest

from benchmarks.comparison.__main__ import at_once, directly, one_by_one

PAGE = (Path(__file__).parents[2] / "docs" / "comparison.md").read_text()


@pytest.mark.parametrize(
    ("measure", "row"),
    [(at_once, "four processes at once"), (one_by_one, "four processes, one after"), (directly, "code that calls the")],
)
def test_ours_sends_what_the_page_says(measure, row):
    (said,) = re.findall(rf"^\| {row}.*\| \*\*(\d+)\*\* \|$", PAGE, re.MULTILINE)
    assert measure("guarded_tools") == int(said) == 30


def test_what_langchains_sends_past_its_agent_is_as_the_page_says():
    assert directly("langchain") == 80
    assert "past the agent | 80 ³" in PAGE
