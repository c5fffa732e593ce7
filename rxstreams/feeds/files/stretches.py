"""Records of a file that lie one after the other, with their places made only where somebody asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple, overload

if TYPE_CHECKING:
    from rxstreams.brokers.contract import Header

__all__ = ["PIECE", "PLACE", "Bad", "Headers", "Place", "Stretch", "even", "grouped"]

PIECE = 2048
"""Records that go on as one, as many as a run puts through at once."""
PLACE = "rxs.place"
"""The header that says in which file and line a record stood."""


class Place(NamedTuple):
    """A place in a file: how many unpacked bytes (of Parquet: rows) and how many lines lie before it."""

    byte: int = 0
    line: int = 0


class Bad(bytes):
    """A line that is no record, or what is kept of it."""

    problem: str = ""

    @staticmethod
    def of(raw: bytes, problem: str) -> Bad:
        """The line, and what is wrong with it."""
        bad = Bad(raw)
        bad.problem = problem
        return bad


class Stretch:
    """Records, the place behind them all, and a function of the places where each begins; a ``Bad`` one stands alone.

    Attributes:
        layout: What their file says of all of them, if they need it to be decoded.
    """

    def __init__(self, values: Sequence[Any], end: Place, places: Callable[[], Sequence[Place]]) -> None:
        self.values, self.end, self._make = values, end, places
        self.layout: Any = None

    @cached_property
    def places(self) -> Sequence[Place]:
        """Where each record begins."""
        return self._make()

    def after(self, n: int) -> Place:
        """Where to read on after the first ``n``."""
        return self.end if n >= len(self.values) else self.places[n]


def even(lines: Sequence[bytes], begin: Place, end: Place, width: int) -> Iterator[Stretch]:
    """Lines that lie one by one, each with a line end of ``width`` bytes, as stretches."""
    at = begin
    for start in range(0, len(lines), PIECE):
        values = lines[start : start + PIECE]
        last = start + PIECE >= len(lines)
        after = end if last else Place(at.byte + sum(map(len, values)) + width * len(values), at.line + len(values))
        yield Stretch(values, after, partial(_places, values, at, width))
        at = after


def _places(values: Sequence[bytes], at: Place, width: int) -> list[Place]:
    bytes_before = accumulate((len(value) + width for value in values), initial=at.byte)
    return [Place(byte, at.line + i) for i, byte in zip(range(len(values)), bytes_before)]


def grouped(values: Sequence[Any], places: Sequence[Place], end: Place) -> Iterator[Stretch]:
    """Records that lie anyhow, as stretches."""
    start = 0
    for i in range(1, len(values) + 1):
        over = i == len(values) or isinstance(values[i], Bad) or isinstance(values[start], Bad) or i - start == PIECE
        if over:
            here = places[start:i]
            yield Stretch(values[start:i], places[i] if i < len(values) else end, partial(list, here))
            start = i


class Headers(Sequence["tuple[Header, ...]"]):
    """Each record's header, which says in which file and line it stood; made where it is looked at.

    Attributes:
        stretch: Where the records are of.
    """

    def __init__(self, name: str, stretch: Stretch, indexes: range) -> None:
        self.name, self.stretch, self._indexes = name, stretch, indexes

    def __len__(self) -> int:
        return len(self._indexes)

    @overload
    def __getitem__(self, index: int) -> tuple[Header, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> Headers: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Headers(self.name, self.stretch, self._indexes[index])
        line = self.stretch.places[self._indexes[index]].line + 1
        return ((PLACE, f"{self.name}, line {line}".encode()),)
