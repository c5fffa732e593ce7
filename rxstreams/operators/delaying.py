"""Values later than they came, or too late: delay, timeout."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

import reactivex
from reactivex import Observable, abc
from reactivex.disposable import Disposable
from reactivex.internal import is_future

from rxstreams.batch import Batch
from rxstreams.errors import ConfigError, seconds
from rxstreams.operators.arguments import check_name, check_scheduler
from rxstreams.operators.holding import Holding, keep, least_time, release
from rxstreams.state.codec import TAGGED
from rxstreams.stream import UNBOUNDED, Node, Operation, Stream, operator
from rxstreams.watermarks import START

__all__ = ["delay", "timeout"]

A = TypeVar("A", bound=Any)

Due = float | datetime
"""Seconds from now, or a time."""


def _due(where: str, value: float | timedelta | datetime) -> Due:
    if not isinstance(value, datetime):
        return seconds(where, value)
    if value.tzinfo is None:
        raise ConfigError(f"{where}: expected seconds or a datetime with a time zone, got the naive {value!r}; add tzinfo=…")
    return value


def _seconds_until(due: Due, now: float) -> float:
    return due.timestamp() - now if isinstance(due, datetime) else due


def delay(
    duetime: float | timedelta | datetime, scheduler: abc.SchedulerBase | None = None, *, name: str | None = None
) -> Callable[[Observable[A]], Stream[A]]:
    """Let each value through ``duetime`` seconds after it came.

        orders   -1--2--3-|
                 [ delay(2) ]            one character = one second
        result   ---a--b--c-|        a=1 b=2 c=3

    Shape: A → A, one for one, in order; keys stay.
    Time: each record's own; the watermark waits for them.
    Holds: the records of the last ``duetime`` seconds; saved in a run, an entry each, with the times at which they are due:
        what is overdue after a restart comes out at once.
    Bounded by: the records that come within ``duetime``.
    Ends: ``duetime`` after its input; an error comes at once, and drops what is held.
    Depends on: clock
    Names: RxJS ``delay``, RxPY ``delay``, Kafka Streams —

    Args:
        duetime: Seconds, or the time at which the first value is to come: all are delayed by what is left until then.
        scheduler: Whose clock; None is the subscription's (in a run: the run's).
        name: The operator's identity for saved state.

    Source: Rx ``delay`` (RxPY ``operators.delay``).
    """
    due = _due("delay(duetime)", duetime)
    check_scheduler("delay(scheduler)", scheduler)
    check_name("delay(name)", name)
    make = lambda: Delay(due, scheduler)  # noqa: E731  # a value among values
    return operator(Operation("delay", make, {"duetime": duetime}, name, stateful=True, depends_on="clock"))


class Delay(Holding):
    """``states`` has (when it is due, record) by number; when is in microseconds, as floats would differ in the last bit."""

    locked = True
    lends_clock = True
    fans_out = True

    def __init__(self, due: Due, scheduler: Any) -> None:
        super().__init__()
        self.due, self.scheduler = due, scheduler
        self.timer: abc.DisposableBase = Disposable()
        self.queue: deque[int] = deque()
        self.active = False
        self.ends_at: int | None = None

    def start(self) -> None:
        super().start()
        self.delay = round(_seconds_until(self.due, self.host.now()) * 1e6)
        self.queue.extend(sorted(number for number in self.states if isinstance(number, int)))
        self.next = self.queue[-1] + 1 if self.queue else 0
        if self.queue:
            self.wait()

    def now(self) -> int:
        return round(self.host.now() * 1e6)

    def least(self) -> int:
        return least_time([self.states[number][1][1] for number in self.queue])

    def wait(self) -> None:
        due = self.states[self.queue[0]][0] if self.queue else self.ends_at
        self.active = due is not None
        if due is not None:
            self.timer = self.host.later(max(0.0, (due - self.now()) / 1e6), self.fire)

    def batch(self, b: Batch, port: int) -> None:
        due = self.now() + self.delay
        for i in range(len(b)):
            self.states[self.next] = (due, keep(self, b, i))
            self.dirty.add(self.next)
            self.queue.append(self.next)
            self.next += 1
        if not self.active:
            self.wait()
        self.tell_anew()

    def fire(self) -> None:
        now, kept = self.now(), []
        while self.queue and self.states[self.queue[0]][0] <= now:
            number = self.queue.popleft()
            kept.append(self.states.pop(number)[1])
            self.dirty ^= {number}  # what came after the last commit is in no saved state, so there is nothing to delete
        over = not self.queue and self.ends_at is not None and self.ends_at <= now
        if not over:
            self.wait()
        if kept:
            self.emit(release(self, kept, self.told))
            self.tell_anew()
        if over:
            self.finish()

    def end(self, port: int, at: float | None = None) -> None:
        self.ends_at = self.now() + self.delay
        if not self.active:
            self.wait()

    def close(self) -> None:
        self.timer.dispose()


def timeout(
    duetime: float | timedelta | datetime,
    other: Observable[A] | Any | None = None,
    scheduler: abc.SchedulerBase | None = None,
    *,
    name: str | None = None,
) -> Callable[[Observable[A]], Stream[A]]:
    """Go over to ``other`` (or fail) when nothing comes for ``duetime`` seconds.

        orders   -1-2------3--|
                 [ timeout(4, from_iterable([7])) ]   one character = one second
        result   -a-b---(c,|)        a=1 b=2 c=7

    Shape: A → A, in order; keys stay, if both have them.
    Time: each record's own; in a run with ``other`` the watermark stands still until it is clear that it is not needed.
    Holds: the time at which it is due; saved in a run, so what is overdue after a restart happens at once. In a run, where
        each stream is made once, the records of ``other`` that are read before their turn, too.
    Bounded by: one number; a run does not read ``other`` before its turn if it leads nowhere else.
    Ends: with its input, or with ``other``; at the first error. Without ``other`` the timeout is one.
    Depends on: clock
    Names: RxJS ``timeout``, RxPY ``timeout``, Kafka Streams —

    Args:
        duetime: Seconds between two values (and until the first), or the time at which the input must have ended.
        other: What to go over to, an Observable or a future; None fails.
        scheduler: Whose clock; None is the subscription's (in a run: the run's).
        name: The operator's identity for saved state.

    Raises:
        TimeoutError: In ``on_error``, if nothing came in time and there is no ``other``.

    Source: Rx ``timeout`` (RxPY ``operators.timeout``).
    """
    due = _due("timeout(duetime)", duetime)
    check_scheduler("timeout(scheduler)", scheduler)
    check_name("timeout(name)", name)
    if other is not None and is_future(other):
        other = reactivex.from_future(other)
    if other is not None and not isinstance(other, Observable):
        raise ConfigError(f"timeout(other): expected an Observable or a future, got {other!r}")
    others = () if other is None else (other,)
    make = lambda: Timeout(due, other, scheduler)  # noqa: E731  # a value among values
    return operator(Operation("timeout", make, {"duetime": duetime}, name, stateful=True, depends_on="clock"), *others)


class Timeout(Node):
    """``states["due"]`` is when nothing has come for too long, ``states["switched"]`` is there once ``other`` has its turn, and
    (1, number) is a record of ``other`` that came before.
    """

    locked = True
    holds_time = True
    codec = TAGGED
    port_order = (0,)

    def __init__(self, due: Due, other: Observable[Any] | None, scheduler: Any) -> None:
        super().__init__()
        self.due, self.other, self.scheduler = due, other, scheduler
        self.ports = 1 if other is None else 2
        self.timer: abc.DisposableBase = Disposable()

    def start(self) -> None:
        self.early = sum(isinstance(key, tuple) for key in self.states)
        if not self.switched:
            now = self.host.now()
            self.wait(self.states["due"] - now if "due" in self.states else _seconds_until(self.due, now))

    @property
    def switched(self) -> bool:
        """Whether ``other`` has its turn."""
        return "switched" in self.states

    def room(self, port: int) -> int:
        return UNBOUNDED if port == 0 or self.switched else 0

    def wait(self, delay: float) -> None:
        self.timer.dispose()
        self.timer = self.host.later(max(0.0, delay), self.fire)

    def batch(self, b: Batch, port: int) -> None:
        b = b if self.host.keyed else b.keyed(None)
        if port == 1 and not self.switched:
            for i in range(len(b)):
                self.states[1, self.early] = keep(self, b, i)
                self.dirty.add((1, self.early))
                self.early += 1
        elif port == 1:
            self.emit(b)
        elif not self.switched:
            if not isinstance(self.due, datetime):
                self.states["due"] = self.host.now() + self.due
                self.dirty.add("due")
                self.timer.dispose()
                self.emit(self.with_marks(b))
                if not self.done and not self.switched:
                    self.wait(self.due)
            else:
                self.emit(self.with_marks(b))

    def with_marks(self, b: Batch) -> Batch:
        """Records of ``other`` may have any time, so time stands still as long as they may come."""
        return b.marked([START] * len(b)) if b.marks and self.ports == 2 else b

    def fire(self) -> None:
        if self.done - {1}:
            return
        if self.other is None:
            what = f"by {self.due.isoformat()}" if isinstance(self.due, datetime) else f"for {self.due:g} s"
            self.fail(TimeoutError(f"timeout: nothing came {what}; pass other=… to go over to another stream instead"))
            return
        self.states["switched"] = True
        self.dirty.add("switched")
        if not self.host.durable:
            self.host.switch(self.other)
            return
        early = [self.states.pop((1, number)) for number in range(self.early)]
        self.dirty ^= {(1, number) for number in range(self.early)}  # what was never committed need not be deleted
        if early:
            self.emit(release(self, early))
        if 1 in self.done:
            self.finish()
        else:
            self.tell_time()

    def end(self, port: int, at: float | None = None) -> None:
        self.done.add(port)
        if port == (1 if self.switched else 0):
            self.timer.dispose()
            self.finish(at)

    def time_of_inputs(self, but: int | None = None) -> int:
        return self.marks.get(1, START) if self.switched else START

    def watermark(self, mark: int, port: int) -> None:
        if self.ports == 1:
            self.forward(mark)
        else:
            self.marks[port] = mark
            self.tell_time()

    def close(self) -> None:
        self.timer.dispose()
