"""Taking questions back by hand, wherever they wait."""

from __future__ import annotations

from guarded_tools.approval import pending
from guarded_tools.approvers.inbox import answer, questions
from guarded_tools.approvers.protocol import who
from guarded_tools.flow import run
from guarded_tools.stores import Store
from guarded_tools.values import Verdict


def withdraw(session: str | None, *, store: Store) -> int:
    """Take back all questions of a session that wait, or of every session, and free their places.

    An answer that comes to one of them runs nothing. A call that waits at an inbox goes on at once, refused; one that
    waits at a terminal or a callback once that answers. None of it counts as a rejection. Returns how many there were.

    Raises:
        StoreError: the store cannot be relied on.
    """
    # Listed first: a question that comes in between was not withdrawn, so it must not be answered here either.
    waiting = [question for question in questions(store) if session in (None, question.request.session)]
    gone = run(pending.withdraw(session, store=store))
    for question in waiting:
        answer(store, question, Verdict.reject("the question was withdrawn", by=who()), wait=0)
    return gone
