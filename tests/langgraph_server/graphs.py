"""What the server serves: agents whose guards keep their state where the environment says; and one that blocks."""

import os
import sys
import time

from langchain.agents import create_agent
from langchain_core.tools import tool

from guarded_tools import Guard, InboxApprover, Policy, guarded_tools, open_store
from guarded_tools.approvers.interrupt import InterruptApprover
from guarded_tools.state import state_dir
from guarded_tools.testing import ScriptedModel

TURNS = 4
"""How many runs of one thread the models have a script for: a call, and then nothing more to say."""


@tool
async def send(to: str) -> str:
    """Send a message."""
    return f"sent to {to}"


@tool
def pay_back(amount: int) -> str:
    """Pay an amount back."""
    return f"paid back {amount}"


policy = Policy.model_validate(
    {
        "version": "1",
        "default": "deny",
        "tools": {"send": {"rate_limit": "2/hour"}, "pay_back": {"action": "approve", "rate_limit": "2/hour"}},
    }
)
guard = Guard(policy, approver=InterruptApprover())

mail = create_agent(ScriptedModel([[("send", {"to": "ann"})], []] * TURNS), guard.wrap([send]))
refund = create_agent(
    ScriptedModel([[("pay_back", {"amount": 5})], []] * TURNS), [pay_back], middleware=[guard.middleware()]
)


def twice(approver):
    """Make an agent that pays back twice in one message, beside a call that needs nobody."""
    calls = [("pay_back", {"amount": 5}), ("send", {"to": "ann"}), ("pay_back", {"amount": 7})]
    middleware = Guard(policy, approver=approver).middleware()
    return create_agent(ScriptedModel([calls, []] * TURNS), [send, pay_back], middleware=[middleware])


each_by_itself = twice(InterruptApprover())
batched = twice(InterruptApprover("batched"))
one_by_one = twice(InterruptApprover("agent_inbox"))

# Asks whoever looks into the store, and tells a receiver that a question waits.
inbox = open_store(f"disk://{state_dir()}")
asking = Guard(
    Policy.model_validate({"version": "1", "default": "deny", "tools": {"send": {"approval": True}}}),
    store=inbox,
    approver=InboxApprover(inbox, notify=os.environ["HOOK"], secret="shared", link="http://127.0.0.1:8765"),
)
letters = create_agent(ScriptedModel([[("send", {"to": "bob"})], []] * TURNS), asking.wrap([send]))

# A server that asks in the middle of a call has to be open for as long as its questions are.
shop = guarded_tools(
    {"shop": {"command": sys.executable, "args": [os.environ["ASKING_SERVER"], os.environ["RAN"]]}},
    policy=Policy.model_validate(
        {
            "version": "1",
            "server": "shop",
            "default": "deny",
            "tools": {"pay": {"action": "approve", "rate_limit": "2/hour"}},
        }
    ),
    approver=InterruptApprover(),
    start_timeout=60,
).__enter__()
buy = create_agent(ScriptedModel([[("pay", {"to": "ann"})], []]), list(shop))


@tool
async def dawdle() -> str:
    """Block the loop, which no tool may."""
    time.sleep(0.01)  # noqa: ASYNC251 - on purpose
    return "dawdled"


blocking = create_agent(ScriptedModel([[("dawdle", {})]]), [dawdle])
