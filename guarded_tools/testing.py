"""For tests of your own agents and policies: a scripted model, approvers, a clock, a guard that leaves nothing behind.

Nothing here stands in for the guard: calls are decided, counted, asked about and recorded as in earnest, only on a
store in memory, under a clock that a test holds, for a model and a human that follow a script.
"""

from __future__ import annotations

import json
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import PrivateAttr

from guarded_tools.errors import CannotAsk
from guarded_tools.guard import Guard
from guarded_tools.policy import Policy
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.values import ApprovalRequest, Verdict

if TYPE_CHECKING:
    from guarded_tools.servers import GuardOptions

__all__ = ["FrozenClock", "ScriptedApprover", "ScriptedModel", "approve_all", "memory_guard"]

Call: TypeAlias = tuple[str, Mapping[str, Any]]
"""A tool's name and the arguments that the model gives it."""

Scenario: TypeAlias = Callable[[], Iterator[list[Call]]]
"""A generator function: it yields the calls of a turn and is sent the answers to them, as texts."""


class ScriptedModel(BaseChatModel):
    """A chat model that asks for the calls it was told to, turn by turn, and then says ``last``. No model is involved.

    Args:
        script: The turns, each a list of ``(tool, arguments)``; or a generator function that yields them and is sent
            the answers, as texts. A list goes on where a conversation stands, so that a resumed run may be given a new
            model with the same list; a generator keeps its place in the model.
        last: What the model says when the script is at its end.
        usage: What it reports to have taken, each time: ``{"input_tokens": 900, "output_tokens": 80}``. Default:
            nothing, as some providers do.

    ``seen`` holds the messages of each request, ``bound`` the names of the tools of each binding.
    """

    _last: str = PrivateAttr(default="done")
    _turns: list[list[Call]] | None = PrivateAttr(default=None)
    _scenario: Any = PrivateAttr(default=None)
    _begun: bool = PrivateAttr(default=False)
    _usage: UsageMetadata | None = PrivateAttr(default=None)
    _seen: list[list[BaseMessage]] = PrivateAttr(default_factory=list)
    _bound: list[list[str]] = PrivateAttr(default_factory=list)

    def __init__(
        self, script: Sequence[Sequence[Call]] | Scenario, *, last: str = "done", usage: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self._last = last
        if usage is not None:
            total = {"total_tokens": usage["input_tokens"] + usage["output_tokens"]}
            self._usage = UsageMetadata(**{**total, **usage})  # type: ignore[typeddict-item]  # as it was given
        if callable(script):
            self._scenario = script()
        else:
            self._turns = [list(turn) for turn in script]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @property
    def seen(self) -> list[list[BaseMessage]]:
        """The messages that the model was given, a list a request."""
        return self._seen

    @property
    def bound(self) -> list[list[str]]:
        """The names of the tools that the model was given, a list a binding."""
        return self._bound

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> ScriptedModel:
        """Note the tools and return the same model: the script knows which it calls."""
        self._bound.append([tool["name"] if isinstance(tool, dict) else tool.name for tool in tools])
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - LangChain's signature
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **_: Any,
    ) -> ChatResult:
        self._seen.append(messages)
        made = sum(isinstance(message, AIMessage) for message in messages)
        calls = self._turn(made, messages)
        asked = [
            {"name": name, "args": dict(args), "id": f"call-{made}-{place}", "type": "tool_call"}
            for place, (name, args) in enumerate(calls or ())
        ]
        message = AIMessage(self._last) if calls is None else AIMessage("", tool_calls=asked)
        message.usage_metadata = self._usage
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _turn(self, made: int, messages: list[BaseMessage]) -> list[Call] | None:
        if self._turns is not None:
            return self._turns[made] if made < len(self._turns) else None
        try:
            if self._begun:
                turn: list[Call] = self._scenario.send(_latest_answers(messages))
            else:
                self._begun = True
                turn = next(self._scenario)
        except StopIteration:
            return None
        return turn


def _latest_answers(messages: list[BaseMessage]) -> list[str]:
    answers: list[str] = []
    for message in reversed(messages):
        if not isinstance(message, ToolMessage):
            break
        answers.insert(0, message.text if isinstance(message.text, str) else json.dumps(message.content))
    return answers


def approve_all(request: ApprovalRequest) -> bool:  # noqa: ARG001 - an approver's signature
    """Approve whatever is asked. For tests alone: it makes every ``approve`` of a policy an ``allow``."""
    return True


class ScriptedApprover:
    """An approver that gives the answers it was told, in order, and keeps what it was asked in ``asked``.

    A question beyond the last answer is refused: an unexpected question must not pass a test unseen.
    """

    def __init__(self, *answers: Verdict | bool) -> None:
        self._answers = list(answers)
        self.asked: list[ApprovalRequest] = []

    def __call__(self, request: ApprovalRequest) -> Verdict | bool:
        """Answer one question.

        Raises:
            CannotAsk: the script has no answer left.
        """
        self.asked.append(request)
        if not self._answers:
            raise CannotAsk(f"the script has no answer to question {len(self.asked)}, about {request.tool}")
        return self._answers.pop(0)


@dataclass
class FrozenClock:
    """A clock in the hands of a test: seconds since the epoch, which pass when :meth:`advance` says so."""

    now: float = field(default=1_700_000_000.0)

    def __call__(self) -> float:
        """Tell the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        self.now += seconds


def memory_guard(policy: Policy | Mapping[str, Any], **options: Unpack[GuardOptions]) -> Guard:
    """Make a guard that leaves nothing behind: counters in memory, the audit in a folder that goes with the guard.

    Args:
        policy: A policy, or what :meth:`Policy.model_validate` takes.
        **options: What else :class:`~guarded_tools.guard.Guard` takes, each in place of what is set here: ``session``
            is ``"test"``, and nobody answers questions unless ``approver`` is given.

    Raises:
        PolicyError: the policy cannot be used.
    """
    options.setdefault("store", MemoryStore())
    options.setdefault("session", "test")
    folder: tempfile.TemporaryDirectory[str] | None = None
    if options.get("audit") is None:
        folder = tempfile.TemporaryDirectory(prefix="guarded-tools-", ignore_cleanup_errors=True)
        options["audit"] = Path(folder.name) / "audit.jsonl"
    guard = Guard(policy if isinstance(policy, Policy) else Policy.model_validate(policy), **options)
    if folder is not None:
        weakref.finalize(guard.audit, folder.cleanup)
    return guard
