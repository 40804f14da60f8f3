"""Which host a URL leads to, as a browser would read it, or that nobody can be sure.

Follows the WHATWG URL standard for ``http`` and ``https`` where libraries agree. What they read differently cannot be
judged: backslashes, control characters, several ``@``, missing slashes, percent signs in a host, numbers that are octal
to some (``010.0.0.1``), international names that IDNA 2003 and UTS 46 map to different hosts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from guarded_tools.policy.paths import Indeterminate

_URL: Final = re.compile(r"https?://([^/?#]+)", re.IGNORECASE)
# Anything a parser may strip, fold into a slash, or take for the end of the text.
_AMBIGUOUS: Final = re.compile(
    r"[\x00-\x20\x7f-\xa0\\\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff\ud800-\udfff]"
)
_USERINFO: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:%-]*")
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# IDNA 2003 and 2008 send these to different hosts.
_DEVIATION: Final = re.compile("[\u00df\u03c2\u1e9e\u200c\u200d]")
# What draws nothing: dropped, kept or refused, as the version of Unicode and the library have it.
_FILLER: Final = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# An IPv4 address inside an IPv6 one: where it leads depends on the network.
_WRAPPED: Final = tuple(map(IPv6Network, ("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))
_LONGEST_NAME: Final = 253
_OCTET: Final = 256
_PARTS: Final = 4
_LAST_PORT: Final = 65535


def host_of(url: str) -> str:
    """Give the host in lower-case ASCII: a name without a trailing dot, or an address in its usual form.

    Raises:
        Indeterminate: not an ``http`` or ``https`` URL, or one that two libraries would read differently.
    """
    if _AMBIGUOUS.search(url):
        raise Indeterminate("holds characters that URL parsers disagree about")
    start = _URL.match(url)
    if start is None:
        raise Indeterminate("is not a URL that begins with http:// or https:// and a host")
    userinfo, at, rest = start[1].rpartition("@")
    if at and not _USERINFO.fullmatch(userinfo):
        raise Indeterminate("has an unusual user part")
    bracketed = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]*))?", rest)
    if bracketed is None or (bracketed[2] and int(bracketed[2][:6]) > _LAST_PORT):
        raise Indeterminate("has no readable host and port")
    return canonical_host(bracketed[1])


def canonical_host(host: str) -> str:
    """Bring a host into the one form in which hosts are compared.

    Raises:
        Indeterminate: not a host.
    """
    if host.startswith("["):
        return _ipv6(host[1:-1])
    if not host.isascii():
        host = _ascii(host)
    name = host.lower().removesuffix(".")
    labels = name.split(".")
    # A host whose last label is a number is an address or nothing, never a name.
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        return _ipv4(labels)
    if len(name) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise Indeterminate("has no readable host")
    if any(label.startswith("xn--") for label in labels):
        _check_punycode(name)
    return name


def compile_hosts(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """Make the test "is this host one of these?" of hosts, ``*.domain`` (not the domain itself) and networks.

    Raises:
        ValueError: an entry that is none of them, and what to write instead.
    """
    exact: set[str] = set()
    suffixes: list[str] = []
    networks: list[IPv4Network | IPv6Network] = []
    for pattern in patterns:
        try:
            if "/" in pattern:
                networks.append(ip_network(pattern))
            elif pattern.startswith("*."):
                suffixes.append("." + _domain(pattern[2:]))
            else:
                exact.add(canonical_host(f"[{pattern}]" if pattern.count(":") > 1 and pattern[0] != "[" else pattern))
        except (Indeterminate, ValueError):
            raise ValueError(
                f"{pattern!r} is not a host; write one like example.com, *.example.com, 192.0.2.1 or 192.0.2.0/24"
            ) from None
    endings = tuple(suffixes)

    def test(host: str) -> bool:
        if host in exact or (endings and host.endswith(endings)):
            return True
        if not networks:
            return False
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in networks)

    return test


def _domain(text: str) -> str:
    """The part below which names are listed; an address has nothing below it."""
    name = canonical_host(text)
    if name.rpartition(".")[2].isdigit() or ":" in name:
        raise ValueError(text)
    return name


def _ipv4(labels: list[str]) -> str:
    if len(labels) > _PARTS:
        raise Indeterminate("has an IP address with too many parts")
    numbers = []
    for label in labels:
        hexadecimal = re.fullmatch(r"0x([0-9a-f]{0,16})", label)
        if hexadecimal:
            numbers.append(int(hexadecimal[1] or "0", 16))
        elif re.fullmatch(r"0[0-9]+", label):
            # Octal to browsers and to C, decimal to Java and to others until lately, an error to the rest.
            raise Indeterminate("has an IP address that is octal to some and decimal to others")
        elif re.fullmatch(r"0|[1-9][0-9]{0,15}", label):
            numbers.append(int(label))
        else:
            raise Indeterminate("has an unreadable IP address")
    *leading, last = numbers
    # Classic inet_aton: the last part fills all the bytes that are left.
    if any(number >= _OCTET for number in leading) or last >= _OCTET ** (_PARTS + 1 - len(numbers)):
        raise Indeterminate("has an unreadable IP address")
    total = last + sum(number * _OCTET ** (_PARTS - 1 - place) for place, number in enumerate(leading))
    return str(IPv4Address(total))


def _ipv6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except ValueError:
        raise Indeterminate("has an unreadable IPv6 address") from None
    if address.scope_id is not None:
        raise Indeterminate("has an IPv6 address with a zone")
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if int(address) > 1 and any(address in network for network in _WRAPPED):
        raise Indeterminate("has an IPv6 address that wraps an IPv4 one")
    return str(address)


def _ascii(host: str) -> str:
    """Bring an international name into ASCII, if the two ways of doing so that are in use agree on it."""
    import idna

    if len(host) > _LONGEST_NAME:
        raise Indeterminate("has no readable host")
    if _DEVIATION.search(host) or _FILLER.search(host) or any(map(_is_newly_mapped, host)):
        raise Indeterminate("has a host that IDNA 2003 and 2008 read differently")
    try:
        name = idna.encode(host, uts46=True, std3_rules=True).decode("ascii")
    except (idna.IDNAError, UnicodeError, ValueError):
        raise Indeterminate("has a host that is not a valid international name") from None
    try:
        # The standard library's is that of 2003.
        older = host.encode("idna").decode("ascii")
    except (UnicodeError, ValueError):
        older = name  # refused there, so it leads nowhere else
    if older.lower() != name:
        raise Indeterminate("has a host that IDNA 2003 and 2008 read differently")
    return name


def _is_newly_mapped(char: str) -> bool:
    """Whether IDNA 2003, whose Unicode has no such character, takes it as it stands, and today's mapping does not."""
    return unicodedata.ucd_3_2_0.category(char) == "Cn" and (
        unicodedata.combining(char) > 0 or unicodedata.normalize("NFKC", char.casefold()) != char
    )


def _check_punycode(name: str) -> None:
    import idna

    try:
        if idna.encode(idna.decode(name)).decode("ascii") == name:
            return
    except (idna.IDNAError, UnicodeError, ValueError):
        pass
    raise Indeterminate("has a host that is not a valid international name")
