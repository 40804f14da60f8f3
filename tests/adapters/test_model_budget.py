"""What an agent's model may spend: reserved before it is called, settled by what its provider reports.

The models here are scripted; they report what they are told to have taken, as a provider does.
"""

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware, ModelRequest, ModelResponse, ModelRetryMiddleware
from langchain.agents.structured_output import ToolStrategy
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel, Field, PrivateAttr

from guarded_tools import Guard, Policy, PolicyError, ToolCall, ToolDenied, Verdict, decide
from guarded_tools.approvers.interrupt import InterruptApprover
from guarded_tools.authoring.recorded.audit import AuditReader
from guarded_tools.policy.model_budget import ModelPrice, ModelRules
from guarded_tools.policy.model_prices import PriceUnknown, Tokens, cost
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.telemetry import to_opentelemetry
from guarded_tools.values import MODEL_CALL
from tests.fakes import T0, FrozenClock

GO = {"messages": [("user", "go")]}
PRICES = {"cheap*": {"input": "1", "output": "10"}}
USD = {"counter": "usd", "window": "day", "max": "5.00"}
TOKENS = {"counter": "tokens", "window": "hour", "max": 100_000}
CALLS = {"counter": "calls", "window": "hour", "max": 3}


class Reporting(BaseChatModel):
    """Plays its turns: an answer, the names of tools to call, or an error; and reports what each took."""

    model_name: str = "cheap-1"
    max_tokens: int | None = 1000
    usage: dict | None = Field(default_factory=lambda: {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110})
    _turns: list = PrivateAttr(default_factory=list)
    _called: list = PrivateAttr(default_factory=list)
    _during: list = PrivateAttr(default_factory=list)

    def __init__(self, *turns, during=None, **fields):
        super().__init__(**fields)
        self._turns = list(turns)
        self._during = [during] if during else []

    @property
    def _llm_type(self):
        return "reporting"

    def _get_ls_params(self, stop=None, **kwargs):
        return {"ls_provider": "acme", "ls_model_name": self.model_name}

    def bind_tools(self, tools, **kwargs):
        return self

    @property
    def called(self):
        return len(self._called)

    def _turn(self):
        self._called.append(1)
        for look in self._during:
            look()
        turn = self._turns.pop(0) if self._turns else "done"
        if isinstance(turn, Exception):
            raise turn
        return turn

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        turn = self._turn()
        calls = [{"name": name, "args": {}, "id": name, "type": "tool_call"} for name in turn if type(turn) is list]
        message = AIMessage("" if calls else turn, tool_calls=calls, usage_metadata=self.usage)
        return ChatResult(generations=[ChatGeneration(message=message)])


class Streaming(Reporting):
    """Streams its answers, and reports in the last piece."""

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        for letter in self._turn():
            yield ChatGenerationChunk(message=AIMessageChunk(letter))
        yield ChatGenerationChunk(message=AIMessageChunk("", usage_metadata=self.usage))


class RefusedError(Exception):
    status_code = 429


def policy(*limits, **model):
    rules = {"limits": list(limits)} | ({"prices": PRICES} if USD["counter"] in str(limits) else {}) | model
    return Policy.model_validate({"version": "1", "default": "allow", "model": rules})


class World:
    """A guard on a store in memory, and agents that it guards."""

    def __init__(self, folder, *limits, model=None, **options):
        self.store, self.path, self.clock = MemoryStore(), folder / "audit.jsonl", FrozenClock(T0)
        options = {"session": "s"} | ({"policy": policy(*limits, **model or {})} if limits else {}) | options
        self.guard = Guard(store=self.store, audit=self.path, clock=self.clock, **options)

    def agent(self, model, tools=(), middleware=(), **options):
        return create_agent(model, list(tools), middleware=[*middleware, self.guard.middleware()], **options)

    def run(self, model, tools=(), middleware=(), **options):
        return self.agent(model, tools, middleware, **options).invoke(GO)["messages"][-1]

    @property
    def used(self):
        return {usage.counter.split("/")[2]: usage.used for usage in self.store.usage(None, T0)}

    def lines(self, *kinds):
        return [line for line in map(json.loads, self.path.read_text().splitlines()) if line["kind"] in kinds]


