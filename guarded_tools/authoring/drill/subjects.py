"""What can be drilled: a policy in the real guard, or somebody else's guard by what makes it."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

from langchain_core.tools import BaseTool

from guarded_tools.audit import AuditLog
from guarded_tools.authoring.drill.values import Answer, Asking
from guarded_tools.authoring.drill.world import Caller, Reply, Setting
from guarded_tools.errors import GuardError
from guarded_tools.guard import Guard
from guarded_tools.policy import Policy
from guarded_tools.stores import Store, open_store
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.tools.lock import Lock
from guarded_tools.values import ApprovalRequest, AuditEvent, ToolInfo, Verdict

_GRANT = "drill"


class NoAudit(AuditLog):
    """Keeps nothing: a drill leaves no file behind."""

    def __init__(self) -> None:
        super().__init__(os.devnull)

    def write(self, event: AuditEvent) -> None:
        """Forget the event."""


class GuardedPolicy(NamedTuple):
    """The user's policy in this package's guard.

    ``lock`` pins the tools, as a program does that gives the guard one. ``grant`` is whether the program says who the
    agent acts for.
    """

    policy: Policy
    lock: Lock | None = None
    grant: bool = True

    def open(self, setting: Setting) -> Caller:
        """Make a guard with empty counters, or with those of ``setting.store``."""
        return _Guarded(self, setting)


class _Guarded:
    def __init__(self, subject: GuardedPolicy, setting: Setting) -> None:
        self._events: list[AuditEvent] = []
        store: Store = MemoryStore() if setting.store is None else open_store(setting.store)
        self._guard = Guard(
            subject.policy,
            store=store,
            approver=_approver(setting.ask),
            audit=NoAudit(),
            grant=_GRANT if subject.grant else None,
            clock=setting.clock,
            lock=subject.lock,
            observers=[self._events.append],
        )
        self.relist(setting.tools)

    def relist(self, tools: list[BaseTool]) -> _Guarded:
        """Wrap what the server lists now."""
        self._tools = {tool.name: tool for tool in self._guard.wrap(tools)}
        return self

    def __call__(self, tool: str, args: Mapping[str, Any], session: str, call_id: str) -> Reply:
        self._events.clear()
        found = self._tools.get(tool)
        if found is None:
            return Reply("there is no such tool", "(hidden)")
        text, _ = _invoked(found, args, session, call_id)
        ended = next((event for event in reversed(self._events) if event.kind in {"refused", "answered"}), None)
        return Reply(text) if ended is None else Reply(text, ended.rule, ended.outcome == "limited")


def _invoked(tool: BaseTool, args: Mapping[str, Any], session: str, call_id: str) -> tuple[str, bool]:
    """What a tool answers, and whether it says that this is no failure."""
    asked = {"name": tool.name, "args": dict(args), "id": call_id, "type": "tool_call"}
    try:
        message = tool.invoke(asked, config={"configurable": {"thread_id": session}})
    except Exception as error:  # noqa: BLE001 - a refusal, or the stub that fails: the world knows what ran
        return str(error), False
    return str(getattr(message, "content", message)), getattr(message, "status", "success") != "error"


def _approver(ask: Callable[[Asking], Answer]) -> Callable[[ApprovalRequest], Verdict]:
    def approver(request: ApprovalRequest) -> Verdict:
        answer = ask(Asking(request.tool, request.args, request.session, request.remember == "tool"))
        if answer == "reject":
            return Verdict.reject("no")
        return Verdict.approve("once" if answer == "approve" or request.remember == "never" else request.remember)

    return approver


class Foreign(NamedTuple):
    """Somebody else's guard: ``make`` is given the stub tools and what else it takes by name (``ask``, ``clock``).

    It returns guarded tools, or a function ``(tool, args, session) -> text`` that makes one call.
    """

    name: str
    make: Callable[..., Any]

    def open(self, setting: Setting) -> Caller:
        """Make the guard anew.

        Raises:
            GuardError: what it makes is neither tools nor a function.
        """
        takes = inspect.signature(self.make).parameters
        offered = {"ask": setting.ask, "clock": setting.clock}
        made = self.make(list(setting.tools), **{key: value for key, value in offered.items() if key in takes})
        return _caller(made, self.name)


def _caller(made: Any, name: str, *, own_bodies: bool = False) -> Caller:
    if isinstance(made, list | tuple) and all(isinstance(tool, BaseTool) for tool in made):
        tools = {tool.name: tool for tool in made}

        def one(tool: str, args: Mapping[str, Any], session: str, call_id: str) -> Reply:
            if tool not in tools:
                return Reply("there is no such tool", "(not offered)")
            text, well = _invoked(tools[tool], args, session, call_id)
            return Reply(text, ran=(well and not re.match("DENIED", text)) if own_bodies else None)

        return one
    if callable(made):

        def through(tool: str, args: Mapping[str, Any], session: str, call_id: str) -> Reply:  # noqa: ARG001
            try:
                return Reply(str(made(tool, dict(args), session)))
            except Exception as error:  # noqa: BLE001 - whatever it raises, the world knows what ran
                return Reply(str(error))

        return through
    raise GuardError(f"{name} makes {type(made).__name__}: a drill takes a list of LangChain tools, or a function")


class Ready(NamedTuple):
    """Guarded tools as they are, with bodies of their own, which really run: made for stubs."""

    tools: list[BaseTool]

    def open(self, setting: Setting) -> Caller:
        """Hand them out; they cannot be made anew, so that what one pattern used up is gone for the next."""
        del setting
        return _caller(self.tools, "the list", own_bodies=True)

    def infos(self) -> list[ToolInfo]:
        """What LangChain knows of them."""
        return [ToolInfo(tool.name, "", tool.description, tool.get_input_jsonschema()) for tool in self.tools]


def read_subject(text: str) -> Foreign | Ready:
    """Import what ``--against module:object`` names: a function that makes guarded tools, or the tools themselves.

    Raises:
        GuardError: there is no such thing.
    """
    module, colon, attribute = text.partition(":")
    if not colon:
        raise GuardError(f"--against {text!r} is not module:object")
    try:
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise GuardError(f"--against {text!r} cannot be imported: {error}") from None
    if callable(found):
        return Foreign(text, found)
    if isinstance(found, list | tuple) and all(isinstance(tool, BaseTool) for tool in found):
        return Ready(list(found))
    raise GuardError(f"--against {text!r} is {type(found).__name__}: name a function, or a list of LangChain tools")
