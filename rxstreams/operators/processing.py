"""A keyed operator of the user's own, or of ours: process."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rxstreams.batch import Batch
from rxstreams.errors import ConfigError, Policy, check_policy
from rxstreams.operators.alarms import Alarmed
from rxstreams.operators.arguments import check_name
from rxstreams.state.codec import TAGGED, dumps, loads, pack
from rxstreams.state.keyed import KeyedOperator
from rxstreams.state.keys import original
from rxstreams.state.timers import NEVER, Timers
from rxstreams.stream import UNBOUNDED, Moment, Operation, Stream, operator
from rxstreams.watermarks import END, START, Late

__all__ = ["Process", "process"]

A = TypeVar("A", bound=Any)
B = TypeVar("B")


def process(
    keyed: KeyedOperator[Any, A, Any, B], *, on_error: Policy | None = None, name: str | None = None
) -> Callable[[Observable[A]], Stream[B]]:
    """Run a keyed operator of your own: state per key, timers by event time and by the clock. See ``rxstreams.KeyedOperator``.

    Shape: A → B, what ``keyed`` emits; a result has its key, and the time of the record or the timer unless it says another. What
    it calls late is the side stream ``late``.
    Time: the record's, the timer's, or what the operator says.
    Holds: what ``keyed`` keeps, until it forgets; saved in a run with the timers.
    Bounded by: what the operator keeps until it forgets a key.
    Ends: with its input; then time is over, and every event-time timer that is left fires.
    Names: RxJS —, RxPY —, Kafka Streams ``process``

    Args:
        keyed: The operator; one object serves all keys, so it must hold no state itself.
        on_error: What happens to a record at which ``keyed.process`` raises; None is the run's policy.
        name: The operator's identity for saved state.
    """
    for method in ("open", "process", "on_timer"):
        if not callable(getattr(keyed, method, None)):
            raise ConfigError(f"process(keyed): expected a KeyedOperator, but {type(keyed).__name__} has no method {method}()")
    check_policy("process", on_error, waits=False)
    check_name("process(name)", name)
    parameters = {"keyed": type(keyed)}
    make = lambda: Process(keyed, on_error)  # noqa: E731  # a value among values
    sides = ("errors", "late")
    return operator(Operation("process", make, parameters, name, defines=("keyed",), stateful=True, sides=sides))


class Process(Alarmed):
    """Executes a keyed operator; ``states`` has [state, the times of its timers] per key, and those of the clock's if it has any.

    Timers that a watermark makes due fire as far as there is room below for what they emit; the watermark, and the next record,
    wait for the last of them.

    Args:
        keyed: The operator.
        on_error: For records and timers at which it raises.
        trusted: Whether it sees to it itself that its states can be saved.
        behind: Milliseconds by which results may be behind the watermark, which is passed on so much later.
    """

    codec = TAGGED
    locked = True
    needs_time = True
    fans_out = True

    def __init__(
        self, keyed: KeyedOperator[Any, Any, Any, Any], on_error: Policy | None, *, trusted: bool = False, behind: int = 0
    ) -> None:
        super().__init__()
        self.keyed, self.on_error, self.trusted, self.behind = keyed, on_error, trusted, behind
        self.holds_time = behind > 0  # type: ignore[misc]  # of one node, here
        self.timers, self.clock_timers = Timers(), Timers()
        self.high = self.target = START
        self.ending = False
        self.clock_alarm: DisposableBase = Disposable()
        self.clock_awaited = NEVER
        self.out: list[tuple[Any, int, Hashable, float, int]] = []
        self.late: list[tuple[Any, int, Hashable, float, int]] = []

    def start(self) -> None:
        for key, (_, times, *clock_times) in self.states.items():
            self.timers.restore(key, times)
            self.clock_timers.restore(key, clock_times[0] if clock_times else ())
        self.wait()

    @property
    def next_time(self) -> int:
        return builtins.min(self.timers.next, END)

    @property
    def pending(self) -> int:
        return len(self.timers)

    @property
    def backlog(self) -> int:
        return int(self.high < self.target)

    def room(self, port: int) -> int:
        return 0 if self.backlog else UNBOUNDED

    def wait(self) -> None:
        super().wait()
        due = self.clock_timers.next
        if due != self.clock_awaited:
            self.clock_awaited = due
            self.clock_alarm.dispose()
            if due != NEVER:
                self.clock_alarm = self.host.later(builtins.max(0.0, due / 1000 - self.host.now()), self.strike)

    def batch(self, b: Batch, port: int) -> None:
        n = len(b)
        self.each(self.one, b, b.keys or [None] * n, b.times or [0] * n, b.marks or [START] * n, b.order or [0] * n)
        self.wait()
        self.send()

    def one(self, value: Any, key: Hashable, time: int, mark: int, order: float) -> None:
        """One record: after the timers that were due before it, and before those that it sets for a time that is over."""
        self.advance(mark, UNBOUNDED)
        now = Moment(order, self.high, self.high)
        self.call(self.keyed.process, key, time, now, value, time)
        if self.timers.next <= self.high:
            for due, whose in self.timers.due(self.high):
                self.fire(self.keyed.on_timer, whose, due, now)

    def advance(self, mark: int, room: int) -> None:
        """Fire what is due, each at the moment at which time came to it; some of it is left if it makes more than ``room``."""
        if mark <= self.high:
            return
        if self.timers.next <= mark:
            last = Moment(-1.0, START, START)
            for time, key in self.timers.due(mark):
                # Not before what came before: a timer may set another one for a time that is over.
                order, before, after = self.host.moment(time, mark)
                last = Moment(max(order, last.order), max(before, last.before), max(after, last.after))
                self.high = max(self.high, last.after)
                self.fire(self.keyed.on_timer, key, time, last)
                if len(self.out) >= room and self.timers.next <= mark:
                    self.high = min(self.high, mark - 1)  # it is not over
                    return
        self.high = mark

    def strike(self) -> None:
        """The clock has come to one of its timers."""
        now = int(self.host.now() * 1000 + 0.001)
        for time, key in self.clock_timers.due(now):
            b = self.host.fresh((None,), (time,))
            moment = Moment(b.order[0] if b.order else 0.0, self.high, self.high)
            self.fire(self.keyed.on_clock, key, time, moment)  # type: ignore[attr-defined]  # checked when the timer was set
        self.wait()
        self.send()

    def fire(self, function: Callable[..., None], key: Hashable, time: int, moment: Moment) -> None:
        again = partial(self.call, function, key, time, moment, time)
        try:
            again()
        except Exception as error:
            about = Batch(((original(key), time),), (time,), (key,), (moment.order,), (moment.before,))
            self.host.failed(error, about, 0, again)

    def call(self, function: Callable[..., None], key: Hashable, time: int, moment: Moment, *given: Any) -> None:
        """Call one of the operator's functions; if it fails, it leaves no trace."""
        entry, sent, late = self.states.get(key), len(self.out), len(self.late)
        timers, clock_timers = self.timers.of(key), self.clock_timers.of(key)
        state = self.keyed.open() if entry is None else entry[0]
        before = dumps(pack(state)) if self.host.forgiving and entry is not None else None
        context = Call(self, key, time, moment, state)
        self.dirty.add(key)
        try:
            function(state, original(key), *given, context)
            self.keep(context)
        except Exception:
            del self.out[sent:], self.late[late:]
            for held, times in ((self.timers, timers), (self.clock_timers, clock_timers)):
                held.forget(key)
                held.restore(key, times)
            if before is not None:
                self.states[key] = entry_of(loads(before), timers, clock_timers)
            raise

    def keep(self, call: Call) -> None:
        key = call.key
        times, clock_times = self.timers.of(key), self.clock_timers.of(key)
        if call.forgotten and not times and not clock_times:
            self.states.pop(key, None)
        else:
            state = self.keyed.open() if call.forgotten else call.state
            if self.host.durable and not self.trusted:
                TAGGED.check(state)
            self.states[key] = entry_of(state, times, clock_times)

    def watermark(self, mark: int, port: int) -> None:
        self.target = max(self.target, mark)
        self.give_more()

    def give_more(self) -> None:
        self.advance(self.target, self.host.room())
        self.wait()
        self.send()
        if self.high >= self.target:
            self.forward(self.high if self.high in (START, END) else self.high - self.behind)
            if self.ending:
                self.close()  # nobody waits for the clock any more
                self.finish()

    def end(self, port: int, at: float | None = None) -> None:
        self.ending = True
        self.watermark(END, port)

    def close(self) -> None:
        super().close()
        self.clock_alarm.dispose()

    def send(self) -> None:
        late, self.late = self.late, []
        if late:
            self.host.aside("late", _batch(late).keyed(None))
        out, self.out = self.out, []
        if out:
            made = _batch(out)
            if self.behind:
                made = made.marked([mark if mark == START else mark - self.behind for mark in made.marks or ()])
            self.emit(made if self.host.keyed else made.keyed(None))


