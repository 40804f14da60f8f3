"""An agent that waits for an answer from another terminal."""

from pathlib import Path

from langchain_core.tools import tool

from guarded_tools import Guard, InboxApprover, Policy, open_store


@tool
def refund(customer: str, amount: int) -> str:
    """Send money back to a customer."""
    return f"{amount} sent to {customer}"


folder = Path("inbox-demo").absolute()
folder.mkdir(mode=0o700, exist_ok=True)
store = open_store(f"disk://{folder}")
policy = Policy.model_validate(
    {"version": "1", "default": "deny", "tools": {"refund": {"action": "approve", "risk": "financial"}}}
)
guard = Guard(policy, store=store, approver=InboxApprover(store), audit=folder / "audit.jsonl")
(guarded,) = guard.wrap([refund])
print(f"Waiting. In another terminal: guarded-tools approvals watch --store disk://{folder}", flush=True)
print(guarded.invoke({"customer": "Ann", "amount": 500}))
