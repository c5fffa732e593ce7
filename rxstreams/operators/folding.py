"""A fold over all records: scan, which shows it as it goes, and reduce, which shows the last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from reactivex import Observable
from reactivex.internal import SequenceContainsNoElementsError
from reactivex.internal.utils import NotSet

from rxstreams.batch import Batch
from rxstreams.errors import Policy, StateCodecError, check_policy
from rxstreams.operators.arguments import check_function, check_name
from rxstreams.state.codec import TAGGED, dumps, loads, pack
from rxstreams.stream import Node, Operation, Stream, operator
from rxstreams.watermarks import START

__all__ = ["reduce", "scan"]

A = TypeVar("A", bound=Any)
B = TypeVar("B")

_UNSET: Any = NotSet


def scan(
    accumulator: Callable[[B, A], B], seed: B = _UNSET, *, on_error: Policy | None = None, name: str | None = None
) -> Callable[[Observable[A]], Stream[B]]:
    """Fold the values, and emit the fold so far for each; the first value stands for a missing ``seed``.

        orders   -1--2--3-|
                 [ scan(lambda total, x: total + x) ]
        result   -a--b--c-|          a=1 b=3 c=6

    Shape: A → B, one for one, in order; one fold over all records, whatever their keys. ``accumulator`` returns a new fold: one
    that it changed in place would change in the hands of whoever got it before.
    Time: each record's own.
    Holds: the fold so far; saved in a run, so it must be encodable (see ``rxstreams.state.codec``).
    Bounded by: the size of the fold.
    Ends: with its input; an exception ends a subscription, and meets ``on_error`` in a run (the fold stays as it was).
    Names: RxJS ``scan``, RxPY ``scan``, Kafka Streams ``aggregate``

    Source: Rx ``scan`` (RxPY ``operators.scan``).
    """
    check_function("scan(accumulator)", accumulator)
    check_policy("scan", on_error, waits=False)
    check_name("scan(name)", name)
    parameters = {"accumulator": accumulator, "seed": None if seed is NotSet else seed}
    make = lambda: Scan(accumulator, seed, on_error)  # noqa: E731  # a value among values
    return operator(Operation("scan", make, parameters, name, stateful=True, sides=("errors",)))


class Scan(Node):
    """The fold that scan and reduce share."""

    codec = TAGGED

    def __init__(self, accumulator: Callable[[Any, Any], Any], seed: Any, on_error: Policy | None) -> None:
        super().__init__()
        self.accumulator, self.seed, self.on_error = accumulator, seed, on_error
        self.savable: set[type] = set()

    def start(self) -> None:
        if self.host.durable and self.seed is not NotSet:
            self.seed = loads(dumps(pack(self.seed)))  # an accumulator may change it in place, and the task may start again

    def step(self, value: Any) -> Any:
        states = self.states
        if None in states:
            states[None] = result = self.accumulator(states[None], value)
        else:
            states[None] = result = value if self.seed is NotSet else self.accumulator(self.seed, value)
        return result

    def fold(self, b: Batch) -> tuple[list[Any], Batch]:
        results, b = self.each(self.step, b)
        if results:
            self.dirty.add(None)
            if self.host.durable and type(results[-1]) not in self.savable:
                self.check(results[-1])
        return results, b

    def check(self, fold: Any) -> None:
        """What cannot be saved fails at the record that made it, not at the commit."""
        try:
            TAGGED.check(fold)
        except StateCodecError as error:
            self.fail(error)
        self.savable.add(type(fold))

    def batch(self, b: Batch, port: int) -> None:
        results, b = self.fold(b)
        self.emit(b.of(results))


class AtEnd(Node):
    """What emits one value when its input ends: a fold of some kind, and ``states["time"]``, the latest of the records' times."""

    codec = TAGGED
    holds_time = True

    def note(self, b: Batch) -> None:
        """Take the records' times in."""
        if b.times:
            self.states["time"] = max(self.states.get("time", b.times[0]), *b.times)
            self.dirty.add("time")

    def emit_at_end(self, value: Any) -> None:
        """Emit the one value, and end; what it was made of is not needed any more."""
        b = self.host.fresh((value,), (self.states.get("time", 0),))
        self.dirty |= self.states.keys()
        self.states.clear()
        self.emit(b.marked(b.marks and (START,)))
        self.finish()

    def watermark(self, mark: int, port: int) -> None:
        """The one result has the time of some record, so time stands still until it is out."""


def reduce(
    accumulator: Callable[[B, A], B], seed: B = _UNSET, *, on_error: Policy | None = None, name: str | None = None
) -> Callable[[Observable[A]], Stream[B]]:
    """Fold the values, and emit the fold when the input ends.

        orders   -1--2--3-|
                 [ reduce(lambda total, x: total + x) ]
        result   ---------(a,|)      a=6

    Shape: A → B, one in all; its time is the latest of the records.
    Time: the latest of the records; until the end the watermark stands still.
    Holds: the fold so far; saved in a run.
    Bounded by: the size of the fold.
    Ends: with its input, after the result; an empty input without ``seed`` is an error.
    Names: RxJS ``reduce``, RxPY ``reduce``, Kafka Streams ``reduce``

    Raises:
        SequenceContainsNoElementsError: In ``on_error``, if there was neither a value nor a seed.

    Source: Rx ``reduce`` (RxPY ``operators.reduce``).
    """
    check_function("reduce(accumulator)", accumulator)
    check_policy("reduce", on_error, waits=False)
    check_name("reduce(name)", name)
    parameters = {"accumulator": accumulator, "seed": None if seed is NotSet else seed}
    make = lambda: Reduce(accumulator, seed, on_error)  # noqa: E731  # a value among values
    return operator(Operation("reduce", make, parameters, name, stateful=True, key="dropped", sides=("errors",)))


class Reduce(AtEnd, Scan):
    def batch(self, b: Batch, port: int) -> None:
        _, b = self.fold(b)
        self.note(b)

    def end(self, port: int, at: float | None = None) -> None:
        if None not in self.states and self.seed is NotSet:
            self.fail(SequenceContainsNoElementsError())
        else:
            self.emit_at_end(self.states.get(None, self.seed))
