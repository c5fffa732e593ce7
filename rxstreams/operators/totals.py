"""What all records come to, when they have ended: count, sum, average, min, max, to_list."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import Any, ClassVar, TypeVar

from reactivex import Observable
from reactivex.internal import SequenceContainsNoElementsError

from rxstreams.batch import Batch
from rxstreams.errors import Policy, check_policy
from rxstreams.operators.arguments import check_function, check_name, check_savable
from rxstreams.operators.folding import AtEnd
from rxstreams.stream import Operation, Stream, operator

__all__ = ["average", "count", "max", "min", "sum", "to_list"]

A = TypeVar("A", bound=Any)


def count(
    predicate: Callable[[A], Any] | None = None, *, on_error: Policy | None = None, name: str | None = None
) -> Callable[[Observable[A]], Stream[int]]:
    """Count the values (or those that ``predicate`` is true of), and emit the number when the input ends.

        orders   -1--2--3-|
                 [ count(lambda x: x > 1) ]
        result   ---------(a,|)      a=2

    Shape: A → int, one in all.
    Time: the latest of the records; until the end the watermark stands still.
    Holds: the number so far; saved in a run.
    Bounded by: one number.
    Ends: with its input, after the result; an exception ends a subscription, and meets ``on_error`` in a run.
    Names: RxJS ``count``, RxPY ``count``, Kafka Streams ``count``

    Source: Rx ``count`` (RxPY ``operators.count``). For a count per key, so far: ``aggregate(n=agg.count())``.
    """
    return _total("count", "predicate", predicate, lambda: Count(predicate, on_error), on_error, name)


def sum(
    key_mapper: Callable[[A], Any] | None = None, *, on_error: Policy | None = None, name: str | None = None
) -> Callable[[Observable[A]], Stream[Any]]:
    """Add the values up (or ``key_mapper`` of them), and emit the sum when the input ends: 0 if there were none.

        orders   -1--2--3-|
                 [ sum() ]
        result   ---------(a,|)      a=6

    Shape: A → a number, one in all: plain additions in the records' order.
    Time: the latest of the records; until the end the watermark stands still.
    Holds: the sum so far; saved in a run.
    Bounded by: one number.
    Ends: with its input, after the result; an exception ends a subscription, and meets ``on_error`` in a run.
    Names: RxJS —, RxPY ``sum``, Kafka Streams ``aggregate``

    Source: Rx ``sum`` (RxPY ``operators.sum``). For a sum per key, so far: ``aggregate(total=agg.sum("amount"))``.
    """
    return _total("sum", "key_mapper", key_mapper, lambda: Sum(key_mapper, on_error), on_error, name)


def average(
    key_mapper: Callable[[A], Any] | None = None, *, on_error: Policy | None = None, name: str | None = None
) -> Callable[[Observable[A]], Stream[float]]:
    """Emit the arithmetic mean of the values (or of ``key_mapper`` of them) when the input ends.

        orders   -1--2--6-|
                 [ average() ]
        result   ---------(a,|)      a=3.0

    Shape: A → a number, one in all; without ``key_mapper`` each value is taken as ``float(value)``.
    Time: the latest of the records; until the end the watermark stands still.
    Holds: the sum and the number so far; saved in a run.
    Bounded by: two numbers.
    Ends: with its input, after the result; an input without values is an error; an exception ends a subscription, and meets
        ``on_error`` in a run.
    Names: RxJS —, RxPY ``average``, Kafka Streams ``aggregate``

    Raises:
        SequenceContainsNoElementsError: In ``on_error``, if there was no value.

    Source: Rx ``average`` (RxPY ``operators.average``).
    """
    return _total("average", "key_mapper", key_mapper, lambda: Average(key_mapper or float, on_error), on_error, name)


def min(
    comparer: Callable[[A, A], Any] | None = None, *, on_error: Policy | None = None, name: str | None = None
) -> Callable[[Observable[A]], Stream[A]]:
    """Emit the least value when the input ends: the first of equals.

        orders   -3--1--2-|
                 [ min() ]
        result   ---------(a,|)      a=1

    Shape: A → A, one in all.
    Time: the latest of the records; until the end the watermark stands still.
    Holds: the least value so far; saved in a run.
    Bounded by: one value.
    Ends: with its input, after the result; an input without values is an error; an exception ends a subscription, and meets
        ``on_error`` in a run.
    Names: RxJS ``min``, RxPY ``min``, Kafka Streams ``reduce``

    Args:
        comparer: A number for two values: below 0 if the first is less, above 0 if it is greater; None compares with ``<``.
        on_error: What happens to a record that cannot be compared; None is the run's policy.
        name: The operator's identity for saved state.

    Raises:
        SequenceContainsNoElementsError: In ``on_error``, if there was no value.

    Source: Rx ``min`` (RxPY ``operators.min``).
    """
    return _total("min", "comparer", comparer, lambda: Min(comparer, on_error), on_error, name)


def max(
    comparer: Callable[[A, A], Any] | None = None, *, on_error: Policy | None = None, name: str | None = None
) -> Callable[[Observable[A]], Stream[A]]:
    """Emit the greatest value when the input ends: the first of equals.

        orders   -1--3--2-|
                 [ max() ]
        result   ---------(a,|)      a=3

    Shape: A → A, one in all.
    Time: the latest of the records; until the end the watermark stands still.
    Holds: the greatest value so far; saved in a run.
    Bounded by: one value.
    Ends: with its input, after the result; an input without values is an error; an exception ends a subscription, and meets
        ``on_error`` in a run.
    Names: RxJS ``max``, RxPY ``max``, Kafka Streams ``reduce``

    Args:
        comparer: A number for two values: below 0 if the first is less, above 0 if it is greater; None compares with ``>``.
        on_error: What happens to a record that cannot be compared; None is the run's policy.
        name: The operator's identity for saved state.

    Raises:
        SequenceContainsNoElementsError: In ``on_error``, if there was no value.

    Source: Rx ``max`` (RxPY ``operators.max``).
    """
    return _total("max", "comparer", comparer, lambda: Max(comparer, on_error), on_error, name)


def _total(
    kind: str, argument: str, function: Any, make: Callable[[], Total], on_error: Policy | None, name: str | None
) -> Callable[[Observable[Any]], Stream[Any]]:
    """One of these operators, its arguments checked."""
    check_function(f"{kind}({argument})", function, or_none=True)
    check_policy(kind, on_error, waits=False)
    check_name(f"{kind}(name)", name)
    parameters = {argument: function}
    return operator(Operation(kind, make, parameters, name, stateful=True, key="dropped", sides=("errors",)))


class Total(AtEnd):
    """Folds a batch at C speed or, if that raises, record by record, so that the one that does meets its policy.

    Either way the same operations come in the same order, so the cuts of the input do not show.
    """

    empty: ClassVar[Any] = None
    """The result of no records; None is an error."""

    def __init__(self, function: Callable[..., Any] | None, on_error: Policy | None) -> None:
        super().__init__()
        self.function, self.on_error = function, on_error

    def batch(self, b: Batch, port: int) -> None:
        if self.function is not None:
            read, b = self.each(self.function, b)
            b = b.of(read)
        self.fold(b)

    def fold(self, b: Batch) -> None:
        if not b.values:
            return
        try:
            self.keep(self.whole(b.values))
        except Exception:
            _, b = self.each(lambda value: self.keep(self.whole((value,))), b)
        self.note(b)

    def whole(self, values: Sequence[Any]) -> Any:
        """The fold so far and these values."""
        raise NotImplementedError

    def keep(self, fold: Any) -> None:
        """Change the state; what cannot be saved raises."""
        if self.host.durable:
            self.codec.check(fold)
        self.states[None] = fold
        self.dirty.add(None)

    def result(self, fold: Any) -> Any:
        """What to emit of the fold."""
        return fold

    def end(self, port: int, at: float | None = None) -> None:
        if None in self.states:
            self.emit_at_end(self.result(self.states[None]))
        elif self.empty is not None:
            self.emit_at_end(self.empty)
        else:
            self.fail(SequenceContainsNoElementsError())


class Count(Total):
    empty = 0

    def batch(self, b: Batch, port: int) -> None:
        if self.function is not None:
            mask, b = self.each(self.function, b)
            b = b.where(mask)
        self.fold(b)

    def whole(self, values: Sequence[Any]) -> Any:
        return self.states.get(None, 0) + len(values)


class Sum(Total):
    empty = 0

    def whole(self, values: Sequence[Any]) -> Any:
        # Not `sum`: it compensates floats from Python 3.12 on, and then the cuts of the input would show in the result.
        return reduce(add, values, self.states.get(None, 0))


class Average(Total):
    def whole(self, values: Sequence[Any]) -> Any:
        total, n = self.states.get(None, (0, 0))
        return reduce(add, values, total), n + len(values)

    def result(self, fold: Any) -> Any:
        return fold[0] / float(fold[1])


class Min(Total):
    sign: ClassVar[int] = -1

    def batch(self, b: Batch, port: int) -> None:
        self.fold(b)

    def whole(self, values: Sequence[Any]) -> Any:
        candidates = (self.states[None], *values) if None in self.states else values
        return self.best(candidates) if self.function is None else reduce(self.better, candidates)

    def best(self, values: Sequence[Any]) -> Any:
        """The first of the best values, by ``<`` or ``>``."""
        return builtins.min(values)

    def better(self, best: Any, value: Any) -> Any:
        """The better of the two by the comparer; the first of equals."""
        assert self.function is not None
        return value if self.sign * self.function(value, best) > 0 else best


class Max(Min):
    sign = 1

    def best(self, values: Sequence[Any]) -> Any:
        return builtins.max(values)


def to_list(*, name: str | None = None) -> Callable[[Observable[A]], Stream[list[A]]]:
    """Gather all values, and emit them as one list when the input ends.

        orders   -1--2--3-|
                 [ to_list() ]
        result   ---------(a,|)      a=[1,2,3]

    Shape: A → list[A], one in all, in order.
    Time: the latest of the records; until the end the watermark stands still.
    Holds: all values; saved in a run, an entry each, so an epoch saves only the new ones.
    Bounded by: the number of values; nothing else.
    Ends: with its input, after the list; an error drops it.
    Names: RxJS ``toArray``, RxPY ``to_list``, Kafka Streams —

    Source: Rx ``toArray`` (RxPY ``operators.to_list``).
    """
    check_name("to_list(name)", name)
    return operator(Operation("to_list", ToList, name=name, stateful=True, key="dropped"))


class ToList(AtEnd):
    def start(self) -> None:
        self.count = len(self.states) - ("time" in self.states)

    def batch(self, b: Batch, port: int) -> None:
        if self.host.durable:
            for value in b.values:
                check_savable(self, value)
        numbers = range(self.count, self.count + len(b))
        self.states.update(zip(numbers, b.values))
        self.dirty.update(numbers)
        self.count += len(b)
        self.note(b)

    def end(self, port: int, at: float | None = None) -> None:
        self.emit_at_end([self.states[number] for number in range(self.count)])
