"""Streams lined up: zip (side by side), concat and start_with (one after the other)."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

import reactivex
from reactivex import Observable
from reactivex.internal import is_future

from rxstreams.batch import Batch
from rxstreams.operators.arguments import check_count, check_name, check_savable
from rxstreams.operators.holding import Kept, keep, release
from rxstreams.state.codec import TAGGED
from rxstreams.stream import LOST, UNBOUNDED, Node, Operation, Stream, operator
from rxstreams.watermarks import START

__all__ = ["concat", "start_with", "zip"]

A = TypeVar("A", bound=Any)
B = TypeVar("B")
C = TypeVar("C")


def _sources(given: Sequence[Any]) -> list[Any]:
    """What RxPY takes as sources: Observables, and futures."""
    return [reactivex.from_future(one) if is_future(one) else one for one in given]


@overload
def zip(
    other: Observable[B], /, *, capacity: int = ..., name: str | None = ...
) -> Callable[[Observable[A]], Stream[tuple[A, B]]]: ...
@overload
def zip(
    other: Observable[B], another: Observable[C], /, *, capacity: int = ..., name: str | None = ...
) -> Callable[[Observable[A]], Stream[tuple[A, B, C]]]: ...
@overload
def zip(
    *args: Observable[Any], capacity: int = ..., name: str | None = ...
) -> Callable[[Observable[Any]], Stream[tuple[Any, ...]]]: ...
def zip(*args: Observable[Any], capacity: int = 1024, name: str | None = None) -> Callable[[Observable[Any]], Stream[Any]]:
    """Put the first values of all sources together, the second ones, and so on.

        orders   -1--2-----3--|
        labels   --7----8--9--|
                 [ zip(labels) ]
        result   --a----b--c--|      a=(1,7) b=(2,8) c=(3,9)

    Shape: A, B, … → tuple, one for each place, in order, however the sources interleave; without keys.
    Time: the latest of the values put together.
    Holds: the values that wait for those of another source; saved in a run, an entry each.
    Bounded by: ``capacity`` values per source (and what one record makes) in a run, which asks less of the faster source;
        by nothing in a subscription.
    Ends: when a source has ended and none of its values waits; at the first error of one.
    Names: RxJS ``zip``, RxPY ``zip``, Kafka Streams —

    Args:
        args: What to zip with.
        capacity: How many values of one source may wait in a run. Where all sources wait for each other the bound gives way.
        name: The operator's identity for saved state.

    Source: Rx ``zip`` (RxPY ``operators.zip``).
    """
    check_count("zip(capacity)", capacity, least=1)
    check_name("zip(name)", name)
    ports = 1 + len(args)
    make = lambda: Zip(ports, capacity)  # noqa: E731  # a value among values
    parameters = {"capacity": None if capacity == 1024 else capacity}
    return operator(Operation("zip", make, parameters, name, stateful=True, key="dropped"), *_sources(args))


class Zip(Node):
    """``states`` has, as of the last commit, how many values came on each port, and those that wait, by (port, number).

    At least one port has nothing that waits, or the values would have been put together. What waits is put into ``states``
    right before a commit: most of what comes has been put together by then.
    """

    locked = True
    codec = TAGGED

    def __init__(self, ports: int, capacity: int) -> None:
        super().__init__()
        self.ports, self.capacity = ports, capacity
        self.waiting: list[list[Any]] = [[] for _ in range(ports)]
        self.times: list[list[int]] = [[] for _ in range(ports)]
        self.came = [0] * ports

    def start(self) -> None:
        self.came = [self.states.get(port, 0) for port in range(self.ports)]
        for port, number in sorted(key for key in self.states if isinstance(key, tuple)):
            value, time = self.states[port, number]
            self.waiting[port].append(value)
            self.times[port].append(time)

    def room(self, port: int) -> int:
        return self.capacity - len(self.waiting[port])

    def batch(self, b: Batch, port: int) -> None:
        self.take(port, b.values, b.times)
        # Where others wait this port had nothing that did, so its next values complete the next results, one by one.
        self.put_together(b, range(len(b)))

    def merged(self, b: Batch, ports: Sequence[int]) -> None:
        # Where in this batch each waiting value came: those that waited already came before it, at -1.
        places = [[-1] * len(column) for column in self.waiting]
        for port in set(ports):
            index = [i for i, one in enumerate(ports) if one == port]
            places[port] += index
            self.take(port, [b.values[i] for i in index], b.times and [b.times[i] for i in index])
        self.put_together(b, list(map(max, *places)) if self.ports > 1 else places[0])

    def take(self, port: int, values: Sequence[Any], times: Sequence[int] | None) -> None:
        """Have values wait; in a run they must be savable."""
        check_savable(self, list(values))
        self.waiting[port].extend(values)
        self.times[port].extend(times or [0] * len(values))
        self.came[port] += len(values)

    def put_together(self, b: Batch, places: Sequence[int]) -> None:
        """Emit what is complete, each result in the place of the record that completed it."""
        n = min(map(len, self.waiting))
        if n:
            made = b.at(places[:n], list(builtins.zip(*(column[:n] for column in self.waiting)))).keyed(None)
            if b.times:
                columns = [column[:n] for column in self.times]
                made = made.timed(list(map(max, *columns)) if self.ports > 1 else columns[0])
            for column in (*self.waiting, *self.times):
                del column[:n]
        over = any(not column and port in self.done for port, column in enumerate(self.waiting))
        if over:
            self.forget()
        if n:
            self.emit(made)
        if over:
            self.finish(made.order[-1] if n and made.order else None)

    def cut(self) -> None:
        """Put what waits into the state that is saved now, and take out what does not wait any more."""
        for port, column in enumerate(self.waiting):
            first, saved = self.came[port] - len(column), self.states.get(port, 0)
            for number in range(min(first, saved) - 1, -1, -1):
                if self.states.pop((port, number), LOST) is LOST:
                    break
                self.dirty.add((port, number))
            if saved == self.came[port]:
                continue
            for number in range(max(first, saved), self.came[port]):
                self.states[port, number] = column[number - first], self.times[port][number - first]
                self.dirty.add((port, number))
            self.states[port] = self.came[port]
            self.dirty.add(port)

    def forget(self) -> None:
        """What waits, waits in vain: an input has ended."""
        self.dirty |= self.states.keys()
        self.states.clear()
        self.came = [0] * self.ports
        for column in (*self.waiting, *self.times):
            column.clear()

    def end(self, port: int, at: float | None = None) -> None:
        self.done.add(port)
        if not self.waiting[port]:
            self.forget()
            self.finish(at)
        elif self.host.wants_time:
            self.tell_time()


def concat(*sources: Observable[A], name: str | None = None) -> Callable[[Observable[A]], Stream[A]]:
    """Let all values of the first source through, then all of the next, and so on.

        orders   -1--2-|
        more     -3-4-|
                 [ concat(more) ]            more is cold: it begins when it is subscribed to
        result   -a--b--c-d-|        a=1 b=2 c=3 d=4

    Shape: A → A, in order, however the sources interleave; keys stay, if all sources have them.
    Time: each record's own; in a run the watermark stands still until the last source's turn.
    Holds: nothing in a subscription, which subscribes to a source in its turn; in a run, where each stream is made once, the
        records of a source that are read before its turn, an entry each, saved.
    Bounded by: a run does not read a source that leads nowhere else before its turn; a source that leads elsewhere too, by its
        records until then.
    Ends: when the last source has; at the first error.
    Names: RxJS ``concat``, RxPY ``concat``, Kafka Streams —

    Source: Rx ``concat`` (RxPY ``operators.concat``).
    """
    check_name("concat(name)", name)
    ports = 1 + len(sources)
    make = lambda: Concat(ports)  # noqa: E731  # a value among values
    return operator(Operation("concat", make, name=name, stateful=True), *_sources(sources))


class Concat(Node):
    """``states["turn"]`` is the port whose turn it is, (port, number) a record of a later one that came early."""

    in_turn = True
    locked = True
    holds_time = True
    codec = TAGGED

    def __init__(self, ports: int) -> None:
        super().__init__()
        self.ports = ports
        self.early = [0] * ports

    def start(self) -> None:
        self.turn = self.states.get("turn", 0)
        for port, _ in (key for key in self.states if isinstance(key, tuple)):
            self.early[port] += 1

    def room(self, port: int) -> int:
        return UNBOUNDED if port <= self.turn else 0

    def batch(self, b: Batch, port: int) -> None:
        if not self.host.durable:
            self.emit(b)
        elif port == self.turn:
            b = b if self.host.keyed else b.keyed(None)
            self.emit(b.marked([START] * len(b)) if b.marks and self.turn < self.ports - 1 else b)
        else:
            self.hold(b, port)

    def hold(self, b: Batch, port: int) -> None:
        for i in range(len(b)):
            entry = (port, self.early[port] + i)
            self.states[entry] = keep(self, b, i)
            self.dirty.add(entry)
        self.early[port] += len(b)

    def end(self, port: int, at: float | None = None) -> None:
        if not self.host.durable:
            self.finish(at)
            return
        self.done.add(port)
        came: list[Kept] = []
        while self.turn < self.ports and self.turn in self.done:
            self.turn += 1
            came += self.take_early()
        self.states["turn"] = self.turn
        self.dirty.add("turn")
        if came:
            self.emit(release(self, came))
        if self.turn == self.ports:
            self.finish(at)
        elif self.turn == self.ports - 1 and self.host.wants_time:
            self.tell_time()

    def take_early(self) -> list[Kept]:
        """What came of the source whose turn it is now."""
        if self.turn == self.ports:
            return []
        entries = [(self.turn, number) for number in range(self.early[self.turn])]
        came = [self.states.pop(entry) for entry in entries]
        self.dirty ^= set(entries)  # what was never committed need not be deleted
        return came

    def watermark(self, mark: int, port: int) -> None:
        """Records of a later source may have any time, so time stands still until the last one's turn."""
        if not self.host.durable:
            self.forward(mark)
            return
        self.marks[port] = mark
        if self.turn == self.ports - 1:
            self.tell_time()


