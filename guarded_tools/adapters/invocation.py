"""One call on its way: from an adapter through the guard to what it runs, and back as that adapter's answer.

The three adapters differ in how a call comes to them, what runs it, and what stands for a refusal where they are: a
text, a message, a result of MCP's. All that lies between is here, once with an event loop and once without one:

- A :class:`ToolDenied` that the guard raises is its own, and is turned into an answer, or raised where the guard was
  told to. One that the body raises is in what the guard hands back (:class:`Ended`), and is an error like any other:
  it tells of another call, which another guard refused inside this one.
- The guard judges the outcome once, when it settles the call. Where that is ``unknown`` and the tool does more than
  read, the answer says so, because whoever hears of a timeout asks for the call again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from guarded_tools.adapters import answers
from guarded_tools.errors import ToolDenied
from guarded_tools.values import ToolCall, ToolInfo

if TYPE_CHECKING:
    from guarded_tools.pipeline.gate import Gate
    from guarded_tools.pipeline.pipeline import Ended, OutcomeClassifier, Read


class Invocation(NamedTuple):
    """One call on its way.

    ``body`` runs it with the arguments that were judged, and is awaited by :meth:`arun`; ``refusal`` makes of a denial
    what stands for a result. ``judge``, ``read`` and ``fault`` are as in :meth:`Gate.attempt`.
    """

    guard: Gate
    call: ToolCall
    info: ToolInfo
    judge: OutcomeClassifier
    body: Callable[[dict[str, Any]], Any]
    refusal: Callable[[ToolDenied], Any]
    read: Read | None = None
    fault: str = ""

    def run(self) -> Any:
        """Return what the body returned, or what stands for it where the call was refused.

        Raises:
            ToolDenied: the call was refused, and the guard's ``on_denied`` is ``"raise"``.
            BaseException: what the body raised.
        """
        try:
            ended = self.guard.attempt(
                self.call, self.body, info=self.info, judge=self.judge, read=self.read, fault=self.fault
            )
        except ToolDenied as denied:
            return self._refused(denied)
        return self._answer(ended)

    async def arun(self) -> Any:
        """As :meth:`run`, for a body that is awaited."""
        try:
            ended = await self.guard.aattempt(
                self.call, self.body, info=self.info, judge=self.judge, read=self.read, fault=self.fault
            )
        except ToolDenied as denied:
            return self._refused(denied)
        return self._answer(ended)

    def _refused(self, denied: ToolDenied) -> Any:
        if self.guard.on_denied == "raise" and denied.outcome != "responded":
            raise denied
        return self.refusal(denied)

    def _answer(self, ended: Ended) -> Any:
        if ended.outcome == "unknown" and self.guard.risk_of(self.info, self.call.grant) != "read":
            ended = _noted(ended)
        return ended.unwrap()


def _noted(ended: Ended) -> Ended:
    """Say in the answer itself that nobody knows what became of the call; only an ``Exception`` is read by anybody."""
    if ended.error is None:
        return ended._replace(value=answers.uncertain_result(ended.value))
    if isinstance(ended.error, Exception):
        return ended._replace(error=answers.uncertain(ended.error))
    return ended
