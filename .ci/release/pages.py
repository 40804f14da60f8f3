"""The code of a page, what it takes for granted, and which extras it needs: for tests of pages and trials of wheels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

POLICY: Final[dict[str, Any]] = {"version": "1", "default": "deny", "tools": {"refund": {"approval": True}}}
"""The ``policy.json`` that lies beside a page's code."""

PRELUDE: Final = """
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool

@tool
def refund(customer: str, amount: int) -> str:
    "Pay money back."
    return f"{amount} sent to {customer}"

tools = [refund]

class Model(BaseChatModel):
    "Answers a human with a call of a tool that it was given, and a tool with thanks."
    names: list[str] = []
    @property
    def _llm_type(self):
        return "scripted"
    def bind_tools(self, tools, **_):
        return Model(names=[tool.name for tool in tools])
    def _generate(self, messages, *_, **__):
        call = {"refund": {"customer": "Ann", "amount": 500}, "pictify_list_templates": {}}
        wanted = [name for name in call if name in self.names]
        message = AIMessage("Thanks.")
        if wanted and isinstance(messages[-1], HumanMessage):
            message = AIMessage("", tool_calls=[{"name": wanted[0], "args": call[wanted[0]], "id": "1"}])
        return ChatResult(generations=[ChatGeneration(message=message)])

model = Model()
"""
"""What a page may take for granted: tools of one's own, and a chat model (here a scripted one, that just answers)."""

GRAPH: Final = """
from langgraph.graph import MessagesState, StateGraph
graph = StateGraph(MessagesState)
graph.add_node("model", lambda state: state)
"""
"""And where LangGraph is installed, a graph."""

_BRINGS: Final = {
    "agent": {"agent"},
    "adapters": {"adapters", "server"},
    "mcp": {"mcp", "server", "agent"},
    "gateway": {"mcp", "server", "agent"},
}
_NEEDS: Final = {
    r"^\s*(from|import) (langchain\.agents|langgraph)\b": "agent",
    r"^\s*(from|import) langchain_mcp_adapters\b": "adapters",
    r"^\s*(from|import) langchain\.mcp\b": "mcp",
    r"\b(pictify_tools|guarded_tools)\(": "server",
}


def blocks(page: Path, kind: str = "python") -> list[str]:
    """The fenced blocks of one language, from the top of a page."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def allowed(code: list[str], extras: frozenset[str]) -> list[str]:
    """Those of these blocks that have to run where the package is installed with these extras."""
    there = set[str]().union(*(_BRINGS.get(extra, set()) for extra in extras))
    return [block for block in code if all(need in there for need in _needed(block))]


def _needed(block: str) -> set[str]:
    return {need for pattern, need in _NEEDS.items() if re.search(pattern, block, re.MULTILINE)}
