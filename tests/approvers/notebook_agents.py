"""What the notebooks of tests import: a tool, a policy, and agents that wait for somebody at the buttons."""

from langchain.agents import create_agent
from langchain_core.language_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from guarded_tools import Guard, InterruptApprover, NotebookApprover, Policy, resume_with_buttons

ran = []


@tool
def refund(customer: str, amount: int) -> str:
    "Send money back to a customer."
    ran.append((customer, amount))
    return f"{amount} sent to {customer}"


class Model(FakeMessagesListChatModel):
    def bind_tools(self, tools, **kwargs):
        return self


policy = Policy.model_validate(
    {
        "version": "1",
        "default": "deny",
        "tools": {
            "refund": {
                "risk": "financial",
                "approval": {"remember": "never"},
                "deny_if": [
                    {"path": "args.amount", "op": "gt", "value": 1000, "on_deny": "over 1000 goes through accounting"}
                ],
                "limits": [{"counter": "day", "window": "day", "max": 1500, "count": "args.amount"}],
            }
        },
    }
)


def ask(*customers, amount=500):
    calls = [{"name": "refund", "args": {"customer": c, "amount": amount}, "id": f"{c}{len(ran)}"} for c in customers]
    guard = Guard(policy, approver=InterruptApprover(), store="memory://")
    model = Model(responses=[AIMessage("", tool_calls=calls), AIMessage("All are settled.")])
    agent = create_agent(model, guard.wrap([refund]), checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    return resume_with_buttons(agent, agent.invoke({"messages": [("user", "Refund them")]}, config), config)


guard = Guard(policy, approver=NotebookApprover(), store="memory://")
(guarded,) = guard.wrap([refund])
