"""Results that wait for room: what a watermark makes due at once may be more than the edges below can take."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from rxstreams.batch import Batch
from rxstreams.operators.alarms import Alarmed
from rxstreams.operators.holding import Kept, keep, release
from rxstreams.operators.stores import Store
from rxstreams.state.codec import TAGGED
from rxstreams.stream import UNBOUNDED
from rxstreams.watermarks import START

__all__ = ["Outbox"]


class Outbox(Alarmed):
    """A node that gives its results out as far as there is room below; the rest waits, saved, and it asks for no records.

    The watermark, and the end, wait for the last of them. ``store`` has what waits, by number.
    """

    codec = TAGGED
    absorbs = True

    def __init__(self) -> None:
        super().__init__()
        self.kept: deque[tuple[int, Kept]] = deque()
        self.store = Store(self, "waiting")
        self.number = 0
        self.reached = START
        self.ended = False

    def start(self) -> None:
        self.kept.extend((number, Kept(*self.store.states[number])) for number in sorted(self.store.states))
        self.number = self.kept[-1][0] + 1 if self.kept else 0

    def stores(self) -> Sequence[Any]:
        return (self, self.store)

    @property
    def backlog(self) -> int:
        return len(self.kept)

    def room(self, port: int) -> int:
        return 0 if self.kept else UNBOUNDED

    def give(self, b: Batch) -> None:
        """Pass results on, or keep those that there is no room for."""
        room = 0 if self.kept else self.host.room()
        if room >= len(b):
            self.emit(b)
            return
        for i in range(room, len(b)):
            one = keep(self, b, i)
            self.kept.append((self.number, one))
            self.store.states[self.number] = tuple(one)
            self.store.dirty.add(self.number)
            self.number += 1
        if room > 0:
            self.emit(b.cut(0, room))

    def give_more(self) -> None:
        """Pass on what has room now; the watermark and the end after the last of it."""
        room = min(len(self.kept), self.host.room())
        if room > 0:
            parts = [self.kept.popleft() for _ in range(room)]
            for number, _ in parts:
                del self.store.states[number]
                self.store.dirty.add(number)
            self.emit(release(self, [one for _, one in parts]))
        if not self.kept:
            self.tell(self.reached)
            if self.ended:
                self.finish()

    def tell(self, mark: int) -> None:
        """Pass the watermark on, when nothing waits that came before it."""
        self.reached = max(self.reached, mark)
        if not self.kept and self.reached > START:
            self.forward(self.reached)

    def stop(self, at: float | None = None) -> None:
        """End the output, when nothing waits."""
        self.ended = True
        if not self.kept:
            self.finish(at)
