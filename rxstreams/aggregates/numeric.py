"""Aggregates of numbers that take care of rounding: compensated sums and means, variance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, ClassVar

from rxstreams.aggregates.accumulators import Accumulator, Aggregate

__all__ = ["ExactMean", "ExactSum", "Variance"]


class ExactSum(Aggregate, frozen=True):
    """The sum, and what rounding has taken from it.

    Source: A. Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen", ZAMM 54 (1974).
    """

    start: ClassVar[tuple[Any, ...]] = (0, 0.0)
    reads = 4

    def step(self, at: int, x: str, bind: Callable[[Any], str]) -> Sequence[str]:
        return [
            f"s = row[{at}]",
            f"t{at} = s + {x}",
            f"t{at + 1} = row[{at + 1}] + ((s - t{at}) + {x} if abs(s) >= abs({x}) else ({x} - t{at}) + s)",
            f"e{at} = t{at} + t{at + 1}",
        ]

    def shown(self, at: int) -> str:
        return f"({self._bound(at)})"

    def _bound(self, at: int) -> str:
        # What overflowed, or was no number, has no compensation: inf - inf is none.
        return f"e{at} if e{at} - e{at} == 0 else t{at}"

    def whole(self, row: Accumulator, at: int, column: Sequence[Any]) -> Sequence[Any]:
        total, lost = row[at], row[at + 1]
        for x in column:
            total, lost = _add(total, lost, x)
        return total, lost

    def merge(self, row: Accumulator, other: Accumulator, at: int) -> None:
        row[at], row[at + 1] = _add(row[at], row[at + 1], other[at])
        row[at + 1] += other[at + 1]

    def result(self, row: Accumulator, at: int) -> Any:
        exact = row[at] + row[at + 1]
        return exact if isfinite(exact) else row[at]


def _add(total: Any, lost: Any, x: Any) -> tuple[Any, Any]:
    after = total + x
    return after, lost + ((total - after) + x if abs(total) >= abs(x) else (x - after) + total)


class ExactMean(ExactSum, frozen=True):
    """The sum, what rounding has taken from it, and the count."""

    start = (0, 0.0, 0)

    def step(self, at: int, x: str, bind: Callable[[Any], str]) -> Sequence[str]:
        return [*super().step(at, x, bind), f"t{at + 2} = row[{at + 2}] + 1", f"m{at} = ({self._bound(at)}) / t{at + 2}"]

    def shown(self, at: int) -> str:
        return f"m{at}"

    def whole(self, row: Accumulator, at: int, column: Sequence[Any]) -> Sequence[Any]:
        return *super().whole(row, at, column), row[at + 2] + len(column)

    def merge(self, row: Accumulator, other: Accumulator, at: int) -> None:
        super().merge(row, other, at)
        row[at + 2] += other[at + 2]

    def result(self, row: Accumulator, at: int) -> Any:
        return super().result(row, at) / row[at + 2] if row[at + 2] else None


class Variance(Aggregate, frozen=True):
    """The count, the mean, and the sum of squared distances from it.

    Source: B. P. Welford, "Note on a Method for Calculating Corrected Sums of Squares and Products", Technometrics 4 (1962);
    merging: T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating Formulae and a Pairwise Algorithm", COMPSTAT 1982.
    """

    ddof: int = 1
    start = (0, 0.0, 0.0)
    reads = 2

    def step(self, at: int, x: str, bind: Callable[[Any], str]) -> Sequence[str]:
        return [
            f"t{at} = row[{at}] + 1",
            f"d = {x} - row[{at + 1}]",
            f"t{at + 1} = row[{at + 1}] + d / t{at}",
            f"t{at + 2} = row[{at + 2}] + d * ({x} - t{at + 1})",
        ]

    def shown(self, at: int) -> str:
        return f"(t{at + 2} / (t{at} - {self.ddof}) if t{at} > {self.ddof} else None)"

    def whole(self, row: Accumulator, at: int, column: Sequence[Any]) -> Sequence[Any]:
        n, mean, squares = row[at : at + 3]
        for x in column:
            n += 1
            d = x - mean
            mean += d / n
            squares += d * (x - mean)
        return n, mean, squares

    def merge(self, row: Accumulator, other: Accumulator, at: int) -> None:
        (n, mean, squares), (m, their_mean, their_squares) = row[at : at + 3], other[at : at + 3]
        if m:
            d = their_mean - mean
            row[at : at + 3] = n + m, mean + d * m / (n + m), squares + their_squares + d * d * n * m / (n + m)

    def result(self, row: Accumulator, at: int) -> Any:
        n, _, squares = row[at : at + 3]
        return squares / (n - self.ddof) if n > self.ddof else None
