"""``guarded-tools approvals``: answer, from here, the questions of agents that run elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from guarded_tools.approval.remembered import remembered, revoke
from guarded_tools.approval.withdrawal import withdraw
from guarded_tools.approvers import card
from guarded_tools.approvers.conversation import TITLE
from guarded_tools.approvers.editor import edit_in, editor
from guarded_tools.approvers.inbox import POLL, Question, Receipt, answer, first_answer, is_open, questions
from guarded_tools.approvers.keyboard import Keyboard, find_terminal
from guarded_tools.approvers.protocol import Unanswered, who, withdrawn_by
from guarded_tools.approvers.terminal import ask_at_terminal
from guarded_tools.cli.app import FINE, PROBLEMS, UNREADABLE
from guarded_tools.cli.console import out, say
from guarded_tools.cli.options import State, StateAnywhere, Url, opened
from guarded_tools.control.actions import write_down
from guarded_tools.errors import CannotAsk
from guarded_tools.flow import run
from guarded_tools.stores import Store
from guarded_tools.text.redaction import mask
from guarded_tools.text.tables import Cell, Table, to_rich
from guarded_tools.text.units import remaining, whose
from guarded_tools.text.visible import plain
from guarded_tools.values import Verdict, session_scope

app = typer.Typer(
    cls=StateAnywhere,
    add_completion=False,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
    help="Answer waiting questions. Every command takes --store and --state.",
)
_STATE = "guarded_tools.state"
Id = Annotated[str, typer.Argument(metavar="ID", help="The question, or the first letters of its id.")]
Seal = Annotated[str, typer.Option("--seal", help="Answer only if this is still what `show` showed.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask me to confirm.")]


@app.callback()
def approvals(context: typer.Context, store: Url = None, state: State = None) -> None:
    """List the questions that wait for a human, and answer them."""
    context.obj = opened(store, state)
    context.meta[_STATE] = state
    if context.invoked_subcommand is None:
        _list(context.obj)


@app.command()
def show(context: typer.Context, question: Id) -> None:
    """Show one question in full, and its seal."""
    asked = _find(context.obj, question)
    _print(asked, Console(), full=True)
    say(f"seal {asked.seal}")


@app.command()
def approve(
    context: typer.Context,
    question: Id,
    remember: Annotated[str, typer.Option(help="once, same (these arguments) or tool (ANY arguments).")] = "once",
    seal: Seal = "",
    yes: Yes = False,
) -> None:
    """Let the call run as it is shown."""
    asked = _find(context.obj, question)
    offers: dict[str, str] = {"once": "this once", **card.durations(asked.request)}
    if remember not in offers:
        raise _stopped(f"this question can be approved {', '.join(offers)}; not {plain(remember, 40)}", PROBLEMS)
    _confirm(asked, seal, yes, f"approve {offers[remember]}")
    covers: dict[str, Literal["once", "same", "tool"]] = {"once": "once", "same": "same", "tool": "tool"}
    _tell(answer(context.obj, asked, Verdict.approve(covers[remember], by=who())))


@app.command()
def edit(
    context: typer.Context,
    question: Id,
    args: Annotated[str, typer.Option("--args", help="The arguments, as JSON. Default: edit them in $EDITOR.")] = "",
    seal: Seal = "",
    yes: Yes = False,
) -> None:
    """Let the call run with other arguments."""
    asked = _find(context.obj, question)
    try:
        edited = card.parse_edit(args or _in_editor(card.editable(asked.request.args)))
    except ValueError as error:
        raise _stopped(f"the arguments were not accepted: {plain(str(error))}", PROBLEMS) from None
    _confirm(asked, seal, yes, "run it with these arguments", edited)
    _tell(answer(context.obj, asked, Verdict.edit(edited, by=who())))


@app.command()
def reject(
    context: typer.Context,
    question: Id,
    message: Annotated[str, typer.Option(help="Why; the model is told.")] = "",
) -> None:
    """Refuse the call."""
    _tell(answer(context.obj, _find(context.obj, question), Verdict.reject(message, by=who())))


@app.command()
def respond(
    context: typer.Context,
    question: Id,
    message: Annotated[str, typer.Option(help="What the model gets as the tool's answer.")],
) -> None:
    """Answer the model in place of the tool."""
    _tell(answer(context.obj, _find(context.obj, question), Verdict.respond(message, by=who())))


@app.command("withdraw")
def withdraw_(
    context: typer.Context,
    session: Annotated[str, typer.Option("--session", help="The agent session whose questions are taken back.")],
) -> None:
    """Take back all questions of a session that wait, also those of suspended runs; an answer runs nothing then."""
    gone = withdraw(session, store=context.obj)
    said = f"{who()} withdrew the open questions of {session_scope(session)} ({gone})"
    write_down(context.meta[_STATE], "(withdraw)", said)
    say(f"{gone} open questions of {plain(session, 80)} are withdrawn: what they asked about does not run.")


@app.command()
def watch(context: typer.Context) -> None:
    """Show each question as it comes, and read the answer here, until Ctrl-C."""
    store: Store = context.obj
    try:
        find_terminal()
    except CannotAsk as why:
        how = "list the questions with `guarded-tools approvals`, and answer with `guarded-tools approvals approve ID`"
        raise _stopped(f"there is no terminal to ask at ({why}): {how}", UNREADABLE) from None
    say("Waiting for questions; Ctrl-C ends this.")
    try:
        while True:
            # One that was answered is not among them, unless its agent did not accept the answer and waits on.
            waiting = [question for question in questions(store) if question.closes_at > time.time()]
            for question in waiting[:1]:
                _ask_here(store, question)
            if not waiting:
                time.sleep(POLL)
    except KeyboardInterrupt:
        raise typer.Exit(FINE) from None


@app.command("remembered")
def remembered_(
    context: typer.Context,
    session: Annotated[str, typer.Option(help="Only this session.")] = "",
    revoke_id: Annotated[str, typer.Option("--revoke", metavar="ID", help="Forget this approval.")] = "",
) -> None:
    """List the approvals that cover later calls, or revoke one."""
    if revoke_id:
        if not run(revoke(context.obj, revoke_id)):
            raise _stopped(f"no approval {plain(revoke_id, 40)} is remembered", PROBLEMS)
        say(f"{plain(revoke_id, 40)} is forgotten: the next such call is asked about")
        return
    entries = run(remembered(context.obj, session or None))
    if not entries:
        say("No approval is remembered.")
        return
    rows = []
    for entry in entries:
        covers = f"these arguments: {plain(entry.args, 200)}" if entry.covers == "same" else "ANY arguments"
        left = remaining(entry.expires_at - time.time())
        rows.append([entry.id, entry.tool, covers, _whose(entry.session, entry.grant), entry.by, left])
    _print_table(("ID", "tool", "covers", "session", "by", "for another"), rows)


def _list(store: Store) -> None:
    waiting = questions(store)
    if not waiting:
        say("No question waits.")
        return
    rows = []
    for question in waiting:
        request = question.request
        brief = " ".join(row.text.strip() for row in card.arguments(request.args))
        left = remaining(question.closes_at - time.time())
        rows.append(
            [
                question.id,
                request.tool,
                request.risk,
                brief[:120],
                _whose(request.session, request.grant),
                question.asker,
                left,
            ]
        )
    _print_table(("ID", "tool", "risk", "arguments", "session", "asked by", "for another"), rows)


def _print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    out().print(to_rich(Table(columns, [[Cell(mask(text), limit=300) for text in row] for row in rows])))


def _whose(session: str, grant: str | None) -> str:
    return "".join(whose(session, grant, ", acting for "))


def _find(store: Store, prefix: str) -> Question:
    found = [question for question in questions(store) if question.id.startswith(prefix)]
    if not prefix:
        waiting = ", ".join(question.id for question in found) or "none"
        raise _stopped(f"an empty ID names no question; those that wait: {waiting}", UNREADABLE)
    if len(found) == 1:
        return found[0]
    if found:
        raise _stopped(
            f"{plain(prefix, 40)} could be any of {', '.join(question.id for question in found)}", UNREADABLE
        )
    first = first_answer(store, prefix)
    why = f"it was answered: {plain(first)}" if first else "it was answered or has expired, or never was"
    raise _stopped(f"no question {plain(prefix, 40)} waits: {why}", PROBLEMS)


def _print(question: Question, console: Console, *, full: bool) -> None:
    left = remaining(question.closes_at - time.time())
    title = f"Question {question.id} of {plain(question.asker, 80)}, process {question.pid}; open another {left}"
    console.print(card.to_rich(card.rows(question.request, full=full), title, console.width))


def _confirm(question: Question, seal: str, yes: bool, what: str, edited: Mapping[str, Any] | None = None) -> None:
    """Make sure that what is answered is what was looked at."""
    if seal and seal != question.seal:
        raise _stopped(
            "the question is not what `show` showed: somebody altered it. Look again before you answer", PROBLEMS
        )

    def display(console: Console) -> None:
        if edited is None:
            _print(question, console, full=not (seal or yes))
        else:
            console.print(card.to_rich(card.diff(question.request.args, edited), "Your edit", console.width))

    if seal or yes:
        display(Console())
    elif not _says_yes(f"{what}? y or n", max(question.closes_at - time.time(), 0.0), display):
        raise _stopped("nothing was answered", PROBLEMS)


def _says_yes(prompt: str, seconds: float, display: Callable[[Console], None]) -> bool:
    """Show something at the terminal, and ask there whether to do it; what was typed before it stood there is lost."""
    try:
        terminal = find_terminal()
    except CannotAsk:
        display(Console())
        raise _stopped(
            "nobody is here to confirm: look with `show`, then pass --seal, or pass --yes", UNREADABLE
        ) from None
    try:
        with Keyboard(terminal, time.monotonic() + seconds) as keyboard:
            console = keyboard.console()
            display(console)
            console.file.close()
            with keyboard.raw():
                return keyboard.line(prompt).lower() in ("y", "yes")
    except (Unanswered, CannotAsk) as why:
        raise _stopped(f"nothing was answered: {why}", PROBLEMS) from None


def _became(receipt: Receipt) -> str:
    said = {
        "taken": "answered: the agent goes on with it",
        "late": "too late: the question was answered or has expired",
        "second": f"somebody was first: {receipt.detail}",
        "refused": f"the agent does not accept it: {receipt.detail}",
        "unclaimed": "nobody picked the answer up yet: the asking program may be gone,"
        " and then the answer expires with the question",
    }[receipt.kind]
    return plain(said)


def _tell(receipt: Receipt) -> None:
    if receipt.kind != "taken":
        raise _stopped(_became(receipt), PROBLEMS)
    say(_became(receipt))


def _ask_here(store: Store, question: Question) -> None:
    request = replace(question.request, timeout=max(question.closes_at - time.time(), 0.0))
    try:
        with _taken_back_when_closed(store, question):
            verdict = ask_at_terminal(request, f"{TITLE}: question {question.id}")
    except Unanswered:
        first = first_answer(store, question.id)
        say(f"  {question.id} is closed: {plain(first) or 'nobody waits for it any more'}")
    else:
        receipt = answer(store, question, verdict)
        if receipt.kind != "taken":
            say(f"  {question.id}: {_became(receipt)}")


@contextmanager
def _taken_back_when_closed(store: Store, question: Question) -> Iterator[None]:
    """Withdraw the question here once it was answered elsewhere, or its agent gave it up."""
    closed, done = threading.Event(), threading.Event()

    def look() -> None:
        while not done.wait(POLL):
            if not is_open(store, question) or first_answer(store, question.id):
                closed.set()
                return

    threading.Thread(target=look, daemon=True).start()
    try:
        with withdrawn_by(closed):
            yield
    finally:
        done.set()


def _in_editor(text: str) -> str:
    command = editor()
    if not command:
        raise _stopped("set EDITOR, or pass the arguments with --args", UNREADABLE)
    try:
        return edit_in(command, text)
    except ValueError as error:
        raise _stopped(f"{error}; set EDITOR, or pass the arguments with --args", UNREADABLE) from None


def _stopped(why: str, code: int) -> typer.Exit:
    say(f"error: {why}", err=True)
    return typer.Exit(code)
