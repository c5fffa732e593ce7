"""Edges of their own: bounded (a queue with a bound and a policy), rate_limit."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import timedelta
from itertools import islice
from typing import Any, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from rxstreams.batch import Batch
from rxstreams.errors import ConfigError, seconds
from rxstreams.operators.arguments import check_count, check_function, check_name, check_scheduler
from rxstreams.operators.edges import Edge, Overflow, check_edge
from rxstreams.stream import UNBOUNDED, Operation, Stream, operator
from rxstreams.stream.loops import Loop

__all__ = ["bounded", "rate_limit"]

A = TypeVar("A", bound=Any)


def bounded(
    capacity: int,
    overflow: Overflow = "block",
    *,
    resume_at: int | None = None,
    on_full: Callable[[], Any] | None = None,
    name: str | None = None,
) -> Callable[[Observable[A]], Stream[A]]:
    """Let up to ``capacity`` values wait where what comes next is slower, and decide what becomes of more.

        orders   -1--2--3-|
                 [ bounded(2) ]
        result   -a--b--c-|          a=1 b=2 c=3

    Shape: A → A, one for one, in order; keys stay. What a policy drops is on the stream ``dropped``.
    Time: each record's own; the watermark waits for them.
    Holds: the values for which there is no room below, where an edge is full; saved in a run, an entry each.
    Bounded by: ``capacity`` values (and what one record makes).
    Ends: when its input has ended and nothing waits; an error comes at once, and drops what is held.
    Depends on: clock
    Names: RxJS —, RxPY —, Kafka Streams — (Reactor ``onBackpressureBuffer`` and ``limitRate``, Node ``highWaterMark``)

    In a run a full edge stops the reading of the sources above it. In a subscription it slows sources of ours; another one that
    goes on emitting meets the policy, and with ``"block"`` a BufferError.

    Args:
        capacity: How many values may wait.
        overflow: ``"block"`` asks for no more; ``"drop_oldest"``, ``"drop_newest"``, ``"latest"`` (all that wait give way to the
            newest) let records go; ``"fail"`` has the record fail, which meets the run's policy for failing records.
        resume_at: How few must wait before a full edge asks for more, so that it gets many at once; None is half the capacity,
            0 is when it is empty (as Node's ``drain``).
        on_full: Called each time that it becomes full.
        name: The operator's identity for saved state.

    Raises:
        ConfigError: If an argument is wrong.
    """
    check_edge("bounded", capacity, overflow)
    if resume_at is not None and check_count("bounded(resume_at)", resume_at, least=0) >= capacity:
        raise ConfigError(f"bounded(resume_at): expected less than the capacity of {capacity}, got {resume_at}")
    check_function("bounded(on_full)", on_full, or_none=True)
    check_name("bounded(name)", name)
    make = lambda: Bounded(capacity, overflow, resume_at, on_full)  # noqa: E731  # a value among values
    parameters = {"capacity": capacity, "overflow": None if overflow == "block" else overflow}
    sides = ("dropped", "errors")
    return operator(Operation("bounded", make, parameters, name, stateful=True, depends_on="clock", sides=sides))


class Bounded(Edge):
    def start(self) -> None:
        super().start()
        if self.held:
            self.wait()
            self.host.post(self.give_more, None)  # before the first record, if there is room

    def join(self, loop: Loop) -> bool:
        return self.host.durable and not self.host.limited  # then nothing ever waits in it

    def batch(self, b: Batch, port: int) -> None:
        free = 0 if self.held else self.free()
        if free >= len(b):
            self.went(len(b))
            self.emit(b)
            return
        self.take(b, free)
        self.went(free)
        if self.held:
            self.wait()
        if free > 0:
            self.emit(b.cut(0, free))
        self.tell_anew()

    def room(self, port: int = 0) -> int:
        room = super().room(port)
        return room if self.full or self.held or room == UNBOUNDED else min(UNBOUNDED, room + max(0, self.free()))

    def went(self, n: int) -> None:
        """So many have gone out, or are about to."""

    def wait(self) -> None:
        """See to it that what waits goes on when it can."""
        self.drain()

    def give_more(self) -> None:
        going = list(islice(self.held.values(), max(0, min(self.free(), len(self.held)))))
        if not going:
            return
        self.let_go(going)
        self.went(len(going))
        self.note()
        self.emit(self.batch_of(going))
        if self.held:
            self.wait()
        self.settle()


def rate_limit(
    n: int,
    per: float | timedelta = 1.0,
    *,
    capacity: int = 1024,
    overflow: Overflow = "block",
    scheduler: abc.SchedulerBase | None = None,
    name: str | None = None,
) -> Callable[[Observable[A]], Stream[A]]:
    """Let at most ``n`` values through within any ``per`` seconds; the others wait for their turn.

        orders   (1,2,3)--4-|
                 [ rate_limit(2, per=5) ]   one character = one second
        result   (a,b)c---d-|        a=1 b=2 c=3 d=4

    Shape: A → A, one for one, in order; keys stay. What a policy drops is on the stream ``dropped``.
    Time: each record's own; the watermark waits for them.
    Holds: the values that wait for their turn, and when the last ``n`` went; saved in a run.
    Bounded by: ``capacity`` values (and what one record makes), and ``n`` times.
    Ends: when its input has ended and nothing waits; an error comes at once, and drops what is held.
    Depends on: clock
    Names: RxJS —, RxPY —, Kafka Streams — (Akka Streams ``throttle``)

    Args:
        n: How many values.
        per: Seconds.
        capacity: How many values may wait.
        overflow: What becomes of more; as in ``bounded``.
        scheduler: Whose clock; None is the subscription's (in a run: the run's).
        name: The operator's identity for saved state.

    Raises:
        ConfigError: If an argument is wrong.
    """
    check_count("rate_limit(n)", n, least=1)
    span = seconds("rate_limit(per)", per, allow_least=False)
    check_edge("rate_limit", capacity, overflow)
    check_scheduler("rate_limit(scheduler)", scheduler)
    check_name("rate_limit(name)", name)
    make = lambda: RateLimit(n, span, capacity, overflow, scheduler)  # noqa: E731  # a value among values
    parameters = {"n": n, "per": span, "overflow": None if overflow == "block" else overflow}
    sides = ("dropped", "errors")
    return operator(Operation("rate_limit", make, parameters, name, stateful=True, depends_on="clock", sides=sides))


class RateLimit(Bounded):
    """``states["went"]`` has when the last ones went, in microseconds."""

    gives_when_it_can = False  # but when the clock says

    def join(self, loop: Loop) -> bool:
        return False

    def __init__(self, n: int, span: float, capacity: int, overflow: Overflow, scheduler: Any) -> None:
        super().__init__(capacity, overflow)
        self.span, self.scheduler = round(span * 1e6), scheduler
        self.recent: deque[int] = deque(maxlen=n)
        self.timer: abc.DisposableBase = Disposable()
        self.awake_at: int | None = None

    def start(self) -> None:
        self.recent.extend(self.states.get("went", ()))
        super().start()

    def now(self) -> int:
        return round(self.host.now() * 1e6)

    def free(self) -> int:
        """How many may go out now: of the last n, those that are ``per`` seconds ago have made room for as many."""
        now, n = self.now(), self.recent.maxlen or 0
        if self.recent and self.recent[-1] > now:
            self.recent.clear()  # the clock was set back: waiting for it might take for ever
        over = sum(1 for time in self.recent if time <= now - self.span)
        return min(n - len(self.recent) + over, super().free())

    def went(self, n: int) -> None:
        if n > 0:
            self.recent.extend([self.now()] * n)

    def has_turn(self) -> bool:
        return bool(self.held) and self._turn() <= self.now()

    def _turn(self) -> int:
        """When the next may go, as far as the limit is concerned."""
        return self.recent[0] + self.span if len(self.recent) == self.recent.maxlen else self.now()

    def wait(self) -> None:
        turn, now = self._turn(), self.now()
        if turn <= now:
            self.drain()  # it is room below that it waits for
        elif self.awake_at is None:
            self.awake_at = turn
            self.timer = self.host.later((turn - now) / 1e6, self.wake)

    def wake(self) -> None:
        self.awake_at = None
        self.give_more()
        if self.held:
            self.wait()

    @property
    def moving(self) -> bool:
        return self.awake_at is not None

    @property
    def patient(self) -> bool:
        return self.moving

    def cut(self) -> None:
        super().cut()
        if list(self.recent) != self.states.get("went"):
            self.put("went", list(self.recent))

    def close(self) -> None:
        super().close()
        self.timer.dispose()
