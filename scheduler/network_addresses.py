"""Where jobu may connect to for people: not into its own network, unless settings allow it.

Pure: nothing is resolved here. alerts/outgoing.py asks again for the address that it connects to.
"""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

_PUBLIC_IPV6: Final = ip_network("2000::/3")
# `is_global` of Python 3.11 calls these global: documentation, and 6to4 with any IPv4 inside.
_OTHER_IPV6: Final = (ip_network("3fff::/20"), ip_network("2002::/16"))
_OTHER_IPV4: Final = (ip_network("192.0.0.0/24"), ip_network("192.88.99.0/24"))
# NAT64: a network without IPv4 reaches IPv4 hosts by these; the last 32 bits are the address.
_NAT64: Final = ip_network("64:ff9b::/96")
_LONGEST_URL: Final = 2000
# 2130706433, 127.1, 0x7f.0.0.1, 0177.0.0.1: what the resolver reads as an IPv4 address, too.
_OLD_NUMBERS: Final = re.compile(r"[0-9a-fx]+(?:\.[0-9a-fx]+){0,3}")
# Ports of mail, shells, directories and such: a request there is no HTTP for the other side. The
# ports that browsers refuse, up to 1023 (https://fetch.spec.whatwg.org/#port-blocking).
_OTHER_PORTS: Final = frozenset(
    {0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101,
     102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427,
     465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990,
     993, 995}
)  # fmt: skip


def is_public(text: str) -> bool:
    """True if the address belongs to the public internet.

    Not so: private, loopback, link-local (with 169.254.169.254, where clouds answer with secrets),
    shared (100.64.0.0/10), unique local, multicast and reserved ones, also within IPv6.
    """
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        is_other = address not in _PUBLIC_IPV6 or any(address in each for each in _OTHER_IPV6)
        return address.is_global and not is_other
    is_other = address.is_multicast or any(address in each for each in _OTHER_IPV4)
    return address.is_global and not is_other


def url_problem(url: str, *, allow_private: bool, allow_http: bool) -> str | None:
    """Returns why jobu does not connect to `url`, or None. The text never holds the URL."""
    if len(url) > _LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        return f"must be a URL of at most {_LONGEST_URL} ASCII characters without blanks"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "is not a URL such as https://hooks.example.com/path"
    if parts.scheme not in ("http", "https") or not host:
        return "is not a URL such as https://hooks.example.com/path"
    if parts.scheme == "http" and not allow_http:
        return "must begin with https:// (allow_http: true allows http://)"
    if parts.username is not None or parts.password is not None:
        return "must not hold a user or password"
    if port in _OTHER_PORTS:
        return f"names port {port}, which is not for HTTP"
    if not allow_private and _is_known_private(host):
        return "names a private or local address (allow_private: true allows it)"
    return None


def _is_known_private(host: str) -> bool:
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith((".localhost", ".local", ".internal")):
        return True
    with suppress(ValueError):
        return not is_public(name)
    if _OLD_NUMBERS.fullmatch(name):
        with suppress(OSError):
            return not is_public(socket.inet_ntoa(socket.inet_aton(name)))
    return False  # a name: its addresses are looked at when it is resolved
