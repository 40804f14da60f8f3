"""One life of an agent that waits in a checkpoint: ``restarts.py FOLDER CALLS [RESUME]``, JSON on standard output."""

import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command, interrupt

from guarded_tools import Guard, Policy
from guarded_tools.approvers.interrupt import InterruptApprover
from tests.approvers.test_interrupt import ASK, Scripted

folder, calls = Path(sys.argv[1]), json.loads(sys.argv[2])


@tool
def t(x: int, die: bool = False, pause: bool = False) -> str:
    """A tool."""
    if pause:
        interrupt("go on?")
    with (folder / "ran").open("a") as file:
        file.write(f"{x}\n")
    if die:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"t{x}"


def die_late(event):
    """Die when the tool has ended and the checkpointer does not know it yet."""
    if event.kind == "settled" and (folder / "late").exists():
        os.kill(os.getpid(), signal.SIGKILL)


policy = {"version": "1", "default": "deny", "tools": {"t": ASK | {"rate_limit": "9/hour"}}}
guard = Guard(
    Policy.model_validate(policy),
    store=f"disk://{folder / 'state'}",
    approver=InterruptApprover(),
    audit=folder / "audit.jsonl",
    observers=[die_late],
)
config = {"configurable": {"thread_id": "thread"}}
turn = [{"name": "t", "args": args, "id": f"call_{at}"} for at, args in enumerate(calls)]
with SqliteSaver.from_conn_string(str(folder / "checkpoints.sqlite")) as checkpointer:
    agent = create_agent(Scripted(turns=[turn]), guard.wrap([t]), checkpointer=checkpointer)
    given = Command(resume=json.loads(sys.argv[3])) if len(sys.argv) > 3 else {"messages": [HumanMessage("go")]}
    agent.invoke(given, config)
    state = agent.get_state(config)
answers = {m.tool_call_id: m.content for m in state.values["messages"] if isinstance(m, ToolMessage)}
used = {usage.counter: usage.used for usage in guard.usage() if usage.counter.endswith("rate_limit")}
pending = {i.id: i.value["args"]["x"] for i in state.interrupts if isinstance(i.value, dict)}
print(json.dumps({"pending": pending, "answers": answers, "used": used}))
