"""Counters by the names that people know them by."""

import pytest

from guarded_tools.text.quantities import spoken
from guarded_tools.text.units import counted


@pytest.mark.parametrize(
    ("counter", "words"),
    [
        ("shop/refund/calls", "shop/refund/calls"),
        ("shop/refund/spend/USD", "shop/refund/spend/USD"),
        ("*/*/(asks)", "questions to a human"),
        ("shop/refund/(rejected )", "rejections of refund"),
        ("shop/refund/(rejected d4b4c1a2)", "rejections of refund"),
        (f"shop/refund/(rejected {'0' * 32})", "rejections of one call of refund"),
        (f"/refund/(rejected d4b4c1a2{'0' * 32})", "rejections of one call of refund"),
        ("(rejected )", "(rejected )"),
    ],
)
def test_the_guards_own_counters_say_what_they_count(counter, words):
    assert spoken(counter) == words


def test_one_is_no_plural():
    assert [counted(1, "tool"), counted(31, "tool"), counted(2_000, "entry", "entries")] == [
        "1 tool",
        "31 tools",
        "2,000 entries",
    ]
