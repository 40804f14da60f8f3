"""The script of the demo, for a :class:`~guarded_tools.testing.ScriptedModel`: an agent that gets carried away."""

from __future__ import annotations

import re
from collections.abc import Iterator

from guarded_tools.testing import Call

FLOOD = 40
LAST = "The experiment is running. Some calls were refused; I left it at that."
TASK = (
    "Set up an A/B test for the newsletter banner from the templates we have, start it, and report the events "
    "that came in. Then tidy up."
)


def scenario() -> Iterator[list[Call]]:
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
