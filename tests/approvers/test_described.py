"""What a front end shows of a question: one plain line in its list, and the card beside its buttons."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from guarded_tools.approvers.described import described, in_a_line
from guarded_tools.text.width import columns
from guarded_tools.values import ApprovalRequest

ANN = {"customer": "Ann", "amount": 500}


def request(tool="refund", args=ANN, **more):
    return ApprovalRequest(tool, args, "thread", "", "/tools/refund/action", **({"risk": "financial"} | more))


def test_a_list_shows_the_tool_its_risk_and_the_arguments_in_a_plain_line():
    said = described(request())
    assert said.splitlines()[:3] == ["refund · financial · customer Ann, amount 500", "", "```text"]


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (
            {"password": "hunter2", "note": "key sk-ant-api03-abcdefghijklmnopqrstuvwx"},
            "password MASKED, note key sk-ant-…",
        ),
        ({"to": "ann\u200b@example.org"}, r"to ann\u200b@example.org"),
        ({"a": None, "b": True, "c": [], "d": {"deep": 1}, "e": ""}, "a null, b true, c …, d …, e"),
        ({"path": "/etc/x_y", "url": "https://a.b"}, "path /etc/x_y, url https:…a.b"),
        ({}, ""),
    ],
)
def test_the_line_hides_secrets_and_shows_what_is_invisible(args, line):
    said = in_a_line(request(args=args))
    assert said.startswith(f"refund · financial · {line}" if line else "refund · financial")
    assert "hunter2" not in said
    assert "abcdefgh" not in said


def test_the_card_is_as_wide_as_a_page_has_room_and_says_what_answering_does():
    said = described(request(args={"text": "word " * 100}, description="d" * 300), refuse="Ignore")
    lines = said.splitlines()[3:]
    assert max(map(len, lines)) <= 60
    assert lines[-3:-1] == [
        "to refuse:         Ignore",
        "if you respond:    it is the tool's answer to the model",
    ]


def test_what_is_answered_to_a_server_is_not_told_to_the_model():
    said = described(request("pay (asks back)")), described(dataclasses.replace(request(), rule="(elicitation)"))
    assert ["if you respond" in one for one in said] == [True, False]
    assert all("to refuse:" in one for one in said)


text = st.text(max_size=60) | st.text("`*_[]()<>!#|~$&\\/- \n1.ab", max_size=30)


@settings(max_examples=120, deadline=None)
@given(text, st.dictionaries(text, text, max_size=3))
def test_no_text_makes_markdown_of_the_line(tool, args):
    line = in_a_line(request(tool=tool, args=args))
    assert columns(line) <= 100
    paragraph, inline, end = MarkdownIt("gfm-like", {"linkify": False}).parse(line)
    assert (paragraph.type, end.type) == ("paragraph_open", "paragraph_close")
    assert inline.content == line.strip()
    assert "".join(child.content for child in inline.children) == line.strip()
    assert {child.type for child in inline.children} == {"text"}
