"""What holds as a path segment is one, however it is read."""

from __future__ import annotations

import ntpath
import posixpath
import unicodedata
from urllib.parse import quote, unquote, unquote_plus, urljoin, urlsplit

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guarded_tools.errors import PolicyError
from guarded_tools.policy import Policy, decide
from guarded_tools.policy.segments import LONGEST, is_segment
from guarded_tools.values import ToolCall

BASE = "https://api.test/v1/templates"
TRICKS = st.sampled_from(
    [*"./\\?#%;:@&=+~ \t\r\n\0", "..", "%2f", "%2e", "%25", "／", "．", "∕", "\u200b", "į", "\ud800"]
)
NEARLY = st.lists(st.sampled_from("aZ0_-.") | TRICKS, max_size=8).map("".join)
SPELLINGS = {
    "as it is": lambda text: text,
    "encoded": lambda text: quote(text, safe=""),
    "decoded": unquote,
    "decoded twice": lambda text: unquote(unquote(text)),
    "decoded as a form": unquote_plus,
    "compatibility form": lambda text: unicodedata.normalize("NFKC", text),
    "low bytes": lambda text: bytes(ord(char) & 0xFF for char in text).decode("latin-1"),
    "seven bits": lambda text: "".join(chr(ord(char) & 0x7F) for char in text),
    "stripped": str.strip,
    "without dots at the end": lambda text: text.rstrip(". "),
    "up to a parameter": lambda text: text.partition(";")[0],
    "up to a NUL": lambda text: text.partition("\0")[0],
}


@given(NEARLY | st.text(max_size=12))
@example("../experiments/api/e1/pause#")
@example("tpl_000001")
def test_what_holds_is_the_same_segment_to_every_reader(text):
    if not is_segment(text):
        return
    for reading in SPELLINGS.values():
        assert reading(text) == text
    for url in (f"{BASE}/{text}", urljoin(f"{BASE}/", text), str(httpx.URL(BASE + "/").join(text))):
        parts = urlsplit(url)
        assert (parts.netloc, parts.path, parts.query, parts.fragment) == ("api.test", f"/v1/templates/{text}", "", "")
    assert httpx.URL(f"{BASE}/{text}").raw_path == f"/v1/templates/{text}".encode()
    for paths in (posixpath, ntpath):
        assert paths.basename(paths.normpath(f"/v1/templates/{text}")) == text
        assert paths.expanduser(text) == text


@given(st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True) | st.uuids().map(str) | st.integers(-(10**9), 10**9))
def test_ids_as_services_give_them_hold(value):
    assert is_segment(value)


def test_it_has_a_longest():
    assert is_segment("a" * LONGEST)
    assert not is_segment("a" * (LONGEST + 1))
    assert not is_segment(10**5000)


@pytest.mark.parametrize("value", [1, "true", None, [], ["a"], {}])
def test_its_value_is_true_or_false(value):
    entry = {"require": [{"path": "args.id", "op": "segment", "value": value}]}
    with pytest.raises(PolicyError, match=r"segment needs true or false|null says nothing"):
        Policy.model_validate({"version": "1", "default": "deny", "tools": {"get": entry}})


def test_a_million_characters_cost_nothing():
    entry = {"require": [{"path": "args.id", "op": "segment"}]}
    policy = Policy.model_validate({"version": "1", "default": "deny", "tools": {"get": entry}})
    for text in ("a" * 1_000_000, "a." * 500_000, "." * 1_000_000):
        assert decide(policy, ToolCall("get", {"id": text})).effect == "deny"
