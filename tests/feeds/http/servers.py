"""Servers on 127.0.0.1 that do what a test says, byte for byte, and remember what they were asked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from rxstreams import Stream

JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream"}
LINES = {"content-type": "application/x-ndjson"}


@dataclass
class Asked:
    """A request, and how to answer it."""

    number: int
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def begin(self, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Send the head of a chunked response."""
        await self.raw(_head(status, {**(headers or {}), "transfer-encoding": "chunked"}))

    async def send(self, *parts: bytes) -> None:
        """Send parts of a chunked response."""
        for part in parts:
            await self.raw(b"%x\r\n%b\r\n" % (len(part), part))

    async def end(self) -> None:
        """End a chunked response."""
        await self.raw(b"0\r\n\r\n")

    async def answer(self, body: bytes = b"", status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Send a whole response."""
        await self.raw(_head(status, {**(headers or {}), "content-length": str(len(body))}) + body)

    async def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self) -> None:
        """Return when the client has left."""
        with suppress(ConnectionError):
            await self.reader.read()


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} -", *(f"{name}: {value}" for name, value in headers.items()), "connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1")


@dataclass
class Server:
    """A server at work."""

    port: int = 0
    scheme: str = "http"
    host: str = "127.0.0.1"
    asked: list[Asked] = field(default_factory=list)
    open: int = 0

    def url(self, path: str = "/feed") -> str:
        """A url of it."""
        return f"{self.scheme}://{self.host}:{self.port}{path}"


Answer = Callable[[Asked], Awaitable[None]]


@asynccontextmanager
async def serving(answer: Answer, *, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server that answers each request by ``answer``, and closes the connection when that returns or raises."""
    server = Server(scheme="https" if tls else "http")
    at_work = set[asyncio.Task[Any]]()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.open += 1
        task = asyncio.current_task()
        assert task is not None
        at_work.add(task)
        task.add_done_callback(at_work.discard)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                parts = urlsplit(head[0].split(" ")[1])
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
                asked = Asked(len(server.asked), parts.path, dict(parse_qsl(parts.query)), headers, reader, writer)
                server.asked.append(asked)
                await answer(asked)
        finally:
            server.open -= 1
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    listening = await asyncio.start_server(take, "127.0.0.1", port, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    if tls is not None:
        server.host = "localhost"
    try:
        yield server
    finally:
        listening.close()
        for task in at_work:
            task.cancel()
        await asyncio.gather(*at_work, return_exceptions=True)


async def first(stream: Stream[Any], n: int) -> list[Any]:
    """The first ``n`` values of a subscription, fewer if it ends before."""
    found: list[Any] = []
    async with aclosing(aiter(stream)) as values:  # type: ignore[type-var]  # a generator
        while len(found) < n:
            try:
                found.append(await anext(values))
            except StopAsyncIteration:
                break
    return found


async def every(stream: Stream[Any]) -> list[Any]:
    """All values of a subscription."""
    return await first(stream, 1 << 30)
