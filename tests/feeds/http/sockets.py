"""A server's side of a WebSocket, on a server of raw bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, TextMessage
from wsproto.utilities import generate_accept_token

from tests.feeds.http.servers import Asked


class Peer:
    """The server's end, after ``accept``."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.protocol = Connection(ConnectionType.SERVER)
        self.events: list[Event] = []

    async def accept(self) -> Peer:
        """Grant the client its WebSocket."""
        token = generate_accept_token(self.asked.headers["sec-websocket-key"].encode()).decode()
        head = f"HTTP/1.1 101 -\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {token}\r\n\r\n"
        await self.asked.raw(head.encode())
        return self

    async def put(self, *events: Event) -> None:
        """Send all of these at once."""
        await self.asked.raw(b"".join(self.protocol.send(event) for event in events))

    async def texts(self, *texts: str) -> None:
        """Send messages at once."""
        await self.put(*map(TextMessage, texts))

    async def binary(self, *parts: bytes) -> None:
        """Send one message in as many frames."""
        for number, part in enumerate(parts, 1):
            await self.put(BytesMessage(part, message_finished=number == len(parts)))

    async def ping(self) -> None:
        """Ask whether the client is there."""
        await self.put(Ping(b"there?"))

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye."""
        await self.put(CloseConnection(code, reason))

    async def heard(self, is_it: Callable[[Event], bool]) -> Any:
        """The next event that is one of these; fails where the client leaves."""
        while True:
            while self.events:
                event = self.events.pop(0)
                if is_it(event):
                    return event
            data = await self.asked.reader.read(65_536)
            self.protocol.receive_data(data or None)
            self.events += self.protocol.events()
            if not data:
                raise ConnectionError("the client has left")

    async def message(self) -> str | bytes:
        """The next message."""
        data: str | bytes = (await self.heard(lambda event: isinstance(event, Message))).data
        return data
