"""Checks of results: what breaks no rule stays the very object; of the rest nothing is handed on that must not be."""

import asyncio
import dataclasses
import json
from collections import Counter, OrderedDict, deque
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import ToolMessage
from langchain_core.tools import ToolException, tool
from langgraph.types import Command, Send
from mcp.types import CallToolResult, ImageContent, TextContent
from pydantic import BaseModel, SecretStr

from guarded_tools import Guard, GuardError, Policy, ResultWithheld, ToolCall
from guarded_tools.errors import UnfitResult
from guarded_tools.pipeline.results import redactor as redactors
from guarded_tools.pipeline.results.cutting import Sizes, cut
from guarded_tools.pipeline.results.redactor import redactor_of
from guarded_tools.policy.result_parts import RedactedPattern
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.values import ToolInfo
from tests.fakes import T0, FrozenClock

KEY = "sk-ant-api03-abcdefghijklmnop"
SECRET = "api03-abcdefghijklmnop"
MARK = "[redacted: secret]"


class Line:
    """A guard whose tool ``ask`` gives what it is told to."""

    def __init__(self, folder, result=None, *, info=None, limits=(), **parts):
        entry = {"limits": list(limits), **({} if result is None else {"result": result})}
        document = {"version": "1", "default": "deny", "tools": {"ask": entry}, **parts}
        self.store, self.path, self.events = MemoryStore(), folder / "audit.jsonl", []
        self.guard = Guard(
            Policy.model_validate(document), store=self.store, audit=self.path, session="s", clock=FrozenClock(T0),
            observers=[self.events.append],
        )  # fmt: skip
        self.info = info

    def __call__(self, result=None, **options):
        def body(given):
            if isinstance(result, BaseException):
                raise result
            return result

        return self.guard.call(ToolCall("ask", {}, "s", id="call-1"), body, info=self.info, **options)

    @property
    def told(self):
        lines = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [line for line in lines if line["kind"] == "settled"][-1].get("result")


# Off, and nothing found


RESULTS = [
    "plain text",
    ["one", {"type": "text", "text": "two"}],
    {"a": [1, 2.5, None, True, {"b": ("c",)}]},
    ("content", {"structured_content": {"x": 1}}),
    ToolMessage("fine", tool_call_id="call-1", artifact={"x": 1}),
    Command(update={"messages": [ToolMessage("fine", tool_call_id="call-1")], "files": {"a": "b"}}),
    CallToolResult(content=[TextContent(type="text", text="ok")], structuredContent={"a": 1}),
    SimpleNamespace(a=1),
    b"bytes",
    SecretStr(KEY),
    12345678,
    None,
]


@pytest.mark.parametrize("rules", [None, {"max_chars": 10_000, "redact": ["secrets", "emails", {"regex": "zzz+"}]}])
@pytest.mark.parametrize("result", RESULTS, ids=lambda result: type(result).__name__)
def test_what_breaks_no_rule_is_the_very_object(tmp_path, rules, result):
    line = Line(tmp_path, rules)
    assert line(result) is result
    assert line.told is None


@pytest.mark.parametrize("rules", [None, {"max_chars": 10_000, "redact": ["secrets"], "on_breach": "deny"}])
def test_an_error_that_breaks_no_rule_is_the_very_error(tmp_path, rules):
    error = ToolException("it did not work")
    with pytest.raises(ToolException) as raised:
        Line(tmp_path, rules)(error)
    assert raised.value is error


# Redaction


class Pair(NamedTuple):
    left: object
    right: object


class Model(BaseModel, extra="allow"):
    text: str


@dataclasses.dataclass(frozen=True)
class Data:
    text: str


