"""HTTP to addresses that people have typed: never into jobu's own network, never for long.

The name is resolved once, each address is checked, and the connection goes to that very address, so
a name that resolves anew changes nothing. Redirects are not followed, proxies are not asked.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from scheduler.alerts.channels.base import DeliveryError, within
from scheduler.clock import since_boot
from scheduler.network_addresses import is_public, url_problem

#: Of an answer no more is read.
LONGEST_ANSWER: Final = 64 * 1024
_AGENT: Final = "jobu"
# Answers after which another try helps nobody: a redirect, and "gone for good".
_GONE: Final = 410

Address = tuple[int, str]
"""The family and the text of an address."""
Resolve = Callable[[str, int], list[Address]]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a receiver has answered. `body` is cut off after 64 KB."""

    status: int
    body: bytes


def resolve(host: str, port: int) -> list[Address]:
    """Returns the addresses of a name. Blocks as long as the resolver of the host does."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, str(address[0])) for family, _, _, _, address in found]


def request(
    method: str,
    url: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    allow_private: bool = False,
    allow_http: bool = False,
    deadline_seconds: float,
    resolve: Resolve = resolve,
) -> Answer:
    """Sends one request, and returns an answer of 2xx. Raises DeliveryError for anything else.

    All together takes `deadline_seconds` at most, also where the receiver sends a byte a second.
    """
    if problem := url_problem(url, allow_private=allow_private, allow_http=allow_http):
        raise DeliveryError(f"the URL {problem}", permanent=True)
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    until = since_boot() + deadline_seconds
    address = _chosen(host, port, allow_private, deadline_seconds, resolve)
    connection = _Connection(
        host, port, address, is_tls=parts.scheme == "https", seconds=_left(until)
    )
    alarm = threading.Timer(_left(until), connection.abort)
    alarm.daemon = True
    alarm.start()
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        own = {"User-Agent": _AGENT, "Connection": "close"}
        connection.request(method, target, body=body, headers={**own, **(headers or {})})
        answer = connection.getresponse()
        found = Answer(status=answer.status, body=answer.read(LONGEST_ANSWER))
        connection.check_time()  # an answer that was cut off looks like a short one
    except (OSError, http.client.HTTPException, ValueError) as error:
        if since_boot() >= until:
            raise DeliveryError(f"no answer within {deadline_seconds:g} s") from error
        raise DeliveryError(_words(error)) from error
    finally:
        alarm.cancel()
        connection.close()
    return _judged(found)


def _left(until: float) -> float:
    return max(0.05, until - since_boot())


def _chosen(host: str, port: int, allow_private: bool, seconds: float, resolve: Resolve) -> Address:
    try:
        addresses = within(seconds, "the name server", lambda: resolve(host, port))
    except (OSError, UnicodeError) as error:
        raise DeliveryError(f"the name of the receiver is not known: {_words(error)}") from error
    if not addresses:
        raise DeliveryError("the name of the receiver has no address")
    if not allow_private:
        # One private address among public ones is reason enough: which one answers is chance.
        for _, address in addresses:
            if not is_public(address):
                raise DeliveryError(
                    "the name of the receiver leads to a private or local address, and"
                    " allow_private is false",
                    permanent=True,
                )
    return addresses[0]


def _judged(answer: Answer) -> Answer:
    if 200 <= answer.status < 300:
        return answer
    if 300 <= answer.status < 400:
        raise DeliveryError(
            f"the receiver answers {answer.status}, a redirect, and jobu follows none: give its"
            " final URL",
            permanent=True,
        )
    raise DeliveryError(f"the receiver answers {answer.status}", permanent=answer.status == _GONE)


def _words(error: Exception) -> str:
    # Not the text of the answer: a receiver says there what it likes.
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS fails: {error.reason or type(error).__name__}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__


class _Connection(http.client.HTTPConnection):
    """Connects to an address that was checked; TLS and the Host header are of the name."""

    def __init__(
        self, host: str, port: int, address: Address, *, is_tls: bool, seconds: float
    ) -> None:
        super().__init__(host, port, timeout=seconds)
        self._address = address
        self._tls_host = host if is_tls else None
        # A second handle of the socket, because TLS takes the first one away.
        self._handle: socket.socket | None = None
        self._is_aborted = False
        if is_tls:
            self.default_port = http.client.HTTPS_PORT  # else the Host header names the port

    def connect(self) -> None:
        family, address = self._address
        plain = socket.socket(family, socket.SOCK_STREAM)
        self.sock, self._handle = plain, plain.dup()
        plain.settimeout(self.timeout)
        plain.connect((address, self.port))
        if self._tls_host is not None:
            context = ssl.create_default_context()
            self.sock = context.wrap_socket(plain, server_hostname=self._tls_host)
        self.check_time()

    def check_time(self) -> None:
        """Raises TimeoutError if this connection was ended."""
        if self._is_aborted:
            raise TimeoutError

    def abort(self) -> None:
        """End whatever this connection waits for. From another thread."""
        self._is_aborted = True
        if self._handle is not None:
            with suppress(OSError):  # it is not connected yet, or not any more
                self._handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        super().close()
        if self._handle is not None:
            self._handle.close()
