"""What deciding costs, beside reading the same call; whether it grows with the policy; how long ``validate`` takes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from benchmarks.common import RATIO, Row, p50_us, paired_us, table
from guarded_tools.pictify.catalogue import catalogue
from guarded_tools.pipeline.body import Ended
from guarded_tools.pipeline.results.check import check_result
from guarded_tools.policy import Policy, decide
from guarded_tools.policy.engine import Schema
from guarded_tools.policy.result_checks import ResultPlan
from guarded_tools.values import ToolCall, ToolInfo

TOOL = "pictify_track_experiment_events"
TEXT = json.dumps(
    {"events": [{"experiment": "spring-banner", "event": "impression", "variantId": "var_a", "channel": "email"}]}
)
CALL = ToolCall(TOOL, json.loads(TEXT), "thread-1", "agent-1")
EVENTS = ["impression", "view", "click", "conversion"]
RULES: dict[str, Any] = {
    "require": [{"path": "args.events[*].event", "op": "in", "value": EVENTS}],
    "deny_if": [{"path": "args.events.length", "op": "gt", "value": 100}],
    "limits": [
        {"counter": "calls", "window": "minute", "max": 30, "scope": "grant"},
        {"counter": "events", "window": "minute", "max": 3000, "count": "args.events.length"},
    ],
}


def policy(tools: dict[str, Any] | None = None, **rules: Any) -> Policy:
    """A policy with the rules above, changed by ``rules``, after ``tools``."""
    entries = {**(tools or {}), TOOL: {**RULES, **rules}}
    return Policy.model_validate({"version": "1", "default": "deny", "server": "pictify", "tools": entries})


def rows(quick: bool = False) -> list[Row]:
    """Measure; ``quick`` takes a tenth of the samples."""
    blocks = 10 if quick else 100
    small = policy()
    crowd = {f"other_tool_{number}": RULES for number in range(10_000)}
    started = time.perf_counter()
    large = policy(crowd)
    loading = time.perf_counter() - started
    reading, deciding = paired_us(_reader(), _decider(small), blocks=blocks)
    in_small, in_large = paired_us(_decider(small), _decider(large), blocks=blocks)
    return [
        Row("decide, beside json.loads of the same call", deciding / reading, RATIO, 3, "two predicates, two limits"),
        Row("decide among 10,000 tools, beside one", in_large / in_small, RATIO, 1.2),
        _validating(3 if quick else 11),
        Row("json.loads of the call", reading, "µs"),
        Row("decide", deciding, "µs"),
        *_parts(quick),
        *_results(quick),
        Row("load a policy of 10,000 tools", loading * 1000, "ms"),
    ]


def _parts(quick: bool) -> list[Row]:
    rounds = 200 if quick else 2000
    plain = policy(require=[], deny_if=[])
    regex = policy(require=[{"path": "args.events[*].experiment", "op": "regex", "value": "^[a-z-]+$"}])
    schema = catalogue()[TOOL].schema
    many = ToolCall(TOOL, {"events": CALL.args["events"] * 100})
    found = [
        ("decide without predicates", plain, CALL, None),
        ("decide with a regex in place of a list", regex, CALL, None),
        ("decide and check against the tool's schema", policy(), CALL, schema),
        ("decide 100 events", policy(), many, None),
        ("decide 100 events and check them", policy(), many, schema),
    ]
    return [
        Row(name, p50_us(_decider(judged, call, checked), rounds=rounds), "µs") for name, judged, call, checked in found
    ]


def _results(quick: bool) -> list[Row]:
    """What it adds to a call that its result is checked, off and on; and whether it grows faster than the result."""
    patterns = ["secrets", "emails", {"regex": "[0-9]{16}"}]
    off, on = (policy(**rules).results(TOOL) for rules in ({}, {"result": {"max_chars": 10**8, "redact": patterns}}))
    line = 'The order 4711 of "Käse & Co" is at https://example.com/orders?id=4711, in 12 parts.\\n'
    kilobyte = (line * 13)[:1000]

    def checking(plan: ResultPlan, text: str) -> Callable[[], object]:
        ended = Ended(CALL, value=text)
        assert check_result(plan, ended, ToolInfo(TOOL)).value is text
        return lambda: check_result(plan, ended, ToolInfo(TOOL))

    rounds = 100 if quick else 1000
    small, large = (
        p50_us(checking(on, kilobyte * times), rounds=rounds // times + 3, warmup=2) for times in (10, 1000)
    )
    return [
        Row(
            "redact a result of 1 MB, beside a hundred of 10 KB",
            large / small / 100,
            RATIO,
            4,
            "a square would make it 100",
        ),
        Row("check a result, off", p50_us(checking(off, kilobyte), rounds=rounds), "µs"),
        Row("redact and measure a result of 1 KB", p50_us(checking(on, kilobyte), rounds=rounds), "µs"),
        Row("redact and measure a result of 1 MB", large / 1000, "ms"),
    ]


def _reader() -> Callable[[], object]:
    return lambda: json.loads(TEXT)


def _decider(judged: Policy, call: ToolCall = CALL, schema: Schema = None) -> Callable[[], object]:
    assert decide(judged, call, schema).effect == "allow"
    return lambda: decide(judged, call, schema)


def _validating(times: int) -> Row:
    """``validate``, over a process that imports what it is made with and reads the same file."""
    preset = str(files("guarded_tools.policy.presets") / "standard.json")
    bare = f"import json, pathlib, pydantic, rich.table, typer, yaml; json.loads(pathlib.Path({preset!r}).read_bytes())"
    taken: list[tuple[float, float]] = []
    for _ in range(times):
        floor, ours = (
            _process_ms(*words) for words in (("-c", bare), ("-m", "guarded_tools.cli", "validate", "standard"))
        )
        taken.append((floor, ours))
    note = " over ".join(f"{statistics.median(side):.0f} ms" for side in reversed(list(zip(*taken, strict=True))))
    ratio = statistics.median(ours / floor for floor, ours in taken)
    name = "validate the 31-tool preset, over importing pydantic, typer, rich, yaml and reading it, whole processes"
    return Row(name, ratio, RATIO, 3.5, note)


def _process_ms(*words: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    print(table(rows()))
