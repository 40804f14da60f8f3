"""The demo itself: as a command, without a terminal and with a person at one."""

import importlib.util
import os
import re
import sys
from pathlib import Path

import pexpect
import pytest

from tests import forked

COMMAND = [sys.executable, "-m", "guarded_tools.cli", "demo"]


@pytest.fixture
def env(tmp_path):
    return {**os.environ, "GUARDED_TOOLS_HOME": str(tmp_path / "home"), "COLUMNS": "120"}


def run(*options, env):
    return forked.run([*COMMAND, *options], env=env, stdin=forked.DEVNULL, timeout=120)


def test_without_a_terminal_every_expectation_holds(env, tmp_path):
    done = run(env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    out = done.stdout
    assert "scripted chat model" in out
    assert "scripted answer" in out
    assert out.count("✓") == 10
    assert "✗" not in out
    waits = re.findall(r"limits/calls_per_minute\s+again in\s+([\d.]+) s", out)
    assert len(waits) == 3  # of ten alike the first are shown
    assert all(50 < float(wait) < 62 for wait in waits)
    audit = re.search(r"Audit file: (\S+)", out)[1]
    assert audit == str(tmp_path / "home" / "audit.jsonl")
    look = re.search(r"Look at it:  guarded-tools (.*)", out)[1].split()
    shown = forked.run([sys.executable, "-m", "guarded_tools.cli", *look], env=env)
    assert shown.returncode == 0
    assert "limited" in shown.stdout


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_recording_on_the_first_page_ends_as_it_does(env, theme):
    picture = (Path(__file__).parents[2] / "docs" / "images" / f"demo-{theme}.svg").read_text()
    shown = re.findall(r">✓</text><text[^>]*>([^<]*)<", picture)
    done = run("--yes", env=env)
    assert shown == re.findall(r"✓ (.*)", done.stdout)
    assert len(shown) == 10


def test_it_runs_again_at_once_because_each_run_is_a_session_of_its_own(env):
    for _ in range(2):
        assert run("--yes", env=env).returncode == 0


def at_terminal(env, *answers):
    child = pexpect.spawn(
        COMMAND[0], COMMAND[1:], env={**env, "TERM": "xterm"}, encoding="utf-8", timeout=60, dimensions=(50, 120)
    )
    for answer in answers:
        child.expect("A tool call waits for you")
        child.expect("your answer.*> ")
        first, *more = answer.split("\r")
        child.send(f"{first}\r")
        for line in more:  # what is typed before a question stands there is thrown away
            child.expect(r"why\?.*> ")
            child.send(f"{line}\r")
    child.expect(pexpect.EOF)
    child.close()
    return child


def test_a_person_at_the_terminal_is_really_asked(env):
    child = at_terminal(env, "a", "a", "t")
    assert child.exitstatus == 0, child.before
    assert "scripted answer" not in child.before
    assert child.before.count("✓") == 10


def test_a_person_who_says_no_leaves_the_invariants(env):
    child = at_terminal(env, "a", "r\rnot now", "r\rno", "r\rno", "r\rno")
    assert child.exitstatus == 0, child.before
    assert child.before.count("✓") == 3


def test_an_expectation_that_fails_fails_the_demo(env, tmp_path):
    """Use up the session's calls beforehand: nothing can be tracked, and the demo must say so."""
    from guarded_tools import open_store

    store = open_store(f"disk://{tmp_path / 'home'}")
    store.halt("global", "a test")
    store.close()
    done = run(env=env)
    assert done.returncode == 1
    assert "✗" in done.stdout


@pytest.mark.parametrize(
    ("model", "said"), [("openai:gpt-5", "pip install langchain-openai"), ("foo", "provider:name"), ("foo:bar", "foo")]
)
def test_a_model_that_is_not_there_is_one_line(env, model, said):
    if model.startswith("openai") and importlib.util.find_spec("langchain_openai"):
        pytest.skip("langchain_openai is installed")
    done = run("--model", model, env=env)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


PROVIDER = """
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult


class ChatOllama(BaseChatModel):
    model: str

    @property
    def _llm_type(self):
        return "fake"

    def bind_tools(self, tools, **_):
        return self

    def _generate(self, messages, *_, **__):
        if self.model == "locked":
            raise RuntimeError("401: incorrect key sk-proj-abcdefghijklmnopqrstuvwxyz0123456789\\n\\nand more")
        call = {"name": "pictify_list_templates", "args": {}, "id": str(len(messages))}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("", tool_calls=[call]))])
"""


@pytest.fixture
def provider(env, tmp_path):
    """A provider whose model fails, or never comes to an end."""
    if importlib.util.find_spec("langchain_ollama"):
        pytest.skip("langchain_ollama is installed")
    (tmp_path / "langchain_ollama.py").write_text(PROVIDER)
    path = [str(tmp_path), *filter(None, [env.get("PYTHONPATH")])]
    return {**env, "PYTHONPATH": os.pathsep.join(path)}


def test_a_model_that_fails_is_one_line_without_its_key(provider):
    done = run("--model", "ollama:locked", env=provider)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --model ollama:locked: 401: incorrect key ")
    assert done.stderr.count("\n") == 1
    assert "abcdefghijklm" not in done.stderr


def test_a_model_that_never_ends_is_stopped_and_the_invariants_decide(provider):
    done = run("--model", "ollama:loops", env=provider)
    assert done.returncode == 0, done.stderr
    assert "was stopped" in done.stdout
    assert done.stdout.count("✓") == 3
