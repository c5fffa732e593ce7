"""A proxy between Kafka's clients and a broker: it counts requests by type, and does to some what bad networks do."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from typing import NamedTuple

__all__ = ["Api", "Fault", "Proxy", "through"]

LENGTH = struct.Struct(">i")
REQUEST = struct.Struct(">ihhi")
"""Length, type, version and correlation id, with which every request begins."""
ANSWER = struct.Struct(">ii")
"""Length and correlation id, with which every answer begins."""
Api = IntEnum(
    "Api",
    {
        "PRODUCE": 0, "FETCH": 1, "LIST_OFFSETS": 2, "METADATA": 3, "OFFSET_FETCH": 9, "FIND_COORDINATOR": 10,
        "API_VERSIONS": 18, "CREATE_TOPICS": 19, "INIT_PRODUCER_ID": 22, "ADD_PARTITIONS_TO_TXN": 24, "ADD_OFFSETS_TO_TXN": 25,
        "END_TXN": 26, "WRITE_TXN_MARKERS": 27, "TXN_OFFSET_COMMIT": 28, "DESCRIBE_CONFIGS": 32,
    },
)  # fmt: skip
"""Types of requests, of those that an app sends, or because of which the broker sends itself some."""


class Fault(NamedTuple):
    """What happens to a request, or to its answer.

    Attributes:
        kind: ``cut`` ends the connection before the broker has the request; ``lost`` ends it when the broker has done what was
            asked, and the answer never comes; ``late`` holds the answer back, and so all that come after it.
        seconds: How late.
    """

    kind: str
    seconds: float = 0.0


Awaited = dict[int, tuple[int, Fault]]
"""By correlation id, the type of requests of one connection to whose answers something is to happen, and what."""


class Proxy:
    """Passes on what comes over each connection, but for the faults that are planned.

    Args:
        port: Where it listens; the broker must say that it listens there.
        to: The broker's port.

    Attributes:
        seen: How many requests of each type there were since the last ``plan``.
        struck: How often each kind of fault befell each type.
    """

    def __init__(self, port: int, to: int) -> None:
        self.to, self.address = to, f"127.0.0.1:{port}"
        self.plan({})
        self._open: dict[asyncio.Task[None] | None, StreamWriter] = {}

    def plan(self, faults: Mapping[tuple[int, int], Fault]) -> None:
        """Count from nothing, and do these, each to the first, second, … request of its type."""
        self.seen: Counter[int] = Counter()
        self.struck: Counter[tuple[int, str]] = Counter()
        self._faults = dict(faults)

    async def run(self, listening: socket.socket, until: asyncio.Event) -> None:
        """Work until the event is set."""
        server = await asyncio.start_server(self._serve, sock=listening)
        await until.wait()
        server.close()
        for writer in self._open.values():
            writer.transport.abort()
        await asyncio.gather(*filter(None, self._open))

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        me = asyncio.current_task()
        self._open[me] = writer
        try:
            there, onward = await asyncio.open_connection("127.0.0.1", self.to)
        except OSError:  # the broker is away
            writer.transport.abort()
        else:
            await self._pass_on((reader, writer), (there, onward))
        del self._open[me]

    async def _pass_on(self, client: tuple[StreamReader, StreamWriter], broker: tuple[StreamReader, StreamWriter]) -> None:
        """Pass on in both directions, until either side, or a fault, ends it."""
        awaited: Awaited = {}
        both = self._requests(client[0], broker[1], awaited), self._answers(broker[0], client[1], awaited)
        pumps = [asyncio.ensure_future(one) for one in both]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump, (_, writer) in zip(pumps, (client, broker)):
            pump.cancel()
            writer.transport.abort()
        await asyncio.gather(*pumps, return_exceptions=True)

    async def _requests(self, reader: StreamReader, writer: StreamWriter, awaited: Awaited) -> None:
        while frame := await _frame(reader):
            _, api, _, correlation = REQUEST.unpack_from(frame)
            self.seen[api] += 1
            if fault := self._faults.get((api, self.seen[api])):
                if fault.kind == "cut":
                    self.struck[api, "cut"] += 1
                    return
                awaited[correlation] = api, fault
            writer.write(frame)
            await writer.drain()

    async def _answers(self, reader: StreamReader, writer: StreamWriter, awaited: Awaited) -> None:
        while frame := await _frame(reader):
            api, fault = awaited.pop(ANSWER.unpack_from(frame)[1], (0, None))
            if fault is not None:
                self.struck[api, fault.kind] += 1
                if fault.kind == "lost":
                    return
                await asyncio.sleep(fault.seconds)
            writer.write(frame)
            await writer.drain()


async def _frame(reader: StreamReader) -> bytes:
    """The next request or answer, with its length; nothing if the connection has ended."""
    try:
        length = await reader.readexactly(LENGTH.size)
        return length + await reader.readexactly(*LENGTH.unpack(length))
    except (asyncio.IncompleteReadError, OSError):
        return b""


@contextmanager
def through(port: int, to: int) -> Iterator[Proxy]:
    """A proxy that works in a thread of its own for as long as this lasts."""
    loop, over, proxy = asyncio.new_event_loop(), asyncio.Event(), Proxy(port, to)
    listening = socket.create_server(("127.0.0.1", port))
    thread = threading.Thread(target=lambda: loop.run_until_complete(proxy.run(listening, over)), name="proxy")
    thread.start()
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
