"""The stop button: halt and resume, each with a reason, by somebody whom the audit names."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from guarded_tools.control import actions
from guarded_tools.errors import AuditError
from guarded_tools.values import GLOBAL, is_scope
from guarded_tools.web.desk import Desk
from guarded_tools.web.limits import asked_scope
from guarded_tools.web.page import came, page

_LONGEST: Final = 1_000


def show_stop(request: Request) -> Response:
    """List what is halted, and offer to halt."""
    desk: Desk = request.app.state.desk
    return page(request, "stop.html", halts=desk.halts())


def halt(request: Request) -> Response:
    """Press the stop button."""
    desk: Desk = request.app.state.desk
    form: dict[str, str] = request.state.form
    scope, why = posted_scope(form), reason(form) or "no reason given"  # whoever is in a hurry is not held up
    if scope is None:
        return said(request, HTTPStatus.UNPROCESSABLE_ENTITY, "Nothing was halted: say what.", "/stop")
    try:
        actions.halt(desk.button(), desk.state, scope, why, by=request.state.user)
    except AuditError as error:
        return said(request, HTTPStatus.OK, f"Halted: {scope}. It could not be written down: {error}", "/stop")
    return said(
        request, HTTPStatus.OK, f"Halted: {scope}. No call of it is admitted until somebody resumes it.", "/stop"
    )


def resume(request: Request) -> Response:
    """Release the stop button."""
    desk: Desk = request.app.state.desk
    form: dict[str, str] = request.state.form
    scope, why = posted_scope(form), reason(form)
    if scope is None or not why:
        return said(request, HTTPStatus.UNPROCESSABLE_ENTITY, "Nothing was resumed: say what, and why.", "/stop")
    try:
        done = actions.resume(desk.button(), desk.state, scope, by=request.state.user, why=why)
    except AuditError as error:
        return said(request, HTTPStatus.OK, f"Resumed: {scope}. It could not be written down: {error}", "/stop")
    if not done:
        return said(request, HTTPStatus.CONFLICT, f"{scope} was not halted.", "/stop")
    return said(request, HTTPStatus.OK, f"Resumed: {scope}.", "/stop")


def posted_scope(form: dict[str, str]) -> str | None:
    """Read which scope a form is about: the one it was made for, or the one that was typed."""
    scope = came(form["scope"]) if "scope" in form else asked_scope(form.get("kind", ""), form.get("name", ""))
    if form.get("kind") not in {None, GLOBAL, "session", "grant"}:
        return None
    return scope if isinstance(scope, str) and is_scope(scope) else None


def reason(form: dict[str, str]) -> str:
    """Read the reason that was given; ``""`` for none."""
    return form.get("reason", "").strip()[:_LONGEST]


def said(request: Request, status: int, text: str, back: str) -> Response:
    """Answer with one sentence on what was done."""
    return page(request, "said.html", status, text=text, back=back, good=status < HTTPStatus.BAD_REQUEST)
