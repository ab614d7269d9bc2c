"""A TCP proxy in front of a real server, to break the network on purpose and on cue."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Self
from urllib.parse import urlsplit

Look = Callable[[bytes], bool]


class Proxy:
    """Passes bytes on. A test can make it delay, cut, ignore or refuse connections."""

    def __init__(self, url: str, chance: random.Random) -> None:
        self._target = urlsplit(url)
        self._chance = chance
        self._server: asyncio.Server | None = None
        self._port = 0
        self._links: set[_Link] = set()
        self._refusals_left = 0
        self.delay_seconds = 0.0
        """Each piece is held back for a random time up to this."""
        self.is_chopping = False
        """Whether bytes arrive in small pieces."""
        self.cut_before: bytes | None = None
        """Cut the connection instead of passing on what contains this."""
        self.cut_after: bytes | None = None
        """Pass on what contains this, and cut the connection at the first byte of the answer."""
        self.idle_drop_chance = 0.0
        """How often a connection is cut right after it was given back to its pool."""
        self.refusal_chance = 0.0
        """How often a new connection is refused (never twice in a row)."""
        self.is_deaf = False
        """Whether bytes are swallowed in both directions."""

    @property
    def url(self) -> str:
        """The server's address through this proxy."""
        target = self._target
        user = target.netloc.rpartition("@")[0]
        return target._replace(netloc=f"{user}@127.0.0.1:{self._port}").geturl()

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()

    async def accept(self) -> None:
        """Listen; on the same port as before, after a refusal."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Refuse new connections and cut those that are there: the server is away."""
        if self._server is not None:
            self._server.close()
        self.drop_all()
        while self._links:
            await asyncio.wait({link.task for link in self._links})
        self._server = None

    def drop_all(self) -> None:
        """Cut every connection that is there."""
        for link in tuple(self._links):
            link.cut()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusal_chance and not self._refusals_left:
            self._refusals_left = int(self._chance.random() < self.refusal_chance)
            if self._refusals_left:
                writer.transport.abort()
                return
        self._refusals_left = 0
        link = _Link(self, writer)
        self._links.add(link)
        try:
            await link.run(reader, self._target.hostname or "", self._target.port or 0)
        finally:
            self._links.discard(link)

    async def pieces(self, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
        """Yields what arrives, cut and delayed as the test asked."""
        while data := await reader.read(65536):
            while data:
                size = self._chance.randrange(1, 40) if self.is_chopping else len(data)
                if self.delay_seconds:
                    await asyncio.sleep(self._chance.random() * self.delay_seconds)
                yield data[:size]
                data = data[size:]

    def drops_now(self) -> bool:
        """Roll the dice for an idle connection."""
        return self._chance.random() < self.idle_drop_chance


class _Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self._proxy = proxy
        self._client = client
        self._server: asyncio.StreamWriter | None = None
        self._is_reset = False
        self._is_over = False
        self._cuts_at_answer = False

    async def run(self, reader: asyncio.StreamReader, host: str, port: int) -> None:
        try:
            server_reader, self._server = await asyncio.open_connection(host, port)
        except OSError:
            self.cut()
            return
        await asyncio.gather(
            self._pump(reader, self._server, self._from_client),
            self._pump(server_reader, self._client, self._from_server),
            return_exceptions=True,
        )
        self.cut()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, look: Look
    ) -> None:
        with suppress(OSError):
            async for piece in self._proxy.pieces(reader):
                if not look(piece):
                    break
                if not self._proxy.is_deaf:
                    writer.write(piece)
                    await writer.drain()
                if self._is_over:
                    break
        self.cut()

    def _from_client(self, piece: bytes) -> bool:
        proxy = self._proxy
        if proxy.cut_before is not None and proxy.cut_before in piece:
            return False
        if proxy.cut_after is not None and proxy.cut_after in piece:
            self._cuts_at_answer = True
        # PostgreSQL: what a pool sends when a connection is given back.
        self._is_reset = b"RESET ALL" in piece
        return True

    def _from_server(self, piece: bytes) -> bool:
        if self._cuts_at_answer:
            return False
        if self._is_reset and piece.endswith(b"Z\x00\x00\x00\x05I") and self._proxy.drops_now():
            self._is_over = True  # the answer still goes out, or is lost with the connection
        return True

    def cut(self) -> None:
        for writer in (self._client, self._server):
            if writer is not None:
                writer.transport.abort()


@asynccontextmanager
async def proxied(url: str, seed: int) -> AsyncIterator[Proxy]:
    """A proxy in front of the server at `url`."""
    async with Proxy(url, random.Random(seed)) as proxy:
        yield proxy