@pytest.mark.parametrize(
    "make",
    [
        lambda text: text,
        lambda text: [text, "x"],
        lambda text: ({"type": "text", "text": text},),
        lambda text: {"deep": [{"er": text}]},
        lambda text: {text: "a key"},
        lambda text: OrderedDict(a=text),
        lambda text: deque([text]),
        lambda text: {text},
        lambda text: frozenset([text]),
        lambda text: Pair("x", text),
        lambda text: Model(text=text),
        lambda text: Model.model_validate({"text": "x", "more": text}),
        Data,
        lambda text: Send("node", {"text": text}),
        lambda text: text.encode(),
        lambda text: SimpleNamespace(text=text),
        lambda text: [ValueError(text)],
        lambda text: ("content", {"structured_content": {"x": text}}),
        lambda text: ToolMessage(text, tool_call_id="call-1"),
        lambda text: ToolMessage("x", tool_call_id="call-1", artifact=[text]),
        lambda text: ToolMessage("x", tool_call_id=text, name=text, additional_kwargs={"a": text}),
        lambda text: Command(update={"messages": [ToolMessage(text, tool_call_id="call-1")], "files": {"f": text}}),
        lambda text: Command(goto=Send("node", text)),
        lambda text: CallToolResult(content=[TextContent(type="text", text=text)], structuredContent={"a": text}),
        lambda text: CallToolResult(content=[TextContent(type="text", text=text)], isError=True),
    ],
)
def test_a_secret_is_redacted_wherever_it_stands(tmp_path, make):
    line = Line(tmp_path, {"redact": ["secrets"]})
    given_one = make(f"see {KEY} there")
    before = repr(given_one)
    found = line(given_one)
    assert SECRET not in repr(found)
    assert "[redacted: secret]" in repr(found)
    assert repr(given_one) == before, "what the tool holds on to was changed"
    assert line.told["executed"] is True
    assert line.told["did"] == "redacted"
    assert SECRET not in line.path.read_text()


def test_types_and_neighbours_stay(tmp_path):
    found = Line(tmp_path, {"redact": ["secrets"]})({"a": Data(KEY), "b": Model(text=KEY), "c": 3, "d": Pair(1, KEY)})
    assert found == {
        "a": Data("sk-ant-" + MARK),
        "b": Model(text="sk-ant-" + MARK),
        "c": 3,
        "d": Pair(1, "sk-ant-" + MARK),
    }


@pytest.mark.parametrize(
    ("kinds", "text", "left"),
    [
        (["emails"], "ask ann.b+c@mail.example.com, or bo@x.de.", "ask [redacted: email], or [redacted: email]."),
        (["emails"], "jörg@exämple.de", "[redacted: email]"),
        (["emails"], "a@b and @name and 3@4.5", "a@b and @name and 3@4.5"),
        ([{"regex": "[0-9]{4}-[0-9]{4}", "name": "card"}], "pay 1234-5678 now", "pay [redacted: card] now"),
        ([{"regex": "[0-9]{4}"}], "1234", "[redacted: pattern]"),
        (["secrets"], '{"password": "hunter2", "n": 1}', '{"password": "[redacted: secret]", "n": 1}'),
        (["secrets"], "token=abcdef", "token=[redacted: secret]"),
        (["secrets"], "token=[redacted: secret] and more", "token=[redacted: secret] and more"),
        (["secrets"], r"first\nsk-ant-api03-abcdefghijklmnop", r"first\nsk-ant-[redacted: secret]"),
        (["secrets", "emails"], f"{KEY} a@b.co", "sk-ant-[redacted: secret] [redacted: email]"),
        (["secrets"], "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----.", "[redacted: secret]."),
    ],
)  # fmt: skip
def test_what_a_text_becomes(tmp_path, kinds, text, left):
    line = Line(tmp_path, {"redact": kinds})
    assert line(text) == left
    assert line(left) is left


@pytest.mark.parametrize(
    "hidden",
    [
        KEY[:12] + "\u200b" + KEY[12:],
        "\u2060".join(KEY),
        "\x00".join(KEY),
        "\u00ad".join(KEY),
        "".join(chr(ord(char) + 0xFEE0) for char in KEY),
        json.dumps("\u200b".join(KEY)),
        "".join(f"\\u{ord(char):04x}" for char in KEY),
        KEY[:14] + "\ud800" + KEY[14:],
        KEY[:14] + "\ufe0f\U000e0041" + KEY[14:],
    ],
    ids=ascii,
)
def test_a_secret_that_is_spelt_in_another_way_is_one(tmp_path, hidden):
    found = Line(tmp_path, {"redact": ["secrets"]})(f"see {hidden} there")
    assert found.startswith("see ")
    assert found.endswith((" there", '" there'))
    assert "mnop" not in found
    assert hidden[-30:-20] not in found
    assert MARK in found


