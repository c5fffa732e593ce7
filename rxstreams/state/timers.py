"""Event-time timers per key: when an operator wants to be called again although no record came."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Final

from rxstreams.state.keys import encode_key

__all__ = ["NEVER", "Timers"]

NEVER: Final = 2**63 - 1
"""Later than every timer."""


class Timers:
    """The pending timers of one operator, by time and by key; a key has at most one per time.

    They fall due in order of time, then of the key's encoding: the same order whatever the batches, and after a restore.
    """

    __slots__ = ("_at", "_firing", "_heap", "_of")

    def __init__(self) -> None:
        self._at: dict[int, set[Hashable]] = {}
        self._of: dict[Hashable, int | set[int]] = {}  # a set only from the second timer on: most keys have one
        self._heap: list[int] = []  # times; those missing in _at are dead
        self._firing: int = -NEVER

    def __len__(self) -> int:
        """The number of pending timers."""
        return sum(map(len, self._at.values()))

    @property
    def next(self) -> int:
        """The least pending time, or ``NEVER``."""
        return self._heap[0] if self._heap else NEVER

    def set(self, key: Hashable, time: int) -> None:
        """Call back for ``key`` when the watermark reaches ``time`` (ms); once, however often it is set."""
        keys = self._at.get(time)
        if keys is None:
            self._at[time] = {key}
            heappush(self._heap, time)
        elif key in keys:
            return
        else:
            keys.add(key)
        self._remember(key, time)
        if time <= self._firing:
            self._firing = -NEVER  # `due` must look again: this one may come before what it meant to yield next

    def _remember(self, key: Hashable, time: int) -> None:
        times = self._of.get(key)
        if times is None:
            self._of[key] = time
        elif isinstance(times, int):
            self._of[key] = {times, time}
        else:
            times.add(time)

    def clear(self, key: Hashable, time: int) -> None:
        """Forget a timer; nothing happens if it is not set."""
        keys = self._at.get(time)
        if keys is None or key not in keys:
            return
        keys.remove(key)
        if not keys:
            del self._at[time]
            self._sweep()
        times = self._of[key]
        if isinstance(times, set) and len(times) > 1:
            times.remove(time)
        else:
            del self._of[key]

    def _sweep(self) -> None:
        if len(self._heap) > 2 * len(self._at) + 16:
            self._heap = list(self._at)
            heapify(self._heap)
        while self._heap and self._heap[0] not in self._at:
            heappop(self._heap)

    def due(self, watermark: int) -> Iterator[tuple[int, Hashable]]:
        """Every (time, key) with time ≤ ``watermark``, in order; each is forgotten as it is yielded.

        Between two of them timers may be set and cleared: what is set and already due comes in its place. To go on later, keep
        the iterator: a new one sorts the keys of its first time again.
        """
        while self._heap and self._heap[0] <= watermark:
            time = self._firing = self._heap[0]
            for key in sorted(self._at[time], key=encode_key):
                if key in self._at.get(time, ()):
                    self.clear(key, time)
                    yield time, key
                if self._firing != time:
                    break

    def of(self, key: Hashable) -> tuple[int, ...]:
        """The pending times of ``key``, ascending; to be saved with its state."""
        times = self._of.get(key)
        if times is None:
            return ()
        return (times,) if isinstance(times, int) else tuple(sorted(times))

    def restore(self, key: Hashable, times: Iterable[int]) -> None:
        """Set what ``of`` returned."""
        for time in times:
            self.set(key, time)

    def forget(self, key: Hashable) -> None:
        """Clear every timer of ``key``."""
        for time in self.of(key):
            self.clear(key, time)
