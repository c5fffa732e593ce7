"""One call for each record: map_async, filter_async, flat_map_async."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from datetime import timedelta
from itertools import chain, repeat
from typing import Any, Literal, TypeVar

from reactivex import Observable

from rxstreams.batch import Batch
from rxstreams.errors import ConfigError, Policy, Retry, seconds
from rxstreams.operators.arguments import check_count, check_name
from rxstreams.operators.calls import Calls, Order, with_retry
from rxstreams.operators.edges import DONE, Held, Overflow, check_edge
from rxstreams.stream import Operation, Stream, operator

__all__ = ["Ordered", "call_operator", "filter_async", "flat_map_async", "map_async"]

A = TypeVar("A", bound=Any)
B = TypeVar("B")

Ordered = bool | Literal["by_key"]
ORDERS: dict[Any, Order] = {True: "input", False: "any", "by_key": "key"}


def map_async(
    function: Callable[[A], Awaitable[B]],
    *,
    concurrency: int = 64,
    ordered: Ordered = True,
    timeout: float | timedelta | None = None,
    retry: int | Retry | None = None,
    capacity: int | None = None,
    overflow: Overflow = "block",
    on_error: Policy | None = None,
    name: str | None = None,
) -> Callable[[Observable[A]], Stream[B]]:
    """Replace each value by what a coroutine function returns for it, several calls at a time.

        orders   -5-1-------|
                 [ map_async(lambda x: asyncio.sleep(x, x * 10)) ]   one character = one second
        result   ------(a,b)|      a=50 b=10

        orders   -5-1-------|
                 [ map_async(lambda x: asyncio.sleep(x, x * 10), ordered=False) ]
        result   ----a-b----|      a=10 b=50

    Shape: A → B, one for one; keys stay. In order, or as the calls end (``ordered=False``), or in order per key, one call of a
    key at a time (``"by_key"``). Results count once; after a crash, calls whose results were not committed are made again.
    Time: each record's own; the watermark waits for them.
    Holds: the values whose calls are under way or wait, and results that wait for those before them; the values are saved in a
    run, an entry each, so that a commit does not wait for calls, and are called for again after a restart.
    Bounded by: ``capacity`` values (and what one record makes).
    Ends: when its input has ended and every call has; an exception ends a subscription, and meets ``on_error`` in a run.
    Depends on: clock
    Names: RxJS ``mergeMap``, ``concatMap``, RxPY —, Kafka Streams — (Flink ``AsyncDataStream``)

    Args:
        function: A coroutine function of the value; one that blocks is made into one by ``rxstreams.in_thread``.
        concurrency: How many calls may be under way.
        ordered: True, False, or ``"by_key"`` (after ``key_by``).
        timeout: Seconds that one attempt may take; then it is cancelled, and fails with TimeoutError.
        retry: How often a failing call is made again, 0.1 s later and then twice as long each time; or ``Retry(…)``.
        capacity: How many values may be held; None is four times ``concurrency``.
        overflow: What becomes of more; as in ``bounded``.
        on_error: What happens to a value whose last attempt failed; None is the run's policy.
        name: The operator's identity for the saved values.

    Raises:
        ConfigError: If an argument is wrong.

    Source: Flink, FLIP-12 (asynchronous I/O: order, capacity, and inputs in flight as state).
    """
    return call_operator(
        "map_async", function, function, Calls, concurrency=concurrency, ordered=ordered, timeout=timeout, retry=retry,
        capacity=capacity, overflow=overflow, on_error=on_error, name=name,
    )  # fmt: skip


def filter_async(
    predicate: Callable[[A], Awaitable[Any]],
    *,
    concurrency: int = 64,
    ordered: Ordered = True,
    timeout: float | timedelta | None = None,
    retry: int | Retry | None = None,
    capacity: int | None = None,
    overflow: Overflow = "block",
    on_error: Policy | None = None,
    name: str | None = None,
) -> Callable[[Observable[A]], Stream[A]]:
    """Keep the values for which a coroutine function returns something true, several calls at a time.

        orders   -1-2-3-|
                 [ filter_async(lambda x: asyncio.sleep(1, x > 1)) ]   one character = one second
        result   ----a-b|          a=2 b=3

    Shape: A → A, none or one for each; keys stay. Order as in ``map_async``.
    Time: each record's own; the watermark waits for them.
    Holds: as ``map_async``.
    Bounded by: ``capacity`` values (and what one record makes).
    Ends: when its input has ended and every call has; an exception ends a subscription, and meets ``on_error`` in a run.
    Depends on: clock
    Names: RxJS —, RxPY —, Kafka Streams —

    Args:
        predicate: A coroutine function of the value.
        concurrency: As in ``map_async``, with all that follows.
        ordered: True, False, or ``"by_key"``.
        timeout: Seconds that one attempt may take.
        retry: How often a failing call is made again.
        capacity: How many values may be held.
        overflow: What becomes of more.
        on_error: What happens to a value whose last attempt failed.
        name: The operator's identity for the saved values.

    Raises:
        ConfigError: If an argument is wrong.
    """

    async def wanted(value: Any) -> bool:
        return bool(await predicate(value))

    return call_operator(
        "filter_async", predicate, wanted, Filtering, concurrency=concurrency, ordered=ordered, timeout=timeout, retry=retry,
        capacity=capacity, overflow=overflow, on_error=on_error, name=name,
    )  # fmt: skip


def flat_map_async(
    function: Callable[[A], Awaitable[Iterable[B]]] | Callable[[A], AsyncIterable[B]],
    *,
    concurrency: int = 64,
    ordered: Ordered = True,
    timeout: float | timedelta | None = None,
    retry: int | Retry | None = None,
    capacity: int | None = None,
    overflow: Overflow = "block",
    on_error: Policy | None = None,
    name: str | None = None,
) -> Callable[[Observable[A]], Stream[B]]:
    """Replace each value by all that a coroutine function returns, or an async generator yields, several calls at a time.

        orders   -2-----1-|
                 [ flat_map_async(lambda x: asyncio.sleep(1, range(10 * x, 11 * x))) ]   one character = one second
        result   --(a,b)-c|        a=20 b=21 c=10

    Shape: A → B, none or many for each, those of one together; keys stay. Order as in ``map_async``.
    Time: that of the record they come from; the watermark waits for them.
    Holds: as ``map_async``; all that one call gives, until its turn.
    Bounded by: ``capacity`` values (and what one record makes).
    Ends: when its input has ended and every call has; an exception ends a subscription, and meets ``on_error`` in a run.
    Depends on: clock
    Names: RxJS ``mergeMap``, ``concatMap``, RxPY —, Kafka Streams —

    Args:
        function: A coroutine function of the value that returns an iterable, or an async generator function.
        concurrency: As in ``map_async``, with all that follows.
        ordered: True, False, or ``"by_key"``.
        timeout: Seconds that one attempt may take.
        retry: How often a failing call is made again, from its beginning.
        capacity: How many values may be held.
        overflow: What becomes of more.
        on_error: What happens to a value whose last attempt failed; of what it gave until then nothing comes out.
        name: The operator's identity for the saved values.

    Raises:
        ConfigError: If an argument is wrong.
    """

    async def collected(value: Any) -> list[Any]:
        made: Any = function(value)
        return [one async for one in made] if hasattr(made, "__aiter__") else list(await made)

    return call_operator(
        "flat_map_async", function, collected, Flattening, concurrency=concurrency, ordered=ordered, timeout=timeout, retry=retry,
        capacity=capacity, overflow=overflow, on_error=on_error, name=name,
    )  # fmt: skip


def call_operator(
    kind: str,
    given: Any,
    function: Callable[..., Awaitable[Any]],
    node: Callable[..., Calls],
    *,
    concurrency: Any,
    ordered: Any,
    timeout: Any,
    retry: Any,
    capacity: Any,
    overflow: Any,
    on_error: Any,
    name: Any,
    group: int | None = None,
) -> Callable[[Observable[Any]], Stream[Any]]:
    """The operator that calls ``function`` for each record, its arguments checked; ``given`` is what the user gave as such."""
    check_awaited(f"{kind}(function)", given, generators=kind == "flat_map_async")
    check_count(f"{kind}(concurrency)", concurrency, least=1)
    if not isinstance(ordered, bool | str) or ordered not in ORDERS:
        raise ConfigError(f"{kind}(ordered): expected True, False or 'by_key', got {ordered!r}")
    limit = None if timeout is None else seconds(f"{kind}(timeout)", timeout, allow_least=False)
    most = 4 * concurrency * (group or 1) if capacity is None else capacity
    check_edge(kind, most, overflow, busy=concurrency * (group or 1))
    policy = with_retry(kind, retry, on_error)
    check_name(f"{kind}(name)", name)
    parameters = {"function": given, "concurrency": concurrency, "ordered": None if ordered is True else ordered}

    def make() -> Calls:
        made = node(
            function, concurrency=concurrency, capacity=most, overflow=overflow, order=ORDERS[ordered], timeout=limit,
            group=group, on_error=policy,
        )  # fmt: skip
        made.title = kind
        return made

    build = operator(Operation(kind, make, parameters, name, stateful=True, depends_on="clock", sides=("dropped", "errors")))
    return by_key(kind, build) if ordered == "by_key" else build


def by_key(kind: str, build: Callable[[Observable[Any]], Stream[Any]]) -> Callable[[Observable[Any]], Stream[Any]]:
    """The operator, for streams with keys only."""

    def checked(source: Observable[Any]) -> Stream[Any]:
        made = build(source)
        if not made.keyed:
            raise ConfigError(f"{kind}(ordered='by_key'): expected a stream with keys; put key_by(…) before it")
        return made

    return checked


def check_awaited(where: str, function: Any, *, generators: bool = False) -> None:
    """See that this may be a function whose result is awaited: a coroutine function, or one that returns awaitables.

    Raises:
        ConfigError: If it cannot be.
    """
    if not callable(function):
        raise ConfigError(f"{where}: expected a coroutine function, got {function!r}")
    if inspect.isasyncgenfunction(function) and not generators:
        raise ConfigError(
            f"{where}: {function!r} is an async generator function, which a call only begins; make it a coroutine function, or "
            "use flat_map_async"
        )


class Filtering(Calls):
    def results(self, ones: list[Held]) -> Batch:
        return self.batch_of([one for one in ones if one.outcome])


class Flattening(Calls):
    def enough(self, ones: Any, most: int) -> int:
        n = results = 0
        for one in ones:
            if results >= most or one.stage != DONE:
                break
            n += 1
            results += len(one.outcome)
        return n

    def results(self, ones: list[Held]) -> Batch:
        sources = list(chain.from_iterable(repeat(one, len(one.outcome)) for one in ones))
        return self.batch_of(sources, list(chain.from_iterable(one.outcome for one in ones)))
