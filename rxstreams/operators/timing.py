"""What the clock decides, a value at a time: sample, debounce, throttle_first."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from rxstreams.batch import Batch
from rxstreams.errors import seconds
from rxstreams.operators.arguments import check_name, check_scheduler
from rxstreams.operators.holding import Holding, keep, least_time, release
from rxstreams.state.codec import TAGGED
from rxstreams.stream import Node, Operation, Stream, operator

__all__ = ["debounce", "sample", "throttle_first"]

A = TypeVar("A", bound=Any)

LEAST_PERIOD = 0.001


class HoldingOne(Holding):
    """What holds back the latest record: ``states["held"]``."""

    locked = True

    def least(self) -> int:
        held = self.states.get("held")
        return least_time([held[1]] if held else [])

    def hold_last(self, b: Batch) -> None:
        """Hold the last record of a batch instead of what was held."""
        self.put("held", keep(self, b, len(b) - 1))

    def let_go(self) -> None:
        """Emit what is held, if anything is."""
        held = self.states.get("held")
        if held is not None:
            self.drop("held")
            self.emit(release(self, [held], self.told))
            self.tell_anew()


def sample(
    sampler: Observable[Any] | float | timedelta, scheduler: abc.SchedulerBase | None = None, *, name: str | None = None
) -> Callable[[Observable[A]], Stream[A]]:
    """Emit the latest value whenever ``sampler`` has one, or every so many seconds, if there is a new one.

        orders   -1-2-----3---|
                 [ sample(4) ]           one character = one second
        result   ----a-------b---|   a=2 b=3

    Shape: A → A, the latest of each interval; keys stay, unless a sampler is without.
    Time: the record's own; the watermark waits for it.
    Holds: the latest value since the last sample; saved in a run, with the time of the next.
    Bounded by: one record.
    Ends: at the first sample after the input has ended (with it, if the sampler has); at the first error.
    Depends on: clock
    Names: RxJS ``sample``, ``sampleTime``, RxPY ``sample``, Kafka Streams —

    Args:
        sampler: An Observable (then the result depends on how the two interleave), or seconds between samples, of
            which a thousandth is the least.
        scheduler: Whose clock; None is the subscription's (in a run: the run's).
        name: The operator's identity for saved state.

    Source: Rx ``sample`` (RxPY ``operators.sample``).
    """
    check_scheduler("sample(scheduler)", scheduler)
    check_name("sample(name)", name)
    if isinstance(sampler, Observable):
        return operator(
            Operation("sample", Sample, {"sampler": sampler}, name, stateful=True, depends_on="interleaving"), sampler
        )
    period = seconds("sample(sampler)", sampler)
    make = lambda: SampleEvery(period, scheduler)  # noqa: E731  # a value among values
    parameters = {"sampler": sampler}
    return operator(Operation("sample", make, parameters, name, stateful=True, depends_on="clock"))


class Sample(HoldingOne):
    """Port 0 has the values, port 1 says when."""

    ports = 2

    def batch(self, b: Batch, port: int) -> None:
        if port == 0:
            self.hold_last(b if self.host.keyed else b.keyed(None))
            return
        held = self.states.get("held")
        if held is not None:
            self.drop("held")
            made = release(self, [held], self.told)
            # In the place of the record that asked for it.
            self.emit(made.ordered(b.order[:1] if b.order else None).marked(b.marks and [self.told]))
            self.tell_anew()
        if 0 in self.done:
            self.finish(b.order[0] if b.order else None)

    def end(self, port: int, at: float | None = None) -> None:
        self.done.add(port)
        if port == 1:
            self.let_go()
        # RxPY's does not end if the sampler has ended first; a run must, or it would wait for ever.
        if (port == 1 and 0 in self.done) or (self.host.durable and len(self.done) == 2):
            self.finish(at)

    def watermark(self, mark: int, port: int) -> None:
        if port == 0:
            super().watermark(mark, port)


class SampleEvery(HoldingOne):
    """``states["due"]`` is the next sample's time, saved while a record waits for it."""

    def __init__(self, period: float, scheduler: Any) -> None:
        super().__init__()
        self.period, self.scheduler = period, scheduler
        self.timer: abc.DisposableBase = Disposable()

    def start(self) -> None:
        super().start()
        now = self.host.now()
        self.due = max(now, self.states.get("due", now + self.period))

    def ready(self) -> None:
        self.wait(self.host.now())

    def wait(self, now: float) -> None:
        self.timer = self.host.later(max(0.0, self.due - now), self.tick)

    def tick(self) -> None:
        now = self.host.now()
        self.due = max(self.due + max(self.period, LEAST_PERIOD), now)
        self.wait(now)
        self.drop("due")
        self.let_go()
        if self.done:
            self.finish()

    def batch(self, b: Batch, port: int) -> None:
        self.hold_last(b)
        self.put("due", self.due)
        self.tell_anew()

    def end(self, port: int, at: float | None = None) -> None:
        self.done.add(port)  # the end comes with the next sample

    def close(self) -> None:
        self.timer.dispose()


