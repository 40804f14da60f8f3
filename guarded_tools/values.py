"""The values that pass along the line: frozen, without behaviour that has effects.

Those on every call's path are named tuples: they cost a third of a frozen dataclass to make.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from guarded_tools.marks import Mark, SessionRules

Effect: TypeAlias = Literal["allow", "ask", "deny"]
Risk: TypeAlias = Literal["read", "write", "execute", "financial", "destructive"]
Remember: TypeAlias = Literal["never", "same", "tool"]
Outcome: TypeAlias = Literal[
    "ok",  # ran, and answered
    "error",  # ran, and answered an error
    "never_ran",  # did not run, as the guard knows or the policy believes the server: charges were given back
    "unknown",  # may have run: charges are kept
    "denied",  # the policy refused
    "limited",  # a limit refused
    "rejected",  # a human refused
    "unanswered",  # nobody answered in time, or the approver failed
    "responded",  # a human answered in place of the tool
    "suspended",  # waits for a human in a checkpoint
    "failed_closed",  # store, audit or arguments could not be relied on
]
BodyOutcome: TypeAlias = Outcome | Literal["reported"]
"""What can be told of a body from what it gave. ``reported``: the server says that nothing ran; that is its word."""
MODEL_CALL: Final = "(model)"
BUDGET_CALL: Final = "(budget)"  # names no tool runs under: a call of the agent's own model, and to give it more budget
Refunds: TypeAlias = Literal["certain", "reported"]
"""Whose word gives charges back: only what the guard itself knows, or also what the server reports."""


def is_grave(risk: object) -> bool:
    """Say whether a call of this risk moves money or destroys: drawn as danger, and left out of drafts of policies."""
    return risk in ("destructive", "financial")


def widest_memory(risk: object, remember: Remember) -> Remember:
    """Return how widely an approval may be remembered where a policy permits ``remember``: a grave call's never is.

    The one home of this rule. Who offers an answer, keeps one, recalls one or reads a policy asks here.
    """
    return "never" if is_grave(risk) else remember


class ToolInfo(NamedTuple):
    """What is known of a tool before it is called. ``schema`` is a JSON Schema; ``None`` where LangChain validates.

    ``origin`` is what its server calls it, where ``name`` is ``server/tool``. ``place`` is where its server is reached,
    as the user wrote it; ``server`` is only its own word then. ``output`` is its results' schema, ``False`` for none.
    """

    name: str
    server: str = ""
    description: str = ""
    schema: Mapping[str, Any] | None = None
    risk: Risk | None = None
    origin: str = ""
    place: str = ""
    output: Mapping[str, Any] | Literal[False] | None = None
    kind: Literal["tool", "model", "budget"] = "tool"

    @property
    def source(self) -> str:
        """Whose tool this is, in the user's own words: a server may call itself whatever another one is called."""
        return self.place or self.server


class UnknownIdentity(str):
    """Stands for the grant of a call of which nobody could tell who it is made for. Such a call is refused."""

    __slots__ = ()


class ToolCall(NamedTuple):
    """A call to judge. ``args`` is the JSON view of what the tool's body would receive."""

    tool: str
    args: Mapping[str, Any]
    session: str = "default"
    grant: str | None = None
    id: str | None = None


GLOBAL: Final = "global"
"""The scope of what counts for everybody."""


def session_scope(session: str) -> str:
    """Name the scope of what counts for one agent session."""
    return f"session:{session}"


def grant_scope(grant: str) -> str:
    """Name the scope of what counts for one identity that agents act for."""
    return f"grant:{grant}"


def trial_scope(scope: str) -> str:
    """Name the scope in which rules on trial count what they would count in this one."""
    return f"shadow:{scope}"


def scopes_of(call: ToolCall) -> tuple[str, ...]:
    """Name the scopes that a call is in, whatever is counted there; :data:`GLOBAL` goes without saying."""
    own = session_scope(call.session)
    return (own,) if call.grant is None else (own, grant_scope(call.grant))


