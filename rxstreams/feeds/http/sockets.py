"""A WebSocket on a connection of httpx2's that was upgraded: frames into messages, pings, and the end.

On wsproto, as httpx2's own session is. That one closes a connection at a message that is too long, and hands over one message at
each turn of the loop, through two tasks; this one has none, and what came together stays together.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from rxstreams.feeds.http.feed import Reading
from rxstreams.feeds.http.lines import TooLong
from rxstreams.feeds.http.retrying import DOUBTFUL, Lost

if TYPE_CHECKING:
    import httpx2
    from wsproto.events import CloseConnection

__all__ = ["Socket", "handshake", "sockets"]

READ = 65_536
NORMAL, GOING_AWAY = 1000, 1001
SENDING = 10.0


def handshake() -> tuple[dict[str, str | bytes], Callable[[Mapping[str, str]], bool]]:
    """The headers that ask for a WebSocket, and whether an answer's headers grant it."""
    from wsproto.utilities import generate_accept_token

    key = base64.b64encode(secrets.token_bytes(16))
    asked: dict[str, str | bytes] = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    granted = generate_accept_token(key).decode()
    return asked | {"sec-websocket-key": key}, lambda headers: headers.get("sec-websocket-accept") == granted


@asynccontextmanager
async def sockets(response: httpx2.Response, reading: Reading, ping: float | None) -> AsyncIterator[Socket]:
    """The WebSocket of an upgraded connection; left, it says goodbye, and does not wait for an answer."""
    import httpcore2

    socket = Socket(response.extensions["network_stream"], reading, ping)
    try:
        yield socket
    except (httpcore2.NetworkError, httpcore2.TimeoutException) as error:
        raise Lost(f"{type(error).__name__}: {error}") from error
    finally:
        with suppress(httpcore2.NetworkError, httpcore2.TimeoutException, OSError):
            await socket.close()


class Socket:
    """See ``sockets``. Holds one unfinished message, of ``max_item`` bytes at most."""

    def __init__(self, stream: Any, reading: Reading, ping: float | None) -> None:
        from wsproto.connection import Connection, ConnectionType

        self.protocol = Connection(ConnectionType.CLIENT)
        self.stream, self.reading, self.ping = stream, reading, ping
        self.parts: list[bytes] = []
        self.size = 0

    async def send(self, message: str | bytes) -> None:
        """Send a message."""
        from wsproto.events import BytesMessage, TextMessage

        await self._put(TextMessage(message) if isinstance(message, str) else BytesMessage(message))

    async def _put(self, event: Any) -> None:
        await self.stream.write(self.protocol.send(event), timeout=SENDING)

    async def close(self) -> None:
        """Say goodbye, unless that was said."""
        from wsproto.connection import ConnectionState
        from wsproto.events import CloseConnection

        if self.protocol.state is ConnectionState.OPEN:
            await self._put(CloseConnection(NORMAL))

    async def messages(self) -> AsyncGenerator[list[bytes], None]:
        """Messages, those that came together together; ends where the server's end is the stream's.

        Raises:
            Lost: When it is over otherwise.
        """
        silence, now = self.reading.silence, asyncio.get_running_loop().time
        heard = now()
        while True:
            self.protocol.receive_data(await self._read(None if silence is None else heard + silence))
            found: list[bytes] = []
            closed = None
            for event in self.protocol.events():
                closed = await self._take(event, found) or closed
            if found:
                yield found
                heard = now()
            if closed is not None:
                await self._closed(closed)
                return

    async def _read(self, until: float | None) -> bytes:
        """The next bytes; a server that is silent is pinged, and left when it stays so."""
        import httpcore2

        pinged, now = False, asyncio.get_running_loop().time
        while True:
            left = None if until is None else until - now()
            if left is not None and left <= 0:
                raise Lost(f"no message for {self.reading.silence:g} seconds")
            waits = [wait for wait in (left, self.ping) if wait is not None]
            try:
                data: bytes = await self.stream.read(READ, timeout=min(waits, default=None))
            except httpcore2.ReadTimeout:
                if left is not None and (self.ping is None or left <= self.ping):
                    continue
                if pinged:
                    raise Lost(f"no answer to a ping for {self.ping:g} seconds") from None
                pinged = True
                await self._ping()
                continue
            if not data:
                raise Lost("the server cut the connection")
            return data

    async def _ping(self) -> None:
        from wsproto.events import Ping

        await self._put(Ping())

    async def _take(self, event: Any, found: list[bytes]) -> CloseConnection | None:
        from wsproto import events

        if isinstance(event, events.Message):
            self._add(event.data.encode() if isinstance(event.data, str) else bytes(event.data))
            if event.message_finished:
                found.append(self.parts[0] if len(self.parts) == 1 else b"".join(self.parts))
                self.parts, self.size = [], 0
        elif isinstance(event, events.Ping):
            await self._put(event.response())
        return event if isinstance(event, events.CloseConnection) else None

    def _add(self, part: bytes) -> None:
        self.size += len(part)
        if self.size <= self.reading.max_item:
            self.parts.append(part)
        elif not self.parts or self.parts[0].__class__ is not TooLong:
            self.parts = [TooLong.of(b"".join((*self.parts, part)))]

    async def _closed(self, event: CloseConnection) -> None:
        from wsproto.connection import ConnectionState

        if self.protocol.state is ConnectionState.REMOTE_CLOSING:
            await self._put(event.response())
        if event.code == NORMAL and self.reading.ends:
            return
        # What is refused for what it is will be refused again.
        in_order = event.code in (NORMAL, GOING_AWAY)
        reason = f"the server closed with code {event.code}{f' ({event.reason})' if event.reason else ''}"
        raise Lost(reason, tries=None if in_order else DOUBTFUL, in_order=in_order)
