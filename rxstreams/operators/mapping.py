"""One record in, some records out: map, filter, do_action, flat_map, and map and filter with an index."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from itertools import chain, repeat
from typing import Any, TypeVar, overload

import reactivex
from reactivex import Observable
from reactivex.internal import is_future
from reactivex.internal.utils import NotSet

from rxstreams.batch import Batch
from rxstreams.errors import ConfigError, GraphError, Policy, check_policy
from rxstreams.operators.arguments import check_function, check_name, check_no_awaitable
from rxstreams.state.codec import TAGGED
from rxstreams.stream import Node, Operation, Stream, operator
from rxstreams.stream.loops import Loop

__all__ = ["do_action", "filter", "filter_indexed", "flat_map", "map", "map_indexed"]

A = TypeVar("A", bound=Any)
B = TypeVar("B")

_UNSET: Any = NotSet


def map(mapper: Callable[[A], B] | None = None, *, on_error: Policy | None = None) -> Callable[[Observable[A]], Stream[B]]:
    """Replace each value by ``mapper`` of it (None leaves it as it is).

        orders   -1--2--3-|
                 [ map(lambda x: x * 10) ]
        result   -a--b--c-|          a=10 b=20 c=30

    Shape: A → B, one for one, in order; keys stay.
    Time: each record's own.
    Holds: nothing.
    Bounded by: nothing is held.
    Ends: with its input; an exception ends a subscription, and meets ``on_error`` in a run.
    Names: RxJS ``map``, RxPY ``map``, Kafka Streams ``mapValues``

    Source: Rx ``map`` (RxPY ``operators.map``).
    """
    check_function("map(mapper)", mapper, or_none=True)
    check_policy("map", on_error, waits=False)
    parameters = {"mapper": mapper}
    return operator(Operation("map", lambda: Map(mapper or _itself, on_error), parameters, sides=("errors",)))


def _itself(value: Any) -> Any:
    return value


class Map(Node):
    def __init__(self, mapper: Callable[[Any], Any], on_error: Policy | None) -> None:
        super().__init__()
        self.mapper, self.on_error = mapper, on_error

    def batch(self, b: Batch, port: int) -> None:
        results, b = self.each(self.mapper, b)
        if results and self.host.durable:
            check_no_awaitable(self, "map", results[0])
        self.emit(b.of(results))

    def join(self, loop: Loop) -> bool:
        loop.call(self.mapper)
        return True


def filter(predicate: Callable[[A], Any], *, on_error: Policy | None = None) -> Callable[[Observable[A]], Stream[A]]:
    """Keep the values for which ``predicate`` is true.

        orders   -1--2--3--4-|
                 [ filter(lambda x: x > 2) ]
        result   -------a--b-|       a=3 b=4

    Shape: A → A, none or one for each, in order; keys stay.
    Time: each record's own.
    Holds: nothing.
    Bounded by: nothing is held.
    Ends: with its input; an exception ends a subscription, and meets ``on_error`` in a run.
    Names: RxJS ``filter``, RxPY ``filter``, Kafka Streams ``filter``

    Source: Rx ``filter`` (RxPY ``operators.filter``).
    """
    check_function("filter(predicate)", predicate)
    check_policy("filter", on_error, waits=False)
    return operator(Operation("filter", lambda: Filter(predicate, on_error), {"predicate": predicate}, sides=("errors",)))


class Filter(Node):
    def __init__(self, predicate: Callable[[Any], Any], on_error: Policy | None) -> None:
        super().__init__()
        self.predicate, self.on_error = predicate, on_error

    def batch(self, b: Batch, port: int) -> None:
        mask, b = self.each(self.predicate, b)
        if mask:
            check_no_awaitable(self, "filter", mask[0])
        self.emit(b.where(mask))

    def join(self, loop: Loop) -> bool:
        loop.lines.append(f"if not {loop.bind(self.predicate)}(value): continue")
        return True


def map_indexed(
    mapper_indexed: Callable[[A, int], B] | None = None, *, on_error: Policy | None = None, name: str | None = None
) -> Callable[[Observable[A]], Stream[B]]:
    """Replace each value by ``mapper_indexed`` of it and its index, which counts from 0 (None leaves it as it is).

        orders   -5--5--7-|
                 [ map_indexed(lambda x, i: x * i) ]
        result   -a--b--c-|          a=0 b=5 c=14

    Shape: A → B, one for one, in order; keys stay. The index counts the records that come, those included that a policy let go.
    Time: each record's own.
    Holds: how many records have come; saved in a run, so a restart does not count anew.
    Bounded by: one number.
    Ends: with its input; an exception ends a subscription, and meets ``on_error`` in a run.
    Names: RxJS ``map``, RxPY ``map_indexed``, Kafka Streams —

    Source: Rx ``map`` with its index (RxPY ``operators.map_indexed``).
    """
    check_function("map_indexed(mapper_indexed)", mapper_indexed, or_none=True)
    check_policy("map_indexed", on_error, waits=False)
    check_name("map_indexed(name)", name)
    make = lambda: MapIndexed(mapper_indexed or _first_of_two, on_error)  # noqa: E731  # a value among values
    parameters = {"mapper_indexed": mapper_indexed}
    return operator(Operation("map_indexed", make, parameters, name, stateful=True, sides=("errors",)))


def _first_of_two(value: Any, _: int) -> Any:
    return value


class Indexed(Node):
    """What calls a function with each record's index."""

    codec = TAGGED

    def __init__(self, function: Callable[[Any, int], Any], on_error: Policy | None) -> None:
        super().__init__()
        self.function, self.on_error = function, on_error

    def each_indexed(self, b: Batch) -> tuple[list[Any], Batch]:
        first = self.states.get(None, 0)
        self.states[None] = after = first + len(b)
        self.dirty.add(None)
        return self.each(self.function, b, range(first, after))


