"""Event time made anew: event_time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar, overload

from reactivex import Observable

from rxstreams.batch import Batch
from rxstreams.errors import Policy, TimestampError, check_policy
from rxstreams.operators.arguments import check_flag, check_name, getter
from rxstreams.state.codec import TAGGED
from rxstreams.stream import Node, Operation, Stream, operator
from rxstreams.watermarks import SOURCE, START, Bounded, Generator, Watermarks, generator_of, to_millis

__all__ = ["event_time"]

A = TypeVar("A", bound=Any)


@overload
def event_time(
    timestamp: str,
    *,
    out_of_orderness: float | timedelta = ...,
    watermarks: Generator | None = ...,
    advance_when_idle: bool = ...,
    on_error: Policy | None = ...,
    name: str | None = ...,
) -> Callable[[Observable[A]], Stream[A]]: ...
@overload
def event_time(
    timestamp: Callable[[A], Any],
    *,
    out_of_orderness: float | timedelta = ...,
    watermarks: Generator | None = ...,
    advance_when_idle: bool = ...,
    on_error: Policy | None = ...,
    name: str | None = ...,
) -> Callable[[Observable[A]], Stream[A]]: ...
def event_time(
    timestamp: str | Callable[[Any], Any],
    *,
    out_of_orderness: float | timedelta = 0.0,
    watermarks: Generator | None = None,
    advance_when_idle: bool = True,
    on_error: Policy | None = None,
    name: str | None = None,
) -> Callable[[Observable[Any]], Stream[Any]]:
    """Take each record's event time from its value, and begin a watermark of its own.

        orders   -1--2--3-|
                 [ event_time(lambda x: x) ]
        result   -a--b--c-|          a=1 b=2 c=3

    Shape: A → A, one for one, in order; keys stay.
    Time: what ``timestamp`` says; the times and watermarks that come in are discarded.
    Holds: the greatest time so far; saved in a run, so that time does not go backwards after a restart.
    Bounded by: one number.
    Ends: with its input; a value without a readable time ends a subscription, and meets ``on_error`` in a run.
    Names: RxJS —, RxPY —, Kafka Streams ``TimestampExtractor``

    Behind operators that are not ours, which pass no times on, and wherever another field than the source's counts. The records
    of all partitions are one sequence here: a source's own ``timestamp=`` has a watermark for each.

    Args:
        timestamp: A field's name, or a function of the value: an aware datetime, an ISO 8601 text with an offset, or epoch
            seconds or milliseconds.
        out_of_orderness: Seconds by which records may be out of order; the watermark stays that far behind the greatest time.
        watermarks: How far time has come after a record, instead: ``rxstreams.watermarks.punctuated(…)``, or one's own.
        advance_when_idle: Whether the watermark goes on with the clock, ``out_of_orderness`` behind it, while that of every
            source before it does (see ``from_topic``); never where ``watermarks`` leaves it to the records.
        on_error: What happens to a record that has no readable time; None is the run's policy.
        name: The operator's identity for saved state.

    Source: bounded out-of-orderness, as ``assignTimestampsAndWatermarks`` of Flink's DataStream API.
    """
    getter("event_time(timestamp)", timestamp)
    generator = generator_of("event_time", out_of_orderness, watermarks)
    check_flag("event_time(advance_when_idle)", advance_when_idle)
    check_policy("event_time", on_error, waits=False)
    check_name("event_time(name)", name)
    parameters = {"timestamp": timestamp, "out_of_orderness": out_of_orderness}
    by_clock = advance_when_idle and isinstance(generator, Bounded)
    make = lambda: EventTime(timestamp, generator, on_error, by_clock=by_clock)  # noqa: E731  # a value among values
    return operator(Operation("event_time", make, parameters, name, stateful=True, makes_time=True, sides=("errors",)))


class EventTime(Node):
    """``states`` has the watermark so far."""

    codec = TAGGED
    makes_time = True
    error_type = TimestampError

    def __init__(
        self, timestamp: str | Callable[[Any], Any], generator: Generator, on_error: Policy | None, *, by_clock: bool
    ) -> None:
        super().__init__()
        read = getter("event_time(timestamp)", timestamp)
        self.read: Callable[[Any], int] = lambda value: to_millis(read(value))
        self.times, self.on_error, self.by_clock = Watermarks(generator), on_error, by_clock

    def start(self) -> None:
        self.times.restore({SOURCE: self.states.get(None, START)})
        if None in self.states:
            self.host.post(lambda: self.forward(self.times.now), None)  # when those behind it have begun as well

    def batch(self, b: Batch, port: int) -> None:
        if not self.host.wants_time:
            self.emit(b.timed(None).marked(None))
            return
        times, b = self.each(self.read, b)
        generator = self.times.generator
        if isinstance(generator, Bounded):
            marks = self.times.advance(0, times, generator.delay)
        else:
            b = b.timed(times)
            marks, b = self.each(partial(self.times.step, 0), b, times)
            times = list(b.times or ())
        if marks:
            self.save()
            self.emit(b.timed(times).marked(marks))
            self.forward(self.times.now)

    def save(self) -> None:
        if self.states.get(None) != self.times.now:
            self.states[None] = self.times.now
            self.dirty.add(None)

    def pass_time(self, now: int) -> None:
        """The clock says ``now`` (ms), and no record has come: so far may time have come, too."""
        assert isinstance(self.times.generator, Bounded)
        self.times.raise_to(now - self.times.generator.delay)
        self.save()
        self.forward(self.times.now)

    def watermark(self, mark: int, port: int) -> None:
        """What time the input has is not ours."""
