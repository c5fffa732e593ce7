"""Several records into one list: buffer_with_count, buffer_with_time, buffer_with_time_or_count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable
from reactivex.internal import ArgumentOutOfRangeException

from rxstreams.batch import Batch
from rxstreams.errors import seconds
from rxstreams.operators.arguments import check_count, check_name, check_savable, check_scheduler
from rxstreams.operators.holding import Holding
from rxstreams.stream import LOST, Operation, Stream, operator
from rxstreams.watermarks import END, START

__all__ = ["buffer_with_count", "buffer_with_time", "buffer_with_time_or_count"]

A = TypeVar("A", bound=Any)


class Buffer(Holding):
    """What both buffers share: the held records, an entry each in ``states`` by number, so that an epoch saves only changes.

    ``states["seen"]`` is how many records have come, ``states["open"]`` of each open list its first record's number and the
    latest time in it.
    """

    fans_out = True

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[int, Any] = {}
        self.first = 0

    def start(self) -> None:
        super().start()
        self.states.setdefault("seen", 0)
        self.states.setdefault("open", [])
        self.held = {number: value for number, value in self.states.items() if isinstance(number, int)}
        self.first = min(self.held, default=self.states["seen"])

    def least(self) -> int:
        return _least_time(self.states["open"])

    def hold(self, number: int, value: Any) -> None:
        if self.host.durable:
            check_savable(self, value)
            self.states[number] = value
            self.dirty.add(number)
        self.held[number] = value

    def list_from(self, first: int, after: int) -> list[Any]:
        return [self.held[number] for number in range(first, after)]

    def free(self, below: int) -> None:
        for number in range(self.first, below):
            if self.held.pop(number, LOST) is not LOST and self.host.durable:
                del self.states[number]
                self.dirty ^= {number}  # what was held after the last commit is in no saved state, so there is nothing to delete
        self.first = below

    def time_of(self, latest: int) -> int:
        """The time of a list; of an empty one the clock's."""
        return latest if latest > START or not self.host.wants_time else int(self.host.now() * 1000)

    def end_with(self, *, empty: bool) -> None:
        """Emit every open list, at the end of the input."""
        after, opened = self.states["seen"], self.states["open"]
        lists = [(self.list_from(first, after), self.time_of(latest)) for first, latest in opened]
        kept = [(values, time) for values, time in lists if values or empty]
        self.free(after)
        self.dirty |= self.states.keys()
        self.states.clear()
        if kept:
            b = self.host.fresh([values for values, _ in kept], [time for _, time in kept])
            self.emit(b.marked(b.marks and [max(self.told, min(mark, _least_time(opened))) for mark in b.marks]))
        self.finish()


def _least_time(opened: Sequence[Sequence[int]]) -> int:
    """The least time that one of the open lists may yet get."""
    return min((latest for _, latest in opened if latest > START), default=END)


def buffer_with_count(
    count: int, skip: int | None = None, *, name: str | None = None
) -> Callable[[Observable[A]], Stream[list[A]]]:
    """Gather every ``count`` values into a list, beginning a new list every ``skip`` values (None: every ``count``).

        orders   -1--2--3-|
                 [ buffer_with_count(2) ]
        result   ----a----(b,|)      a=[1,2] b=[3]

    Shape: A → list[A], ``count`` long, the last ones shorter but not empty; with ``skip`` below ``count`` lists overlap,
    above it values are left out. A list has no key, and the latest time of its records, which holds the watermark back.
    Time: the latest of its records, which the watermark waits for.
    Holds: the records of the open lists, at most ``count`` each; saved in a run.
    Bounded by: ``count`` records per open list.
    Ends: with its input, after the open lists; an error drops them.
    Names: RxJS ``bufferCount``, RxPY ``buffer_with_count``, Kafka Streams —

    Raises:
        ArgumentOutOfRangeException: If ``count`` or ``skip`` is not positive.

    Source: Rx ``buffer`` (RxPY ``operators.buffer_with_count``).
    """
    step = count if skip is None else skip
    if isinstance(count, int) and isinstance(step, int) and (count <= 0 or step <= 0):
        raise ArgumentOutOfRangeException()
    check_count("buffer_with_count(count)", count, least=1)
    check_count("buffer_with_count(skip)", step, least=1)
    check_name("buffer_with_count(name)", name)
    parameters = {"count": count, "skip": skip}
    make = lambda: BufferWithCount(count, step)  # noqa: E731  # a value among values
    return operator(
        Operation("buffer_with_count", make, parameters, name, defines=("count", "skip"), stateful=True, key="dropped")
    )


