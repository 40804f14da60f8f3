"""What a beginner meets when something is not as it has to be: each message names the cause and what to do next."""

from __future__ import annotations

import gc
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from guarded_tools import ConnectionFailed, Guard, Policy, PolicyError, TerminalApprover, ToolCall, ToolDenied
from guarded_tools import guarded_tools as open_servers
from guarded_tools.errors import GuardError, install
from tests import forked

POLICY = {"version": "1", "default": "deny", "tools": {"t": {}, "asked": {"approval": True}}}

# As in an environment into which only the package itself was installed.
BARE = """
import importlib.metadata, json, sys, traceback

ABSENT = {absent!r}
real = importlib.metadata.version

class NotThere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

def version(name):
    if name.replace("-", "_") in ABSENT | {{"langchain_mcp_adapters"}}:
        raise importlib.metadata.PackageNotFoundError(name)
    return real(name)

sys.meta_path.insert(0, NotThere())
importlib.metadata.version = version
said = []
for statement in {statements!r}:
    try:
        exec(statement, {{}})
        said.append("")
    except Exception as error:
        said.append(f"{{type(error).__name__}}: {{error}}")
print(json.dumps(said))
"""

ABSENT = {
    *(
        "langchain",
        "langgraph",
        "mcp",
        "fastmcp",
        "redis",
        "matplotlib",
        "anywidget",
        "IPython",
        "starlette",
        "uvicorn",
    ),
    *("jinja2", "pyarrow", "opentelemetry", "genai_prices", "langchain_mcp_adapters"),
}
GUARD = "from guarded_tools import Guard, Policy; guard = Guard(Policy.model_validate({'version': '1', 'default': 'deny'}), store='memory://');"
ASKING = (
    "from guarded_tools import Guard, InterruptApprover, Policy, ToolCall;"
    "policy = Policy.model_validate({'version': '1', 'default': 'deny', 'tools': {'t': {'approval': True}}});"
    "guard = Guard(policy, store='memory://', approver=InterruptApprover());"
)
NEEDS = {
    f"{GUARD} guard.middleware()": ("LangChain's agents are not installed", "agent"),
    f"{GUARD} guard.interceptor": ("interceptors are langchain-mcp-adapters' own", "adapters"),
    f"{ASKING} guard.call(ToolCall('t', dict()), lambda _: 'ran')": ("cannot ask without LangGraph", "agent"),
    "from guarded_tools import pictify_tools\nwith pictify_tools(sandbox=True): pass": (
        "the MCP SDK is not installed",
        "mcp",
    ),
    "from guarded_tools import open_store; open_store('redis://127.0.0.1')": (
        "a store on Redis needs the redis package",
        "redis",
    ),
    "from guarded_tools import plots; plots.overview('x')": ("matplotlib is not installed", "notebook"),
    "from guarded_tools import resume_with_buttons as r; r(None, {}, {'configurable': {'thread_id': '1'}})": (
        "IPython is not installed",
        "notebook",
    ),
    "from guarded_tools.telemetry import opentelemetry": ("OpenTelemetry's API is not installed", "otel"),
    "from guarded_tools.audit.parquet import _write; _write((), (), 'x')": ("pyarrow is not installed", "parquet"),
    "from guarded_tools.policy.model_prices import *; from guarded_tools.policy.model_prices import _listed; "
    "_listed('openai:x', Tokens(1, 1))": ("no price is known of openai:x", "budget"),
    "from guarded_tools.cli.web import web; web()": ("which the page needs, is not installed", "web"),
    "from guarded_tools.cli.demo.run import demo\ntry: demo(again='')\nexcept SystemExit: pass": (
        "LangChain's agents, of which the demo runs one, are not installed",
        "agent",
    ),
}


