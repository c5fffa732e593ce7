"""What every source shares: chunks of raw records become batches, decoded and stamped with event times and watermarks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from rxstreams.batch import Batch
from rxstreams.errors import ConfigError, DecodeError, Policy, TimestampError, check_policy, seconds
from rxstreams.operators.arguments import check_function, column_of, field_of
from rxstreams.state.codec import TAGGED
from rxstreams.stream import Node
from rxstreams.watermarks import END, SECONDS_BELOW, Bounded, Generator, TimestampSource, Watermarks, generator_of, to_millis

if TYPE_CHECKING:
    from rxstreams.brokers.contract import Broker, Header

__all__ = ["IDLE_AFTER", "Chunk", "Feed", "Source", "Stamping", "check_idle_after", "check_source", "runs_by_clock"]

DAY = 86_400.0
IDLE_AFTER = 10.0


class Chunk(msgspec.Struct):
    """Consecutive raw records of one partition, as a feed hands them on."""

    partition: int
    values: Sequence[Any]
    offsets: Sequence[int]
    next_offset: int
    """Where to read on after all of them."""
    timestamps: Sequence[int] | None = None
    """The broker's record timestamps (ms)."""
    keys: Sequence[bytes | None] | None = None
    headers: Sequence[tuple[Header, ...]] | None = None
    news: Literal["expected", "idle", "all idle"] | None = None
    """What a chunk without records tells: that the partition has some which are not read yet, so that its time is to be waited
    for; that it was asked and had none for ``idle_after``, or has ended; or that this is so of every partition.
    """
    saves: Callable[[int], tuple[Any, Any]] | None = None
    """What to save, and under which name, after the first n of these records: the feed gets it back after a restart."""

    def cut(self, start: int, stop: int) -> Chunk:
        """The records from ``start`` up to ``stop``."""
        part = slice(start, stop)
        following = self.next_offset if stop >= len(self.values) else self.offsets[stop]
        return Chunk(
            self.partition,
            self.values[part],
            self.offsets[part],
            following,
            self.timestamps and self.timestamps[part],
            self.keys and self.keys[part],
            self.headers and self.headers[part],
            saves=self.saves and partial(_after, self.saves, start),
        )


def _after(saves: Callable[[int], tuple[Any, Any]], before: int, n: int) -> tuple[Any, Any]:
    return saves(before + n)


class Feed(Protocol):
    """A source's blueprint, as a run reads it.

    Attributes:
        id: What its positions are saved under; unique in a pipeline.
        weakness: Why the run cannot promise exactly once with it; None where it can.
        live: Whether its records come as they happen, so that a time far ahead of the clock is a mistake.
        finish: Whether its end is the end of the input, or only where this run stops.
        topic: The topic whose offsets it reads, if it reads one.
        idle_after: Seconds after which the run takes silence for idleness; None where there is none, or the feed tells of it.
        fetch: The most records of a chunk.
    """

    @property
    def id(self) -> str: ...
    @property
    def weakness(self) -> str | None: ...
    @property
    def live(self) -> bool: ...
    @property
    def finish(self) -> bool: ...
    @property
    def topic(self) -> str | None: ...
    @property
    def idle_after(self) -> float | None: ...
    @property
    def fetch(self) -> int: ...

    def chunks(
        self, broker: Broker | None, positions: Mapping[int, int] | None, *, first: str | None, saved: Mapping[Any, Any]
    ) -> AsyncGenerator[Chunk, None]:
        """The records after ``positions`` (per partition the next offset), as they come; ends where the source ends.

        Args:
            broker: Where topics are.
            positions: None at the very first start.
            first: Where to begin then, if the source was not told: ``"earliest"`` in a run, ``"latest"`` in a subscription.
            saved: What its chunks gave to save (``Chunk.saves``), as of the last commit.
        """
        ...


