"""A required pattern that is only found somewhere in a text is told about, and only there."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from guarded_tools.policy import Policy
from guarded_tools.policy.operators import compile_regex
from guarded_tools.policy.reading.anchors import Ends, ends_of

BOTH = [
    r"^a$", r"\Aa\z", r"^(a|b)$", r"^a$|^b$", r"(^a|^b)$", r"((?:^a)|^b)c$", r"(?i)^a$", r"^[^]$|]+$", r"^\Qa|b\E$",
    r"^(?P<x>a|b)$", r"^https://e\.com/.*$", r"^.{0,64}@e\.com$", r"^$", r"^[[:alpha:]|]+$", r"(?-m:^a$)", r"^a\|b$",
]  # fmt: skip
BEGIN = [r"^https://e\.com/", r"^a\$", r"^(?:a|b$)", r"^a$?", r"^a[$]", r"^a(?m)$", r"^\Qa$\E", r"^a(?:b$)*"]
END = [
    r"@e\.com$",
    r"^.*@e\.com$",
    r"^(.+)@e$",
    r"^[\s\S]*@e$",
    r"^(?:.|\n)*@e$",
    r"^.{2,}@e$",
    r"\^a$",
    r"(^)?a$",
    r"(^).*a$",
]
NEITHER = ["", "a", r"^a|b$", r"(?m)^a$", r"(?m:^a$)", r"a$|^b", r"[$^]", r"\Q^a$\E", r"^*a$*"]


@pytest.mark.parametrize(
    ("pattern", "ends"),
    [(pattern, Ends(True, True)) for pattern in BOTH]
    + [(pattern, Ends(True, False)) for pattern in BEGIN]
    + [(pattern, Ends(False, True)) for pattern in END]
    + [(pattern, Ends(False, False)) for pattern in NEITHER],
)
def test_ends(pattern, ends):
    compile_regex(pattern, fold_case=False)
    assert ends_of(pattern) == ends


ATOMS = st.sampled_from(["a", "b", "[ab]", r"[^b~]", r"\$", r"\^", r"\Q|\E", "[|)]", "^", "$", r"\A", r"\z", "(?:)"])
PATTERNS = st.recursive(
    st.lists(ATOMS, max_size=4).map("".join),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: "(" + "|".join(parts) + ")"),
        st.tuples(inner, inner).map("".join),
        inner.map(lambda part: f"(?:{part})*"),
        st.tuples(st.sampled_from(["(?m)", "(?i)", "(?-m)"]), inner).map("".join),
        inner.map(lambda part: f"(?m:{part})"),
        st.tuples(inner, inner).map("|".join),
    ),
    max_leaves=6,
)
TEXTS = ["".join(text) for length in range(4) for text in product("ab$^|)", repeat=length)]


@given(PATTERNS)
def test_what_counts_as_anchored_is_found_in_no_text_with_more_at_that_end(pattern):
    try:
        search = compile_regex(pattern, fold_case=False).search
    except ValueError:
        assume(False)
    ends = ends_of(pattern)
    # No pattern here can take ~ or a line break, so what is found beside them leaves them out.
    for text in filter(search, TEXTS):
        if ends.begin:
            found = search(f"~\n{text}")
            assert found is None or found.start() == 0
        if ends.end:
            found = search(f"{text}\n~")
            assert found is None or found.end() == len(text) + 2


def warned(rules):
    return Policy.model_validate({"version": "1", "default": "deny", "tools": {"t": rules}}).warnings


def test_a_required_pattern_that_is_open_is_warned_of_and_a_forbidden_one_is_not():
    patterns = [{"path": "args.a", "op": "regex", "value": value} for value in (r"@e\.com$", r"^a$", r"^a|b$")]
    open_, both = warned({"require": patterns, "deny_if": patterns, "approval": {"when": patterns}})
    assert (open_.pointer, both.pointer) == ("/tools/t/require/0/value", "/tools/t/require/2/value")
    assert "anything may stand before what it describes" in open_.message
    assert "before and behind" in both.message
    assert "^(…)$" in open_.hint


def test_rules_for_all_tools_and_conditions_of_the_other_dialect_are_read_too(tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text(
        'version: "1"\ndefault: deny\n'
        "all_tools: {require: [{path: args.a, op: regex, value: a}]}\n"
        "tools:\n  t:\n    rules:\n"
        "      - {name: r, conditions: [{path: args.n, op: exists}, {path: args.a, op: regex, value: ^a}]}\n"
    )
    with pytest.warns(UserWarning, match="anything may stand") as raised:
        policy = Policy.from_file(file)
    assert [problem.pointer for problem in policy.warnings] == [
        "/all_tools/require/0/value",
        "/tools/t/rules/0/conditions/1/value",
    ]
    assert policy.warnings[1].line == 7
    assert len(raised) == 2


def test_a_pattern_nested_without_end_is_judged_in_time():
    assert ends_of("(" * 100_000 + "a" + ")" * 100_000) == Ends(True, True)
