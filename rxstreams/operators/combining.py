"""Several streams into one, as their values come: merge, combine_latest, with_latest_from."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any, TypeVar, TypeVarTuple, overload

from reactivex import Observable

from rxstreams.batch import Batch
from rxstreams.errors import ConfigError
from rxstreams.operators.arguments import check_count, check_name, check_savable
from rxstreams.state.codec import TAGGED
from rxstreams.stream import Node, Operation, Stream, operator

__all__ = ["combine_latest", "merge", "with_latest_from"]

A = TypeVar("A", bound=Any)
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
Others = TypeVarTuple("Others")


def merge(*sources: Observable[A], max_concurrent: int | None = None) -> Callable[[Observable[A]], Stream[A]]:
    """Let the values of all sources through as they come.

        orders   -1-----3---|
        refunds  ----2----4--|
                 [ merge(refunds) ]
        result   -a--b--c-d--|       a=1 b=2 c=3 d=4

    Shape: A → A; each source's values in their order; branches of one source keep that source's order. The result depends on
    how the sources interleave. Keys stay, if all sources have them.
    Time: each record's own.
    Holds: nothing.
    Bounded by: nothing is held.
    Ends: when all sources have; at the first error of one.
    Depends on: interleaving
    Names: RxJS ``merge``, RxPY ``merge``, Kafka Streams ``merge``

    Args:
        sources: What to merge with.
        max_concurrent: Instead of ``sources``: merge the Observables that come as values, so many at a time; in a
            subscription only.

    Source: Rx ``merge`` (RxPY ``operators.merge``).
    """
    if max_concurrent is not None:
        check_count("merge(max_concurrent)", max_concurrent, least=1)
        if sources:
            raise ConfigError(
                "merge: expected sources or max_concurrent, got both; max_concurrent merges the Observables that come as values"
            )
        return operator(
            Operation(
                "merge", lambda: MergeLimited(max_concurrent), {"max_concurrent": max_concurrent}, depends_on="interleaving"
            )
        )
    return operator(Operation("merge", lambda: Merge(1 + len(sources)), depends_on="interleaving"), *sources)


class Merge(Node):
    locked = True

    def __init__(self, ports: int) -> None:
        super().__init__()
        self.ports = ports

    def batch(self, b: Batch, port: int) -> None:
        self.emit(b if self.host.keyed else b.keyed(None))

    def merged(self, b: Batch, ports: Sequence[int]) -> None:
        self.batch(b, 0)


class MergeLimited(Node):
    instead = "its graph is made before any record; use flat_map with a function that returns iterables"
    locked = True
    fans_out = True

    def __init__(self, at_most: int) -> None:
        super().__init__()
        self.at_most, self.active = at_most, 0
        self.waiting: deque[Batch] = deque()

    def batch(self, b: Batch, port: int) -> None:
        for i in range(len(b)):
            self.waiting.append(b.cut(i, i + 1))
        self.next()

    def next(self) -> None:
        while self.waiting and self.active < self.at_most:
            self.active += 1
            b = self.waiting.popleft()
            self.host.open(b.values[0], self, b)

    def end(self, port: int, at: float | None = None) -> None:
        if port < 0:
            self.active -= 1
            self.next()
        else:
            self.done.add(port)
        if self.done and not self.active and not self.waiting:
            self.finish()


@overload
def combine_latest() -> Callable[[Observable[A]], Stream[tuple[A]]]: ...
@overload
def combine_latest(other: Observable[B], /) -> Callable[[Observable[A]], Stream[tuple[A, B]]]: ...
@overload
def combine_latest(other: Observable[B], another: Observable[C], /) -> Callable[[Observable[A]], Stream[tuple[A, B, C]]]: ...
@overload
def combine_latest(
    other: Observable[B], another: Observable[C], third: Observable[D], /
) -> Callable[[Observable[A]], Stream[tuple[A, B, C, D]]]: ...
@overload
def combine_latest(*others: Observable[Any]) -> Callable[[Observable[Any]], Stream[tuple[Any, ...]]]: ...
def combine_latest(*others: Observable[Any]) -> Callable[[Observable[Any]], Stream[Any]]:
    """Emit a tuple of the latest values of all sources whenever one has a new value, once each has had one.

        orders   -1-----2---|
        rates    ----5----6--|
                 [ combine_latest(rates) ]
        result   ----a--b-c--|       a=(1,5) b=(2,5) c=(2,6)

    Shape: A, B, … → tuple; one for each value. The result depends on how the sources interleave; it has the time of the value
    that made it, and its key, if all sources have keys.
    Time: that of the value that made it.
    Holds: the latest value of each source; saved in a run.
    Bounded by: one value per source.
    Ends: when all sources have, or one has ended before its first value and the others have too; at the first error.
    Depends on: interleaving
    Names: RxJS ``combineLatest``, RxPY ``combine_latest``, Kafka Streams ``join`` (table–table, unkeyed)

    Source: Rx ``combine_latest`` (RxPY ``operators.combine_latest``).
    """
    ports = 1 + len(others)
    return operator(Operation("combine_latest", lambda: CombineLatest(ports), stateful=True, depends_on="interleaving"), *others)


class CombineLatest(Node):
    locked = True
    codec = TAGGED

    def __init__(self, ports: int) -> None:
        super().__init__()
        self.ports = ports

    def batch(self, b: Batch, port: int) -> None:
        self.merged(b, [port] * len(b))

    def merged(self, b: Batch, ports: Sequence[int]) -> None:
        latest, n = self.states, self.ports
        indices, results = [], []
        hopeless = None
        for i, port in enumerate(ports):
            latest[port] = b.values[i]
            if len(latest) == n:
                indices.append(i)
                results.append(tuple([latest[p] for p in range(n)]))
            elif self.done and len(self.done - {port}) == n - 1:
                hopeless = i  # no other input can bring what is missing
                break
        changed = set(ports if hopeless is None else ports[: hopeless + 1])
        self.dirty |= changed
        for port in changed:
            check_savable(self, latest[port])
        if hopeless is not None:
            self.finish(b.order[hopeless] if b.order else None)
        elif results:
            made = b.at(indices, results)
            self.emit(made if self.host.keyed else made.keyed(None))


@overload
def with_latest_from(other: Observable[B], /, *, name: str | None = ...) -> Callable[[Observable[A]], Stream[tuple[A, B]]]: ...
@overload
def with_latest_from(
    other: Observable[B], another: Observable[C], /, *, name: str | None = ...
) -> Callable[[Observable[A]], Stream[tuple[A, B, C]]]: ...
@overload
def with_latest_from(
    *sources: Observable[Any], name: str | None = ...
) -> Callable[[Observable[Any]], Stream[tuple[Any, ...]]]: ...
def with_latest_from(*sources: Observable[Any], name: str | None = None) -> Callable[[Observable[Any]], Stream[Any]]:
    """Put beside each value the latest of every other source, once each has had one; values before that are left out.

        orders   -1-----2---|
        rates    ----5----6-|
                 [ with_latest_from(rates) ]
        result   -------a---|        a=(2,5)

    Shape: A, B, … → tuple; none or one for each A; its key is A's, if all sources have keys.
    Time: A's.
    Holds: the latest value of each other source; saved in a run.
    Bounded by: one value per source.
    Ends: with the first input, whatever the others do; at the first error of one.
    Depends on: interleaving
    Names: RxJS ``withLatestFrom``, RxPY ``with_latest_from``, Kafka Streams ``join`` (stream–table, unkeyed)

    Source: Rx ``withLatestFrom`` (RxPY ``operators.with_latest_from``).
    """
    check_name("with_latest_from(name)", name)
    ports = 1 + len(sources)
    make = lambda: WithLatestFrom(ports)  # noqa: E731  # a value among values
    return operator(Operation("with_latest_from", make, name=name, stateful=True, depends_on="interleaving"), *sources)


class WithLatestFrom(Node):
    """``states`` has the latest value of each port but the first."""

    locked = True
    codec = TAGGED

    def __init__(self, ports: int) -> None:
        super().__init__()
        self.ports = ports
        self.port_order = (*range(1, ports), 0)  # type: ignore[misc]  # of one node, here

    def batch(self, b: Batch, port: int) -> None:
        if port:
            check_savable(self, b.values[-1])
            self.states[port] = b.values[-1]
            self.dirty.add(port)
        elif len(self.states) == self.ports - 1:
            latest = [repeat(self.states[other]) for other in range(1, self.ports)]
            made = b.of(list(zip(b.values, *latest)))
            self.emit(made if self.host.keyed else made.keyed(None))

    def end(self, port: int, at: float | None = None) -> None:
        if port == 0:
            self.finish(at)
        else:
            self.done.add(port)
            self.tell_time()