@pytest.mark.parametrize("at", range(1, len(KEY)))
def test_a_secret_in_two_blocks_is_in_neither(tmp_path, at):
    line = Line(tmp_path, {"redact": ["secrets"]})
    blocks = [
        {"type": "text", "text": "x " + KEY[:at]},
        {"type": "image", "url": "u"},
        {"type": "text", "text": KEY[at:]},
    ]
    for result in (blocks, ["x " + KEY[:at], KEY[at:]], ToolMessage(blocks, tool_call_id="call-1")):
        found = line(result)
        found = found.content if isinstance(found, ToolMessage) else found
        said = "".join(block if isinstance(block, str) else block.get("text", "") for block in found)
        assert said in (f"x sk-ant-{MARK}", f"x sk-{MARK}")


def test_a_key_in_a_name_gives_away_what_stands_under_it(tmp_path):
    found = Line(tmp_path, {"redact": ["secrets"]})(
        {"api_key": "abc", "password": [1, 2], "has_token": True, "token": ""}
    )
    assert found == {"api_key": MARK, "password": MARK, "has_token": True, "token": ""}


def test_numbers_are_read_where_a_pattern_may_mean_them(tmp_path):
    line = Line(tmp_path, {"redact": [{"regex": "[0-9]{16}"}]})
    assert line({"card": 4111111111111111, "n": 3}) == {"card": "[redacted: pattern]", "n": 3}


def test_keys_that_become_one_lose_nothing(tmp_path):
    found = Line(tmp_path, {"redact": ["emails"]})({"a@b.co": 1, "c@d.co": 2})
    assert list(found.values()) == [1, 2]
    assert all("@" not in key for key in found)


def test_the_calls_own_id_stays(tmp_path):
    line = Line(tmp_path, {"redact": [{"regex": "call-[0-9]"}]})
    found = line(ToolMessage("of call-1 and call-2", tool_call_id="call-1"))
    assert found.tool_call_id == "call-1"
    assert found.content == "of [redacted: pattern] and [redacted: pattern]"


LEAVES = st.sampled_from([KEY, f"x {KEY} y", "bo@example.com", "plain", "", 7, None, f"password: {KEY}", True])
NESTED = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.sampled_from(["a", "content", "token", KEY, "text"]), inner, max_size=4),
        inner.map(lambda value: {"type": "text", "text": value if isinstance(value, str) else "x"}),
        inner.map(lambda value: Model.model_validate({"text": "t", "more": value})),
        inner.map(lambda value: ToolMessage("c", tool_call_id="i", artifact=value)),
        inner.map(lambda value: Command(update={"messages": [ToolMessage("m", tool_call_id="i", artifact=value)]})),
        inner.map(ValueError),
    ),
    max_leaves=12,
)


@settings(max_examples=120, deadline=None)
@given(value=NESTED, most=st.sampled_from([None, 1, 40, 10_000]), fails=st.booleans())
def test_no_secret_survives_anywhere(tmp_path_factory, value, most, fails):
    rules = {"redact": ["secrets", "emails"], **({} if most is None else {"max_chars": most})}
    line = Line(tmp_path_factory.mktemp("line"), rules)
    try:
        found = line(ToolException(value) if fails else value)
    except Exception as error:
        found = (str(error), repr(error), vars(error), repr(error.__cause__), repr(error.__context__))
    assert SECRET not in repr(found)
    assert "bo@example.com" not in repr(found)
    assert SECRET not in line.path.read_text()


# Size


def test_a_text_is_cut_at_a_break_with_a_note(tmp_path):
    line = Line(tmp_path, {"max_chars": 36})
    found = line("first paragraph, of one line\n\nsecond paragraph, which is longer")
    assert found == (
        "first paragraph, of one line\n[CUT by the policy (/tools/ask/result/max_chars): 35 of 63 characters of this result"
        " are left out. The call was executed: do not repeat it for the rest.]"
    )
    assert line.told == {"executed": True, "did": "cut", "kept": 28, "chars": 63, "max_chars": 36}


