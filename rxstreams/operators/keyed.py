"""What is kept per key: key_by, aggregate, process."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Hashable, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from reactivex import Observable

from rxstreams.aggregates.accumulators import Aggregate, row_type
from rxstreams.batch import Batch
from rxstreams.errors import ConfigError, Policy, check_policy
from rxstreams.operators.arguments import column_getter, getter
from rxstreams.state.codec import PLAIN, TAGGED, dumps, loads, pack
from rxstreams.state.keyed import KeyedOperator
from rxstreams.state.keys import internal, internal_all, original
from rxstreams.state.timers import Timers
from rxstreams.stream import Node, Operation, Stream, operator
from rxstreams.watermarks import END, START

__all__ = ["aggregate", "key_by", "process"]

A = TypeVar("A")
B = TypeVar("B")


def key_by(field: str | Callable[[A], Any], *, on_error: Policy | None = None) -> Callable[[Observable[A]], Stream[A]]:
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
    return operator(Operation("key_by", lambda: KeyBy(field, on_error), {"field": field}, sides=("errors",)))


class KeyBy(Node):
    def __init__(self, field: str | Callable[[Any], Any], on_error: Policy | None) -> None:
        super().__init__()
        self.choose, self.on_error = column_getter(field), on_error
        self.slow = getter("key_by(field)", field)

    def batch(self, b: Batch, port: int) -> None:
        try:
            keys = internal_all(list(builtins.map(self.choose(b.values), b.values)))
            if len(keys) != len(b):
                raise StopIteration
        except Exception:  # again, record by record: the policy wants to know which one it was
            keys, b = self.each(lambda value: internal(self.slow(value)), b)
        self.emit(b.keyed(keys))


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
    parameters: dict[str, Any] = {label: repr(one) for label, one in aggregates.items()}
    make = lambda: RunningAggregate(aggregates, on_error)  # noqa: E731  # a value among values
    return operator(
        Operation("aggregate", make, MappingProxyType(parameters), name, defines=tuple(parameters), stateful=True, sides=("errors",))
    )


def _check_aggregates(where: str, aggregates: dict[str, Aggregate]) -> None:
    if not aggregates:
        raise ConfigError(f"{where}: expected at least one aggregate, such as n=agg.count()")
    for label, one in aggregates.items():
        if label == "key":
            raise ConfigError(f"{where}: an aggregate cannot be named 'key', which is the row's key; choose another name")
        if not isinstance(one, Aggregate):
            raise ConfigError(f"{where}({label}): expected an aggregate such as agg.count(), got {one!r}")


class Accumulators(dict[Hashable, list[Any]]):
    """Accumulators by key; a key that is new gets the empty one."""

    def __init__(self, start: Sequence[Any]) -> None:
        super().__init__()
        self.begin = list(start)

    def __missing__(self, key: Hashable) -> list[Any]:
        row = self[key] = self.begin.copy()
        return row


class RunningAggregate(Node):
    """Column by column: each record's accumulator is looked up once, at C speed, and each aggregate runs its own tight loop."""

    codec = PLAIN

    def __init__(self, aggregates: dict[str, Aggregate], on_error: Policy | None) -> None:
        super().__init__()
        self.on_error = on_error
        self.row = row_type(("key", *aggregates))
        self.slots: list[tuple[Aggregate, int]] = []
        start: list[Any] = []
        for one in aggregates.values():
            self.slots.append((one, len(start)))
            start += one.start
        self.choosers = [None if one.field is None else column_getter(one.field) for one, _ in self.slots]
        self.states: Accumulators = Accumulators(start)
        self.touched: set[Hashable] = set()

    def batch(self, b: Batch, port: int) -> None:
        columns = self.columns(b.values)
        if columns is None:
            self.one_by_one(b)
        elif not self.host.wants_latest:
            self.emit(b.of(self.running(b, columns)))
        elif b.keys is None:
            self.take_in(None, columns)
        else:
            rows = list(builtins.map(self.states.__getitem__, b.keys))
            for (one, at), column in zip(self.slots, columns, strict=True):
                one.step(rows, at, column)
            self.dirty.update(b.keys)
            self.touched.update(b.keys)

    def columns(self, values: Sequence[Any]) -> list[Sequence[Any]] | None:
        """What each aggregate reads, or None if one of them might not take it in."""
        columns: list[Sequence[Any]] = []
        for (one, _), choose in zip(self.slots, self.choosers, strict=True):
            if choose is None:
                columns.append(values)
                continue
            try:
                column = list(builtins.map(choose(values), values))
            except Exception:  # read again record by record, where the policy hears of it
                return None
            if len(column) != len(values) or not one.takes.issuperset(builtins.map(type, column)):
                return None
            columns.append(column)
        return columns

    def take_in(self, key: Hashable, columns: Sequence[Sequence[Any]]) -> None:
        """Take whole columns into one accumulator."""
        row = self.states[key]
        for (one, at), column in zip(self.slots, columns, strict=True):
            one.whole(row, at, column)
        self.dirty.add(key)
        self.touched.add(key)

    def running(self, b: Batch, columns: Sequence[Sequence[Any]]) -> list[Any]:
        """A row per record. Each result follows from its own slots alone, so they are made column by column too."""
        keys = b.keys or [None] * len(b)
        rows = list(builtins.map(self.states.__getitem__, keys))
        results = [one.running(rows, at, column) for (one, at), column in zip(self.slots, columns, strict=True)]
        self.dirty.update(keys)
        return list(builtins.map(self.row, builtins.map(original, keys), *results))

    def one_by_one(self, b: Batch) -> None:
        results, b = self.each(self.careful, b, b.keys or [None] * len(b))
        if not self.host.wants_latest:
            self.emit(b.of(results))

    def careful(self, value: Any, key: Hashable) -> Any:
        """One record of doubtful kind: if an aggregate cannot take it in, the accumulator is as it was before."""
        before = self.states.get(key, self.states.begin)
        row = before.copy()
        for one, at in self.slots:
            one.step((row,), at, (value if one.field is None else getter("aggregate", one.field)(value),))
        if not _PLAIN_TYPES.issuperset(builtins.map(type, row)):
            raise TypeError(f"expected numbers or texts, of which an accumulator can be saved, got {value!r}")
        self.states[key] = row
        self.dirty.add(key)
        self.touched.add(key)
        return self.result(key)

    def result(self, key: Hashable) -> Any:
        row = self.states[key]
        return self.row(original(key), *[one.result(row, at) for one, at in self.slots])

    def cut(self) -> None:
        touched, self.touched = list(self.touched), set()
        if touched and self.host.wants_latest:
            self.emit(self.host.fresh(list(builtins.map(self.result, touched)), [0] * len(touched), touched))


