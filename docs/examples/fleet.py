"""One limit, held by agents on several machines: run this as often as you like, anywhere, on one Redis.

$ python docs/examples/fleet.py redis://localhost:6379
"""

from __future__ import annotations

import sys

from guarded_tools import Guard, Policy, ToolCall, ToolDenied

POLICY = Policy.model_validate(
    {
        "version": "1",
        "default": "deny",
        "tools": {"refund": {"limits": [{"counter": "refunds", "window": "hour", "max": 100, "scope": "global"}]}},
    }
)


def main(url: str) -> None:
    """Pay refunds until the fleet's limit is reached, and say how many of them were ours."""
    guard = Guard(POLICY, store=url)
    paid = 0
    while True:
        try:
            guard.call(ToolCall("refund", {}), lambda _: "paid")
        except ToolDenied as denied:
            print(f"paid {paid}; then: {denied}")
            return
        paid += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
