"""LangChain tools whose body runs only after the guard said so, and which are otherwise the tools they were.

A guarded tool is an instance of a subclass of the tool's own class. Every way into the body (``_run``, ``_arun``,
``func``, ``coroutine``) leads through the guard, inside everything LangChain does around a body.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from abc import ABCMeta
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.tools import BaseTool

from guarded_tools.adapters.body import CALL_ID, GUARDED_BY, GuardedCallable
from guarded_tools.adapters.outcome import OutcomeClassifier, judge_mcp, judge_plain
from guarded_tools.adapters.provenance import Provenance, provenance_of, site
from guarded_tools.adapters.signatures import forwarding_method
from guarded_tools.errors import GuardError
from guarded_tools.libraries import langchain_core
from guarded_tools.text.visible import one_line
from guarded_tools.tools.risk import Classified, classify, warned
from guarded_tools.values import Risk, ToolInfo

if TYPE_CHECKING:
    from guarded_tools.pipeline.gate import Gate

# Whoever overrides one of these may run things without a body, where no guard could sit.
_OUTER = ("invoke", "ainvoke", "run", "arun", "batch", "abatch", "stream", "astream", "transform", "atransform")


def wrap(guard: Gate, tools: Iterable[BaseTool]) -> list[BaseTool]:
    """Return the tools guarded, without those that are hidden.

    A tool that this guard has wrapped stays as it is, unless a view for another session asks: it counts there then.

    Raises:
        TypeError: something is not a ``BaseTool``, or runs in a way that a guard cannot see.
        GuardError: policies would know tools of two servers by one name, in this list or since an earlier one.
    """
    tools = list(tools)
    _check_owners(guard, [identity(tool) for tool in tools if isinstance(tool, BaseTool) and is_mcp(tool)])
    guarded = [clone(guard, tool) for tool in tools]
    return [tool for tool in guarded if guard.visible(identity(tool).name)]


def _check_owners(guard: Gate, infos: Sequence[ToolInfo]) -> None:
    """Make sure that one rule, one pin and one counter are about tools of one server.

    Raises:
        GuardError: they would be about two.
    """
    owners: dict[str, str] = {}
    for info in infos:
        owner = owners.setdefault(info.name, info.source)
        if owner != info.source:
            raise GuardError(_two_servers(info.name, owner, info.source))
    if fault := taken(guard, *infos):
        raise GuardError(fault)


def taken(guard: Gate, *infos: ToolInfo) -> str:
    """Say why tools cannot go by their names under this guard, or take the names: since then they are theirs.

    A tool of which nobody knows the server takes none.
    """
    sites = {info.name: at for info in infos if (at := site(info))}
    found = guard.claim(sites)
    return "" if found is None else _two_servers(found[0], found[1], sites[found[0]])


def _two_servers(name: str, *servers: str) -> str:
    one, other = (one_line(server or "an unknown server") for server in servers)
    return (
        f"{one_line(name)} is a tool of {one} and of {other}, and one rule would be about both: open them together, by"
        " a ClientGroup, an MCPConfig or guarded_tools(…, keyed=True), which name tools by server"
    )


def is_guarded(tool: BaseTool, guard: Gate) -> bool:
    """Whether ``guard`` or a view of it stands around the body of ``tool``."""
    return any(own.family is guard.family for own in guards(tool))


def guards(tool: BaseTool) -> tuple[Gate, ...]:
    """Return the guards around the body of ``tool``, the innermost first."""
    around: tuple[Gate, ...] = getattr(type(tool), "__guards__", ())
    if not around:
        return around
    # The views of a guard share the class; whose view it is, the body knows.
    body = getattr(tool, "func", None) or getattr(tool, "coroutine", None)
    view: Gate | None = getattr(body, GUARDED_BY, None)
    return around if view is None else (*around[:-1], view)


def is_mcp(tool: BaseTool) -> bool:
    """Whether the tool lives on an MCP server."""
    return provenance_of(tool) is not None


def identity(tool: BaseTool) -> ToolInfo:
    """Return what is known of a tool, under the name by which its server knows it."""
    known: ToolInfo | None = getattr(type(tool), "__guarded_info__", None)
    return known or _described(tool, provenance_of(tool))


def _described(tool: BaseTool, mcp: Provenance | None) -> ToolInfo:
    mcp = mcp or Provenance(tool.name)
    schema = tool.args_schema if isinstance(tool.args_schema, dict) else None
    info = ToolInfo(mcp.tool, mcp.server, tool.description, mcp.schema or schema, mcp.risk, mcp.origin, mcp.place)
    origin = info.origin if info.origin != info.name else ""
    return info._replace(origin=origin, risk=raised(info, mcp.hints), output=mcp.output)


def raised(info: ToolInfo, hints: Sequence[Mapping[str, Any]]) -> Risk | None:
    """Return what is known of a tool's risk, raised to what its server's hints warn of."""
    if not any(hints):
        return info.risk
    name = info.origin or info.name
    said = Classified(info.risk, "known") if info.risk else classify(name, info.description, info.schema)
    worst = functools.reduce(warned, hints, said)
    return info.risk if worst.risk == said.risk else worst.risk


def policy_server(guard: Gate) -> str | None:
    """Return the server whose tools the guard's policy is about, where there is one policy and it says so."""
    try:
        return guard.policy.server
    except GuardError:
        return None


