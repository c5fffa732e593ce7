"""from_sse: Server-Sent Events, which a server numbers so that a client can ask to go on after the last one."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Collection, Iterable
from contextlib import aclosing
from typing import Any, TypeVar, Unpack, overload
from zlib import crc32

import msgspec

from rxstreams.errors import ConfigError
from rxstreams.feeds.http.connection import Connection
from rxstreams.feeds.http.feed import Common, Piece, Reading, checked_count, feed_stream
from rxstreams.feeds.http.parsing import Event, Events
from rxstreams.feeds.http.retrying import Lost
from rxstreams.log import logger
from rxstreams.stream import Stream

__all__ = ["from_sse"]

T = TypeVar("T")

NO_CONTENT = 204
SHOWN = 64


@overload
def from_sse(
    url: str | list[str],
    type: type[T],
    /,
    *,
    event: str | Collection[str] | None = ...,
    resumes: bool = ...,
    remember: int = ...,
    **common: Unpack[Common],
) -> Stream[T]: ...
@overload
def from_sse(
    url: str | list[str],
    /,
    *,
    event: str | Collection[str] | None = ...,
    resumes: bool = ...,
    remember: int = ...,
    **common: Unpack[Common],
) -> Stream[Any]: ...
def from_sse(
    url: str | list[str],
    type: Any = Any,
    /,
    *,
    event: str | Collection[str] | None = None,
    resumes: bool = True,
    remember: int = 256,
    **common: Unpack[Common],
) -> Stream[Any]:
    """Follow Server-Sent Events: each event's data as a ``type``.

    Shape: → type, in order per url. Exactly once in a run, where the server numbers its events and keeps them: after a restart it
    is asked to go on after the last id that was committed (``Last-Event-ID``).
    Holds: ``capacity`` items at a time and the last ``remember`` ids; no event longer than ``max_item``.
    Ends: never; or with status 204, by which a server says that there is no more; or where ``until`` says.

    Args:
        url: The url, or several, each a partition with a cursor and a watermark of its own.
        type: What an event's data is: a msgspec Struct, a dataclass, a TypedDict, ``dict``, or ``bytes`` or ``str`` (as it is);
            any JSON without.
        event: The name or names of the events to take; None takes all. What is not taken needs no id.
        resumes: Whether the server goes on after an id. False takes events without ids, too: then what comes while there is no
            connection is lost, and the run's guarantee says so.
        remember: How many of the last ids are kept, and committed, each with a checksum of its data: an event that has both of
            one of them came before, from a server that begins again with the last one or goes back, and is dropped. One with
            other data is new: a server may count anew when it starts.
        common: What all HTTP feeds take; see ``Common``.

    Raises:
        ConfigError: If an argument is wrong, or httpx2 is not installed.

    Source: HTML Living Standard, "Server-sent events".
    """
    wanted = _names(event)
    if not isinstance(resumes, bool):
        raise ConfigError(f"from_sse(resumes): expected True or False, got {resumes!r}")
    reader = EventReader(wanted, resumes, checked_count("from_sse(remember)", remember))
    weakness = None if resumes else "events without ids cannot be asked for again: what comes while it is not connected is lost"
    parameters = {"event": event, "resumes": None if resumes else False}
    return feed_stream("from_sse", url, type, common, reader, weakness=weakness, parameters=parameters)


def _names(event: Any) -> frozenset[bytes] | None:
    names = [event] if isinstance(event, str) else event
    if names is None:
        return None
    if not isinstance(names, Collection) or not names or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"from_sse(event): expected a name or names, got {event!r}")
    return frozenset(map(str.encode, names))


class EventReader(msgspec.Struct, frozen=True):
    """Reads one place's events."""

    names: frozenset[bytes] | None
    resumes: bool
    remember: int

    async def __call__(self, connection: Connection, reading: Reading, saved: Any, /) -> AsyncGenerator[Piece, None]:
        memory = Memory(saved or (), self.remember)

        async def connect() -> AsyncGenerator[list[Event], None]:
            headers: dict[str, str | bytes] = {"accept": "text/event-stream", "cache-control": "no-store"}
            # A proxy that compresses holds events back until its buffer is full.
            headers["accept-encoding"] = "identity"
            if memory.last is not None:
                headers["last-event-id"] = memory.last
            async with connection.opened(headers=headers) as response:
                if response.status_code == NO_CONTENT:
                    return
                connection.check_type(response, "Server-Sent Events", lambda kind: kind != "text/event-stream")
                events = Events(reading.max_item)
                try:
                    async with aclosing(response.aiter_bytes()) as parts:
                        async for part in parts:
                            found = events.of(part)
                            if events.retry is not None:
                                connection.patience.pause = events.retry
                            yield found
                finally:
                    memory.tell(connection)
                if not reading.ends:
                    raise Lost("the server ended the response", in_order=True)

        async with aclosing(connection.lasting(connect)) as parts:
            async for events in parts:
                piece = self.piece(events, memory, connection)
                if piece.values:
                    yield piece

    def piece(self, events: list[Event], memory: Memory, connection: Connection) -> Piece:
        """The events that are wanted, and did not come before."""
        names = self.names
        if names is not None:
            events = [one for one in events if one[2] in names]
        if not self.resumes:
            return Piece([data for data, _, _ in events])
        before = tuple(memory.kept)
        values, new = memory.news(events)
        if any(own is None for own, _ in new):
            raise connection.error(
                "expected an id with each event, to go on after it, got one without. Take those that have one by event=…, or all "
                "of them by resumes=False, which loses what comes while there is no connection"
            )
        return Piece(values, lambda n: [*before, *new[:n]][-self.remember :])


Known = tuple[bytes, int | None]
"""An event's id and the checksum of its data; None where it was saved without."""


class Memory:
    """The last events of one place, by id and checksum.

    Attributes:
        last: The id to go on after.
        dropped: How many events of this connection came before.
    """

    def __init__(self, saved: Iterable[Any], most: int) -> None:
        self.kept: deque[Known] = deque(((one, None) if isinstance(one, bytes) else tuple(one) for one in saved), maxlen=most)
        self.known = set(self.kept)
        self.last: bytes | None = self.kept[-1][0] if self.kept else None
        self.dropped, self.range = 0, (b"", b"")

    def news(self, events: list[Event]) -> tuple[list[bytes], list[tuple[bytes | None, int]]]:
        """Data and ids of the events that did not come before, which are known from now on."""
        values, new, known = [], [], self.known
        for data, own, _ in events:
            # An id alone does not tell: a server that counts anew after a restart gives those of before to other events.
            one = (own, crc32(data))
            if one not in known or own is None:
                known.add(one)  # type: ignore[arg-type]  # None ends the stream
                values.append(data)
                new.append(one)
            else:
                self.range = (self.range[0] if self.dropped else own, own)
                self.dropped += 1
        if new:
            self.kept.extend(new)  # type: ignore[arg-type]  # ditto
            self.last = new[-1][0]
            self.known = set(self.kept)
        return values, new

    def tell(self, connection: Connection) -> None:
        """Log what a connection brought that came before, if it did."""
        if self.dropped:
            first, last = (one[:SHOWN].decode(errors="replace") for one in self.range)
            told = {"events": self.dropped, "from_id": first, "to_id": last}
            logger().info("events that came before were left out", feed=connection.feed, place=connection.place.shown, **told)
        self.dropped = 0