_PLAIN_TYPES = frozenset({int, float, str, bytes, bool, type(None)})


def process(keyed: KeyedOperator[Any, A, Any, B], *, on_error: Policy | None = None, name: str | None = None) -> Callable[[Observable[A]], Stream[B]]:
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
    parameters = {"keyed": type(keyed)}
    make = lambda: Process(keyed, on_error)  # noqa: E731  # a value among values
    return operator(Operation("process", make, parameters, name, defines=("keyed",), stateful=True, sides=("errors",)))


class Process(Node):
    """Executes a keyed operator; ``states`` has [state, the times of its timers] per key. It is the operator's context too."""

    codec = TAGGED
    needs_time = True

    def __init__(self, keyed: KeyedOperator[Any, Any, Any, Any], on_error: Policy | None) -> None:
        super().__init__()
        self.keyed, self.on_error = keyed, on_error
        self.timers = Timers()
        self.high = START
        self.call: Call = Call(self, None, 0, 0, None)
        self.out: list[tuple[Any, int, Hashable, int, int]] = []

    def start(self) -> None:
        for key, (_, times) in self.states.items():
            self.timers.restore(key, times)

    def batch(self, b: Batch, port: int) -> None:
        n = len(b)
        marks = b.marks or [self.high] * n
        self.each(self.one, b, b.keys or [None] * n, b.times or [0] * n, marks, b.order or [0] * n)
        self.send(numbered=b.order is not None)

    def one(self, value: Any, key: Hashable, time: int, mark: int, order: int) -> None:
        """One record, then the timers that it makes due; a record that fails leaves no trace."""
        entry = self.states.get(key)
        timers, sent = self.timers.of(key), len(self.out)
        state = self.keyed.open() if entry is None else entry[0]
        before = dumps(pack(state)) if self.host.forgiving and entry is not None else None
        call = Call(self, key, time, order, state)
        try:
            self.keyed.process(state, original(key), value, time, call)
            self.keep(call)
        except Exception:
            del self.out[sent:]
            self.timers.forget(key)
            self.timers.restore(key, timers)
            if before is not None:
                self.states[key] = [loads(before), list(timers)]
            raise
        self.advance(builtins.max(mark, self.high), order)

    def keep(self, call: Call) -> None:
        key, times = call.key, self.timers.of(call.key)
        if call.forgotten and not times:
            self.states.pop(key, None)
        else:
            state = self.keyed.open() if call.forgotten else call.state
            if self.host.durable:
                TAGGED.check(state)
            self.states[key] = [state, list(times)]
        self.dirty.add(key)

    def advance(self, mark: int, order: int) -> None:
        self.high = mark
        if self.timers.next > mark:
            return
        for time, key in self.timers.due(mark):
            entry = self.states.get(key)
            call = Call(self, key, time, order, self.keyed.open() if entry is None else entry[0])
            self.keyed.on_timer(call.state, original(key), time, call)
            self.keep(call)

    def watermark(self, mark: int, port: int) -> None:
        if mark > self.high:
            self.advance(mark, LAST)
            self.send(numbered=True)
        self.forward(mark)

    def end(self, port: int, at: int | None = None) -> None:
        self.watermark(END, port)
        self.finish(at)

    def send(self, *, numbered: bool) -> None:
        out, self.out = self.out, []
        if out:
            values, times, keys, order, marks = zip(*out, strict=True)
            self.emit(Batch(values, times, keys, order if numbered else None, marks))


LAST = 2**62
"""The order of what comes after every record of its push."""


class Call:
    """The context of one call of a keyed operator; see ``rxstreams.state.keyed.Context``."""

    __slots__ = ("forgotten", "key", "node", "order", "state", "time")

    def __init__(self, node: Process, key: Hashable, time: int, order: int, state: Any) -> None:
        self.node, self.key, self.time, self.order, self.state = node, key, time, order, state
        self.forgotten = False

    @property
    def watermark(self) -> int:
        return self.node.high

    def emit(self, value: Any, time: int | None = None) -> None:
        at = self.time if time is None else time
        self.node.out.append((value, at, self.key, self.order, self.node.high))

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
