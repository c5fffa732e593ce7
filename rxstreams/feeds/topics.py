"""from_topic: a topic of the broker as a stream, decoded into a type."""

from __future__ import annotations

import asyncio
import builtins
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import is_dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, get_origin, is_typeddict, overload

import msgspec

from rxstreams.errors import ConfigError, OffsetsError, Policy
from rxstreams.feeds.source import DAY, IDLE_AFTER, Chunk, Source, Stamping, check_idle_after, check_source, runs_by_clock
from rxstreams.log import logger
from rxstreams.stream import Operation, Stream, source_stream
from rxstreams.watermarks import Generator, TimestampSource, to_millis

if TYPE_CHECKING:
    from rxstreams.brokers.contract import Broker

__all__ = ["DEFAULT_BROKER", "TopicFeed", "broker_url", "from_topic", "mapping_of", "opened"]

T = TypeVar("T")
When = Literal["earliest", "latest"] | datetime | float

DEFAULT_BROKER = "sqlite:///rxstreams.db"
FETCH = 2048
_WAIT = 0.5


def broker_url(url: str | None) -> str:
    """The broker to use: what is given, else the environment's ``RXSTREAMS_BROKER``, else a SQLite file in this folder."""
    return url or os.environ.get("RXSTREAMS_BROKER") or DEFAULT_BROKER


@asynccontextmanager
async def opened(broker: str | Broker | None) -> AsyncIterator[Broker]:
    """A broker that is given, as it is; one that is named by its URL, or by ``broker_url``, is started and stopped."""
    if broker is not None and not isinstance(broker, str):
        yield broker
        return
    from rxstreams.brokers import connect  # describing a pipeline needs none

    home = connect(broker_url(broker))
    await home.start()
    try:
        yield home
    finally:
        await home.stop()


@overload
def from_topic(
    name: str,
    type: type[T],
    /,
    *,
    timestamp: TimestampSource = ...,
    out_of_orderness: float | timedelta = ...,
    watermarks: Generator | None = ...,
    idle_after: float | timedelta | None = ...,
    advance_when_idle: bool | None = ...,
    max_ahead: float | timedelta | None = ...,
    start: When | None = ...,
    until: Literal["end"] | datetime | float | None = ...,
    finish: bool = ...,
    on_error: Policy | None = ...,
) -> Stream[T]: ...
@overload
def from_topic(
    name: str,
    /,
    *,
    timestamp: TimestampSource = ...,
    out_of_orderness: float | timedelta = ...,
    watermarks: Generator | None = ...,
    idle_after: float | timedelta | None = ...,
    advance_when_idle: bool | None = ...,
    max_ahead: float | timedelta | None = ...,
    start: When | None = ...,
    until: Literal["end"] | datetime | float | None = ...,
    finish: bool = ...,
    on_error: Policy | None = ...,
) -> Stream[Any]: ...
def from_topic(
    name: str,
    type: Any = Any,
    /,
    *,
    timestamp: TimestampSource = None,
    out_of_orderness: float | timedelta = 0.0,
    watermarks: Generator | None = None,
    idle_after: float | timedelta | None = IDLE_AFTER,
    advance_when_idle: bool | None = None,
    max_ahead: float | timedelta | None = DAY,
    start: When | None = None,
    until: Literal["end"] | datetime | float | None = None,
    finish: bool = True,
    on_error: Policy | None = None,
) -> Stream[Any]:
    """Read a topic: each record's JSON as a ``type``.

    Shape: → type, in order per partition. Exactly once in a run: its offsets are committed with the results.
    Holds: the records that are fetched ahead, some thousands at most.
    Ends: never, or where ``until`` says.

    Args:
        name: The topic. A run creates it if it is not there.
        type: What a record is: a msgspec Struct, a dataclass, a TypedDict, ``dict`` or ``bytes`` (as they are); any JSON
            without.
        timestamp: The event time: a field's name, a function of the value, or None for the record's timestamp.
        out_of_orderness: Seconds by which records may be out of order; the watermark stays that far behind the greatest time.
            Each partition has a watermark, and the topic's is the least of them.
        watermarks: How far time has come after a record, instead: ``rxstreams.watermarks.punctuated(…)``, or one's own.
        idle_after: Seconds after which a partition that was asked for records and had none no longer holds time back, until its
            next record; None is never. A partition that is not asked, because there is no room, is not idle.
        advance_when_idle: Whether, while every partition is idle, the watermark goes on with the clock, ``out_of_orderness``
            behind it, so that windows close without a further record; None is yes for a topic that is followed (no ``until``),
            unless ``watermarks`` leaves it to the records.
        max_ahead: Seconds that an event time may be ahead of the wall clock; a record beyond is a bad record. None lets all in.
        start: Where the very first start begins: ``"earliest"`` (the default of a run), ``"latest"`` (of a subscription), or a
            time (aware datetime or epoch seconds), by the records' timestamps.
        until: ``"end"`` stops at the records that are there at the start; a time stops at the first record from then on.
        finish: Whether ``until`` is the end of the input: all windows close, and a later start says that it is finished. False
            stops here, and a later start goes on.
        on_error: What happens to a record that does not decode, or has no readable time; None is the run's policy.

    Raises:
        ConfigError: If an argument is wrong.
    """
    if not isinstance(name, str) or not name:
        raise ConfigError(f"from_topic(name): expected a topic's name, got {name!r}")
    check_source("from_topic", on_error)
    live = until is None
    by_clock = runs_by_clock("from_topic", advance_when_idle, watermarks, live=live)
    stamping = Stamping.of("from_topic", timestamp, out_of_orderness, watermarks, max_ahead=max_ahead, by_clock=by_clock)
    silence = check_idle_after("from_topic", idle_after)
    feed = TopicFeed(f"topic:{name}", name, _start(start), _until(until), finish, live, silence)
    decode = _decoder(name, type)
    parameters = {"name": name, "type": None if type is Any else type, "timestamp": timestamp, "until": until}
    make = lambda: Source(feed, decode, stamping, on_error, mapping=mapping_of(type), kind=type)  # noqa: E731  # a value among values
    return source_stream(Operation("from_topic", make, parameters, ends=feed, sides=("errors",)))


