"""A tool's body as the line sees it: one step, which ends with a value whatever it does."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias

from guarded_tools.approval.suspension import will_run_again
from guarded_tools.errors import ResultWithheld
from guarded_tools.policy.policy import Policy
from guarded_tools.text.redaction import mask
from guarded_tools.values import BodyOutcome, Judged, Outcome, ToolCall, ToolInfo, judged_as

OutcomeClassifier: TypeAlias = Callable[[Any], BodyOutcome]

log = logging.getLogger("guarded_tools")


class Ended(NamedTuple):
    """What the body gave for ``call``, the one that ran, and what was made of that: the outcome it was settled with.

    ``edited``: a human wrote the arguments. An exception travels as a value, so that even ``StopIteration`` comes out
    as itself, and a denial that the body met elsewhere is not taken for one of this guard. ``withheld`` is the error
    that stands for a result which this guard does not hand on; ``told`` is what the audit says of a checked result.
    """

    call: ToolCall
    value: Any = None
    error: BaseException | None = None
    outcome: Outcome = "ok"
    edited: bool = False
    withheld: ResultWithheld | None = None
    told: Mapping[str, Any] | None = None

    def unwrap(self) -> Any:
        """Return the result, or raise what the body raised."""
        if self.error is not None:
            raise self.error
        return self.value


def run_body(invoke: Callable[[dict[str, Any]], Any], ended: Ended, info: ToolInfo) -> Ended:
    """Run a body with the arguments of its call, and say what it gave or raised; ``info`` is what was judged."""
    told = judged_as.set(Judged(ended.call, info))
    try:
        return ended._replace(value=invoke(dict(ended.call.args)))
    except BaseException as error:  # noqa: BLE001 - handed on as it is by whoever unwraps it
        return ended._replace(error=error)
    finally:
        with suppress(ValueError):  # thrown away, and closed in another context
            judged_as.reset(told)


async def arun_body(invoke: Callable[[dict[str, Any]], Awaitable[Any]], ended: Ended, info: ToolInfo) -> Ended:
    """As :func:`run_body`, for a body that is awaited."""
    told = judged_as.set(Judged(ended.call, info))
    try:
        return ended._replace(value=await invoke(dict(ended.call.args)))
    except GeneratorExit:  # the coroutine is thrown away, with whoever waits for it
        raise
    except BaseException as error:  # noqa: BLE001 - as above
        return ended._replace(error=error)
    finally:
        with suppress(ValueError):  # thrown away, and closed in another context
            judged_as.reset(told)


def outcome_of(ended: Ended, judge: OutcomeClassifier, tool: str, policy: Policy | None) -> Outcome:
    """Say what became of the body. It is done: a judge that stumbles over its result must not cost the answer.

    A server that relays its upstream's words, or acts and then answers, can *say* that nothing ran as well. So that
    gives nothing back, unless the policy that decided takes the server's word for this tool.
    """
    if ended.error is not None and will_run_again(ended.error):
        return "suspended"
    try:
        told: BodyOutcome = judge(ended.value if ended.error is None else ended.error)
    except Exception:
        log.exception("What became of a call of %r cannot be told; its charge is kept", mask(tool))
        return "unknown"
    if told != "reported":
        return told
    believed = policy is not None and policy.refunds(tool) == "reported"
    return "never_ran" if believed else "error"
