"""What is kept per key: key_by, aggregate, process."""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from functools import partial
from keyword import iskeyword
from operator import length_hint
from types import MappingProxyType
from typing import Any, TypeVar, overload

from reactivex import Observable
from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rxstreams.aggregates.accumulators import Aggregate, row_type
from rxstreams.aggregates.compiled import step_lines, stepper, wholly
from rxstreams.batch import Batch
from rxstreams.errors import ConfigError, Policy, StateCodecError, check_policy
from rxstreams.operators.arguments import check_name, column_of, getter
from rxstreams.state.codec import TAGGED, dumps, loads, pack
from rxstreams.state.keyed import KeyedOperator
from rxstreams.state.keys import internal, internal_all, original
from rxstreams.state.timers import NEVER, Timers
from rxstreams.stream import LOST, Moment, Node, Operation, Stream, operator
from rxstreams.stream.loops import Loop
from rxstreams.watermarks import END, START

__all__ = ["aggregate", "key_by", "process"]

A = TypeVar("A", bound=Any)
B = TypeVar("B")


@overload
def key_by(field: str, *, on_error: Policy | None = ...) -> Callable[[Observable[A]], Stream[A]]: ...
@overload
def key_by(field: Callable[[A], Any], *, on_error: Policy | None = ...) -> Callable[[Observable[A]], Stream[A]]: ...
def key_by(field: str | Callable[[Any], Any], *, on_error: Policy | None = None) -> Callable[[Observable[Any]], Stream[Any]]:
    """Give each record a key, which keyed operators after it keep their state by.

        orders   -1--2--3-|
                 [ key_by(lambda x: x % 2) ]
        result   -a--b--c-|          a=1 b=2 c=3

    Shape: A → A, one for one, in order; times stay. A key is a str, bytes, int, bool, None, enum member, UUID, or a tuple of
    these; 1 and True are two keys.
    Holds: nothing.
    Ends: with its input; an exception, or a key of another kind, ends a subscription and meets ``on_error`` in a run.

    Args:
        field: A field's name (of objects and mappings alike), or a function of the value.
        on_error: What happens to a record that has no such key; None is the run's policy.
    """
    getter("key_by(field)", field)
    check_policy("key_by", on_error, waits=False)
    return operator(Operation("key_by", lambda: KeyBy(field, on_error), {"field": field}, key="made", sides=("errors",)))


class KeyBy(Node):
    def __init__(self, field: str | Callable[[Any], Any], on_error: Policy | None) -> None:
        super().__init__()
        self.field, self.on_error = field, on_error
        self.read = getter("key_by(field)", field)

    def batch(self, b: Batch, port: int) -> None:
        # A field is read by one quick loop, and again record by record if something raises; a function is called once only.
        keys: Sequence[Hashable] | None = None
        if isinstance(self.field, str):
            with suppress(Exception):
                keys = internal_all(list(column_of(self.field, b.values)))
        if keys is None:
            keys, b = self.each(lambda value: internal(self.read(value)), b)
        self.emit(b.keyed(keys))

    def join(self, loop: Loop) -> bool:
        loop.lines.append(f"key = {loop.read(self.field)}")
        loop.lines.append(f"if key.__class__ is not str: key = {loop.bind(internal)}(key)")
        loop.keyed = True
        return True