def _decoder(name: str, type: Any) -> Callable[[Any], Any] | None:
    if type is bytes:
        return None
    try:
        return msgspec.json.Decoder(type).decode
    except TypeError as error:
        raise ConfigError(f"from_topic({name!r}): cannot decode JSON into {type!r}: {error}") from error


def mapping_of(type: Any) -> bool | None:
    """Whether the decoder makes mappings, or objects; None where it may make either."""
    if isinstance(type, builtins.type) and (issubclass(type, msgspec.Struct) or is_dataclass(type)):
        return False
    return True if type is dict or get_origin(type) is dict or is_typeddict(type) else None


def _start(start: Any) -> str | int | None:
    if start is None or start in ("earliest", "latest"):
        return cast("str | None", start)
    return _time("start", start, "'earliest', 'latest'")


def _until(until: Any) -> str | int | None:
    return until if until is None or until == "end" else _time("until", until, "'end'")


def _time(argument: str, value: Any, words: str) -> int:
    try:
        return to_millis(value)
    except ValueError as error:
        raise ConfigError(f"from_topic({argument}): expected {words} or a time, got {value!r} ({error})") from error


class TopicFeed(msgspec.Struct, frozen=True):
    """A topic's partitions, read in turns."""

    id: str
    topic: str | None
    start: str | int | None
    until: str | int | None
    finish: bool
    live: bool
    silence: float | None
    """Seconds after which a partition is idle; it is the feed that tells of it."""
    weakness: str | None = None
    idle_after: float | None = None
    fetch: int = FETCH

    async def chunks(
        self, broker: Broker | None, positions: Mapping[int, int] | None, *, first: str | None, saved: Mapping[Any, Any]
    ) -> AsyncGenerator[Chunk, None]:
        if broker is None:
            async with opened(None) as home:
                async for chunk in self.chunks(home, positions, first=first, saved=saved):
                    yield chunk
            return
        assert self.topic is not None
        reading = Reading(self, broker, self.topic)
        await reading.open(positions, first or "earliest")
        for partition, offset in reading.at.items():
            # A partition with a backlog is announced, so that those that are read before it do not make its records late. And
            # where reading begins elsewhere than at the start, that is committed even if nothing ever comes.
            expected = offset < reading.ends[partition]
            if expected or (positions is None and self.start not in (None, "earliest")):
                yield Chunk(partition, (), (), offset, news="expected" if expected else None)
        while not reading.over:
            got = False
            near = reading.behind()
            for partition in sorted(reading.at, key=lambda one: one not in near):
                if got and partition not in near:
                    break
                fetched = await reading.fetch(partition)
                if fetched is not None:
                    got = True
                    reading.silences.heard(partition)
                    yield fetched
                elif reading.silences.asked(partition, ended=self.finish and reading.has_read(partition)):
                    news: Any = "all idle" if reading.silences.idle >= reading.at.keys() else "idle"
                    yield Chunk(partition, (), (), reading.at[partition], news=news)
            if not got and not reading.over:
                await reading.wait()


