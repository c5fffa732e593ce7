"""from_websocket: the messages of a WebSocket."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Any, TypeVar, Unpack, overload

import msgspec

from rxstreams.errors import ConfigError, seconds
from rxstreams.feeds.http.connection import Connection, Cursor
from rxstreams.feeds.http.feed import Common, Piece, Reading, check_installed, feed_stream
from rxstreams.feeds.http.resuming import NOT_RESUMED, Resuming
from rxstreams.feeds.http.sockets import handshake, sockets
from rxstreams.operators.arguments import check_function
from rxstreams.stream import Stream

__all__ = ["from_websocket"]

T = TypeVar("T")

PING = 20.0
SWITCHING = 101

Send = Any
"""A message to send, ``str``, ``bytes``, or what JSON is made of; a list of them; or a function that returns either."""


@overload
def from_websocket(
    url: str | list[str],
    type: type[T],
    /,
    *,
    send: Send = ...,
    resume: Callable[[T], Cursor] | None = ...,
    ping: float | timedelta | None = ...,
    **common: Unpack[Common],
) -> Stream[T]: ...
@overload
def from_websocket(
    url: str | list[str],
    /,
    *,
    send: Send = ...,
    resume: Callable[[Any], Cursor] | None = ...,
    ping: float | timedelta | None = ...,
    **common: Unpack[Common],
) -> Stream[Any]: ...
def from_websocket(
    url: str | list[str],
    type: Any = Any,
    /,
    *,
    send: Send = None,
    resume: Callable[[Any], Cursor] | None = None,
    ping: float | timedelta | None = PING,
    **common: Unpack[Common],
) -> Stream[Any]:
    """Follow the messages of a WebSocket: each as a ``type``.

    Shape: → type, in order per url. Exactly once in a run with ``resume``; without it a server is connected to anew after a
    restart or a lost connection, and the run's guarantee says so.
    Holds: ``capacity`` items at a time; no message longer than ``max_item``.
    Ends: never; ``until="end"`` ends it when the server closes it (code 1000).

    Args:
        url: The url (``ws://`` or ``wss://``), or several, each a partition with a cursor and a watermark of its own.
        type: What a message is: a msgspec Struct, a dataclass, a TypedDict, ``dict``, or ``bytes`` or ``str`` (as it is); any
            JSON without.
        send: What to send when connected, each time: a text, bytes, or something that is sent as JSON; a list of these; or a
            function (it may be async) that returns either, for tokens that expire.
        resume: What to ask for after an item, each time that it connects: query parameters that are put into the url, or a url
            (it may be relative); None where the item does not say. It is asked of the last item that decodes, when what came is
            committed.
        ping: Seconds without a byte after which the server is pinged; after as many more the connection counts as lost. None
            never pings.
        common: What all HTTP feeds take; see ``Common``. ``silence`` is without a message here, and None unless given.

    Raises:
        ConfigError: If an argument is wrong, or httpx2 or wsproto is not installed.

    Source: RFC 6455.
    """
    if resume is not None:
        check_function("from_websocket(resume)", resume)
    check_installed("from_websocket", "wsproto")
    every = None if ping is None else seconds("from_websocket(ping)", ping, allow_least=False)
    weakness = None if resume is not None else NOT_RESUMED
    reader = MessageReader(_checked(send), resume, every)
    parameters = {"resume": resume}
    return feed_stream(
        "from_websocket",
        url,
        type,
        common,
        reader,
        weakness=weakness,
        parameters=parameters,
        schemes=("ws", "wss"),
        silence=None,
    )


def _checked(send: Send) -> Send:
    """``send``, if what it is can be sent; what a function returns is seen when it is called.

    Raises:
        ConfigError: If not.
    """
    try:
        if not callable(send):
            _messages(send)
    except TypeError as error:
        raise ConfigError(
            f"from_websocket(send): expected texts, bytes, or what JSON is made of, got {send!r}: {error}"
        ) from error
    return send


def _messages(send: Send) -> list[str | bytes]:
    if send is None:
        return []
    listed: Sequence[Any] = send if isinstance(send, list) else [send]
    return [one if isinstance(one, str | bytes) else msgspec.json.encode(one).decode() for one in listed]


class MessageReader(msgspec.Struct, frozen=True):
    """Reads one place's messages."""

    send: Send
    resume: Callable[[Any], Cursor] | None
    ping: float | None

    async def __call__(self, connection: Connection, reading: Reading, saved: Any, /) -> AsyncGenerator[Piece, None]:
        resuming = Resuming(connection, self.resume, reading.decode, saved)

        async def connect() -> AsyncGenerator[list[bytes], None]:
            headers, accepted = handshake()
            async with connection.opened(resuming.cursor, headers, also=SWITCHING) as response:
                if response.status_code != SWITCHING or not accepted(response.headers):
                    raise connection.error(
                        f"expected a WebSocket (status 101), got {response.status_code}; check the url, and proxies on the way"
                    )
                async with sockets(response, reading, self.ping) as socket:
                    for message in await self._messages(connection):
                        await socket.send(message)
                    async with aclosing(socket.messages()) as messages:
                        async for values in messages:
                            yield values

        async with aclosing(connection.lasting(connect)) as parts:
            async for values in parts:
                yield resuming.piece(values)

    async def _messages(self, connection: Connection) -> list[str | bytes]:
        try:
            send = self.send() if callable(self.send) else self.send
            return _messages(await send if inspect.isawaitable(send) else send)
        except OSError:
            raise  # as where a token comes from is lost, too
        except Exception as error:
            raise connection.error(f"send= raised {type(error).__name__}: {error}") from error
