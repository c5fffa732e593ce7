"""Each thing once: distinct."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import chain
from typing import Any, TypeVar, overload

from reactivex import Observable

from rxstreams.batch import Batch
from rxstreams.errors import Policy, check_policy
from rxstreams.operators.arguments import check_function, check_name
from rxstreams.state.codec import TAGGED
from rxstreams.stream import Node, Operation, Stream, operator

__all__ = ["distinct"]

A = TypeVar("A", bound=Any)


@overload
def distinct(
    key_mapper: None = ...,
    comparer: Callable[[Any, Any], Any] | None = ...,
    *,
    on_error: Policy | None = ...,
    name: str | None = ...,
) -> Callable[[Observable[A]], Stream[A]]: ...
@overload
def distinct(
    key_mapper: Callable[[A], Any],
    comparer: Callable[[Any, Any], Any] | None = ...,
    *,
    on_error: Policy | None = ...,
    name: str | None = ...,
) -> Callable[[Observable[A]], Stream[A]]: ...
def distinct(
    key_mapper: Callable[[Any], Any] | None = None,
    comparer: Callable[[Any, Any], Any] | None = None,
    *,
    on_error: Policy | None = None,
    name: str | None = None,
) -> Callable[[Observable[A]], Stream[A]]:
    """Let each value (or each ``key_mapper`` of it) through the first time that it comes, for ever.

        orders   -1--2--1--3-|
                 [ distinct() ]
        result   -a--b-----c-|       a=1 b=2 c=3

    Shape: A → A, none or one for each, in order; compared with ``==``, whatever the records' keys.
    Time: each record's own.
    Holds: every distinct key, for ever; saved in a run. Hashable keys are looked up in a set, others (and all, with a
    ``comparer``) compared one by one with every key seen.
    Bounded by: the number of distinct keys; nothing else.
    Ends: with its input; an exception ends a subscription, and meets ``on_error`` in a run.
    Names: RxJS ``distinct``, RxPY ``distinct``, Kafka Streams —

    Source: Rx ``distinct`` (RxPY ``operators.distinct``, which compares with every key seen).
    """
    check_function("distinct(key_mapper)", key_mapper, or_none=True)
    check_function("distinct(comparer)", comparer, or_none=True)
    check_policy("distinct", on_error, waits=False)
    check_name("distinct(name)", name)
    parameters = {"key_mapper": key_mapper, "comparer": comparer}
    make = lambda: Distinct(key_mapper, comparer, on_error)  # noqa: E731  # a value among values
    return operator(Operation("distinct", make, parameters, name, stateful=True, sides=("errors",)))


class Distinct(Node):
    """``states`` has the keys seen by their number, an entry each, so that an epoch saves the new ones only."""

    codec = TAGGED

    def __init__(
        self, key_mapper: Callable[[Any], Any] | None, comparer: Callable[[Any, Any], Any] | None, on_error: Policy | None
    ) -> None:
        super().__init__()
        self.key_mapper, self.comparer, self.on_error = key_mapper, comparer, on_error
        self.seen: set[Hashable] = set()
        self.others: list[Any] = []

    def start(self) -> None:
        for _, key in sorted(self.states.items()):
            self.remember(key)

    def remember(self, key: Any) -> None:
        if self.comparer is None and _hashable(key):
            self.seen.add(key)
        else:
            self.others.append(key)

    def is_new(self, key: Any) -> bool:
        if self.comparer is not None:
            return not any(self.comparer(other, key) for other in self.others)
        if not _hashable(key):
            return not any(other == key for other in chain(self.seen, self.others))
        return not (key in self.seen and key == key) and not any(other == key for other in self.others)  # NaN is not itself

    def admit(self, value: Any) -> bool:
        key = value if self.key_mapper is None else self.key_mapper(value)
        if not self.is_new(key):
            return False
        if self.host.durable:
            TAGGED.check(key)
        self.remember(key)
        number = len(self.states)
        self.states[number] = key
        self.dirty.add(number)
        return True

    def batch(self, b: Batch, port: int) -> None:
        mask, b = self.each(self.admit, b)
        self.emit(b.where(mask))


def _hashable(key: Any) -> bool:
    try:
        hash(key)
    except TypeError:
        return False
    return True
