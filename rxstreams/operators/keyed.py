"""What key each record has: key_by."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from typing import Any, TypeVar, overload

from reactivex import Observable

from rxstreams.batch import Batch
from rxstreams.errors import Policy, check_policy
from rxstreams.operators.arguments import column_of, getter
from rxstreams.state.keys import internal, internal_all
from rxstreams.stream import Node, Operation, Stream, operator
from rxstreams.stream.loops import Loop

__all__ = ["key_by"]

A = TypeVar("A", bound=Any)
B = TypeVar("B")


@overload
def key_by(field: str, *, on_error: Policy | None = ...) -> Callable[[Observable[A]], Stream[A]]: ...
@overload
def key_by(field: Callable[[A], Any], *, on_error: Policy | None = ...) -> Callable[[Observable[A]], Stream[A]]: ...
def key_by(field: str | Callable[[Any], Any], *, on_error: Policy | None = None) -> Callable[[Observable[Any]], Stream[Any]]:
    """Give each record a key, which keyed operators after it keep their state by.

        orders   -1--2--3-|
                 [ key_by(lambda x: x % 2) ]
        result   -a--b--c-|          a=1 b=2 c=3

    Shape: A → A, one for one, in order. A key is a str, bytes, int, bool, None, enum member, UUID, or a tuple of
    these; 1 and True are two keys.
    Time: each record's own.
    Holds: nothing.
    Bounded by: nothing is held.
    Ends: with its input; an exception, or a key of another kind, ends a subscription and meets ``on_error`` in a run.
    Names: RxJS ``groupBy``, RxPY ``group_by``, Kafka Streams ``selectKey``, ``groupBy``

    Args:
        field: A field's name (of objects and mappings alike), or a function of the value.
        on_error: What happens to a record that has no such key; None is the run's policy.
    """
    getter("key_by(field)", field)
    check_policy("key_by", on_error, waits=False)
    return operator(Operation("key_by", lambda: KeyBy(field, on_error), {"field": field}, key="made", sides=("errors",)))


class KeyBy(Node):
    def __init__(self, field: str | Callable[[Any], Any], on_error: Policy | None) -> None:
        super().__init__()
        self.field, self.on_error = field, on_error
        self.read = getter("key_by(field)", field)

    def batch(self, b: Batch, port: int) -> None:
        # A field is read by one quick loop, and again record by record if something raises; a function is called once only.
        keys: Sequence[Hashable] | None = None
        if isinstance(self.field, str):
            with suppress(Exception):
                keys = internal_all(list(column_of(self.field, b.values)))
        if keys is None:
            keys, b = self.each(lambda value: internal(self.read(value)), b)
        self.emit(b.keyed(keys))

    def join(self, loop: Loop) -> bool:
        loop.lines.append(f"key = {loop.read(self.field)}")
        if not loop.is_a(self.field, str):
            loop.lines.append(f"if key.__class__ is not str: key = {loop.bind(internal)}(key)")
        loop.keyed = True
        return True