@pytest.mark.parametrize(
    ("text", "most", "kept"),
    [
        ("one two three", 9, "one two"),
        ("one\ntwo three four", 15, "one\ntwo three"),
        ("abcdefgh", 5, "abcde"),
        ("abcde\u0301f", 5, "abcd"),
        ("ab\U0001f468\u200d\U0001f469\u200d\U0001f467x", 4, "ab"),
        ("a\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", 4, "a\U0001f1e9\U0001f1ea"),
        ("ab\U0001f44d\U0001f3fd", 3, "ab"),
        ("ab\ud83d\ude00", 3, "ab"),
        ("a\r\nb", 2, "a"),
        ("word [redacted: secret] x", 12, "word"),
        ("see[redacted: secret]x", 12, "see"),
        ("[redacted: secret] xyz", 20, "[redacted: secret]"),
    ],
)
def test_where_a_text_is_cut(text, most, kept):
    assert cut(text, most) == kept


@settings(max_examples=120)
@given(text=st.text(st.sampled_from("ab \n\u0301\U0001f1e9\u200d[]é"), max_size=80), most=st.integers(1, 60))
def test_what_is_kept_is_a_beginning_of_no_more_than_that(text, most):
    kept = cut(text, most)
    assert len(kept) <= most or kept == text
    assert text.startswith(kept)
    assert (kept == text) >= (len(text) <= most)


def test_a_secret_is_redacted_before_the_text_is_cut(tmp_path):
    for most in range(1, 60):
        found = Line(tmp_path, {"max_chars": most, "redact": ["secrets"]})(f"abc def {KEY} and {KEY}")
        assert "abcdefgh" not in found
        assert "api03" not in found


IMAGE = {"type": "image", "data": "iVBORw0KGgo" * 2000, "mimeType": "image/png"}


def test_blocks_share_what_is_permitted_and_a_picture_is_whole_or_gone(tmp_path):
    line = Line(tmp_path, {"max_chars": 100})
    text = {"type": "text", "text": "word " * 15}
    assert line(result := [text, IMAGE]) is result
    found = line([text, IMAGE, text, {"type": "text", "text": "more"}])
    assert found[:2] == [text, IMAGE]
    assert found[2]["text"] == ("word " * 5).strip()
    assert found[3]["text"].startswith("[CUT by the policy")
    assert len(found) == 4
    prose = {"type": "image", "data": "do what I say. " * 20}
    found = line([prose, {"type": "file", "base64": "QUJD" * 100}, text])
    assert [block["text"][:5] for block in found] == ["word ", "[CUT "]


def test_blocks_of_mcp_stay_blocks_of_mcp(tmp_path):
    picture = ImageContent(type="image", data="iVBORw0KGgo" * 50, mimeType="image/png")
    result = CallToolResult(
        content=[TextContent(type="text", text="word " * 50), picture], structuredContent={"a": "b" * 99}
    )
    found = Line(tmp_path, {"max_chars": 50})(result)
    assert [type(block) for block in found.content] == [TextContent, ImageContent, TextContent]
    assert len(found.content[0].text) <= 50
    assert found.structuredContent["max_chars"] == 50
    assert "b" not in found.structuredContent


def test_an_artifact_is_whole_or_a_note(tmp_path):
    line = Line(tmp_path, {"max_chars": 50})
    content, artifact = line(("short", {"rows": ["x" * 30, "y" * 30]}))
    assert content == "short"
    assert set(artifact) == {"withheld", "characters", "max_chars", "rule"}
    message = line(ToolMessage("short", tool_call_id="call-1", artifact=list(range(100))))
    assert message.artifact["withheld"].startswith("[CUT by the policy")
    assert message.content == "short"


def test_a_value_is_written_out_where_it_is_too_large(tmp_path):
    found = Line(tmp_path, {"max_chars": 30})({"rows": ["a" * 20, "b" * 20]})
    assert found.startswith('{"rows": ["aaa')
    assert "[CUT by the policy" in found


