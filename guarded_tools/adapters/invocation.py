"""One call on its way: from an adapter through the guard to what it runs, and back as that adapter's answer.

The three adapters differ in how a call comes to them, what runs it, and what stands for a refusal where they are: a
text, a message, a result of MCP's. All that lies between is here, once with an event loop and once without one:

- A :class:`ToolDenied` that the guard raises is its own, and is turned into an answer, or raised where the guard was
  told to. One that the body raises is in what the guard hands back (:class:`Ended`), and is an error like any other:
  it tells of another call, which another guard refused inside this one.
- The guard judges the outcome once, when it settles the call. Where that is ``unknown`` and the tool does more than
  read, the answer says so, because whoever hears of a timeout asks for the call again.
- A result that is withheld becomes an answer as a refusal does, or is raised where the guard was told to.
- Where a human changed the call, the answer says what ran: the model's own message still has what it asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from guarded_tools.adapters import notes
from guarded_tools.adapters.answers import Refusal
from guarded_tools.approval.suspension import is_suspension
from guarded_tools.approvers.protocol import SuspendingApprover
from guarded_tools.errors import ToolDenied
from guarded_tools.flow import Flow, run
from guarded_tools.values import ToolCall, ToolInfo, canonical

if TYPE_CHECKING:
    from guarded_tools.pipeline.body import Ended, OutcomeClassifier
    from guarded_tools.pipeline.gate import Gate
    from guarded_tools.pipeline.pipeline import Read


class Posing(NamedTuple):
    """That calls are not made now, but asked about beforehand: for which guards, and by whom meanwhile."""

    family: object
    approver: SuspendingApprover


class Posed(Exception):  # noqa: N818 - not a failure
    """Nothing was asked about a call that was not to be made."""


posing: ContextVar[Posing | None] = ContextVar("guarded_tools_posing", default=None)
"""Set where a call is walked up to its guard, which then asks about it and does not make it."""


class Invocation(NamedTuple):
    """One call on its way.

    ``body`` runs it with the arguments that were judged, and is awaited by :meth:`arun`; ``refusal`` makes of a denial
    what stands for a result. ``judge``, ``read`` and ``fault`` are as in :meth:`Gate.attempt`. With ``pairs`` the body
    returns the content for a model and an artifact.
    """

    guard: Gate
    call: ToolCall
    info: ToolInfo
    judge: OutcomeClassifier
    body: Callable[[dict[str, Any]], Any]
    refusal: Callable[[Refusal], Any]
    read: Read | None = None
    fault: str = ""
    pairs: bool = False

    def run(self) -> Any:
        """Return what the body returned, or what stands for it where the call was refused.

        Raises:
            ToolDenied: the call was refused, and the guard's ``on_denied`` is ``"raise"``.
            BaseException: what the body raised.
        """
        if (instead := posing.get()) is not None:
            run(self._pose(instead))
        try:
            ended = self.guard.attempt(
                self.call, self.body, info=self.info, judge=self.judge, read=self.read, fault=self.fault
            )
        except ToolDenied as denied:
            return self._refused(denied)
        return self._answer(ended)

    async def arun(self) -> Any:
        """As :meth:`run`, for a body that is awaited."""
        if (instead := posing.get()) is not None:
            await self.guard.drive(self._pose(instead))
        try:
            ended = await self.guard.aattempt(
                self.call, self.body, info=self.info, judge=self.judge, read=self.read, fault=self.fault
            )
        except ToolDenied as denied:
            return self._refused(denied)
        return self._answer(ended)

    def _pose(self, instead: Posing) -> Flow[None]:
        """Ask about the call beforehand, and make it by no means.

        Raises:
            Suspended: it was asked about.
            Posed: it was not.
        """
        if instead.family is self.guard.family and not self.fault:
            yield from self.guard.beforehand(instead.approver).pose(self.call, self.info, self.read)
        raise Posed

    def _refused(self, denied: ToolDenied) -> Any:
        if self.guard.on_denied == "raise" and denied.outcome != "responded":
            raise denied
        return self.refusal(denied)

    def _answer(self, ended: Ended) -> Any:
        if ended.withheld is not None and self.guard.on_denied != "raise":
            ended = ended._replace(value=self.refusal(ended.withheld), error=None)
        if ended.outcome == "unknown" and self.guard.risk_of(self.info, self.call.grant) != "read":
            ended = self._noted(ended, notes.UNCERTAIN, "last")
        # Compared as text: 1 and true, or 1 and 1.0, are not the same arguments.
        if ended.edited and canonical(ended.call.args) != canonical(dict(self.call.args)):
            ended = self._noted(ended, notes.edited(ended.call), "first")
        return ended.unwrap()

    def _noted(self, ended: Ended, note: str, place: notes.Place) -> Ended:
        """Add a note to an answer; of what is raised, only an error that reports something is read by a model."""
        error, value, call_id = ended.error, ended.value, self.call.id
        if error is not None:
            told = isinstance(error, Exception) and not is_suspension(error)
            return ended._replace(error=notes.add_to_error(error, note, place)) if told else ended  # type: ignore[arg-type]
        if self.pairs and isinstance(value, tuple) and value:
            return ended._replace(value=(notes.add(value[0], note, place, call_id=call_id), *value[1:]))
        return ended._replace(value=notes.add(value, note, place, call_id=call_id))
