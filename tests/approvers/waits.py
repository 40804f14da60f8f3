"""An agent's process that asks through an inbox: ``waits.py FOLDER CALL``, JSON on standard output."""

import json
import resource
import sys
import time
from pathlib import Path

from guarded_tools import Guard, Policy, ToolCall, ToolDenied, ToolInfo, open_store
from guarded_tools.approvers.inbox import InboxApprover

folder, options = Path(sys.argv[1]), json.loads(sys.argv[2])
approval = {"timeout": options.pop("timeout", 20), "remember": "tool"}
rule = {"action": "approve", "risk": "write", "approval": approval, "rate_limit": "9/hour"}
policy = {"version": "1", "default": "deny", "tools": {"t": rule | options.pop("rule", {})}}
store = open_store(f"disk://{folder}")
guard = Guard(Policy.model_validate(policy), store=store, approver=InboxApprover(store), audit=folder / "audit.jsonl")
guard.register(ToolInfo("t", "s", "a tool"))


def body(args):
    with (folder / "ran").open("a") as file:
        file.write(json.dumps(args) + "\n")
    return "ran"


print("READY", flush=True)
began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
try:
    said = guard.call(ToolCall("t", options["args"], session=options.get("session", "one"), id="call_1"), body)
except ToolDenied as denied:
    said = f"{denied.outcome}: {denied}"
after = resource.getrusage(resource.RUSAGE_SELF)
busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
print(json.dumps({"said": said, "busy": busy / (time.monotonic() - began), "ended": time.time()}), flush=True)