def aggregate(
    *, name: str | None = None, on_error: Policy | None = None, **aggregates: Aggregate
) -> Callable[[Observable[Any]], Stream[Any]]:
    """Keep running aggregates per key, and emit their results for each record.

        orders   -1--2--3-|
                 [ aggregate(n=agg.count(), total=agg.sum(lambda x: x)) ]
        result   -a--b--c-|          a=(n=1, total=1) b=(n=2, total=3) c=(n=3, total=6)

    Shape: A → a row with the field ``key`` and one field per aggregate, one for one, in order; unkeyed is one key, None. Before
    ``to_view`` a row is built per key and commit only, because a view takes no more.
    Holds: one accumulator per key, for ever; saved in a run.
    Ends: with its input; an exception ends a subscription, and meets ``on_error`` in a run (the aggregates stay as they were).

    Args:
        name: The operator's identity for saved state.
        on_error: What happens to a record that an aggregate cannot take in; None is the run's policy.
        aggregates: What to compute, by the name of the result's field.

    Raises:
        ConfigError: If there are none, or one is named ``key``.
    """
    _check_aggregates("aggregate", aggregates)
    check_policy("aggregate", on_error, waits=False)
    check_name("aggregate(name)", name)
    parameters: dict[str, Any] = {label: repr(one) for label, one in aggregates.items()}
    make = lambda: RunningAggregate(aggregates, on_error)  # noqa: E731  # a value among values
    return operator(
        Operation(
            "aggregate", make, MappingProxyType(parameters), name, defines=tuple(parameters), stateful=True, sides=("errors",)
        )
    )


def _check_aggregates(where: str, aggregates: dict[str, Aggregate]) -> None:
    if not aggregates:
        raise ConfigError(f"{where}: expected at least one aggregate, such as n=agg.count()")
    for label, one in aggregates.items():
        if label == "key":
            raise ConfigError(f"{where}: an aggregate cannot be named 'key', which is the row's key; choose another name")
        if not label.isidentifier() or iskeyword(label):
            raise ConfigError(f"{where}({label!r}): expected an identifier, which becomes a field's name")
        if not isinstance(one, Aggregate):
            raise ConfigError(f"{where}({label}): expected an aggregate such as agg.count(), got {one!r}")


