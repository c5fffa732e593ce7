"""Rows: the accumulators of all aggregates of one window and key, and what is done with them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from rxstreams.aggregates.accumulators import Aggregate
from rxstreams.aggregates.compiled import Slots, step_lines
from rxstreams.errors import ConfigError
from rxstreams.state.codec import TAGGED
from rxstreams.state.keys import Tagged, original
from rxstreams.stream.loops import Loop, define, indented
from rxstreams.windows import Pane, windowed_type

__all__ = ["Row", "Rows"]

Row = list[Any]


class Rows:
    """What an operator's windows aggregate, as functions on rows.

    Args:
        aggregates: By the name of the result's field.
        head: How many other things stand in a row before the aggregates' slots.
    """

    def __init__(self, aggregates: Mapping[str, Aggregate], *, head: int = 0) -> None:
        self.aggregates = aggregates
        self.type = windowed_type(tuple(aggregates))
        slots: list[tuple[Aggregate, int]] = []
        self.empty: Row = []
        for one in aggregates.values():
            slots.append((one, head + len(self.empty)))
            self.empty += one.start
        self.slots: Slots = slots
        self.savable: set[type] = {int, float, str, type(None), bool}
        self._steps: dict[bool, Callable[[Row, Any], None]] = {}

    def check_mergeable(self, where: str, why: str) -> None:
        """Raise ConfigError if an aggregate cannot be merged."""
        for label, one in self.aggregates.items():
            if not one.mergeable:
                raise ConfigError(f"{where}({label}): {why}, and {one!r} has no merge; give agg.of(…) one")

    def check_savable(self, row: Row) -> None:
        """Raise StateCodecError at a record that made a row which no commit can save; a look at one row of a kind."""
        kinds = set(map(type, row))
        if not kinds <= self.savable:
            TAGGED.check(row)
            self.savable |= kinds

    def step(self, row: Row, value: Any) -> None:
        """Take a record in: all aggregates change, or, if something raises, none."""
        mapping = isinstance(value, dict)
        if mapping not in self._steps:
            loop = Loop(mapping=mapping)
            compute, store = step_lines(self.slots, loop)
            code = f"def step(row, value):\n{indented(compute, 1)}\n{indented(store, 1)}"
            self._steps[mapping] = define("step", code, loop.names)
        self._steps[mapping](row, value)

    @cached_property
    def merge(self) -> Callable[[Row, Row], None]:
        """Take another row in, whose records come after ours."""
        loop = Loop(mapping=None)
        lines = [line for one, at in self.slots for line in one.merging(at, loop.bind)]
        return define("merge", f"def merge(row, other):\n{indented(lines, 1)}", loop.names)  # type: ignore[no-any-return]

    @cached_property
    def merge_all(self) -> Callable[[dict[Hashable, Row], Mapping[Hashable, Row]], None]:
        """Take every key's row of a pane in; what is taken is not changed by what follows."""
        loop = Loop(mapping=None)
        lines = [line for one, at in self.slots for line in one.merging(at, loop.bind)]
        code = f"""
def merge_all(merged, pane):
    for key, other in pane.items():
        row = merged.get(key)
        if row is None:
            merged[key] = other.copy()
        else:
{indented(lines, 3)}
"""
        return define("merge_all", code, loop.names)  # type: ignore[no-any-return]

    @cached_property
    def _results(self) -> Callable[[Iterable[tuple[Any, Row]], int, int, Pane], list[Any]]:
        loop = Loop(mapping=None)
        shown = ", ".join(one.showing(at, loop.bind) for one, at in self.slots)
        made = f"{loop.bind(self.type)}(key, start, end, pane, {shown})"
        code = f"def results(rows, start, end, pane):\n    return [{made} for key, row in rows]"
        return define("results", code, loop.names)  # type: ignore[no-any-return]

    def results(self, rows: Mapping[Hashable, Row], start: int, end: int, pane: Pane) -> list[Any]:
        """A window's results, in the order of the rows, which are by internal key."""
        if Tagged in set(map(type, rows)):
            return self._results(((original(key), row) for key, row in rows.items()), start, end, pane)
        return self._results(rows.items(), start, end, pane)

    @cached_property
    def _spans(self) -> Callable[[Iterable[tuple[Any, Row]], Pane], list[Any]]:
        loop = Loop(mapping=None)
        shown = ", ".join(one.showing(at, loop.bind) for one, at in self.slots)
        made = f"{loop.bind(self.type)}(key, row[0], row[1], pane, {shown})"
        code = f"def spans(rows, pane):\n    return [{made} for key, row in rows]"
        return define("spans", code, loop.names)  # type: ignore[no-any-return]

    def spans(self, keys: Sequence[Hashable], rows: Sequence[Row], pane: Pane) -> list[Any]:
        """The results of rows that have their window's bounds at their head."""
        users = map(original, keys) if Tagged in set(map(type, keys)) else keys
        return self._spans(zip(users, rows), pane)

    def result(self, key: Any, row: Row, start: int, end: int, pane: Pane) -> Any:
        """One result, of the user's key."""
        return self._results(((key, row),), start, end, pane)[0]
