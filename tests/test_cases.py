"""A test of many cases fails with each that fails, and when there is none."""

import pytest

from tests.cases import every_case


def test_each_case_is_looked_at_and_told():
    seen = []

    def look():
        with every_case() as case:
            for number in range(4):
                with case(f"case {number}"):
                    seen.append(number)
                    assert number % 2 == 0

    with pytest.raises(AssertionError) as failed:
        look()
    assert seen == [0, 1, 2, 3]
    told = str(failed.value)
    assert told.startswith("2 of 4 cases fail")
    assert [name in told for name in ("case 0:", "case 1:", "case 2:", "case 3:")] == [False, True, False, True]


def test_no_case_is_a_failure():
    with pytest.raises(AssertionError, match="no case"), every_case():
        pass