class RunningAggregate(Node):
    """One loop for all aggregates, made for their fields; where only views read the results, rows are built at the commit."""

    codec = TAGGED

    def __init__(self, aggregates: dict[str, Aggregate], on_error: Policy | None) -> None:
        super().__init__()
        self.on_error = on_error
        self.row = row_type(("key", *aggregates))
        self.slots: list[tuple[Aggregate, int]] = []
        self.empty: list[Any] = []
        for one in aggregates.values():
            self.slots.append((one, len(self.empty)))
            self.empty += one.start
        self.savable: set[type] = {int, float, str, type(None)}
        self.steppers: dict[bool, Callable[..., None]] = {}
        self.hot: dict[Hashable, list[Any]] = {}

    def batch(self, b: Batch, port: int) -> None:
        if b.keys is None and self.host.wants_latest and self.take_in_whole(b.values):
            return
        keys = b.keys or [None] * len(b)
        results: list[Any] = []
        lost = self.step_through(b, keys, results)
        if lost:
            b = b.where([i not in lost for i in range(len(b))])
            keys = b.keys or [None] * len(b)
        self.dirty.update(keys)
        if not self.host.wants_latest:
            self.emit(b.of(results))

    def join(self, loop: Loop) -> bool:
        if not self.host.wants_latest:
            return False
        compute, store = step_lines(self.slots, loop)
        if loop.keyed:
            # What was touched since the last commit is found in a dict of its own, which is empty after it: so a key is noted
            # as dirty once, not with every record.
            find, note = loop.bind(self.hot.get), loop.bind(self.touch)
            loop.lines += [f"row = {find}(key)", f"if row is None: row = {note}(key)", *compute, *store]
        else:
            load = "; ".join(f"t{i} = row[{i}]" for i in range(len(self.empty)))
            loop.before += ["row = None"]
            loop.lines += ["if row is None:", f"    row = {loop.bind(self.touch)}(None); {load}"]
            loop.lines += [re.sub(r"\brow\[(\d+)\]", r"t\1", line) for line in compute]
            loop.behind += ["if row is not None:", *(f"    {line}" for line in store)]
        loop.closed = True
        loop.after.append(lambda: self.check_savable(next(iter(self.dirty), None)))
        return True

    def touch(self, key: Hashable) -> list[Any]:
        """The accumulator of a key that changes for the first time since the last commit."""
        row = self.states.get(key)
        if row is None:
            row = self.states[key] = self.empty.copy()
        self.dirty.add(key)
        self.hot[key] = row
        return row

    def take_in_whole(self, values: Sequence[Any]) -> bool:
        """Take an unkeyed batch in at C speed; False, and nothing changed, if some value is not what the aggregates take."""
        row = self.states.get(None, self.empty)
        try:
            after = wholly(self.slots, row, [column_of(one.field, values) for one, _ in self.slots])
        except Exception:
            return False
        if not self.savable.issuperset(builtins.map(type, after)):
            return False
        self.states[None] = after
        self.dirty.add(None)
        return True

    def step_through(self, b: Batch, keys: Sequence[Hashable], results: list[Any]) -> set[int]:
        """Take in record by record; return the indices of those that the policy let go."""
        lost: set[int] = set()
        values, values_left, mapping = b.values, iter(b.values), isinstance(b.values[0], dict)
        shown = [None] * len(b) if self.host.wants_latest else list(builtins.map(original, keys))
        records, step = zip(keys, values_left, shown, strict=False), self.stepper(mapping)
        while True:
            try:
                step(self.states, self.empty, records, results.append)
                break
            except Exception as error:  # the loop took the record out of all three columns, and left its accumulator as it was
                at = len(b) - length_hint(values_left) - 1
                again = partial(self.take_in, keys[at], values[at], shown[at])
                other_kind = isinstance(values[at], dict) != mapping
                answer = again() if other_kind else self.host.failed(error, b, at, again)
                if answer is LOST:
                    lost.add(at)
                elif answer is not None:
                    results.append(answer)
        self.check_savable(keys[-1])
        return lost

    def take_in(self, key: Hashable, value: Any, shown: Any) -> Any:
        """One record; the row that shows it, or None where rows are built at the commit."""
        made: list[Any] = []
        self.stepper(isinstance(value, dict))(self.states, self.empty, ((key, value, shown),), made.append)
        return made[0] if made else None

    def stepper(self, mapping: bool) -> Callable[..., None]:
        """The loop for objects, or for mappings; made when it is first needed."""
        if mapping not in self.steppers:
            self.steppers[mapping] = stepper(self.slots, mapping=mapping, row=None if self.host.wants_latest else self.row)
        return self.steppers[mapping]

    def check_savable(self, key: Hashable) -> None:
        """What cannot be saved fails in the batch that made it: a look at one accumulator, as values of a field are of a kind."""
        row = self.states.get(key, self.empty)
        if not self.savable.issuperset(builtins.map(type, row)):
            try:
                TAGGED.check(row)
            except StateCodecError as error:
                self.fail(error)
            self.savable.update(builtins.map(type, row))

    def cut(self) -> None:
        """Build the rows that views want: of the keys that changed since the last commit, which are the dirty ones."""
        self.hot.clear()
        if self.host.wants_latest and self.dirty:
            keys = list(self.dirty)
            self.emit(self.host.fresh(list(builtins.map(self.result, keys)), [0] * len(keys), keys))

    def result(self, key: Hashable) -> Any:
        row = self.states[key]
        return self.row(original(key), *[one.result(row, at) for one, at in self.slots])


def process(
    keyed: KeyedOperator[Any, A, Any, B], *, on_error: Policy | None = None, name: str | None = None
) -> Callable[[Observable[A]], Stream[B]]:
    """Run a keyed operator of your own: state per key, and event-time timers. See ``rxstreams.KeyedOperator``.

    Shape: A → B, what ``keyed`` emits; a result has its key, and the time of the record or the timer unless it says another.
    Holds: what ``keyed`` keeps, until it forgets; saved in a run with the timers.
    Ends: with its input; then time is over, and every timer that is left fires.

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
