"""A host that two libraries read differently is no host."""

from __future__ import annotations

import unicodedata

import idna
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guarded_tools.policy.hosts import compile_hosts, host_of
from guarded_tools.policy.paths import Indeterminate
from tests.cases import every_case


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("bücher.de", "xn--bcher-kva.de"),
        ("BÜCHER.de", "xn--bcher-kva.de"),
        ("例え。jp", "xn--r8jz45g.jp"),
        ("ｅｘａｍｐｌｅ.com", "example.com"),
        ("①.com", "1.com"),
        ("ⱡa.com", "xn--a-5ls.com"),
        ("xn--strae-oqa.de", "xn--strae-oqa.de"),
    ],
)
def test_what_all_read_alike_is_read(host, name):
    assert host_of(f"http://{host}/") == name


FILLERS = "\u00ad\u034f\u115f\u1160\u17b4\u180e\u200b\u200d\u2060\u2064\u206a\u3164\ufe0f\ufeff\uffa0\U0001d173\U000e0101\U000e0061"
# Upper case of letters that are younger than IDNA 2003; what was normalised otherwise then; deviations.
MAPPED_SINCE = "\u2c60\u1c90\u13bb\uab70\u03cf\u1e9e\u00df\u03c2\u32ff\ua7f2\U0001e900\U0002f868"
UNASSIGNED = "\u0378\u0530\u2fe0\U000e0fff"


@pytest.mark.parametrize("host", ["{}evil.com", "ev{}il.com", "evil{}.com", "evil.com{}", "{}.com"])
def test_what_is_dropped_kept_or_mapped_as_the_library_has_it_is_no_host(host):
    with every_case() as case:
        for char in (*FILLERS, *MAPPED_SINCE, *UNASSIGNED):
            with case(ascii(char)):
                with pytest.raises(Indeterminate):
                    host_of(f"http://{host.format(char)}/")
                with pytest.raises(ValueError, match="is not a host"):
                    compile_hosts((host.format(char),))


LETTERS = st.characters(min_codepoint=0x80, exclude_categories=["Cs", "Co"])


@given(
    st.lists(st.text(LETTERS | st.sampled_from("ab1"), min_size=1, max_size=3), min_size=1, max_size=3).map(".".join)
)
@example("\u2c60a")
@example("a\u0301b")
def test_a_name_that_is_read_is_the_same_in_both_standards(host):
    try:
        name = host_of(f"http://{host}.com/")
    except Indeterminate:
        return
    assert name.isascii()
    assert idna.encode(f"{host}.com", uts46=True).decode() == name
    # What Unicode 3.2 had no character for is taken as it stands by what reads names as of 2003.
    younger = [char for char in host if unicodedata.ucd_3_2_0.category(char) == "Cn"]
    assert [unicodedata.normalize("NFKC", char.casefold()) for char in younger] == younger


@pytest.mark.parametrize(
    "host", ["010.0.0.1", "10.0.0.01", "0127.1", "012", "00.0.0.0", "10.08.0.1", "0000000000001", "１２7.0.0.01"]
)
def test_a_number_that_begins_with_a_nought_is_octal_to_some(host):
    with pytest.raises(Indeterminate, match="octal"):
        host_of(f"http://{host}/")
    with pytest.raises(ValueError, match="is not a host"):
        compile_hosts((host,))
