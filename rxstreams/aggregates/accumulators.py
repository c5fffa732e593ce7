"""How each aggregate keeps its slots of an accumulator, in loops over whole columns, and the type of the rows that come of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import repeat
from operator import add, gt, lt
from typing import Any, ClassVar

import msgspec

__all__ = ["Accumulator", "Aggregate", "Count", "Field", "Max", "Mean", "Min", "Sum", "row_type"]

Field = str | Callable[[Any], Any]
"""A field's name, or a function of the value."""

Accumulator = list[Any]
"""The slots of all aggregates of one operator for one key: numbers, texts or None, so that state is encoded without a detour."""

_NUMBERS = frozenset({int, float})


@dataclass(frozen=True)
class Aggregate:
    """A mergeable computation over many values, kept in some slots of an accumulator, from slot ``at`` on.

    Attributes:
        field: What of a record it reads; None reads nothing.
        start: The slots of an empty accumulator.
        takes: The types that ``step`` surely handles; a batch with others is taken in record by record, each undone if it fails.
    """

    field: Field | None = None
    start: ClassVar[tuple[Any, ...]]
    takes: ClassVar[frozenset[type]] = _NUMBERS

    def __repr__(self) -> str:
        field = self.field if isinstance(self.field, str) else getattr(self.field, "__qualname__", "")
        return f"{type(self).__name__.lower()}({field})"

    def step(self, rows: Iterable[Accumulator], at: int, column: Sequence[Any]) -> None:
        """Take in one value per accumulator: ``column[i]`` into ``rows[i]``."""
        raise NotImplementedError

    def whole(self, row: Accumulator, at: int, column: Sequence[Any]) -> None:
        """Take a whole column into one accumulator; the same as so many steps."""
        self.step(repeat(row, len(column)), at, column)

    def running(self, rows: Sequence[Accumulator], at: int, column: Sequence[Any]) -> list[Any]:
        """Take in one value per accumulator, and tell the result after each."""
        results = []
        for row, value in zip(rows, column, strict=True):
            self.step((row,), at, (value,))
            results.append(self.result(row, at))
        return results

    def merge(self, row: Accumulator, other: Accumulator, at: int) -> None:
        """Take another accumulator's slots in."""
        raise NotImplementedError

    def result(self, row: Accumulator, at: int) -> Any:
        """The result so far."""
        return row[at]


class Count(Aggregate):
    start = (0,)

    def step(self, rows: Iterable[Accumulator], at: int, column: Sequence[Any]) -> None:
        for row in rows:
            row[at] += 1

    def whole(self, row: Accumulator, at: int, column: Sequence[Any]) -> None:
        row[at] += len(column)

    def running(self, rows: Sequence[Accumulator], at: int, column: Sequence[Any]) -> list[Any]:
        results = []
        for row in rows:
            row[at] = n = row[at] + 1
            results.append(n)
        return results

    def merge(self, row: Accumulator, other: Accumulator, at: int) -> None:
        row[at] += other[at]


class Sum(Aggregate):
    start = (0,)

    def step(self, rows: Iterable[Accumulator], at: int, column: Sequence[Any]) -> None:
        for row, value in zip(rows, column, strict=False):  # strict would look for the end of `rows`, which may be endless
            row[at] += value

    def whole(self, row: Accumulator, at: int, column: Sequence[Any]) -> None:
        # Not `sum`: it compensates floats from Python 3.12 on, and then the cuts of the input would show in the result.
        row[at] = reduce(add, column, row[at])

    def running(self, rows: Sequence[Accumulator], at: int, column: Sequence[Any]) -> list[Any]:
        results = []
        for row, value in zip(rows, column, strict=True):
            row[at] = total = row[at] + value
            results.append(total)
        return results

    def merge(self, row: Accumulator, other: Accumulator, at: int) -> None:
        row[at] += other[at]


class Mean(Aggregate):
    start = (0, 0)

    def step(self, rows: Iterable[Accumulator], at: int, column: Sequence[Any]) -> None:
        n = at + 1
        for row, value in zip(rows, column, strict=False):
            row[at] += value
            row[n] += 1

    def whole(self, row: Accumulator, at: int, column: Sequence[Any]) -> None:
        row[at] = reduce(add, column, row[at])
        row[at + 1] += len(column)

    def merge(self, row: Accumulator, other: Accumulator, at: int) -> None:
        row[at] += other[at]
        row[at + 1] += other[at + 1]

    def result(self, row: Accumulator, at: int) -> Any:
        return row[at] / row[at + 1] if row[at + 1] else None


class Extreme(Aggregate):
    start = (None,)
    beats: ClassVar[Callable[[Any, Any], bool]]

    def step(self, rows: Iterable[Accumulator], at: int, column: Sequence[Any]) -> None:
        beats = self.beats
        for row, value in zip(rows, column, strict=False):
            best = row[at]
            if best is None or beats(value, best):
                row[at] = value

    def merge(self, row: Accumulator, other: Accumulator, at: int) -> None:
        if other[at] is not None:
            self.step((row,), at, (other[at],))


class Min(Extreme):
    beats = staticmethod(lt)


class Max(Extreme):
    beats = staticmethod(gt)


def row_type(fields: tuple[str, ...]) -> type[msgspec.Struct]:
    """The type of an aggregation's results: a Struct with these fields, one type per list of names.

    It is an attribute of this module, so that a saved result finds its type again without importing anything.
    """
    name = "_Row_" + "_".join(fields)
    here = sys.modules[__name__]
    if not hasattr(here, name):
        made = msgspec.defstruct(name, list(fields), module=__name__, frozen=True, gc=False)
        made.__doc__ = f"One result of an aggregation: {', '.join(fields)}."
        setattr(here, name, made)
    return getattr(here, name)  # type: ignore[no-any-return]  # set above
