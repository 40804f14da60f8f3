"""The demo's agent, its two processes, and what must be true when they are done."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from guarded_tools.approvers.protocol import Approver
from guarded_tools.cli.demo.report import RAN, Report
from guarded_tools.cli.demo.script import FLOOD, LAST, TASK, scenario
from guarded_tools.errors import GuardError, ToolDenied, not_installed
from guarded_tools.testing import ScriptedModel
from guarded_tools.text.redaction import mask
from guarded_tools.values import ApprovalRequest, Verdict

TRACK = "pictify_track_experiment_events"
HIDDEN = "pictify_delete_experiment"
LIMIT = 30


def demo(
    yes: Annotated[bool, typer.Option("--yes", help="Answer every question with a scripted yes.")] = False,
    model: Annotated[str, typer.Option(help="Let your own model drive: provider:name.")] = "",
    state: Annotated[Path | None, typer.Option(help="State directory; the user's own by default.")] = None,
    again: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Run an agent against a local Pictify, through the guard. No key, no network."""
    if again:
        raise typer.Exit(asyncio.run(_second_process(again, state)))
    raise typer.Exit(asyncio.run(_demo(scripted_yes=yes, model=model, state=state)))


def _introduce(console: Console, session: str, model: str, human: _Human) -> None:
    console.rule("[bold]guarded_tools demo")
    console.print(f"Agent session [bold]{session}[/], policy [bold]standard[/], a local Pictify over MCP stdio.")
    console.print(
        "A [bold]scripted chat model[/] plays the agent: no language model is involved."
        if not model
        else f"The agent is driven by [bold]{model}[/].",
    )
    if not human.really:
        console.print("No terminal to ask at (or --yes): a [bold]scripted answer[/] stands in for the human.")


async def _demo(*, scripted_yes: bool, model: str, state: Path | None) -> int:
    try:
        from langchain.agents import create_agent
    except ImportError:
        raise not_installed("LangChain's agents, of which the demo runs one, are not installed", "agent") from None
    from guarded_tools.pictify.connection import pictify_tools

    console = Console()
    session = f"demo-{secrets.token_hex(3)}"
    report = Report(console)
    human = _Human(report, really=sys.stdin.isatty() and sys.stdout.isatty() and not scripted_yes)
    driver: Any = ScriptedModel(scenario, last=LAST) if not model else _real_model(model)
    _introduce(console, session, model, human)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        arrivals = Path(folder, "arrivals.jsonl")
        async with pictify_tools(
            policy="standard",
            state=state,
            session=session,
            approver=human,
            sandbox=("--log", str(arrivals)),
            observers=[report],
        ) as tools:
            guard = tools.guard
            agent = create_agent(driver, list(tools), middleware=[guard.middleware()])
            with report.live():
                last_words = await _let_work(agent, model)
        arrived = _arrived(arrivals)
    console.print(f"[bold]agent:[/] {escape(last_words)}")
    console.print("A second process opens the same state and tries once more:")
    second = await asyncio.to_thread(_run_again, session, state)
    console.print(f"  [dim]{escape(second['said'])}[/]", highlight=False)

    console.print(report.table())
    audit = guard.audit.path
    console.print(f"Audit file: {audit}", soft_wrap=True, highlight=False)
    option = f" --state {state}" if state else ""
    console.print(f"Look at it:  {_command()} audit --session {session}{option}", soft_wrap=True, highlight=False)
    expectations = _invariants(report, arrived)
    if not model and human.as_scripted:
        expectations |= _expectations(report, arrived, second)
    for sentence, held in expectations.items():
        console.print(f"  {'[green]✓' if held else '[red]✗'}[/] {sentence}", highlight=False)
    console.print(f"[dim]{time.perf_counter() - began:.1f} s[/]")
    return 0 if all(expectations.values()) else 1


async def _let_work(agent: Any, model: str) -> str:
    """Let the agent work until it says that it is done, or has had its time; return its last words.

    Raises:
        GuardError: the user's model failed.
    """
    from langgraph.errors import GraphRecursionError

    try:
        result = await agent.ainvoke({"messages": [{"role": "user", "content": TASK}]}, {"recursion_limit": 4 * FLOOD})
    except GraphRecursionError:
        return f"(It went on and on, and was stopped after {2 * FLOOD} turns.)"
    except GuardError:
        raise
    except Exception as error:
        if not model:
            raise
        raise GuardError(f"--model {model}: {_one_line(error)}") from None
    return str(result["messages"][-1].text)


