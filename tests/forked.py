"""Python programs in processes of their own that start at once, for most of a suite's time went into imports.

A server that has imported LangGraph, MCP and what else programs of tests begin with is started once, and forks for each
program. What it forks is a process like any other: it can be killed, has its own standard streams, environment,
directory and exit code, and ends as Python ends. Only what it imports may be there already. So this is not for
tests of importing, of terminals, of fork and of how Python comes to its end.

The server has imported, and nothing else: no thread of it runs, no lock of it is held and no store of it is open when
it forks.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Self

PIPE, DEVNULL, STDOUT = subprocess.PIPE, subprocess.DEVNULL, subprocess.STDOUT

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.forked", "tests.forked_imports"])


class Popen:
    """As :class:`subprocess.Popen`, with text in the pipes, for ``argv`` that begins with this Python."""

    def __init__(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        stdin: int | IO[str] | None = None,
        stdout: int | IO[str] | None = None,
        stderr: int | IO[str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.args = [os.fspath(word) for word in argv]
        assert self.args[0] == sys.executable
        theirs: list[int] = []
        self.stdin = self._ours(theirs, 0, stdin, "w")
        self.stdout = self._ours(theirs, 1, stdout, "r")
        self.stderr = self._ours(theirs, 2, stderr, "r")
        handles = [Connection(handle) for handle in theirs]
        where = os.fspath(Path.cwd() if cwd is None else cwd)
        self._process = _context.Process(
            target=_become, args=(self.args[1:], handles, where, dict(os.environ if env is None else env))
        )
        self._process.start()
        atexit.register(self.kill)  # before multiprocessing waits for all there are
        for handle in handles:
            handle.close()
        self.pid = self._process.pid
        assert self.pid is not None

    def _ours(self, theirs: list[int], number: int, asked: int | IO[str] | None, mode: str) -> IO[str] | None:
        """Open a standard stream: our end is returned, if there is a pipe, and theirs is put with the others."""
        if asked == PIPE:
            read, write = os.pipe()
            theirs.append(read if mode == "w" else write)
            return os.fdopen(write if mode == "w" else read, mode)
        if asked == DEVNULL:
            theirs.append(os.open(os.devnull, os.O_RDWR))
        elif asked == STDOUT:
            theirs.append(os.dup(theirs[1]))
        else:
            theirs.append(os.dup(number if asked is None else asked if isinstance(asked, int) else asked.fileno()))
        return None

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; ``None`` while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """As :attr:`returncode`."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, input: str | None = None, timeout: float | None = None) -> tuple[str | None, str | None]:  # noqa: A002
        """Write, read to the end of both pipes, and wait for its end."""
        said: dict[str, str] = {}

        def read(name: str, stream: IO[str]) -> None:
            said[name] = stream.read()

        streams = [(name, one) for name, one in (("out", self.stdout), ("err", self.stderr)) if one and not one.closed]
        readers = [threading.Thread(target=read, args=each, daemon=True) for each in streams]
        for reader in readers:
            reader.start()
        if self.stdin is not None and not self.stdin.closed:
            with contextlib.suppress(BrokenPipeError), self.stdin:
                self.stdin.write(input or "")
        self.wait(timeout)
        for reader in readers:
            reader.join()
        for _, stream in streams:
            stream.close()
        return said.get("out"), said.get("err")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self.wait()


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    input: str | None = None,  # noqa: A002
    timeout: float | None = None,
    check: bool = False,
    stdin: int | IO[str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """As :func:`subprocess.run`, with both outputs captured."""
    given = stdin if input is None else PIPE
    process = Popen(argv, stdin=given, stdout=PIPE, stderr=PIPE, cwd=cwd, env=env)
    try:
        out, err = process.communicate(input, timeout)
    except BaseException:
        process.kill()
        raise
    done = subprocess.CompletedProcess(process.args, process.wait(), out, err)
    if check:
        done.check_returncode()
    return done


def _become(words: list[str], streams: list[Connection], cwd: str, env: dict[str, str]) -> None:
    """Be ``python words…`` from here on."""
    for number, stream in enumerate(streams):
        os.dup2(stream.fileno(), number)
        stream.close()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, closefd=False)  # noqa: SIM115 - for as long as the process is
        for number, mode in enumerate(("r", "w", "w"))
    )
    sys.path[1:1] = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if words[0] == "-m":
            sys.argv, sys.path[0] = words[1:], cwd
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        elif words[0] == "-c":
            sys.argv, sys.path[0] = ["-c", *words[2:]], cwd
            main = sys.modules["__main__"].__dict__
            main["__name__"] = "__main__"
            exec(compile(words[1], "<string>", "exec"), main)
        else:
            sys.argv, sys.path[0] = words, str(Path(words[0]).parent)
            runpy.run_path(words[0], run_name="__main__")
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