def test_a_missing_extra_is_named_with_the_command_that_installs_it():
    code = BARE.format(absent=ABSENT, statements=list(NEEDS))
    done = subprocess.run([forked.PYTHON, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for (statement, (said, extra)), message in zip(NEEDS.items(), json.loads(done.stdout), strict=True):
        assert said in message, (statement, message)
        assert install(extra) in message, (statement, message)
        assert "\n" not in message


def test_there_is_one_way_to_say_how_an_extra_is_installed():
    root = Path(sys.modules["guarded_tools"].__file__).parent
    written = [path.name for path in root.rglob("*.py") if re.search("pip install ['\"]?guarded", path.read_text())]
    assert written == ["errors.py"]


# Policies


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.yaml").write_text(json.dumps(POLICY))
    return tmp_path


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("polcy.yaml", "polcy.yaml: cannot be read: No such file or directory (did you mean policy.yaml?)"),
        ("policy.json", "policy.json: cannot be read: No such file or directory (did you mean policy.yaml?)"),
        (
            "polices/policy.yaml",
            "polices/policy.yaml: cannot be read: No such file or directory (there is no folder {}/polices)",
        ),
        ("standrad", "standrad: there is no file and no preset of that name (did you mean standard?)"),
        ("{}", "{}: cannot be read: Is a directory (name a file in it, such as {}/policy.yaml)"),
        ("empty.yaml", "empty.yaml: is empty: no policy is in it (guarded-tools scan drafts a policy)"),
        (
            "bare/x.yaml",
            "bare/x.yaml: cannot be read: No such file or directory (there is none in {}/bare: guarded-tools init writes one)",
        ),
    ],
)
def test_a_path_that_leads_to_no_policy(folder, cli, path, said):
    (folder / "empty.yaml").touch()
    (folder / "bare").mkdir()
    path, said = (text.replace("{}", str(folder)) for text in (path, said))
    with pytest.raises(PolicyError) as refused:
        Guard(path)
    assert str(refused.value) == said
    ran = cli("validate", path)
    assert (ran.code, ran.out + ran.err) == (2, f"{said}\n")


# Humans and models


def test_no_terminal(tmp_path, monkeypatch):
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        guard = Guard(
            Policy.model_validate(POLICY), store="memory://", audit=tmp_path / "a.jsonl", approver=TerminalApprover()
        )
        with pytest.raises(ToolDenied) as denied:
            guard.call(ToolCall("asked", {}), lambda _: "ran")
    assert "TerminalApprover found no terminal to ask at (standard input is not a terminal)" in str(denied.value)
    assert "InboxApprover answers from another terminal" in str(denied.value)


def test_no_approver(tmp_path):
    guard = Guard(Policy.model_validate(POLICY), store="memory://", audit=tmp_path / "a.jsonl")
    with pytest.raises(ToolDenied, match=r"no approver was given to the guard: pass approver=TerminalApprover\(\)"):
        guard.call(ToolCall("asked", {}), lambda _: "ran")


@pytest.fixture
def agent(tmp_path):
    """Makes an agent with one guarded tool on a model."""
    from langchain.agents import create_agent
    from langchain_core.tools import tool

    @tool
    def t() -> str:
        """Do nothing."""
        return "done"

    guard = Guard(Policy.model_validate(POLICY), store="memory://", audit=tmp_path / "a.jsonl")
    return lambda model, *tools: create_agent(model, [*tools, t], middleware=[guard.middleware()])


async def test_a_model_that_takes_no_tools(agent):
    from langchain_core.language_models import FakeListChatModel

    agent = agent(FakeListChatModel(responses=["hello"]))
    said = "the chat model FakeListChatModel takes no tools, so no agent with tools can run on it: take one that does"
    with pytest.raises(GuardError, match=said):
        agent.invoke({"messages": [("user", "hi")]})
    with pytest.raises(GuardError, match=said):
        await agent.ainvoke({"messages": [("user", "hi")]})


