"""What a server asks in the middle of a call, and what it tells of how far it is."""

import json
import sys
from pathlib import Path

import pytest

from guarded_tools import CannotAsk, InterruptApprover, Policy, Verdict, guarded_tools
from guarded_tools.mcp_session.generation import installed

SERVER = str(Path(__file__).with_name("asking_server.py"))
OPEN = Policy.model_validate({"version": "1", "default": "allow"})


@pytest.fixture
def shop(tmp_path, options):
    def opened(**more):
        server = {"command": sys.executable, "args": [SERVER, str(tmp_path / "ran")]}
        return guarded_tools({"shop": server}, policy=OPEN, start_timeout=60, **{**options, **more})

    return opened


def run(tools, name, **args):
    by_name = {tool.name: tool for tool in tools}
    return by_name[name].invoke({"type": "tool_call", "id": "c1", "name": name, "args": args}).text


@pytest.mark.parametrize(
    ("verdict", "answer"),
    [
        (Verdict.edit({"confirm": True, "note": "thanks"}), "accept confirm=True note='thanks'"),
        (Verdict.edit({"confirm": True}), "accept confirm=True note='none'"),
        (Verdict.edit({"confirm": "perhaps"}), "decline None"),
        (Verdict.approve(), "decline None"),  # it has no default for what is required
        (Verdict.reject("no"), "decline None"),
        (Verdict.respond("yes"), "decline None"),  # to which of the two?
        (True, "decline None"),
        (CannotAsk("nobody is there"), "decline None"),
        ("nonsense", "decline None"),
    ],
)
def test_a_question_reaches_the_human_through_the_approver(shop, options, verdict, answer):
    asked = []

    def approver(request):
        asked.append(request)
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    with shop(approver=approver) as tools:
        assert run(tools, "pay", to="ann") == answer
    [request] = asked
    assert (request.tool, request.server, request.session, request.remember) == (
        "pay (asks back)",
        "shop",
        "s",
        "never",
    )
    assert "Really pay ann?" in request.reason
    assert "0123456789abcdefghij" not in request.reason
    assert request.args == {"confirm": None, "note": "none"}
    assert request.check_edit({"confirm": "perhaps"})
    lines = [json.loads(line) for line in options["audit"].read_text().splitlines()]
    told = [(line["kind"], line["tool"]) for line in lines if line.get("rule") == "(elicitation)"]
    assert told == [("asked", "pay"), ("answered", "pay")]
    assert "0123456789abcdefghij" not in options["audit"].read_text()
    assert "thanks" not in options["audit"].read_text()


def test_the_only_field_can_be_answered_in_words(shop):
    with shop(approver=lambda request: Verdict.respond("4711")) as tools:
        assert run(tools, "login") == "accept code='4711'"


def test_where_nobody_is_asked_the_server_is_declined_and_the_call_goes_on(shop, tmp_path):
    for approver in (None, InterruptApprover()):
        with shop(approver=approver) as tools:
            assert run(tools, "pay", to="ann") == "decline None"
    assert (tmp_path / "ran").read_text() == "began ann\ndecline ann\n" * 2


async def test_the_time_of_a_call_stands_still_and_others_get_their_answers_while_a_human_thinks(shop):
    beside = []

    async def approver(request):
        # In the middle of one call another is made and answered; and the time of the first is long over.
        beside.append(await quick.ainvoke({}))
        return Verdict.edit({"confirm": True})

    async with shop(approver=approver, read_timeout=30) as tools:
        by_name = {tool.name: tool for tool in tools}
        quick = by_name["quick"]
        answer = await by_name["pay"].ainvoke({"to": "ann"})
    assert "accept" in str(answer)
    assert "quick" in str(beside)


@pytest.mark.skipif(installed() == 2, reason="with protocol 2026-07-28 each question comes as the answer to its call")
def test_a_question_that_may_belong_to_two_calls_is_declined(shop):
    import threading

    seen = []

    def approver(request):
        seen.append(request)
        # A second call that asks while the first is under way: whose question it is cannot be told.
        second = []
        thread = threading.Thread(target=lambda: second.append(run(tools, "login")))
        thread.start()
        thread.join(20)
        assert second == ["decline None"]
        return Verdict.edit({"confirm": True})

    with shop(approver=approver) as tools:
        assert run(tools, "pay", to="ann") == "accept confirm=True note='none'"
    assert len(seen) == 1


def test_a_human_is_asked_no_more_often_than_for_anything_else(shop):
    asked = []

    def approver(request):
        asked.append(request)
        return Verdict.edit({"confirm": True, "note": str(len(asked))})

    with shop(approver=approver) as tools:
        answers = [run(tools, "pay", to=f"u{number}") for number in range(22)]
    assert len(asked) == 20
    assert [answer.split()[0] for answer in answers] == ["accept"] * 20 + ["decline"] * 2


def test_progress_is_told(shop):
    told = []

    def on_progress(progress):
        told.append(progress)
        raise RuntimeError("of the user")  # harms nobody

    with shop(on_progress=on_progress) as tools:
        assert run(tools, "count") == "counted"
    assert [tuple(progress) for progress in told] == [
        ("shop", "count", 1.0, 2.0, "step 1"),
        ("shop", "count", 2.0, 2.0, "step 2"),
    ]
