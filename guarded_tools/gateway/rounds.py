"""Asks in a client of protocol 2026-07-28, where a server may ask nothing: the call is answered with the question.

The client shows it, and makes the same call once more, with the answer and with what the question came with: the
*state*. In between nobody waits here: the record of the question is in the store, so that it outlives this process, and
the state is a sealed name of that record, under a key that is in the store as well. What counts is the record. It says
which call of whose was asked about, until when, and is taken, once, by the first answer (see
:mod:`~guarded_tools.approval.workflow`). So a state that somebody made up, cut, used before, or brings with another
call or from another client runs nothing. A server behind the gateway may ask in the same way: its own state, and the
answers to it, wait inside ours until the human has answered.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, NoReturn

from mcp.server.request_state import AESGCMRequestStateCodec, InvalidRequestState

from guarded_tools.approvers.protocol import CallAddress, Suspended
from guarded_tools.errors import CannotAsk
from guarded_tools.gateway.elicit import form, verdict_of
from guarded_tools.stores import Store
from guarded_tools.values import ApprovalRequest, Verdict

METHODS: Final = frozenset({"tools/call", "prompts/get", "resources/read"})
"""What may be answered with a question."""

_KEY = "gateway/state_key"
_QUESTION = "guarded-tools-approval"
_STATE, _ANSWERS = "requestState", "inputResponses"
_FOREIGN = (
    "this request state is none that the gateway gave out, or was changed since: nothing was asked or run for it."
    " Call again without it"
)


class Round(NamedTuple):
    """One time that a call comes by: the name of its question, and what the client answered to that.

    ``params`` are those of the call as the server would have them. ``fault`` says why its state cannot be believed.
    """

    name: str
    params: dict[str, Any]
    answer: object = None
    fault: str = ""


class Rounds:
    """Names questions, seals the names, and opens them. One for a gateway; ``store`` is its guard's."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._prefix = ""
        self._codec: AESGCMRequestStateCodec | None = None

    async def come_back(self, params: Mapping[str, Any]) -> Round:
        """Read which question a call answers. A state that is not ours is the server's, and stays in the call.

        Raises:
            StoreError: the key cannot be read.
        """
        codec = self._codec or await self._ready()
        state = params.get(_STATE)
        if not isinstance(state, str) or not state.startswith(self._prefix):
            return Round(secrets.token_hex(16), dict(params))
        bare = {key: value for key, value in params.items() if key not in (_STATE, _ANSWERS)}
        try:
            name, inner = json.loads(codec.unseal(state.removeprefix(self._prefix)))
        except (InvalidRequestState, ValueError, TypeError):
            return Round(secrets.token_hex(16), bare, fault=_FOREIGN)
        answers = params.get(_ANSWERS)
        answer = answers.get(_QUESTION) if isinstance(answers, Mapping) else None
        return Round(name, {**bare, **inner}, answer)

    def question(self, asked: Round, request: ApprovalRequest) -> dict[str, Any]:
        """Answer a call with the question about it."""
        assert self._codec is not None
        inner = {key: asked.params[key] for key in (_STATE, _ANSWERS) if key in asked.params}
        sealed = self._codec.seal(json.dumps([asked.name, inner]).encode())
        shown = {"method": "elicitation/create", "params": {"mode": "form", **form(request)}}
        return {
            "resultType": "input_required",
            "inputRequests": {_QUESTION: shown},
            _STATE: f"{self._prefix}{sealed}",
        }

    async def _ready(self) -> AESGCMRequestStateCodec:
        """Make the key, or take the one that is there: a gateway that is started anew opens what it sealed before."""
        await self._store.aadd(_KEY, secrets.token_bytes(32))
        key = await self._store.aget(_KEY)
        assert key is not None
        self._prefix = f"guarded-tools.{hashlib.sha256(key).hexdigest()[:8]}."
        self._codec = AESGCMRequestStateCodec([key])
        return self._codec


class RoundApprover:
    """The approver of one round: leaves the call with the question, or has the answer that it came back with."""

    suspends: Literal[True] = True

    def __init__(self, asked: Round) -> None:
        self._round = asked

    def address(self, request: ApprovalRequest) -> CallAddress:
        """Name the call, which is a task of its own."""
        del request
        return CallAddress(self._round.name, self._round.name)

    def crowded(self, request: ApprovalRequest) -> CannotAsk:
        """Say that its question is another call's."""
        return CannotAsk(f"this request state belongs to another call, not to this one of {request.tool}")

    def spent(self, request: ApprovalRequest) -> CannotAsk:
        """Say that its answer was used."""
        return CannotAsk(f"the answer about {request.tool} was used; call it anew, without its request state")

    def __call__(self, request: ApprovalRequest) -> Verdict:
        """Return the answer.

        Raises:
            Suspended: there is none yet.
        """
        if self._round.answer is None:
            _leave(request)
        return verdict_of(self._round.answer, request)


def _leave(request: ApprovalRequest) -> NoReturn:
    raise Suspended(request)
