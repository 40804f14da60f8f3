"""The page of limits: how much of each is used, and when it frees."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from guarded_tools.values import GLOBAL, Usage, grant_scope, session_scope
from guarded_tools.web.desk import Desk
from guarded_tools.web.page import shared_page

MOST_SCOPES: Final = 40
"""Sessions and grants whose limits one page looks up."""


def show_limits(request: Request) -> Response:
    """Show the limits of one session or grant, or of those whose calls ended last."""
    desk: Desk = request.app.state.desk
    kind, name = request.query_params.get("kind", "session"), request.query_params.get("name", "")

    def values() -> dict[str, Any]:
        scopes = [asked_scope(kind, name)] if name or kind == GLOBAL else desk.active_scopes(MOST_SCOPES)
        found: list[tuple[str, list[Usage]]] = [(scope, desk.store().usage(scope)) for scope in scopes]
        limits = [(scope, some) for scope, some in found if some]
        return {"limits": limits, "kind": kind, "wanted": name, "looked_up": len(scopes), "most": MOST_SCOPES}

    return shared_page(request, "limits.html", values)


def asked_scope(kind: str, name: str) -> str:
    """Name the scope that a form asks for."""
    return GLOBAL if kind == GLOBAL else grant_scope(name) if kind == "grant" else session_scope(name)
