"""What only the end of a stream decides: take_last, last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from reactivex import Observable
from reactivex.internal import SequenceContainsNoElementsError

from rxstreams.batch import Batch
from rxstreams.errors import Policy, check_policy
from rxstreams.operators.arguments import check_count, check_function, check_name
from rxstreams.operators.holding import keep, release
from rxstreams.state.codec import TAGGED
from rxstreams.stream import LOST, Node, Operation, Stream, operator

__all__ = ["last", "take_last"]

A = TypeVar("A", bound=Any)


def take_last(count: int, *, name: str | None = None) -> Callable[[Observable[A]], Stream[A]]:
    """Let the last ``count`` values through when the input ends.

        orders   -1--2--3--4-|
                 [ take_last(2) ]
        result   ------------(a,b,|)  a=3 b=4

    Shape: A → A, ``count`` at most, in order; keys stay.
    Time: each record's own; until the end the watermark stands still.
    Holds: the last ``count`` records; saved in a run, an entry each.
    Bounded by: ``count`` records.
    Ends: with its input, after the values; an error drops them.
    Names: RxJS ``takeLast``, RxPY ``take_last``, Kafka Streams —

    Source: Rx ``takeLast`` (RxPY ``operators.take_last``).
    """
    check_count("take_last(count)", count, least=0)
    check_name("take_last(name)", name)
    return operator(Operation("take_last", lambda: TakeLast(count), {"count": count}, name, defines=("count",), stateful=True))


class TakeLast(Node):
    """``states`` has the last records by number, so that an epoch saves the new ones and deletes the old ones."""

    codec = TAGGED
    holds_time = True

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def start(self) -> None:
        self.next = max(self.states, default=-1) + 1

    def batch(self, b: Batch, port: int) -> None:
        self.keep(b)

    def keep(self, b: Batch) -> None:
        b = b.cut(max(0, len(b) - self.count))
        for i in range(len(b)):
            self.states[self.next + i] = keep(self, b, i)
            self.dirty.add(self.next + i)
        for number in range(self.next - self.count, self.next - self.count + len(b)):
            if self.states.pop(number, LOST) is not LOST:
                self.dirty ^= {number}  # what came after the last commit is in no saved state, so there is nothing to delete
        self.next += len(b)

    def end(self, port: int, at: float | None = None) -> None:
        kept = [self.states[number] for number in sorted(self.states)]
        self.dirty ^= self.states.keys()
        self.states.clear()
        if kept:
            self.emit(release(self, kept))
        self.finish()

    def watermark(self, mark: int, port: int) -> None:
        """Any of the records may be the last one, so time stands still until the end."""


def last(
    predicate: Callable[[A], Any] | None = None, *, on_error: Policy | None = None, name: str | None = None
) -> Callable[[Observable[A]], Stream[A]]:
    """Let the last value through (or the last that ``predicate`` is true of) when the input ends.

        orders   -1--2--3--4-|
                 [ last(lambda x: x < 3) ]
        result   ------------(a,|)   a=2

    Shape: A → A, one; keys stay.
    Time: the record's own; until the end the watermark stands still.
    Holds: the last such record; saved in a run.
    Bounded by: one record.
    Ends: with its input, after the value; an input that ends without one is an error.
    Names: RxJS ``last``, RxPY ``last``, Kafka Streams —

    Raises:
        SequenceContainsNoElementsError: In ``on_error``, if there was no such value.

    Source: Rx ``last`` (RxPY ``operators.last``).
    """
    check_function("last(predicate)", predicate, or_none=True)
    check_policy("last", on_error, waits=False)
    check_name("last(name)", name)
    make = lambda: Last(predicate, on_error)  # noqa: E731  # a value among values
    return operator(Operation("last", make, {"predicate": predicate}, name, stateful=True, sides=("errors",)))


class Last(TakeLast):
    def __init__(self, predicate: Callable[[Any], Any] | None, on_error: Policy | None) -> None:
        super().__init__(1)
        self.predicate, self.on_error = predicate, on_error

    def batch(self, b: Batch, port: int) -> None:
        if self.predicate is not None:
            mask, b = self.each(self.predicate, b)
            b = b.where(mask)
        self.keep(b)

    def end(self, port: int, at: float | None = None) -> None:
        if self.states:
            super().end(port, at)
        else:
            self.fail(SequenceContainsNoElementsError())
