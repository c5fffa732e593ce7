"""from_ndjson: a response that goes on and on, an item on each line."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

import msgspec

from rxstreams.feeds.http.connection import Connection, Cursor
from rxstreams.feeds.http.feed import Common, Piece, Reading, feed_stream
from rxstreams.feeds.http.lines import Lines
from rxstreams.feeds.http.resuming import NOT_RESUMED, Resuming
from rxstreams.feeds.http.retrying import Lost
from rxstreams.operators.arguments import check_function
from rxstreams.stream import Stream

if TYPE_CHECKING:
    import httpx2

__all__ = ["from_ndjson"]

T = TypeVar("T")


@overload
def from_ndjson(
    url: str | list[str], type: type[T], /, *, resume: Callable[[T], Cursor] | None = ..., **common: Unpack[Common]
) -> Stream[T]: ...
@overload
def from_ndjson(
    url: str | list[str], /, *, resume: Callable[[Any], Cursor] | None = ..., **common: Unpack[Common]
) -> Stream[Any]: ...
def from_ndjson(
    url: str | list[str], type: Any = Any, /, *, resume: Callable[[Any], Cursor] | None = None, **common: Unpack[Common]
) -> Stream[Any]:
    """Follow a response of JSON lines: each line as a ``type``.

    Shape: → type, in order per url; empty lines are none. Exactly once in a run with ``resume``; without it a server is asked
    anew after a restart or a lost connection, and the run's guarantee says so.
    Holds: ``capacity`` items at a time; no line longer than ``max_item``.
    Ends: never: where the response ends, the server is asked again. ``until="end"`` is for a response that is finite.

    Args:
        url: The url, or several, each a partition with a cursor and a watermark of its own.
        type: What a line is: a msgspec Struct, a dataclass, a TypedDict, ``dict``, or ``bytes`` or ``str`` (as it is); any JSON
            without.
        resume: What to ask for after an item: query parameters that are put into the url, or a url (it may be relative); None
            where the item does not say. It is asked of the last item that decodes, when what came is committed.
        common: What all HTTP feeds take; see ``Common``.

    Raises:
        ConfigError: If an argument is wrong, or httpx2 is not installed.

    Source: NDJSON, JSON Lines; chunked transfer coding (RFC 9112).
    """
    if resume is not None:
        check_function("from_ndjson(resume)", resume)
    weakness = None if resume is not None else NOT_RESUMED
    reader = LineReader(resume, type in (bytes, str))
    return feed_stream("from_ndjson", url, type, common, reader, weakness=weakness, parameters={"resume": resume})


class LineReader(msgspec.Struct, frozen=True):
    """Reads one place's lines."""

    resume: Callable[[Any], Cursor] | None
    plain: bool
    """Whether an item is bytes as they come; in JSON a carriage return at its end is nothing."""

    async def __call__(self, connection: Connection, reading: Reading, saved: Any, /) -> AsyncGenerator[Piece, None]:
        resuming = Resuming(connection, self.resume, reading.decode, saved)

        async def connect() -> AsyncGenerator[list[bytes], None]:
            lines = Lines(reading.max_item)
            headers = {"accept": "application/x-ndjson, application/jsonl, application/json", "accept-encoding": "identity"}
            async with connection.opened(resuming.cursor, headers) as response:
                connection.check_type(response, "lines of JSON", lambda kind: "html" in kind)
                async with aclosing(response.aiter_bytes()) as parts:
                    async for part in parts:
                        yield self._items(lines.split(part))
                if (reading.ends or _is_whole(response)) and (rest := lines.rest()):
                    yield self._items([rest])
                if not reading.ends:
                    raise Lost("the server ended the response", in_order=_is_whole(response))

        async with aclosing(connection.lasting(connect)) as parts:
            async for items in parts:
                if items:
                    yield resuming.piece(items)

    def _items(self, lines: list[bytes]) -> list[bytes]:
        """Lines that are no empty ones, by which a server shows that it is there."""
        items = list(filter(bytes.strip, lines))
        return [item.removesuffix(b"\r") if item.__class__ is bytes else item for item in items] if self.plain else items


def _is_whole(response: httpx2.Response) -> bool:
    """Whether the end of the response is known to be its end, and not the connection's: a line that it broke off is no item."""
    return "transfer-encoding" in response.headers or "content-length" in response.headers
