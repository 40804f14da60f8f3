"""Asks whoever looks into the store: in another terminal or, through Redis, on another machine.

A question waits in the store until it is answered or expires. Whoever answers sends back the seal of what they were
shown, and the one who waits compares it with the question in its own memory: an entry that was altered in the store
answers nothing. Of several answers the first counts, and the others are told.

The store is the only lock on this door: every process that may write to it, an agent's own shell for example, can
answer. ``docs/approvals/inbox.md`` says how to keep agents and people apart.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from guarded_tools.approvers.notify import Notice, Notifier, Webhook, http_address
from guarded_tools.approvers.protocol import Altered, Unanswered, is_gone, who, withdrawn
from guarded_tools.errors import StoreError
from guarded_tools.values import ApprovalRequest, Usage, Verdict, digest

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from guarded_tools.stores import Store

POLL = 0.2
"""How often, in seconds, the one who waits looks for an answer."""

_OPEN, _ANSWERS, _RECEIPTS = "approvals/inbox/", "approvals/answer/", "approvals/receipt/"
_KEPT = 600.0
_ID = re.compile("[0-9a-f]{8}")
_MOST = 2**63  # no time, amount or process id is more; neither is an infinity or a nan less
_LONGEST = 366 * 86_400.0  # that an answer is kept; a time that somebody else wrote may be beyond what a store counts
_FIELDS = [field.name for field in dataclasses.fields(ApprovalRequest) if field.name != "check_edit"]


class InboxApprover:
    """Puts each question into ``store`` and waits there for an answer.

    Whoever runs ``guarded-tools approvals`` on the same store answers. An answer is noticed within 0.3 seconds. A
    question that was given up is taken off at once. One whose process died waits until its ``timeout``, in seconds: the
    same call of the same session, made again on that host, takes it up as it is, with the answer if there is one. An
    answer lets one call run, whoever waits for it.

    Args:
        store: The guard's open store.
        notify: Told of each question, in a thread of its own: a function of one
            :class:`~guarded_tools.approvers.notify.Notice`, or the address of a
            :class:`~guarded_tools.approvers.notify.Webhook`, which is signed with ``secret``.
        link: Where the page is on which people answer: a notice carries ``<link>/approvals/<id>``.
        secret: What a webhook that is given by its address signs with.

    Raises:
        TypeError: it was given a URL, not an open store.
        ValueError: an address is none, or a webhook has no secret.
    """

    def __init__(
        self,
        store: Store,
        *,
        notify: Callable[[Notice], object] | str | None = None,
        link: str = "",
        secret: str | bytes = "",
    ) -> None:
        if isinstance(store, str):
            # Not opened here: a memory:// store opened twice would be two, and nobody would see the question.
            raise TypeError("InboxApprover takes the guard's open store, not a URL: InboxApprover(open_store(url))")
        if secret and not isinstance(notify, str):
            raise ValueError("secret= is for a webhook that is given by its address: notify=Webhook(url, secret=…)")
        if link:
            http_address(link, "link=")
        self._store = store
        self._link = link
        send = Webhook(notify, secret=secret) if isinstance(notify, str) else notify
        self._notifier = None if send is None else Notifier(send)

    def __call__(self, request: ApprovalRequest) -> Verdict:
        """Ask, and wait for the answer.

        Raises:
            Unanswered: nobody answered in time, or nobody waits any longer.
            Altered: what was answered is not what was asked, or the answer cannot be read. Nothing runs.
            StoreError: the store cannot be relied on. Nothing runs.
        """
        question, deadline = self._left_behind(request), time.monotonic() + request.timeout
        if question is None:
            question = _attended(Question.ask(request))
            self._put(question)
        else:
            deadline = min(deadline, time.monotonic() + question.closes_at - time.time())
        try:
            while time.monotonic() < deadline and not withdrawn():
                kept = self._store.get(f"{_ANSWERS}{question.id}")
                verdict = None if kept is None else self._read(question, kept)
                if verdict is not None:
                    return verdict
                time.sleep(POLL)
        finally:
            _attends.discard(question.id)
            self._store.take(f"{_OPEN}{question.id}")
        raise Unanswered(f"nobody answered within {request.timeout:g} seconds")

    def _put(self, question: Question) -> None:
        self._store.put(f"{_OPEN}{question.id}", question.dump(), question.request.timeout)
        if self._notifier is not None:
            self._notifier.tell(Notice.of(question.request, question.id, self._link))

    def _left_behind(self, request: ApprovalRequest) -> Question | None:
        """Find the question that was asked about this very call by a process that is no more."""
        for entry in self._store.scan(_OPEN):
            try:
                question = Question.load(*entry)
            except StoreError:
                continue
            asked = question.request
            same = dataclasses.replace(request, usage=asked.usage, expires_at=asked.expires_at, call_id=asked.call_id)
            if question._replace(request=same).seal == question.seal and is_gone(question.asker, question.pid):
                with _attending:
                    if question.id not in _attends:
                        return _attended(question._replace(request=same))
        return None

    def _read(self, question: Question, kept: bytes) -> Verdict | None:
        """Take an answer, or say why not: an edit that would be refused leaves the question open."""
        try:
            answer = json.loads(kept)
            verdict = Verdict(*(answer[name] for name in ("kind", "args", "message", "remember", "by")))
            receipt, seal = f"{_RECEIPTS}{question.id}/{answer['nonce']}", answer["seal"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise Altered("the answer in the store cannot be read") from None
        if seal != question.seal:
            self._store.put(receipt, b"what you were shown is not what the agent asked: somebody altered it", _KEPT)
            raise Altered("the question was altered in the store before it was answered")
        check = question.request.check_edit
        problem = check(verdict.args or {}) if check is not None and verdict.kind == "edit" else ""
        if problem:
            self._store.take(f"{_ANSWERS}{question.id}")
            self._store.put(receipt, f"the policy refuses this edit: {problem}".encode(), _KEPT)
            return None
        if self._store.take(f"{_OPEN}{question.id}") is None:
            raise Unanswered("this answer let the same call run elsewhere, or came as its question expired")
        self._store.put(receipt, b"", _KEPT)
        return verdict


_attends: set[str] = set()
_attending = threading.Lock()


def _attended(question: Question) -> Question:
    """Take note that this process waits for an answer."""
    _attends.add(question.id)
    return question


class Receipt(NamedTuple):
    """What became of an answer.

    ``taken``: the agent goes on with it. ``late``: the question is not open any more. ``second``: somebody else was
    first. ``refused``: the agent does not accept it. ``unclaimed``: nobody picked it up yet; the agent may be gone.
    """

    kind: Literal["taken", "late", "second", "refused", "unclaimed"]
    detail: str = ""


class Question(NamedTuple):
    """An open question. ``seal`` is a digest of all that can be shown of it; times are in seconds since the epoch."""

    id: str
    request: ApprovalRequest
    asker: str
    pid: int
    asked_at: float
    closes_at: float

    @classmethod
    def ask(cls, request: ApprovalRequest) -> Question:
        """Make a question of a request, under a fresh id, open from now until the request's ``timeout`` has passed."""
        now = time.time()
        return cls(secrets.token_hex(4), request, who(), os.getpid(), now, now + request.timeout)

    @property
    def seal(self) -> str:
        """A digest of all that can be shown, in hex: two questions that differ in anything have different ones."""
        return digest("question", self._record())

    def _record(self) -> dict[str, Any]:
        fields = {name: getattr(self.request, name) for name in _FIELDS}
        return {**self._asdict(), "request": {**fields, "args": dict(self.request.args)}}

    def dump(self) -> bytes:
        """Write it as JSON, which :meth:`load` reads on another machine; ``check_edit`` stays with the one who asks."""
        return json.dumps(self._record()).encode()

    @classmethod
    def load(cls, key: str, kept: bytes) -> Question:
        """Read what :meth:`dump` wrote, from the key that it was kept under.

        Showing it, and counting with its numbers, cannot fail.

        Raises:
            StoreError: it is something else.
        """
        try:
            record = json.loads(kept)
            # Half a surrogate pair is text to Python and to the guard, and none to pydantic.
            halves = b"\\ud" in kept
            whole = json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") if halves else kept
            _checks().validate_json(whole, strict=True)
            usage = tuple(Usage(*each) for each in record["request"].pop("usage"))
            question = cls(**record)._replace(request=ApprovalRequest(**record["request"], usage=usage))
            if question.dump() != kept or not _ID.fullmatch(question.id) or key != f"{_OPEN}{question.id}":
                raise ValueError("it holds something else")  # noqa: TRY301 - one way out for all that is wrong with it
            if not all(abs(number) <= _MOST for number in question.numbers()):
                raise ValueError("a number in it is beyond measure")  # noqa: TRY301 - as above
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise StoreError(f"a question in the store cannot be read; somebody altered it ({error})") from None
        return question

    def numbers(self) -> list[float]:
        """List all that is counted with, or shown as a number: times and spans in seconds, amounts, the process id."""
        request = self.request
        counted = [number for each in request.usage for number in each[2:]]
        times = [self.asked_at, self.closes_at, request.timeout, request.expires_at, request.remember_for]
        return [self.pid, *times, *counted]


