"""A program that asks at its terminal, for the tests that sit at the other end of it."""

import dataclasses
import json
import sys
import threading
import time
from pathlib import Path

from guarded_tools.approval import workflow
from guarded_tools.approvers.terminal import TerminalApprover
from guarded_tools.flow import run
from guarded_tools.stores import open_store
from guarded_tools.values import ApprovalRequest

calls = json.loads(sys.argv[1])
store = open_store("memory://")
approver = TerminalApprover()
lock = threading.Lock()


def check_edit(args):
    return "x must stay below 100" if args.get("x", 0) >= 100 else ""


def one(call):
    base = ApprovalRequest("t", {"x": 1}, "one", json.dumps(call), "/tools/t/approval", risk="write", timeout=20)
    request = dataclasses.replace(base, check_edit=check_edit, **call)
    answer = run(workflow.ask(request, store=store, approver=approver, limits=workflow.ApprovalLimits()))
    verdict = answer.verdict
    said = [verdict.kind, verdict.args, verdict.message, verdict.remember, bool(verdict.by), answer.cause, answer.text]
    with lock:
        print("ANSWER " + json.dumps(said), flush=True)


print("READY", flush=True)
while len(sys.argv) > 2 and not Path(sys.argv[2]).exists():
    time.sleep(0.01)
try:
    threads = [threading.Thread(target=one, args=(call,)) for call in calls[1:]]
    for thread in threads:
        thread.start()
    one(calls[0])
    for thread in threads:
        thread.join()
except KeyboardInterrupt:
    print("INTERRUPTED", flush=True)
