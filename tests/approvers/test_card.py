"""Nothing an argument contains changes what a human reads, or runs in the page."""

import html.parser
import io
import json
import re
import time
import unicodedata
from functools import lru_cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from guarded_tools.approvers import card
from guarded_tools.text.lookalikes import remarks
from guarded_tools.text.visible import plain, quoted
from guarded_tools.values import ApprovalRequest, Usage
from tests.cases import every_case

SECRET = "ghp_" + "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9v"


def request(args=None, **fields):
    return ApprovalRequest(
        **{
            "tool": "t",
            "args": args or {},
            "session": "one",
            "digest": "d",
            "rule": "/tools/t/approval",
            "risk": "write",
        }
        | fields
    )


def text_of(args, **fields):
    return card.to_text(card.rows(request(args, **fields)))


def rich_of(shown, width=80):
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=True, color_system="standard").print(card.to_rich(shown, width=width))
    return out.getvalue()


anything = st.text(st.characters(exclude_categories=()), max_size=40)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | anything,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(anything, inner, max_size=4),
    max_leaves=10,
)


# Visible


@given(anything)
def test_every_string_is_shown_as_a_literal_that_reads_back_as_itself(text):
    assert json.loads(quoted(text)) == text


@given(anything)
def test_what_is_shown_of_a_string_has_nothing_hidden_in_it(text):
    for char in quoted(text):
        assert char == " " or unicodedata.category(char)[0] not in "CZ", hex(ord(char))
        assert unicodedata.bidirectional(char) not in ("R", "AL", "AN", "RLO", "LRO", "RLE", "LRE", "RLI", "LRI", "FSI")
    assert unicodedata.is_normalized("NFC", quoted(text))


@pytest.mark.parametrize(
    "char",
    [
        *"\x00\x07\x08\x09\x0a\x0b\x0c\x0d\x1b\x7f\x85\x9b\xa0\xad",
        *"\u034f\u061c\u115f\u1160\u1680\u17b4\u180b\u180e\u2000\u2003\u200b\u200c\u200d\u200e\u200f",
        *"\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u202f\u205f\u2060\u2064\u2066\u2067\u2068\u2069\u2800",
        *"\u3000\u3164\ufe00\ufe0f\ufeff\uffa0\ufff9\ufffc\ue000\ud800\U000e0001\U000e0041\U000e0100\U000f0000",
        *"\u0378\u212a\u212b\u05d0\u0627\u0661\U00013441\U00013442\U00016fe4\U0001d159",
    ],
    ids=ascii,
)
def test_hidden_characters_appear_by_their_number(char):
    shown = quoted(f"a{char}b")
    assert char not in shown
    assert json.loads(shown) == f"a{char}b"


@pytest.mark.parametrize(
    "text",
    [
        "Grüße, señor",
        "価格は100円",
        "Привет",
        "हिन्दी",
        "ภาษาไทย",
        "한국어",
        "q\u0323\u0300b",
        "naïve ✓ €",
        "x  y",
        "🙂",
    ],
)
def test_ordinary_writing_is_shown_as_it_is(text):
    assert quoted(text) == f'"{text}"'


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("\u00e9", "e\u0301"),
        ("K", "\u212a"),
        ("a", "a\u200b"),
        ("\\n", "\n"),
        ("\\u202e", "\u202e"),
        ("q\u0300", "q\u0340"),  # a mark that is spelt in two ways
        ("q\u0323\u0307", "q\u0307\u0323"),  # two marks in either order
        ("\u00e9\u0316", "e\u0316\u0301"),  # a letter and its mark with another in between
        ("\uac00", "\u1100\u1161"),
        ("\u09cb", "\u09c7\u09be"),
    ],
    ids=ascii,
)
def test_strings_that_differ_look_different(one, other):
    shown, shown_other = (unicodedata.normalize("NFC", quoted(text)) for text in (one, other))  # a font draws no less
    assert shown != shown_other


# Letters, marks of several classes and spellings, vowel signs and jamo that join, and what ends in a C when escaped.
JOINING = "aceqé한\u1100\u1161\u11a8\u09c7\u09be\u0300\u0301\u0316\u0323\u0327\u0340\u0344\u0f71\u0f72\u302e\x1c\n"