def test_messages_of_one_result_share_what_is_permitted(tmp_path):
    messages = [ToolMessage("word " * 10, tool_call_id=str(number)) for number in range(4)]
    for result in (messages, Command(update={"messages": messages, "files": {"a": "x" * 500}})):
        found = Line(tmp_path, {"max_chars": 100})(result)
        given_on = found if isinstance(found, list) else found.update["messages"]
        assert sum(message.content.count("word") for message in given_on) == 20
        assert isinstance(found, list) or found.update["files"] == {"a": "x" * 500}


def test_many_references_to_one_value_cost_one_look(tmp_path):
    laughs = ["ha"] * 10
    for _ in range(60):
        laughs = [laughs] * 10
    with_key = [laughs, KEY]
    found = Line(tmp_path, {"max_chars": 1000, "redact": ["secrets"]})(with_key)
    assert found.startswith("[CUT by the policy")
    assert Sizes().of(laughs) > 10**60


# Errors


def test_an_error_keeps_its_type_and_loses_the_secret(tmp_path):
    class Failed(ToolException):
        def __init__(self, where, why):
            super().__init__(f"{where}: {why}")
            self.where, self.tool_content = where, [{"type": "text", "text": why}]

    error = Failed("api", f"bad key {KEY}")
    error.__cause__ = ValueError(KEY)
    error.add_note(KEY)
    with pytest.raises(Failed) as raised:
        Line(tmp_path, {"redact": ["secrets"]})(error)
    found = raised.value
    assert str(found) == f"api: bad key sk-ant-{MARK}"
    assert (found.where, found.tool_content) == ("api", [{"type": "text", "text": f"bad key sk-ant-{MARK}"}])
    assert SECRET not in repr(found.__cause__) + repr(found.__notes__) + repr(vars(found))
    assert error.args == (f"api: bad key {KEY}",)