def start_with(*args: A, name: str | None = None) -> Callable[[Observable[A]], Stream[A]]:
    """Begin with some values, then go on with the stream's.

        orders   ------1--2-|
                 [ start_with(8, 9) ]
        result   (a,b)-c--d-|        a=8 b=9 c=1 d=2

    Shape: A → A, ``args`` and then all of the input, in order; without keys, which the first ones have not.
    Time: the clock's at the start for the first ones, each record's own after that.
    Holds: whether the first ones have gone out; saved in a run, so a restart does not begin with them again.
    Bounded by: one value.
    Ends: with its input.
    Names: RxJS ``startWith``, RxPY ``start_with``, Kafka Streams —

    Source: Rx ``startWith`` (RxPY ``operators.start_with``).
    """
    check_name("start_with(name)", name)
    make = lambda: StartWith(args)  # noqa: E731  # a value among values
    return operator(Operation("start_with", make, {"args": args}, name, stateful=True, key="dropped"))


class StartWith(Node):
    codec = TAGGED

    def __init__(self, args: Sequence[Any]) -> None:
        super().__init__()
        self.args = args

    def start(self) -> None:
        if self.host.durable and not self.states:
            self.host.post(self.produce, None)

    def produce(self) -> None:
        self.states[None] = True
        self.dirty.add(None)
        if self.args:
            now = int(self.host.now() * 1000)
            b = self.host.fresh(self.args, [now] * len(self.args))
            self.emit(b.marked(b.marks and [START] * len(b)))

    def batch(self, b: Batch, port: int) -> None:
        self.emit(b.keyed(None))

    def end(self, port: int, at: float | None = None) -> None:
        if not self.states:
            self.produce()  # the input has ended before a run began
        self.finish(at)