@given(st.text(JOINING, max_size=8))
def test_what_is_shown_is_no_second_spelling_of_anything(text):
    assert unicodedata.is_normalized("NFC", quoted(text))
    assert json.loads(quoted(text)) == text


def test_piled_marks_do_not_run_into_the_neighbours():
    shown = quoted("z" + "\u0335" * 50)
    assert shown.count("\u0335") <= 2


def test_words_that_mix_alphabets_are_remarked_upon():
    assert remarks("go to \u0430pi.example.com") == ["\u0430pi mixes Cyrillic and Latin letters"]
    assert remarks("plain привет") == []


def test_right_to_left_words_are_escaped_in_place_and_repeated_to_read():
    shown = text_of({"s": "שלום 1"})
    assert r'"s": "\u05e9\u05dc\u05d5\u05dd 1"' in shown
    assert "^ right to left: שלום" in shown


# The card


def test_the_card_shows_all_that_was_asked():
    shown = text_of(
        {"uid": "tmpl_1", "n": 1.0, "tags": ["a", {"b": None}], "sizes": [1, 2, 3]},
        tool="delete",
        server="pictify",
        description="Deletes a template.",
        reason="cannot be undone",
        grant="acme",
        risk="destructive",
        usage=(Usage("session:one", "pictify/delete/calls", 3, 30, 60, 1.0),),
    )
    assert shown == (
        "tool:              delete\n"
        "risk:              destructive\n"
        "server:            pictify\n"
        "what it does:      Deletes a template.\n"
        "why you are asked: cannot be undone\n"
        "rule:              /tools/t/approval\n"
        "session:           one\n"
        "acting for:        acme\n"
        "limit:             3 of 30 used in a minute: pictify/delete/calls, session:one\n"
        "arguments:\n"
        "  │ {\n"
        '  │   "uid": "tmpl_1",\n'
        '  │   "n": 1.0,\n'
        '  │   "tags": [\n'
        '  │     "a",\n'
        "  │     {\n"
        '  │       "b": null\n'
        "  │     }\n"
        "  │   ],\n"
        '  │   "sizes": [1, 2, 3]\n'
        "  │ }\n"
    )


@given(st.dictionaries(anything, values, max_size=5))
def test_whatever_the_arguments_every_line_of_them_begins_with_the_bar(args):
    shown = text_of(args).split("\n")
    assert shown[-1] == ""
    after = shown[shown.index("arguments:") + 1 : -1]
    repeated = ["tool:              t", "risk:              write", "session:           one"]
    if after[-3:] == repeated:
        del after[-3:]
    assert after
    assert all(line.startswith("  │ ") for line in after)


def strip_marks(shown):
    """Undo the layout of arguments in full: what is left is the JSON of them."""
    below = shown.split("arguments:\n")[1].splitlines()
    body = [line.removeprefix("  │ ") for line in below if line.startswith("  │ ")]  # not what is repeated at the end
    joined = ""
    for line in body:
        if re.match(r"\s*\^ ", line):
            continue
        goes_on = re.match(r"\s*↳ (.*)", line)
        joined += goes_on[1] if goes_on else line
    return joined


@given(st.dictionaries(anything, values, max_size=5))
def test_the_arguments_in_full_are_exactly_the_arguments(args):
    shown = card.to_text(card.rows(request(args), full=True), width=10_000)
    assert json.loads(strip_marks(shown)) == args


def test_a_value_cannot_draw_a_row_of_its_own():
    shown = text_of(
        {"s": 'x\n}\nrisk: read\n  "amount": 1,\n… 5 characters FOLDED here\n^ remark' + " " * 200 + "tool: harmless"}
    )
    rows = [line for line in shown.splitlines() if "risk: read" in line or "amount" in line or "harmless" in line]
    assert rows
    assert all("↳ " in row.split("│", 1)[1][:8] or row.lstrip(" │").startswith("↳") for row in rows)


def test_lines_of_a_string_show_their_line_breaks():
    assert '"s": "a\\n\n  │     ↳ b\\n\n  │     ↳ c"' in text_of({"s": "a\nb\nc"})
    assert '"s": "a\\n"' in text_of({"s": "a\n"})
    assert r'"s": "a\\nb"' in text_of({"s": r"a\nb"})


