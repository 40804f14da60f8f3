"""What becomes of each request of a client: it passes, it is judged, or what it brings is looked through.

A call of a tool is judged as everywhere else. Prompts and resources are judged as calls of ``prompt:<name>`` and
``resource:<URI>``, with the prompt's arguments, or ``uri``, as arguments: so ``hide``, ``default``, limits and
approvals hold for them as they do for tools. Lists leave out what is hidden. What fills in arguments, and subscribes,
needs only that what it is about would not be denied. Methods that nobody here knows are answered as unknown.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote

from mcp import MCPError
from mcp_types import INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND

from guarded_tools.adapters.invocation import Invocation
from guarded_tools.adapters.outcome import judge_mcp
from guarded_tools.approvers.protocol import Suspended
from guarded_tools.errors import ConnectionFailed
from guarded_tools.gateway import answers
from guarded_tools.gateway.catalogue import PROMPT, RESOURCE, Catalogue, NameCheck
from guarded_tools.gateway.elicit import asking, shows_forms
from guarded_tools.gateway.rounds import METHODS, Round, RoundApprover, Rounds
from guarded_tools.pipeline.gate import Gate
from guarded_tools.text.visible import one_line
from guarded_tools.values import Risk, ToolCall, ToolInfo

_PASSED = frozenset(
    {"initialize", "server/discover", "ping", "logging/setLevel", "resources/unsubscribe", "subscriptions/listen"}
)
LISTS = {
    "tools/list": ("tools", "name", ""),
    "prompts/list": ("prompts", "name", PROMPT),
    "resources/list": ("resources", "uri", RESOURCE),
    "resources/templates/list": ("resourceTemplates", "uriTemplate", RESOURCE),
}
"""What is listed: under which key, what names an entry, and what policies put before that."""

_READS = {"prompts/get": ("name", PROMPT), "resources/read": ("uri", RESOURCE)}
_UNSERVED = ("tasks", "extensions")
"""Capabilities whose methods nobody here knows, so that no client is told of them."""

_NO_SUCH_TOOL = "this server lists no tool of that name"
_TASK = "a call that goes on in the background cannot be guarded: call it without a task"
_TWO_WAYS = "this URI can be read in two ways: write it without dots for folders, and without signs that need no escape"
_UNSURE = re.compile(r"(^|[/\\])\.{1,2}([/\\?#]|$)|[\\\x00-\x1f\x7f]|(?<![:/])//|^[^/]*:/(?!/)|^[^/]*:////")
_NEEDLESS = re.compile(r"%(2[DdEeFf]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaCcFf]|6[1-9A-Fa-f]|7[0-9AaEe]|00|0[AaDd])")


class Principal(NamedTuple):
    """Whose request it is, by what the gateway knows of the client, and never by what that says of itself."""

    session: str
    grant: str | None = None

    @property
    def config(self) -> dict[str, Any]:
        """What a guard's ``grant`` is told."""
        return {"configurable": {"thread_id": self.session, "grant": self.grant}}


class Send(Protocol):
    """Sends a request on, and returns the server's answer."""

    def __call__(
        self, method: str, params: Mapping[str, Any] | None, *, schema: Mapping[str, Any] | None = None
    ) -> Awaitable[dict[str, Any]]:
        """Raise ``ConnectionFailed`` where no answer came, and ``MCPError`` where the server refused."""
        ...


class Request(NamedTuple):
    """What a client asks. ``id`` is its own for it; ``round`` is set where it may be answered with a question."""

    method: str
    params: Mapping[str, Any] | None
    principal: Principal
    id: str
    round: Round | None = None


