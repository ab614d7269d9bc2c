"""What messages about alerts are sent to: a real SMTP server, and HTTP servers with bad manners."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller

from tests.harness.servers.base import free_port


class _Post:
    """Keeps the letters. `code`: what the server answers to the next ones; 250 takes them."""

    def __init__(self) -> None:
        self.letters: list[Message] = []
        self.code = 250

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if self.code == 250:
            self.letters.append(message_from_bytes(envelope.content))
        return f"{self.code} as the test says"


@contextmanager
def smtp_server() -> Iterator[tuple[_Post, int]]:
    """Yields what it received, and its port on 127.0.0.1."""
    post, port = _Post(), free_port()
    controller = Controller(post, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield post, port
    finally:
        controller.stop()


@dataclass(frozen=True, kw_only=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Behave = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Receiver:
    """An HTTP server on 127.0.0.1. `behave` writes its answers; the default one is 200."""

    port: int = 0
    requests: list[Request] = field(default_factory=list)
    behave: Behave = lambda request: answer(request, 200)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def http_server(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def _take(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            receiver.requests.append(
                Request(
                    method=self.command,
                    path=self.path,
                    headers=dict(self.headers),
                    body=self.rfile.read(length),
                )
            )
            # Whoever sends may have gone.
            with suppress(OSError):
                receiver.behave(self)

        do_GET = do_POST = _take  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answer(request: BaseHTTPRequestHandler, status: int, **headers: str) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.send_header("Content-Length", "0")
    request.end_headers()
