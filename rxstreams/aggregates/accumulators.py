"""How each aggregate keeps its slots of an accumulator, and the type of the rows that come of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import reduce
from operator import add, attrgetter, itemgetter
from typing import Any, ClassVar

import msgspec

__all__ = ["Accumulator", "Aggregate", "Count", "Field", "Max", "Mean", "Min", "Sum", "row_type"]

Field = str | Callable[[Any], Any] | None
"""A field's name, a function of the value, or None for the value itself."""


def reader(field: str | Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function that reads a field of objects and mappings alike."""
    if not isinstance(field, str):
        return field
    of_mapping, of_object = itemgetter(field), attrgetter(field)
    return lambda value: of_mapping(value) if isinstance(value, dict) else of_object(value)


Accumulator = list[Any]
"""The slots of all aggregates of one operator for one key."""


class Aggregate(msgspec.Struct, frozen=True):
    """A mergeable computation over many values, kept in some slots of an accumulator, from slot ``at`` on.

    It says what one step does as lines of code, from which ``compiled`` makes one loop for all aggregates of an operator: in
    them ``row`` is the accumulator, ``x`` names what was read of the record, and slot ``i``'s new content is assigned to
    ``t{i}``. All lines of ``step`` come before the first of ``store``, which must not raise: so a record changes everything or
    nothing.

    Attributes:
        field: What of a record it reads; None reads the value itself.
        start: The slots of an empty accumulator.
    """

    field: Field = None
    start: ClassVar[tuple[Any, ...]]
    reads: ClassVar[int] = 1
    """How often a step looks at what was read."""
    in_place: ClassVar[bool] = False
    """Whether it changes what is in its slots, which then are not put back as a whole."""

    def __repr__(self) -> str:
        """What defines its state: ``top(amount, n=3)``."""
        name = type(self).__name__
        shown = [_brief(self.field), *(f"{key}={_brief(getattr(self, key))}" for key in self.__struct_fields__ if key != "field")]
        return f"{name[0].lower()}{name[1:]}({', '.join(part for part in shown if part)})"

    def step(self, at: int, x: str, bind: Callable[[Any], str]) -> Sequence[str]:
        """The lines of one step; ``bind`` gives a name in the code to a thing."""
        raise NotImplementedError

    def store(self, at: int) -> Sequence[str]:
        """The lines that put the new content into the slots."""
        return [f"row[{i}] = t{i}" for i in range(at, at + len(self.start))]

    def shown(self, at: int) -> str:
        """The expression of the result, right after a step."""
        return f"t{at}"

    def whole(self, row: Accumulator, at: int, column: Sequence[Any]) -> Sequence[Any]:
        """The slots after a whole column; the same as so many steps."""
        raise NotImplementedError

    def merge(self, row: Accumulator, other: Accumulator, at: int) -> None:
        """Take another accumulator's slots in."""
        raise NotImplementedError

    def merging(self, at: int, bind: Callable[[Any], str]) -> Sequence[str]:
        """The lines of ``merge``."""
        return [f"{bind(self.merge)}(row, other, {at})"]

    @property
    def mergeable(self) -> bool:
        """Whether there is a ``merge``."""
        return True

    def result(self, row: Accumulator, at: int) -> Any:
        """The result so far."""
        return row[at]

    def showing(self, at: int, bind: Callable[[Any], str]) -> str:
        """The expression of ``result``."""
        return f"{bind(self.result)}(row, {at})"


def _brief(part: Any) -> str:
    """How a parameter is shown: functions by their names."""
    if part is None or isinstance(part, str):
        return part or ""
    return getattr(part, "__qualname__", repr(part))


class Count(Aggregate, frozen=True):
    """How many; one number."""

    start = (0,)
    reads = 0

    def step(self, at: int, x: str, bind: Callable[[Any], str]) -> Sequence[str]:
        return [f"t{at} = row[{at}] + 1"]

    def whole(self, row: Accumulator, at: int, column: Sequence[Any]) -> Sequence[Any]:
        return (row[at] + len(column),)

    def merge(self, row: Accumulator, other: Accumulator, at: int) -> None:
        row[at] += other[at]

    def merging(self, at: int, bind: Callable[[Any], str]) -> Sequence[str]:
        return [f"row[{at}] += other[{at}]"]

    def showing(self, at: int, bind: Callable[[Any], str]) -> str:
        return f"row[{at}]"


class Sum(Aggregate, frozen=True):
    """The sum; one number."""

    start = (0,)

    def step(self, at: int, x: str, bind: Callable[[Any], str]) -> Sequence[str]:
        return [f"t{at} = row[{at}] + {x}"]

    def whole(self, row: Accumulator, at: int, column: Sequence[Any]) -> Sequence[Any]:
        # Not `sum`: it compensates floats from Python 3.12 on, and then the cuts of the input would show in the result.
        return (reduce(add, column, row[at]),)

    def merge(self, row: Accumulator, other: Accumulator, at: int) -> None:
        row[at] += other[at]

    def merging(self, at: int, bind: Callable[[Any], str]) -> Sequence[str]:
        return [f"row[{at}] += other[{at}]"]

    def showing(self, at: int, bind: Callable[[Any], str]) -> str:
        return f"row[{at}]"


class Mean(Aggregate, frozen=True):
    """The sum and the count."""

    start = (0, 0)

    def step(self, at: int, x: str, bind: Callable[[Any], str]) -> Sequence[str]:
        # It is divided at once, so that a sum too great for a float fails at the record that made it, not at the commit.
        return [f"t{at} = row[{at}] + {x}", f"t{at + 1} = row[{at + 1}] + 1", f"m{at} = t{at} / t{at + 1}"]

    def shown(self, at: int) -> str:
        return f"m{at}"

    def whole(self, row: Accumulator, at: int, column: Sequence[Any]) -> Sequence[Any]:
        total, n = reduce(add, column, row[at]), row[at + 1] + len(column)
        _ = total / n
        return total, n

    def merge(self, row: Accumulator, other: Accumulator, at: int) -> None:
        row[at] += other[at]
        row[at + 1] += other[at + 1]

    def merging(self, at: int, bind: Callable[[Any], str]) -> Sequence[str]:
        return [f"row[{at}] += other[{at}]; row[{at + 1}] += other[{at + 1}]"]

    def result(self, row: Accumulator, at: int) -> Any:
        return row[at] / row[at + 1] if row[at + 1] else None

    def showing(self, at: int, bind: Callable[[Any], str]) -> str:
        return f"(row[{at}] / row[{at + 1}] if row[{at + 1}] else None)"


class Min(Aggregate, frozen=True):
    """The least value so far, or None."""

    start = (None,)
    reads = 2
    beats: ClassVar[str] = "<"

    def step(self, at: int, x: str, bind: Callable[[Any], str]) -> Sequence[str]:
        return [f"best = row[{at}]", f"t{at} = {x} if best is None or {x} {self.beats} best else best"]

    def whole(self, row: Accumulator, at: int, column: Sequence[Any]) -> Sequence[Any]:
        return (self.best(column if row[at] is None else (row[at], *column)),)

    def best(self, values: Sequence[Any]) -> Any:
        """The first of the best values."""
        return min(values)

    def merge(self, row: Accumulator, other: Accumulator, at: int) -> None:
        if other[at] is not None:
            (row[at],) = self.whole(row, at, (other[at],))

    def showing(self, at: int, bind: Callable[[Any], str]) -> str:
        return f"row[{at}]"


class Max(Min, frozen=True):
    """The greatest value so far, or None."""

    beats = ">"

    def best(self, values: Sequence[Any]) -> Any:
        return max(values)


def row_type(fields: tuple[str, ...]) -> type[msgspec.Struct]:
    """The type of an aggregation's results: a Struct with these fields, one type per list of names.

    It is an attribute of this module, so that a saved result finds its type again without importing anything.
    """
    name = "_Row_" + "_".join(f"{len(field)}{field}" for field in fields)  # ("a_b", "c") is not ("a", "b_c")
    here = sys.modules[__name__]
    if not hasattr(here, name):
        made = msgspec.defstruct(name, list(fields), module=__name__, frozen=True, gc=False, namespace={"__repr__": _show})
        made.__doc__ = f"One result of an aggregation: {', '.join(fields)}."
        setattr(here, name, made)
    return getattr(here, name)  # type: ignore[no-any-return]  # set above


def _show(row: Any) -> str:
    return f"Row({', '.join(f'{name}={getattr(row, name)!r}' for name in row.__struct_fields__)})"
