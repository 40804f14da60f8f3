"""Where a Redis store is, said in one URL."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from guarded_tools.errors import StoreError

_NAMESPACE = "guarded-tools"
_TIMEOUT = 2.0
_TLS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})


class Address(NamedTuple):
    """A server, and what of it is ours.

    The query of a URL may hold ``namespace``, which keeps stores on one server apart; ``timeout``, in seconds, after
    which a call is refused; ``cluster=yes``; and for TLS ``ssl_ca_certs``, ``ssl_certfile`` and ``ssl_keyfile``.
    """

    url: str
    """What the client is given, options of ours left out. May hold a password."""
    name: str
    """What a person is shown: no password in it."""
    namespace: str
    timeout: float
    cluster: bool

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read a URL.

        Raises:
            StoreError: it says something that is not understood.
        """
        try:
            parts = urlsplit(url)
            name = f"{parts.scheme}://{parts.hostname or 'localhost'}:{parts.port or 6379}{parts.path}"
        except ValueError:
            # What it could not read, and would repeat, may be a part of the password.
            raise StoreError(
                "not an address of a Redis server: redis://[[user]:password@]host[:port][/db];"
                " percent-encode special characters of the password"
            ) from None
        if "@" in parts.path + parts.query + parts.fragment:
            raise StoreError("not an address of a Redis server: percent-encode special characters of the password")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        namespace = options.pop("namespace", _NAMESPACE)
        timeout = options.pop("timeout", str(_TIMEOUT))
        cluster = options.pop("cluster", "no")
        try:
            seconds = float(timeout)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < 3600:  # noqa: PLR2004
            raise StoreError(f"{name}: timeout={timeout} is not a number of seconds")
        if cluster not in {"yes", "no"}:
            raise StoreError(f"{name}: cluster={cluster} is neither yes nor no")
        if not namespace or set(namespace) & set("{}"):
            raise StoreError(f"{name}: namespace={namespace} is empty or has braces in it")
        if unknown := set(options) - _TLS:
            raise StoreError(f"{name}: unknown option {', '.join(sorted(unknown))}")
        bare = parts._replace(query=urlencode(options), fragment="").geturl()
        return cls(bare, name, namespace, seconds, cluster == "yes")
