"""One call that waits for you at this terminal."""

import tempfile

from langchain_core.tools import tool

from guarded_tools import Guard, Policy, TerminalApprover


@tool
def refund(customer: str, amount: int) -> str:
    """Send money back to a customer."""
    return f"{amount} sent to {customer}"


policy = Policy.model_validate(
    {"version": "1", "default": "deny", "tools": {"refund": {"action": "approve", "risk": "financial"}}}
)
guard = Guard(policy, approver=TerminalApprover(), state=tempfile.mkdtemp())
(guarded,) = guard.wrap([refund])
print(guarded.invoke({"customer": "Ann", "amount": 500}))
