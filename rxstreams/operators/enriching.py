"""enrich: what something outside knows of each record's key, looked up once, and kept for a while."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from reactivex import Observable

from rxstreams.batch import Batch
from rxstreams.errors import Policy, Retry, seconds
from rxstreams.operators.arguments import check_count, getter
from rxstreams.operators.awaiting import Ordered, call_operator
from rxstreams.operators.calls import Calls, Refused
from rxstreams.operators.edges import Held, Overflow
from rxstreams.stream import Stream

__all__ = ["Lookups", "enrich"]

A = TypeVar("A", bound=Any)
B = TypeVar("B")


def enrich(
    function: Callable[[Any], Awaitable[B | None]] | Callable[[list[Any]], Awaitable[Mapping[Any, B] | Sequence[B | None]]],
    *,
    key: str | Callable[[A], Hashable],
    ttl: float | timedelta = 60.0,
    negative_ttl: float | timedelta = 5.0,
    max_entries: int = 10_000,
    batch: int | None = None,
    concurrency: int = 64,
    ordered: Ordered = True,
    timeout: float | timedelta | None = None,
    retry: int | Retry | None = None,
    capacity: int | None = None,
    overflow: Overflow = "block",
    on_error: Policy | None = None,
    name: str | None = None,
) -> Callable[[Observable[A]], Stream[tuple[A, B | None]]]:
    """Put beside each value what a coroutine function finds for its key: in a database, at a service.

        orders   -5-7---5-|
                 [ enrich(lambda k: asyncio.sleep(2, k * 2), key=int) ]   one character = one second
        result   ---a-b-c-|        a=(5,10) b=(7,14) c=(5,10)

    Shape: A → tuple[A, B | None], one for one, with None where nothing was found; keys stay. Order as in ``map_async``.
    Time: each record's own; the watermark waits for them.
    Holds: what was found for the last ``max_entries`` keys, in memory alone; values that wait, as ``map_async``.
    Bounded by: ``max_entries`` answers and ``capacity`` values (and what one record makes).
    Ends: when its input has ended and every lookup has; an exception ends a subscription, and meets ``on_error`` in a run.
    Depends on: clock
    Names: RxJS —, RxPY —, Kafka Streams — (Flink lookup join)

    A key is asked for once while its answer is fresh, however many records want it at one time; an error is not kept.

    Args:
        function: A coroutine function of a key; with ``batch`` of a list of different keys, which returns a mapping by key, or a
            list of as many answers.
        key: The key of a value: a field's name, or a function.
        ttl: Seconds for which an answer is fresh.
        negative_ttl: Seconds for which it is remembered that there was none (None).
        max_entries: How many answers are kept; those used longest ago are forgotten.
        batch: The most keys to ask for in one call; None is one, by itself.
        concurrency: How many calls may be under way.
        ordered: True, False, or ``"by_key"``.
        timeout: Seconds that one call may take.
        retry: How often a failing call is made again.
        capacity: How many values may be held.
        overflow: What becomes of more.
        on_error: What happens to a value for which nothing could be looked up.
        name: The operator's identity for the saved values.

    Raises:
        ConfigError: If an argument is wrong.
    """
    key_of = getter("enrich(key)", key)
    fresh = seconds("enrich(ttl)", ttl, allow_least=False), seconds("enrich(negative_ttl)", negative_ttl)
    check_count("enrich(max_entries)", max_entries, least=1)
    if batch is not None:
        check_count("enrich(batch)", batch, least=1)

    def node(given: Any, **options: Any) -> Calls:
        return Enriching(Lookups(given, *fresh, max_entries, many=batch is not None), key_of, **options)

    return call_operator(
        "enrich", function, function, node, concurrency=concurrency, ordered=ordered, timeout=timeout, retry=retry,
        capacity=capacity, overflow=overflow, on_error=on_error, name=name, group=batch,
    )  # fmt: skip


_Typed = tuple[type, Hashable]
"""A key, with its type."""


class _GivenUp(Exception):
    """Who looked a key up does not wait for it any more; whoever shared it may ask anew."""


class Enriching(Calls):
    def __init__(self, lookups: Lookups, key_of: Callable[[Any], Hashable], **options: Any) -> None:
        super().__init__(self.look_up, **options)
        self.lookups, self.key_of = lookups, key_of

    async def look_up(self, values: Any) -> Any:
        if not self.lookups.many:
            return (await self.lookups.get([self.key_of(values)]))[0]
        keys = [self.key_or_error(value) for value in values]
        found = iter(await self.lookups.get([key for key in keys if not isinstance(key, Refused)]))
        return [key if isinstance(key, Refused) else next(found) for key in keys]

    def key_or_error(self, value: Any) -> Any:
        """The key of one of several values; one that has none must not take the others along."""
        try:
            return self.key_of(value)
        except Exception as error:
            return Refused(error)

    def results(self, ones: list[Held]) -> Batch:
        return self.batch_of(ones, [(one.value, one.outcome) for one in ones])


class Lookups:
    """Answers by key: those that are fresh, and those that are being looked up, which all who want them wait for.

    Args:
        function: Looks up a key, or a list of keys.
        ttl: Seconds for which an answer is fresh,
        negative_ttl: and one that there is none.
        max_entries: How many are kept.
        many: Whether the function takes a list.
    """

    def __init__(
        self, function: Callable[[Any], Awaitable[Any]], ttl: float, negative_ttl: float, max_entries: int, *, many: bool
    ) -> None:
        self.function, self.ttl, self.negative_ttl, self.max_entries, self.many = function, ttl, negative_ttl, max_entries, many
        self.known: OrderedDict[_Typed, tuple[float, Any]] = OrderedDict()
        self.flights: dict[_Typed, asyncio.Future[Any]] = {}

    async def get(self, keys: Sequence[Hashable]) -> list[Any]:
        """The answers for these keys.

        Raises:
            Exception: What the function raised, here or for somebody who asked for one of the keys at the same time.
        """
        typed = [(type(key), key) for key in keys]  # 1 is not True
        answers = {key: self.fresh(key) for key in typed}
        shared = {key: self.flights[key] for key, found in answers.items() if found is None and key in self.flights}
        missing = [key for key, found in answers.items() if found is None and key not in shared]
        if missing:
            answers |= await self.ask(missing)
        for key, flight in shared.items():
            try:
                answers[key] = (await asyncio.shield(flight),)  # who stops waiting takes nobody's answer away
            except _GivenUp:
                answers[key] = ((await self.get([key[1]]))[0],)
        return [found[0] for found in map(answers.__getitem__, typed) if found is not None]

    def fresh(self, key: _Typed) -> tuple[Any] | None:
        """What is known of a key."""
        if key not in self.known:
            return None
        until, answer = self.known[key]
        if until <= asyncio.get_running_loop().time():
            del self.known[key]
            return None
        self.known.move_to_end(key)
        return (answer,)

    async def ask(self, keys: list[_Typed]) -> dict[_Typed, tuple[Any] | None]:
        """Look keys up that nobody is looking up, for all who want them meanwhile."""
        loop = asyncio.get_running_loop()
        flights = [loop.create_future() for _ in keys]
        self.flights.update(zip(keys, flights, strict=True))
        try:
            found = await self.look_up([key for _, key in keys])
        except BaseException as error:
            failure = error if isinstance(error, Exception) else _GivenUp("the lookup that it shared was given up")
            for flight in flights:
                flight.set_exception(failure)
                flight.exception()  # somebody may wait for it, or nobody
            raise
        else:
            for key, flight, answer in zip(keys, flights, found, strict=True):
                flight.set_result(answer)
                self.remember(key, answer)
        finally:
            for key in keys:
                del self.flights[key]
        return {key: (answer,) for key, answer in zip(keys, found, strict=True)}

    async def look_up(self, keys: list[Hashable]) -> Sequence[Any]:
        if not self.many:
            return [await self.function(keys[0])]
        found = await self.function(keys)
        if isinstance(found, Mapping):
            return [found.get(key) for key in keys]
        if not isinstance(found, Sequence) or len(found) != len(keys):
            raise TypeError(f"expected a mapping by key or a list of {len(keys)} answers, one for each key, got {found!r:.80}")
        return found

    def remember(self, key: _Typed, answer: Any) -> None:
        ttl = self.negative_ttl if answer is None else self.ttl
        if ttl > 0:
            self.known[key] = asyncio.get_running_loop().time() + ttl, answer
            self.known.move_to_end(key)
            while len(self.known) > self.max_entries:
                self.known.popitem(last=False)
