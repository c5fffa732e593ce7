"""The records of a side that come out alone, when the watermark shows that no partner can come for them any more."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Hashable
from operator import itemgetter
from typing import Any

from rxstreams.operators.joins.sides import Entry, Side
from rxstreams.operators.stepping import Code
from rxstreams.state.keys import ordered
from rxstreams.stream.loops import Loop
from rxstreams.watermarks import END, START

__all__ = ["Alone", "Group"]

Group = tuple[int, int, list[tuple[Any, Entry]]]
"""What comes out at one watermark: (this watermark, its side, the records, each with what its key stands as in order)."""


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
        self.ready: dict[int, list[tuple[Any, Entry]]] = {}
        """The records of the steps that have been looked through, by the watermark at which they come out."""
        self.dues: list[int] = []
        """These watermarks, in order."""
        self.opened = [START]
        """The time up to which steps have been looked through, where one begins; a list, because a loop reads it."""

    def joining(self, loop: Loop, code: Code) -> list[str]:
        """The statements for an ``entry`` that was just kept."""
        return [
            f"if time < {loop.bind(self.opened)}[0] and not entry.met:",
            f"    {loop.bind(self.add)}(key, entry)",
            f"    due = {code.due}",
        ]

    def add(self, key: Hashable, entry: Entry) -> None:
        """An entry comes into a step that has been looked through."""
        due = entry.time + self.high + 1
        if due not in self.ready:
            self.ready[due] = []
            insort(self.dues, due)
        self.ready[due].append((ordered(key), entry))

    @property
    def next_time(self) -> int:
        """The watermark at which a record may come out."""
        width = self.side.width
        unopened = self.side.ages.since(self.opened[0] // width)
        opens = END if unopened is None else unopened * width + self.high + 1
        return min(self.dues[0], opens) if self.dues else opens

    def open(self, age: int) -> None:
        """Look a step through, which may have very many."""
        side, shift = self.side, self.high + 1
        found: defaultdict[int, list[tuple[Any, Entry]]] = defaultdict(list)
        keys = dict.fromkeys(side.ages[age]) if side.several else side.ages[age]
        for key, held in zip(keys, map(side.states.__getitem__, keys), strict=True):
            stands = key if key.__class__ is str else ordered(key)
            for entry in [one for one in held if one.time // side.width == age] if held.__class__ is list else (held,):
                if not entry.met:
                    found[entry.time + shift].append((stands, entry))
        self.ready.update(found)  # none of these times was there: what is added later comes in steps that are open by then
        self.dues += found
        self.dues.sort()

    def take(self, mark: int) -> list[Group]:
        """The records that come out by ``mark``, if they have met nobody."""
        side, width = self.side, self.side.width
        opens = (mark - self.high - 1) // width + 1  # steps before this one begin with a time for which none can come
        for age in side.ages.between(self.opened[0] // width, opens):
            self.open(age)
        self.opened[0] = max(self.opened[0], opens * width)
        over = bisect_right(self.dues, mark)
        groups = [(due, self.port, self.ready.pop(due)) for due in self.dues[:over]]
        del self.dues[:over]
        for _, _, group in groups:
            group.sort(key=_stands)  # stable: of one key as they came
        return groups


_stands = itemgetter(0)
