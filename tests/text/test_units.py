"""Spans and moments in words: exact where they bind, rounded to the safe side where they tell how long to wait."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guarded_tools.text import units

SIZES = {"day": 86_400, "hour": 3_600, "minute": 60, "second": 1, "s": 1, "min": 60, "h": 3_600}
spans = st.integers(1, 10**9)


@pytest.mark.parametrize(
    ("seconds", "window", "duration"),
    [
        (1, "a second", "1 second"),
        (59, "59 seconds", "59 seconds"),
        (60, "a minute", "1 minute"),
        (90, "90 seconds", "90 seconds"),
        (3_600, "an hour", "1 hour"),
        (7_200, "2 hours", "2 hours"),
        (86_400, "a day", "1 day"),
        (604_800, "7 days", "7 days"),
    ],
)
def test_a_span_in_words(seconds, window, duration):
    assert (units.window(seconds), units.duration(seconds)) == (window, duration)
    assert units.duration(float(seconds)) == duration


def read(words):
    number, unit = re.fullmatch(r"(an?|[0-9.e+]+) (\w+?)s?", words).groups()
    return (1 if number.startswith("a") else float(number)) * SIZES[unit]


@given(spans)
def test_the_words_of_a_window_say_exactly_how_long_it_is(seconds):
    assert read(units.window(seconds)) == seconds


@given(st.integers(1, 86_400), st.sampled_from(["day", "hour", "minute"]))
def test_a_duration_is_exact_too_and_in_no_larger_unit(seconds, largest):
    words = units.duration(seconds, largest)
    assert read(words) == seconds
    assert SIZES[words.split(" ")[1].removesuffix("s")] <= SIZES[largest]


def test_half_a_second_is_told_as_it_is():
    assert units.duration(0.5) == "0.5 seconds"


@given(st.floats(0, 1e9))
def test_whoever_waits_as_told_has_waited_long_enough(seconds):
    assert seconds <= float(units.wait(seconds)) <= seconds * (1 + 1e-9) + 0.001001


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (119.4, "119 s"),
        (120, "2 min"),
        (3_600, "60 min"),
        (7_200, "2 h"),
        (172_800, "2 days"),
        (30 * 86_400, "30 days"),
        (float("-inf"), "0 s"),
    ],
)
def test_what_ends_soon_is_rounded(seconds, words):
    assert units.remaining(seconds) == words


@pytest.mark.parametrize(("seconds", "words"), [(0, "0:00"), (5.9, "0:05"), (65, "1:05"), (3_605, "60:05")])
def test_a_countdown_reads_as_a_clock(seconds, words):
    assert units.countdown(seconds) == words


def test_what_was_not_measured_is_not_told():
    assert (units.latency(0.0), units.latency(1.25)) == ("", "1.2 ms")


def test_moments_are_told_in_utc():
    noon = datetime(2026, 1, 31, 12, 5, 9, tzinfo=UTC).timestamp()
    assert units.date_and_time(noon) == "2026-01-31 12:05:09"
    assert units.clock(noon, noon + 60) == "12:05:09"
    assert units.clock(noon, noon + 86_400) == "01-31 12:05"
    assert units.clock(noon, noon - 365 * 86_400) == "01-31 12:05"


def test_who_acts_and_for_whom():
    assert units.whose("s", None) == units.whose("s", "") == ("s",)
    assert "".join(units.whose("s", "ann")) == "s for ann"
    assert "".join(units.whose("s", "ann", ", acting for ")) == "s, acting for ann"
