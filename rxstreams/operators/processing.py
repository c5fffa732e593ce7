"""A keyed operator of the user's own: process."""

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
from rxstreams.operators.arguments import check_name
from rxstreams.state.codec import TAGGED, dumps, loads, pack
from rxstreams.state.keyed import KeyedOperator
from rxstreams.state.keys import original
from rxstreams.state.timers import NEVER, Timers
from rxstreams.stream import Moment, Node, Operation, Stream, operator
from rxstreams.watermarks import END, START

__all__ = ["process"]

A = TypeVar("A", bound=Any)
B = TypeVar("B")


def process(
    keyed: KeyedOperator[Any, A, Any, B], *, on_error: Policy | None = None, name: str | None = None
) -> Callable[[Observable[A]], Stream[B]]:
    """Run a keyed operator of your own: state per key, and event-time timers. See ``rxstreams.KeyedOperator``.

    Shape: A → B, what ``keyed`` emits; a result has its key, and the time of the record or the timer unless it says another.
    Time: the record's, the timer's, or what the operator says.
    Holds: what ``keyed`` keeps, until it forgets; saved in a run with the timers.
    Bounded by: what the operator keeps until it forgets a key.
    Ends: with its input; then time is over, and every timer that is left fires.
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
    return operator(Operation("process", make, parameters, name, defines=("keyed",), stateful=True, sides=("errors",)))


class Process(Node):
    """Executes a keyed operator; ``states`` has [state, the times of its timers] per key."""

    codec = TAGGED
    locked = True
    needs_time = True
    has_timers = True
    fans_out = True

    def __init__(self, keyed: KeyedOperator[Any, Any, Any, Any], on_error: Policy | None) -> None:
        super().__init__()
        self.keyed, self.on_error = keyed, on_error
        self.timers = Timers()
        self.high = START
        self.awaited = NEVER
        self.alarm: DisposableBase = Disposable()
        self.out: list[tuple[Any, int, Hashable, float, int]] = []

    def start(self) -> None:
        for key, (_, times) in self.states.items():
            self.timers.restore(key, times)
        self.wait()

    @property
    def next_time(self) -> int:
        return builtins.min(self.timers.next, END)

    def wait(self) -> None:
        """Where time is the clock's, have the next timer fire although no record comes."""
        due = self.timers.next
        if self.host.clocked and due not in (self.awaited, NEVER):
            self.awaited = due
            self.alarm.dispose()
            self.alarm = self.host.later(builtins.max(0.0, due / 1000 - self.host.now()), partial(self.watermark, due, 0))

    def batch(self, b: Batch, port: int) -> None:
        n = len(b)
        self.each(self.one, b, b.keys or [None] * n, b.times or [0] * n, b.marks or [START] * n, b.order or [0] * n)
        self.wait()
        self.send()

    def one(self, value: Any, key: Hashable, time: int, mark: int, order: float) -> None:
        """One record: after the timers that were due before it, and before those that it sets for a time that is over."""
        self.advance(mark)
        now = Moment(order, self.high, self.high)
        self.call(self.keyed.process, key, time, now, value, time)
        if self.timers.next <= self.high:
            for due, whose in self.timers.due(self.high):
                self.fire(whose, due, now)

    def advance(self, mark: int) -> None:
        """Fire what is due, each at the moment at which time came to it."""
        if mark <= self.high:
            return
        if self.timers.next <= mark:
            last = Moment(-1.0, START, START)
            for time, key in self.timers.due(mark):
                # Not before what came before: a timer may set another one for a time that is over.
                order, before, after = self.host.moment(time, mark)
                last = Moment(max(order, last.order), max(before, last.before), max(after, last.after))
                self.high = max(self.high, last.after)
                self.fire(key, time, last)
        self.high = mark

    def fire(self, key: Hashable, time: int, moment: Moment) -> None:
        again = partial(self.call, self.keyed.on_timer, key, time, moment, time)
        try:
            again()
        except Exception as error:
            about = Batch(((original(key), time),), (time,), (key,), (moment.order,), (moment.before,))
            self.host.failed(error, about, 0, again)

    def call(self, function: Callable[..., None], key: Hashable, time: int, moment: Moment, *given: Any) -> None:
        """Call one of the operator's functions; if it fails, it leaves no trace."""
        entry, timers, sent = self.states.get(key), self.timers.of(key), len(self.out)
        state = self.keyed.open() if entry is None else entry[0]
        before = dumps(pack(state)) if self.host.forgiving and entry is not None else None
        context = Call(self, key, time, moment, state)
        self.dirty.add(key)
        try:
            function(state, original(key), *given, context)
            self.keep(context)
        except Exception:
            del self.out[sent:]
            self.timers.forget(key)
            self.timers.restore(key, timers)
            if before is not None:
                self.states[key] = [loads(before), list(timers)]
            raise

    def keep(self, call: Call) -> None:
        key, times = call.key, self.timers.of(call.key)
        if call.forgotten and not times:
            self.states.pop(key, None)
        else:
            state = self.keyed.open() if call.forgotten else call.state
            if self.host.durable:
                TAGGED.check(state)
            self.states[key] = [state, list(times)]

    def watermark(self, mark: int, port: int) -> None:
        self.advance(mark)
        self.wait()
        self.send()
        self.forward(mark)

    def end(self, port: int, at: float | None = None) -> None:
        self.watermark(END, port)
        self.finish()

    def close(self) -> None:
        self.alarm.dispose()

    def send(self) -> None:
        out, self.out = self.out, []
        if out:
            values, times, keys, order, marks = zip(*out, strict=True)
            self.emit(Batch(values, times, keys if self.host.keyed else None, order, marks))


class Call:
    """The context of one call of a keyed operator; see ``rxstreams.state.keyed.Context``."""

    __slots__ = ("forgotten", "key", "moment", "node", "state", "time")

    def __init__(self, node: Process, key: Hashable, time: int, moment: Moment, state: Any) -> None:
        self.node, self.key, self.time, self.moment, self.state = node, key, time, moment, state
        self.forgotten = False

    @property
    def watermark(self) -> int:
        return self.node.high

    def emit(self, value: Any, time: int | None = None) -> None:
        moment = self.moment
        self.node.out.append((value, self.time if time is None else time, self.key, moment.order, moment.before))

    def set_timer(self, time: int) -> None:
        if isinstance(time, bool) or not isinstance(time, int):
            raise TypeError(f"set_timer(time): expected integer milliseconds since the epoch, got {time!r}")
        self.node.timers.set(self.key, time)

    def clear_timer(self, time: int) -> None:
        self.node.timers.clear(self.key, time)

    def replace(self, state: Any) -> None:
        self.state, self.forgotten = state, False

    def forget(self) -> None:
        self.forgotten = True
        self.node.timers.forget(self.key)