def test_long_strings_and_lists_are_folded_in_the_middle_and_said_to_be():
    args = {"long": "a" * 5000 + "z", "many": [{"n": n} for n in range(200)], "lines": "l\n" * 500}
    shown = text_of(args)
    assert shown.count("FOLDED") == 4
    assert "FOLDED or MASKED: look at all of it before you decide" in shown
    assert len(shown) < 6000
    assert 'z"' in shown
    full = card.to_text(card.rows(request(args), full=True), width=10_000)
    assert "FOLDED" not in full
    assert json.loads(strip_marks(full)) == args


def test_deep_nesting_is_shown_to_the_end():
    args = {}
    at = args
    for _ in range(400):
        at["d"] = {}
        at = at["d"]
    at["end"] = "here"
    shown = card.to_text(card.rows(request(args), full=True))
    assert '"end": "here"' in shown.replace("\n  │ ↳ ", "")


@pytest.mark.parametrize("field", ["tool", "server", "description", "reason", "rule", "session", "grant"])
def test_every_other_field_is_one_harmless_line(field):
    shown = text_of({}, **{field: "a\nrisk: read\x1b[2J\u202e"})
    assert r"a\nrisk: read\u001b[2J\u202e" in shown
    assert "\x1b" not in shown
    assert plain("x" * 5000).endswith("(3,000 more characters)")


def test_what_approving_a_tool_covers_is_said_in_capitals():
    offers = card.durations(request(tool="t", remember="tool", remember_for=600))
    assert offers == {"same": "these same arguments, for 10 minutes", "tool": "ANY arguments of t, for 10 minutes"}
    assert card.durations(request(remember="tool", risk="financial")) == {}
    assert list(card.durations(request(remember="same"))) == ["same"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (1, "1 second"),
        (20, "20 seconds"),
        (90, "90 seconds"),
        (60, "1 minute"),
        (3600, "1 hour"),
        (1e6, "1 day"),
    ],
)
def test_how_long_an_approval_is_remembered_is_said_exactly(seconds, said):
    offers = card.durations(request(remember="same", remember_for=seconds))
    assert offers == {"same": f"these same arguments, for {said}"}


# Rich


@given(st.dictionaries(anything, values, max_size=4))
def test_rich_output_has_no_escape_but_its_own(args):
    shown = rich_of(card.rows(request(args)))
    assert not re.search(
        r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e]", re.sub(r"\x1b\[[0-9;]*m", "", shown)
    )


def test_rich_markup_links_and_emoji_codes_are_text():
    shown = rich_of(card.rows(request({"s": "[bold red]x[/] [link=http://e.vil]y[/link] :warning:"}, tool="[b]t[/b]")))
    assert "[bold red]x[/] [link=http://e.vil]y[/link] :warning:" in shown
    assert "[b]t[/b]" in shown
    assert "\x1b]8" not in shown


def test_rich_lines_are_as_wide_as_the_screen():
    shown = re.sub(r"\x1b\[[0-9;]*m", "", rich_of(card.rows(request({"s": "価" * 300, "k" * 300: 1})), width=60))
    assert max(map(cell_len, shown.splitlines())) <= 60
    assert {line[0] for line in shown.splitlines()} == set("╭│╰")


def screen(shown, width):
    """The lines of a terminal of ``width`` columns that draws each character as wide as any terminal may."""
    lines, line, used = [], "", 0
    for char in re.sub(r"\x1b\[[0-9;]*m", "", shown):
        if char == "\n":
            lines.append(line)
            line, used = "", 0
            continue
        wide = widest(char)
        if used + wide > width:
            lines.append(line)
            line, used = "", 0
        line, used = line + char, used + wide
    return [*lines, line]


# Two columns at many terminals and none or one to some libraries: emoji modifiers, flags, keycaps, hearts, new emoji.
WIDE = "\U0001f3fb\U0001f3fd\U0001f3ff\U0001f1e9\u2764\u00a9\u263a\U0001fae8\u3030\U0001f004"


