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
        self.clock = START
        self.vertex: Vertex

    def tap(self, outlet: Outlet) -> int:
        """A new input, which hands its values to ``outlet``."""
        self.outlets.append(outlet)
        self.ports += 1
        return self.ports - 1

    # From the run into the foreign operators.

    def batch(self, b: Batch, port: int) -> None:
        outlet = self.outlets[port]
        for i, value in enumerate(b.values):
            self.current = i
            outlet.on_next(value)
        self.current = None
        made, self.made = self.made, []
        if made:
            indices = [i for i, _ in made]
            self.send(b.at(indices, [value for _, value in made]))

    def end(self, port: int, at: int | None = None) -> None:
        self.outlets[port].on_completed()

    def watermark(self, mark: int, port: int) -> None:
        """Time does not pass through what is opaque."""

    # From the foreign operators into the run.

    def on_next(self, value: Any) -> None:
        if self.current is not None and self.vertex.graph.in_loop():
            self.made.append((self.current, value))
        else:
            self.vertex.graph.post(lambda: self.send(self.host.fresh((value,), (0,))))

    def on_error(self, error: Exception) -> None:
        self.vertex.graph.post(lambda: self.fail(error))

    def on_completed(self) -> None:
        self.vertex.graph.post(lambda: self.finish())

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