@functools.cache
def _checks() -> TypeAdapter[Question]:
    from pydantic import TypeAdapter

    return TypeAdapter(Question)


def questions(store: Store, known: dict[tuple[str, bytes], Question] | None = None) -> list[Question]:
    """List the questions that wait in a store for an answer, the oldest first. One that cannot be read is left out.

    Whoever looks again and again hands in ``known``, where it finds what it read the last time; threads may share it.

    Raises:
        StoreError: the store itself cannot be relied on.
    """
    answered = {key.removeprefix(_ANSWERS) for key, _ in store.scan(_ANSWERS)}
    known = {} if known is None else known
    found = {}
    for entry in store.scan(_OPEN):
        try:
            found[entry] = known.get(entry) or Question.load(*entry)
        except StoreError:
            continue
    known.update(found)
    for gone in [entry for entry in list(known) if entry not in found]:
        known.pop(gone, None)
    return sorted((each for each in found.values() if each.id not in answered), key=lambda question: question.asked_at)


def is_open(store: Store, question: Question) -> bool:
    """Whether somebody still waits for an answer to this question.

    It is not open once it was taken off, was given up, or has expired. One that was answered a moment ago still is,
    until its agent took the answer.
    """
    return store.get(f"{_OPEN}{question.id}") is not None