def _invariants(report: Report, arrived: Counter[str]) -> dict[str, bool]:
    """List what must hold whatever the agent does and the human answers."""
    refused = Counter(event.tool for event in report.events if event.kind == "refused")
    admitted = Counter(event.tool for event in report.events if event.kind == "admitted")
    return {
        f"never more than {LIMIT} reports of events ran ({arrived[TRACK]} reached the server)": arrived[TRACK] <= LIMIT,
        "nothing hidden ran": not arrived[HIDDEN] and not arrived["pictify_delete_template"],
        f"nothing refused reached the server ({refused.total()} refused, {arrived.total()} arrived)": all(
            arrived[tool] <= admitted[tool] for tool in {*arrived, *refused}
        ),
    }


def _expectations(report: Report, arrived: Counter[str], second: dict[str, Any]) -> dict[str, bool]:
    """List what the scripted agent and the scripted answers must lead to."""
    waits = [e for e in report.events if e.kind == "refused" and e.tool == TRACK and e.outcome == "limited"]
    asked = {event.tool for event in report.events if event.kind == "asked"}
    return {
        "the agent could list and read": all(
            report.count(f"pictify_{tool}", "ok") for tool in ("list_templates", "list_experiments", "get_template")
        ),
        "a human was asked before the experiment was created and started": {
            "pictify_create_experiment",
            "pictify_start_experiment",
        }
        <= asked
        and report.count("pictify_start_experiment", "ok") == 1,
        f"of {FLOOD} reports {LIMIT} ran": report.count(TRACK, *RAN) == arrived[TRACK] == LIMIT,
        f"{FLOOD - LIMIT} were refused, each naming its rule and the wait": len(waits) == FLOOD - LIMIT
        and all(event.retry_after and TRACK in event.rule for event in waits),
        "the hidden tool was refused": report.count(HIDDEN, "denied") == 1,
        "the out-of-schema call was refused before it reached the server": report.count(
            "pictify_create_image", "denied"
        )
        == 1
        and not arrived["pictify_create_image"],
        "the limit holds in a second process": second["outcome"] == "limited",
    }


class _Human:
    """Asks at the terminal, or answers as the script says; and remembers whether the answers were the script's."""

    def __init__(self, report: Report, *, really: bool) -> None:
        from guarded_tools.approvers.terminal import TerminalApprover

        self.really = really
        self.as_scripted = True
        self._report = report
        self._terminal: Approver | None = TerminalApprover() if really else None

    async def __call__(self, request: ApprovalRequest) -> Verdict | bool:
        scripted = Verdict.approve("tool" if request.tool == TRACK else "once", by="script")
        if self._terminal is None:
            self._report.console.print(
                f"  [yellow]asked[/]   {request.tool} → scripted answer: yes"
                + (", for the rest of this session" if scripted.remember == "tool" else ""),
                highlight=False,
            )
            return scripted
        with self._report.paused():
            answer: Any = await asyncio.to_thread(self._terminal, request)
        self.as_scripted &= answer.kind == "approve" and (request.tool != TRACK or answer.remember == "tool")
        return answer  # type: ignore[no-any-return]


def _command() -> str:
    """Name our command so that it can be pasted: as it was called where it is not on the path."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "guarded-tools" and shutil.which("guarded-tools") is None else "guarded-tools"


def _arrived(log: Path) -> Counter[str]:
    lines = log.read_text().splitlines() if log.exists() else []
    return Counter(row["tool"] for row in map(json.loads, lines) if row["state"] == "arrived")


def _real_model(name: str) -> Any:
    from langchain.chat_models import init_chat_model

    try:
        return init_chat_model(name)
    except Exception as error:  # noqa: BLE001 - each provider complains of a missing package or key in its own way
        raise GuardError(f"--model {name} (it takes provider:name, such as openai:gpt-5): {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    """What somebody else's error says first; it may quote the key."""
    return mask(" ".join(str(error).partition("\n\n")[0].split()))[:400]


def _run_again(session: str, state: Path | None) -> dict[str, Any]:
    """Start this command once more, as a process of its own, on the same state."""
    command = [sys.executable, "-m", "guarded_tools.cli", "demo", "--again", session]
    done = subprocess.run(  # noqa: S603 - our own command
        [*command, *(["--state", str(state)] if state else [])],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"NO_COLOR": "1"},
    )
    try:
        said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return {"outcome": "failed", "said": done.stderr.strip() or "the second process said nothing"}
    return said


async def _second_process(session: str, state: Path | None) -> int:
    from guarded_tools.pictify.connection import pictify_tools

    call: Callable[..., Any]
    async with pictify_tools(policy="standard", state=state, session=session, sandbox=True, on_denied="raise") as tools:
        call = next(tool for tool in tools if tool.name == TRACK).ainvoke
        try:
            await call({"events": [{"event": "impression", "experiment": "newsletter-banner", "variantId": "calm"}]})
            said = {"outcome": "ok", "said": "the call ran"}
        except ToolDenied as denied:
            said = {"outcome": denied.outcome, "said": str(denied)}
    typer.echo(json.dumps(said))
    return 0
