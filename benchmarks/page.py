"""What the page costs: how long its pages take on a large state, and what agents lose while ten people look."""

from __future__ import annotations

import contextlib
import http.client
import json
import multiprocessing
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from benchmarks import page_state, redis
from benchmarks.common import RATIO, Row, number, table
from benchmarks.page_viewer import Page, Tabs, opened
from guarded_tools import Guard, Policy, ToolCall, open_store

PROCESSES: Final = 8
THINK_S: Final = 0.01
PHASE_S: Final = 1.0
CATCHES_UP_S: Final = 0.5
LATER: Final = 15
PROMISED_MS: Final = 200.0
# A store that was just opened looks at its directory at every call, and a page that was just opened counts the day.
SETTLED_S: Final = 4.0
KINDS: Final = ("saturated", "thinking")
TABS: Final = ("/approvals",) * 3 + ("/now",) * 3 + ("/limits", "/sessions", "/stop", "/policy")


def paths(story: str) -> dict[str, str]:
    """Every page, and those that look for something."""
    session = quote(json.dumps("session:session-000010"))
    return {
        "approvals": "/approvals",
        "the last approvals": f"/approvals?from={page_state.QUESTIONS - 10}",
        "now with its charts": "/now",
        "now, one tool's": "/now?tool=refund",
        "limits": "/limits",
        "limits of a session": "/limits?kind=session&name=session-000777",
        "sessions": "/sessions",
        "a session": f"/session?scope={session}",
        "policy": "/policy",
        "policy, a call explained": f"/policy?tool=refund&args={quote(json.dumps({'amount': 5}))}",
        "stop": "/stop",
        "a call's story": f"/call?key={quote(json.dumps(story))}",
        "a story that is not there": f"/call?key={quote(json.dumps('no such call'))}",
    }


class Served(NamedTuple):
    """What a page is opened on, and what that is called."""

    home: Path
    url: str
    policy: Path
    where: str

    def opened(self) -> contextlib.AbstractContextManager[Page]:
        """Serve it."""
        return opened(self.home, self.url, self.policy)


def views(state: Served, story: str, starts: int) -> Iterator[Row]:
    """Each page's first view in a process that started as long ago as it takes to open a link, and later ones."""
    first: dict[str, list[View]] = {}
    later: dict[str, list[View]] = {}
    for start in range(starts):
        with state.opened() as page, contextlib.closing(page.connect()) as there:
            time.sleep(1.0)
            first.setdefault("the live stream's first news", []).append(View(page.first_news() * 1000, 0.0))
            _view(page, there, story, first)
            if start == starts - 1:
                time.sleep(SETTLED_S)
                for _ in range(LATER):
                    _view(page, there, story, later)
    for kind, took in (("first view", first), ("later views", later)):
        for at, of in enumerate(("median", "median of what its process computed")):
            each = sorted(
                ((statistics.median(view[at] for view in some), name) for name, some in took.items()), reverse=True
            )
            note = ", ".join(f"{name} {number(time_)}" for time_, name in each)
            yield Row(f"the slowest page {state.where}, {kind}, {of}", each[0][0], "ms", PROMISED_MS, note)


class View(NamedTuple):
    """How long a page took, and for how long its process computed meanwhile, in milliseconds."""

    took: float
    computed: float


def _view(page: Page, there: http.client.HTTPConnection, story: str, views: dict[str, list[View]]) -> None:
    for name, path in paths(story).items():
        busy, began = page.seconds(), time.perf_counter()
        page.get(there, path)
        took = time.perf_counter() - began
        views.setdefault(name, []).append(View(took * 1000, (page.seconds() - busy) * 1000))


class Phase(NamedTuple):
    """What all processes got through a second, and how long the slowest call of any took, in milliseconds."""

    rate: float
    worst: float


def _write(number: int, home: str, url: str, turns: int, *, ready: Any, told: Any) -> None:
    """Admit calls through a whole guard, for as long as a phase lasts, whenever all are ready."""
    guard = Guard(Policy.model_validate(page_state.POLICY), store=open_store(url), audit=Path(home) / "audit.jsonl")
    call = ToolCall("note", {"text": "x"}, f"writer-{number}")
    guard.call(call, lambda _: "done")
    for _ in range(turns):
        for kind in KINDS:
            ready.wait(300)
            admitted, worst, now = 0, 0.0, time.perf_counter()
            end = now + PHASE_S
            while now < end:
                began = now
                guard.call(call, lambda _: "done")
                now = time.perf_counter()
                admitted, worst = admitted + 1, max(worst, now - began)
                if kind == "thinking":
                    time.sleep(THINK_S)
                    now = time.perf_counter()
            told.put((kind, admitted, worst))
    guard.audit.close()
    guard.store.close()