def first_answer(store: Store, question_id: str) -> str:
    """Say what the first answer to a question was and by whom, as ``approve by ann``; ``""`` if there is none.

    An answer that cannot be read is said to be that. Who it is by is what the one who answered wrote: names of others
    are to be shown with care.
    """
    kept = store.get(f"{_ANSWERS}{question_id}")
    try:
        return "" if kept is None else f"{json.loads(kept)['kind']} by {json.loads(kept)['by']}"
    except (ValueError, TypeError, KeyError, RecursionError):
        return "an answer that cannot be read"


def answer(store: Store, question: Question, verdict: Verdict, *, wait: float = 3.0) -> Receipt:
    """Answer a question as it was shown, unless somebody was first; wait ``wait`` seconds for what becomes of it.

    Of several who answer at once exactly one is first. The receipt says what became of it, never what runs: the agent
    judges the call again before it does.

    Raises:
        StoreError: the store cannot be relied on; whether the answer reached it is not known then.
    """
    if not is_open(store, question):
        first = first_answer(store, question.id)
        return Receipt("second", first) if first else Receipt("late")
    nonce = secrets.token_hex(8)
    record: Mapping[str, Any] = dataclasses.asdict(verdict) | {"seal": question.seal, "nonce": nonce}
    seconds = min(max(question.closes_at - time.time(), 0.0), _LONGEST) + _KEPT
    if not store.add(f"{_ANSWERS}{question.id}", json.dumps(record).encode(), seconds):
        return Receipt("second", first_answer(store, question.id))
    until = time.monotonic() + wait
    while time.monotonic() < until:
        receipt = store.take(f"{_RECEIPTS}{question.id}/{nonce}")
        if receipt is not None:
            return Receipt("refused", receipt.decode("utf-8", "replace")) if receipt else Receipt("taken")
        time.sleep(POLL / 2)
    return Receipt("unclaimed")
