"""Hands a program over to the server of :mod:`tests.forked`; run as a script, it stands for Python in a command line.

That costs a hundredth of what the imports of a program cost, so nothing is imported here but what Python holds built in.
The script is the program for whoever started it: a signal that it gets, the program gets; it ends as the program ends,
by the same code or signal; and killed, it takes the program with it, because the server sees its socket close.
What is given more than its standard streams, as multiprocessing gives pipes to what it spawns, is Python itself.
"""

import _socket
import marshal
import os
import sys

SERVER = "server"
"""The server's socket, beside this script."""


def hand_over(server, words, streams, cwd, env, terminal=False):
    """Have ``python words…`` run with these streams; the socket takes signals, and tells the pid and the end."""
    said = marshal.dumps((words, cwd, env, terminal))
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    socket.connect(server)
    handles = b"".join(handle.to_bytes(4, sys.byteorder) for handle in streams)
    socket.sendmsg([len(said).to_bytes(4, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, handles)])
    socket.sendall(said)
    return socket


def receive(socket):
    """A number that the server says, or ``None`` where it is gone."""
    said = b""
    while len(said) < 4:
        more = socket.recv(4 - len(said))
        if not more:
            return None
        said += more
    return int.from_bytes(said, "big", signed=True)


def _leave_terminal():
    """Give up the terminal if it is ours: the program takes it. Whether it was."""
    if not os.isatty(0) or os.getsid(0) != os.getpid():
        return False
    try:
        os.tcgetpgrp(0)
    except OSError:  # a terminal of somebody else
        return False
    import fcntl
    import termios

    _signal.signal(_signal.SIGHUP, _signal.SIG_IGN)  # which is what the leader of a session gets
    fcntl.ioctl(0, termios.TIOCNOTTY)
    return True


def _main():
    words = sys.argv[1:]
    inherits = len(os.listdir("/proc/self/fd")) > 4  # noqa: PTH208 - three streams, and this listing
    if inherits or not words or (words[0].startswith("-") and words[0] not in {"-c", "-m"}):
        os.execv(sys.executable, [sys.executable, *words])
    terminal = _leave_terminal()
    server = __file__.rpartition("/")[0] + "/" + SERVER
    here = os.getcwd()  # noqa: PTH109 - importing pathlib would cost as much as all else
    socket = hand_over(server, words, (0, 1, 2), here, dict(os.environ), terminal)
    for number in (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGQUIT, _signal.SIGUSR1, _signal.SIGUSR2):
        _signal.signal(number, lambda number, _: socket.sendall(bytes([number])))
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):  # so that they close when the program closes them
        os.dup2(nothing, number)
    receive(socket)
    code = receive(socket)
    if code is None:
        code = -_signal.SIGKILL
    if code < 0:
        if -code not in {_signal.SIGKILL, _signal.SIGSTOP}:
            _signal.signal(-code, _signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    import _signal  # type: ignore[import-not-found]

    _main()