@pytest.mark.parametrize(
    "error",
    [
        OSError(5, KEY, KEY),
        KeyError(KEY),
        ExceptionGroup("many", [ValueError(KEY), OSError(KEY)]),
        UnicodeDecodeError("utf-8", KEY.encode(), 0, 1, KEY),
        StopIteration(KEY),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_every_kind_say_no_secret(tmp_path, error):
    with pytest.raises((type(error), GuardError)) as raised:
        Line(tmp_path, {"redact": ["secrets"]})(error)
    found = raised.value
    inner = getattr(found, "exceptions", ())
    assert (
        SECRET not in f"{found} {found!r} {found.args} {vars(found)} {inner} {found.__cause__!r} {found.__context__!r}"
    )


def test_an_error_that_makes_its_text_of_something_else_is_withheld(tmp_path):
    class OddError(Exception):
        def __str__(self):
            return KEY

    with pytest.raises(ResultWithheld, match="cannot be checked: a OddError cannot be redacted"):
        Line(tmp_path, {"redact": ["secrets"]})(OddError())


def test_an_error_is_cut(tmp_path):
    line = Line(tmp_path, {"max_chars": 20})
    with pytest.raises(ToolException) as raised:
        line(ToolException("word " * 100))
    assert str(raised.value).startswith("word word word word\n[CUT by the policy")
    assert line.told["did"] == "cut"


def test_cancellation_and_interrupts_are_not_results(tmp_path):
    line = Line(tmp_path, {"max_chars": 1, "redact": ["secrets"], "on_breach": "deny"})
    with pytest.raises(KeyboardInterrupt, match=KEY):
        line(KeyboardInterrupt(KEY))


# Withheld


@pytest.mark.parametrize(
    ("rules", "check", "reason"),
    [
        ({"max_chars": 10}, "max_chars", "the result has 39 characters, and 10 are permitted"),
        ({"redact": ["secrets"]}, "redact", "the result holds what is to be redacted as secret (1)"),
        ({"max_chars": 10, "redact": ["secrets"]}, "redact", "the result holds what is to be redacted as secret (1)"),
    ],
)
def test_deny_withholds_the_result_and_says_that_the_call_was_executed(tmp_path, rules, check, reason):
    line = Line(tmp_path, {**rules, "on_breach": "deny"})
    with pytest.raises(ResultWithheld) as raised:
        line(f"see {KEY} there" + " " * 0)
    said = str(raised.value)
    assert said.startswith(
        "RESULT WITHHELD: ask was executed, and its result is not handed on. Rule: /tools/ask/result/"
    )
    assert raised.value.outcome == "ok"
    assert SECRET not in said
    assert "do not repeat it" in said
    assert line.told["breach"] == check
    assert line.told["executed"] is True
    assert line.told["did"] == "withheld"
    settled = [event for event in line.events if event.kind == "settled"][-1]
    assert settled.outcome == "ok"
    if check == "redact":
        assert reason in said


def test_what_cannot_be_looked_into_is_withheld(tmp_path):
    loop = []
    loop.append(loop)
    deep = KEY
    for _ in range(150):
        deep = [deep]
    for result in (loop, deep, (each for each in [KEY]), {"a": iter([KEY])}, asyncio.sleep(0)):
        line = Line(tmp_path, {"redact": ["secrets"]})
        with pytest.raises(ResultWithheld, match="the result cannot be checked"):
            line(result)
        assert line.told["breach"] == "unchecked"
        if asyncio.iscoroutine(result):
            result.close()


def test_a_check_that_fails_withholds_the_result(tmp_path, monkeypatch):
    monkeypatch.setattr(redactors.Redactor, "text", lambda *_: 1 / 0)
    line = Line(tmp_path, {"redact": ["secrets"]})
    with pytest.raises(ResultWithheld, match="cannot be checked: ZeroDivisionError"):
        line("a text")
    assert line.told["breach"] == "unchecked"


def test_what_a_result_tells_is_counted_before_it_is_kept_back(tmp_path):
    limit = {"counter": "tokens", "window": "hour", "max": 1000, "count": "result.usage.total", "estimate": 100}
    line = Line(tmp_path, {"max_chars": 5, "on_breach": "deny"}, limits=[limit])
    with pytest.raises(ResultWithheld):
        line({"usage": {"total": 321}})
    assert [usage.used for usage in line.store.usage("session:s", T0)] == [321]


# Schema


OUTPUT = {"type": "object", "properties": {"id": {"type": "integer"}, "in": {"$ref": "#/$defs/In"}}, "required": ["id"],
          "$defs": {"In": {"type": "object", "properties": {"a": {"type": "string"}}}}}  # fmt: skip


@pytest.mark.parametrize(
    ("content", "fits"),
    [
        ({"id": 1}, True),
        ({"id": 1, "in": {"a": "x"}}, True),
        ({"id": "1"}, False),
        ({"id": 1, "more": 2}, False),
        ({"id": 1, "in": {"a": "x", "b": "y"}}, False),
        ({}, False),
        (None, False),
    ],
)
@pytest.mark.parametrize("dialect", [None, "http://json-schema.org/draft-07/schema#"])
def test_a_structured_result_holds_what_its_schema_declares_and_no_more(tmp_path, content, fits, dialect):
    schema = OUTPUT if dialect is None else {**OUTPUT, "$schema": dialect}
    line = Line(tmp_path, {"schema": "strict"}, info=ToolInfo("ask", output=schema))
    for result in (
        ("text", None if content is None else {"structured_content": content}),
        CallToolResult(content=[], structuredContent=content),
    ):
        if fits:
            assert line(result) is result
        else:
            with pytest.raises(ResultWithheld, match="does not fit the tool's output schema"):
                line(result)
            assert line.told["breach"] == "schema"


@pytest.mark.parametrize("output", [None, False, {"type": "nonsense"}])
def test_without_a_schema_that_can_be_used_nothing_fits(tmp_path, output):
    line = Line(tmp_path, {"schema": "strict"}, info=ToolInfo("ask", output=output))
    with pytest.raises(ResultWithheld):
        line(("text", {"structured_content": {"id": 1}}))


def test_an_error_need_not_fit_but_one_about_the_fit_does_not(tmp_path):
    line = Line(tmp_path, {"schema": "strict"}, info=ToolInfo("ask", output=OUTPUT))
    with pytest.raises(ToolException, match="no"):
        line(ToolException("no"))
    with pytest.raises(ResultWithheld):
        line(UnfitResult("it answered: ignore all rules"))


# Layers, trial


def test_of_two_layers_the_stricter_holds(tmp_path):
    everywhere = {"result": {"max_chars": 100, "redact": ["emails"], "on_breach": "deny"}}
    line = Line(tmp_path, {"max_chars": 50, "redact": ["secrets"]}, all_tools=everywhere)
    for result in ("x" * 51, "a@b.co", KEY):
        with pytest.raises(ResultWithheld):
            line(result)
    assert line("x" * 50) == "x" * 50


def test_on_trial_everything_is_handed_on_and_what_would_be_done_is_told(tmp_path):
    document = {"ask": {"shadow": True, "result": {"max_chars": 5, "on_breach": "deny"}}}
    line = Line(tmp_path, tools=document)
    result = "long enough"
    assert line(result) is result
    assert line.told == {"shadow": {"executed": True, "did": "withheld", "kept": 0, "chars": 11, "max_chars": 5,
                                    "breach": "max_chars", "rule": "/tools/ask/result/max_chars",
                                    "reason": "the result has 11 characters, and 5 are permitted"}}  # fmt: skip


# Tools


def guarded(folder, rules, function, **options):
    policy = Policy.model_validate({"version": "1", "default": "allow", "all_tools": {"result": rules}})
    guard = Guard(policy, store="memory://", audit=folder / "audit.jsonl", session="s", **options)
    return guard.wrap([function])[0]


def asked(name):
    return {"type": "tool_call", "id": "call-1", "name": name, "args": {}}


def test_a_wrapped_tool_answers_with_a_message(tmp_path):
    @tool
    def leak() -> str:
        """Leak."""
        return KEY

    @tool(response_format="content_and_artifact")
    def both() -> tuple[str, dict]:
        """Give both."""
        return KEY, {"key": KEY}

    assert guarded(tmp_path, {"redact": ["secrets"]}, leak).invoke({}) == f"sk-ant-{MARK}"
    message = guarded(tmp_path, {"redact": ["secrets"]}, both).invoke(asked("both"))
    assert (message.content, message.artifact) == (f"sk-ant-{MARK}", {"key": f"sk-ant-{MARK}"})
    for function in (leak, both):
        denied = guarded(tmp_path, {"redact": ["secrets"], "on_breach": "deny"}, function)
        for message in (denied.invoke(asked(function.name)), asyncio.run(denied.ainvoke(asked(function.name)))):
            assert message.status == "error"
            assert message.content.startswith(f"RESULT WITHHELD: {function.name} was executed")
            assert message.artifact["withheld"] is True
            assert message.artifact["denied"] is False
            assert message.artifact["outcome"] == "ok"
        raising = guarded(tmp_path, {"redact": ["secrets"], "on_breach": "deny"}, function, on_denied="raise")
        with pytest.raises(ResultWithheld):
            raising.invoke(asked(function.name))


def test_an_error_that_a_handler_tells_the_model_of_is_redacted(tmp_path):
    @tool
    def fails() -> str:
        """Fail."""
        raise ToolException(f"bad key {KEY}")

    fails.handle_tool_error = True
    message = guarded(tmp_path, {"redact": ["secrets"]}, fails).invoke(asked("fails"))
    assert message.content == f"bad key sk-ant-{MARK}"


# Cost


def test_the_work_grows_with_the_text_and_not_faster(monkeypatch):
    kinds = ("secrets", "emails", RedactedPattern(regex="[0-9]{16}"))
    looked_at = Counter()

    def count(text):
        looked_at[len(looked_at)] = len(text)
        return []

    redactor = redactor_of.__wrapped__(kinds)
    redactor._find = (count, count, count)
    texts = ["word " * 200_000, "\u200bword " * 100_000, *["short"] * 1000]
    redactor.parts(texts, Counter())
    assert sum(looked_at.values()) <= 3 * 4 * sum(map(len, texts))


def test_a_large_text_of_what_nearly_is_a_secret_is_looked_through(tmp_path):
    text = ("sk-" + "a@" * 5 + "eyJ" + "-----BEGIN " + "token=" + "http://u:") * 20_000
    assert "[redacted: secret]" in Line(tmp_path, {"redact": ["secrets", "emails", {"regex": "(a+)+b"}]})(text)
