"""One test for each way around the guard that is known."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import pickle
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.graph import MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

DENY = {"version": "1", "default": "deny", "tools": {}}
HIDE = {"version": "1", "default": "allow", "hide": ["delete"], "tools": {}}
RAN: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> Any:
    RAN.clear()
    yield
    assert RAN == []


def functions() -> BaseTool:
    def body(n: int) -> str:
        RAN.append("sync")
        return "ran"

    async def abody(n: int) -> str:
        RAN.append("async")
        return "ran"

    return StructuredTool.from_function(body, abody, name="delete", description="Delete.")


class Delete(BaseTool):
    name: str = "delete"
    description: str = "Delete."

    def _run(self, n: int) -> str:
        RAN.append("sync")
        return "ran"

    async def _arun(self, n: int) -> str:
        RAN.append("async")
        return "ran"


class DeleteByFunction(StructuredTool):
    """A structured tool with a body of its own beside its functions."""

    def _run(self, *args: Any, **kwargs: Any) -> str:
        RAN.append("own")
        return str(self.func(1))  # type: ignore[misc]


def own_body() -> BaseTool:
    raw = functions()
    return DeleteByFunction(
        name="delete", description="d", func=raw.func, coroutine=raw.coroutine, args_schema=raw.args_schema
    )


@pytest.fixture(params=[functions, Delete, own_body])
def denied(request: pytest.FixtureRequest, make_guard: Any) -> BaseTool:
    (guarded,) = make_guard(DENY).wrap([request.param()])
    return guarded  # type: ignore[no-any-return]


def awaited(value: Any) -> Any:
    return asyncio.run(value) if inspect.isawaitable(value) else value


ROADS = {
    "_run": lambda t: t._run(n=1, config={}) if hasattr(t, "func") else t._run(n=1),
    "_run by position": lambda t: t._run(1, config={}) if hasattr(t, "func") else t._run(1),
    "_arun": lambda t: awaited(t._arun(n=1, config={}) if hasattr(t, "func") else t._arun(n=1)),
    "func": lambda t: t.func(1) if hasattr(t, "func") else "DENIED",
    "coroutine": lambda t: awaited(t.coroutine(n=1)) if hasattr(t, "coroutine") else "DENIED",
    "copy": lambda t: copy.copy(t).invoke({"n": 1}),
    "deepcopy": lambda t: copy.deepcopy(t).invoke({"n": 1}),
    "deepcopied function": lambda t: copy.deepcopy(t.func)(1) if hasattr(t, "func") else "DENIED",
    "model_copy": lambda t: t.model_copy().invoke({"n": 1}),
    "model_copy under a name that is allowed": lambda t: t.model_copy(update={"name": "read"}).invoke({"n": 1}),
    "renamed": lambda t: (setattr(t, "name", "read"), t.invoke({"n": 1}))[1],
    "batch": lambda t: t.batch([{"n": 1}])[0],
    "abatch": lambda t: asyncio.run(t.abatch([{"n": 1}]))[0],
    "stream": lambda t: next(iter(t.stream({"n": 1}))),
    "bind": lambda t: t.bind().invoke({"n": 1}),
    "with_config": lambda t: t.with_config(tags=["x"]).invoke({"n": 1}),
    "with_retry": lambda t: t.with_retry().invoke({"n": 1}),
    "with_fallbacks": lambda t: t.with_fallbacks([t]).invoke({"n": 1}),
    "piped": lambda t: ((lambda n: {"n": n}) | t).invoke(1),
    "as_tool": lambda t: t.as_tool(name="read", description="d", arg_types={"n": int}).invoke({"n": 1}),
    "dumped": lambda t: dict(t)["func"](1) if "func" in dict(t) else "DENIED",
    "__dict__": lambda t: vars(t)["func"](1) if "func" in vars(t) else "DENIED",
    "bound method's function": lambda t: (
        t._run.__func__(t, n=1, config={}) if hasattr(t, "func") else t._run.__func__(t, 1)
    ),
}


@pytest.mark.filterwarnings("ignore:This API is in beta")
@pytest.mark.parametrize("road", ROADS)
def test_every_way_into_a_denied_tool_is_denied(denied: BaseTool, road: str) -> None:
    answer = ROADS[road](denied)
    assert "DENIED" in str(answer[0] if isinstance(answer, tuple) else answer)


@pytest.mark.parametrize("dump", [pickle.dumps, lambda t: copy.copy(t).__reduce_ex__(4)])
def test_a_guarded_tool_does_not_travel_to_where_its_guard_is_not(denied: BaseTool, dump: Any) -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        dump(denied)


def test_the_original_is_not_reachable_by_attributes(denied: BaseTool) -> None:
    for name in ("func", "coroutine", "_run", "_arun"):
        body = getattr(denied, name, None)
        assert not hasattr(body, "__wrapped__")
        if body is not None:
            assert inspect.unwrap(body) in (body, getattr(body, "__func__", body))
            assert "body" not in (getattr(body, "__dict__", {}) or {})
    assert not [
        name
        for name, value in vars(denied).items()
        if type(value).__name__ == "function" and "RAN" in value.__code__.co_names
    ]


def test_a_decorated_original_does_not_shine_through(make_guard: Any) -> None:
    import functools

    def body(n: int) -> str:
        RAN.append("ran")
        return "ran"

    @functools.wraps(body)
    def decorated(n: int) -> str:
        return body(n)

    (guarded,) = make_guard(DENY).wrap([StructuredTool.from_function(decorated, name="delete", description="d")])
    assert "DENIED" in inspect.unwrap(guarded.func)(1)
    assert "DENIED" in guarded.invoke({"n": 1})


def test_a_class_that_runs_outside_its_body_is_not_wrapped(make_guard: Any) -> None:
    class Sly(Delete):
        def invoke(self, *args: Any, **kwargs: Any) -> str:
            return "ran"

    with pytest.raises(TypeError, match=r"Sly overrides invoke\(\)"):
        make_guard(DENY).wrap([Sly()])


def test_only_tools_are_wrapped(make_guard: Any) -> None:
    with pytest.raises(TypeError, match="only LangChain tools"):
        make_guard(DENY).wrap([lambda n: "ran"])
    with pytest.raises(TypeError, match="only LangChain tools"):
        make_guard(DENY).wrap([functions().bind()])


def test_a_hidden_tool_is_left_out_and_denied_when_named(make_guard: Any, scripted: Any, answers_of: Any) -> None:
    guard = make_guard(HIDE)
    assert guard.wrap([functions()]) == []
    model = scripted(("delete", {"n": 1}))
    for tools, middleware in (([functions()], [guard.middleware()]), (guard.wrap([functions()]), [guard.middleware()])):
        agent = create_agent(model, tools, middleware=middleware)
        (answer,) = answers_of(agent.invoke({"messages": [("user", "go")]}))
        assert answer.status == "error"
        assert answer.artifact["rule"] == "(hidden)"
    assert model.bound == []


@pytest.mark.parametrize("awaited", [False, True])
def test_an_invented_tool_is_denied_and_recorded(
    make_guard: Any, scripted: Any, answers_of: Any, outcomes: Any, awaited: bool
) -> None:
    guard = make_guard(DENY)
    agent = create_agent(scripted(("drop_table", {"n": 1})), [functions()], middleware=[guard.middleware()])
    ask = {"messages": [("user", "go")]}
    (answer,) = answers_of(asyncio.run(agent.ainvoke(ask)) if awaited else agent.invoke(ask))
    assert answer.content.startswith("DENIED: drop_table")
    assert answer.artifact["outcome"] == "denied"
    assert outcomes() == [("refused", "drop_table", "denied")]


def test_an_invented_tool_that_is_allowed_never_ran(
    make_guard: Any, scripted: Any, answers_of: Any, outcomes: Any
) -> None:
    agent = create_agent(scripted(("drop_table", {})), [functions()], middleware=[make_guard().middleware()])
    (answer,) = answers_of(agent.invoke({"messages": [("user", "go")]}))
    assert "not a valid tool" in answer.content
    assert outcomes() == [("admitted", "drop_table", None), ("settled", "drop_table", "never_ran")]


@pytest.mark.parametrize(
    "name",
    [
        "Delete",
        "DELETE",
        "delete ",
        "delete\u200b",
        "ｄelete",
        "dеlete",
        "pictify_delete",
        "pictify/delete",
        "delete\n",
    ],
)
def test_a_variant_of_a_name_opens_nothing(make_guard: Any, scripted: Any, answers_of: Any, name: str) -> None:
    policy = {"version": "1", "default": "deny", "tools": {"delete": {}}, "server": "pictify"}
    agent = create_agent(scripted((name, {"n": 1})), [functions()], middleware=[make_guard(policy).middleware()])
    (answer,) = answers_of(agent.invoke({"messages": [("user", "go")]}))
    assert answer.content.startswith("DENIED")
    assert answer.artifact["rule"] in {"(default deny)", "/tools/delete"}


def test_a_denial_does_not_hang_on_callbacks_or_handlers(make_guard: Any) -> None:
    class Swallow(BaseCallbackHandler):
        def on_tool_start(self, *args: Any, **kwargs: Any) -> None:
            raise RuntimeError("swallowed by LangChain")

    (guarded,) = make_guard(DENY).wrap([functions().model_copy(update={"handle_tool_error": True})])
    assert "DENIED" in guarded.invoke({"n": 1}, {"callbacks": [Swallow()]})


@pytest.mark.parametrize("awaited", [False, True])
def test_a_hand_built_graph_is_guarded(make_guard: Any, answers_of: Any, awaited: bool) -> None:
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode(make_guard(DENY).wrap([functions(), Delete(name="other")])))
    graph.set_entry_point("tools")
    calls = [
        {"type": "tool_call", "id": str(i), "name": name, "args": {"n": i}}
        for i, name in enumerate(["delete", "other"] * 3)
    ]
    compiled, ask = graph.compile(), {"messages": [AIMessage("", tool_calls=calls)]}
    answers = answers_of(asyncio.run(compiled.ainvoke(ask)) if awaited else compiled.invoke(ask))
    assert [(answer.status, answer.tool_call_id) for answer in answers] == [("error", str(i)) for i in range(6)]


def test_an_argument_called_like_what_langchain_injects_is_still_judged(make_guard: Any) -> None:
    async def body(**arguments: Any) -> str:
        RAN.append("ran")
        return "ran"

    schema = {"type": "object", "properties": {}, "additionalProperties": True}
    raw = StructuredTool(name="send", description="d", args_schema=schema, coroutine=body)
    deny_if = [{"path": f"args.{name}", "op": "exists"} for name in ("callbacks", "state", "runtime", "tool_call_id")]
    (guarded,) = make_guard({"version": "1", "default": "deny", "tools": {"send": {"deny_if": deny_if}}}).wrap([raw])
    for name in ("callbacks", "state", "runtime", "tool_call_id"):
        assert "DENIED" in asyncio.run(guarded.ainvoke({name: "forbidden"}))


def test_nobody_slips_in_the_id_of_a_call_as_an_argument(make_guard: Any) -> None:
    (guarded,) = make_guard(DENY).wrap([functions()])
    args = {"n": 1, "__guarded_tools_call_id": "forged"}
    assert isinstance(guarded.invoke(args), str)
    assert guarded.invoke({"type": "tool_call", "id": "true", "name": "delete", "args": args}).tool_call_id == "true"


def test_what_python_cannot_close_is_what_the_documentation_says(make_guard: Any) -> None:
    raw = functions()
    (guarded,) = make_guard(DENY).wrap([raw])
    held = list(gc.get_referents(guarded.func.__closure__[0].cell_contents))
    assert held  # who walks closures finds the body; docs/plugins.md says so
    assert raw.func is not guarded.func
