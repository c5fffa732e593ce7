"""from_poll: a url that is asked again and again, page after page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

import msgspec

from rxstreams.errors import ConfigError, seconds
from rxstreams.feeds.http.connection import Connection, Cursor
from rxstreams.feeds.http.feed import Common, Piece, Reading, checked_count, feed_stream
from rxstreams.feeds.http.known import Id, News, checked_id, identity
from rxstreams.feeds.http.lines import BYTE_ORDER_MARK, TooLong
from rxstreams.feeds.http.resuming import checked_cursor
from rxstreams.feeds.http.retrying import DOUBTFUL, Lost
from rxstreams.stream import Stream

if TYPE_CHECKING:
    import httpx2

__all__ = ["Page", "from_poll"]

T = TypeVar("T")

NOT_MODIFIED = 304
MAX_RESPONSE = 64 << 20


class Page:
    """A response, as ``items`` and ``next`` of ``from_poll`` see it.

    Attributes:
        body: Its bytes.
        headers: Its headers; names in any case.
    """

    def __init__(self, body: bytes, headers: Mapping[str, str] = {}) -> None:  # it is only read
        self.body, self.headers = body, headers

    @cached_property
    def json(self) -> Any:
        """Its body decoded."""
        return msgspec.json.decode(self.body)


Items = str | Callable[[Page], Iterable[Any]] | None
Next = Callable[[Page], Cursor] | None


@overload
def from_poll(
    url: str | list[str],
    type: type[T],
    /,
    *,
    every: float | timedelta,
    items: Items = ...,
    next: Next = ...,
    id: Id | None = ...,
    remember: int = ...,
    max_response: int = ...,
    **common: Unpack[Common],
) -> Stream[T]: ...
@overload
def from_poll(
    url: str | list[str],
    /,
    *,
    every: float | timedelta,
    items: Items = ...,
    next: Next = ...,
    id: Id | None = ...,
    remember: int = ...,
    max_response: int = ...,
    **common: Unpack[Common],
) -> Stream[Any]: ...
def from_poll(
    url: str | list[str],
    type: Any = Any,
    /,
    *,
    every: float | timedelta,
    items: Items = None,
    next: Next = None,
    id: Id | None = None,
    remember: int = 1024,
    max_response: int = MAX_RESPONSE,
    **common: Unpack[Common],
) -> Stream[Any]:
    """Ask a url again and again: each item of a response as a ``type``.

    Shape: → type, in order per url. Exactly once in a run: the page and how many of its items were taken are committed with the
    results, or with ``id`` the ids of the last ones. A response that is the one before, by its ``ETag``, its ``Last-Modified`` or
    byte for byte, is nothing new. Of any other are new: with ``id`` the items that were not there before; with ``next`` alone
    those after as many as were taken, so that a page must only grow at its end; with neither, all.
    Holds: one response per url, of ``max_response`` bytes at most, and 8 bytes of each of the last ``remember`` ids.
    Ends: never; ``until="end"`` ends it after the last page.

    Args:
        url: The url, or several, each a partition with a cursor and a watermark of its own.
        type: What an item is: a msgspec Struct, a dataclass, a TypedDict, ``dict``, or ``bytes`` or ``str`` (as it is); any JSON
            without.
        every: Seconds from one response to the next request, where no page follows.
        items: Where the items are: the name of a field with an array; a function of the ``Page`` that returns them, as bytes or
            as what JSON can be made of; None is the response, or each element where it is an array.
        next: What to ask for after a page: query parameters that are put into the url, or a url (it may be relative), such as the
            next page's; None asks for the same page again after ``every``. A page without new items is followed after ``every``
            only, too. Without ``id`` a page must only grow at its end: where items are put in front, or leave it, as many as were
            taken are left out from its front, which loses new ones and repeats others.
        id: What an item is known by, wherever in a list it stands: a field's name, of the decoded item or of its JSON, or a
            function of the decoded item. An item whose id came before is left out; nothing is counted. It is needed for lists
            that begin with the newest item, or have the last few only. One that does not decode is known by its bytes.
        remember: How many of the last ids are kept, and committed; at least all those of a response. An item counts as seen
            again each time that it is there.
        max_response: Bytes of a response, 64 MiB unless given.
        common: What all HTTP feeds take; see ``Common``. ``max_item`` is for an item of a response.

    Raises:
        ConfigError: If an argument is wrong, or httpx2 is not installed.

    Source: RFC 9110, conditional requests; RFC 8288, links to the next page.
    """
    if not (items is None or callable(items) or (isinstance(items, str) and items)):
        raise ConfigError(f"from_poll(items): expected a field's name, a function of the page, or None, got {items!r}")
    if next is not None and not callable(next):
        raise ConfigError(f"from_poll(next): expected a function of the page, or None, got {next!r}")
    known = checked_id("from_poll(id)", id)
    kept = checked_count("from_poll(remember)", remember)
    pause = seconds("from_poll(every)", every, allow_least=False)
    largest = checked_count("from_poll(max_response)", max_response)
    reader = PageReader(pause, items, next, largest, type in (bytes, str), known, kept)
    parameters = {"every": pause, "items": items, "id": id}
    return feed_stream("from_poll", url, type, common, reader, weakness=None, parameters=parameters)


class At(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where one place is: the page, how many of its items were taken or the last ids, its server's name for it if all were."""

    cursor: Cursor = None
    taken: int = 0
    etag: str | None = None
    modified: str | None = None
    digest: str | None = None
    ids: bytes = b""

    def headers(self) -> dict[str, str | bytes]:
        """What a request has to say of it."""
        asked: dict[str, str | bytes] = {"accept": "application/json, */*;q=0.5"}
        if self.etag is not None and self.etag.isascii():
            asked["if-none-match"] = self.etag
        if self.modified is not None:
            asked["if-modified-since"] = self.modified
        return asked