def is_scope(text: str) -> bool:
    """Whether a text is the name of a scope: ``global``, ``session:<id>`` or ``grant:<id>``."""
    kind, colon, name = text.partition(":")
    return text == GLOBAL or (bool(colon and name) and kind in {"session", "grant"})


class Judged(NamedTuple):
    """A call that was let through, and as what its tool was judged."""

    call: ToolCall
    info: ToolInfo


judged_as: ContextVar[Judged | None] = ContextVar("guarded_tools_judged_as", default=None)
"""The call whose body runs here. Whoever sends it on can see whether its tool still is what was judged."""


MOST_TOLD: Final = 2**62
"""Amounts are told up to here; it stands for itself and for whatever is higher. No limit allows as much."""


class Charge(NamedTuple):
    """What one call takes from one limit.

    ``amount`` is the true one, also above ``max``; from :data:`MOST_TOLD` on it is that. ``scope`` names whose counter
    it is: ``session:<id>``, ``grant:<id>`` or ``global``. ``counter`` is ``<server>/<tool>/<name>``, with ``*`` for all
    tools; one with a unit, a fourth part of its name, counts millionths of it. ``window`` is in seconds. ``rule`` is
    the limit's JSON pointer, ``message`` its ``on_deny``. ``result`` is the path into the result that will tell what
    the call took; ``amount`` is an estimate then. ``scale`` is how many decimals amounts have, ``None`` for no unit.
    """

    scope: str
    counter: str
    amount: int
    max: int
    window: int
    rule: str
    message: str = ""
    align: Literal["rolling", "utc"] = "rolling"
    refundable: bool = True
    result: str = ""
    scale: int | None = None


class Ask(NamedTuple):
    """On what terms a human is asked. ``timeout`` and ``remember_for`` are in seconds."""

    timeout: float = 600.0
    remember: Remember = "never"
    remember_for: float = 3600.0


class Decision(NamedTuple):
    """What the policy says of a call, before limits and humans.

    ``rule`` is a JSON pointer into the policy, or one of ``(hidden)``, ``(default deny)``, ``(default allow)``,
    ``(no policy)``. ``charges`` is what would be reserved. ``ask`` is set where ``effect`` is ``ask``. ``shadow`` is
    what a rule under trial would have said; it changes nothing. ``across`` is what rules across the calls of a session
    have to say, which only the store can tell; ``succeeded`` are the marks that the call leaves if it ends well.
    """

    effect: Effect
    rule: str
    message: str = ""
    charges: tuple[Charge, ...] = ()
    ask: Ask | None = None
    shadow: Decision | None = None
    across: SessionRules | None = None
    succeeded: tuple[Mark, ...] = ()

    def _repr_html_(self) -> str:
        from guarded_tools.text import value_tables

        return value_tables.decision(self)


class Usage(NamedTuple):
    """A counter as it stands. ``frees_in`` is in seconds until something of it is free again; 0.0 if none is used."""

    scope: str
    counter: str
    used: int
    max: int
    window: int
    frees_in: float


class Usages(list[Usage]):
    """Counters as they stand; in a notebook, a table of them."""

    def _repr_html_(self) -> str:
        from guarded_tools.text import value_tables

        return value_tables.usages(self)


class Full(NamedTuple):
    """A reservation that did not fit. ``charge`` alone would in exactly ``retry_after`` seconds; ``None``: never."""

    charge: Charge
    used: int
    retry_after: float | None


class Halted(NamedTuple):
    """The stop button is pressed for ``scope``; nothing was written. ``since`` is in seconds since the epoch."""

    scope: str
    reason: str
    since: float