@pytest.fixture
def world(tmp_path):
    return lambda *limits, **more: World(tmp_path, *limits, **more)


@pytest.mark.parametrize("kind", [Reporting, Streaming])
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
def test_the_truth_takes_the_place_of_the_estimate(world, kind, way):
    made = world(USD, TOKENS, CALLS)
    reserved = []
    agent = made.agent(kind("hello", during=lambda: reserved.append(made.used)))
    if way == "invoke":
        answer = agent.invoke(GO)["messages"][-1]
    elif way == "ainvoke":
        answer = asyncio.run(agent.ainvoke(GO))["messages"][-1]
    elif way == "stream":
        answer = AIMessage("".join(piece.text for piece, _ in agent.stream(GO, stream_mode="messages")))
    else:

        async def streamed():
            return [piece.text async for piece, _ in agent.astream(GO, stream_mode="messages")]

        answer = AIMessage("".join(asyncio.run(streamed())))
    assert answer.text == "hello"
    assert len(reserved) == 1
    assert reserved[0]["tokens"] > 1000
    assert reserved[0]["usd"] == (reserved[0]["tokens"] - 1000) + 1000 * 10
    assert made.used == {"usd": 100 + 10 * 10, "tokens": 110, "calls": 1}
    admitted, settled = made.lines("admitted"), made.lines("settled")
    assert [line["tool"] for line in (*admitted, *settled)] == [MODEL_CALL] * 2
    assert sorted(amount for _, _, amount, _, _ in settled[0]["charges"]) == [1, 110, 200]


def test_a_full_budget_ends_the_run_with_words_for_a_person(world):
    ran = []

    @tool
    def work() -> str:
        """Work."""
        ran.append(1)
        return "worked"

    made = world(CALLS)
    model = Reporting(*[["work"]] * 9)
    last = made.run(model, [work])
    assert (model.called, len(ran)) == (3, 3)
    assert isinstance(last, AIMessage)
    assert last.text == (
        "The run ends here, for the model was not called: a limit of 3 in an hour is used up (3 used). "
        "It may be called again in 60 minutes."
    )
    assert last.response_metadata["guarded_tools"]["outcome"] == "limited"
    assert made.lines("refused")[0]["rule"] == "/model/limits/0"
    made.guard.on_denied = "raise"
    with pytest.raises(ToolDenied, match="used up"):
        made.run(model)


def test_an_agent_that_owes_an_answer_of_a_form_ends_as_well(world):
    class Form(BaseModel):
        word: str

    made = world({**CALLS, "max": 1})
    model = Reporting("no form", "no form")
    agent = made.agent(model, response_format=ToolStrategy(Form))
    agent.invoke(GO)
    ended = agent.invoke(GO)
    assert "used up" in ended["messages"][-1].text
    assert ended.get("structured_response") is None
    assert model.called == 1


def test_what_went_beyond_the_estimate_is_kept_and_blocks_the_next_call(world):
    made = world({**USD, "max": "0.10"})
    model = Reporting(usage={"input_tokens": 1000, "output_tokens": 12_000, "total_tokens": 13_000})
    assert made.run(model).text == "done"
    assert made.used == {"usd": 1000 + 120_000}
    assert "a limit of 0.10 USD in a day is used up (0.121 USD used" in made.run(model).text
    assert model.called == 1


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {"input_tokens": -5, "output_tokens": -5, "total_tokens": -10},
        {"input_tokens": 5, "output_tokens": float("nan"), "total_tokens": 5},
        {"input_tokens": 5, "output_tokens": None, "total_tokens": 5},
        {"total_tokens": 5},
    ],
)
def test_where_nothing_that_counts_is_reported_the_estimate_stays_and_the_audit_says_so(world, usage):
    made = world(USD, TOKENS)
    answer = ModelResponse([AIMessage("x")])
    answer.result[0].usage_metadata = usage
    made.guard.middleware().wrap_model_call(ModelRequest(model=Reporting(), messages=[]), lambda _: answer)
    assert made.used["tokens"] >= 1000
    assert made.used["usd"] >= 10_000
    assert "the estimate stands" in made.lines("settled")[0]["message"]


