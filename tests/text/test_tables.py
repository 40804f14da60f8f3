"""One description of a table, for a terminal and for a notebook; and one table of what each outcome looks like."""

import io
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from guarded_tools.audit.refusals import REFUSED
from guarded_tools.audit.summary import EXPIRED, OPEN
from guarded_tools.text.tables import BREAK, Cell, Table, to_html, to_rich, to_text
from guarded_tools.text.tones import EFFECTS, OUTCOMES, PICTURE, TERMINAL, Tone, fullness, look, share
from guarded_tools.values import Effect, Outcome

anything = st.text(st.characters(exclude_categories=()), max_size=40)


def printed(table, width=200, **options):
    console = Console(file=io.StringIO(), width=width)
    console.print(to_rich(table, **options))
    return console.file.getvalue()


def test_every_outcome_has_its_look_and_no_two_the_same_colour():
    assert set(OUTCOMES) == {*get_args(Outcome), OPEN, EXPIRED}
    assert len({each.colour for each in OUTCOMES.values()}) == len(OUTCOMES)
    assert set(EFFECTS) == set(get_args(Effect))


def test_whoever_was_refused_is_shown_as_refused_in_every_medium():
    assert {outcome for outcome, each in OUTCOMES.items() if each.tone == "bad"} == set(REFUSED)
    assert look("made up").tone == "bad"
    assert set(TERMINAL) == set(get_args(Tone))
    assert all(tone in PICTURE for tone in ("good", "warn", "bad"))


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_limit_is_full_from_its_maximum_on_and_only_from_there(used, most):
    tone = fullness(share(used, most))
    assert (tone == "bad") == (used >= most)
    assert tone != "good" or used < 0.75 * most


@given(anything, anything)
def test_nothing_acts_or_hides_on_a_terminal(session, message):
    said = to_text([Cell(session), BREAK, Cell(message, "bad")]).plain
    assert said.count("\n") == 1
    assert all(part.isprintable() for part in said.split("\n"))


def test_only_our_own_break_begins_a_line():
    assert to_text([Cell("a"), Cell("\n"), BREAK, Cell("b")]).plain == "a\\n\nb"


def test_a_name_that_is_cut_takes_nothing_of_the_next_one_with_it():
    said = to_text([Cell("s" * 500, limit=60), Cell(" for "), Cell("ann", limit=60)]).plain
    assert said == f"{'s' * 60} … (440 more characters) for ann"


def test_markup_of_others_is_text():
    assert "[red]x[/] [link=y]z" in printed(Table(("[bold]c[/]",), [["[red]x[/] [link=y]z"]], "t"))


@pytest.mark.parametrize("framed", [True, False])
def test_what_is_wide_is_folded_and_all_there(framed):
    shown = printed(Table(("a", "b"), [["x" * 90, "y" * 90]], "t"), width=40, framed=framed)
    assert (shown.count("x"), shown.count("y")) == (90, 90)


def test_a_column_may_be_named_like_a_style():
    assert "[red]" in printed(Table(("[red]",), [["x"]]))


def test_numbers_stand_on_the_right():
    table = Table(("n", "x"), [["5", "a"], ["500", "b"]], numbers=("n",))
    assert "  5  a" in printed(table, framed=False)
    assert "n" not in printed(table, framed=False, headed=False)


@pytest.mark.parametrize(("part", "blocks"), [(-1.0, 0), (0.0, 0), (0.01, 1), (0.5, 6), (1.0, 12), (9.0, 12)])
def test_a_bar_shows_how_full_it_is(part, blocks):
    said = to_text(Cell("x", share=part)).plain
    assert said == "█" * blocks + "░" * (12 - blocks) + " x"


def test_pieces_of_one_tone_are_one_text_in_a_notebook():
    shown = to_html(Table((), [[[Cell("s"), Cell(" for "), Cell("<ann>"), BREAK, Cell("why", "quiet")]]]))
    assert "s for &lt;ann&gt;\n</span>" in shown
    assert shown.count("<span") == 2
