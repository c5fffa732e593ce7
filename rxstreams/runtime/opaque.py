"""Operators that are not ours inside a run: what goes in is handed over value by value, what comes out is lifted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rxstreams.batch import Batch
from rxstreams.stream import Node, Outlet
from rxstreams.watermarks import START

if TYPE_CHECKING:
    from rxstreams.runtime.vertices import Vertex

__all__ = ["Opaque"]


class Opaque(Node):
    """One chain of foreign operators. Its inputs are the streams that it subscribed to; its state is nobody's to save.

    What comes out while a record goes in was made by that record. What comes out at any other time (a timer, another thread)
    waits for the run's loop, and goes through on its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ports = 0
        self.outlets: list[Outlet] = []
        self.subscription: DisposableBase = Disposable()
        self.current: int | None = None
        self.made: list[tuple[int, Any]] = []
        self.over = False
        self.error: Exception | None = None
        self.clock = START
        self.vertex: Vertex

    def tap(self, outlet: Outlet) -> int:
        """A new input, which hands its values to ``outlet``."""
        self.outlets.append(outlet)
        self.ports += 1
        return self.ports - 1

    def start(self) -> None:
        for port in self.done:
            self.vertex.graph.post(self.outlets[port].on_completed)

    # From the run into the foreign operators.

    def batch(self, b: Batch, port: int) -> None:
        outlet = self.outlets[port]
        for i, value in enumerate(b.values):
            self.current = i
            outlet.on_next(value)
            if self.over:
                break
        made = self.taken()
        if made:
            self.send(b.at([i for i, _ in made], [value for _, value in made]))
        if self.over:
            self.stop(b.order[i] if b.order else None)

    def end(self, port: int, at: float | None = None) -> None:
        self.current = 0
        self.outlets[port].on_completed()
        made = self.taken()
        if made:
            self.send(self.host.fresh([value for _, value in made], [0] * len(made)))
        if self.over:
            self.stop()

    def taken(self) -> list[tuple[int, Any]]:
        """What came out while records went in, and the index of the record that made it."""
        self.current = None
        made, self.made = self.made, []
        return made

    def stop(self, at: float | None = None) -> None:
        """The foreign operators have ended, or failed."""
        if self.error is not None:
            self.fail(self.error)
        self.finish(at)

    def watermark(self, mark: int, port: int) -> None:
        """Time does not pass through what is opaque."""

    # From the foreign operators into the run.

    def take(self, value: Any) -> None:
        if self.at_work():
            self.made.append((self.current or 0, value))
        else:
            self.vertex.graph.post(lambda: self.send(self.host.fresh((value,), (0,))))

    def take_error(self, error: Exception) -> None:
        self.error = error
        self.take_end()

    def take_end(self) -> None:
        if self.at_work():
            self.over = True
        else:
            self.vertex.graph.post(self.stop)

    def at_work(self) -> bool:
        """Whether a record is going in, on this very thread."""
        return self.current is not None and self.vertex.graph.in_loop()

    def send(self, b: Batch) -> None:
        """Pass results on without keys, stamped by the clock where time is read."""
        if not self.host.wants_time:
            self.emit(b.keyed(None))
            return
        now = self.clock = max(self.clock, int(self.host.now() * 1000))
        self.emit(Batch(b.values, [now] * len(b), None, b.order, [now] * len(b)))
        self.forward(now)

    def close(self) -> None:
        self.subscription.dispose()