@pytest.mark.parametrize(
    ("error", "kept"),
    [(RefusedError("slow down"), False), (TimeoutError("no answer"), True), (ValueError("odd"), True)],
)
def test_of_a_call_that_failed_the_estimate_is_kept_unless_it_was_refused(world, error, kept):
    made = world(TOKENS)
    with pytest.raises(type(error)):
        made.run(Reporting(error))
    assert (made.used["tokens"] > 1000) is kept
    assert made.lines("settled")[0]["outcome"] == ("unknown" if kept else "never_ran")


def test_every_attempt_of_a_retry_and_each_model_of_a_fallback_is_counted(world):
    made = world(USD, CALLS, model={"prices": {"cheap*": PRICES["cheap*"], "dear": {"input": "100", "output": "1000"}}})
    first = Reporting(TimeoutError("no answer"), TimeoutError("no answer"))
    second = Reporting(model_name="dear")
    retry = ModelRetryMiddleware(max_retries=1, on_failure="error", initial_delay=0, jitter=False)
    assert made.run(first, middleware=[ModelFallbackMiddleware(second), retry]).text == "done"
    assert (first.called, second.called, made.used["calls"]) == (2, 1, 3)
    charges = [line["charges"][0][2] for line in made.lines("settled")]
    assert charges[2] == 100 * 100 + 10 * 1000
    assert charges[0] == charges[1] > 10_000


def test_kinds_of_tokens_are_priced_as_their_provider_reports_them(world):
    prices = {"*": {"input": "10", "output": "20", "cache_read": "1", "cache_write": "12.5", "reasoning": "40"}}
    prices["*"] |= {"input_audio": "100", "output_audio": "200"}
    usage = {
        "input_tokens": 1000,
        "output_tokens": 100,
        "total_tokens": 1100,
        "input_token_details": {"cache_read": 500, "ephemeral_5m_input_tokens": 200, "audio": 50},
        "output_token_details": {"audio": 10, "reasoning": 30},
    }
    made = world(USD, model={"prices": prices})
    made.run(Reporting(usage=usage))
    assert made.used["usd"] == 500 + 200 * 12.5 + 50 * 100 + 250 * 10 + 10 * 200 + 30 * 40 + 60 * 20


def test_a_model_without_a_price_is_never_called(world):
    made = world(USD)
    model = Reporting(model_name="dear")
    with pytest.raises(PriceUnknown, match="no price is known of acme:dear: name it in the policy's prices"):
        made.run(model)
    assert model.called == 0
    assert made.used == {}
    answer = decide(made.guard.policy, ToolCall(MODEL_CALL, {}))
    assert (answer.effect, answer.rule) == ("deny", "(guard)")


def test_the_public_list_has_the_price_of_a_model_that_the_policy_does_not_name():
    pytest.importorskip("genai_prices")
    rules = ModelRules.model_validate({"limits": [USD]})
    tokens = Tokens(1_000_000, 100_000, cache_read=400_000)
    for name in ("openai:gpt-4o", "gpt-4o", "azure:gpt-4o"):
        assert cost(rules, name, tokens) == Fraction("1.5") + Fraction("0.5") + 1
    assert cost(rules, "anthropic:claude-sonnet-4-5", Tokens(1000, 100)) == Fraction("0.0045")
    assert cost(rules, "google_genai:gemini-2.5-flash", Tokens(1000, 100)) == Fraction("0.00055")
    # More of a kind than there is: each token costs what its whole kind does.
    assert cost(rules, "openai:gpt-4o", Tokens(100, 0, cache_read=200)) == Fraction("0.00025")
    for name in ("openai:claude-sonnet-4-5", "nobody:gpt-4o", "gpt-nonsense-99"):
        with pytest.raises(PriceUnknown, match=r"name '\*' there for all others"):
            cost(rules, name, tokens)


