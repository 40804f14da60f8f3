"""Where the page is served, and what has to be there before it may be: checked before anything is bound."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from guarded_tools.errors import GuardError
from guarded_tools.listening import check_proxy, check_tls, is_loopback

LOCAL: Final = "127.0.0.1"
_PORTS: Final = {"http": 80, "https": 443}
_SHORTEST: Final = 12
_FILE_MODE: Final = 0o077


@dataclass(frozen=True)
class WebSettings:
    """How the page is served. ``port`` 0 takes a free one.

    ``public`` is the address that browsers use, where it is not the one that is bound. ``password`` is the shared one;
    ``proxy_header`` names the user, and is believed of ``proxy_from`` alone.
    """

    host: str = LOCAL
    port: int = 0
    read_only: bool = False
    certificate: Path | None = None
    key: Path | None = None
    public: str = ""
    password: str | None = None
    proxy_header: str = ""
    proxy_from: str = ""

    @property
    def is_local(self) -> bool:
        """Whether only programs on this machine reach it."""
        return is_loopback(self.host)

    @property
    def secure(self) -> bool:
        """Whether browsers reach it over TLS."""
        return self.certificate is not None or self.public.startswith("https://")

    def origins(self, port: int) -> frozenset[str]:
        """Name the origins that are ours, once the port is known: what a browser may call us, and nothing else."""
        if self.public:
            return frozenset({self.public})
        scheme = "https" if self.certificate is not None else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        names = {host, "localhost"} if self.is_local else {host}
        return frozenset(f"{scheme}://{netloc(name, port, scheme)}" for name in names)


def netloc(name: str, port: int, scheme: str) -> str:
    """Write host and port as browsers do: without the port that goes without saying."""
    return name if _PORTS[scheme] == port else f"{name}:{port}"


def checked(settings: WebSettings) -> WebSettings:
    """See that the page may be served like that, and return it with its addresses as browsers write them.

    Raises:
        GuardError: it may not; the text says what is missing.
    """
    host = LOCAL if settings.host == "localhost" else settings.host
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise GuardError(f"--host {host} is no address: write the one to bind, such as {LOCAL} or 0.0.0.0") from None
    found = WebSettings(**{**vars(settings), "host": host, "public": _public(settings.public)})
    _check_doors(found)
    check_tls(found.certificate, found.key)
    if found.is_local:
        return found
    if found.certificate is None:
        raise GuardError(f"{host} is reached from elsewhere, so the page needs TLS: --tls-cert and --tls-key")
    if found.password is None and not found.proxy_header:
        who = "--password-file, or --proxy-user-header with --proxy-from"
        raise GuardError(f"{host} is reached from elsewhere, so the page has to know who comes: {who}")
    if ipaddress.ip_address(host).is_unspecified and not found.public:
        raise GuardError(f"{host} is no name that a browser can use: say by which it does, --public https://…")
    return found


def _check_doors(settings: WebSettings) -> None:
    if bool(settings.proxy_header) != bool(settings.proxy_from):
        raise GuardError("--proxy-user-header and --proxy-from belong together: which header, and from which address")
    if settings.password is not None and settings.proxy_header:
        raise GuardError("--password-file and --proxy-user-header exclude each other: there is one door")
    if settings.proxy_from:
        check_proxy(settings.proxy_from)
    if settings.proxy_header and not settings.proxy_header.replace("-", "").isalnum():
        raise GuardError(f"--proxy-user-header {settings.proxy_header} is no name of a header")


def _public(url: str) -> str:
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in _PORTS or not parts.hostname or parts.path not in {"", "/"} or parts.query or "@" in url:
        raise GuardError(f"--public {url} is no address of a site, such as https://guard.example.com")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{netloc(name, port, parts.scheme)}"


def read_password(path: Path) -> str:
    """Read the password from the first line of a file that only its owner may read.

    Raises:
        GuardError: others may read it, it cannot be read, or is too short.
    """
    try:
        if path.stat().st_mode & _FILE_MODE:
            raise GuardError(f"others may read {path}, so it keeps no password: chmod 600 it")
        found = path.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise GuardError(f"the password cannot be read from {path}: {error}") from None
    if len(found) < _SHORTEST:
        raise GuardError(f"the password in {path} is shorter than {_SHORTEST} characters")
    return found
