"""Every Python block and every command of the README and the docs runs as printed, page by page, in a state of its own."""

import json
import os
import re
import shlex
import sys
import threading
import time
from pathlib import Path
from typing import get_args

import pytest
import typer

import guarded_tools
from guarded_tools import Guard, InboxApprover, Policy, ToolCall, ToolDenied, open_store
from guarded_tools.approval.result import Cause
from guarded_tools.approvers.inbox import answer, first_answer, questions
from guarded_tools.audit.refusals import REFUSED
from guarded_tools.cli.app import _app
from guarded_tools.mcp_session.generation import installed
from guarded_tools.values import Verdict
from release.pages import GRAPH, POLICY, PRELUDE, blocks
from tests import forked, messages

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OTHERS = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "benchmarks").rglob("README.md"))]

WHERE = {"langchain_mcp_adapters": 1, "deepagents": 1, "langchain.mcp": 2, "fastmcp": 2}
"""The generation of MCP that is installed beside a package. Tests of that one run the blocks that import it."""


def running(page: Path) -> list[str]:
    """The code of a page that runs with what is installed here."""
    return [
        block
        for block in blocks(page)
        if all(
            here == installed()
            for name, here in WHERE.items()
            if re.search(rf"^\s*(from|import) {name}\b", block, re.MULTILINE)
        )
    ]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_the_readme_has_code():
    assert len(blocks(ROOT / "README.md")) >= 3


def without_code(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=named)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not link.startswith("https://"):
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("name", sorted(set(guarded_tools.__all__) - {"__version__"}))
def test_a_page_speaks_of_every_public_name(name):
    assert any(re.search(rf"\b{name}\b", page.read_text()) for page in PAGES)


@pytest.mark.parametrize("page", [page for page in PAGES if running(page)], ids=named)
def test_code_blocks_run(page, tmp_path):
    script = tmp_path / "page.py"
    script.write_text("\n\n".join([PRELUDE, GRAPH, *running(page)]))
    (tmp_path / "policy.json").write_text(json.dumps(POLICY))
    for policy in blocks(page, "yaml")[:1]:
        (tmp_path / "policy.yaml").write_text(policy)
    done = forked.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=os.environ | {"GUARDED_TOOLS_HOME": str(tmp_path / "state")},
        stdin=forked.DEVNULL,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    if page.parent.name == "how-to" and running(page) == blocks(page):
        for shown in blocks(page, "text"):
            assert re.fullmatch(re.escape(shown).replace("…", ".*"), done.stdout), done.stdout


# Commands

COMMANDS = [
    page
    for page in (*PAGES, *OTHERS)
    # tests/authoring walks these, step by step.
    if blocks(page, "console") and page.name not in {"authoring.md", "policy-life.md", "agents-guide.md"}
]
# Never end by themselves: only their names and options are checked.
ENDLESS = ("approvals watch", "audit --follow", "top", "web", "gateway")
# Say with their exit code that they did nothing.
CAUTIOUS = ("reset",)
REDIS = "redis://counters.internal:6379"