def test_another_error_of_a_model_stays_what_it_is(agent):
    from guarded_tools.testing import ScriptedModel

    class Unfinished(ScriptedModel):
        def _generate(self, *args, **kwargs):
            raise NotImplementedError("not yet")

    with pytest.raises(NotImplementedError, match="not yet"):
        agent(Unfinished([])).invoke({"messages": [("user", "hi")]})


# Two guards


def test_two_guards_on_one_state_directory_share_its_counters(tmp_path):
    """Each goes by its own policy; what both count under one name is one counter, and a refusal says whose limit it is."""

    def limited(most):
        tools = {"t": {"limits": [{"counter": "c", "window": "hour", "max": most}]}}
        return Guard(
            Policy.model_validate({"version": "1", "default": "deny", "tools": tools}), state=tmp_path, session="s"
        )

    with limited(3) as narrow, limited(5) as wide:
        for guard in (narrow, wide, narrow, wide):
            assert guard.call(ToolCall("t", {}), lambda _: "ran") == "ran"
        with pytest.raises(ToolDenied, match=r"a limit of 3 in an hour is used up \(4 used\)"):
            narrow.call(ToolCall("t", {}), lambda _: "ran")
        assert wide.call(ToolCall("t", {}), lambda _: "ran") == "ran"
        with pytest.raises(ToolDenied, match=r"a limit of 5 in an hour is used up"):
            wide.call(ToolCall("t", {}), lambda _: "ran")


# Disks


def refusal(guard, session):
    try:
        guard.call(ToolCall("t", {}, session=session), lambda _: "ran")
    except ToolDenied as denied:
        return str(denied)
    return ""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk(tmp_path, cli):
    small = tmp_path / "small"
    small.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=400k,mode=700", "tmpfs", str(small)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    guard = Guard(Policy.model_validate(POLICY), state=small)
    try:
        assert guard.call(ToolCall("t", {}), lambda _: "ran") == "ran"
        filler = small / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * 512):
                    pass
            except OSError:
                pass
        denied = next(filter(None, (refusal(guard, f"s{number}") for number in range(1_000))))
        assert "the guard could not do its work" in denied
        assert f"free some space: df -h {small}" in denied
        ran = cli("halt", "--state", small)
        assert ran.code == 2
        assert "No space left on device; free some space: df -h" in ran.err
        filler.unlink()
        assert guard.call(ToolCall("t", {}), lambda _: "ran") == "ran"
    finally:
        guard.close()
        del guard
        gc.collect()  # what errors still hold of a connection holds the file system as well
        subprocess.run(["umount", str(small)], check=True)


# Servers


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["npx", "-y", "x"], "the command 'npx' was not found on PATH. It comes with Node.js: https://nodejs.org."),
        (["uvx", "x"], "the command 'uvx' was not found on PATH. It comes with uv: https://docs.astral.sh/uv."),
        (["./server"], "the command './server' was not found on PATH. Install it, or name it by its whole path."),
    ],
)
def test_a_command_that_is_not_there(cli, monkeypatch, tmp_path, command, said):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli("scan", "--", *command).err == f"error: {said}\n"
    servers = {"x": {"command": command[0], "args": command[1:]}}
    with (
        pytest.raises(ConnectionFailed, match="was not found on PATH"),
        open_servers(servers, policy=Policy.model_validate(POLICY)),
    ):
        pass


def test_a_server_that_dies_at_once(cli):
    silent = cli("scan", "--", sys.executable, "-c", "raise SystemExit(3)")
    by_itself = shlex.join((sys.executable, "-c", "raise SystemExit(3)"))
    assert f"ended before it answered; it said nothing, so run it by itself to see why: {by_itself}" in silent.err
    said = cli("scan", "--", sys.executable, "-c", "raise SystemExit('no database')")
    assert "ended before it answered" in said.err
    assert "no database" in said.err
    assert "by itself" not in said.err


def test_a_server_that_is_not_listening(cli):
    assert "127.0.0.1 could not be reached" in cli("scan", "--url", "http://127.0.0.1:9/mcp").err
