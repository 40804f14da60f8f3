"""After a human changed a call, or answered in its place, the tool's message says so, in whatever form it comes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool, ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command

from guarded_tools.approvers.interrupt import InterruptApprover
from guarded_tools.values import Verdict
from tests.adapters.clients import Server, opened

ASK = {"messages": [("user", "go")]}
ASKS = {"version": "1", "default": "deny", "tools": {"refund": {"risk": "write", "approval": True}}}
WANTED = {"amount": 500, "customer": "ann"}
EDITED = {"amount": 100, "customer": "ann"}
CALL = {"type": "tool_call", "id": "c1", "name": "refund", "args": WANTED}
NOTE = (
    'NOTE: a human changed this call before it ran. What ran is refund with the arguments {"amount": 100, "customer":'
    ' "ann"}, not what you asked for. This was intended: do not repeat your call.'
)

modes = pytest.mark.parametrize("awaited", [False, True])


def refund_that(returns: Any, **options: Any) -> BaseTool:
    """Make a tool that returns this, or raises it, from both of its functions."""

    def give(call_id: str) -> Any:
        said = returns(call_id) if callable(returns) else returns
        if isinstance(said, Exception):
            raise said
        return said

    def refund(customer: str, amount: int, tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Refund."""
        assert amount == 100
        return give(tool_call_id)

    async def arefund(customer: str, amount: int, tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Refund."""
        return refund(customer, amount, tool_call_id)

    return StructuredTool.from_function(refund, arefund, name="refund", **options)


@pytest.fixture
def edits(make_guard: Any) -> Any:
    """Make a guard whose human edits every call."""
    return lambda args=EDITED, **options: make_guard(ASKS, approver=lambda _: Verdict.edit(args), **options)


async def answer(made: BaseTool, awaited: bool, asked: Any = CALL) -> Any:
    return await made.ainvoke(asked) if awaited else made.invoke(asked)


BLOCK = {"type": "text", "text": "done"}
IMAGE = {"type": "image", "base64": "AA==", "mime_type": "image/png"}


@modes
@pytest.mark.parametrize(
    ("returned", "content"),
    [
        ("done", f"{NOTE}\n\ndone"),
        ("", NOTE),
        ({"paid": True}, f'{NOTE}\n\n{{"paid": true}}'),
        (None, f"{NOTE}\n\nnull"),
        (7, f"{NOTE}\n\n7"),
        ([1, 2], f"{NOTE}\n\n[1, 2]"),
        ([BLOCK, IMAGE], [{"type": "text", "text": f"{NOTE}\n\n"}, BLOCK, IMAGE]),
        (["done", "twice"], [f"{NOTE}\n\n", "done", "twice"]),
        (lambda call_id: ToolMessage("done", tool_call_id=call_id), f"{NOTE}\n\ndone"),
        (lambda call_id: ToolMessage([BLOCK], tool_call_id=call_id), [{"type": "text", "text": f"{NOTE}\n\n"}, BLOCK]),
    ],
)
async def test_a_wrapped_tools_message_says_what_ran(returned: Any, content: Any, awaited: bool, edits: Any) -> None:
    (guarded,) = edits().wrap([refund_that(returned)])
    message = await answer(guarded, awaited)
    assert isinstance(message, ToolMessage)
    assert message.content == content
    assert message.status == "success"


@modes
@pytest.mark.parametrize(
    ("returned", "content"),
    [
        ("done", f"{NOTE}\n\ndone"),
        ([BLOCK], [{"type": "text", "text": f"{NOTE}\n\n"}, BLOCK]),
        ({"n": 1}, f'{NOTE}\n\n{{"n": 1}}'),
    ],
)
async def test_an_artifact_stays_as_it_is(returned: Any, content: Any, awaited: bool, edits: Any) -> None:
    artifact = object()
    (guarded,) = edits().wrap([refund_that((returned, artifact), response_format="content_and_artifact")])
    message = await answer(guarded, awaited)
    assert message.content == content
    assert message.artifact is artifact


@modes
async def test_a_command_says_it_in_the_message_of_this_call_alone(awaited: bool, edits: Any) -> None:
    def command(call_id: str) -> Command[Any]:
        others = [HumanMessage("hello"), ToolMessage("other", tool_call_id="c0")]
        update = {"messages": [*others, ToolMessage("done", tool_call_id=call_id)], "paid": [1, 2]}
        return Command(update=update, goto="elsewhere")

    (guarded,) = edits().wrap([refund_that(command)])
    answered = await answer(guarded, awaited)
    assert (answered.goto, answered.update["paid"]) == ("elsewhere", [1, 2])
    assert [message.text for message in answered.update["messages"]] == ["hello", "other", f"{NOTE}\n\ndone"]


@modes
async def test_several_messages_and_commands_say_it_once_each(awaited: bool, edits: Any) -> None:
    def several(call_id: str) -> list[Any]:
        update = [("messages", [ToolMessage("done", tool_call_id=call_id)])]
        return [Command(update=update), ToolMessage("other", tool_call_id="c0")]

    (guarded,) = edits().wrap([refund_that(several)])
    command, other = await answer(guarded, awaited)
    assert command.update[0][1][0].text == f"{NOTE}\n\ndone"
    assert other.text == "other"


@modes
@pytest.mark.parametrize("handled", [True, False])
async def test_an_error_says_what_ran(handled: bool, awaited: bool, edits: Any) -> None:
    (guarded,) = edits().wrap([refund_that(lambda _: ToolException("too much"), handle_tool_error=handled)])
    if handled:
        message = await answer(guarded, awaited)
        assert (message.content, message.status) == (f"{NOTE}\n\ntoo much", "error")
    else:
        with pytest.raises(ToolException, match="too much") as caught:
            await answer(guarded, awaited)
        assert str(caught.value) == f"{NOTE}\n\ntoo much"


async def test_an_error_whose_outcome_is_open_says_both(edits: Any) -> None:
    (guarded,) = edits().wrap([refund_that(lambda _: TimeoutError("too slow"))])
    with pytest.raises(TimeoutError) as caught:
        guarded.invoke(CALL)
    said = str(caught.value)
    assert said.index("NOTE: a human") < said.index("too slow") < said.index("UNKNOWN OUTCOME")


def test_without_a_tool_call_no_message_is_made_and_nothing_is_added(make_guard: Any) -> None:
    def refund(customer: str, amount: int) -> Any:
        """Refund."""
        return returned

    guard = make_guard(ASKS, approver=lambda _: Verdict.edit(EDITED))
    (guarded,) = guard.wrap([StructuredTool.from_function(refund)])
    for returned in ("done", {"paid": True}, [BLOCK]):
        assert guarded.invoke(WANTED) is returned


@pytest.mark.parametrize("same", [WANTED, {"amount": 500, "customer": "ann"}])
def test_an_edit_that_changes_nothing_says_nothing(same: Mapping[str, Any], make_guard: Any) -> None:
    @tool
    def refund(customer: str, amount: int) -> str:
        """Refund."""
        return "done"

    (guarded,) = make_guard(ASKS, approver=lambda _: Verdict.edit(same)).wrap([refund])
    assert guarded.invoke(CALL).content == "done"


def test_another_type_is_another_call(make_guard: Any) -> None:
    @tool
    def refund(customer: str, amount: Any) -> str:
        """Refund."""
        return "done"

    (guarded,) = make_guard(ASKS, approver=lambda _: Verdict.edit({"customer": "ann", "amount": 500.0})).wrap([refund])
    assert '"amount": 500.0' in guarded.invoke(CALL).content


def test_secrets_are_masked_and_long_values_cut(make_guard: Any) -> None:
    @tool
    def refund(customer: str, amount: Any) -> str:
        """Refund."""
        return "done"

    changed = {
        "customer": "Bearer sk-abcdefghijklmnopqrstuvwxyz0123",
        "amount": {"password": "hunter22", "why": "x" * 5_000, "zlist": ["y" * 150] * 100},
    }
    (guarded,) = make_guard(ASKS, approver=lambda _: Verdict.edit(changed)).wrap([refund])
    said = guarded.invoke(CALL).content
    assert "abcdefghijklmnop" not in said
    assert "hunter22" not in said
    assert f"{'x' * 200}… (5000 characters)" in said
    assert len(said) < 2_500


@modes
@pytest.mark.parametrize("by", ["wrap", "middleware"])
async def test_in_an_agent_the_history_says_it_after_an_interrupt(
    by: str, awaited: bool, make_guard: Any, scripted: Any, answers_of: Any
) -> None:
    guard = make_guard(ASKS, approver=InterruptApprover())
    made = refund_that("done")
    agent = create_agent(
        scripted(("refund", WANTED)),
        guard.wrap([made]) if by == "wrap" else [made],
        middleware=[guard.middleware()] if by == "middleware" else [],
        checkpointer=InMemorySaver(),
    )
    config = {"configurable": {"thread_id": "t"}}

    async def walk(what: Any) -> Any:
        return await agent.ainvoke(what, config) if awaited else agent.invoke(what, config)

    (asked,) = (await walk(ASK))["__interrupt__"]
    decision = {"type": "edit", "edited_action": {"name": "refund", "args": EDITED}}
    (message,) = answers_of(await walk(Command(resume={asked.id: {"decisions": [decision]}})))
    assert message.content == f"{NOTE}\n\ndone"


def test_a_tool_that_the_agent_does_not_know_says_it(edits: Any) -> None:
    request = ToolCallRequest(tool_call=CALL, tool=None, state={}, runtime=None)  # type: ignore[arg-type]
    seen = []

    def execute(request: ToolCallRequest) -> ToolMessage:
        seen.append(request.tool_call["args"])
        return ToolMessage("done", tool_call_id="c1")

    message = edits().middleware().wrap_tool_call(request, execute)
    assert (seen, message.text) == ([EDITED], f"{NOTE}\n\ndone")


@pytest.mark.parametrize("fails", [False, True])
async def test_a_tool_of_an_mcp_server_says_it(fails: bool, edits: Any) -> None:
    server: Any = Server("bank")

    @server.tool()
    def refund(customer: str, amount: int) -> str:
        if fails:
            raise ValueError("too much")
        return f"paid {amount}"

    async with opened(server) as raw:
        (made,) = edits().wrap(raw)
        message = await made.ainvoke(CALL)
    assert message.status == ("error" if fails else "success")
    assert NOTE in message.text
    assert message.text.endswith("too much" if fails else "paid 100")


# Answers in a tool's place


@modes
async def test_who_answered_in_a_tools_place_is_said_in_every_road(awaited: bool, make_guard: Any) -> None:
    told = "NOTE: refund did not run. A human answered in its place:\nbook it by hand"
    guard = make_guard(ASKS, approver=lambda _: Verdict.respond("book it by hand"))
    (guarded,) = guard.wrap([refund_that("never")])
    message = await answer(guarded, awaited)
    assert (message.content, message.status, message.artifact["reason"]) == (told, "success", "book it by hand")

    def refund(customer: str, amount: int) -> str:
        """Refund."""
        return "never"

    (plain,) = guard.wrap([StructuredTool.from_function(refund)])
    assert plain.invoke(WANTED) == "book it by hand"
    assert plain.invoke(CALL).content == told
    (pair,) = guard.wrap([refund_that(("never", 1), response_format="content_and_artifact")])
    assert (await answer(pair, awaited)).content == told

    request = ToolCallRequest(tool_call=CALL, tool=None, state={}, runtime=None)  # type: ignore[arg-type]

    def execute(_: ToolCallRequest) -> Any:
        raise AssertionError("it ran")

    assert guard.middleware().wrap_tool_call(request, execute).content == told