class Stamping(msgspec.Struct, frozen=True):
    """How a source's records get their event time, and how far time has come after them."""

    timestamp: TimestampSource = None
    generator: Generator = Bounded(0)
    max_ahead: float | None = DAY
    by_clock: bool = False
    """Whether time goes on with the clock while every partition is idle."""

    @staticmethod
    def of(
        where: str,
        timestamp: TimestampSource,
        out_of_orderness: Any,
        watermarks: Generator | None,
        *,
        max_ahead: Any = None,
        by_clock: bool = False,
    ) -> Stamping:
        """Checked arguments.

        Raises:
            ConfigError: If one is not what a source takes.
        """
        if timestamp is not None and not isinstance(timestamp, str):
            if not callable(timestamp):
                raise ConfigError(
                    f"{where}(timestamp): expected a field's name, a function of the value, or None, got {timestamp!r}"
                )
            check_function(f"{where}(timestamp)", timestamp)
        ahead = None if max_ahead is None else seconds(f"{where}(max_ahead)", max_ahead)
        return Stamping(timestamp, generator_of(where, out_of_orderness, watermarks), ahead, by_clock)

    def reader(self) -> Callable[[Any], int]:
        """The event time of one value.

        Raises:
            ValueError: From the function, if the value has none that can be read.
        """
        field = self.timestamp
        if isinstance(field, str):
            return lambda value: to_millis(field_of(value, field))
        assert field is not None
        return lambda value: to_millis(field(value))