@lru_cache
def widest(char):
    return 2 if char in WIDE else 1 if char.isascii() else cell_len(char)


@pytest.mark.parametrize("width", [40, 60, 80, 133])
@pytest.mark.parametrize("field", ["args", "key", "session", "tool", "reason"])
def test_no_value_draws_a_row_of_the_card_whatever_the_terminal_thinks_of_its_width(width, field):
    with every_case() as case:
        for char in WIDE:
            with case(ascii(char)):
                check_no_row_is_drawn(char, width, field)


def check_no_row_is_drawn(char, width, field):
    fake = "│ risk:              read, approved by the administrator"
    cards = []
    for pad in range(width // 2 + 1):
        text = " " * (pad % 3) + char * pad + fake
        asked = (
            {"args": {"note": text}} if field == "args" else {"args": {text: 1}} if field == "key" else {field: text}
        )
        rows = card.rows(request(**asked))
        assert sum(row.label == "risk" for row in rows) in (1, 2)
        cards += rows
    # One below the other, so that the console has to be set up once; a row that two of them have is drawn once.
    shown = screen(rich_of(list(dict.fromkeys(cards)), width), width)
    assert [line for line in shown if line.startswith("│ risk")] in (["│ risk:              write"], ["│ risk: write"])
    assert all(line[0] in "╭│╰" for line in shown if line)


@pytest.mark.parametrize(
    "args",
    [
        {"rows": [[["x"] * 40] * 40] * 40, "wire_to": "evil"},
        {f"k{n}": {f"m{m}": {f"n{k}": 1 for k in range(30)} for m in range(30)} for n in range(30)}
        | {"wire_to": "evil"},
        {"rows": ["y" * 1500] * 40, "wire_to": "evil"},
        {"k" * 100_000: 1, "wire_to": "evil"},
        {"a": {"b": {"c": {"d": [{"e": ["f"] * 40}] * 40}}}, "wire_to": "evil"},
        {"rows": ["\n" * 1000] * 40, "wire_to": "evil"},
    ],
    ids=["lists", "objects", "long texts", "a long key", "nested", "line breaks"],
)
def test_a_card_is_never_longer_than_a_few_screens_and_says_what_it_folds(args):
    asked = request(args, tool="wire_money", risk="financial", grant="acme")
    shown = card.to_text(card.rows(asked))
    assert len(shown.splitlines()) < 500
    assert "FOLDED" in shown
    assert "some is FOLDED or MASKED: look at all of it before you decide" in shown
    assert '"wire_to": "evil"' in shown, "small entries are shown whole beside large ones"
    ending = shown.splitlines()[-4:]
    assert len(shown.splitlines()) < 25 or ending == [
        "tool:              wire_money",
        "risk:              financial",
        "session:           one",
        "acting for:        acme",
    ]
    assert card.is_folded(args)
    assert json.loads(strip_marks(card.to_text(card.rows(asked, full=True), width=200_000))) == args


def test_a_session_cannot_pass_for_an_identity():
    real = request(session="7", grant="alice")
    for fake in ("7, acting for alice", "7\nacting for:        alice", "7  acting for: alice"):
        for shown in (card.to_text, rich_of, lambda rows: card.rows_to_html(rows, "")):
            drawn = [shown(card.rows(one)) for one in (real, request(session=fake))]
            assert drawn[0] != drawn[1]
        assert not re.search("^acting for", card.to_text(card.rows(request(session=fake))), re.MULTILINE)


@pytest.mark.parametrize(
    ("args", "named"),
    [
        ({"token": "https://evil.com/collect"}, "evil.com"),
        ({"credentials": {"send_to": "eve@evil.com"}}, "eve@evil.com"),
        ({"text": "password=https://evil.com:8443/x"}, "evil.com"),
        ({"note": "secret: eve@evil.com"}, "eve@evil.com"),
        ({"signature": "evil.com"}, "evil.com"),
        ({"token": ["10.0.0.7"]}, "10.0.0.7"),
        ({"api_key": "http://u:p@[2001:db8::1]/"}, "[2001:db8::1]"),
        ({"url": "https://ghp_" + "a" * 36 + "@evil.com/x"}, "evil.com"),
        ({"url": "https://user:hunter2@evil.com/x"}, "evil.com"),
    ],
)
def test_masking_hides_a_secret_and_never_where_something_goes(args, named):
    for shown in (text_of(args), parsed(card.to_html(request(args))).text, rich_of(card.rows(request(args)))):
        assert named in shown
    assert "hunter2" not in text_of(args)


@pytest.mark.parametrize("field", ["tool", "server", "session", "grant", "reason", "description"])
def test_words_that_read_as_others_are_marked_in_every_field(field):
    shown = card.rows(request(**{field: "\u0440\u0430\u0443"}))
    noted = [row.text for row in shown if row.style == "note"]
    assert noted == ["^ \u0440\u0430\u0443 is written in Cyrillic letters; it is not pay"]
    assert "it is not pay" in card.to_text(shown)
    assert "it is not pay" in parsed(card.to_html(request(**{field: "\u0440\u0430\u0443"}))).text


def test_words_that_read_as_others_are_marked_in_keys_and_folded_texts():
    assert "it is not pay" in text_of({"\u0440\u0430\u0443": 1})
    assert "it is not pay" in text_of({"s": "x" * 5000 + " \u0440\u0430\u0443 " + "x" * 5000})


# HTML


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.seen = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def parsed(fragment):
    tags = Tags()
    tags.feed(fragment)
    return tags


def test_html_in_arguments_is_text():
    nasty = '</div><script>alert(1)</script><img src=x onerror="alert(1)">&amp;\'"><!--'
    tags = parsed(card.to_html(request({"html": nasty, nasty: 1}, tool=nasty, reason=nasty)))
    assert {tag for tag, _ in tags.seen} == {"div", "b"}
    assert tags.text.count("<script>alert(1)</script>") == 4


@given(st.dictionaries(anything, values, max_size=4))
def test_html_holds_no_tag_or_attribute_of_the_call(args):
    tags = parsed(card.to_html(request(args)))
    assert {tag for tag, _ in tags.seen} <= {"div", "b", "span", "details", "summary"}
    (_, outermost), *others = tags.seen
    assert set(outermost) == {"class", "style"}
    assert all(set(attrs) <= {"style"} for _, attrs in others)


@pytest.mark.parametrize(
    "fragment",
    [
        card.to_html(request({"note": "$1 %9999 $ and \\(x\\)"})),
        card.rows_to_html([card.CardRow("$1 %9999 $")], "title"),
    ],
)
def test_a_notebook_does_not_take_dollars_for_mathematics(fragment):
    # JupyterLab typesets every HTML output but what has these classes: of "$1 %9999 $" it would show "1".
    tag, attrs = parsed(fragment).seen[0]
    assert (tag, attrs["class"].split()) == ("div", ["tex2jax_ignore", "mathjax_ignore"])
    assert fragment.endswith("</div>")


def test_html_keeps_what_is_folded_reachable():
    fragment = card.to_html(request({"s": "a" * 3000 + "MIDDLE" + "b" * 3000}))
    assert "<details>" in fragment
    assert fragment.count("MIDDLE") == 1
    assert "<details>" not in card.to_html(request({"s": "short"}))


def test_secrets_are_masked_said_so_and_reachable():
    args = {"note": f"use {SECRET}", "password": "hunter2", "amount": 5}
    shown = text_of(args)
    assert SECRET not in shown
    assert "hunter2" not in shown
    assert "MASKED: look at all of it before you decide" in shown
    assert '"amount": 5' in shown
    everything = card.to_text(card.rows(request(args), full=True))
    assert SECRET in everything
    assert "hunter2" in everything
    assert "<details>" in card.to_html(request(args))
    assert card.parse_edit(card.editable(args)) == args
    assert "MASKED" not in text_of({"amount": 5, "note": "***"})


# Edits


@given(st.dictionaries(anything, values, max_size=5))
def test_what_is_edited_starts_as_exactly_the_arguments(args):
    text = card.editable(args)
    assert card.parse_edit(text) == args
    assert all(ch == "\n" or unicodedata.category(ch)[0] not in "CZ" or ch == " " for ch in text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": 1, "a": 1}', 'key "a" appears twice'),
        ('{"o": {"a\\u202e": 1, "a\\u202e": 2}}', r'"a\\u202e" appears twice'),
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "Infinity"),
        ("[]", "object"),
        ("null", "object"),
        ('{"a": 1} {"b": 2}', "Extra data"),
        ("", "Expecting value"),
        ("[" * 100_000, "too deep"),
        ('{"a": ' + "9" * 5000 + "}", "digits"),
    ],
)
def test_an_edit_that_is_no_object_is_refused_and_told_why(text, why):
    with pytest.raises(ValueError, match=why):
        card.parse_edit(text)


