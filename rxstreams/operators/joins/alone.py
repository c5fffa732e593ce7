"""The records of a side that come out alone, when the watermark shows that no partner can come for them any more."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Hashable, Sequence
from itertools import count
from operator import itemgetter
from typing import Any

from rxstreams.operators.joins.sides import Entry, Side
from rxstreams.operators.stepping import Code
from rxstreams.state.keys import Ordered, ordered
from rxstreams.stream.loops import Loop
from rxstreams.watermarks import END, START

__all__ = ["Alone", "Row", "keys_of"]

Row = tuple[int, int, Any, int, Entry]
"""A record that comes out at a watermark: (this watermark, its side, what its key stands as in order, its number, itself)."""


class Alone:
    """Finds a side's records without a partner, in order of time, of one time in the order of the keys' encodings.

    Its steps are looked through when the watermark comes to them, and sorted then: a record that meets its partner before that,
    as most do, has cost nothing, and one that waits holds no memory but its entry.

    Args:
        side: The records.
        port: Which side it is.
        high: Milliseconds by which a partner's time may be after a record's.
    """

    def __init__(self, side: Side, port: int, high: int) -> None:
        self.side, self.port, self.high = side, port, high
        self.ready: list[Row] = []
        self.opened = [START]
        """The time up to which steps have been looked through, where one begins; a list, because a loop reads it."""
        self.numbers = count()

    def joining(self, loop: Loop, code: Code) -> list[str]:
        """The statements for an ``entry`` that was just kept."""
        return [
            f"if time < {loop.bind(self.opened)}[0] and not entry.met:",
            f"    {loop.bind(self.add)}(key, entry)",
            f"    due = {code.due}",
        ]

    def row(self, key: Hashable, entry: Entry) -> Row:
        """An entry, as it waits in order."""
        return entry.time + self.high + 1, self.port, ordered(key), next(self.numbers), entry

    def add(self, key: Hashable, entry: Entry) -> None:
        """An entry comes into a step that has been looked through."""
        insort(self.ready, self.row(key, entry))

    @property
    def next_time(self) -> int:
        """The watermark at which a record may come out."""
        width = self.side.width
        unopened = self.side.ages.since(self.opened[0] // width)
        opens = END if unopened is None else unopened * width + self.high + 1
        return min(self.ready[0][0], opens) if self.ready else opens

    def open(self, age: int) -> None:
        """Look a step through."""
        side, shift, port = self.side, self.high + 1, self.port
        keys, add, numbers = dict.fromkeys(side.ages[age]), self.ready.append, self.numbers
        for key, held in zip(keys, map(side.states.__getitem__, keys), strict=True):
            if held.__class__ is not list:
                if not held.met:
                    stands = key if key.__class__ is str else ordered(key)
                    add((held.time + shift, port, stands, next(numbers), held))
            else:
                for entry in held:
                    if not entry.met and entry.time // side.width == age:
                        add(self.row(key, entry))

    def take(self, mark: int) -> list[Row]:
        """The records that come out by ``mark``."""
        side, width = self.side, self.side.width
        opens = (mark - self.high - 1) // width + 1  # steps before this one begin with a time for which none can come
        for age in side.ages.between(self.opened[0] // width, opens):
            self.open(age)
        self.opened[0] = max(self.opened[0], opens * width)
        self.ready.sort()
        due = bisect_right(self.ready, mark, key=itemgetter(0))
        rows = [row for row in self.ready[:due] if not row[4].met]
        del self.ready[:due]
        return rows


def keys_of(rows: Sequence[Row]) -> list[Hashable]:
    """The internal keys of records that come out."""
    return [row[2].key if row[2].__class__ is Ordered else row[2] for row in rows]