def test_without_the_list_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    rules = ModelRules.model_validate({"limits": [USD]})
    with pytest.raises(PriceUnknown, match=r"pip install 'guarded-tools\[budget\]'"):
        cost(rules, "openai:gpt-4o", Tokens(1, 1))


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(*[st.integers(0, 10**7)] * 7),
    st.tuples(*[st.decimals("0", "1000", places=4)] * 7),
    st.sets(st.sampled_from(["cache_read", "cache_write", "input_audio", "output_audio", "reasoning"])),
)
def test_a_price_is_exact_and_never_counts_a_token_twice(counts, amounts, named):
    tokens = Tokens(*counts)
    kinds = dict(zip(Tokens._fields, map(str, amounts), strict=True))
    price = ModelPrice.model_validate(
        {"input": kinds["input"], "output": kinds["output"]} | {k: kinds[k] for k in named}
    )
    total = cost(
        ModelRules.model_validate({"limits": [USD], "prices": {"*": price.model_dump(exclude_none=True)}}), "m", tokens
    )
    each = [Fraction(kinds[kind]) for kind in (*named, "input", "output")]
    assert min(each) * (tokens.input + tokens.output) <= total * 10**6 <= max(each) * (tokens.input + tokens.output)
    if not named:
        assert total * 10**6 == tokens.input * each[0] + tokens.output * each[1]


def test_parallel_calls_hold_the_limit_exactly(world):
    made = world({**CALLS, "max": 30})
    model = Reporting()
    agent = made.agent(model)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: agent.invoke(GO)["messages"][-1].text, range(60)))
    assert model.called == 30
    assert answers.count("done") == 30


def test_sub_agents_spend_from_the_same_budget(world):
    made = world({**CALLS, "max": 3}, session=None)
    below = Reporting()
    helper = made.agent(below)

    @tool
    def delegate() -> str:
        """Delegate."""
        return helper.invoke(GO)["messages"][-1].text

    above = Reporting(["delegate"], ["delegate"], ["delegate"])
    ended = made.agent(above, [delegate]).invoke(GO, {"configurable": {"thread_id": "t"}})["messages"][-1]
    assert (above.called, below.called) == (2, 1)
    assert "used up" in ended.text
    assert [usage.scope for usage in made.store.usage(None, T0)] == ["session:t"]


def test_a_grant_has_one_budget_in_all_its_sessions(world):
    made = world(
        {**CALLS, "max": 1, "scope": "grant"}, session=None, grant=lambda config: config["configurable"]["user"]
    )
    model = Reporting()
    agent = made.agent(model)
    for session, user in (("a", "ann"), ("b", "ann"), ("c", "bob")):
        agent.invoke(GO, {"configurable": {"thread_id": session, "user": user}})
    assert model.called == 2
    assert {usage.scope for usage in made.store.usage(None, T0)} == {"grant:ann", "grant:bob"}


def test_nobody_of_whom_nothing_is_known_spends_anything(world):
    policies = {"ann": policy(CALLS), "bob": Policy.model_validate({"version": "1", "default": "allow"})}
    for grant, called in (("ann", 1), ("bob", 1), ("eve", 0), (None, 0)):
        model = Reporting()
        world(policy=policies, grant=grant).run(model)
        assert model.called == called, grant
    model = Reporting()
    world(policy=policies, grant=lambda _: 1 / 0).run(model)
    assert model.called == 0


def test_without_a_budget_nothing_happens_at_all(world):
    made = world(policy=Policy.model_validate({"version": "1", "default": "allow"}))
    assert made.run(Reporting()).text == "done"
    assert made.used == {}
    assert not made.path.exists() or made.lines("admitted") == []


def test_the_answer_is_handed_on_as_it_came(world):
    middleware = world(TOKENS).guard.middleware()
    request = ModelRequest(model=Reporting(), messages=[])
    answer = ModelResponse([AIMessage("x", usage_metadata=Reporting().usage)])
    assert middleware.wrap_model_call(request, lambda _: answer) is answer


def test_the_stop_button_ends_the_run(world):
    made = world(CALLS)
    made.store.halt("session:s", "enough")
    model = Reporting()
    assert "halted for session:s: enough" in made.run(model).text
    assert model.called == 0


def test_on_trial_it_counts_apart_and_stops_nothing(world):
    on_trial = {"version": "1", "default": "allow", "shadow": True, "model": {"limits": [{**CALLS, "max": 1}]}}
    made = world(policy=Policy.model_validate(on_trial))
    model = Reporting()
    for _ in range(3):
        made.run(model)
    assert model.called == 3
    assert [line["outcome"] for line in made.lines("shadow")] == ["ok", "limited", "limited"]
    assert [usage.scope for usage in made.store.usage(None, T0)] == ["shadow:session:s"]