def debounce(
    duetime: float | timedelta, scheduler: abc.SchedulerBase | None = None, *, name: str | None = None
) -> Callable[[Observable[A]], Stream[A]]:
    """Emit a value when nothing newer has come for ``duetime`` seconds.

        orders   -1-2-----3---|
                 [ debounce(3) ]         one character = one second
        result   ------a-----b|      a=2 b=3

    Shape: A → A, the last of each burst; keys stay.
    Time: the record's own; the watermark waits for it.
    Holds: the latest value until it is due; saved in a run, with that time: overdue after a restart, it comes out at once.
    Bounded by: one record.
    Ends: with its input, after the value that is held; an error drops it.
    Depends on: clock
    Names: RxJS ``debounceTime``, RxPY ``debounce``, Kafka Streams —

    Args:
        duetime: Seconds of silence.
        scheduler: Whose clock; None is the subscription's (in a run: the run's).
        name: The operator's identity for saved state.

    Source: Rx ``debounce`` (RxPY ``operators.debounce``).
    """
    silence = seconds("debounce(duetime)", duetime)
    check_scheduler("debounce(scheduler)", scheduler)
    check_name("debounce(name)", name)
    make = lambda: Debounce(silence, scheduler)  # noqa: E731  # a value among values
    return operator(Operation("debounce", make, {"duetime": duetime}, name, stateful=True, depends_on="clock"))


class Debounce(HoldingOne):
    def __init__(self, silence: float, scheduler: Any) -> None:
        super().__init__()
        self.silence, self.scheduler = silence, scheduler
        self.timer: abc.DisposableBase = Disposable()

    def start(self) -> None:
        super().start()
        if "due" in self.states:
            self.wait(self.states["due"] - self.host.now())

    def wait(self, delay: float) -> None:
        self.timer.dispose()
        self.timer = self.host.later(max(0.0, delay), self.fire)

    def fire(self) -> None:
        self.drop("due")
        self.let_go()

    def batch(self, b: Batch, port: int) -> None:
        self.hold_last(b)
        self.put("due", self.host.now() + self.silence)
        self.wait(self.silence)
        self.tell_anew()

    def end(self, port: int, at: float | None = None) -> None:
        self.timer.dispose()
        self.fire()
        self.finish()

    def close(self) -> None:
        self.timer.dispose()


def throttle_first(
    window_duration: float | timedelta, scheduler: abc.SchedulerBase | None = None, *, name: str | None = None
) -> Callable[[Observable[A]], Stream[A]]:
    """Let a value through, then none for ``window_duration`` seconds.

        orders   -1-2---3-4---|
                 [ throttle_first(3) ]   one character = one second
        result   -a-----b-----|      a=1 b=3

    Shape: A → A, none or one for each, in order; keys stay.
    Time: the record's own.
    Holds: the clock's time at the last value; saved in a run.
    Bounded by: one number.
    Ends: with its input.
    Depends on: clock
    Names: RxJS ``throttleTime``, RxPY ``throttle_first``, Kafka Streams —

    Args:
        window_duration: Seconds between two values, at least.
        scheduler: Whose clock; None is the subscription's (in a run: the run's).
        name: The operator's identity for saved state.

    Source: Rx ``throttleFirst`` (RxPY ``operators.throttle_first``).
    """
    window = seconds("throttle_first(window_duration)", window_duration, allow_least=False)
    check_scheduler("throttle_first(scheduler)", scheduler)
    check_name("throttle_first(name)", name)
    make = lambda: ThrottleFirst(window, scheduler)  # noqa: E731  # a value among values
    parameters = {"window_duration": window_duration}
    return operator(Operation("throttle_first", make, parameters, name, stateful=True, depends_on="clock"))


class ThrottleFirst(Node):
    """``states`` has the microsecond at which the last value went through; floats of seconds would differ in the last bit."""

    codec = TAGGED
    lends_clock = True

    def __init__(self, window: float, scheduler: Any) -> None:
        super().__init__()
        self.window, self.scheduler = round(window * 1e6), scheduler

    def batch(self, b: Batch, port: int) -> None:
        now = round(self.host.now() * 1e6)  # within a push time does not pass: of its records only the first can go through
        last = self.states.get(None)
        if last is None or now - last >= self.window:
            self.states[None] = now
            self.dirty.add(None)
            self.emit(b.cut(0, 1))
