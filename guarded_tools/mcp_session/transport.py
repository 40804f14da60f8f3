"""Where an MCP server is and how to reach it: a process of ours over stdio, or an address over HTTP.

Both roads end in a pair of message streams and keep what an error should say: the server's last words and no secret.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from urllib.parse import quote, unquote, urlsplit

from guarded_tools.errors import ConnectionFailed
from guarded_tools.text.redaction import mask
from guarded_tools.text.secret_shapes import MASK
from guarded_tools.text.visible import one_line

if TYPE_CHECKING:
    import httpx

DOWNLOADERS = frozenset({"npx", "bunx", "pnpx", "uvx", "pipx"})
"""Commands that may download the server before they start it."""
START_TIMEOUT = 60.0
"""Seconds until a server is given up that has not answered yet. On a busy machine, imports alone take ten."""

_BRINGS = {
    **dict.fromkeys(("node", "npm", "npx"), "Node.js: https://nodejs.org"),
    **dict.fromkeys(("bun", "bunx"), "Bun: https://bun.sh"),
    **dict.fromkeys(("uv", "uvx"), "uv: https://docs.astral.sh/uv"),
    "docker": "Docker: https://docs.docker.com/get-docker",
}
"""What brings the commands that servers are mostly started with."""

_SECRET_NAME = re.compile(r"key|token|secret|passw|credential|auth", re.IGNORECASE)
_SHORTEST_KEY = 16
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# Where what comes is of another kind than what was: few such places in a name, one in four letters of a key at least.
_CHANGE = re.compile(r"(?<=[a-z])[A-Z]|(?<=[A-Za-z])[0-9]|(?<=[0-9])[A-Za-z]")
_STDERR_LINES = 12
_LINE_LENGTH = 400
_LONGEST_LINE = 65_536


@dataclass(frozen=True, slots=True)
class StdioServer:
    """A server that is started as a process and spoken to over its stdin and stdout.

    Its environment is MCP's default one (``PATH``, ``HOME`` and few more) plus ``env``, never the caller's whole.
    """

    command: str
    args: Sequence[str] = field(default=(), repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str | os.PathLike[str] | None = None

    @property
    def start_timeout(self) -> float:
        """Seconds it may take to start."""
        return 90.0 if PurePath(self.command).stem.lower() in DOWNLOADERS else START_TIMEOUT

    def secrets(self) -> Iterable[str]:
        """What must never appear in an error."""
        yield from (value for name, value in self.env.items() if _SECRET_NAME.search(name))
        previous = ""
        for arg in self.args:
            name, equals, value = arg.partition("=")
            header, colon, content = arg.partition(":")
            if "://" in arg:  # as a bridge to another server takes its address
                yield from _secrets_of_url(value if equals and "://" not in name else arg)
            elif colon and not equals and _SECRET_NAME.search(header):
                yield from secrets_of_header(content.strip())
            elif equals and _SECRET_NAME.search(name):
                yield value
            elif previous.startswith("-") and "=" not in previous and _SECRET_NAME.search(previous):
                yield arg
            previous = arg

    def check(self) -> None:
        """Look for the command before anything is started.

        Raises:
            ConnectionFailed: it is not installed.
        """
        path = self.env.get("PATH", os.environ.get("PATH"))
        if shutil.which(self.command, path=path) is None:
            brings = _BRINGS.get(PurePath(self.command).stem)
            hint = f"It comes with {brings}." if brings else "Install it, or name it by its whole path."
            raise ConnectionFailed(f"the command {self.command!r} was not found on PATH. {hint}", sent=False)


@dataclass(frozen=True, slots=True)
class HttpServer:
    """A server behind an address, spoken to over streamable HTTP, or over HTTP with ``sse``, the older transport.

    ``headers`` go with every request, and so does what ``auth`` makes of it: an :class:`httpx.Auth`. A call of a tool
    is sent once all the same: one that is not let in is told so, and the next one goes with what ``auth`` learned.
    """

    url: str = field(repr=False)  # many carry a key
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    auth: httpx.Auth | None = field(default=None, repr=False)
    sse: bool = False

    @property
    def start_timeout(self) -> float:
        """Seconds it may take to answer for the first time."""
        return START_TIMEOUT

    @property
    def is_loopback(self) -> bool:
        """Whether requests stay on this machine."""
        host = urlsplit(self.url).hostname or ""
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def secrets(self) -> Iterable[str]:
        """What must never appear in an error."""
        yield from _secrets_of_url(self.url)
        for value in self.headers.values():
            yield from secrets_of_header(value)

    def check(self) -> None:
        """Make sure that no key leaves this machine in the clear.

        Raises:
            ConnectionFailed: the address is not http(s), a header cannot be sent, or a key would go to another machine
                over plain http.
        """
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConnectionFailed("the url has to begin with https:// (or http:// and name this machine)", sent=False)
        keys = self.auth is not None or any(True for _ in self.secrets())
        if parts.scheme == "http" and not self.is_loopback and keys:
            raise ConnectionFailed(f"a key is sent over https only, not over http to {parts.hostname}", sent=False)
        for name, value in self.headers.items():
            if not (value.isascii() and value.isprintable()):
                # Found later, it would be quoted by whoever finds it.
                raise ConnectionFailed(f"the header {name} has a character that cannot be sent", sent=False)


def secrets_of_header(value: str) -> Iterator[str]:
    """Return what is secret in the value of a header: all of it, and what comes after a scheme."""
    yield value
    scheme, space, token = value.partition(" ")
    if space and scheme.isalpha():
        yield token


def _secrets_of_url(url: str) -> Iterator[str]:
    """What is secret in an address: the password, every value of the query, and keys that stand in the path."""
    try:
        parts = urlsplit(url)
        found = [parts.password or (parts.username if "@" in parts.netloc else None)]
    except ValueError:
        return  # no address
    found += [pair.partition("=")[2] for pair in re.split("[&;]", f"{parts.query}&{parts.fragment}")]
    before = ""
    for segment in parts.path.split("/"):
        name, equals, value = segment.partition("=")
        if equals:
            found.append(value)
        elif _is_key(unquote(segment)) or (_SECRET_NAME.fullmatch(before) and segment):
            found.append(segment)
        before = name
    for secret in filter(None, found):
        yield secret
        if (decoded := unquote(secret)) != secret:
            yield decoded


def _is_key(segment: str) -> bool:
    """Whether a segment of a path was made by a machine and not named by somebody: hosted servers put the key there.

    A short key looks like a name, and nothing can be said of it.
    """
    if len(segment) < _SHORTEST_KEY:
        return False
    runs = [run for run in re.split(r"[-_.~:@ ]", segment) if len(run) >= _SHORTEST_KEY // 2]
    made = any(len(_CHANGE.findall(run)) * 4 >= len(run) for run in runs)
    return made or bool(_UUID.fullmatch(segment)) or any(re.search("[0-9]{16}", run) for run in runs)


Server: TypeAlias = StdioServer | HttpServer


class StderrTail:
    """The last lines that a server wrote to stderr, without secrets or escape sequences.

    Reads on a thread of its own until the end.
    """

    def __init__(self, mask: Masker) -> None:
        self._lines: deque[str] = deque(maxlen=_STDERR_LINES)
        self._mask = mask
        self._ended = threading.Event()
        self._ended.set()

    def attach(self) -> int:
        """Start reading; give the descriptor that the server should write to. The caller closes it."""
        self._ended.clear()
        reader, writer = os.pipe()
        threading.Thread(target=self._read, args=(reader,), name="guarded-tools-stderr", daemon=True).start()
        return writer

    def add(self, line: str) -> None:
        """Write a line below those of the server."""
        self._lines.append(line)

    def _read(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb") as stream:
            while line := stream.readline(_LONGEST_LINE):
                # Masked before it is cut: half a key is still a secret.
                text = self._mask(line.decode("utf-8", "replace")).strip()
                if text:
                    # It ends up in a traceback on somebody's terminal.
                    self._lines.append(one_line(text[:_LINE_LENGTH]))
                while line and not line.endswith(b"\n"):
                    line = stream.readline(_LONGEST_LINE)  # the rest may begin with the other half of a key
        self._ended.set()

    @property
    def ended(self) -> bool:
        """Whether everything that will come has come."""
        return self._ended.is_set()

    def __str__(self) -> str:
        return "\n".join(f"  {line}" for line in tuple(self._lines))


class Masker:
    """Replaces every secret in a text, however it was quoted."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.learn(*secrets)

    def learn(self, *secrets: str) -> None:
        """Replace these as well, from now on."""
        forms: set[str] = set()
        for secret in secrets:
            if len(secret) > 3:  # noqa: PLR2004 - masking "1" or "on" would leave no text
                forms |= {secret, quote(secret, safe=""), quote(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1]}
        if not forms <= self._forms:
            self._forms = self._forms | forms
            longest_first = sorted(self._forms, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def __call__(self, text: str) -> str:
        """Return ``text`` without the secrets, and without what looks like one."""
        return mask(self._pattern.sub(MASK, text) if self._pattern else text)


class Unreachable(ConnectionFailed):
    """The connection was gone before the call left, so the call did not run; on a new connection it may."""


class Streams(NamedTuple):
    """The two message streams of a connection, and why single requests failed on the way, by their id."""

    read: Any
    write: Any
    failures: dict[Any, ConnectionFailed]


class Progress(NamedTuple):
    """How far a server says that a call is. ``total`` is ``None`` where it does not know; the unit is its own."""

    server: str
    tool: str
    progress: float
    total: float | None = None
    message: str = ""


class Elicitation(NamedTuple):
    """What a server asks in the middle of a call. ``schema`` is the JSON Schema of the answer: a flat object."""

    server: str
    tool: str
    message: str
    schema: Mapping[str, Any]


OnProgress: TypeAlias = Callable[[Progress], None]
OnQuestion: TypeAlias = Callable[[Elicitation], Awaitable[Mapping[str, Any] | None]]
"""Returns what to answer, or ``None`` to decline. Runs with the context variables of whoever made the call."""
