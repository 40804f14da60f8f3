"""An agent that waits in a checkpoint: run it once to ask, and once more with an answer to go on.

python interrupt.py
python interrupt.py '{"type": "approve"}'
"""

import json
import sys
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command

from guarded_tools import Guard, InterruptApprover, Policy


@tool
def refund(customer: str, amount: int) -> str:
    """Send money back to a customer."""
    return f"{amount} sent to {customer}"


class Model(FakeMessagesListChatModel):
    """Stands in for a model: it asks for one refund, and then repeats what it was told."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        self.i = 0 if messages[-1].type == "human" else 1
        self.responses[1] = AIMessage(f"I was told: {messages[-1].text}")
        return super()._generate(messages, *args, **kwargs)


call = {"name": "refund", "args": {"customer": "Ann", "amount": 500}, "id": "call_1"}
model = Model(responses=[AIMessage("", tool_calls=[call]), AIMessage("")])
policy = Policy.model_validate(
    {"version": "1", "default": "deny", "tools": {"refund": {"action": "approve", "risk": "financial"}}}
)
folder = Path("interrupt-demo").absolute()
folder.mkdir(mode=0o700, exist_ok=True)
guard = Guard(policy, approver=InterruptApprover(), state=folder / "state")
config = {"configurable": {"thread_id": "ann"}}

with SqliteSaver.from_conn_string(str(folder / "checkpoints.sqlite")) as checkpointer:
    agent = create_agent(model, guard.wrap([refund]), checkpointer=checkpointer)
    answer = Command(resume=json.loads(sys.argv[1])) if len(sys.argv) > 1 else {"messages": [("user", "Refund Ann")]}
    result = agent.invoke(answer, config)

for waiting in result.get("__interrupt__", []):
    print(waiting.value["description"])
    print(f"""The run waits. Go on with: python {sys.argv[0]} '{{"type": "approve"}}'""")
if not result.get("__interrupt__"):
    print(result["messages"][-1].text)
