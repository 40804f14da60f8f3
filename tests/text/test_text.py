"""What leaves as text: lines without anything hidden, JSON that reads in one way, columns no terminal exceeds."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guarded_tools.text import strict_json
from guarded_tools.text.visible import one_line
from guarded_tools.text.width import columns, pieces

anything = st.text(st.characters(exclude_categories=()), max_size=80)


@given(anything)
def test_one_line_is_one_line_in_which_nothing_acts(text):
    assert one_line(text).isprintable()


def test_one_line_leaves_what_can_be_read():
    assert one_line("Größe שלום C:\\x 价") == "Größe שלום C:\\x 价"
    assert one_line("a\nb\x1b[2J\u202e\u3164\ud800") == r"a\nb\x1b[2J\u202e\u3164\ud800"


@given(anything, st.integers(3, 40))
def test_pieces_are_the_text_and_fit(text, most):
    cut = pieces(text, most)
    assert "".join(cut) == text
    assert all(columns(piece) <= most for piece in cut)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "a": 2}', 'the key "a" appears twice'),
        ('[{"x": {"b": 1, "b": 1}}]', 'the key "b" appears twice'),
        ('{"a\\u202e": 1, "a\u202e": 2}', r'the key "a\\u202e" appears twice'),
        ("NaN", "NaN is no JSON number"),
        ('{"a": -Infinity}', "-Infinity is no JSON number"),
        ("{", "line 1 column 2"),
    ],
)
def test_json_that_reads_in_two_ways_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        strict_json.loads(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | anything, lambda x: st.lists(x) | st.dictionaries(anything, x)
    )
)
def test_other_json_reads_as_ever(value):
    assert strict_json.loads(json.dumps(value)) == value
