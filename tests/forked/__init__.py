"""Python programs in processes of their own that start at once, for most of a suite's time went into imports.

A server that has imported LangGraph, MCP and what else programs of tests begin with is started once, and forks for each
program. What it forks is a process like any other: it can be killed, has its own standard streams, terminal,
environment, directory and exit code, and ends as Python ends. Only what it imports may be there already. So this is
not for tests of importing, of fork and of how Python comes to its end.

- :class:`Popen` and :func:`run` start such a program from a test.
- ``sys.executable`` is a :mod:`launcher <tests.forked.launcher>` wherever tests run and in all that they start: what
  libraries, the product itself and terminals start as Python comes to be in the same way.
- :data:`PYTHON` is the interpreter, for tests of Python's own beginning and end.

The server has imported, and nothing else: no thread of it runs, no lock of it is held and no store of it is open when
it forks. It is one for all workers of a run, and ends with the run.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Self

from tests.forked import launcher

PIPE, DEVNULL, STDOUT = subprocess.PIPE, subprocess.DEVNULL, subprocess.STDOUT
PYTHON = os.environ.get("TESTS_FORKED_PYTHON", sys.executable)
"""The interpreter itself, which has imported nothing."""


def launch() -> None:
    """Have ``sys.executable`` of this process be the launcher."""
    sys.executable = os.environ["TESTS_FORKED_LAUNCHER"]


def start() -> None:
    """Start the server, of which this process and those that it starts learn by the environment."""
    folder = Path(tempfile.mkdtemp(prefix="forked"))
    script = folder / "python"
    script.write_text(f"#!{PYTHON} -IS\n{Path(launcher.__file__).read_text()}")
    script.chmod(0o700)
    os.environ |= {"TESTS_FORKED_PYTHON": PYTHON, "TESTS_FORKED_LAUNCHER": str(script)}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / launcher.SERVER))
        listener.listen(1000)
        words = [PYTHON, "-m", "tests.forked.server", str(listener.fileno()), str(script)]
        server = subprocess.Popen(
            words, stdin=PIPE, pass_fds=[listener.fileno()], cwd=Path(__file__).parents[2], start_new_session=True
        )

    us = os.getpid()

    def stop() -> None:
        if os.getpid() == us:
            server.stdin.close()
            server.wait()
            shutil.rmtree(folder)

    atexit.register(stop)


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
        assert self.args[0] == sys.executable, "no launcher of forks"
        server = str(Path(self.args[0]).with_name(launcher.SERVER))
        theirs: list[int] = []
        self.stdin = self._ours(theirs, 0, stdin, "w")
        self.stdout = self._ours(theirs, 1, stdout, "r")
        self.stderr = self._ours(theirs, 2, stderr, "r")
        where = os.fspath(Path.cwd() if cwd is None else cwd)
        env = dict(os.environ if env is None else env)
        self._lock = threading.Lock()
        self._code: int | None = None
        self._socket = launcher.hand_over(server, self.args[1:], theirs, where, env)
        for handle in theirs:
            os.close(handle)
        self.pid = launcher.receive(self._socket)
        assert self.pid is not None, "the server is gone"
        _running.add(self)  # or the program would be killed when nobody holds this object

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
        return self._ended(0)

    def _ended(self, timeout: float | None) -> int | None:
        if self._lock.acquire(timeout=-1 if timeout is None else timeout):
            try:
                if self._code is None:
                    self._socket.settimeout(timeout)
                    code = launcher.receive(self._socket)
                    self._code = -signal.SIGKILL if code is None else code
                    _running.discard(self)
            except (BlockingIOError, TimeoutError):
                pass
            finally:
                self._lock.release()
        return self._code

    def poll(self) -> int | None:
        """As :attr:`returncode`."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        if self._ended(timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return self._code

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(bytes([number]))

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


_running: set[Popen] = set()
