"""Where jobu may connect to for people: not into its own network, unless settings allow it.

Pure: nothing is resolved here. alerts/outgoing.py asks again for the address that it connects to.
"""

from __future__ import annotations

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
        host, _port = parts.hostname, parts.port
    except ValueError:
        return "is not a URL such as https://hooks.example.com/path"
    if parts.scheme not in ("http", "https") or not host:
        return "is not a URL such as https://hooks.example.com/path"
    if parts.scheme == "http" and not allow_http:
        return "must begin with https:// (allow_http: true allows http://)"
    if parts.username is not None or parts.password is not None:
        return "must not hold a user or password"
    if not allow_private and _is_known_private(host):
        return "names a private or local address (allow_private: true allows it)"
    return None


def _is_known_private(host: str) -> bool:
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        return not is_public(host)
    except ValueError:
        return False  # a name: its addresses are looked at when it is resolved
