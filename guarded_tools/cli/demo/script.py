"""The scripted chat model of the demo: it plays an agent that gets carried away. No language model is involved."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import PrivateAttr

FLOOD = 40
TASK = (
    "Set up an A/B test for the newsletter banner from the templates we have, start it, and report the events "
    "that came in. Then tidy up."
)


def scenario() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Play the agent: yield the calls of a turn, be sent the answers to them.

    The turns are: look around, create and start an experiment, report events forty times, try a hidden tool, try
    arguments that the schema forbids.
    """
    answers: list[str] = yield [("pictify_list_templates", {}), ("pictify_list_experiments", {"limit": 5})]  # type: ignore[assignment]
    template = _find(r'"(?:uid|id|templateId)":\s*"([^"]+)"', answers[0])
    yield [("pictify_get_template", {"templateId": template})]
    slug = "newsletter-banner"
    answers = yield [  # type: ignore[assignment]
        (
            "pictify_create_experiment",
            {
                "name": "Newsletter banner",
                "type": "ab_test",
                "slug": slug,
                "variants": [
                    {"id": "calm", "templateUid": template, "weight": 5000, "isDefault": True},
                    {"id": "bold", "templateUid": template, "weight": 5000},
                ],
            },
        )
    ]
    experiment = _find(r"(exp_\w+)", answers[0])
    yield [("pictify_start_experiment", {"experimentId": experiment})]
    for number in range(FLOOD):
        variant = ("calm", "bold")[number % 2]
        yield [
            (
                "pictify_track_experiment_events",
                {"events": [{"event": "impression", "experiment": slug, "variantId": variant, "channel": "email"}]},
            )
        ]
    yield [("pictify_delete_experiment", {"experimentId": experiment})]
    yield [("pictify_create_image", {"html": "<h1>Winner</h1>", "width": 9000})]


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found.group(1) if found else "unknown"


class ScriptedModel(BaseChatModel):
    """A chat model that plays a scenario. Calls no model and needs no key."""

    _turns: Any = PrivateAttr()
    _begun: bool = PrivateAttr(default=False)

    def __init__(self, scenario: Callable[[], Iterator[list[tuple[str, dict[str, Any]]]]] = scenario) -> None:
        super().__init__()
        self._turns = scenario()

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> ScriptedModel:  # noqa: ARG002
        """Ignore the tools: the script knows which it calls."""
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - LangChain's signature
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **_: Any,
    ) -> ChatResult:
        try:
            if self._begun:
                turn = self._turns.send(_latest_answers(messages))
            else:
                self._begun = True
                turn = next(self._turns)
        except StopIteration:
            message = AIMessage("The experiment is running. Some calls were refused; I left it at that.")
        else:
            made = sum(isinstance(message, AIMessage) for message in messages)
            calls = [
                {"name": name, "args": args, "id": f"call-{made}-{place}", "type": "tool_call"}
                for place, (name, args) in enumerate(turn)
            ]
            message = AIMessage("", tool_calls=calls)
        return ChatResult(generations=[ChatGeneration(message=message)])


def _latest_answers(messages: list[BaseMessage]) -> list[str]:
    answers: list[str] = []
    for message in reversed(messages):
        if not isinstance(message, ToolMessage):
            break
        answers.insert(0, message.text if isinstance(message.text, str) else json.dumps(message.content))
    return answers
