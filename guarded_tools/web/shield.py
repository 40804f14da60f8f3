"""What stands before every page: which requests are let through, as whom, and what every answer says to the browser.

A request passes these, in this order; the first that refuses answers:

1. *Host*: exactly one, and ours. A name that somebody pointed at this address (DNS rebinding) is not.
2. *Origin* and *Sec-Fetch-…*: another site's pages, frames and forms get nothing. A state change names our origin.
3. *Size and patience*: address, form and fields are bounded, and a form that trickles in is cut off.
4. *The door*: who it is. Without, only the door itself and what it is drawn with are shown.
5. *POST*: never where the page is read-only, and only with the token of a form that was shown to this user, once.

What a form says is read here, for the pages run in threads and read nothing from a connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guarded_tools.web.doors import Door, Knock
from guarded_tools.web.presses import Presses

log = logging.getLogger("guarded_tools.web")

ENTER: Final = "/enter"
STATIC: Final = "/static/"
_LONGEST_ADDRESS: Final = 4_096
LARGEST_FORM: Final = 512 * 1024
"""Bytes that a form may have."""
_FRAMES: Final = {"iframe", "frame", "embed", "object", "fencedframe"}
_MOST_FIELDS: Final = 40
_PATIENCE: Final = 10.0
_FORM: Final = "application/x-www-form-urlencoded"
_HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    # Not no-referrer: with that a browser sends the Origin of a form as "null".
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cache-control": "no-store",
}


class Rebuff(NamedTuple):
    """Why a request is not let through."""

    status: HTTPStatus
    why: str


class TooMuch(Exception):  # noqa: N818 - it says why a form was not read
    """A form is too large, too slow, or none."""


class Shield:
    """Lets through what comes from our own pages and from somebody who is in; see the module.

    ``origins`` are ours, ``told`` says a refusal to somebody who is in, ``followed`` leads on whoever came by a link
    from elsewhere. What is let through finds in ``state``: ``user``, the form as ``form``, and ``cookie``.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        origins: frozenset[str],
        door: Door,
        presses: Presses,
        cookie: str,
        read_only: bool,
        told: Callable[[Rebuff], Response],
        followed: Callable[[str], Response],
    ) -> None:
        self._app = app
        self._told, self._followed = told, followed
        self._origins = origins
        self._hosts = {urlsplit(origin).netloc for origin in origins}
        self._door, self._presses = door, presses
        self._cookie, self._read_only = cookie, read_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        guarded = _with_headers(send, scope["path"])
        headers = Headers(scope=scope)
        refusal = self._foreign(scope, headers)
        if refusal is not None:
            await _refuse(refusal, scope, receive, guarded)
            return
        said = cookie_parser(headers.get("cookie", "")).get(self._cookie, "")
        user = self._door.visitor(Knock(said, (scope.get("client") or ("", 0))[0], headers.getlist))
        scope.setdefault("state", {}).update(user=user or "", cookie=said, form={})
        at_the_door = scope["path"] == ENTER or scope["path"].startswith(STATIC)
        if user is None and not at_the_door:
            await self._stranger(scope, headers)(scope, receive, guarded)
            return
        if scope["method"] != "POST":
            await self._app(scope, receive, guarded)
            return
        if self._read_only and scope["path"] != ENTER:
            refusal = Rebuff(HTTPStatus.FORBIDDEN, "this page is read-only: nothing was done")
            await self._told(refusal)(scope, receive, guarded)
            return
        await self._post(scope, receive, guarded, headers)

    def _foreign(self, scope: Scope, headers: Headers) -> Rebuff | None:
        """Refuse what is not addressed to us, or comes from elsewhere."""
        posted, at_the_door = scope["method"] == "POST", scope["path"] == ENTER
        origins, site = headers.getlist("origin"), headers.get("sec-fetch-site", "same-origin")
        own = site == "same-origin" or (site == "none" and not posted)
        # A link from elsewhere may lead here, and shows a stranger the door: the cookie does not come with it.
        followed = not posted and not at_the_door and headers.get("sec-fetch-mode", "navigate") == "navigate"
        checks = (
            (
                headers.getlist("host") in [[host] for host in self._hosts],
                HTTPStatus.MISDIRECTED_REQUEST,
                "this is not a name of this page",
            ),
            (
                len(scope.get("raw_path") or b"") + len(scope["query_string"]) <= _LONGEST_ADDRESS,
                HTTPStatus.REQUEST_URI_TOO_LONG,
                "the address is too long",
            ),
            (scope["method"] in {"GET", "POST"}, HTTPStatus.METHOD_NOT_ALLOWED, "only GET and POST"),
            (
                all(origin in self._origins for origin in origins) and len(origins) <= 1,
                HTTPStatus.FORBIDDEN,
                "the request comes from another site",
            ),
            (bool(origins) or not posted, HTTPStatus.FORBIDDEN, "a form of this page says where it comes from"),
            (own or followed, HTTPStatus.FORBIDDEN, "the request comes from another site"),
            (
                headers.get("sec-fetch-dest", "document") not in _FRAMES,
                HTTPStatus.FORBIDDEN,
                "this page is not shown in a frame",
            ),
            (
                not (at_the_door and "prefetch" in headers.get("sec-purpose", headers.get("purpose", ""))),
                HTTPStatus.FORBIDDEN,
                "a link is opened by a person",
            ),
        )
        return next((Rebuff(status, why) for fine, status, why in checks if not fine), None)

    async def _post(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        try:
            form = await _form(receive, headers)
        except TooMuch as error:
            refusal = Rebuff(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error))
            await _refuse(refusal, scope, receive, send)
            return
        scope["state"]["form"] = form
        if scope["path"] == ENTER:
            await self._app(scope, receive, send)
            return
        token, user = form.get("press", ""), scope["state"]["user"]
        pressed = self._presses.press(token, user, spend=not scope["path"].endswith("/check"))
        if pressed != "fine":
            why = {
                "again": "this was sent already: look at the page again",
                "foreign": "this form is too old, or was not shown to you: load the page again",
            }[pressed]
            status = HTTPStatus.CONFLICT if pressed == "again" else HTTPStatus.FORBIDDEN
            await self._told(Rebuff(status, why))(scope, receive, send)
            return
        await self._app(scope, receive, self._unspent(send, token))

    def _stranger(self, scope: Scope, headers: Headers) -> Response:
        goes = scope["method"] == "GET" and headers.get("sec-fetch-mode", "navigate") == "navigate"
        if goes and headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
            # With a link from elsewhere, as in a notice, a strict cookie does not come. With our own link it does.
            return self._followed("/" + quote(scope["path"].lstrip("/")))
        if goes and "hx-request" not in headers:
            return RedirectResponse(ENTER, HTTPStatus.SEE_OTHER)
        return self._told(Rebuff(HTTPStatus.UNAUTHORIZED, "you are not signed in any more: load the page again"))

    def _unspent(self, send: Send, token: str) -> Send:
        """Give the press back where the answer says that nothing came of it."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == HTTPStatus.UNPROCESSABLE_ENTITY:
                self._presses.give_back(token)
            await send(message)

        return sending


def _with_headers(send: Send, path: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            kept = headers.get("cache-control", "") if path.startswith(STATIC) else ""
            for name, value in _HEADERS.items():
                headers[name] = value
            if kept:
                headers["cache-control"] = kept
        await send(message)

    return sending


async def _refuse(refusal: Rebuff, scope: Scope, receive: Receive, send: Send) -> None:
    log.warning("refused %s %s: %s", scope["method"], quote(scope["path"])[:200], refusal.why)
    # What was not read of the request is not kept waiting for.
    answer = PlainTextResponse(refusal.why, refusal.status, {"connection": "close"})
    await answer(scope, receive, send)


async def _form(receive: Receive, headers: Headers) -> dict[str, str]:
    if headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise TooMuch(f"a form comes as {_FORM}")
    if int(headers.get("content-length", "0") if headers.get("content-length", "0").isdecimal() else 0) > LARGEST_FORM:
        raise TooMuch("the form is too large")
    try:
        async with asyncio.timeout(_PATIENCE):
            body = await _body(receive)
        fields = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except TimeoutError:
        raise TooMuch("the form did not come in time") from None
    except ValueError:
        raise TooMuch("the form cannot be read") from None
    if len(dict(fields)) != len(fields):
        raise TooMuch("a field of the form is there twice")
    return dict(fields)


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise TooMuch("the form was not sent to its end")
        body += bytes(message.get("body", b""))
        if len(body) > LARGEST_FORM:
            raise TooMuch("the form is too large")
        if not message.get("more_body", False):
            return body
