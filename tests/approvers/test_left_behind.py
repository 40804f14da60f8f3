"""A question that a user leaves unanswered in a thread, and goes on with a new message: for real, with a checkpointer."""

import asyncio

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from guarded_tools import InterruptApprover, Policy
from guarded_tools.testing import ScriptedModel, memory_guard

APPROVE = {"type": "approve"}
POLICY = Policy.model_validate(
    {"version": "1", "default": "allow", "tools": {"send": {"action": "approve", "risk": "write"}}}
)


class OncePerMessage(ScriptedModel):
    """Asks for the same calls after each message of its user, and is done once it has the answers."""

    def _turn(self, made, messages):
        return super()._turn(0, messages) if messages[-1].type == "human" else None


class Chat:
    """Threads of one agent that asks for one call a message, and of which nobody answers unless a test does."""

    def __init__(self, how, session=None, calls=1):
        self.ran = []
        self.guard = memory_guard(POLICY, approver=InterruptApprover(), session=session)
        model = OncePerMessage([[("send", {"to": str(at)}) for at in range(calls)]])
        tools = self.tools() if how == "middleware" else self.guard.wrap(self.tools())
        middleware = [self.guard.middleware()] if how == "middleware" else []
        saver = InMemorySaver()
        if how == "sub-agent":
            inner = create_agent(model, tools)

            @tool
            def delegate() -> str:
                """Hand the work to another agent."""
                return inner.invoke({"messages": [HumanMessage("go")]})["messages"][-2].text

            self.agent = create_agent(OncePerMessage([[("delegate", {})]]), [delegate], checkpointer=saver)
        else:
            self.agent = create_agent(model, tools, middleware=middleware, checkpointer=saver)
        self.asynchronous = how == "async"

    def tools(self):
        @tool
        def send(to: str) -> str:
            """Send."""
            self.ran.append(to)
            return f"sent {to}"

        return [send]

    def go(self, given, thread="thread"):
        config = {"configurable": {"thread_id": thread}}
        if self.asynchronous:
            return asyncio.run(self.agent.ainvoke(given, config))
        return self.agent.invoke(given, config)

    def says(self, text, thread="thread"):
        """Send a message; the questions that are open then, and what the model was told by tools since."""
        result = self.go({"messages": [HumanMessage(text)]}, thread)
        at = max(at for at, message in enumerate(result["messages"]) if message.type == "human")
        told = [message.text for message in result["messages"][at:] if isinstance(message, ToolMessage)]
        return list(result.get("__interrupt__", ())), told

    def open(self):
        return len(list(self.guard.store.scan("approvals/open/")))


@pytest.mark.parametrize("how", ["wrapped", "middleware", "async", "sub-agent"])
@pytest.mark.parametrize("session", [None, "ann"], ids=["a session a thread", "one session"])
def test_questions_left_behind_close_no_session(how, session):
    chat = Chat(how, session)
    for turn in range(12):
        asked, told = chat.says(f"message {turn}")
        assert (len(asked), told) == (1, []), turn
        assert chat.open() == 1
    result = chat.go(Command(resume=APPROVE))
    assert "__interrupt__" not in result
    assert len(chat.ran) == 1
    assert chat.open() == 0


def test_of_three_questions_of_one_message_two_are_left_behind():
    chat = Chat("wrapped", calls=3)
    for _ in range(4):
        asked, _ = chat.says("go on")
        assert len(asked) == chat.open() == 3
        chat.go(Command(resume={asked[1].id: APPROVE}))
        assert chat.open() == 2
    assert len(chat.ran) == 4


def test_an_answer_to_a_question_that_was_left_behind_runs_nothing():
    chat = Chat("wrapped")
    ((first,), _) = chat.says("one")
    state = chat.agent.get_state({"configurable": {"thread_id": "thread"}}).config
    chat.says("two")
    late = chat.agent.invoke(Command(resume={first.id: APPROVE}), state)
    assert chat.ran == []
    assert "withdrawn" in late["messages"][-2].text


def test_questions_of_other_threads_stay_open():
    chat = Chat("wrapped", "ann")
    for thread in "abcde":
        assert chat.says("hello", thread)[0]
    assert chat.open() == 5
    asked, (told,) = chat.says("hello", "f")
    assert not asked
    assert "5 questions of this session must be answered" in told
    assert chat.says("again", "a")[0], "its own question makes room"
    assert chat.open() == 5
    chat.go(Command(resume=APPROVE), "b")
    assert len(chat.ran) == 1


@pytest.mark.parametrize("how", ["wrapped", "middleware", "async", "sub-agent"])
def test_a_question_that_was_withdrawn_by_hand_is_over_wherever_it_waits(how):
    chat = Chat(how)
    chat.says("one")
    withdraw = chat.guard.withdraw
    assert (asyncio.run(chat.guard.awithdraw("thread")) if how == "async" else withdraw("thread")) == 1
    assert (chat.open(), withdraw("thread")) == (0, 0)
    result = chat.go(Command(resume=APPROVE))
    assert chat.ran == []
    assert any("withdrawn" in message.text for message in result["messages"] if isinstance(message, ToolMessage))
    asked, _ = chat.says("two")
    assert len(asked) == 1
    chat.go(Command(resume=APPROVE))
    assert len(chat.ran) == 1


def test_a_new_message_after_a_withdrawal_is_asked_about_as_any_other():
    chat = Chat("wrapped")
    for _ in range(7):
        assert chat.says("go on")[0]
        assert chat.guard.withdraw("thread") == 1
