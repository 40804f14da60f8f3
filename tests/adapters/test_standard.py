"""LangChain's own standard tests, on guarded tools."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool, tool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from guarded_tools.guard import Guard
from guarded_tools.policy import Policy
from guarded_tools.stores.memory import MemoryStore


class Multiply(BaseTool):
    name: str = "multiply"
    description: str = "Multiply two numbers."

    def _run(self, a: int, b: int) -> str:
        return str(a * b)

    async def _arun(self, a: int, b: int) -> str:
        return str(a * b)


@tool
def multiply(a: int, b: int) -> str:
    """Multiply two numbers."""
    return str(a * b)


@tool
async def multiply_async(a: int, b: int) -> str:
    """Multiply two numbers."""
    return str(a * b)


@tool(response_format="content_and_artifact")
def multiply_pair(a: int, b: int) -> tuple[str, int]:
    """Multiply two numbers."""
    return str(a * b), a * b


def guarded(raw: BaseTool) -> BaseTool:
    policy = Policy.model_validate({"version": "1", "default": "allow", "tools": {}})
    audit = Path(tempfile.mkdtemp()) / "audit.jsonl"
    return Guard(policy, store=MemoryStore(), audit=audit).wrap([raw])[0]


class _OfMultiply:
    raw: BaseTool

    @property
    def tool_constructor(self) -> Any:
        return guarded(self.raw)

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"a": 6, "b": 7}


class TestUnitClass(_OfMultiply, ToolsUnitTests):
    raw = Multiply()


class TestUnitFunction(_OfMultiply, ToolsUnitTests):
    raw = multiply


class TestUnitAsync(_OfMultiply, ToolsUnitTests):
    raw = multiply_async


class TestClass(_OfMultiply, ToolsIntegrationTests):
    raw = Multiply()


class TestFunction(_OfMultiply, ToolsIntegrationTests):
    raw = multiply


class TestPair(_OfMultiply, ToolsIntegrationTests):
    raw = multiply_pair


class TestAsync(_OfMultiply, ToolsIntegrationTests):
    raw = StructuredTool.from_function(
        lambda a, b: str(a * b), multiply_async.coroutine, name="multiply", description="d"
    )