class BufferWithCount(Buffer):
    def __init__(self, count: int, skip: int) -> None:
        super().__init__()
        self.count, self.skip = count, skip

    def batch(self, b: Batch, port: int) -> None:
        seen, opened = self.states["seen"], [list(one) for one in self.states["open"]]
        indices, lists, times, marks = [], [], [], []
        for i, value in enumerate(b.values):
            number = seen + i
            if number % self.skip == 0:
                opened.append([number, START])
            if not opened:
                continue
            self.hold(number, value)
            if b.times:
                for one in opened:
                    one[1] = max(one[1], b.times[i])
            if number - opened[0][0] + 1 == self.count:
                first, latest = opened.pop(0)
                indices.append(i)
                lists.append(self.list_from(first, number + 1))
                times.append(latest)
                marks.append(self.told)
                self.free(opened[0][0] if opened else number + 1)
        self.put("seen", seen + len(b))
        self.put("open", opened)
        self.emit(b.at(indices, lists).keyed(None).timed(times if b.times else None).marked(marks if b.marks else None))
        self.tell_anew()

    def end(self, port: int, at: float | None = None) -> None:
        self.end_with(empty=False)


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
    Time: the latest of its records, which the watermark waits for; of an empty list the clock's.
    Holds: the records of the open lists; saved in a run, with the time that each is due: what is overdue after a restart
    comes out once, at once.
    Bounded by: the records that come within ``timespan``.
    Ends: with its input, after the open lists; an error drops them.
    Depends on: clock
    Names: RxJS ``bufferTime``, RxPY ``buffer_with_time``, Kafka Streams —

    Args:
        timespan: Length of each buffer, in seconds.
        timeshift: Seconds between the beginnings of two buffers; None is ``timespan``.
        scheduler: Whose clock; None is the subscription's (in a run: the run's).

    Source: Rx ``buffer`` (RxPY ``operators.buffer_with_time``).
    """
    span = seconds("buffer_with_time(timespan)", timespan, allow_least=False)
    shift = seconds("buffer_with_time(timeshift)", timeshift) if timeshift else span
    check_scheduler("buffer_with_time(scheduler)", scheduler)
    check_name("buffer_with_time(name)", name)
    parameters = {"timespan": timespan, "timeshift": timeshift}
    make = lambda: BufferWithTime(span, shift, scheduler)  # noqa: E731  # a value among values
    defines = ("timespan", "timeshift")
    return operator(
        Operation("buffer_with_time", make, parameters, name, defines=defines, stateful=True, depends_on="clock", key="dropped")
    )


class BufferWithTime(Buffer):
    """Lists open at 0, shift, 2 × shift, … and close ``span`` later, all measured in milliseconds since the start."""

    locked = True

    def __init__(self, span: float, shift: float, scheduler: Any) -> None:
        super().__init__()
        self.span, self.shift, self.scheduler = round(span * 1000), round(shift * 1000), scheduler
        self.timer: abc.DisposableBase = Disposable()

    def start(self) -> None:
        super().start()
        now = self.host.now()
        if "next" not in self.states:
            self.put("open", [[0, START]])
            self.put("next", [self.span, self.shift, now])
        closes, opens, begun = self.states["next"]
        due = min(closes, opens) / 1000
        if begun + due < now:  # overdue after a restart: it comes out once, at once, and the rhythm goes on from now
            begun = now - due
            self.put("next", [closes, opens, begun])
        self.wait(begun + due - now)

    def wait(self, delay: float) -> None:
        self.timer = self.host.later(max(0.0, delay), self.tick)

    def tick(self) -> None:
        closes, opens, begun = self.states["next"]
        opened, due = list(self.states["open"]), min(closes, opens)
        if opens == due:
            opened.append([self.states["seen"], START])
            opens += self.shift
        part = None
        if closes == due:
            first, latest = opened.pop(0)
            part = self.list_from(first, self.states["seen"])
            closes += self.shift
            self.free(opened[0][0] if opened else self.states["seen"])
        self.put("open", opened)
        self.put("next", [closes, opens, begun])
        late = self.host.now() - (begun + due / 1000)
        self.wait((min(closes, opens) - due) / 1000 - max(0.0, late))
        if part is not None:
            b = self.host.fresh((part,), (self.time_of(latest),))
            self.emit(b.marked(b.marks and [self.told]))
            self.tell_anew()

    def batch(self, b: Batch, port: int) -> None:
        seen, opened = self.states["seen"], [list(one) for one in self.states["open"]]
        if opened:
            for i, value in enumerate(b.values):
                self.hold(seen + i, value)
            if b.times:
                for one in opened:
                    one[1] = max(one[1], *b.times)
            self.put("open", opened)
        else:
            self.first = seen + len(b)
        self.put("seen", seen + len(b))
        self.tell_anew()

    def end(self, port: int, at: float | None = None) -> None:
        self.end_with(empty=True)

    def close(self) -> None:
        self.timer.dispose()


def buffer_with_time_or_count(
    timespan: float | timedelta, count: int, scheduler: abc.SchedulerBase | None = None, *, name: str | None = None
) -> Callable[[Observable[A]], Stream[list[A]]]:
    """Gather values into a list until there are ``count``, or ``timespan`` seconds have passed since the list was begun.

        orders   -1-2-3------4|
                 [ buffer_with_time_or_count(4, 2) ]   one character = one second
        result   ---a---b---c-(d,|)  a=[1,2] b=[3] c=[] d=[4]

    Shape: A → list[A], at most ``count`` long, empty ones too. A list has no key. The result depends on the clock.
    Time: the latest of its records, which the watermark waits for; of an empty list the clock's.
    Holds: the records of the open list; saved in a run, with the time that it is due: overdue after a restart, it comes out
        once, at once.
    Bounded by: ``count`` records.
    Ends: with its input, after the open list; an error drops it.
    Depends on: clock
    Names: RxJS ``bufferTime``, RxPY ``buffer_with_time_or_count``, Kafka Streams —

    Args:
        timespan: How long a list is open at most, in seconds.
        count: How many values a list has at most.
        scheduler: Whose clock; None is the subscription's (in a run: the run's).
        name: The operator's identity for saved state.

    Source: Rx ``bufferTime`` (RxPY ``operators.buffer_with_time_or_count``).
    """
    span = seconds("buffer_with_time_or_count(timespan)", timespan, allow_least=False)
    check_count("buffer_with_time_or_count(count)", count, least=1)
    check_scheduler("buffer_with_time_or_count(scheduler)", scheduler)
    check_name("buffer_with_time_or_count(name)", name)
    parameters = {"timespan": timespan, "count": count}
    make = lambda: BufferWithTimeOrCount(span, count, scheduler)  # noqa: E731  # a value among values
    defines = ("timespan", "count")
    return operator(
        Operation(
            "buffer_with_time_or_count", make, parameters, name, defines=defines, stateful=True, depends_on="clock", key="dropped"
        )
    )


class BufferWithTimeOrCount(Buffer):
    """There is always one open list; ``states["due"]`` is when it closes."""

    locked = True

    def __init__(self, span: float, count: int, scheduler: Any) -> None:
        super().__init__()
        self.span, self.count, self.scheduler = span, count, scheduler
        self.timer: abc.DisposableBase = Disposable()

    def start(self) -> None:
        super().start()
        if not self.states["open"]:
            self.open_new()
        else:
            self.wait(self.states["due"] - self.host.now())

    def wait(self, delay: float) -> None:
        self.timer.dispose()
        self.timer = self.host.later(max(0.0, delay), self.tick)

    def open_new(self) -> None:
        """Begin a list with the next record."""
        self.put("open", [[self.states["seen"], START]])
        self.put("due", self.host.now() + self.span)
        self.free(self.states["seen"])
        self.wait(self.span)

    def tick(self) -> None:
        ((first, latest),) = self.states["open"]
        part, time, told = self.list_from(first, self.states["seen"]), self.time_of(latest), self.told
        self.open_new()
        b = self.host.fresh((part,), (time,))
        self.emit(b.marked(b.marks and [told]))
        self.tell_anew()

    def batch(self, b: Batch, port: int) -> None:
        indices, lists, times, marks = [], [], [], []
        for i, value in enumerate(b.values):
            self.hold(self.states["seen"], value)
            self.put("seen", self.states["seen"] + 1)
            ((first, latest),) = self.states["open"]
            latest = max(latest, b.times[i]) if b.times else latest
            self.put("open", [[first, latest]])
            if self.states["seen"] - first == self.count:
                indices.append(i)
                lists.append(self.list_from(first, self.states["seen"]))
                times.append(latest)
                marks.append(self.told)
                self.open_new()
        self.emit(b.at(indices, lists).keyed(None).timed(times if b.times else None).marked(marks if b.marks else None))
        self.tell_anew()

    def end(self, port: int, at: float | None = None) -> None:
        self.end_with(empty=True)

    def close(self) -> None:
        self.timer.dispose()