WATCHED = {
    "version": "1",
    "default": "deny",
    "tools": {
        "pictify_list_templates": {"rate_limit": "1/hour"},
        "pictify_render": {"shadow": True, "action": "deny"},
        "note": {"risk": "write", "approval": {"remember": "same"}},
        "refund": {"approval": {"timeout": "1m"}},
    },
}
# For docs/policy.md: what its policy is compared with, and a file with the mistakes that it shows.
TOOLS = [
    {"name": "refund", "inputSchema": {"type": "object", "properties": {"amount": {}, "currency": {}}}},
    *({"name": name, "inputSchema": {"type": "object"}} for name in ("list_orders", "delete_order", "send_mail")),
]
MISTAKEN = """version: "1"
server: shop
defualt: deny
default: deny
tools:
  refund:
    limits:
      - counter: refunded
        window: fortnightly
        max: 5
"""
CASES = "cases: [{name: reads, tool: pictify_list_templates, args: {}, expect: allow}]"


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """A folder and a state in which something happened: calls that ran, were refused, limited, tried, remembered."""
    monkeypatch.setenv("GUARDED_TOOLS_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("EDITOR", "true")
    guard = Guard(Policy.model_validate(WATCHED), session="s1", approver=lambda _: Verdict.approve("same"))
    for tool in ("pictify_list_templates", "pictify_list_templates", "pictify_render", "note", "unheard_of"):
        call_of(guard, tool)
    guard.audit.close()
    guard.store.close()
    (tmp_path / "tools.json").write_text(json.dumps({"tools": TOOLS}))
    (tmp_path / "cases.yaml").write_text(CASES)
    return tmp_path


def call_of(guard, tool):
    try:
        return guard.call(ToolCall(tool, {"amount": 5}, session="s1"), lambda _: "ran")
    except ToolDenied as denied:
        return denied


@pytest.fixture
def question(prepared):
    """The id of a question that waits, asked anew where none does."""
    store = open_store(f"disk://{prepared / 'state'}")
    guard = Guard(
        Policy.model_validate(WATCHED), store=store, approver=InboxApprover(store), audit=prepared / "a.jsonl"
    )
    agents = []

    def unanswered():
        return [each for each in questions(store) if not first_answer(store, each.id)]

    def question():
        until = time.monotonic() + 10
        if not unanswered():
            agents.append(threading.Thread(target=call_of, args=(guard, "refund"), daemon=True))
            agents[-1].start()
        while not (waiting := unanswered()):
            assert time.monotonic() < until, "no question came"
            time.sleep(0.01)
        return waiting[0].id

    yield question
    for waiting in unanswered():
        answer(store, waiting, Verdict.reject())
    for agent in agents:
        agent.join(10)
    store.close()


@pytest.mark.parametrize("page", COMMANDS, ids=named)
def test_commands_run(page, cli, prepared, question):
    for name, policy in zip(("policy.json", "changed.json"), blocks(page, "json"), strict=False):
        (prepared / name).write_text(policy)
    for calls in blocks(page, "jsonl")[:1]:
        (prepared / "calls.jsonl").write_text(calls)
    for block in blocks(page, "console"):
        for line, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            program, *words = shlex.split(line.replace(REDIS, f"disk://{prepared / 'state'}"), comments=True)
            if program != "guarded-tools":
                assert_real(program, words)
                continue
            words, target = (words[:-2], words[-1]) if ">" in words else (words, None)
            assert_known(words)
            if " ".join(words).startswith(ENDLESS):
                continue
            if shown:
                (prepared / "policy.yaml").write_text(MISTAKEN)
            result = cli(*(answering(words, question()) if words[0] == "approvals" else words))
            if target:
                (prepared / target).write_text(result.out)
            if shown:
                assert result.out + result.err == shown
            else:
                assert result.code == (1 if words[0] in CAUTIOUS else 0), (line, result)
                assert not re.match("No |Nobody", result.out), (line, result)


def answering(words, asked):
    """The words with the id of a question that waits, and without the need for somebody to confirm."""
    sure = ["--yes"] if words[1:2] in (["approve"], ["edit"]) else []
    return [asked if word == "3f2a" else word for word in words] + sure


def test_commands_in_the_text_are_known():
    found = [
        (page.name, command) for page in PAGES for command in re.findall(r"`guarded-tools ([^`<…]+)`", page.read_text())
    ]
    assert len(found) > 10
    for _, command in found:
        assert_known(shlex.split(command))


def assert_known(words):
    """Look commands and options up, without running anything."""
    words = words[: words.index("--")] if "--" in words else words  # what follows is another program's
    command = typer.main.get_command(_app(words))
    assert words[0] in command.commands, words
    options = {"--help", "--"}
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
        options |= {option for parameter in command.params for option in parameter.opts}
    if words[:1] and (otherwise := getattr(command, "default", "")):
        options |= {option for parameter in command.commands[otherwise].params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= options, (command.name, words)


def test_every_command_has_its_row():
    rows = re.findall(r"^\| `([a-z ]+)` \| (.*?) \|", (ROOT / "docs" / "cli.md").read_text(), re.MULTILINE)
    assert dict(rows) == dict(summaries(typer.main.get_command(_app(["--help"]))))


def summaries(command, name=""):
    """Each command by its name, with the first line of its help; a group of commands as what it does by itself."""
    inside = getattr(command, "commands", {})
    by_itself = getattr(command, "default", "")
    if name:
        yield name, (command.help or inside[by_itself].help).partition("\n")[0]
    for each in set(inside) - {by_itself}:
        yield from summaries(inside[each], f"{name} {each}".strip())


def assert_real(program, words):
    """What sets up or takes minutes is not run here, but has to be there."""
    match [program, *words]:
        case ["make", target]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        case [".venv/bin/python", "-m", "benchmarks" | "benchmarks.agentdojo" as package, *arguments]:
            told = "".join(path.read_text() for path in (ROOT / package.replace(".", "/")).glob("*.py"))
            assert all(f'"{argument}"' in told for argument in arguments)
        case ["python", script, *_]:
            assert (ROOT / script).exists()
        case ["pip", "install", "dist/guarded_tools-*.whl"]:
            pass  # `make dist` installs it so, in environments of their own
        case ["pip", "install", what]:
            for extra in what.removeprefix("guarded-tools[").removesuffix("]").split(","):
                assert re.search(rf"^{extra} = ", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
        case ["export", setting]:
            assert f'"{setting.partition("=")[0]}"' in (ROOT / "guarded_tools/cli/options.py").read_text()
        case _:
            raise AssertionError(program)


# The site

NAV = (ROOT / ".ci" / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1].split("\n\n")[0]


def test_the_site_leads_to_every_page():
    """Pages outside of docs/ have their place from the root there, and a notebook or a source file is a page, too."""
    told = re.findall(r"([\w./-]+\.md)$", NAV, re.MULTILINE)
    modules = re.findall(r"^\| `(guarded_tools(?:\.\w+)?)` \|", (ROOT / "docs/api.md").read_text(), re.MULTILINE)
    wanted = {str(page.relative_to(ROOT / "docs")) for page in PAGES if page.parent != ROOT}
    wanted |= {f"api/{module}.md" for module in modules}
    wanted |= {f"{notebook.relative_to(ROOT)}.md" for notebook in (ROOT / "notebooks").glob("*.ipynb")}
    assert wanted <= set(told), f"name them under nav in .ci/mkdocs.yml: {sorted(wanted - set(told))}"
    assert len(told) == len(set(told))
    for page in set(told) - wanted:
        assert (ROOT / page).exists(), f"nav in .ci/mkdocs.yml names a page that is not there: {page}"


# Errors


@pytest.mark.parametrize("page", messages.PAGES, ids=named)
def test_what_an_error_page_quotes_is_said(page):
    for line in (line for at, line in messages.lines() if at == page):
        assert messages.letters(line) >= messages.LEAST, line
        assert any(messages.says(line, text) for text in messages.texts()), f"nothing says {line!r} any more"


def test_every_refusal_and_error_has_a_section():
    told = [line for _, line in messages.lines()]
    missing = [
        f"{where}: {text}" for where, text in messages.refusals() if not any(messages.says(line, text) for line in told)
    ]
    assert not missing, "name them in docs/errors, under ### or in a block of text:\n" + "\n".join(missing)


def test_every_kind_of_error_and_refusal_has_a_row():
    page = (ROOT / "docs" / "errors" / "README.md").read_text()
    rows = set(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE))
    assert messages.errors() | set(REFUSED) <= rows
    for where, rule in messages.rules():
        assert any(messages.says(rule, row) for row in rows), f"{where}: the rule {rule} has no row"
    causes = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "errors" / "unanswered.md").read_text().split("\n## ")[0]))
    assert set(get_args(Cause)) - {"human", "remembered"} <= causes
