"""Every Python block of the README and the docs runs as printed, page by page, in a process and state of its own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# What a page may take for granted: a policy and tools of one's own, and a chat
# model (here a scripted one, that just answers).
POLICY = {"version": "1", "default": "deny", "tools": {"refund": {"approval": True}}}
PRELUDE = """
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.graph import MessagesState, StateGraph

@tool
def refund(customer: str, amount: int) -> str:
    "Pay money back."
    return f"{amount} sent to {customer}"

tools = [refund]
graph = StateGraph(MessagesState)
graph.add_node("model", lambda state: state)

class Model(BaseChatModel):
    "Answers a human with a call of a tool that it was given, and a tool with thanks."
    names: list[str] = []
    _llm_type = "scripted"
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


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def test_the_readme_has_code():
    assert len(blocks(ROOT / "README.md")) >= 3


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: str(page.relative_to(ROOT)))
def test_code_blocks_run(page, tmp_path):
    script = tmp_path / "page.py"
    script.write_text("\n\n".join([PRELUDE, *blocks(page)]))
    (tmp_path / "policy.json").write_text(json.dumps(POLICY))
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=os.environ | {"GUARDED_TOOLS_HOME": str(tmp_path / "state")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
