"""The page of sessions: who is at work, what each carries and did, and to halt it, reset it, or take a label away."""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from guarded_tools.control import actions
from guarded_tools.errors import AuditError
from guarded_tools.marks import Carried
from guarded_tools.values import Halted, grant_scope, is_scope, session_scope
from guarded_tools.web.desk import Desk
from guarded_tools.web.limits import asked_scope
from guarded_tools.web.page import came, page, shared_page
from guarded_tools.web.recent import KEPT
from guarded_tools.web.stop import posted_scope, reason, said

MOST_SESSIONS: Final = 40
"""Sessions that the page lists."""
_MOST_CALLS: Final = 50


class SessionShown(NamedTuple):
    """A session as the list shows it: when its last call ended, how its calls ended, what it carries, its halt."""

    name: str
    scope: str
    last: float
    outcomes: Counter[str]
    labels: list[Carried]
    halted: Halted | None


def show_sessions(request: Request) -> Response:
    """List the sessions whose calls ended last."""
    return shared_page(request, "sessions.html", lambda: _listed(request.app.state.desk))


def _listed(desk: Desk) -> dict[str, Any]:
    counted: dict[str, tuple[float, Counter[str]]] = {}
    for row in desk.recent.calls():
        _, outcomes = counted.setdefault(row.session, (row.ended, Counter()))
        outcomes[row.outcome] += 1
    halts = {halted.scope: halted for halted in desk.halts()}
    rows = []
    for name, (last, outcomes) in list(counted.items())[:MOST_SESSIONS]:
        scope = session_scope(name)
        labels = [one for one in desk.store().carried(scope) if one.kind == "label"]
        rows.append(SessionShown(name, scope, last, outcomes, labels, halts.get(scope)))
    return {"rows": rows, "found": len(counted), "kept": KEPT, "most": MOST_SESSIONS}


def show_session(request: Request) -> Response:
    """Show one session or grant: its halt, labels, limits and latest calls."""
    desk: Desk = request.app.state.desk
    query = request.query_params
    scope = came(query["scope"]) if "scope" in query else asked_scope(query.get("kind", ""), query.get("name", ""))
    if not isinstance(scope, str) or not is_scope(scope):
        return said(request, HTTPStatus.NOT_FOUND, "That is no session and no grant.", "/sessions")
    calls = [
        row
        for row in desk.recent.calls()
        if scope in {session_scope(row.session), grant_scope(row.grant) if row.grant else ""}
    ]
    return page(
        request, "session.html", scope=scope, carried=desk.store().carried(scope), usage=desk.store().usage(scope),
        halted=next((halted for halted in desk.halts() if halted.scope == scope), None),
        rows=calls[:_MOST_CALLS], kept=KEPT,
    )  # fmt: skip


def clear(request: Request) -> Response:
    """Take a label away."""
    desk: Desk = request.app.state.desk
    form: dict[str, str] = request.state.form
    scope, why, label = posted_scope(form), reason(form), came(form.get("label", ""))
    if scope is None or not why or not isinstance(label, str):
        return said(request, HTTPStatus.UNPROCESSABLE_ENTITY, "Nothing was cleared: say why it may go.", "/sessions")
    done = actions.clear_label(desk.store(), desk.state, scope, label, by=request.state.user, why=why)
    if done != "cleared":
        return said(request, HTTPStatus.CONFLICT, f"{scope} does not carry {label} any more.", "/sessions")
    return said(request, HTTPStatus.OK, f"{scope} no longer carries {label}.", "/sessions")


def reset(request: Request) -> Response:
    """Start the limits of a session or grant at zero."""
    desk: Desk = request.app.state.desk
    form: dict[str, str] = request.state.form
    scope, why = posted_scope(form), reason(form)
    if scope is None or not why:
        return said(request, HTTPStatus.UNPROCESSABLE_ENTITY, "Nothing was reset: say why.", "/sessions")
    try:
        done = actions.reset(desk.store(), desk.state, scope, by=request.state.user, why=why)
    except AuditError as error:
        return said(request, HTTPStatus.OK, f"Reset: {scope}. It could not be written down: {error}", "/sessions")
    withdrew = f"; {done.withdrawn} open questions were withdrawn" if done.withdrawn else ""
    return said(request, HTTPStatus.OK, f"Limits and marks of {scope} start at zero{withdrew}.", "/sessions")