class Source(Node):
    """The node of every source: decodes, stamps, emits. A run pushes chunks into it; a subscription lets it read its feed.

    ``states`` has what the feed is given back after a restart; the operation of such a feed is ``stateful``.
    """

    ports = 0
    codec = TAGGED

    def __init__(
        self,
        feed: Feed,
        decode: Callable[[Any], Any] | None,
        stamping: Stamping,
        on_error: Policy | None,
        *,
        mapping: bool | None = None,
        kind: Any = None,
    ) -> None:
        super().__init__()
        self.feed, self.decode, self.stamping, self.on_error = feed, decode, stamping, on_error
        self.times = Watermarks(stamping.generator)
        self.by_clock = False
        self.read_time = None if stamping.timestamp is None else stamping.reader()
        self.fused: Callable[[Chunk], None] | None = None
        self.mapping = mapping  # whether it decodes into dicts; None where it may be either
        self.kind = kind  # the type that it decodes into
        self.task: asyncio.Task[None] | None = None

    def push(self, chunk: Chunk, *, numbered: bool) -> None:
        """Emit a chunk's records as one batch; ``numbered`` where somebody downstream needs their order."""
        if chunk.saves is not None:
            self.note(*chunk.saves(len(chunk.values)))
        if not len(chunk.values):
            self.hear(chunk)
        else:
            self.by_clock = False
            if self.fused is not None:
                self.fused(chunk)
                return
        b = Batch(chunk.values, chunk.timestamps, None, range(len(chunk.values)) if numbered else None)
        if self.decode is not None:
            self.error_type = DecodeError
            values, b = self.each(self.decode, b)
            b = b.of(values)
        if not self.host.wants_time:
            self.emit(b.timed(None))
            return
        if len(b):
            self.error_type = TimestampError
            self.emit(self.stamp(b, chunk.partition))
        self.forward(self.times.now)

    def note(self, name: Any, value: Any) -> None:
        """Save what the feed wants back after a restart; None is nothing any more."""
        if value is not None:
            self.states[name] = value
        else:
            self.states.pop(name, None)
        self.dirty.add(name)

    def hear(self, chunk: Chunk) -> None:
        """Take in what a chunk without records tells of its partition."""
        if chunk.news in ("idle", "all idle"):
            self.times.set_aside(chunk.partition)
            self.by_clock = chunk.news == "all idle" and self.stamping.by_clock
        elif chunk.news == "expected":
            self.times.expect(chunk.partition)
        else:
            self.times.release(chunk.partition)

    def pass_time(self, now: int) -> None:
        """The clock says ``now`` (ms), and no record has come: so far may time have come, too."""
        assert isinstance(self.stamping.generator, Bounded)
        self.times.raise_to(now - self.stamping.generator.delay)
        self.forward(self.times.now)

    def stamp(self, b: Batch, partition: int) -> Batch:
        """The batch with event times, and the watermark before each record."""
        if self.read_time is not None:
            times = self.at_once(b.values)
            if times is None:
                times, b = self.each(self.read_time, b)
            b = b.timed(times)
        elif b.times is None:
            b = b.timed([int(self.host.now() * 1000)] * len(b))
        if b.times:
            b = self.reject_ahead(b)
        generator, stamps = self.times.generator, b.times or ()
        if isinstance(generator, Bounded):
            return b.marked(self.times.advance(partition, stamps, generator.delay))
        marks, b = self.each(partial(self.times.step, partition), b, stamps)
        return b.marked(marks)

    def at_once(self, values: Sequence[Any]) -> list[Any] | None:
        """The times of all records, at C speed, if they stand in a field as milliseconds."""
        field = self.stamping.timestamp
        if not isinstance(field, str):
            return None
        with suppress(Exception):
            times = list(column_of(field, values))
            if set(map(type, times)) == {int} and min(times) >= SECONDS_BELOW:
                return times
        return None

    def limit(self) -> int:
        """The greatest event time that is let in."""
        ahead = self.stamping.max_ahead if self.feed.live else None
        return END if ahead is None else int((self.host.now() + ahead) * 1000)

    def reject_ahead(self, b: Batch) -> Batch:
        """Without the records whose time is too far in the future: one wrong clock must not close everybody's windows."""
        limit, times = self.limit(), b.times or ()
        if max(times) <= limit:
            return b

        def check(_: Any, time: int) -> None:
            if time > limit:
                ahead = self.stamping.max_ahead
                raise ValueError(f"event time {time} ms is more than max_ahead={ahead:g} s ahead of the clock")

        _, b = self.each(check, b, times)
        return b

    def produce(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigError(
                f"{self.feed.id}: subscribing needs a running asyncio loop; use rxstreams.run, or subscribe inside a coroutine"
            ) from None
        self.task = loop.create_task(self._read())
        self.task.add_done_callback(self._report)

    async def _read(self) -> None:
        async with aclosing(self.feed.chunks(None, None, first="latest", saved={})) as chunks:
            async for chunk in chunks:
                for i in range(len(chunk.values)):
                    if self.host.pace is not None and self.host.pace.full:
                        await self.host.pace.room()
                    self.push(chunk.cut(i, i + 1), numbered=False)
                await asyncio.sleep(0)
        if self.host.wants_time:
            self.forward(END)
        self.finish()

    def _report(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.fail(task.exception())  # type: ignore[arg-type]  # what a feed raises is an Exception

    def close(self) -> None:
        if self.task is not None:
            self.task.cancel()


def check_source(where: str, on_error: Any) -> Policy | None:
    """A source's policy, checked."""
    return check_policy(where, on_error, waits=False)


def check_idle_after(where: str, idle_after: Any) -> float | None:
    """``idle_after`` in seconds; None for never.

    Raises:
        ConfigError: If it is no duration.
    """
    return None if idle_after is None else seconds(f"{where}(idle_after)", idle_after, allow_least=False)


def runs_by_clock(where: str, advance_when_idle: Any, watermarks: Any, *, live: bool) -> bool:
    """Whether time goes on with the clock while all is idle: by default where the source is live, and its watermark bounded.

    Raises:
        ConfigError: If that was asked for, and the watermark is one that only records move.
    """
    if advance_when_idle is not None and not isinstance(advance_when_idle, bool):
        raise ConfigError(f"{where}(advance_when_idle): expected True, False or None, got {advance_when_idle!r}")
    measured = watermarks is None or isinstance(watermarks, Bounded)
    if advance_when_idle and not measured:
        raise ConfigError(
            f"{where}(advance_when_idle): the clock can take the place of out_of_orderness or bounded(…) only, got {watermarks!r}"
        )
    return live and measured if advance_when_idle is None else advance_when_idle
