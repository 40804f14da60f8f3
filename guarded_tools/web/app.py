"""The page as an application: its addresses, what stands before them, and what is said when something is wrong.

Pages are plain functions, which run in a few threads of their own: nothing that reads the store or the audit runs on
the event loop, and however many tabs are open, the store sees as many readers at once as there are such threads.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Any, Final

import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from guarded_tools.errors import GuardError
from guarded_tools.web import approvals, limits, now, policies, sessions, stop
from guarded_tools.web.assets import serve_asset
from guarded_tools.web.desk import Desk
from guarded_tools.web.doors import LASTS, Door, LinkDoor, PasswordDoor
from guarded_tools.web.live import Live
from guarded_tools.web.page import own_address, page, prepare, render
from guarded_tools.web.presses import Presses
from guarded_tools.web.shared import Shared
from guarded_tools.web.shield import ENTER, Rebuff, Shield

_THREADS: Final = 6
_LONGEST_USER: Final = 80
PAGES: Final = (
    ("/approvals", "Approvals"),
    ("/now", "Now"),
    ("/limits", "Limits"),
    ("/sessions", "Sessions"),
    ("/policy", "Policy"),
    ("/stop", "Stop"),
)
"""What stands in the navigation."""


def make_live(desk: Desk) -> Live:
    """Make what tells tabs of changes at a desk."""
    live = Live({"approvals": lambda: approvals.look(desk), "halts": desk.halts})

    def came(kind: str) -> None:
        live.changed("audit")
        if kind in {"answered", ""}:
            live.changed("answered")

    desk.recent.changed = came
    return live


def make_app(
    desk: Desk,
    door: Door,
    live: Live,
    *,
    origins: frozenset[str],
    cookie: str,
    secure: bool = False,
    read_only: bool = False,
) -> Shield:
    """Make the application. ``origins`` are the addresses that are ours; ``cookie`` names the cookie of a session."""
    prepare()
    presses = Presses()
    app = Starlette(
        routes=_routes(),
        lifespan=lambda _: _running(desk, live),
        exception_handlers={GuardError: _broken, 404: _nowhere},
    )
    app.state.desk, app.state.door, app.state.live = desk, door, live
    app.state.cookie, app.state.secure = cookie, secure
    app.state.shared = Shared(lambda: live.version)
    app.state.frame = _framed(door, presses, live, read_only=read_only)

    def told(refusal: Rebuff) -> Response:
        return HTMLResponse(render("refused.html", {"why": refusal.why}), refusal.status)

    def followed(path: str) -> Response:
        return HTMLResponse(render("followed.html", {"path": path}))

    return Shield(
        app,
        origins=origins,
        door=door,
        presses=presses,
        cookie=cookie,
        read_only=read_only,
        told=told,
        followed=followed,
    )


def _framed(door: Door, presses: Presses, live: Live, *, read_only: bool) -> Callable[[Request], dict[str, Any]]:
    """Return what every page is told beside what it shows."""

    def frame(request: Request) -> dict[str, Any]:
        user = request.state.user
        return {
            "pages": PAGES,
            "here": request.url.path,
            "url": own_address(request),
            "version": live.version,
            "user": user,
            "read_only": read_only,
            "press": lambda: presses.token(user),
            "can_leave": isinstance(door, LinkDoor | PasswordDoor),
        }

    return frame


@contextlib.asynccontextmanager
async def _running(desk: Desk, live: Live) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
    desk.recent.start()
    live.start()
    try:
        yield
    finally:
        live.stop()
        await anyio.to_thread.run_sync(_end, desk)


def _routes() -> list[Route]:
    return [
        Route("/", RedirectResponse("/approvals", HTTPStatus.SEE_OTHER)),
        Route(ENTER, enter, methods=["GET", "POST"]),
        Route("/leave", leave, methods=["POST"]),
        Route("/live", events),
        Route("/approvals", approvals.show_all),
        Route("/approvals/{id}", approvals.show_one, methods=["GET"]),
        Route("/approvals/{id}", approvals.reply, methods=["POST"]),
        Route("/approvals/{id}/check", approvals.check, methods=["POST"]),
        Route("/now", now.show_now),
        Route("/call", now.show_call),
        Route("/limits", limits.show_limits),
        Route("/sessions", sessions.show_sessions),
        Route("/session", sessions.show_session),
        Route("/sessions/clear", sessions.clear, methods=["POST"]),
        Route("/sessions/reset", sessions.reset, methods=["POST"]),
        Route("/policy", policies.show_policy),
        Route("/stop", stop.show_stop),
        Route("/stop/halt", stop.halt, methods=["POST"]),
        Route("/stop/resume", stop.resume, methods=["POST"]),
        Route("/static/{name}", serve_asset),
    ]


def enter(request: Request) -> Response:
    """Let somebody in, by the door that there is."""
    door = request.app.state.door
    if isinstance(door, LinkDoor):
        if request.method == "GET" and "token" in request.query_params:
            said = door.enter(request.query_params["token"])
            if said is not None:
                return _let_in(request, said)
            why = "This link was used, or is too old. Open the one that was printed last where the page was started."
            return _at_the_door(why, HTTPStatus.FORBIDDEN)
        return _at_the_door("Open the link that is printed where the page was started.", HTTPStatus.UNAUTHORIZED)
    if isinstance(door, PasswordDoor):
        if request.method == "GET":
            return _at_the_door("", HTTPStatus.OK, password=True)
        return _with_password(request, door)
    return _at_the_door("The proxy before this page says who you are, and said nothing.", HTTPStatus.UNAUTHORIZED)


def _with_password(request: Request, door: PasswordDoor) -> Response:
    name = " ".join(request.state.form.get("name", "").split())[:_LONGEST_USER]
    if not name:
        return _at_the_door("Say who you are: the audit names who answers.", HTTPStatus.FORBIDDEN, password=True)
    address = request.client.host if request.client is not None else ""
    said = door.enter(request.state.form.get("password", ""), name, address)
    if said is None:
        return _at_the_door("That is not the password.", HTTPStatus.FORBIDDEN, password=True)
    if not isinstance(said, str):
        answer = _at_the_door("Too many tries. Wait some minutes.", HTTPStatus.TOO_MANY_REQUESTS, password=True)
        answer.headers["retry-after"] = str(int(said) + 1)
        return answer
    return _let_in(request, said)


def _let_in(request: Request, said: str) -> Response:
    answer = RedirectResponse("/", HTTPStatus.SEE_OTHER)
    state = request.app.state
    answer.set_cookie(
        state.cookie, said, max_age=int(LASTS), path="/", secure=state.secure, httponly=True, samesite="strict"
    )
    return answer


def _at_the_door(why: str, status: int, *, password: bool = False) -> Response:
    return HTMLResponse(render("enter.html", {"why": why, "password": password}), status)


def leave(request: Request) -> Response:
    """End a session."""
    door = request.app.state.door
    if isinstance(door, LinkDoor | PasswordDoor):
        door.sessions.end(request.state.cookie)
    answer = RedirectResponse(ENTER, HTTPStatus.SEE_OTHER)
    answer.delete_cookie(request.app.state.cookie, path="/", secure=request.app.state.secure, httponly=True)
    return answer


async def events(request: Request) -> Response:
    """Tell one tab what changes."""
    live: Live = request.app.state.live
    if live.is_full:
        return PlainTextResponse("too many tabs are open", HTTPStatus.SERVICE_UNAVAILABLE)
    door, cookie = request.app.state.door, request.state.cookie

    def still_in() -> bool:
        return not isinstance(door, LinkDoor | PasswordDoor) or door.sessions.user(cookie) is not None

    return StreamingResponse(
        live.events(request.query_params.get("since", ""), still_in), media_type="text/event-stream"
    )


def _broken(request: Request, error: Exception) -> Response:
    return page(request, "broken.html", HTTPStatus.SERVICE_UNAVAILABLE, why=str(error))


def _nowhere(request: Request, _: Exception) -> Response:
    return page(request, "broken.html", HTTPStatus.NOT_FOUND, why="There is no such page.")


def _end(desk: Desk) -> None:
    desk.recent.stop()
    desk.close()
