"""Lines are put together from pieces of any length, and one that never ends takes no memory."""

import codecs

from hypothesis import given, settings
from hypothesis import strategies as st

from guarded_tools.mcp_session.lines import ENCODING, LONGEST_LINE, TOO_LONG, Lines


@settings(max_examples=100)
@given(st.text(st.sampled_from("aé😀\n\r"), max_size=40), st.lists(st.integers(1, 9)))
def test_whatever_the_pieces_the_lines_are_those_that_were_written(text, lengths):
    data = text.encode()
    decoder, said, pieces = codecs.getincrementaldecoder(ENCODING)(), [], [*lengths, len(data) + 1]
    for length in pieces:
        said.append(decoder.decode(data[:length]))
        data = data[length:]
    assert "".join(said) == text[: text.rfind("\n") + 1]
    assert all(piece == "" or piece.endswith("\n") for piece in said)


def test_bytes_that_are_no_text_are_replaced_and_what_is_written_is_utf_8():
    assert codecs.getincrementaldecoder(ENCODING)("replace").decode(b"\xff\n") == "\ufffd\n"
    assert "é".encode(ENCODING) == "é".encode()


def test_a_long_line_passes_and_of_a_longer_one_nothing_is_kept():
    half = b"x" * (LONGEST_LINE // 2)
    lines = Lines()
    assert [lines.whole(half), lines.whole(half), len(lines.whole(b"\n"))] == [b"", b"", LONGEST_LINE + 1]
    decoder = codecs.getincrementaldecoder(ENCODING)()
    assert [decoder.decode(each) for each in (b"one\n", half, half)] == ["one\n", "", ""]
    assert decoder.decode(b"x") == f"{TOO_LONG}\n"
    assert [decoder.decode(each) for each in (half, b"\n{}\n", b"")] == ["", "", ""]