class MapIndexed(Indexed):
    def batch(self, b: Batch, port: int) -> None:
        results, b = self.each_indexed(b)
        self.emit(b.of(results))


def filter_indexed(
    predicate_indexed: Callable[[A, int], Any] | None = None, *, on_error: Policy | None = None, name: str | None = None
) -> Callable[[Observable[A]], Stream[A]]:
    """Keep the values for which ``predicate_indexed`` of them and their index is true (None keeps all).

        orders   -1--2--3--4-|
                 [ filter_indexed(lambda x, i: i % 2 == 0) ]
        result   -a-----b----|       a=1 b=3

    Shape: A → A, none or one for each, in order; keys stay. The index counts the records that come, from 0.
    Time: each record's own.
    Holds: how many records have come; saved in a run, so a restart does not count anew.
    Bounded by: one number.
    Ends: with its input; an exception ends a subscription, and meets ``on_error`` in a run.
    Names: RxJS ``filter``, RxPY ``filter_indexed``, Kafka Streams —

    Source: Rx ``filter`` with its index (RxPY ``operators.filter_indexed``).
    """
    check_function("filter_indexed(predicate_indexed)", predicate_indexed, or_none=True)
    check_policy("filter_indexed", on_error, waits=False)
    check_name("filter_indexed(name)", name)
    make = lambda: FilterIndexed(predicate_indexed or _always, on_error)  # noqa: E731  # a value among values
    parameters = {"predicate_indexed": predicate_indexed}
    return operator(Operation("filter_indexed", make, parameters, name, stateful=True, sides=("errors",)))


def _always(value: Any, _: int) -> bool:
    return True


class FilterIndexed(Indexed):
    def batch(self, b: Batch, port: int) -> None:
        mask, b = self.each_indexed(b)
        self.emit(b.where(mask))


def do_action(
    on_next: Callable[[A], Any] | None = None,
    on_error: Callable[[Exception], Any] | None = None,
    on_completed: Callable[[], Any] | None = None,
) -> Callable[[Observable[A]], Stream[A]]:
    """Call functions for their side effects, and let everything through.

        orders   -1--2--3-|
                 [ do_action(lambda x: [x]) ]
        result   -a--b--c-|          a=1 b=2 c=3

    Shape: A → A, one for one, in order; keys stay.
    Time: each record's own.
    Holds: nothing.
    Bounded by: nothing is held.
    Ends: with its input; an exception from one of the functions ends a subscription, and meets the run's policy in a run.
    Names: RxJS ``tap``, RxPY ``do_action``, Kafka Streams ``peek``

    In a run the calls are not part of a commit: after a crash they are made again for the records that were not committed. For
    effects that must be retried or bounded there is ``to_callable``.

    Args:
        on_next: Called with each value, before it goes on.
        on_error: Called with the error that ends a subscription; in a run an error stops the run, and this is not called.
        on_completed: Called at the end of the input.

    Source: Rx ``tap`` (RxPY ``operators.do_action``).
    """
    check_function("do_action(on_next)", on_next, or_none=True)
    check_function("do_action(on_error)", on_error, or_none=True)
    check_function("do_action(on_completed)", on_completed, or_none=True)
    parameters = {"on_next": on_next, "on_error": on_error, "on_completed": on_completed}
    return operator(Operation("do_action", lambda: DoAction(on_next, on_error, on_completed), parameters, sides=("errors",)))


class DoAction(Node):
    def __init__(self, on_next: Any, on_error: Any, on_completed: Any) -> None:
        super().__init__()
        self.on_next, self.when_failed, self.when_completed = on_next, on_error, on_completed

    def batch(self, b: Batch, port: int) -> None:
        if self.on_next is not None:
            _, b = self.each(self.on_next, b)
        self.emit(b)

    def input_failed(self, error: Exception) -> None:
        if self.when_failed is not None:
            try:
                self.when_failed(error)
            except Exception as raised:
                self.fail(raised)
        self.fail(error)

    def end(self, port: int, at: float | None = None) -> None:
        if self.when_completed is not None:
            try:
                self.when_completed()
            except Exception as raised:
                self.fail(raised)
                return
        self.finish(at)