class Watched(NamedTuple):
    """What came of the phases of one kind: with the page and without, by turns, and how the tabs fared meanwhile."""

    alone: dict[str, list[Phase]]
    watched: dict[str, list[Phase]]
    fetched: list[float]
    busy: float


def crowd(state: Served, rounds: int) -> Watched:
    """Have eight processes write, by turns while ten tabs are open and while the page's process is stopped."""
    context = multiprocessing.get_context("spawn")
    ready, told = context.Barrier(PROCESSES + 1), context.Queue()
    words = [(number, str(state.home), state.url, 2 * rounds) for number in range(PROCESSES)]
    processes = [context.Process(target=_write, args=each, kwargs={"ready": ready, "told": told}) for each in words]
    for process in processes:
        process.start()
    found, busy = Watched({kind: [] for kind in KINDS}, {kind: [] for kind in KINDS}, [], 0.0), 0.0
    with state.opened() as page:
        tabs = Tabs(page, TABS)
        time.sleep(2 * SETTLED_S)
        for turn in range(2 * rounds):
            # One first, then the other, so that neither is always behind the same.
            if turn % 4 in {0, 3}:
                time.sleep(CATCHES_UP_S)
                tabs.count()
                before = page.seconds()
                _phases(found.watched, ready, told)
                busy += page.seconds() - before
                found.fetched.extend(tabs.count())
            else:
                with page.stopped():
                    time.sleep(CATCHES_UP_S)
                    _phases(found.alone, ready, told)
        tabs.close()
    for process in processes:
        process.join()
    return found._replace(busy=busy / (rounds * len(KINDS) * PHASE_S))


def _phases(into: dict[str, list[Phase]], ready: Any, told: Any) -> None:
    for kind in KINDS:
        ready.wait(300)
        each = [told.get(timeout=300) for _ in range(PROCESSES)]
        assert {one[0] for one in each} == {kind}
        into[kind].append(Phase(sum(one[1] for one in each) / PHASE_S, max(one[2] for one in each) * 1000))


def admissions(state: Served, rounds: int) -> Iterator[Row]:
    """What agents get through while ten people look, over what they get through alone."""
    found = crowd(state, rounds)
    each_second = len(found.fetched) / (rounds * len(KINDS) * PHASE_S)
    looking = (
        f"ten tabs fetched {number(each_second)} pages a second, half of them within "
        f"{statistics.median(found.fetched) * 1000:.0f} ms; the page took {found.busy:.2f} of a core"
    )
    for kind in KINDS:
        alone, watched = found.alone[kind], found.watched[kind]
        ratio = statistics.median(one.rate / other.rate for one, other in zip(watched, alone, strict=True))
        rates = [statistics.median(phase.rate for phase in phases) for phases in (watched, alone)]
        worst = [statistics.median(phase.worst for phase in phases) for phases in (watched, alone)]
        note = (
            f"{number(rates[0])}/s over {number(rates[1])}/s; the longest call {worst[0]:.0f} ms over {worst[1]:.0f} ms"
        )
        name = f"admissions of {PROCESSES} {kind} processes {state.where} while ten tabs look, over nobody"
        yield Row(name, ratio, RATIO, 0.9, f"{note}; {looking}", at_least=True)


def rows(quick: bool = False) -> Iterator[Row]:
    """Measure on disk, and on Redis where it is installed; ``quick`` takes a state of a fiftieth."""
    scale, rounds = (0.02, 3) if quick else (1.0, 12)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        home, policy = Path(folder) / "state", Path(folder) / "policy.json"
        home.mkdir(mode=0o700)
        policy.write_text(json.dumps(page_state.POLICY), encoding="utf-8")
        story = page_state.fill_audit(home, scale)
        stores = {"on disk": f"disk://{home}"}
        if shutil.which("redis-server") is not None:
            stores["on Redis"] = stack.enter_context(redis.server())
        for where, url in stores.items():
            page_state.fill_store(url, scale)
            state = Served(home, url, policy, where)
            yield from views(state, story, 2 if quick else 5)
            yield from admissions(state, rounds)
        yield Row("the state on the disk", page_state.size(home) / 1e6, "MB", note=page_state.about(scale))


if __name__ == "__main__":
    print(table(rows("--quick" in sys.argv)))