def test_no_tool_goes_by_a_name_of_the_guards_own(world):
    made = world(CALLS)
    for name in ("(model)", "(budget)"):
        with pytest.raises(ToolDenied, match="a name of the guard's own"):
            made.guard.call(ToolCall(name, {"model": "m", "input_tokens": 1, "answer_tokens": 1}), lambda _: None)


# More of it


MORE = {"approval": {"more": {"calls": 2}, "for": "10m"}}
ONE = {**CALLS, "max": 1}


@pytest.fixture
def asked(world):
    requests = []

    def made(answer, *limits, model=None, **options):
        def approver(request):
            requests.append(request)
            return answer

        return world(*(limits or (ONE,)), model=model or MORE, approver=approver, **options)

    made.requests = requests
    return made


def test_a_human_may_let_it_go_on_by_this_much_until_then(asked):
    made = asked(Verdict.approve(by="ann"))
    model = Reporting()
    texts = [made.run(model).text for _ in range(3)]
    assert texts == ["done"] * 3
    assert model.called == 3
    [request] = asked.requests
    assert request.tool == "(budget)"
    assert request.args == {"model": "acme:cheap-1", "more": {"calls": 2}, "for": 600}
    assert [(usage.used, usage.max) for usage in request.usage] == [(1, 1)]
    assert (request.risk, request.remember) == ("financial", "never")
    kinds = [(line["kind"], line["tool"]) for line in made.lines("refused", "asked", "answered", "admitted")]
    assert kinds[1:5] == [
        ("refused", "(model)"),
        ("asked", "(budget)"),
        ("answered", "(budget)"),
        ("admitted", "(budget)"),
    ]
    assert made.run(model).text == "done"  # asked again, and allowed again
    assert len(asked.requests) == 2
    made.clock.advance(601)
    assert "a limit of 1 in an hour is used up (4 used)" in made.run(model).text, "an allowance ends"
    assert len(asked.requests) == 2, "more would not help"


def test_a_human_may_give_less_and_never_more_than_the_policy_permits(asked):
    made = asked(Verdict.edit({"model": "acme:cheap-1", "more": {"calls": 1}, "for": 60}))
    model = Reporting()
    made.run(model), made.run(model), made.run(model)
    assert (model.called, len(asked.requests)) == (3, 2)
    for wrong in ({"calls": 3}, {"calls": 0}, {"calls": -1}, {"calls": 1.5}, {"usd": "1"}, {}):
        made = asked(Verdict.edit({"model": "acme:cheap-1", "more": wrong, "for": 60}))
        made.run(model := Reporting())
        assert "more" in made.run(model).text
        assert model.called == 1, wrong
    for seconds in (601, 0, True, "1h"):
        made = asked(Verdict.edit({"model": "acme:cheap-1", "more": {"calls": 1}, "for": seconds}))
        made.run(model := Reporting())
        assert made.run(model).text.startswith("The run ends here")
        assert model.called == 1, seconds


def test_a_no_ends_the_run_with_the_humans_words(asked):
    made = asked(Verdict.reject("Come back tomorrow."))
    made.run(model := Reporting())
    assert "Come back tomorrow" in made.run(model).text
    assert model.called == 1


def test_where_nobody_answers_it_says_what_is_full_all_the_same(world):
    made = world(ONE, model=MORE)
    made.run(model := Reporting())
    text = made.run(model).text
    assert "a limit of 1 in an hour is used up (1 used)" in text
    assert "Nobody let it go on: (budget) needs a human's approval and no approver was given" in text


def test_nobody_is_asked_where_more_would_not_help(asked):
    usd = {"approval": {"more": {"usd": "0.001"}}, "prices": PRICES}
    made = asked(Verdict.approve(), {**USD, "max": "0.011"}, model=usd)
    model = Reporting(usage={"input_tokens": 100, "output_tokens": 2000, "total_tokens": 2100})
    assert made.run(model).text == "done"
    assert "used up" in made.run(model).text
    made = asked(Verdict.approve(), ONE, {**TOKENS, "max": 1500}, model=MORE)
    assert (
        made.run(model := Reporting(usage={"input_tokens": 1400, "output_tokens": 1, "total_tokens": 1401})).text
        == "done"
    )
    assert "used up" in made.run(model).text
    assert asked.requests == []


