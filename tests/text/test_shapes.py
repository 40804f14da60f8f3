"""Keys of usual providers are masked by their shape; ordinary words and addresses are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guarded_tools.secrets import MASK, mask
from guarded_tools.text.redaction import secrets
from guarded_tools.text.secret_shapes import SHAPES, compiled

A = "Zk9vQ2h5c0pXb1RrN2FhYmJjY2RkMTIzNDU2Nzg5MGFiY2RlZg"
H = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


@pytest.mark.parametrize(
    "secret",
    [
        *(
            "tvly-" + A[:32],
            "nvapi-" + A,
            "r8_" + A[:37],
            "hvs." + A,
            "dckr_pat_" + A[:27],
            "SK" + H[:32],
            "AC" + H[:32],
        ),
        *("ATATT3xFfGF0" + A * 3, "sbp_" + H[:40], "glsa_" + A[:32] + "_9f86d081", "sntrys_" + A, "fw_" + A[:24]),
        *("re_" + A[:8] + "_" + A[8:32], "glrt-" + A[:20], "glpat-" + A[:20], "secret_" + A[:43], "figd_" + A[:40]),
        *("pat" + A[:14] + "." + H, "1//0g" + A, "AGE-SECRET-KEY-1" + A[:50].upper(), "SG." + A[:22] + "." + A[:43]),
    ],
)
def test_a_key_is_masked_by_its_shape(secret):
    shown = mask(f"use {secret} now")
    assert MASK in shown
    assert secret[12:] not in shown
    assert shown.startswith("use ")
    assert shown.endswith(" now")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"https://{H[:40]}@github.com/x/y.git", "https://***@github.com/x/y.git"),
        ("Server=x;Uid=u;Pwd=hunter2hunter2;", "Server=x;Uid=u;Pwd=***;"),
        ("curl -u admin:hunter2hunter2 https://x", "curl -u admin:*** https://x"),
        ("tool --password hunter2hunter2 --force", "tool --password *** --force"),
        ("tool --api-key 'a b c' x", "tool --api-key *** x"),
        (
            f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{A}\n-----END PGP PRIVATE KEY BLOCK-----",
            "-----BEGIN PRIVATE KEY-----***",
        ),
    ],
)
def test_a_secret_is_masked_by_its_place(text, shown):
    assert mask(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        *("cd /home; pwd", "PWD=/home/ann", "--token --verbose", "https://medium.com/@user/20-things-to-know-1234"),
        *("https://ann@example.com/", "docker run -u 1000:1000 x", "the re_entrant_function_name2", "patience", "task"),
        *("git+ssh://git@github.com/x", "skip to account", "glad-handed", "secret_santa_list"),
    ],
)
def test_ordinary_text_is_left_alone(text):
    assert mask(text) == text


SECRETS = st.sampled_from(
    [
        *(
            "tvly-" + A[:32],
            "SK" + H[:32],
            "github_pat_" + A,
            "123456789:AA" + A,
            "AKIA" + "ABCDEFGHIJKLMNOP",
            "fw_" + A[:24],
        ),
        *("password=hunter2hunter2", '"token": "hunter2hunter2"', "https://u:hunter2hunter2@h/", "Pwd=hunter2hunter2"),
        *("Authorization: Basic hunter2hunter2", "curl -u a:hunter2hunter2", "tool --token hunter2hunter2"),
    ]
)


@given(
    st.lists(
        st.tuples(SECRETS, st.sampled_from([" ", "\n", ", ", " \u00e9 ", " \ud800 ", "\u2003", " ; "])), max_size=6
    )
)
def test_of_many_secrets_each_is_found_and_what_stands_between_stays(parts):
    text = "".join(secret + gap for secret, gap in parts)
    shown = mask(text)
    assert not [part for secret, _ in parts if (part := secret[-12:].strip('"@h/')) in shown]
    assert [char for char in shown if char in "\u00e9\ud800\u2003"] == [
        char for char in text if char in "\u00e9\ud800\u2003"
    ]
    for at, end in secrets(text):
        assert text[at:end] not in shown


def test_every_pattern_is_one_of_re2_and_small():
    """A class of all letters that is counted makes a program for which RE2 has no memory: it is slow then."""
    assert not [shape.markers for shape in SHAPES if not 0 < compiled(shape.pattern).programsize < 3_000]
