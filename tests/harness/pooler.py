"""A small stand-in for PgBouncer: it refuses what PgBouncer refuses when a session starts."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

# What PgBouncer takes without being configured (ignore_startup_parameters).
KNOWN = {"user", "database", "application_name", "client_encoding", "datestyle", "timezone"}
PLAIN = {80877103, 80877104}  # the requests for TLS and for GSS
PROTOCOL = struct.pack("!I", 196608)


@contextmanager
def pooler(url: str) -> Iterator[str]:
    """Yields the URL of the server at `url` through the pooler, which pools by session.

    The settings of a session's start do not reach the server: it is as if the pooler's own session
    had begun with others, and RESET takes them back to those.
    """
    target = urlsplit(url)
    address = (target.hostname or "", target.port or 5432)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_accept, args=(listener, address), daemon=True)
        thread.start()
        user = target.netloc.rpartition("@")[0]
        port = listener.getsockname()[1]
        yield target._replace(netloc=f"{user}@127.0.0.1:{port}").geturl()
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def _accept(listener: socket.socket, address: tuple[str, int]) -> None:
    with suppress(OSError):  # it was closed
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_serve, args=(client, address), daemon=True).start()


def _serve(client: socket.socket, address: tuple[str, int]) -> None:
    with client, suppress(OSError, EOFError):
        code, rest = _first_message(client)
        while code in PLAIN:
            client.sendall(b"N")
            code, rest = _first_message(client)
        words = [word.decode() for word in rest.split(b"\0")[:-2]]
        given = dict(zip(words[::2], words[1::2], strict=True))
        for name in given:
            if name.lower() not in KNOWN:
                fields = f"SFATAL\0C08P01\0Munsupported startup parameter: {name}\0\0".encode()
                client.sendall(b"E" + struct.pack("!I", len(fields) + 4) + fields)
                return
        kept = [(key, given[key]) for key in ("user", "database")]
        start = PROTOCOL + b"".join(f"{key}\0{value}\0".encode() for key, value in kept) + b"\0"
        with socket.create_connection(address) as server:
            server.sendall(struct.pack("!I", len(start) + 4) + start)
            back = threading.Thread(target=_pump, args=(server, client), daemon=True)
            back.start()
            _pump(client, server)
            back.join(5)


def _first_message(client: socket.socket) -> tuple[int, bytes]:
    length, code = struct.unpack("!II", _exactly(client, 8))
    return code, _exactly(client, length - 8)


def _exactly(source: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = source.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