def test_a_run_is_suspended_for_it_and_goes_on(world):
    made = world(ONE, model=MORE, approver=InterruptApprover(), session=None)
    model = Reporting("first", "second")
    agent = made.agent(model, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    agent.invoke(GO, config)
    waiting = agent.invoke(GO, config)
    [question] = waiting["__interrupt__"]
    assert question.value["action_requests"][0]["name"] == "(budget)"
    done = agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), config)
    assert done["messages"][-1].text == "second"
    assert model.called == 2
    assert [line["outcome"] for line in made.lines("settled")] == ["ok"] * 3
    for _ in range(2):
        last = agent.invoke(GO, config)
    assert "__interrupt__" in last
    refused = agent.invoke(Command(resume={"decisions": [{"type": "reject", "message": "no"}]}), config)
    assert refused["messages"][-1].text.startswith("The run ends here")
    assert model.called == 3


async def test_asking_does_not_block_the_loop(asked):
    made = asked(Verdict.approve())
    agent = made.agent(model := Reporting())
    for _ in range(3):
        await agent.ainvoke(GO)
    assert (model.called, len(asked.requests)) == (3, 1)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({}, "limits"),
        ({"limits": []}, "no limit: nothing is counted"),
        ({"limits": [{**USD, "max": 5.0}]}, "an amount of money is no float"),
        ({"limits": [{**TOKENS, "max": "5"}]}, "whole number"),
        ({"limits": [{**USD, "max": "0"}]}, "not positive"),
        ({"limits": [{**USD, "counter": "euros"}]}, "'euros' is not one of usd, tokens"),
        ({"limits": [CALLS], "prices": PRICES}, "these prices are never used"),
        ({"limits": [CALLS], "approval": {"more": {}}}, "nobody can be asked for nothing"),
        ({"limits": [CALLS], "approval": {"more": {"usd": "1"}}}, "nobody is ever asked for more usd"),
        ({"limits": [CALLS], "approval": {"more": {"calls": "2"}}}, "whole numbers"),
        ({"limits": [USD], "prices": {"m": {"input": 0.5, "output": 1}}}, "no float"),
        ({"limits": [USD], "prices": {"m": {"input": "1"}}}, "output"),
        ({"limits": [USD], "per": "day"}, "per"),
    ],
)
def test_what_is_wrong_is_said_when_the_policy_is_read(model, said):
    with pytest.raises(PolicyError, match=said):
        Policy.model_validate({"version": "1", "default": "allow", "model": model})


def test_explain_says_what_a_call_would_take(cli, tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(
        json.dumps(policy({**USD, "max": "0.02"}).model_dump(mode="json", by_alias=True, exclude_none=True))
    )
    args = {"model": "acme:cheap-1", "input_tokens": 1000, "answer_tokens": 500}
    shown = cli("explain", str(path), MODEL_CALL, "--args", json.dumps(args))
    assert shown.code == 0, shown
    assert "about 0.006 USD" in shown.out
    assert "0 of 0.02 USD" in shown.out
    assert "schema" not in shown.out
    shown = cli("explain", str(path), MODEL_CALL, "--args", json.dumps({**args, "answer_tokens": 5000}))
    assert "can never fit" in shown.out


def test_a_notebook_shows_it_beside_the_tools():
    shown = policy(USD, CALLS, approval={"more": {"usd": "1"}, "for": "10m"})._repr_html_()
    assert "the agent&#x27;s own model" in shown or "the agent's own model" in shown
    assert "5.00 usd a day, per session" in shown
    assert "for 1 usd more, for 10 minutes" in shown


def test_a_trace_calls_it_a_chat_and_measures_no_tool(world):
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    made = world(USD, observers=[to_opentelemetry(tracers, MeterProvider(metric_readers=[reader]))])
    made.run(Reporting())
    [span] = exporter.get_finished_spans()
    assert (span.name, span.attributes["gen_ai.operation.name"]) == ("chat", "chat")
    assert span.attributes["guarded_tools.spent"] == ("0.0002 USD",)
    names = [metric.name for metric in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics]
    assert sorted(names) == ["guarded_tools.calls", "guarded_tools.spent"]


def test_replay_passes_over_calls_of_the_model(world):
    made = world(CALLS)
    made.run(Reporting())
    assert list(AuditReader(made.path)) == []
