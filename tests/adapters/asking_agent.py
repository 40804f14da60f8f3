"""An agent whose model calls a tool of a server that asks back, once for each line it reads; suspended, it is killed.

``asking_agent.py URL FOLDER [RESUME]``: RESUME is the value as JSON by which the run goes on. Prints what came of it.
"""

import asyncio
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from fastmcp import FastMCP
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command
from mcp_types import ElicitRequest, ElicitRequestFormParams, InputRequiredResult

from guarded_tools import Guard, InterruptApprover, Policy
from guarded_tools.testing import ScriptedModel

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from langchain.mcp import MCPAdapter

from langchain.agents import create_agent

CONFIG: Any = {"configurable": {"thread_id": "t"}}
LIMIT = {"counter": "calls", "window": "hour", "max": 2}
FREE = {"version": "1", "default": "deny", "tools": {"pay": {"limits": [LIMIT]}}}
ASKED = {"version": "1", "default": "deny", "tools": {"pay": {"approval": True, "limits": [LIMIT]}}}


def asking_server(rounds: int, seen: list[Any]) -> FastMCP[Any]:
    """A bank that asks so many times, and notes each leg of a call: whom to pay, and what it was told so far."""
    server: FastMCP[Any] = FastMCP("bank")

    @server.tool
    def pay(to: str) -> str | InputRequiredResult:
        """Pay somebody."""
        from fastmcp.server.dependencies import get_context

        context = get_context()
        told = json.loads(context.request_state or "[]")
        for answer in (context.input_responses or {}).values():
            told.append([answer.action, answer.content])
        seen.append((to, json.loads(json.dumps(told))))
        if len(told) < rounds and all(action == "accept" for action, _ in told):
            schema = {"type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"]}
            form = ElicitRequestFormParams(message=f"Sure of {to} ({len(told)})?", requested_schema=schema)
            return InputRequiredResult(
                input_requests={f"q{len(told)}": ElicitRequest(params=form)}, request_state=json.dumps(told)
            )
        return f"paid {to} {json.dumps(told)}"

    return server


async def agent(target: Any, guard: Guard, saver: Any, calls: list[Any]) -> Any:
    """Build the agent."""
    tools = guard.wrap(await MCPAdapter(target).list_tools())
    return create_agent(ScriptedModel([calls]), tools, checkpointer=saver)


async def main(url: str, folder: str, *resume: str) -> None:
    store, audit = f"disk://{folder}/state", Path(folder) / "audit.jsonl"
    guard = Guard(Policy.model_validate(ASKED), store=store, audit=audit, approver=InterruptApprover())
    async with AsyncSqliteSaver.from_conn_string(f"{folder}/runs.sqlite") as saver:
        running = await agent(url, guard, saver, [("pay", {"to": "ann"})])
        given: Any = Command(resume=json.loads(resume[0])) if resume else {"messages": [("user", "go")]}
        state = await running.ainvoke(given, CONFIG)
        asked = [each.value for each in state.get("__interrupt__", ())]
        used = [usage.used for usage in guard.usage() if usage.counter == "/pay/calls"]
        said = {"asked": asked, "said": str(state["messages"][-1].content), "used": used}
        print(json.dumps(said, default=str), flush=True)
        os._exit(9)  # with nothing put away


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
