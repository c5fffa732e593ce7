"""A part of a stream: take, take_while, skip, skip_while, first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import filterfalse
from operator import length_hint
from typing import Any, TypeVar

import reactivex
from reactivex import Observable
from reactivex.internal import SequenceContainsNoElementsError

from rxstreams.batch import Batch
from rxstreams.errors import Policy, check_policy
from rxstreams.operators.arguments import check_count, check_flag, check_function, check_name
from rxstreams.state.codec import TAGGED
from rxstreams.stream import LOST, Node, Operation, Stream, operator

__all__ = ["first", "skip", "skip_while", "take", "take_while"]

A = TypeVar("A", bound=Any)


def take(count: int, *, name: str | None = None) -> Callable[[Observable[A]], Stream[A]]:
    """Let the first ``count`` values through, then end.

        orders   -1--2--3--4-|
                 [ take(2) ]
        result   -a--(b,|)           a=1 b=2

    Shape: A → A, ``count`` at most, in order; keys stay.
    Time: each record's own.
    Holds: how many have passed; saved in a run, so a restart does not begin anew.
    Bounded by: one number.
    Ends: right after the last value; a run whose every branch has ended this way records that it is complete.
    Names: RxJS ``take``, RxPY ``take``, Kafka Streams —

    Raises:
        ArgumentOutOfRangeException: If ``count`` is negative.

    Source: Rx ``take`` (RxPY ``operators.take``).
    """
    _refuse_negative(count)
    check_count("take(count)", count, least=0)
    check_name("take(name)", name)
    build = operator(Operation("take", lambda: Take(count), {"count": count}, name, defines=("count",), stateful=True))
    return build if count else lambda source: build(reactivex.empty())


def _refuse_negative(count: Any) -> None:
    if isinstance(count, int) and count < 0:
        raise reactivex.internal.ArgumentOutOfRangeException()


class Take(Node):
    codec = TAGGED

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def start(self) -> None:
        if self.states.get(None, 0) >= self.count > 0:
            self.finish()

    def batch(self, b: Batch, port: int) -> None:
        taken = self.states.get(None, 0)
        if taken >= self.count:
            return
        b = b.cut(0, self.count - taken)
        self.states[None] = taken = taken + len(b)
        self.dirty.add(None)
        self.emit(b)
        if taken == self.count:
            self.finish(b.order[-1] if b.order else None)


class Watch(Node):
    """What waits for the first record at which a predicate is true (or false); ``states`` says whether it has come."""

    codec = TAGGED

    def __init__(self, predicate: Callable[[Any], Any] | None, on_error: Policy | None) -> None:
        super().__init__()
        self.predicate, self.on_error = predicate, on_error

    def find(self, b: Batch, *, sought: bool) -> tuple[Batch, int]:
        """The batch, shorter by the records that a policy let go, and the index of the first record sought (or its length).

        The predicate is called for no record beyond, at C speed: ``filter`` stops where it finds one, and the values' iterator
        knows where that is.
        """
        predicate = self.predicate
        if predicate is None:
            return b, 0
        n, left, lost = len(b), iter(b.values), set[int]()
        while True:
            error: Exception
            try:
                tests = map(predicate, left)
                found = next(filter(None, tests) if sought else filterfalse(None, tests), LOST) is not LOST
                at = n - length_hint(left) - found
                if found or at == n:
                    break
                error = RuntimeError("the function raised StopIteration")
            except Exception as raised:
                error = raised
            at = n - length_hint(left) - 1
            answer = self.host.failed(error, b, at, partial(predicate, b.values[at]))
            if answer is LOST:
                lost.add(at)
            elif bool(answer) == sought:
                break
        if lost:
            b, at = b.where([i not in lost for i in range(n)]), at - len(lost)
        return b, at

    def over(self) -> None:
        """Remember that the record has come."""
        self.states[None] = True
        self.dirty.add(None)


def take_while(
    predicate: Callable[[A], Any], inclusive: bool = False, *, on_error: Policy | None = None, name: str | None = None
) -> Callable[[Observable[A]], Stream[A]]:
    """Let values through as long as ``predicate`` is true of them, then end.

        orders   -1--2--3--1-|
                 [ take_while(lambda x: x < 3) ]
        result   -a--b--|            a=1 b=2

    Shape: A → A, in order; keys stay.
    Time: each record's own.
    Holds: whether it is over; saved in a run.
    Bounded by: one value.
    Ends: at the first value that ``predicate`` is false of; an exception ends a subscription, and meets ``on_error`` in a run.
    Names: RxJS ``takeWhile``, RxPY ``take_while``, Kafka Streams —

    Args:
        predicate: Whether to go on.
        inclusive: Whether the value at which it ends goes through, too.
        on_error: What happens to a record at which ``predicate`` raises; None is the run's policy.
        name: The operator's identity for saved state.

    Source: Rx ``takeWhile`` (RxPY ``operators.take_while``).
    """
    check_function("take_while(predicate)", predicate)
    check_flag("take_while(inclusive)", inclusive)
    check_policy("take_while", on_error, waits=False)
    check_name("take_while(name)", name)
    make = lambda: TakeWhile(predicate, inclusive, on_error)  # noqa: E731  # a value among values
    parameters = {"predicate": predicate, "inclusive": inclusive}
    return operator(Operation("take_while", make, parameters, name, stateful=True, sides=("errors",)))


class TakeWhile(Watch):
    def __init__(self, predicate: Callable[[Any], Any], inclusive: bool, on_error: Policy | None) -> None:
        super().__init__(predicate, on_error)
        self.inclusive = inclusive

    def start(self) -> None:
        if self.states:
            self.finish()

    def batch(self, b: Batch, port: int) -> None:
        if self.states:
            return
        b, at = self.find(b, sought=False)
        if at == len(b):
            self.emit(b)
            return
        self.over()
        self.emit(b.cut(0, at + self.inclusive))
        self.finish(b.order[at] if b.order else None)


def skip(count: int, *, name: str | None = None) -> Callable[[Observable[A]], Stream[A]]:
    """Leave out the first ``count`` values.

        orders   -1--2--3--4-|
                 [ skip(2) ]
        result   -------a--b-|       a=3 b=4

    Shape: A → A, all but ``count``, in order; keys stay.
    Time: each record's own.
    Holds: how many were left out; saved in a run, so a restart does not begin anew.
    Bounded by: one number.
    Ends: with its input.
    Names: RxJS ``skip``, RxPY ``skip``, Kafka Streams —

    Raises:
        ArgumentOutOfRangeException: If ``count`` is negative.

    Source: Rx ``skip`` (RxPY ``operators.skip``).
    """
    _refuse_negative(count)
    check_count("skip(count)", count, least=0)
    check_name("skip(name)", name)
    return operator(Operation("skip", lambda: Skip(count), {"count": count}, name, defines=("count",), stateful=True))


class Skip(Node):
    codec = TAGGED

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def batch(self, b: Batch, port: int) -> None:
        left = self.count - self.states.get(None, 0)
        if left > 0:
            left = min(left, len(b))
            self.states[None] = self.states.get(None, 0) + left
            self.dirty.add(None)
            b = b.cut(left)
        self.emit(b)


def skip_while(
    predicate: Callable[[A], Any], *, on_error: Policy | None = None, name: str | None = None
) -> Callable[[Observable[A]], Stream[A]]:
    """Leave out values as long as ``predicate`` is true of them, and let all others through.

        orders   -1--2--3--1-|
                 [ skip_while(lambda x: x < 3) ]
        result   -------a--b-|       a=3 b=1

    Shape: A → A, in order; keys stay.
    Time: each record's own.
    Holds: whether the first has gone through; saved in a run.
    Bounded by: one value.
    Ends: with its input; an exception ends a subscription, and meets ``on_error`` in a run.
    Names: RxJS ``skipWhile``, RxPY ``skip_while``, Kafka Streams —

    Source: Rx ``skipWhile`` (RxPY ``operators.skip_while``).
    """
    check_function("skip_while(predicate)", predicate)
    check_policy("skip_while", on_error, waits=False)
    check_name("skip_while(name)", name)
    make = lambda: SkipWhile(predicate, on_error)  # noqa: E731  # a value among values
    return operator(Operation("skip_while", make, {"predicate": predicate}, name, stateful=True, sides=("errors",)))


class SkipWhile(Watch):
    def batch(self, b: Batch, port: int) -> None:
        if not self.states:
            b, at = self.find(b, sought=False)
            if at == len(b):
                return
            self.over()
            b = b.cut(at)
        self.emit(b)


def first(
    predicate: Callable[[A], Any] | None = None, *, on_error: Policy | None = None, name: str | None = None
) -> Callable[[Observable[A]], Stream[A]]:
    """Let the first value through (or the first that ``predicate`` is true of), then end.

        orders   -1--2--3--4-|
                 [ first(lambda x: x > 2) ]
        result   -------(a,|)        a=3

    Shape: A → A, one; keys stay.
    Time: the record's own.
    Holds: whether it has come; saved in a run.
    Bounded by: one value.
    Ends: right after the value; an input that ends without one is an error.
    Names: RxJS ``first``, RxPY ``first``, Kafka Streams —

    Raises:
        SequenceContainsNoElementsError: In ``on_error``, if the input ends before.

    Source: Rx ``first`` (RxPY ``operators.first``).
    """
    check_function("first(predicate)", predicate, or_none=True)
    check_policy("first", on_error, waits=False)
    check_name("first(name)", name)
    make = lambda: First(predicate, on_error)  # noqa: E731  # a value among values
    return operator(Operation("first", make, {"predicate": predicate}, name, stateful=True, sides=("errors",)))


class First(Watch):
    def start(self) -> None:
        if self.states:
            self.finish()

    def batch(self, b: Batch, port: int) -> None:
        if self.states:
            return
        b, at = self.find(b, sought=True)
        if at < len(b):
            self.over()
            self.emit(b.cut(at, at + 1))
            self.finish(b.order[at] if b.order else None)

    def end(self, port: int, at: float | None = None) -> None:
        if self.states:
            self.finish(at)
        else:
            self.fail(SequenceContainsNoElementsError())