class Silences:
    """Which partitions are idle: those that were asked and had nothing, and again not ``after`` seconds later.

    In between they had nothing either, as records stay in a log. A partition that is not asked meanwhile is not idle, however
    long that takes; so one whose records wait because there is no room for them is never set aside.
    """

    def __init__(self, after: float | None) -> None:
        self.after = after
        self.since: dict[int, float] = {}
        self.idle: set[int] = set()
        self.now = asyncio.get_running_loop().time

    def heard(self, partition: int) -> None:
        """It had something."""
        self.since.pop(partition, None)
        self.idle.discard(partition)

    def asked(self, partition: int, *, ended: bool) -> bool:
        """It had nothing; return whether it is idle from now on, and was not before."""
        if partition in self.idle or (self.after is None and not ended):
            return False
        if not ended and self.now() - self.since.setdefault(partition, self.now()) < (self.after or 0.0):
            return False
        self.idle.add(partition)
        return True

    def next(self) -> float:
        """Seconds until the next of them may be idle."""
        waiting = [since for partition, since in self.since.items() if partition not in self.idle]
        return max(0.0, min(waiting) + self.after - self.now()) if waiting and self.after is not None else _WAIT


class Reading:
    """Where a topic is being read: per partition the next offset, and where to stop."""

    def __init__(self, feed: TopicFeed, broker: Broker, topic: str) -> None:
        self.feed, self.broker, self.topic = feed, broker, topic
        self.at: dict[int, int] = {}
        self.stop: dict[int, int] = {}
        self.begin: dict[int, int] = {}
        self.ends: dict[int, int] = {}
        self.silences = Silences(feed.silence)

    def has_read(self, partition: int) -> bool:
        """Whether a partition has been read up to its stop."""
        return partition in self.stop and self.at[partition] >= self.stop[partition]

    @property
    def over(self) -> bool:
        """Whether every partition has been read up to its stop."""
        return bool(self.stop) and all(map(self.has_read, self.stop))

    async def open(self, positions: Mapping[int, int] | None, first: str) -> None:
        """Find where to begin and, if the feed is bounded, where to stop."""
        if self.topic not in await self.broker.topics():
            await self.broker.create_topic(self.topic)
        starts = await self.broker.start_offsets(self.topic)
        if positions is None:
            begin = await self._first(self.feed.start or first, starts)
        else:
            begin = [positions.get(p, start) for p, start in enumerate(starts)]  # a new partition is taken from its start
        self.at = dict(enumerate(begin))
        self.begin = dict(self.at)
        self.ends = dict(enumerate(await self.broker.end_offsets(self.topic)))
        if self.feed.until == "end":
            self.stop = dict(self.ends)
        elif isinstance(self.feed.until, int):
            self.stop = dict(enumerate(await self.broker.offsets_at(self.topic, self.feed.until)))
        self.ends |= self.stop

    def behind(self) -> Collection[int]:
        """The partitions to read next: of a backlog, those of which the least is read, so that all come to the same time.

        Taken in equal parts, they would come apart by how much they differ in size, and all windows between be open.
        """
        sizes = {p: end - self.begin[p] for p, end in self.ends.items() if self.at[p] < end}
        if not sizes:
            return self.at
        share = {p: (self.at[p] - self.begin[p]) / size for p, size in sizes.items()}
        least = min(share.values())
        return [p for p in self.at if p not in share or share[p] <= least + FETCH / 2 / sizes[p]]

    async def _first(self, start: str | int, starts: list[int]) -> list[int]:
        if isinstance(start, int):
            return await self.broker.offsets_at(self.topic, start)
        return starts if start == "earliest" else await self.broker.end_offsets(self.topic)

    async def fetch(self, partition: int) -> Chunk | None:
        """The next records of a partition, up to its stop; None if there are none now."""
        offset, stop = self.at[partition], self.stop.get(partition)
        if self.has_read(partition):
            return None
        got = await self.broker.read(self.topic, partition, offset, max_records=FETCH)
        if (got.offsets[0] if got.offsets else got.next_offset) > offset:
            await self._check_deleted(partition, offset)
        chunk = Chunk(partition, got.values, got.offsets, got.next_offset, got.timestamps, got.keys, got.headers)
        if stop is not None and got.next_offset > stop:
            chunk = msgspec.structs.replace(chunk.cut(0, sum(1 for at in got.offsets if at < stop)), next_offset=stop)
        self.at[partition] = chunk.next_offset
        return chunk if len(chunk.values) or chunk.next_offset > offset else None

    async def _check_deleted(self, partition: int, offset: int) -> None:
        """A gap before the records may be how this broker numbers them, or records that were deleted before they were read."""
        start = (await self.broker.start_offsets(self.topic))[partition]
        if start > offset:
            raise OffsetsError(
                f"{self.feed.id}: partition {partition} is kept from offset {start} on, and was read up to {offset}: what lay "
                "between was deleted unread. Keep more (retention), or go on from the earliest (offsets='earliest')"
            )

    async def wait(self) -> None:
        """Return when there may be more."""
        timeout = min(_WAIT, self.silences.next())
        await self.broker.wait({(self.topic, partition): at for partition, at in self.at.items()}, timeout=timeout)
        if self.stop:  # a partition that is made now is behind the end
            return
        known = await self.broker.start_offsets(self.topic)
        for partition in range(len(self.at), len(known)):
            logger().info("new partition, read from its start", topic=self.topic, partition=partition)
            self.at[partition] = known[partition]
