"""Aggregates that keep records, or parts of them: first, last, collect, distinct_count, top, and one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any

from rxstreams.aggregates.accumulators import Accumulator, Aggregate

__all__ = ["Collect", "DistinctCount", "First", "Last", "Of", "Top"]


class First(Aggregate, frozen=True):
    """Whether there was one, and the first value."""

    start = (False, None)

    def step(self, at: int, x: str, bind: Callable[[Any], str]) -> Sequence[str]:
        return [f"c = {x}", f"t{at + 1} = row[{at + 1}] if row[{at}] else c", f"t{at} = True"]

    def shown(self, at: int) -> str:
        return f"t{at + 1}"

    def whole(self, row: Accumulator, at: int, column: Sequence[Any]) -> Sequence[Any]:
        return True, row[at + 1] if row[at] else column[0]

    def merge(self, row: Accumulator, other: Accumulator, at: int) -> None:
        if other[at] and not row[at]:
            row[at : at + 2] = other[at : at + 2]

    def result(self, row: Accumulator, at: int) -> Any:
        return row[at + 1]


class Last(First, frozen=True):
    """Whether there was one, and the last value."""

    def step(self, at: int, x: str, bind: Callable[[Any], str]) -> Sequence[str]:
        return [f"t{at + 1} = {x}", f"t{at} = True"]

    def whole(self, row: Accumulator, at: int, column: Sequence[Any]) -> Sequence[Any]:
        return True, column[-1]

    def merge(self, row: Accumulator, other: Accumulator, at: int) -> None:
        if other[at]:
            row[at : at + 2] = other[at : at + 2]


class Collect(Aggregate, frozen=True, kw_only=True):
    """The first ``max`` values, in a list that grows in place, or None as long as there is none."""

    max: int
    start = (None,)
    in_place = True

    def step(self, at: int, x: str, bind: Callable[[Any], str]) -> Sequence[str]:
        return [f"c{at} = {x}"]

    def store(self, at: int) -> Sequence[str]:
        return [
            f"if row[{at}] is None: row[{at}] = [c{at}]",
            f"elif len(row[{at}]) < {self.max}: row[{at}].append(c{at})",
        ]

    def shown(self, at: int) -> str:
        return f"[*(row[{at}] or ()), c{at}][:{self.max}]"

    def merge(self, row: Accumulator, other: Accumulator, at: int) -> None:
        if other[at]:
            row[at] = [*(row[at] or ()), *other[at]][: self.max]

    def result(self, row: Accumulator, at: int) -> Any:
        return list(row[at] or ())


class DistinctCount(Aggregate, frozen=True):
    """The distinct values, in a set that grows in place, or None as long as there is none."""

    start = (None,)
    in_place = True

    def step(self, at: int, x: str, bind: Callable[[Any], str]) -> Sequence[str]:
        return [f"c{at} = {x}", f"n{at} = 1 if row[{at}] is None else len(row[{at}]) + (c{at} not in row[{at}])", f"hash(c{at})"]

    def store(self, at: int) -> Sequence[str]:
        return [f"if row[{at}] is None: row[{at}] = {{c{at}}}", f"else: row[{at}].add(c{at})"]

    def shown(self, at: int) -> str:
        return f"n{at}"

    def merge(self, row: Accumulator, other: Accumulator, at: int) -> None:
        if other[at]:
            row[at] = (row[at] or set()) | other[at]

    def result(self, row: Accumulator, at: int) -> Any:
        return len(row[at] or ())


class Top(Aggregate, frozen=True, kw_only=True):
    """The ``n`` greatest as (rank, value), greatest first; ``field`` reads both of a record."""

    n: int
    by: Any
    of: Any
    start = ((),)

    def step(self, at: int, x: str, bind: Callable[[Any], str]) -> Sequence[str]:
        return [f"t{at} = {bind(self.insert)}(row[{at}], {x})"]

    def insert(self, best: Sequence[Any], pair: tuple[Any, Any]) -> Sequence[Any]:
        """The greatest with one more; of equal ones the earlier stands first."""
        if len(best) == self.n and not pair[0] > best[-1][0]:
            return best
        at = next((i for i, (rank, _) in enumerate(best) if pair[0] > rank), len(best))
        return (*best[:at], pair, *best[at : self.n - 1])

    def shown(self, at: int) -> str:
        return f"[one[1] for one in t{at}]"

    def whole(self, row: Accumulator, at: int, column: Sequence[Any]) -> Sequence[Any]:
        best = row[at]
        for pair in column:
            best = self.insert(best, pair)
        return (best,)

    def merge(self, row: Accumulator, other: Accumulator, at: int) -> None:
        both = sorted([*row[at], *other[at]], key=itemgetter(0), reverse=True)  # stable: of equal ones ours stay first
        row[at] = tuple(islice(both, self.n))

    def result(self, row: Accumulator, at: int) -> Any:
        return [value for _, value in row[at]]


class Of(Aggregate, frozen=True, kw_only=True):
    """Whether there was a record, and the user's accumulator."""

    init: Callable[[], Any]
    add: Callable[[Any, Any], Any]
    combine: Callable[[Any, Any], Any] | None
    finish: Callable[[Any], Any] | None = None
    start = (False, None)

    def step(self, at: int, x: str, bind: Callable[[Any], str]) -> Sequence[str]:
        lines = [f"t{at + 1} = {bind(self.add)}(row[{at + 1}] if row[{at}] else {bind(self.init)}(), {x})", f"t{at} = True"]
        return lines if self.finish is None else [*lines, f"r{at} = {bind(self.finish)}(t{at + 1})"]

    def shown(self, at: int) -> str:
        return f"t{at + 1}" if self.finish is None else f"r{at}"

    def whole(self, row: Accumulator, at: int, column: Sequence[Any]) -> Sequence[Any]:
        fold = row[at + 1] if row[at] else self.init()
        for x in column:
            fold = self.add(fold, x)
            if self.finish is not None:
                self.finish(fold)  # as a step does, so that what raises raises either way
        return True, fold

    @property
    def mergeable(self) -> bool:
        return self.combine is not None

    def merge(self, row: Accumulator, other: Accumulator, at: int) -> None:
        assert self.combine is not None
        if other[at]:
            row[at : at + 2] = True, self.combine(row[at + 1], other[at + 1]) if row[at] else other[at + 1]

    def result(self, row: Accumulator, at: int) -> Any:
        fold = row[at + 1] if row[at] else self.init()
        return fold if self.finish is None else self.finish(fold)
