"""A record and the one before it: pairwise, distinct_until_changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from operator import eq, not_
from typing import Any, TypeVar

from reactivex import Observable

from rxstreams.batch import Batch
from rxstreams.errors import Policy, check_policy
from rxstreams.operators.arguments import check_function, check_name, check_savable
from rxstreams.state.codec import TAGGED
from rxstreams.stream import Node, Operation, Stream, operator

__all__ = ["distinct_until_changed", "pairwise"]

A = TypeVar("A", bound=Any)


def pairwise(*, name: str | None = None) -> Callable[[Observable[A]], Stream[tuple[A, A]]]:
    """Pair each value with the one before it.

        orders   -1--2--3-|
                 [ pairwise() ]
        result   ----a--b-|          a=(1,2) b=(2,3)

    Shape: A → tuple of two, one for each but the first, in order; the key is that of the later record.
    Time: the later of the two times.
    Holds: the last value; saved in a run.
    Bounded by: one value.
    Ends: with its input.
    Names: RxJS ``pairwise``, RxPY ``pairwise``, Kafka Streams —

    Source: Rx ``pairwise`` (RxPY ``operators.pairwise``).
    """
    check_name("pairwise(name)", name)
    return operator(Operation("pairwise", Pairwise, name=name, stateful=True))


class Pairwise(Node):
    """``states`` has the last record's value and time."""

    codec = TAGGED

    def batch(self, b: Batch, port: int) -> None:
        values, times, before = b.values, b.times, self.states.get(None)
        check_savable(self, values[-1])
        self.states[None] = (values[-1], times[-1] if times else None)
        self.dirty.add(None)
        if before is None:
            before, b = (values[0], times[0] if times else None), b.cut(1)
            if not b.values:
                return
        pairs = zip(chain((before[0],), values[len(values) - len(b) :]), b.values)
        b = b.of(list(pairs))
        if b.times:
            first = b.times[0] if before[1] is None else before[1]
            b = b.timed(list(map(max, chain((first,), b.times), b.times)))
        self.emit(b)


def distinct_until_changed(
    key_mapper: Callable[[A], Any] | None = None,
    comparer: Callable[[Any, Any], Any] | None = None,
    *,
    on_error: Policy | None = None,
    name: str | None = None,
) -> Callable[[Observable[A]], Stream[A]]:
    """Leave out each value that equals (or whose ``key_mapper`` equals) that of the last one that went through.

        orders   -1--1--2--1-|
                 [ distinct_until_changed() ]
        result   -a-----b--c-|       a=1 b=2 c=1

    Shape: A → A, none or one for each, in order; compared with ``==``, whatever the records' keys, which stay.
    Time: each record's own.
    Holds: the last key; saved in a run.
    Bounded by: one value.
    Ends: with its input; an exception ends a subscription, and meets ``on_error`` in a run.
    Names: RxJS ``distinctUntilChanged``, RxPY ``distinct_until_changed``, Kafka Streams —

    Args:
        key_mapper: What of a value is compared; None is the value itself.
        comparer: Whether two keys, the last one and the new one, are the same; None is ``==``.
        on_error: What happens to a record at which a function raises; None is the run's policy.
        name: The operator's identity for saved state.

    Source: Rx ``distinctUntilChanged`` (RxPY ``operators.distinct_until_changed``).
    """
    check_function("distinct_until_changed(key_mapper)", key_mapper, or_none=True)
    check_function("distinct_until_changed(comparer)", comparer, or_none=True)
    check_policy("distinct_until_changed", on_error, waits=False)
    check_name("distinct_until_changed(name)", name)
    parameters = {"key_mapper": key_mapper, "comparer": comparer}
    make = lambda: DistinctUntilChanged(key_mapper, comparer, on_error)  # noqa: E731  # a value among values
    return operator(Operation("distinct_until_changed", make, parameters, name, stateful=True, sides=("errors",)))


class DistinctUntilChanged(Node):
    codec = TAGGED

    def __init__(
        self, key_mapper: Callable[[Any], Any] | None, comparer: Callable[[Any, Any], Any] | None, on_error: Policy | None
    ) -> None:
        super().__init__()
        self.key_mapper, self.comparer, self.on_error = key_mapper, comparer, on_error

    def batch(self, b: Batch, port: int) -> None:
        keys: Sequence[Any] = b.values
        if self.key_mapper is not None:
            keys, b = self.each(self.key_mapper, b)
            if not keys:
                return
        mask = None
        if self.comparer is None:
            mask = self.compared(keys)
        if mask is None:
            mask, b = self.each(self.is_new, b, keys)
        self.emit(b.where(mask))

    def compared(self, keys: Sequence[Any]) -> list[bool] | None:
        """Whether each key differs from the one before it, which is as good as the last that went through; None, and nothing
        changed, if two cannot be compared, or the first is new.
        """
        if None not in self.states:
            return None
        try:
            mask = list(map(not_, map(eq, chain((self.states[None],), keys), keys)))
            if any(mask):
                self.keep(keys[-1 - mask[::-1].index(True)])
        except Exception:
            return None
        return mask

    def is_new(self, _: Any, key: Any) -> bool:
        if None in self.states:
            before = self.states[None]
            if before == key if self.comparer is None else self.comparer(before, key):
                return False
        self.keep(key)
        return True

    def keep(self, key: Any) -> None:
        if self.host.durable:
            TAGGED.check(key)
        self.states[None] = key
        self.dirty.add(None)