class GuardedServer:
    """One server as its clients may use it."""

    def __init__(
        self,
        guard: Gate,
        name: str,
        check: NameCheck,
        *,
        keyed: bool = False,
        risk: Callable[[str], Risk | None] = lambda _: None,
        answered_at: str = "",
        rounds: Rounds | None = None,
    ) -> None:
        self.catalogue = Catalogue(guard, name, check, risk, keyed=keyed)
        self._guard = guard
        self._check = check
        self._judge = judge_mcp(name)
        self._answered_at = answered_at
        self._rounds = rounds

    async def answer(self, request: Request, send: Send) -> dict[str, Any]:
        """Answer a client's request.

        Raises:
            MCPError: the server refused, or the policy did where the protocol has no other word for it.
        """
        method = request.method
        try:
            if method in METHODS:
                return await self._round(request, send)
            if method in LISTS:
                return await self._list(request, send)
            if method == "completion/complete":
                self._permit(request, *reference_of(request.params))
            elif method == "resources/subscribe":
                self._permit(request, RESOURCE, text_of(request.params, "uri"))
            elif method == "subscriptions/listen":
                for uri in subscribed(request.params):
                    self._permit(request, RESOURCE, uri)
            elif method not in _PASSED:
                raise MCPError(METHOD_NOT_FOUND, "Method not found", method)
            return _served(await send(method, request.params))
        except ConnectionFailed as failure:
            raise MCPError(INVALID_REQUEST, str(failure)) from None

    async def _round(self, request: Request, send: Send) -> dict[str, Any]:
        """Serve what a human may be asked about, and answer with the question where the client is to show it so."""
        serve = self._call if request.method == "tools/call" else self._read
        if self._rounds is None or not (answers.is_modern(request.params) and shows_forms(request.params)):
            return await serve(request, send)
        asked = await self._rounds.come_back(request.params or {})
        try:
            return await serve(request._replace(params=asked.params, round=asked), send)
        except Suspended as left:
            return self._rounds.question(asked, left.request)

    def shown(self, uri: str, principal: Principal) -> bool:
        """Whether a client may hear of a resource."""
        return self._guard.visible(self.catalogue.known_as(uri, RESOURCE), principal.config)

    async def _list(self, request: Request, send: Send) -> dict[str, Any]:
        """List what the client may see."""
        raw = await send(request.method, request.params)
        key, named, kind = LISTS[request.method]
        entries = raw.get(key)
        if not isinstance(entries, list):
            raise MCPError(
                INVALID_REQUEST, f"the server {self.catalogue.server} answered {request.method} with no list"
            )
        if not kind:
            entries = self.catalogue.take(entries)
        visible = [each for each in entries if self._sees(each, named, kind, request.principal)]
        return {**raw, key: visible}

    def _sees(self, entry: Any, named: str, kind: str, principal: Principal) -> bool:
        name = entry.get(named) if isinstance(entry, Mapping) else None
        return isinstance(name, str) and self._guard.visible(self.catalogue.known_as(name, kind), principal.config)

    async def _call(self, request: Request, send: Send) -> dict[str, Any]:
        params = dict(request.params or {})
        name, arguments = text_of(params, "name"), params.get("arguments")
        arguments = {} if arguments is None else arguments
        if not isinstance(arguments, dict):
            raise MCPError(INVALID_PARAMS, "arguments are an object")
        meta = dict(params.get("_meta") or {})
        meta.pop("fastmcp", None)  # it would have another version of the tool run than the one that is judged

        async def ask(method: str, more: Mapping[str, Any]) -> dict[str, Any]:
            return await send(method, answers.envelope({"_meta": meta}, more))

        found = await self.catalogue.find(name, ask)
        info = found or ToolInfo(self.catalogue.known_as(name), self.catalogue.server)
        fault = self._check.flaw or ("" if found else _NO_SUCH_TOOL) or (_TASK if "task" in params else "")
        raw: dict[str, Any] | None = None
        given: Any = None

        async def body(judged: dict[str, Any]) -> Any:
            nonlocal raw, given
            onward = {**params, "arguments": judged} if judged or "arguments" in params else params
            onward.pop("_meta", None)
            raw = await send("tools/call", {**onward, "_meta": meta} if meta else onward, schema=info.schema)
            given = answers.read(raw)
            return given

        invocation = self._invocation(request, info, arguments, body, self._refused(info.name, found))
        try:
            result = await invocation._replace(fault=fault or invocation.fault).arun()
        except ConnectionFailed as failure:
            answer = answers.failed(str(failure))
        except MCPError as error:
            raise answers.with_note(error) from None
        else:
            answer = answers.written(result, raw, given, found)
        return {"resultType": "complete", **answer} if answers.is_modern(params) else answer

    async def _read(self, request: Request, send: Send) -> dict[str, Any]:
        named, kind = _READS[request.method]
        params = dict(request.params or {})
        name = text_of(params, named)
        arguments = {"uri": name} if kind == RESOURCE else params.get("arguments") or {}
        if not isinstance(arguments, dict):
            raise MCPError(INVALID_PARAMS, "arguments are an object")
        info = ToolInfo(self.catalogue.known_as(name, kind), self.catalogue.server, risk="read")
        if self._guard.info(info.name) != info:
            self._guard.register(info)
        fault = self._check.flaw or (_doubt(name) if kind == RESOURCE else "")

        async def body(judged: dict[str, Any]) -> dict[str, Any]:
            onward = {"uri": judged.get("uri")} if kind == RESOURCE else {"arguments": judged} if judged else {}
            return await send(request.method, {**params, **onward})

        invocation = self._invocation(request, info, arguments, body, self._refusal(info.name))
        result: Any = await invocation._replace(fault=fault or invocation.fault).arun()
        if isinstance(result, MCPError):
            raise result
        return dict(result)

    def _refused(self, name: str, found: ToolInfo | None) -> Callable[[Any], Any]:
        return lambda denied: answers.refused(denied, name, found, self._answered_at)

    def _refusal(self, name: str) -> Callable[[Any], Any]:
        return lambda denied: answers.refusal(denied, name, self._answered_at)

    def _invocation(
        self,
        request: Request,
        info: ToolInfo,
        arguments: dict[str, Any],
        body: Callable[[dict[str, Any]], Any],
        refusal: Callable[[Any], Any],
    ) -> Invocation:
        grant, guard, asked = self._guard.grant_for(request.principal.config), self._guard, request.round
        if not guard.client_may_answer(info, grant):
            asking.set(None)  # for this request alone: whoever serves it sets it anew
        elif asked is not None:
            guard = copy.copy(guard)
            guard.approver = RoundApprover(asked)
        call = ToolCall(info.name, arguments, request.principal.session, grant, request.id)
        fault = "" if asked is None else asked.fault
        return Invocation(guard, call, info, self._judge, body, refusal, fault=fault)

    def _permit(self, request: Request, kind: str, name: str) -> None:
        """See that what a request is about would not be denied.

        Raises:
            MCPError: it would.
        """
        known_as = self.catalogue.known_as(name, kind)
        grant = self._guard.grant_for(request.principal.config)
        args = {"uri": name} if kind == RESOURCE else {}
        doubt = self._check.flaw or (_doubt(name) if kind == RESOURCE else "")
        if doubt or self._guard.explain(ToolCall(known_as, args, request.principal.session, grant)).effect == "deny":
            raise MCPError(INVALID_REQUEST, doubt or f"{one_line(known_as)} is not allowed by the policy")


