"""Asks in a notebook: under the cell that runs, or with buttons that resume a LangGraph run."""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import itertools
import threading
import time
from collections.abc import Iterator, Sequence

from guarded_tools.approvers import card
from guarded_tools.approvers.buttons import resume_with_buttons
from guarded_tools.approvers.conversation import converse
from guarded_tools.approvers.protocol import Unanswered, kernel, withdrawn
from guarded_tools.errors import CannotAsk
from guarded_tools.text.units import countdown
from guarded_tools.values import ApprovalRequest, Verdict

__all__ = ["NotebookApprover", "resume_with_buttons"]

_TICK = 0.1
_turn = threading.Lock()  # a kernel that waits for two inputs at once hangs
_numbers = itertools.count(1)
_given_up = threading.Event()


class NotebookApprover:
    """Shows each call under the cell that runs, and reads what to do about it from the cell's input box.

    Works with every front end that can answer ``input()``. Parallel questions take turns. Interrupting the kernel
    takes the question back.

    Raises:
        CannotAsk: outside a Jupyter kernel, or where nobody can type (nbclient, papermill, a build of documents).
    """

    def check(self, request: ApprovalRequest) -> None:
        """Raise :class:`CannotAsk` where there is no cell to ask under."""
        running = kernel()
        if running is None:
            raise _cannot(request, "outside a Jupyter kernel")
        if not getattr(running, "_allow_stdin", True):
            raise _cannot(request, "in a notebook that runs without anybody at it")

    def __call__(self, request: ApprovalRequest) -> Verdict:
        """Ask, and return the answer."""
        deadline = time.monotonic() + request.timeout
        with _my_turn(deadline):
            return converse(request, _Cell(request, deadline))


def _cannot(request: ApprovalRequest, where: str) -> CannotAsk:
    return CannotAsk(
        f"{request.tool} needs a human's approval, and NotebookApprover cannot ask {where}. Run the cell in "
        "JupyterLab, Notebook or VS Code, or give the guard another approver: InboxApprover answers from a terminal, "
        "and InterruptApprover with resume_with_buttons() asks after the cell has returned"
    )


@contextlib.contextmanager
def _my_turn(deadline: float) -> Iterator[None]:
    while not _turn.acquire(timeout=_TICK):
        _stop_if_over(deadline)
    try:
        yield
    finally:
        _turn.release()


def _stop_if_over(deadline: float) -> None:
    if withdrawn():
        raise Unanswered("the question was taken back")
    if time.monotonic() >= deadline:
        raise Unanswered("nobody answered in time")


class _Cell:
    """The output and the input box of a cell, for one question."""

    def __init__(self, request: ApprovalRequest, deadline: float) -> None:
        self._request = request
        self._deadline = deadline
        self._code = str(next(_numbers)) if _given_up.is_set() else ""

    def line(self, prompt: str) -> str:
        if not self._code:
            return self._input(prompt).strip()
        # The box of a question that was given up may still be open; what is typed there must not answer this one.
        while True:
            typed = self._input(f"{prompt}, then a space and {self._code}").strip()
            if f" {typed}".endswith(f" {self._code}"):
                return typed.removesuffix(self._code).strip()

    def _input(self, prompt: str) -> str:
        """Call ``input()`` where it can be abandoned: in a thread that an exception of ours ends."""
        ended: list[str | BaseException] = []
        left = max(self._deadline - time.monotonic(), 0)

        def read() -> None:
            try:
                ended.append(input(f"{prompt} [{countdown(left)} left] > "))
            except BaseException as error:  # noqa: BLE001 - belongs to the one who asks
                ended.append(error)

        reader = threading.Thread(target=contextvars.copy_context().run, args=(read,), daemon=True)
        reader.start()
        try:
            while reader.is_alive():
                reader.join(_TICK)
                if reader.is_alive():
                    _stop_if_over(self._deadline)
        except BaseException:
            _given_up.set()
            _abandon(reader)
            raise
        typed = ended[0]
        if isinstance(typed, str):
            return typed
        if type(typed).__name__ == "StdinNotImplementedError":
            raise _cannot(self._request, "in a notebook that runs without anybody at it") from typed
        raise typed

    def show(self, rows: Sequence[card.CardRow], title: str) -> None:
        _display(card.rows_to_html(rows, title))

    def say(self, lines: Sequence[str]) -> None:
        if lines:
            print("\n".join(lines), flush=True)  # noqa: T201 - the cell's output is where we talk

    def edit(self, text: str) -> str:
        _display(
            card.rows_to_html([card.CardRow(line, "argument") for line in text.splitlines()], "To copy and change")
        )
        return self.line("all arguments, as a JSON object")


class _Abandoned(BaseException):
    """Ends an ``input()`` that nobody waits for."""


def _abandon(reader: threading.Thread) -> None:
    # The kernel's input() looks for messages a hundred times a second, so this reaches it at once.
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(reader.ident or 0), ctypes.py_object(_Abandoned))
    reader.join(1)


def _display(fragment: str) -> None:
    from IPython.display import HTML, display

    display(HTML(fragment))  # type: ignore[no-untyped-call]
