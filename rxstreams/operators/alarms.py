"""What operators with timers share: where time is the clock's, it comes to a timer although no record does."""

from __future__ import annotations

from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rxstreams.stream import Node
from rxstreams.watermarks import END

__all__ = ["Alarmed"]


class Alarmed(Node):
    """A node with timers; after each record and watermark it says ``wait``."""

    has_timers = True

    def __init__(self) -> None:
        super().__init__()
        self.awaited = END
        self.alarm: DisposableBase = Disposable()

    def wait(self) -> None:
        """Have the watermark come to the next timer when the clock does, in a stream whose values bring no time of their own."""
        due = self.next_time
        if self.host.clocked and due not in (self.awaited, END):
            self.awaited = due
            self.alarm.dispose()
            self.alarm = self.host.later(max(0.0, due / 1000 - self.host.now()), lambda: self.clock_came_to(due))

    def clock_came_to(self, due: int) -> None:
        """The clock has come to a timer."""
        self.watermark(due, 0)

    def close(self) -> None:
        self.alarm.dispose()
