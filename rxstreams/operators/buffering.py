"""Several records into one list: buffer_with_count, buffer_with_time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from reactivex import Observable, abc
from reactivex.internal import ArgumentOutOfRangeException

from rxstreams.batch import Batch
from rxstreams.errors import seconds
from rxstreams.operators.arguments import check_count
from rxstreams.state.codec import TAGGED
from rxstreams.stream import Node, Operation, Stream, operator

__all__ = ["buffer_with_count", "buffer_with_time"]

A = TypeVar("A")


class Buffer(Node):
    """What both buffers share: the held records, an entry each in ``states`` by number, so that an epoch saves only changes.

    ``states["seen"]`` is how many records have come, ``states["open"]`` the first record's number of each open buffer.
    """

    codec = TAGGED

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[int, tuple[Any, int]] = {}

    def start(self) -> None:
        self.states.setdefault("seen", 0)
        self.states.setdefault("open", [])
        self.held = {number: (entry[0], entry[1]) for number, entry in self.states.items() if isinstance(number, int)}

    def put(self, state: str, value: Any) -> None:
        self.states[state] = value
        self.dirty.add(state)

    def hold(self, number: int, value: Any, time: int) -> None:
        if self.host.durable:
            self.states[number] = [value, time]
            self.dirty.add(number)
        self.held[number] = (value, time)

    def collect(self, first: int, after: int) -> tuple[list[Any], int]:
        """The records from ``first`` up to ``after``, and the latest time of theirs."""
        found = [self.held[number] for number in range(first, after) if number in self.held]
        return [value for value, _ in found], max((time for _, time in found), default=self.host_time())

    def host_time(self) -> int:
        return int(self.host.now() * 1000) if self.host.wants_time else 0

    def free(self, below: int) -> None:
        for number in list(self.held):
            if number >= below:
                break  # numbers were held in order
            del self.held[number]
            if self.states.pop(number, None) is not None:
                self.dirty.add(number)

    def emit_open(self, *, empty: bool) -> None:
        """Emit every open buffer, at the end of the input."""
        lists = [self.collect(first, self.states["seen"]) for first in self.states["open"]]
        kept = [part for part in lists if part[0] or empty]
        self.put("open", [])
        self.free(self.states["seen"])
        if kept:
            self.emit(self.host.fresh([values for values, _ in kept], [time for _, time in kept]))


def buffer_with_count(count: int, skip: int | None = None, *, name: str | None = None) -> Callable[[Observable[A]], Stream[list[A]]]:
    """Gather every ``count`` values into a list, beginning a new list every ``skip`` values (None: every ``count``).

        orders   -1--2--3-|
                 [ buffer_with_count(2) ]
        result   ----a----(b,|)      a=[1,2] b=[3]

    Shape: A → list[A], ``count`` long, the last ones shorter but not empty; with ``skip`` below ``count`` lists overlap,
    above it values are left out. A list has the key of its last record, and the latest time of its records.
    Holds: the records of the open lists, at most ``count`` each; saved in a run.
    Ends: with its input, after the open lists; an error drops them.

    Raises:
        ArgumentOutOfRangeException: If ``count`` or ``skip`` is not positive.

    Source: Rx ``buffer`` (RxPY ``operators.buffer_with_count``).
    """
    step = count if skip is None else skip
    if isinstance(count, int) and isinstance(step, int) and (count <= 0 or step <= 0):
        raise ArgumentOutOfRangeException()
    check_count("buffer_with_count(count)", count, least=1)
    check_count("buffer_with_count(skip)", step, least=1)
    parameters = {"count": count, "skip": skip}
    make = lambda: BufferWithCount(count, step)  # noqa: E731  # a value among values
    return operator(Operation("buffer_with_count", make, parameters, name, defines=("count", "skip"), stateful=True))


class BufferWithCount(Buffer):
    def __init__(self, count: int, skip: int) -> None:
        super().__init__()
        self.count, self.skip = count, skip

    def batch(self, b: Batch, port: int) -> None:
        seen, opened = self.states["seen"], list(self.states["open"])
        times = b.times or [0] * len(b)
        indices, lists, latest = [], [], []
        for i, value in enumerate(b.values):
            number = seen + i
            if number % self.skip == 0:
                opened.append(number)
            if opened:
                self.hold(number, value, times[i])
            if opened and number - opened[0] + 1 == self.count:
                values, time = self.collect(opened.pop(0), number + 1)
                indices.append(i)
                lists.append(values)
                latest.append(time)
                self.free(opened[0] if opened else number + 1)
        self.put("seen", seen + len(b))
        self.put("open", opened)
        self.emit(b.at(indices, lists).timed(latest if b.times else None))

    def end(self, port: int, at: int | None = None) -> None:
        self.emit_open(empty=False)
        self.finish()


def buffer_with_time(
    timespan: float | timedelta,
    timeshift: float | timedelta | None = None,
    scheduler: abc.SchedulerBase | None = None,
    *,
    name: str | None = None,
) -> Callable[[Observable[A]], Stream[list[A]]]:
    """Gather what comes within ``timespan`` seconds of the clock into a list, beginning a new list every ``timeshift``.

        orders   -1-2---3---|
                 [ buffer_with_time(4) ]         one character = one second
        result   ----a---b--(c,|)    a=[1,2] b=[3] c=[]

    Shape: A → list[A], empty ones too. The result depends on the clock; for windows of event time see ``windowed``.
    Holds: the records of the open lists; saved in a run, with the time that each is due: what is overdue after a restart
    comes out once, at once.
    Ends: with its input, after the open lists; an error drops them.

    Args:
        timespan: Length of each buffer, in seconds.
        timeshift: Seconds between the beginnings of two buffers; None is ``timespan``.
        scheduler: Whose clock; None is the subscription's (in a run: the run's).

    Source: Rx ``buffer`` (RxPY ``operators.buffer_with_time``).
    """
    span = seconds("buffer_with_time(timespan)", timespan, allow_least=False)
    shift = seconds("buffer_with_time(timeshift)", timeshift) if timeshift else span
    parameters = {"timespan": timespan, "timeshift": timeshift}
    make = lambda: BufferWithTime(span, shift, scheduler)  # noqa: E731  # a value among values
    defines = ("timespan", "timeshift")
    return operator(
        Operation("buffer_with_time", make, parameters, name, defines=defines, stateful=True, depends_on="clock", keeps_key=False)
    )


class BufferWithTime(Buffer):
    """Lists open at 0, shift, 2 × shift, … and close ``span`` later, all measured in milliseconds since the start."""

    locked = True

    def __init__(self, span: float, shift: float, scheduler: Any) -> None:
        super().__init__()
        self.span, self.shift, self.scheduler = round(span * 1000), round(shift * 1000), scheduler

    def start(self) -> None:
        super().start()
        now = self.host.now()
        if "next" not in self.states:
            self.put("open", [0])
            self.put("next", [self.span, self.shift, now])
        closes, opens, begun = self.states["next"]
        self.wait(begun + min(closes, opens) / 1000 - now)

    def wait(self, delay: float) -> None:
        self.host.later(max(0.0, delay), self.tick)

    def tick(self) -> None:
        closes, opens, begun = self.states["next"]
        opened, due = list(self.states["open"]), min(closes, opens)
        if opens == due:
            opened.append(self.states["seen"])
            opens += self.shift
        part = None
        if closes == due:
            part = self.collect(opened.pop(0), self.states["seen"])
            closes += self.shift
            self.free(opened[0] if opened else self.states["seen"])
        self.put("open", opened)
        self.put("next", [closes, opens, begun])
        late = self.host.now() - (begun + due / 1000)
        self.wait((min(closes, opens) - due) / 1000 - max(0.0, late))
        if part is not None:
            self.emit(self.host.fresh((part[0],), (part[1],)))

    def batch(self, b: Batch, port: int) -> None:
        seen = self.states["seen"]
        times = b.times or [0] * len(b)
        if self.states["open"]:
            for i, value in enumerate(b.values):
                self.hold(seen + i, value, times[i])
        self.put("seen", seen + len(b))

    def end(self, port: int, at: int | None = None) -> None:
        self.emit_open(empty=True)
        self.finish()
