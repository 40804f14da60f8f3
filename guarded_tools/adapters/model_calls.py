"""Calls of an agent's own model, as its budget sees them: what one may take, what it took, and what stands for it.

Before the call nobody knows what it will take, so an estimate is reserved: about as many tokens as the prompt and the
tools are long, and as many for the answer as the model may write. Once the model has answered, what the provider
reports takes its place. A call that failed keeps its estimate, unless the provider refused it or was not reached.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from langchain_core.messages import AIMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.runnables.config import var_child_runnable_config

from guarded_tools.adapters import answers
from guarded_tools.errors import ToolDenied
from guarded_tools.libraries.langchain_core import model_name
from guarded_tools.policy.model_prices import PriceUnknown, Tokens, check_priced
from guarded_tools.policy.model_rules import spent, told
from guarded_tools.values import MODEL_CALL, BodyOutcome, ToolCall

if TYPE_CHECKING:
    from langchain.agents.middleware import ModelRequest

    from guarded_tools.pipeline.gate import Gate
    from guarded_tools.policy.model_budget import ModelRules

log = logging.getLogger("guarded_tools")

_LENGTHS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict")
# What a provider answers to a call that it did not take on; of 408 and 409 that is not certain.
_REFUSED: Final = frozenset(range(400, 500)) - {408, 409}
_NOT_REACHED: Final = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout"})


class ModelCall(NamedTuple):
    """One call of a model, with the rules that it is counted by; ``None`` where nobody's are known."""

    guard: Gate
    call: ToolCall
    rules: ModelRules | None

    def run(self, invoke: Callable[[], Any]) -> Any:
        """Return what ``invoke`` returns, or what stands for it where the budget is full.

        Raises:
            ToolDenied: the budget is full, and the guard's ``on_denied`` is ``"raise"``.
            PriceUnknown: the budget is in dollars, and nobody knows what the model costs.
        """
        self._check()
        try:
            return self.guard.attempt_model(self.call, lambda _: invoke(), judge=judge, tells=self._tells).unwrap()
        except ToolDenied as denied:
            return self._refused(denied)

    async def arun(self, invoke: Callable[[], Awaitable[Any]]) -> Any:
        """As :meth:`run`, with an ``invoke`` that is awaited."""
        self._check()
        try:
            ended = await self.guard.aattempt_model(self.call, lambda _: invoke(), judge=judge, tells=self._tells)
            return ended.unwrap()
        except ToolDenied as denied:
            return self._refused(denied)

    def _check(self) -> None:
        if self.rules is not None:
            check_priced(self.rules, self.call.args["model"])

    def _tells(self, answer: Any) -> dict[str, Any]:
        try:
            tokens = used(answer)
            if tokens is not None and self.rules is not None:
                return told(spent(self.rules, self.call.args["model"], tokens))
        except (PriceUnknown, LookupError, TypeError, ValueError):
            log.warning("What the model reports to have taken cannot be counted; the estimate stands", exc_info=True)
        return {}

    def _refused(self, denied: ToolDenied) -> AIMessage:
        if self.guard.on_denied == "raise":
            raise denied
        return AIMessage(str(denied), response_metadata={"guarded_tools": answers.artifact(denied)})


def model_call(guard: Gate, request: ModelRequest[Any]) -> ModelCall | None:
    """Describe a call of a model; ``None`` where no budget speaks of it."""
    config = var_child_runnable_config.get()
    grant = guard.grant_for(config)
    if not guard.budgets(grant):
        return None
    rules = guard.model_rules(grant)
    settings = request.model_settings or {}
    args = {
        "model": model_name(request.model, settings),
        "input_tokens": _asked(request),
        "answer_tokens": _longest(request.model, settings) or (rules.answer_tokens if rules else 0),
    }
    return ModelCall(guard, ToolCall(MODEL_CALL, args, guard.session_for(config), grant), rules)


def _asked(request: ModelRequest[Any]) -> int:
    system = [] if request.system_message is None else [request.system_message]
    return count_tokens_approximately([*system, *request.messages], tools=request.tools)


def _longest(model: Any, settings: Mapping[str, Any]) -> int | None:
    """Find how many tokens an answer may have, where the call or the model says so."""
    said = [settings.get(name) for name in _LENGTHS] + [getattr(model, name, None) for name in _LENGTHS]
    return next((length for length in said if type(length) is int and length > 0), None)


def used(answer: Any) -> Tokens | None:
    """Add up what a provider reports of an answer; ``None`` where it reports nothing."""
    answer = getattr(answer, "model_response", answer)
    messages = [answer] if isinstance(answer, AIMessage) else getattr(answer, "result", [])
    reports = [message.usage_metadata for message in messages if isinstance(message, AIMessage)]
    if not reports or not all(reports):
        return None
    found = [_tokens(report) for report in reports if report]
    return Tokens(*map(sum, zip(*found, strict=True)))


def _tokens(report: Mapping[str, Any]) -> Tokens:
    into, out = report.get("input_token_details") or {}, report.get("output_token_details") or {}
    # Some tell what they wrote by how long it is kept, beside or in place of the sum.
    by_age = sum(count or 0 for kind, count in into.items() if kind.startswith("ephemeral_"))
    return Tokens(
        report["input_tokens"],
        report["output_tokens"],
        into.get("cache_read") or 0,
        max(into.get("cache_creation") or 0, by_age),
        into.get("audio") or 0,
        out.get("audio") or 0,
        out.get("reasoning") or 0,
    )


def judge(result: object) -> BodyOutcome:
    """Say what became of a call of a model: of one that failed, whether the provider can have taken it on."""
    if not isinstance(result, BaseException):
        return "ok"
    causes: list[BaseException] = [result]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    refused = getattr(result, "status_code", None) in _REFUSED
    never_sent = any(type(cause).__name__ in _NOT_REACHED for cause in causes)
    return "never_ran" if refused or never_sent else "unknown"
