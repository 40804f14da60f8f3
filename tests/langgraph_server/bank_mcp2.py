"""What the server serves with langchain.mcp: an agent that is made anew for each run, of what a bank lists then."""

import os
import warnings

from langchain.agents import create_agent

from guarded_tools import Guard, Policy
from guarded_tools.approvers.interrupt import InterruptApprover
from guarded_tools.testing import ScriptedModel
from tests.adapters.asking_agent import ASKED

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from langchain.mcp import MCPAdapter

guard = Guard(Policy.model_validate(ASKED), approver=InterruptApprover())


async def bank():
    tools = await MCPAdapter(os.environ["BANK"]).list_tools()
    return create_agent(ScriptedModel([[("pay", {"to": "ann"})], []]), guard.wrap(tools))