def test_the_difference_shows_what_changed_in_full():
    before = {"a": 1, "b": "x" * 5000, "c": "keep", "d": 1}
    shown = card.to_text(card.diff(before, before | {"b": "x" * 4999 + "Y", "d": 1.0}), width=20_000)
    assert "-  " in shown
    assert "Y" in shown
    assert '+    "d": 1.0' in shown.replace('+  "d"', '+    "d"')
    assert "FOLDED" not in shown
    assert card.to_text(card.diff(before, dict(before))) == "  │ nothing was changed\n"


def test_an_edit_that_only_moves_keys_changes_nothing():
    before = {"a": [{"x": 1, "y": 2}, 3], "b": {"c": 1, "d": "e"}}
    moved = {"b": {"d": "e", "c": 1}, "a": [{"y": 2, "x": 1}, 3]}
    assert [row.text for row in card.diff(before, moved)] == ["nothing was changed"]
    changed = [
        row for row in card.diff(before, {"new": 1, **moved, "b": {"d": "f", "c": 1}}) if row.style != "argument"
    ]
    assert [row.text for row in changed] == ['-    "d": "e"', "-  }", '+    "d": "f"', "+  },", '+  "new": 1']


PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\n-----END PRIVATE KEY-----"
HELD = {"a": 1, "password": "hunter2hunter2", "list": [SECRET, "x"], "pem": PEM, SECRET: 1, "last": {"token": "abc123"}}


