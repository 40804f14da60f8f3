"""What the demo shows: calls as they happen, and a table of them at the end."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table

from guarded_tools.text import tables
from guarded_tools.text.tables import Cell, Content, to_rich
from guarded_tools.text.tones import look
from guarded_tools.values import AuditEvent

RAN = ("ok", "error", "unknown")
_SHOWN_REFUSALS = 3


class Report:
    """Counts audit events by tool and outcome, and draws them while they come in."""

    def __init__(self, console: Console) -> None:
        self.events: list[AuditEvent] = []
        self.console = console
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._live: Live | None = None

    def __call__(self, event: AuditEvent) -> None:
        """Take note of one event; an observer of the guard."""
        with self._lock:
            self.events.append(event)
            if event.kind not in ("settled", "refused") or event.outcome is None:
                return
            self._counts[event.tool, event.outcome] += 1
            alike = self._counts[event.tool, event.outcome]
        if event.kind == "refused" and alike <= _SHOWN_REFUSALS:
            wait = "" if event.retry_after is None else f" [bold]again in {event.retry_after:.3f} s[/]"
            self.console.print(f"  [red]refused[/] {event.tool}  [dim]{event.rule}[/]{wait}", highlight=False)
        if self._live is not None:
            self._live.update(self.table())

    def count(self, tool: str, *outcomes: str) -> int:
        """How many calls of ``tool`` ended in one of ``outcomes``."""
        return sum(self._counts[tool, outcome] for outcome in outcomes)

    @contextmanager
    def live(self) -> Iterator[None]:
        """Keep the table on the screen while the agent works."""
        with Live(self.table(), console=self.console, refresh_per_second=12, transient=True) as self._live:
            yield
        self._live = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take the table off the screen while a human is asked."""
        live = self._live
        if live is not None:
            live.stop()
        try:
            yield
        finally:
            if live is not None:
                live.start(refresh=True)

    def table(self) -> Table:
        """Calls by tool and outcome."""
        outcomes = sorted({outcome for _, outcome in self._counts}, key=lambda name: (name not in RAN, name))
        tools = dict.fromkeys(tool for tool, _ in self._counts)
        rows: list[list[Content]] = [[tool, *(self._number(tool, outcome) for outcome in outcomes)] for tool in tools]
        return to_rich(tables.Table(("tool", *outcomes), rows, "Calls by tool and outcome", numbers=outcomes))

    def _number(self, tool: str, outcome: str) -> Cell:
        number = self._counts[tool, outcome]
        return Cell(str(number) if number else "", look(outcome).tone)
