"""The example of a service under load: 1,000 users counted by two workers, and what it costs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks import redis
from benchmarks.common import RATIO, Row, ratio, table
from guarded_tools.audit import read

ROOT: Final = Path(__file__).parent.parent
WORKERS: Final = 2
CONNECTIONS: Final = 64
KEPT: Final = 5  # requests of a connection: whichever worker is free takes the next one
LIMIT: Final = 5
MORE: Final = 2
EACH: Final = 100  # amounts that are kept for one user: a payment's amount says whose it is, and which of them
BLOCK: Final = 320
STARTS_S: Final = 60.0
POLICY: Final = {
    "version": "1",
    "default": "deny",
    "tools": {"refund": {"limits": [{"counter": "refunds", "window": "hour", "max": LIMIT}]}},
}


class Answer(NamedTuple):
    """What a request was answered, and after how many seconds."""

    amount: int
    paid: bool
    took: float


class Service:
    """Two workers of the example behind one port, and what their tool wrote down."""

    def __init__(self, room: Path, store: str) -> None:
        (room / "policy.json").write_text(json.dumps(POLICY), encoding="utf-8")
        self.audit = room / "state" / "audit.jsonl"
        self._effects = room / "effects"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        words = ["-m", "uvicorn", "--app-dir", str(ROOT / "docs" / "examples"), "benchmarks.service_app:app"]
        words += ["--workers", str(WORKERS), "--port", str(self._port), "--no-access-log", "--log-level", "warning"]
        env = {"POLICY": str(room / "policy.json"), "EFFECTS": str(self._effects)}
        env |= {"GUARDED_TOOLS_HOME": str(room / "state"), "GUARDED_TOOLS_STORE": store}
        self._process = subprocess.Popen([sys.executable, *words], cwd=ROOT, env={**os.environ, **env})
        self._users = 0

    def effects(self) -> list[tuple[int, int]]:
        """What was paid so far, each with the worker that paid it."""
        lines = self._effects.read_text(encoding="ascii").splitlines()
        return [(int(amount), int(worker)) for amount, worker in (line.split() for line in lines)]

    def amounts(self, users: int, calls: int) -> list[int]:
        """Payments of so many users who never asked before, mixed."""
        first, self._users = self._users, self._users + users
        mixed = [user * EACH + call for user in range(first, first + users) for call in range(calls)]
        random.Random(first).shuffle(mixed)
        return mixed

    def ask(self, path: str, amounts: Sequence[int]) -> list[Answer]:
        """Ask for these payments over many connections, on each one after the other."""

        async def all_of_them() -> list[Answer]:
            shares = [amounts[start::CONNECTIONS] for start in range(CONNECTIONS)]
            answers = await asyncio.gather(*(_client(self._port, path, share) for share in shares))
            return [answer for some in answers for answer in some]

        return asyncio.run(all_of_them())

    def wait(self) -> None:
        """Come back once every worker has answered."""
        until = time.monotonic() + STARTS_S
        while True:
            with contextlib.suppress(OSError):
                self.ask("/bare", self.amounts(CONNECTIONS, 1))
                if len({worker for _, worker in self.effects()}) == WORKERS:
                    return
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("the service did not start")
            time.sleep(0.1)

    def stop(self) -> None:
        """End it as its supervisor would."""
        self._process.terminate()
        self._process.wait(STARTS_S)


async def _client(port: int, path: str, amounts: Sequence[int]) -> list[Answer]:
    """Ask one after the other, on a connection that is another one every now and then."""
    answers = []
    for start in range(0, len(amounts), KEPT):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answers += [await _request(port, path, amount, reader, writer) for amount in amounts[start : start + KEPT]]
        writer.close()
    return answers


async def _request(
    port: int, path: str, amount: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Answer:
    """Ask for one payment; as little of HTTP as that takes."""
    body = json.dumps({"amount": amount}).encode()
    head = [
        f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Content-Type: application/json",
        f"X-User: user-{amount // EACH}", f"Content-Length: {len(body)}", "", "",
    ]  # fmt: skip
    began = time.perf_counter()
    writer.write("\r\n".join(head).encode() + body)
    told = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b" 200 " not in told.splitlines()[0]:
        raise RuntimeError(f"{path}: {told!r}")
    said = json.loads(await reader.readexactly(int(told.partition(b"content-length:")[2].split()[0])))["said"]
    took = time.perf_counter() - began
    paid = said == f"paid {amount}"
    if not paid and not said.startswith("DENIED"):
        raise RuntimeError(said)
    return Answer(amount, paid, took)


def counted(service: Service, users: int, where: str) -> Iterator[Row]:
    """Have every user ask for two payments more than their limit, and compare answers, payments and the audit."""
    before = len(service.effects())
    began = time.perf_counter()
    answers = service.ask("/refunds", service.amounts(users, LIMIT + MORE))
    took = time.perf_counter() - began
    effects = service.effects()[before:]
    paid = Counter(amount // EACH for amount, _ in effects)
    refused = len(answers) - sum(answer.paid for answer in answers)
    rate = f"{len(answers) / took:.0f} requests a second over {CONNECTIONS} connections"
    note = f"{len(effects):,} ran, {refused:,} were refused; {rate}"
    wrong = sum(paid[user] != LIMIT for user in {answer.amount // EACH for answer in answers})
    yield Row(f"users of {users:,} who were paid more or less than {LIMIT} times, {where}", wrong, "users", 0, note)
    workers = Counter(worker for _, worker in effects)
    note = " and ".join(f"{number:,}" for _, number in workers.most_common()) + " payments"
    yield Row(f"workers that paid, {where}", len(workers), "workers", WORKERS, note, at_least=True)
    told, done = sorted(answer.amount for answer in answers if answer.paid), sorted(amount for amount, _ in effects)
    settled = sum(line["kind"] == "settled" and line["outcome"] == "ok" for line in read(service.audit))
    amiss = 0 if told == done else max(1, abs(len(told) - len(done)))
    amiss += abs(settled - len(done)) + abs(refused - users * MORE)
    note = f"{len(answers):,} answers, {len(done):,} lines of the tool, {settled:,} of the audit"
    yield Row(f"calls of which answer, effect and audit differ, at least, {where}", amiss, "calls", 0, note)


def speed(service: Service, blocks: int, where: str) -> Iterator[Row]:
    """What the service gets through, over the same app without the guard: blocks of both take turns."""
    seconds: dict[str, list[float]] = {"/bare": [], "/refunds": []}
    waits: dict[str, list[float]] = {"/bare": [], "/refunds": []}
    for block in range(blocks):
        for path in sorted(seconds, reverse=block % 2 == 1):
            amounts = service.amounts(BLOCK // LIMIT, LIMIT)
            began = time.perf_counter()
            answers = service.ask(path, amounts)
            seconds[path].append(time.perf_counter() - began)
            waits[path] += [answer.took * 1000 for answer in answers]
    rates = {path: BLOCK / statistics.median(took) for path, took in seconds.items()}
    note = f"{rates['/refunds']:.0f}/s over {rates['/bare']:.0f}/s, {CONNECTIONS} at a time, all on this machine"
    name = f"guarded requests a second, over bare ones, {where}"
    yield Row(name, ratio(seconds["/refunds"], seconds["/bare"]), RATIO, 0.25, note, at_least=True)
    for name, of in (("p50", 0.5), ("p99", 0.99)):
        ours, bare = (_quantile(waits[path], of) for path in ("/refunds", "/bare"))
        note = f"{ours:.0f} ms over {bare:.0f} ms"
        yield Row(f"{name} of a guarded request, over a bare one, {where}", ours / bare, RATIO, None, note)


def _quantile(values: Sequence[float], of: float) -> float:
    return sorted(values)[min(int(len(values) * of), len(values) - 1)]


def rows(quick: bool = False) -> Iterator[Row]:
    """Measure on disk, and on Redis where it is installed; ``quick`` takes a fifth of the users."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        stores = {"on disk": ""}
        if shutil.which("redis-server") is not None:
            stores["on Redis"] = stack.enter_context(redis.server())
        for where, url in stores.items():
            room = Path(folder) / where
            room.mkdir(mode=0o700)
            service = Service(room, url)
            try:
                service.wait()
                yield from counted(service, 200 if quick else 1000, where)
                yield from speed(service, 6 if quick else 24, where)
            finally:
                service.stop()


if __name__ == "__main__":
    print(table(rows("--quick" in sys.argv)))