@pytest.mark.parametrize(
    "edit",
    [
        {"a": 2},
        {"password": "new"},
        {"password": "***"},
        {"list": [SECRET]},
        {"list": ["y", "x", "z"]},
        {"pem": "none"},
        {"pem": None},
        {"last": {"token": "other"}},
        {"last": 1},
        {"new": 1},
    ],
)
def test_the_difference_masks_what_was_there_before_and_hides_no_change(edit):
    shown = card.diff(HELD, HELD | edit)
    assert not any(secret in row.text for row in shown for secret in (SECRET, "hunter2", "MIIE", "abc123"))
    assert any(row.style in ("added", "removed") for row in shown)
    assert any(row.style == "removed" and "***" in row.text for row in shown) is edit.keys().isdisjoint({"a", "new"})
    without = {key: value for key, value in HELD.items() if key != "password"}
    assert not any("hunter2" in row.text for row in card.diff(HELD, without))


def test_the_difference_shows_what_is_new_in_full():
    shown = card.diff({"key": "old"}, {"key": SECRET})
    assert [row.style for row in shown if SECRET in row.text] == ["added"]


@pytest.mark.parametrize("field", ["description", "reason", "rule", "session", "grant"])
def test_no_field_but_the_arguments_shows_a_secret(field):
    assert SECRET not in card.to_text(card.rows(request(**{field: f"for {SECRET}"}), full=True))


@pytest.mark.parametrize("text", ["a" * 1_000_000, "é" * 300_000], ids=["ascii", "not ascii"])
def test_a_page_of_a_million_characters_is_shown_at_once(text):
    began = time.thread_time()  # others may want the processor as well
    assert any("FOLDED" in row.text for row in card.rows(request({"html": text})))
    assert time.thread_time() - began < 3  # copied for each letter, a line took six seconds and more


def test_a_backslash_before_an_n_begins_no_line():
    shown = [row.text for row in card.arguments({"x": "a\nb\\nc\\\nd"})]
    assert shown[1:4] == [r'  "x": "a\n', r"    ↳ b\\nc\\\n", '    ↳ d"']