def _served(answer: dict[str, Any]) -> dict[str, Any]:
    """Leave out of what a server says of itself what nobody here carries."""
    capabilities = answer.get("capabilities")
    if not isinstance(capabilities, Mapping) or not any(each in capabilities for each in _UNSERVED):
        return answer
    return {**answer, "capabilities": {key: each for key, each in capabilities.items() if key not in _UNSERVED}}


def _doubt(uri: str) -> str:
    """Say why nobody knows which resource a URI names: a policy's name for it would be passed by."""
    return _TWO_WAYS if _NEEDLESS.search(uri) or _UNSURE.search(unquote(uri)) else ""


def reference_of(params: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return what a request for a completion is about: what policies put before its name, and the name.

    Raises:
        MCPError: it is neither a prompt nor a resource.
    """
    reference = (params or {}).get("ref")
    if isinstance(reference, Mapping) and reference.get("type") == "ref/prompt":
        return PROMPT, text_of(reference, "name")
    if isinstance(reference, Mapping) and reference.get("type") == "ref/resource":
        return RESOURCE, text_of(reference, "uri")
    raise MCPError(INVALID_PARAMS, "ref is a prompt's name or a resource's URI")


def subscribed(params: Mapping[str, Any] | None) -> list[str]:
    """Return the resources whose changes a stream of notifications is to tell.

    Raises:
        MCPError: they are no list of texts.
    """
    asked = (params or {}).get("notifications")
    uris = asked.get("resourceSubscriptions") if isinstance(asked, Mapping) else None
    if uris is None:
        return []
    if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris):
        raise MCPError(INVALID_PARAMS, "resourceSubscriptions is a list of URIs")
    return uris


def text_of(params: Mapping[str, Any] | None, key: str) -> str:
    """Return a text of a request.

    Raises:
        MCPError: it has none under that key.
    """
    value = (params or {}).get(key)
    if not isinstance(value, str):
        raise MCPError(INVALID_PARAMS, f"{key} is a text")
    return value
