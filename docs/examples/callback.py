"""Three calls, and a function that decides about each."""

import tempfile

from langchain_core.tools import tool

from guarded_tools import ApprovalRequest, Guard, Policy, Verdict


@tool
def refund(customer: str, amount: int) -> str:
    """Send money back to a customer."""
    return f"{amount} sent to {customer}"


def approver(request: ApprovalRequest) -> Verdict | bool:
    """Stand in for a human: in real life this asks one."""
    amount = request.args["amount"]
    if amount > 1_000:
        return Verdict.reject("more than a thousand needs a ticket")
    if amount > 100:
        return Verdict.edit({**request.args, "amount": 100})
    return True


policy = Policy.model_validate(
    {"version": "1", "default": "deny", "tools": {"refund": {"action": "approve", "risk": "financial"}}}
)
guard = Guard(policy, approver=approver, state=tempfile.mkdtemp())
(guarded,) = guard.wrap([refund])
for amount in (50, 500, 5_000):
    print(guarded.invoke({"customer": "Ann", "amount": amount}))
