"""The server of :mod:`tests.forked`: ``python -m tests.forked.server``, given its socket's number and the launcher.

Each connection is a program: what its process is to be comes in, then the numbers of signals for it; its pid goes out,
then its exit code. Where the other end closes, nobody waits for the program any more, and it is killed. The server ends,
and kills what still runs, when its standard input closes, which is a pipe of the tests'.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import importlib
import marshal
import os
import runpy
import selectors
import signal
import socket
import sys
import termios
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

PATH = sys.path[1:]


class Server:
    """Forks programs, and tells how they end."""

    def __init__(self, listener: socket.socket, lifeline: int) -> None:
        self._listener = listener
        self._running: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._selector.register(lifeline, selectors.EVENT_READ, self._stop)
        woken, waker = socket.socketpair()
        woken.setblocking(False)
        waker.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        self._waker = waker
        self._selector.register(woken, selectors.EVENT_READ, lambda: self._collect(woken))

    def serve(self) -> NoReturn:
        """Until nobody is there to serve."""
        while True:
            for key, _ in self._selector.select():
                key.data()

    def _stop(self) -> NoReturn:
        for pid in self._running:
            os.kill(pid, signal.SIGKILL)
        for pid in self._running:
            os.waitpid(pid, 0)
        sys.exit()

    def _accept(self) -> None:
        """Become a program, in a process of its own."""
        connection, _ = self._listener.accept()
        head, streams, _, _ = socket.recv_fds(connection, 4, 3)
        body = connection.makefile("rb", buffering=0)
        said = b""
        while head and len(said) < int.from_bytes(head, "big"):
            more = body.read(int.from_bytes(head, "big") - len(said))
            if not more:
                break
            said += more
        if not said or len(said) < int.from_bytes(head, "big"):  # killed before it had said it
            for handle in streams:
                os.close(handle)
            connection.close()
            return
        pid = os.fork()
        if not pid:
            become(streams, *marshal.loads(said))
        for handle in streams:
            os.close(handle)
        self._running[pid] = connection
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._asked(pid, connection))
        self._say(connection, pid)

    def _asked(self, pid: int, connection: socket.socket) -> None:
        """Send the program what signals came, or end it if nobody is there any more."""
        if self._running.get(pid) is not connection:  # it ended, and was collected, since this was heard
            return
        try:
            numbers = connection.recv(100)
        except OSError:
            numbers = b""
        if not numbers:
            self._selector.unregister(connection)
        for number in numbers or [signal.SIGKILL]:
            os.kill(pid, number)  # it is ours until we have collected it

    def _collect(self, woken: socket.socket) -> None:
        """Tell how programs ended."""
        with contextlib.suppress(BlockingIOError):
            while woken.recv(100):
                pass
        for pid, connection in list(self._running.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self._running[pid]
                with contextlib.suppress(KeyError):
                    self._selector.unregister(connection)
                self._say(connection, os.waitstatus_to_exitcode(status))
                connection.close()

    @staticmethod
    def _say(connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError):
            connection.sendall(number.to_bytes(4, "big", signed=True))


def become(streams: list[int], words: list[str], cwd: str, env: dict[str, str], terminal: bool) -> NoReturn:
    """Be ``python words…`` from here to the end of the process."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, 1024)
    os.setsid()
    if terminal:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    _open_streams()
    code = _ended(words)
    for last in (threading._shutdown, atexit._run_exitfuncs, *_flushes()):  # type: ignore[attr-defined]
        try:
            last()
        except BaseException:
            traceback.print_exc()
            code = code or 120
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code & 0xFF)


def _open_streams() -> None:
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115 - for as long as the process is
    sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115


def _flushes() -> Iterator[Callable[[], None]]:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            yield stream.flush


def _ended(words: list[str]) -> int:
    """Run the program; its exit code, or the signal that it ends by, negative."""
    try:
        _run(words)
    except SystemExit as asked:
        if asked.code is None or isinstance(asked.code, int):
            return asked.code or 0
        print(asked.code, file=sys.stderr)
        return 1
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _run(words: list[str]) -> None:
    own = list(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    main: Any = type(sys)("__main__")
    main.__builtins__, sys.modules["__main__"] = __builtins__, main
    if words[0] == "-m":
        sys.argv, sys.path[:] = words[1:], [str(Path.cwd()), *own, *PATH]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv, sys.path[:] = ["-c", *words[2:]], ["", *own, *PATH]
        exec(compile(words[1], "<string>", "exec"), main.__dict__)
    else:
        sys.argv, sys.path[:] = words, [str(Path(words[0]).resolve().parent), *own, *PATH]
        main.__file__ = words[0]
        exec(compile(Path(words[0]).read_bytes(), words[0], "exec"), main.__dict__)


def main() -> NoReturn:
    """Serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, which is for the tests
    lifeline = os.dup(0)
    listener = socket.socket(fileno=int(sys.argv[1]))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    sys.executable = sys.argv[2]  # modules may keep it
    importlib.import_module("tests.forked.imports")
    Server(listener, lifeline).serve()


if __name__ == "__main__":
    main()