class PageReader(msgspec.Struct, frozen=True):
    """Reads one place's pages."""

    every: float
    items: Items
    next: Next
    max_response: int
    plain: bool
    """Whether an item is bytes as they come, and the response no JSON."""
    id: Id | None = None
    remember: int = 1024

    async def __call__(self, connection: Connection, reading: Reading, saved: Any, /) -> AsyncGenerator[Piece, None]:
        at = At() if saved is None else msgspec.convert(saved, At)

        async def connect() -> AsyncGenerator[Piece, None]:
            nonlocal at
            while True:
                page, before = await self._asked(connection, at), at
                piece, at = (Piece(()), at) if page is None else self._taken(page, at, connection, reading)
                turned = at.cursor != before.cursor
                yield piece
                if reading.ends and not turned:
                    return
                if not (turned and piece.values):
                    await asyncio.sleep(self.every)

        async with aclosing(connection.lasting(connect)) as pieces:
            async for piece in pieces:
                if piece.cursor is not None:
                    yield piece

    async def _asked(self, connection: Connection, at: At) -> Page | None:
        """The page; None if nothing has changed."""
        async with connection.opened(at.cursor, at.headers(), also=NOT_MODIFIED) as response:
            if response.status_code == NOT_MODIFIED:
                return None
            if not self.plain and not callable(self.items):
                connection.check_type(response, "JSON", lambda kind: "html" in kind)
            return Page(await self._body(response, connection), response.headers)

    async def _body(self, response: httpx2.Response, connection: Connection) -> bytes:
        body = bytearray()
        async with aclosing(response.aiter_bytes()) as parts:
            async for part in parts:
                body += part
                if len(body) > self.max_response:
                    raise connection.error(
                        f"expected a response of at most max_response={self.max_response} bytes, got more; ask for smaller "
                        "pages, or raise it"
                    )
        return bytes(body.removeprefix(BYTE_ORDER_MARK))

    def _taken(self, page: Page, at: At, connection: Connection, reading: Reading) -> tuple[Piece, At]:
        """The items that were not taken yet, and where the place is after them."""
        with Blaming(connection, "items="):
            found = self._items(page)
        with Blaming(connection, "next="):
            told = None if self.next is None else self.next(page)
        following = None if told is None else checked_cursor(connection, "next=", told)
        stays = following is None or following == at.cursor
        if self.id is None:
            places, part, whole = self._counted(page, at, len(found))
        else:
            places, part, whole = self._known(self.id, page, at, found, connection, reading)
        values = [TooLong.of(one) if len(one) > reading.max_item else one for one in map(found.__getitem__, places)]
        after = whole if stays else At(following, ids=whole.ids)

        def cursor(n: int) -> Any:
            return msgspec.to_builtins(after if n == len(values) else part(n))

        return Piece(values, None if after == at else cursor), after

    def _counted(self, page: Page, at: At, size: int) -> tuple[Sequence[int], Callable[[int], At], At]:
        """Which items are new, as a page grows at its end only; where the place is after some of them, and after all."""
        digest = blake2b(page.body, digest_size=8).hexdigest()
        skipped = min(at.taken, size) if self.next is not None or digest == at.digest else 0
        whole = At(at.cursor, size, page.headers.get("etag"), page.headers.get("last-modified"), digest)
        return range(skipped, size), lambda n: At(at.cursor, skipped + n, digest=digest), whole

    def _known(
        self, id: Id, page: Page, at: At, found: list[bytes], connection: Connection, reading: Reading
    ) -> tuple[Sequence[int], Callable[[int], At], At]:
        """The same, by the items' ids."""
        ids = [identity(id, one, reading.decode, connection) for one in found]
        news = News(at.ids, ids, self.remember)
        get = page.headers.get
        whole = At(at.cursor, 0, get("etag"), get("last-modified"), ids=news.after(len(news.new)))
        return news.places, lambda n: At(at.cursor, ids=news.after(n)), whole

    def _items(self, page: Page) -> list[bytes]:
        if callable(self.items):
            return [_bytes(item) for item in self.items(page)]
        body: Any = page.body
        if self.items is not None:
            fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
            if self.items not in fields:
                raise msgspec.ValidationError(f"expected a field {self.items!r}, got {', '.join(fields) or 'none'}")
            body = fields[self.items]
        elif self.plain:
            return [body]
        elif not body.lstrip().startswith(b"["):
            # A page for people, whatever its type says, is no item.
            return [bytes(msgspec.json.decode(body, type=msgspec.Raw))]
        return list(map(bytes, msgspec.json.decode(body, type=list[msgspec.Raw])))


def _bytes(item: Any) -> bytes:
    return bytes(item) if isinstance(item, bytes | bytearray | memoryview) else msgspec.json.encode(item)


class Blaming:
    """Says which of the user's functions failed; a page that does not decode may be better the next time."""

    def __init__(self, connection: Connection, what: str) -> None:
        self.connection, self.what = connection, what

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, msgspec.DecodeError | UnicodeDecodeError | RecursionError):
            raise Lost(f"a response that is not as expected: {error}", tries=DOUBTFUL) from error
        if isinstance(error, Exception):
            raise self.connection.error(f"{self.what} raised {type(error).__name__}: {error}") from error
