"""Words that read as other words are said to; ordinary writing is not."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guarded_tools.text.lookalikes import remarks


@pytest.mark.parametrize(
    "text",
    [
        "evil.com\u2215x",
        "evil.com\u2044x",
        "evil.com\u29f8x",
        "bank\u2024com",
        "bank\uff0ecom",
        "bank\u3002com",
        "bank\ua4f8com",
        "eve\uff20evil.com",
        "http\u2236//evil.com",
        "pay\u2013pal.com",
        "pay\u2010pal",
        "pay\u2212pal",
        "\u0440\u0430\u0443",
        "\u0430\u0440\u0440\u04cf\u0435",
        "www.\u0430\u0440\u0440\u04cf\u0435.com",
        "\u0430pple",
        "a \u0440\u0430\u0443 b",
        "\u0430@evil.com",
        "\u0391\u0392\u0392\u0391",
        "\u03bf\u03c1\u03b9",
        "g\u03bf\u03bfgle",
        "\u0570\u0578\u057d\u0585",
        "\u13aa\u13b3",
        "\ua4d1\ua4ee\ua4ec",
        "\U0001d429\U0001d41a\U0001d432",
        "\uff50\uff41\uff59",
        "\u24df\u24d0\u24e8",
        "\U0001f15f\U0001f150\U0001f168",
        "p\u0251ypal",
        "\u0261oogle.com",
        "\u217dom",
        "\ufb01ne",
        "caf\u00e9.com",
        "\u043f\u0440\u0438\u0432\u0435\u0442.com",
        "0\u06f5",
        "\u221299",
        "x\u2223y",
    ],
    ids=ascii,
)
def test_a_word_that_may_read_as_another_is_told(text):
    [remark] = remarks(text)
    assert remark
    assert remarks(f"some words before, {text} and behind") == [remark] or "\u2013" in text or "\u2010" in text


@pytest.mark.parametrize(
    "text",
    [
        "Grüße, señor",
        "José",
        "Køb smørrebrød på Østerbro",
        "Привет, мир. Хорошо и оно",
        "Ελληνικά κείμενο",
        "価格は100円、GOOGLE日本。",
        "Tシャツ",
        "你好，世界！",
        "हिन्दी",
        "ภาษาไทย",
        "don\u2019t stop \u2013 it\u2019s 20\u201330 \u201cpages\u201d\u2026",
        "5 m\u00b2, \u00bd and \u2122",
        "naïve \u2713 \u20ac",
        "\U0001f642",
        "plain ASCII a.b/c@d",
        "",
    ],
    ids=ascii,
)
def test_ordinary_writing_is_left_alone(text):
    assert remarks(text) == []


def test_the_reading_is_told_where_there_is_one():
    assert remarks("evil.com\u2215x") == ["evil.com\u2215x is not evil.com/x: \u2215 is DIVISION SLASH"]


def test_many_words_are_counted_and_the_rest_is_said_to_be_unseen():
    words = [f"\u0430pple{letter}" for letter in "abcdefgh"]
    assert remarks(" ".join(words))[-1] == "and 4 more words that may read as others"
    assert len(remarks(" ".join(words))) == 5
    assert "only the first" in remarks("\u00e9" + "x " * 60_000)[-1]


@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_no_remark_holds_what_is_hidden(text):
    for remark in remarks(text):
        assert remark.isprintable()


@pytest.mark.parametrize("text", ["\u0430" * 100_000, "\u2215a" * 50_000, "x \u0430b" * 25_000], ids=ascii)
def test_a_page_of_them_takes_no_time(text):
    began = time.thread_time()
    assert remarks(text)
    assert time.thread_time() - began < 3
