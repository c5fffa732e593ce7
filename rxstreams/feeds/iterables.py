"""from_iterable and from_async_iterable: Python's own sequences as streams."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from datetime import timedelta
from itertools import count, islice
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from reactivex import abc
from reactivex.scheduler import CurrentThreadScheduler

from rxstreams.batch import Batch
from rxstreams.errors import ConfigError, Policy
from rxstreams.feeds.source import IDLE_AFTER, Chunk, Source, Stamping, check_idle_after, check_source, runs_by_clock
from rxstreams.stream import Operation, Stream, source_stream
from rxstreams.watermarks import END, Generator, TimestampSource

if TYPE_CHECKING:
    from rxstreams.brokers.contract import Broker

__all__ = ["AsyncIterableFeed", "IterableFeed", "from_async_iterable", "from_iterable"]

T = TypeVar("T")

FETCH = 1024
_iterables = count(1)


def from_iterable(
    iterable: Iterable[T],
    scheduler: abc.SchedulerBase | None = None,
    *,
    timestamp: TimestampSource = None,
    out_of_orderness: float | timedelta = 0.0,
    watermarks: Generator | None = None,
    name: str | None = None,
    on_error: Policy | None = None,
) -> Stream[T]:
    """Emit the items of an iterable, then end.

    Shape: → T, in order. In a run its position is saved, and a restart skips what was committed: the iterable must give the
    same items each time that it is iterated over (a list does, a generator does not).
    Holds: nothing; in a run about a thousand items ahead.
    Ends: with the iterable, or with what it raises.

    Args:
        iterable: Where the items come from.
        scheduler: Where a subscription emits; None is the subscription's, or the current thread.
        timestamp: The event time (a field's name or a function); None is the clock when the item is read.
        out_of_orderness: Seconds by which items may be out of order.
        watermarks: How far time has come after an item, instead: ``rxstreams.watermarks.punctuated(…)``, or one's own.
        name: What its position is saved under.
        on_error: What happens to an item without a readable time; None is the run's policy.

    Source: Rx ``from`` (RxPY ``from_iterable``).
    """
    if not isinstance(iterable, Iterable):
        raise ConfigError(f"from_iterable(iterable): expected an iterable, got {type(iterable).__name__}")
    check_source("from_iterable", on_error)
    stamping = Stamping.of("from_iterable", timestamp, out_of_orderness, watermarks)
    once = "its iterator cannot be read again after a restart" if isinstance(iterable, Iterator) else None
    feed = IterableFeed(f"iterable:{name or next(_iterables)}", iterable, once)
    make = lambda: IterableSource(feed, stamping, on_error, scheduler)  # noqa: E731  # a value among values
    return source_stream(Operation("from_iterable", make, {"name": name}, name, ends=feed, sides=("errors",)))


class IterableFeed(msgspec.Struct, frozen=True, eq=False):
    """An iterable; its offset is how many items were read."""

    id: str
    iterable: Iterable[Any]
    weakness: str | None
    live: bool = False
    finish: bool = True
    topic: str | None = None
    idle_after: float | None = None
    fetch: int = FETCH

    async def chunks(
        self, broker: Broker | None, positions: Mapping[int, int] | None, *, first: str | None, saved: Mapping[Any, Any]
    ) -> AsyncGenerator[Chunk, None]:
        offset = (positions or {}).get(0, 0)
        items = iter(self.iterable) if self.weakness else islice(self.iterable, offset, None)
        while values := list(islice(items, FETCH)):
            yield Chunk(0, values, range(offset, offset + len(values)), offset + len(values))
            offset += len(values)


class IterableSource(Source):
    """In a subscription it emits as RxPY does: all at once on its scheduler; or, for a reader that may be full, with pauses."""

    def __init__(
        self, feed: IterableFeed, stamping: Stamping, on_error: Policy | None, scheduler: abc.SchedulerBase | None
    ) -> None:
        super().__init__(feed, None, stamping, on_error)
        self.scheduler, self.iterable, self.stopped = scheduler, feed.iterable, False

    def produce(self) -> None:
        if self.host.pace is not None:
            super().produce()
            return
        scheduler = self.scheduler or self.host.scheduler or CurrentThreadScheduler.singleton()  # type: ignore[attr-defined]  # cold
        self.host.group.add(scheduler.schedule(self.emit_all))  # type: ignore[attr-defined]  # a subscription's host

    def emit_all(self, _: Any, __: Any = None) -> None:
        items = iter(self.iterable)
        offset = 0
        while not self.stopped:
            try:
                item = next(items)
            except StopIteration:
                break
            except Exception as error:
                self.fail(error)
                return
            if self.host.wants_time:
                self.push(Chunk(0, (item,), (offset,), offset + 1), numbered=False)
            else:
                self.emit(Batch((item,)))
            offset += 1
        if self.host.wants_time:
            self.forward(END)
        self.finish()

    def close(self) -> None:
        self.stopped = True
        super().close()


def from_async_iterable(
    iterable: AsyncIterable[T] | Callable[[], AsyncIterable[T]],
    *,
    timestamp: TimestampSource = None,
    out_of_orderness: float | timedelta = 0.0,
    watermarks: Generator | None = None,
    idle_after: float | timedelta | None = IDLE_AFTER,
    advance_when_idle: bool | None = None,
    name: str | None = None,
    on_error: Policy | None = None,
) -> Stream[T]:
    """Emit the items of an async iterable as they come, then end.

    Shape: → T, in order. It cannot be read again, so a run promises at most once for what a crash finds uncommitted, and says so.
    Holds: nothing; in a run a few items ahead, then the iterable waits.
    Ends: with the iterable, or with what it raises.

    Args:
        iterable: The async iterable, or a function that returns one for each subscription.
        timestamp: The event time (a field's name or a function); None is the clock when the item comes.
        out_of_orderness: Seconds by which items may be out of order.
        watermarks: How far time has come after an item, instead: ``rxstreams.watermarks.punctuated(…)``, or one's own.
        idle_after: Seconds without an item after which, in a run, it is idle; None is never.
        advance_when_idle: Whether the watermark then goes on with the clock, ``out_of_orderness`` behind it, so that windows
            close without a further item; None is yes, unless ``watermarks`` leaves it to the items.
        name: Shown in pictures and messages.
        on_error: What happens to an item without a readable time; None is the run's policy.
    """
    if not isinstance(iterable, AsyncIterable) and not callable(iterable):
        raise ConfigError(
            "from_async_iterable(iterable): expected an async iterable or a function that returns one, "
            f"got {type(iterable).__name__}"
        )
    if inspect.iscoroutinefunction(iterable):
        raise ConfigError("from_async_iterable(iterable): got a coroutine function; make it an async generator (with yield)")
    check_source("from_async_iterable", on_error)
    by_clock = runs_by_clock("from_async_iterable", advance_when_idle, watermarks, live=True)
    stamping = Stamping.of("from_async_iterable", timestamp, out_of_orderness, watermarks, by_clock=by_clock)
    silence = check_idle_after("from_async_iterable", idle_after)
    feed = AsyncIterableFeed(f"async_iterable:{name or next(_iterables)}", iterable, silence)
    make = lambda: Source(feed, None, stamping, on_error)  # noqa: E731  # a value among values
    return source_stream(Operation("from_async_iterable", make, {"name": name}, name, ends=feed, sides=("errors",)))


class AsyncIterableFeed(msgspec.Struct, frozen=True, eq=False):
    """An async iterable; its offsets only count."""

    id: str
    iterable: Any
    idle_after: float | None
    weakness: str | None = "an async iterable cannot be read again after a crash"
    live: bool = True
    finish: bool = True
    topic: str | None = None
    fetch: int = 1

    async def chunks(
        self, broker: Broker | None, positions: Mapping[int, int] | None, *, first: str | None, saved: Mapping[Any, Any]
    ) -> AsyncGenerator[Chunk, None]:
        offset = (positions or {}).get(0, 0)
        items = self.iterable if isinstance(self.iterable, AsyncIterable) else self.iterable()
        async with aclosing(_as_generator(items)) as generator:
            async for item in generator:
                yield Chunk(0, (item,), (offset,), offset + 1)
                offset += 1


async def _as_generator(items: AsyncIterable[Any]) -> AsyncGenerator[Any, None]:
    """The items; closing it closes them too, if they are a generator themselves."""
    try:
        async for item in items:
            yield item
    finally:
        if isinstance(items, AsyncGenerator):
            await items.aclose()