def clone(guard: Gate, tool: BaseTool) -> BaseTool:
    """Return ``tool`` guarded, hidden or not.

    Raises:
        TypeError: as :func:`wrap`.
    """
    if not isinstance(tool, BaseTool):
        raise TypeError(f"only LangChain tools can be wrapped, not {type(tool).__name__}; make one with @tool")
    # By that it goes, whatever it is called now.
    known: ToolInfo | None = getattr(type(tool), "__guarded_info__", None)
    if is_guarded(tool, guard):
        outermost = guards(tool)[-1]
        if outermost.family is not guard.family or guard.named_session in (None, outermost.named_session):
            return tool
        # Left as it is, it would count, and be approved, in the session of whoever wrapped it first.
        tool = _unwrapped(tool)
    kind = type(tool)
    _check_reach(tool)
    mcp = provenance_of(tool)
    info = known or _described(tool, mcp)
    guard.register(info)
    # How errors are worded is believed of a server by the user's name for it, not by its own.
    servers = ("" if mcp.place else mcp.server, policy_server(guard)) if mcp else None
    copied = tool.model_copy()
    if _is_plain(kind):
        mould = _mould(guard, tool, info, servers)
        object.__setattr__(copied, "__class__", mould.kind)
        copied.__dict__.update(mould.bodies(guard))
        return copied
    body = functools.partial(GuardedCallable, guard, tool, info, _judge(servers))
    guarded = _subclass(guard, tool, info, body)
    _originals[guarded] = tool
    object.__setattr__(copied, "__class__", guarded)
    if "func" in kind.model_fields or "coroutine" in kind.model_fields:
        if (function := getattr(tool, "func", None)) is not None:
            copied.__dict__["func"] = body(function, filled_in="callbacks").function()
        if (coroutine := getattr(tool, "coroutine", None)) is not None:
            copied.__dict__["coroutine"] = body(coroutine, filled_in="callbacks").coroutine()
    else:
        # One tool, one state: what a body changes on itself shows on both.
        object.__setattr__(copied, "__dict__", tool.__dict__)
        object.__setattr__(copied, "__pydantic_private__", tool.__pydantic_private__)
    return copied


def _judge(servers: tuple[str, str | None] | None) -> OutcomeClassifier:
    return judge_plain if servers is None else judge_mcp(*servers)


def _is_plain(kind: type[BaseTool]) -> bool:
    """Whether nothing of a kind of tools runs but what an instance has as ``func`` and ``coroutine``."""
    return all(langchain_core.is_langchains(way, "langchain_core.tools.") for way in (kind._run, kind._arun))  # noqa: SLF001


_MOST_MOULDS = 500


class _Mould(NamedTuple):
    """What the views of a guard share of a tool: the class of the guarded ones, and their bodies.

    It is good as long as the tool is what it was: making a class and reading signatures takes the time of many calls.
    """

    tool: BaseTool
    was: tuple[object, ...]
    info: ToolInfo
    kind: type[BaseTool]
    func: GuardedCallable | None
    coroutine: GuardedCallable | None

    def bodies(self, guard: Gate) -> dict[str, Any]:
        """Return the guarded bodies of a view."""
        func = {} if self.func is None else {"func": self.func.under(guard).function()}
        return func if self.coroutine is None else {**func, "coroutine": self.coroutine.under(guard).coroutine()}


