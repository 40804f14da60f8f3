"""A chat model that asks for the same tool call turn after turn, and costs as little as a chat model can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult


class Scripted(BaseChatModel):
    """Asks for ``tool`` with ``args``, ``turns`` times, and then says it is done."""

    tool: str
    args: dict[str, Any]
    turns: int

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        """Take no notice of the tools."""
        del tools, kwargs
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        done = len(messages) // 2
        calls = [{"type": "tool_call", "id": f"call-{done}", "name": self.tool, "args": self.args}]
        message = AIMessage("", tool_calls=calls if done < self.turns else [])
        return ChatResult(generations=[ChatGeneration(message=message)])
