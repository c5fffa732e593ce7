"""What waits for time: events that are taken in order of time, and keys that something is to be done for."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import chain, count
from typing import Any

from rxstreams.operators.stores import Store
from rxstreams.state.codec import StateCodec, pack
from rxstreams.state.keys import internal, ordered, original
from rxstreams.stream import Node
from rxstreams.stream.loops import Loop
from rxstreams.watermarks import END

__all__ = ["Agenda", "Waiting"]

Event = tuple[int, Hashable, int, Any]
"""An event that waits: its time, its key, what holds for it, and itself."""
PLACES = 40
"""Bits of the number that says in what order events of one time came."""
MASK = (1 << PLACES) - 1


def _pack_event(event: Event) -> Any:
    time, key, holds, value = event
    return pack([time, original(key), holds, value])


def _event(saved: list[Any]) -> Event:
    time, key, holds, value = saved
    return time, internal(key), holds, value


class Waiting(Store):
    """Events that the watermark has not passed, by place: their time, and in the lower bits a number in order of arrival.

    What comes and goes between two commits costs these nothing.

    Attributes:
        heap: The places, the first one first.
        number: Makes the next number.
        saved: That of the last event which the last commit has seen, or of an earlier one.
    """

    codec = StateCodec(_pack_event, _event)

    def __init__(self, node: Node) -> None:
        super().__init__(node, "waiting events")
        self.heap: list[int] = []
        self.saved = -1
        self.number = chain.from_iterable(count(self.saved + 1) for _ in (0,))  # asked when the first is: what is saved is known

    def start(self) -> None:
        self.heap += sorted(self.states)  # the same list, as loops know it
        self.saved = max((place & MASK for place in self.states), default=-1)

    @property
    def next_time(self) -> int:
        """The watermark that passes an event."""
        return (self.heap[0] >> PLACES) + 1 if self.heap else END

    def adding(self, loop: Loop) -> list[str]:
        """The statements for one more event: ``value``, with ``key``, ``time`` and ``holds``."""
        number, states, push = loop.bind(self.number.__next__), loop.bind(self.states), loop.bind(heappush)
        return [
            f"place = time << {PLACES} | {number}()",
            f"{states}[place] = time, key, holds, value",
            f"{push}({loop.bind(self.heap)}, place)",
        ]

    def taken(self, mark: int) -> Iterator[Event]:
        """Take out the events that the watermark has passed, in order of time; of one time in the order of the keys' encodings,
        of one key as they came.
        """
        heap, limit = self.heap, mark << PLACES
        while heap and heap[0] < limit:
            last = heap[0] | MASK
            event = self.pop()
            if not heap or heap[0] > last:
                yield event
                continue
            same = [event]
            while heap and heap[0] <= last:
                same.append(self.pop())
            yield from sorted(same, key=lambda event: ordered(event[1]))
        if not heap:
            self.states.clear()  # gives back what many events took

    def pop(self) -> Event:
        """Take out the first event."""
        place = heappop(self.heap)
        if place & MASK <= self.saved:
            self.dirty.add(place)
        event: Event = self.states.pop(place)
        return event

    def settle(self) -> None:
        for place in reversed(self.states):
            if place & MASK <= self.saved:
                break
            self.dirty.add(place)
        # Restored entries stand in any order, so the last of them says nothing.
        self.saved = max(self.saved, next((place & MASK for place in reversed(self.states)), -1))


class Agenda:
    """Keys that something is to be done for, by when.

    Attributes:
        keys: By time, in no order, and perhaps more than once.
        times: A heap of the times.
    """

    def __init__(self) -> None:
        self.keys: dict[int, list[Hashable]] = {}
        self.times: list[int] = []

    def __len__(self) -> int:
        return sum(map(len, self.keys.values()))

    def add(self, time: int, key: Hashable) -> None:
        """Something is to be done for a key."""
        keys = self.keys.get(time)
        if keys is None:
            self.keys[time] = [key]
            heappush(self.times, time)
        else:
            keys.append(key)

    def take(self) -> Sequence[Hashable]:
        """The keys of the first time, each once, in the order of their encodings."""
        keys = self.keys.pop(heappop(self.times))
        return keys if len(keys) == 1 else sorted(set(keys), key=ordered)