@overload
def flat_map(mapper: Callable[[A], Observable[B]], *, on_error: Policy | None = ...) -> Callable[[Observable[A]], Stream[B]]: ...
@overload
def flat_map(mapper: Callable[[A], Iterable[B]], *, on_error: Policy | None = ...) -> Callable[[Observable[A]], Stream[B]]: ...
@overload
def flat_map(mapper: Observable[B], *, on_error: Policy | None = ...) -> Callable[[Observable[Any]], Stream[B]]: ...
def flat_map(mapper: Any, *, on_error: Policy | None = None) -> Callable[[Observable[Any]], Stream[Any]]:
    """Replace each value by all the values that ``mapper`` returns for it: an iterable, an Observable or a future.

        orders   -1-----2-----|
                 [ flat_map(lambda x: [x, x * 10]) ]
        result   -(a,b)-(c,d)-|      a=1 b=10 c=2 d=20

    Shape: A → B, any number for each; times and keys are those of the record that made them.
    Time: that of the record that made it.
    Holds: nothing in a run; in a subscription the inner Observables that have not ended.
    Bounded by: the inner Observables that are open, in a subscription.
    Ends: when the input and every inner Observable have; an exception ends a subscription, and meets ``on_error`` in a run.
    Names: RxJS ``mergeMap``, RxPY ``flat_map``, Kafka Streams ``flatMapValues``

    In a run ``mapper`` returns iterables, or Observables that end synchronously: what waits cannot be in a commit.

    Source: Rx ``flat_map`` (RxPY ``operators.flat_map``).
    """
    function = mapper if callable(mapper) and not isinstance(mapper, Observable) else lambda _: mapper
    if isinstance(mapper, str) or (not callable(mapper) and not isinstance(mapper, Observable | Iterable)):
        raise ConfigError(f"flat_map(mapper): expected a function or an Observable, got {mapper!r}")
    check_function("flat_map(mapper)", function)
    check_policy("flat_map", on_error, waits=False)
    return operator(Operation("flat_map", lambda: FlatMap(function, on_error), {"mapper": mapper}, sides=("errors",)))


class FlatMap(Node):
    locked = True
    fans_out = True

    def __init__(self, mapper: Callable[[Any], Any], on_error: Policy | None) -> None:
        super().__init__()
        self.mapper, self.on_error = mapper, on_error
        self.open = 0

    def batch(self, b: Batch, port: int) -> None:
        if not self.host.durable:
            return self.subscribe_inner(b)
        lists, b = self.each(self.finite, b)
        indices = list(chain.from_iterable(repeat(i, len(part)) for i, part in enumerate(lists)))
        self.emit(b.at(indices, list(chain.from_iterable(lists))))

    def finite(self, value: Any) -> Sequence[Any]:
        found = self.mapper(value)
        if isinstance(found, list | tuple):
            return found
        if isinstance(found, Observable):
            return _collect(found)
        if isinstance(found, Awaitable):
            if isinstance(found, Coroutine):
                found.close()
            raise GraphError(
                "flat_map returned an awaitable; in a run nothing waits inside a commit. Wait in the source, or in to_callable"
            )
        return list(found)

    def subscribe_inner(self, b: Batch) -> None:
        found, b = self.each(self.mapper, b)
        for i, inner in enumerate(found):
            self.open += 1
            self.host.open(_observable(inner), self, b.cut(i, i + 1))

    def end(self, port: int, at: float | None = None) -> None:
        if port < 0:
            self.open -= 1
        else:
            self.done.add(port)
        if self.done and not self.open:
            self.finish(at)


def _observable(found: Any) -> Observable[Any]:
    if isinstance(found, Observable):
        return found
    return reactivex.from_future(found) if is_future(found) else reactivex.from_(found)


def _collect(inner: Observable[Any]) -> list[Any]:
    """All values of an Observable that ends before ``subscribe`` returns."""
    if isinstance(inner, Stream):
        raise GraphError(
            f"flat_map returned {inner!r} while the run was under way; a run makes its graph before the first record. "
            "Return an iterable, or put that stream beside this one with merge, combine_latest or a join"
        )
    values: list[Any] = []
    ends: list[Exception | None] = []
    inner.subscribe(
        values.append, ends.append, lambda: ends.append(None), scheduler=reactivex.scheduler.ImmediateScheduler.singleton()
    ).dispose()
    if not ends:
        raise GraphError(
            "flat_map returned an Observable that did not end at once; a commit cannot wait for it. Return an iterable"
        )
    if ends[0] is not None:
        raise ends[0]
    return values
