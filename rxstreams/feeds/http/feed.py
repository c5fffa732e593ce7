"""What the HTTP feeds share: their options, the feed that a run reads, and the stream that is made of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypedDict
from urllib.parse import urlsplit

import msgspec

from rxstreams.errors import ConfigError, Policy, seconds
from rxstreams.feeds.http.connection import Asking, Connection, Paces, Place, shown
from rxstreams.feeds.http.lines import TooLong
from rxstreams.feeds.http.merging import Silence, check_merging, merged
from rxstreams.feeds.source import DAY, IDLE_AFTER, Chunk, Source, Stamping, check_idle_after, check_source, runs_by_clock
from rxstreams.feeds.topics import mapping_of
from rxstreams.operators.arguments import check_flag
from rxstreams.stream import Operation, Stream, source_stream
from rxstreams.watermarks import Generator, TimestampSource

if TYPE_CHECKING:
    import ssl

    from rxstreams.brokers.contract import Broker

__all__ = ["Common", "HttpFeed", "Piece", "Reader", "Reading", "check_installed", "checked_count", "decoder", "feed_stream"]

MAX_ITEM = 1 << 20
CAPACITY = 1024

Headers = Mapping[str, str] | Callable[[], Mapping[str, str] | Awaitable[Mapping[str, str]]]
"""Headers of each request, or a function (it may be async) that is asked for them before each: for tokens that expire."""


class Common(TypedDict, total=False):
    """The options that every HTTP feed takes, by keyword.

    Attributes:
        name: What its cursors are saved under, and what it is called in messages; None is its protocol and its url, without user
            and query. Two feeds of a run that differ in the query only are refused without names.
        timestamp: The event time: a field's name, a function of the value, or None for the clock when the item is read.
        out_of_orderness: Seconds by which items may be out of order; the watermark stays that far behind the greatest time. Each
            url has a watermark, and the feed's is the least of them.
        watermarks: How far time has come after an item, instead: ``rxstreams.watermarks.punctuated(…)``, or one's own.
        idle_after: Seconds after which a url that had nothing, connected or not, no longer holds time back, until its next item;
            10 unless given, None is never.
        advance_when_idle: Whether, while every url is idle, the watermark goes on with the clock, ``out_of_orderness`` behind it;
            None is yes for a feed that is followed (no ``until``), unless ``watermarks`` leaves it to the items.
        max_ahead: Seconds that an event time may be ahead of the wall clock; an item beyond is a bad one. A day unless given,
            None lets all in.
        on_error: What happens to an item that does not decode, is longer than ``max_item``, or has no readable time; None is the
            run's policy.
        until: ``"end"`` ends the stream where the server ends it; None asks again.
        finish: Whether the end is the end of the input, as unless given: all windows close, and a later start says that it is
            finished. False stops here, and a later start goes on.
        headers: Headers of each request, or a function (it may be async) that gives them: for tokens that expire. They go to the
            hosts that were named only.
        timeout: Seconds to connect, and to get an answer's head; 10 unless given.
        silence: Seconds without a byte after which a connection counts as lost, 60 unless given; None waits for ever.
        tries: Failures in a row after which the run stops; None, as unless given, tries for ever what a retry may mend.
        rate: Requests per second to each host, at most; None is no limit but that of retries.
        max_item: Bytes of an item, 1 MiB unless given; a longer one is not held, and meets ``on_error``.
        capacity: Items that travel together at most, 1024 unless given; a run holds a few times as many ahead.
        ssl_context: Who is trusted, instead of those whom the system trusts.
    """

    name: str | None
    timestamp: TimestampSource
    out_of_orderness: float | timedelta
    watermarks: Generator | None
    idle_after: float | timedelta | None
    advance_when_idle: bool | None
    max_ahead: float | timedelta | None
    on_error: Policy | None
    until: Literal["end"] | None
    finish: bool
    headers: Headers | None
    timeout: float | timedelta
    silence: float | timedelta | None
    tries: int | None
    rate: float | None
    max_item: int
    capacity: int
    ssl_context: ssl.SSLContext | None


class Piece(NamedTuple):
    """Items of one place that came together, and what to save after the first n of them; None where nothing can be."""

    values: Sequence[bytes]
    cursor: Callable[[int], Any] | None = None


class Reading(NamedTuple):
    """What a protocol's reader needs to know of the feed.

    Attributes:
        decode: Bytes into an item; raises where they are none.
        max_item: Bytes of an item at most.
        ends: Whether the server's end is the stream's.
        silence: Seconds without a byte after which a connection is lost.
    """

    decode: Callable[[bytes], Any]
    max_item: int
    ends: bool
    silence: float | None


class Reader(Protocol):
    """A protocol: what one place gives, after what was saved of it."""

    def __call__(self, connection: Connection, reading: Reading, saved: Any, /) -> AsyncGenerator[Piece, None]: ...


class HttpFeed(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Places on the web, each a partition; an offset is how many items were taken."""

    id: str
    places: tuple[Place, ...]
    read: Reader
    reading: Reading
    asking: Asking
    capacity: int
    silence: float | None
    """Seconds after which one of several partitions is idle, of which the feed tells."""
    idle_after: float | None
    weakness: str | None
    live: bool
    finish: bool
    topic: str | None = None

    @property
    def urls(self) -> tuple[str, ...]:
        """What tells feeds of one id apart, while they run: it may be secret, and is not saved."""
        return tuple(place.url for place in self.places)

    @property
    def fetch(self) -> int:
        return self.capacity

    async def chunks(
        self, broker: Broker | None, positions: Mapping[int, int] | None, *, first: str | None, saved: Mapping[Any, Any]
    ) -> AsyncGenerator[Chunk, None]:
        silence = None if self.silence is None else Silence(self.silence, len(self.places))
        paces = Paces(self.asking.rate)
        async with self.asking.client() as client:
            parts = []
            for place in self.places:
                at = (positions or {}).get(place.number, 0)
                part = self._numbered(Connection(self.id, place, client, self.asking, paces), at, saved.get(place.key))
                parts.append(part if silence is None else silence.told(place.number, at, part))
            async with aclosing(merged(parts)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def _numbered(self, connection: Connection, at: int, saved: Any) -> AsyncGenerator[Chunk, None]:
        place = connection.place
        async with aclosing(self.read(connection, self.reading, saved)) as pieces:
            async for values, cursor in pieces:
                n, saves = len(values), _saving(place.key, cursor)
                chunk = Chunk(place.number, values, range(at, at + n), at + n, saves=saves)
                if n <= self.capacity:
                    yield chunk
                else:
                    for start in range(0, n, self.capacity):
                        yield chunk.cut(start, start + self.capacity)
                at += n


def _saving(key: str, cursor: Callable[[int], Any] | None) -> Callable[[int], tuple[str, Any]] | None:
    return None if cursor is None else lambda n: (key, cursor(n))


def decoder(where: str, type: Any) -> Callable[[Any], Any]:
    """The function that makes an item of its bytes: JSON, but for ``bytes`` and ``str``, which are as they came.

    Raises:
        ConfigError: If JSON cannot be decoded into ``type``.
    """
    try:
        inner: Callable[[Any], Any] = _plain.get(type) or msgspec.json.Decoder(type).decode
    except TypeError as error:
        raise ConfigError(f"{where}(type): cannot decode JSON into {type!r}: {error}") from error

    def decode(value: Any) -> Any:
        if value.__class__ is TooLong:
            raise ValueError("longer than max_item; raise it, or have such items skipped by on_error=Skip()")
        return inner(value)

    return decode


_plain: dict[Any, Callable[[Any], Any]] = {bytes: bytes, str: bytes.decode}


def feed_stream(
    kind: str,
    urls: Any,
    type: Any,
    common: Common,
    read: Reader,
    *,
    weakness: str | None,
    parameters: Mapping[str, Any],
    schemes: Sequence[str] = ("http", "https"),
    silence: float | None = 60.0,
) -> Stream[Any]:
    """The stream of a protocol, whose public name is ``kind``, its arguments checked.

    Raises:
        ConfigError: If an argument is wrong, or a package that is needed is not installed.
    """
    known = Common.__annotations__.keys()
    if unknown := common.keys() - known:
        raise ConfigError(f"{kind}: no option is called {', '.join(sorted(unknown))}; there are {', '.join(known)}, and its own")
    check_installed(kind, "httpx2", "stamina")
    get: Any = common.get
    places = _places(kind, urls, schemes)
    check_merging(kind, len(places))
    if get("until") not in (None, "end"):
        raise ConfigError(f"{kind}(until): expected 'end' or None, got {get('until')!r}")
    live, name = get("until") is None, get("name")
    if name is not None and (not isinstance(name, str) or not name):
        raise ConfigError(f"{kind}(name): expected a text, or None, got {name!r}")
    on_error = check_source(kind, get("on_error"))
    by_clock = runs_by_clock(kind, get("advance_when_idle"), get("watermarks"), live=live)
    stamping = Stamping.of(
        kind,
        get("timestamp"),
        get("out_of_orderness", 0.0),
        get("watermarks"),
        max_ahead=get("max_ahead", DAY),
        by_clock=by_clock,
    )
    silent = check_idle_after(kind, get("idle_after", IDLE_AFTER))
    asking = _asking(kind, common, silence)
    decode = decoder(kind, type)
    feed = HttpFeed(
        id=f"{kind.removeprefix('from_')}:{name or ','.join(place.shown for place in places)}",
        places=places,
        read=read,
        reading=Reading(decode, checked_count(f"{kind}(max_item)", get("max_item", MAX_ITEM)), not live, asking.silence),
        asking=asking,
        capacity=checked_count(f"{kind}(capacity)", get("capacity", CAPACITY)),
        silence=silent if len(places) > 1 else None,
        idle_after=silent if len(places) == 1 else None,
        weakness=weakness,
        live=live,
        finish=check_flag(f"{kind}(finish)", get("finish", True)),
    )
    make = lambda: Source(feed, decode, stamping, on_error, mapping=mapping_of(type), kind=type)  # noqa: E731  # a value among values
    told = {"url": ", ".join(place.shown for place in places), "type": None if type is Any else type, **parameters}
    return source_stream(Operation(kind, make, told, name, stateful=True, ends=feed, sides=("errors",)))


def check_installed(where: str, *packages: str) -> None:
    """Check that what a feed is made on is there.

    Raises:
        ConfigError: If not; it names the extra.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ConfigError(f"{where}: needs {' and '.join(missing)}, not installed: pip install 'rxstreams[http]'")


def _places(where: str, urls: Any, schemes: Sequence[str]) -> tuple[Place, ...]:
    listed = [urls] if isinstance(urls, str) else urls
    if not isinstance(listed, Sequence) or not listed or not all(isinstance(url, str) for url in listed):
        raise ConfigError(f"{where}(url): expected a url or a list of urls, got {urls!r}")
    if len(set(listed)) < len(listed):
        raise ConfigError(f"{where}(url): expected different urls, got one of them twice")
    for url in listed:
        _check_url(where, url, schemes)
    if len(listed) == 1:
        return (Place(0, listed[0], shown(listed[0]), ""),)
    names = [shown(url) for url in listed]
    keys = [f"{name}#{names[:number].count(name)}" for number, name in enumerate(names)]
    return tuple(Place(number, url, names[number], keys[number]) for number, url in enumerate(listed))


def _check_url(where: str, url: str, schemes: Sequence[str]) -> None:
    try:
        parts = urlsplit(url)
        fine = parts.scheme in schemes and bool(parts.hostname) and (parts.port or 1) > 0 and not any(map(str.isspace, url))
    except ValueError:
        fine = False
    if not fine:
        raise ConfigError(f"{where}(url): expected {'://… or '.join(schemes)}://… with a host, got {shown_loosely(url)}")


def shown_loosely(text: str) -> str:
    """What may be seen of a text that is no url: nothing that might be a password or a token."""
    return repr(text.partition("?")[0].rpartition("@")[2][:80])


def _asking(where: str, common: Common, silence: float | None) -> Asking:
    get: Any = common.get
    headers, rate, quiet, tries = get("headers"), get("rate"), get("silence", silence), get("tries")
    if headers is not None and not isinstance(headers, Mapping) and not callable(headers):
        raise ConfigError(f"{where}(headers): expected a mapping, or a function that returns one, got {type(headers).__name__}")
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < float("inf")):
        raise ConfigError(f"{where}(rate): expected requests per second, more than 0, or None, got {rate!r}")
    if get("ssl_context") is not None and not hasattr(get("ssl_context"), "wrap_bio"):
        raise ConfigError(f"{where}(ssl_context): expected an ssl.SSLContext, or None, got {get('ssl_context')!r}")
    return Asking(
        headers=headers,
        timeout=seconds(f"{where}(timeout)", get("timeout", 10.0), allow_least=False),
        silence=None if quiet is None else seconds(f"{where}(silence)", quiet, allow_least=False),
        rate=rate,
        tries=None if tries is None else checked_count(f"{where}(tries)", tries),
        ssl_context=get("ssl_context"),
    )


def checked_count(where: str, value: Any) -> int:
    """``value`` itself, if it is an integer of at least 1.

    Raises:
        ConfigError: If not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{where}: expected an integer of at least 1, got {value!r}")
    return value
