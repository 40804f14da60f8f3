"""Runs every attack of docs/recipes.md against the sandbox, once without the rule that stops it and once with it."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from guarded_tools.adapters.outcome import judge_mcp
from guarded_tools.audit import AuditLog
from guarded_tools.errors import ToolDenied
from guarded_tools.guard import Guard
from guarded_tools.mcp_session import HeldSession, StdioServer
from guarded_tools.pictify.catalogue import risk_of
from guarded_tools.pictify.connection import SANDBOX
from guarded_tools.policy import Policy
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.tools.lock import Lock
from guarded_tools.values import ToolCall, ToolInfo, Verdict

TEXT = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
OPEN = {"version": "1", "default": "allow"}
START = 1_800_000_000.0


class Recipe(NamedTuple):
    title: str
    without: dict
    rule: dict
    attack: str
    lock: bool
    expected: tuple[int, int]


def recipes():
    table = {
        title.strip(): (int(without), int(with_))
        for title, without, with_ in re.findall(r"^\| (\d+\. [^|]+)\|[^|]+\| (\d+) \| (\d+) \|$", TEXT, re.MULTILINE)
    }
    for section in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]:
        blocks = re.findall(r"^```(\w+) ?(\w*)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        policies = {mark: yaml.safe_load(text) for kind, mark, text in blocks if kind == "yaml"}
        (attack,) = [(mark, text) for kind, mark, text in blocks if kind == "python"]
        title = section.partition("\n")[0]
        yield Recipe(
            title,
            policies.get("without", OPEN),
            policies.get("", OPEN),
            attack[1],
            attack[0] == "pinned",
            table.pop(title),
        )
    assert not table, "the table names recipes that are not there"


RECIPES = list(recipes())


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    log = tmp_path_factory.mktemp("sandbox") / "log.jsonl"
    with HeldSession(StdioServer(SANDBOX[0], (*SANDBOX[1:], "--log", str(log))), name="pictify") as session:
        session.log = log
        yield session


class Human:
    says: bool | str = True


_numbers = itertools.count(1)


def damage(recipe: Recipe, policy: dict, lock: Lock | None, sandbox: HeldSession, folder: Path) -> int:
    """Run the attack and give what it did, as the recipe counts it."""
    human, asked, now = Human(), [], [START]

    def approver(request):
        asked.append(request)
        return (
            Verdict.approve(remember="tool" if request.remember == "tool" else "same")
            if type(human.says) is str
            else human.says
        )

    guard = Guard(
        Policy.model_validate(policy),
        store=MemoryStore(),
        approver=approver,
        audit=AuditLog(folder / "audit.jsonl"),
        clock=lambda: now[0],
        lock=lock,
    )
    infos = {
        tool.name: ToolInfo(tool.name, "pictify", tool.description, tool.input_schema, risk_of(tool.name))
        for tool in sandbox.tools
    }

    def swap(tool, **changes):
        infos[tool] = infos[tool]._replace(**changes)
        guard.register(infos[tool])

    for info in infos.values():
        guard.register(info)

    def call(tool, *, session="an agent", **args):
        try:
            answer = guard.call(
                ToolCall(tool, args, session, grant="the customer"),
                lambda args: sandbox.call_tool_sync(tool, args),
                info=infos[tool],
                judge=judge_mcp("pictify"),
            )
        except ToolDenied as denied:
            return str(denied)
        return answer.content[0].text

    def seen(state):
        return Counter(
            entry["tool"] for entry in map(json.loads, sandbox.log.read_text().splitlines()) if entry["state"] == state
        )

    before = {state: seen(state) for state in ("arrived", "completed")}
    names = {
        "call": call,
        "ran": lambda tool: (seen("completed") - before["completed"])[tool],
        "arrived": lambda tool: (seen("arrived") - before["arrived"])[tool],
        "wait": lambda seconds: now.__setitem__(0, now[0] + seconds),
        "until_full_hour": 3600 - START % 3600,
        "asked": asked,
        "human": human,
        "swap": swap,
        "slug": f"hero-{next(_numbers)}",
    }
    exec(compile(recipe.attack, f"docs/recipes.md: {recipe.title}", "exec"), names)
    return names["damage"]


def test_there_are_enough():
    assert len(RECIPES) >= 10


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.title)
def test_the_attack_succeeds_without_the_rule_and_fails_with_it(recipe, sandbox, tmp_path):
    without, with_rule = recipe.expected
    assert with_rule < without
    lock = (
        Lock.of(ToolInfo(t.name, "pictify", t.description, t.input_schema) for t in sandbox.tools)
        if recipe.lock
        else None
    )
    assert recipe.lock or recipe.rule != recipe.without
    assert damage(recipe, recipe.without, None, sandbox, tmp_path) == without
    assert damage(recipe, recipe.rule, lock, sandbox, tmp_path) == with_rule