class Reservation(NamedTuple):
    """Charges that were taken, opaque to all but its store. ``refunds`` counts what ended it: the first finds 0."""

    charges: tuple[Charge, ...]
    slots: tuple[int, ...]
    refunds: Iterator[int] = iter(())


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """What a human is asked: exactly what will run.

    ``args`` is a copy of its own: changing it changes nothing that runs. ``digest`` binds server, tool, schema,
    session, grant and arguments, ``definition`` the tool's description and schema. ``expires_at`` is in seconds since
    the epoch. ``remember`` is the widest answer to "for how long?" that the policy permits. ``check_edit`` says why
    edited arguments would be refused, or ``""``; it is there so that a human can be told while they edit, and the guard
    judges the edit all the same. ``across`` names the rules across calls that have a human asked; ``reason`` says why.
    """

    tool: str
    args: Mapping[str, Any]
    session: str
    digest: str
    rule: str
    reason: str = ""
    grant: str | None = None
    server: str = ""
    description: str = ""
    risk: Risk = "destructive"
    usage: tuple[Usage, ...] = ()
    expires_at: float = 0.0
    timeout: float = 600.0
    remember: Remember = "never"
    remember_for: float = 3600.0
    call_id: str | None = None
    definition: str = ""
    check_edit: Callable[[Mapping[str, Any]], str] | None = field(default=None, compare=False, repr=False)
    across: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """A human's answer. Make one with :meth:`approve`, :meth:`edit`, :meth:`reject` or :meth:`respond`."""

    kind: Literal["approve", "edit", "reject", "respond"]
    args: Mapping[str, Any] | None = None
    message: str = ""
    remember: Literal["once", "same", "tool"] = "once"
    by: str = field(default="", compare=False)

    @classmethod
    def approve(cls, remember: Literal["once", "same", "tool"] = "once", *, by: str = "") -> Verdict:
        """Run it as shown. ``same`` and ``tool`` also cover later calls, where the policy permits it."""
        return cls("approve", remember=remember, by=by)

    @classmethod
    def edit(cls, args: Mapping[str, Any], *, by: str = "") -> Verdict:
        """Run the same tool with ``args`` instead; policy, schema and limits judge them anew."""
        return cls("edit", args=args, by=by)

    @classmethod
    def reject(cls, message: str = "", *, by: str = "") -> Verdict:
        """Do not run it. ``message`` is passed on to the model."""
        return cls("reject", message=message, by=by)

    @classmethod
    def respond(cls, text: str, *, by: str = "") -> Verdict:
        """Do not run it; give ``text`` to the model as if the tool had answered it."""
        return cls("respond", message=text, by=by)


class AuditEvent(NamedTuple):
    """One line of the audit, before the log adds time, number, hashes. ``trace`` has ids that join with other traces.

    ``paused`` and ``resumed`` are no lines: observers alone hear of them. ``key`` joins the lines of one call. ``args``
    are the top-level arguments' names, sorted; ``values`` what the user asked to be logged. ``charges`` are (scope,
    counter, amount, max, window in seconds), of which ``refunded`` came back. A question expires after ``timeout``
    seconds; ``approval`` says who answered what. ``labels`` are what an admitted call brings. Latencies are in ms.
    """

    kind: Literal["refused", "asked", "answered", "admitted", "paused", "resumed", "settled", "shadow", "control"]
    tool: str = ""
    session: str = ""
    key: str = ""
    outcome: Outcome | None = None
    rule: str = ""
    message: str = ""
    grant: str | None = None
    server: str = ""
    call_id: str | None = None
    args: tuple[str, ...] = ()
    values: Mapping[str, Any] | None = None
    policy: str = ""
    charges: tuple[tuple[str, str, int, int, int], ...] = ()
    refunded: int = 0
    retry_after: float | None = None
    timeout: float | None = None
    approval: Mapping[str, Any] | None = None
    labels: tuple[str, ...] = ()
    result: Mapping[str, Any] | None = None
    guard_ms: float | None = None
    human_ms: float | None = None
    tool_ms: float | None = None
    trace: Mapping[str, str] | None = None


def canonical(value: object) -> str:
    """The one text of a JSON value: sorted keys, types kept apart (1, 1.0 and "1" differ), Unicode as it came.

    Raises:
        ValueError: NaN, infinity, a value that is not JSON, or a structure too deep to write.
    """
    try:
        return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def digest(*parts: object) -> str:
    """A SHA-256 over JSON values, in hex. Different tuples of values have different digests."""
    return hashlib.sha256(canonical(parts).encode("utf-8", "surrogatepass")).hexdigest()
