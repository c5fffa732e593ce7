"""What a join remembers of an input of which it wants one record: each key's records in order of time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Hashable
from operator import attrgetter

from rxstreams.operators.joins.sides import Entry, pack_entries
from rxstreams.operators.stores import PARTS, Steps, Store
from rxstreams.state.codec import StateCodec
from rxstreams.stream import Node
from rxstreams.watermarks import START

__all__ = ["ByTime", "Versions"]

_time = attrgetter("time")


class ByTime(Store):
    """Each key's records in order of time; those of one time in the order in which they came."""

    codec = StateCodec(pack_entries, lambda packed: [Entry(*parts) for parts in packed])
    states: dict[Hashable, list[Entry]]

    def __len__(self) -> int:
        """How many records are kept."""
        return sum(map(len, self.states.values()))

    def add(self, key: Hashable, entry: Entry) -> None:
        """Keep a record."""
        insort(self.states.setdefault(key, []), entry, key=_time)
        self.dirty.add(key)

    def forget(self, key: Hashable, many: int) -> None:
        """Forget the first ``many`` records of a key."""
        del self.states[key][:many]
        if not self.states[key]:
            del self.states[key]
        self.dirty.add(key)


class Versions(ByTime):
    """Records among which one is looked for by time, for as long as somebody may.

    Args:
        node: The join.
        name: Which side it is.
        keep: Milliseconds for which a record is kept: it goes when the watermark has passed its time by more.
        latest: Whether the latest of a key's records stays beyond that, unless its value is None.
    """

    def __init__(self, node: Node, name: str, keep: int, *, latest: bool) -> None:
        super().__init__(node, name)
        self.keep, self.latest = keep, latest
        self.width = max(1, keep // PARTS)
        self.ages = Steps(self.width, set)

    def start(self) -> None:
        for key, held in self.states.items():
            for entry in held:
                self.ages.of(entry.time).add(key)

    def add(self, key: Hashable, entry: Entry) -> None:
        super().add(key, entry)
        self.ages.of(entry.time).add(key)

    def useless(self, key: Hashable, time: int, mark: int) -> bool:
        """Whether nothing can ask for a record of this time any more, when the watermark is ``mark``.

        So late, it must be newer than something that is held: or its key may have been deleted since, and that be forgotten.
        """
        oldest = mark - self.keep
        if time >= oldest:
            return False
        return not self.latest or self.at(key, START, time) is None or self.at(key, time + 1, oldest) is not None

    def at(self, key: Hashable, first: int, last: int) -> Entry | None:
        """The latest record of a time from ``first`` to ``last``."""
        held = self.states.get(key, ())
        i = bisect_right(held, last, key=_time) - 1
        return held[i] if i >= 0 and held[i].time >= first else None

    def between(self, key: Hashable, first: int, last: int) -> list[Entry]:
        """The records of times from ``first`` to ``last``, in order of time."""
        held = self.states.get(key, [])
        return held[bisect_left(held, first, key=_time) : bisect_right(held, last, key=_time)]

    @property
    def next_time(self) -> int:
        """The watermark at which something expires."""
        return self.ages.due(self.keep)

    def expire(self, mark: int) -> None:
        """Forget what nothing asks for any more when the watermark is ``mark``."""
        gone = self.ages.over(mark - self.keep)
        begin = (mark - self.keep) // self.width * self.width
        for key in set().union(*map(self.ages.take, gone)):
            held = self.states[key]
            old = bisect_left(held, begin, key=_time)
            if self.latest and old and held[old - 1].value is not None:
                old -= 1
            if old:
                self.forget(key, old)
