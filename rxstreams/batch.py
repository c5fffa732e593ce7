"""Batch: what travels on the edges between operators, parallel columns of consecutive records."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import compress
from operator import itemgetter
from typing import Any, TypeVar

__all__ = ["Batch", "concat"]

Column = TypeVar("Column", bound="Sequence[Any] | None")


class Batch:
    """Consecutive records as parallel columns; never changed once passed on, because branches share it.

    A column that nobody downstream reads is None. Operators derive a batch from the one they got (``of``, ``where``, ``cut``,
    ``at``), so that every column goes along; they never build one from scratch.

    Attributes:
        values: What the user's functions see.
        times: Event times, integer milliseconds since the epoch.
        keys: Internal keys (see ``rxstreams.state.keys``); None until the stream is keyed.
        order: Position of the source record that each value came from, within the push that brought it; what a timer or an end
            made between two records stands halfway between them. Branches that meet again are sorted by it, and dead letters
            find their original bytes by it.
        marks: The watermark before each record (after the last one it comes on its own), so that a record may be left out and
            timers still fire between the same records, however the input is cut into batches.
    """

    __slots__ = ("keys", "marks", "order", "times", "values")

    def __init__(
        self,
        values: Sequence[Any],
        times: Sequence[int] | None = None,
        keys: Sequence[Hashable] | None = None,
        order: Sequence[float] | None = None,
        marks: Sequence[int] | None = None,
    ) -> None:
        self.values = values
        self.times = times
        self.keys = keys
        self.order = order
        self.marks = marks

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        columns = [name for name in ("times", "keys", "order", "marks") if getattr(self, name) is not None]
        return f"Batch({list(self.values)!r}{', with ' + ', '.join(columns) if columns else ''})"

    def of(self, values: Sequence[Any]) -> Batch:
        """The same records with other values, one for one."""
        return Batch(values, self.times, self.keys, self.order, self.marks)

    def where(self, mask: Sequence[Any]) -> Batch:
        """The records whose mask is true."""
        if len(mask) == 1 and mask[0]:
            return self
        times, keys, order, marks = self.times, self.keys, self.order, self.marks
        return Batch(
            list(compress(self.values, mask)),
            times and list(compress(times, mask)),
            keys and list(compress(keys, mask)),
            order and list(compress(order, mask)),
            marks and list(compress(marks, mask)),
        )

    def cut(self, start: int, stop: int | None = None) -> Batch:
        """The records from ``start`` up to ``stop``."""
        part = slice(start, stop)
        times, keys, order, marks = self.times, self.keys, self.order, self.marks
        return Batch(self.values[part], times and times[part], keys and keys[part], order and order[part], marks and marks[part])

    def at(self, indices: Sequence[int], values: Sequence[Any]) -> Batch:
        """``values``, each made by the record at the index beside it (an index may come never, or often)."""
        return Batch(
            values, _pick(self.times, indices), _pick(self.keys, indices), _pick(self.order, indices), _pick(self.marks, indices)
        )

    def keyed(self, keys: Sequence[Hashable] | None) -> Batch:
        """The same records under other keys."""
        return Batch(self.values, self.times, keys, self.order, self.marks)

    def timed(self, times: Sequence[int] | None) -> Batch:
        """The same records with other event times."""
        return Batch(self.values, times, self.keys, self.order, self.marks)

    def ordered(self, order: Sequence[float] | None) -> Batch:
        """The same records with other order numbers."""
        return Batch(self.values, self.times, self.keys, order, self.marks)

    def marked(self, marks: Sequence[int] | None) -> Batch:
        """The same records with other watermarks before them."""
        return Batch(self.values, self.times, self.keys, self.order, marks)


def _pick(column: Sequence[Any] | None, indices: Sequence[int]) -> Sequence[Any] | None:
    if column is None:
        return None
    if len(indices) < 2:
        return [column[i] for i in indices]
    return itemgetter(*indices)(column)  # type: ignore[no-any-return]  # a tuple, because there are at least two


def concat(batches: Iterable[Batch]) -> Batch:
    """All records in one batch; a column that one of them lacks is left out."""
    parts = list(batches)
    if len(parts) == 1:
        return parts[0]

    def column(name: str) -> list[Any] | None:
        columns = [getattr(part, name) for part in parts]
        return None if any(c is None for c in columns) else [x for c in columns for x in c]

    return Batch([x for part in parts for x in part.values], column("times"), column("keys"), column("order"), column("marks"))
