"""Running aggregates per key: aggregate."""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from operator import length_hint
from types import MappingProxyType
from typing import Any, TypeVar

from reactivex import Observable

from rxstreams.aggregates.accumulators import Aggregate, row_type
from rxstreams.aggregates.compiled import step_lines, stepper, wholly
from rxstreams.batch import Batch
from rxstreams.errors import Policy, StateCodecError, check_policy
from rxstreams.operators.arguments import check_aggregates, check_name, column_of
from rxstreams.state.codec import TAGGED
from rxstreams.state.keys import original
from rxstreams.stream import LOST, Node, Operation, Stream, operator
from rxstreams.stream.loops import Loop

__all__ = ["aggregate"]

A = TypeVar("A", bound=Any)
B = TypeVar("B")


def aggregate(
    *, name: str | None = None, on_error: Policy | None = None, **aggregates: Aggregate
) -> Callable[[Observable[Any]], Stream[Any]]:
    """Keep running aggregates per key, and emit their results for each record.

        orders   -1--2--3-|
                 [ aggregate(n=agg.count(), total=agg.sum(lambda x: x)) ]
        result   -a--b--c-|          a=(n=1, total=1) b=(n=2, total=3) c=(n=3, total=6)

    Shape: A → a row with the field ``key`` and one field per aggregate, one for one, in order; unkeyed is one key, None. Before
    ``to_view`` a row is built per key and commit only, because a view takes no more.
    Time: each record's own.
    Holds: one accumulator per key, for ever; saved in a run.
    Bounded by: the number of keys, and what the aggregates hold for each.
    Ends: with its input; an exception ends a subscription, and meets ``on_error`` in a run (the aggregates stay as they were).
    Names: RxJS —, RxPY —, Kafka Streams ``aggregate``

    Args:
        name: The operator's identity for saved state.
        on_error: What happens to a record that an aggregate cannot take in; None is the run's policy.
        aggregates: What to compute, by the name of the result's field.

    Raises:
        ConfigError: If there are none, or one is named ``key``.
    """
    check_aggregates("aggregate", aggregates, {"key"})
    check_policy("aggregate", on_error, waits=False)
    check_name("aggregate(name)", name)
    parameters: dict[str, Any] = {label: repr(one) for label, one in aggregates.items()}
    make = lambda: RunningAggregate(aggregates, on_error)  # noqa: E731  # a value among values
    return operator(
        Operation(
            "aggregate", make, MappingProxyType(parameters), name, defines=tuple(parameters), stateful=True, sides=("errors",)
        )
    )


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
        elif any(one.in_place for one, _ in self.slots):
            loop.before += ["row = None"]
            loop.lines += [f"if row is None: row = {loop.bind(self.touch)}(None)", *compute, *store]
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
        if any(one.in_place for one, _ in self.slots):
            return False
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