def _mould(guard: Gate, tool: BaseTool, info: ToolInfo, servers: tuple[str, str | None] | None) -> _Mould:
    func, coroutine = getattr(tool, "func", None), getattr(tool, "coroutine", None)
    was = (func, coroutine, tool.args_schema, type(tool), servers)
    known: _Mould | None = guard.moulds.get(id(tool))
    if known is not None and known.tool is tool and _same(known.was, was) and known.info == info:
        return known
    body = functools.partial(GuardedCallable, guard, tool, info, _judge(servers), filled_in="callbacks")
    made = _Mould(
        tool,
        was,
        info,
        _subclass(guard, tool, info, body),
        None if func is None else body(func),
        None if coroutine is None else body(coroutine),
    )
    _originals[made.kind] = tool
    while len(guard.moulds) >= _MOST_MOULDS:  # the oldest; another thread may be at it, too
        guard.moulds.pop(next(iter(guard.moulds), 0), None)
    guard.moulds[id(tool)] = made
    return made


def _same(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    return one[-1] == other[-1] and all(mine is theirs for mine, theirs in zip(one[:-1], other[:-1], strict=True))


def _check_reach(tool: BaseTool) -> None:
    """Make sure that nothing of a tool runs where its guard cannot see it.

    Raises:
        TypeError: something does.
    """
    kind = type(tool)
    for name in _OUTER:
        if not getattr(getattr(kind, name), "__module__", "").startswith("langchain_core."):
            raise TypeError(f"{kind.__name__} overrides {name}(), which runs outside the guard; override _run/_arun")
    fields = kind.model_fields
    for name in vars(tool):
        # An attribute of the tool itself would come before the guarded method of its class.
        if name not in fields and inspect.isfunction(inspect.getattr_static(kind, name, None)):
            raise TypeError(f"{name}() was replaced on this one {kind.__name__}, out of the guard's reach; subclass it")


# Not on the class, where whoever looks at a guarded tool would find what is behind the guard.
_originals: weakref.WeakKeyDictionary[type[BaseTool], BaseTool] = weakref.WeakKeyDictionary()


def _unwrapped(tool: BaseTool) -> BaseTool:
    """Return the tool behind the outermost guard, with what was changed on the guarded one since."""
    original = _originals[type(tool)]
    if vars(original) is vars(tool):
        return original
    was = vars(original)
    changed = {k: v for k, v in vars(tool).items() if k not in ("func", "coroutine") and was.get(k, was) is not v}
    return original.model_copy(update=changed) if changed else original


def _subclass(guard: Gate, tool: BaseTool, info: ToolInfo, body: Callable[..., GuardedCallable]) -> type[BaseTool]:
    kind = type(tool)

    parses = getattr(kind, langchain_core.PARSES)

    def parsing(self: Any, tool_input: Any, tool_call_id: str | None) -> tuple[Any, dict[str, Any]]:
        args, kwargs = parses(self, tool_input, tool_call_id)
        return args, {**kwargs, CALL_ID: tool_call_id}

    def __reduce_ex__(_self: Any, _protocol: Any) -> Any:  # noqa: N807
        raise TypeError("a guarded tool cannot be pickled: its guard lives in this process. Wrap the tool over there")

    namespace: dict[str, Any] = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
        "__guards__": (*guards(tool), guard),
        "__guarded_info__": info,
        "__reduce_ex__": __reduce_ex__,
        langchain_core.PARSES: parsing,
    }
    # LangChain's own methods lead to ``func`` and ``coroutine``, or to ``_run``, which are guarded where they are.
    if not langchain_core.is_langchains(kind._run, "langchain_core.tools."):  # noqa: SLF001
        namespace["_run"] = body(tool._run, filled_in="run_manager").method()  # noqa: SLF001
    else:
        namespace["_run"] = forwarding_method(kind._run, describes=tool.args_schema is None)  # noqa: SLF001
    if not langchain_core.is_langchains(kind._arun, "langchain_core.tools."):  # noqa: SLF001
        namespace["_arun"] = body(tool._arun, filled_in="run_manager").coroutine_method()  # noqa: SLF001
    elif kind._arun is not BaseTool._arun:  # noqa: SLF001 - LangChain looks whether it is this very one
        namespace["_arun"] = forwarding_method(kind._arun, describes=False)  # noqa: SLF001
    # It has the fields, the validator and the serializer of its kind by inheritance. Pydantic's metaclass would collect
    # them anew for each tool, and give the class a stand-in for a serializer, which fails wherever pydantic before 2.14
    # meets a guarded tool within something else: ToolNode puts all of them into each tool's runtime.
    made: type[BaseTool] = ABCMeta.__new__(type(kind), kind.__name__, (kind,), namespace)
    return made