def entry_of(state: Any, times: tuple[int, ...], clock_times: tuple[int, ...]) -> list[Any]:
    """What is saved of a key."""
    return [state, list(times), list(clock_times)] if clock_times else [state, list(times)]


def _batch(made: list[tuple[Any, int, Hashable, float, int]]) -> Batch:
    values, times, keys, order, marks = zip(*made, strict=True)
    return Batch(values, times, keys, order, marks)


class Call:
    """The context of one call of a keyed operator; see ``rxstreams.state.keyed.Context``."""

    __slots__ = ("forgotten", "key", "moment", "node", "state", "time")

    def __init__(self, node: Process, key: Hashable, time: int, moment: Moment, state: Any) -> None:
        self.node, self.key, self.time, self.moment, self.state = node, key, time, moment, state
        self.forgotten = False

    @property
    def watermark(self) -> int:
        return self.node.high

    @property
    def clock(self) -> int:
        return int(self.node.host.now() * 1000)

    def emit(self, value: Any, time: int | None = None) -> None:
        moment = self.moment
        self.node.out.append((value, self.time if time is None else time, self.key, moment.order, moment.before))

    def late(self, value: Any) -> None:
        moment, by = self.moment, (self.node.high - self.time) / 1000
        self.node.late.append((Late(value, by), self.time, self.key, moment.order, moment.before))

    def set_timer(self, time: int) -> None:
        self.node.timers.set(self.key, _checked("set_timer", time))

    def clear_timer(self, time: int) -> None:
        self.node.timers.clear(self.key, time)

    def set_clock_timer(self, time: int) -> None:
        if not callable(getattr(self.node.keyed, "on_clock", None)):
            raise TypeError(f"set_clock_timer: {type(self.node.keyed).__name__} has no method on_clock() to be called then")
        self.node.clock_timers.set(self.key, _checked("set_clock_timer", time))

    def clear_clock_timer(self, time: int) -> None:
        self.node.clock_timers.clear(self.key, time)

    def replace(self, state: Any) -> None:
        self.state, self.forgotten = state, False

    def forget(self) -> None:
        self.forgotten = True
        self.node.timers.forget(self.key)
        self.node.clock_timers.forget(self.key)


def _checked(where: str, time: Any) -> int:
    if isinstance(time, bool) or not isinstance(time, int):
        raise TypeError(f"{where}(time): expected integer milliseconds since the epoch, got {time!r}")
    return time
