"""Where a server of ours listens: its address and its certificate, looked at before anything is served."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from pathlib import Path

from guarded_tools.errors import GuardError

_WAITING = 512


def is_loopback(host: str) -> bool:
    """Whether a host can only be reached from this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def same_address(one: str, other: str) -> bool:
    """Whether two addresses are one. What is no address is none."""
    try:
        return ipaddress.ip_address(one) == ipaddress.ip_address(other)
    except ValueError:  # a client of a socket without addresses
        return False


def check_proxy(address: str) -> None:
    """See that ``--proxy-from`` names one proxy.

    Raises:
        GuardError: it does not.
    """
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise GuardError(f"--proxy-from {address} is no address of one proxy") from None


def check_tls(certificate: Path | None, key: Path | None) -> None:
    """See that a certificate can be used.

    Raises:
        GuardError: it cannot, or only one of the two is there.
    """
    if (certificate is None) != (key is None):
        raise GuardError("--tls-cert and --tls-key belong together")
    if certificate is not None and key is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise GuardError(f"{certificate} and {key} cannot be used: {error}") from None


def bind(host: str, port: int) -> socket.socket:
    """Take a port; 0 takes a free one.

    Raises:
        GuardError: it is taken, or not ours to take.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, so that asyncio knows it for TCP and holds back no packet: else each answer comes 40 ms late.
    taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((host, port))
        taken.listen(_WAITING)
    except (OSError, OverflowError) as error:
        taken.close()
        raise GuardError(f"{host} port {port} cannot be used: {getattr(error, 'strerror', None) or error}") from None
    return taken
