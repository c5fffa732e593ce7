"""A run's graph, state and checkpoints without a run: pushed, committed and crashed by hand, on a clock of its own."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

from rxstreams.batch import Batch
from rxstreams.brokers.contract import Record
from rxstreams.errors import Policy, Stop
from rxstreams.feeds.source import Chunk, Source
from rxstreams.operators.sinks import ToView, ViewSink
from rxstreams.runtime.checkpoints import Checkpoints
from rxstreams.runtime.graph import Graph
from rxstreams.runtime.position import Position
from rxstreams.runtime.topology import topology_of
from rxstreams.runtime.vertices import Vertex
from rxstreams.state.keys import original
from rxstreams.stream import Node, Operation, Stream, operator

__all__ = ["Clock", "Driver"]


class Clock:
    """Time that passes when told to, and the actions that wait for it.

    Args:
        now: Seconds since the epoch.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self.waiting: list[tuple[float, int, Callable[[], None]]] = []
        self.numbers = itertools.count()

    def later(self, seconds: float, action: Callable[[], None]) -> Handle:
        """Have ``action`` done after some seconds, as ``loop.call_later`` does."""
        entry = (self.now + seconds, next(self.numbers), action)
        heapq.heappush(self.waiting, entry)
        return Handle(self, entry)

    def advance(self, seconds: float, after: Callable[[], None]) -> None:
        """Let time pass; call ``after`` whenever something was due."""
        until = self.now + seconds
        while self.waiting and self.waiting[0][0] <= until:
            self.now, _, action = heapq.heappop(self.waiting)
            action()
            after()
        self.now = until


class Handle:
    """What takes an action back."""

    def __init__(self, clock: Clock, entry: tuple[float, int, Callable[[], None]]) -> None:
        self.clock, self.entry = clock, entry

    def cancel(self) -> None:
        """Do not do it."""
        if self.entry in self.clock.waiting:
            self.clock.waiting.remove(self.entry)
            heapq.heapify(self.clock.waiting)


class Collect(Node):
    """Writes down what comes: (value, event time, key), and when by the clock."""

    def __init__(self, driver: Driver, index: int, *, timed: bool) -> None:
        super().__init__()
        self.driver, self.index = driver, index
        self.into, self.moments = driver.results[index], driver.moments[index]
        self.needs_time = timed  # type: ignore[misc]  # of one node, here

    def batch(self, b: Batch, port: int) -> None:
        """Write down."""
        n = len(b)
        times = b.times if b.times and self.needs_time else [None] * n
        self.into.extend(zip(b.values, times, b.keys or ["unkeyed"] * n, strict=True))
        self.moments.extend([self.driver.clock.now] * n)
        self.emit(b)

    def end(self, port: int, at: float | None = None) -> None:
        """Write down when it ended."""
        self.driver.ends[self.index] = self.driver.clock.now
        self.finish(at)


class Driver:
    """One pipeline, its saved state, and the graph that is at work now.

    Args:
        streams: What to collect the results of.
        timed: Whether event times are asked for downstream.
        policy: What happens to failing records where an operator does not say.
        start: Where the clock begins, in seconds since the epoch.
        key_groups: Into how many groups saved state is cut.

    Attributes:
        results: For each of the streams (views left out), what came out: (value, event time, internal key).
        moments: For each of these, when it came by the clock.
        ends: For each of the streams, when it ended; None where it has not.
        outputs: Records that were committed to topics.
        lost: What was let go, as messages.
        table: The saved state, as the rows of a broker's table.
    """

    def __init__(
        self,
        *streams: Stream[Any],
        timed: bool = True,
        policy: Policy = Stop(),
        start: float = 0.0,
        key_groups: int = 4,
    ) -> None:
        self.policy, self.key_groups, self.clock = policy, key_groups, Clock(start)
        self.results: list[list[Any]] = []
        self.moments: list[list[float]] = []
        self.ends: list[float | None] = []
        self.watched: list[Stream[Any]] = []
        self.streams = [self._collected(stream, timed=timed) for stream in streams]
        self.table: dict[bytes, bytes] = {}
        self.outputs: dict[str, list[Record]] = {}
        self.views: dict[str, dict[Any, Any]] = {}
        self.lost: list[str] = []
        self.epoch = self.puts = 0
        self.remember()
        self.begin()

    def _collected(self, stream: Stream[Any], *, timed: bool) -> Stream[Any]:
        """The stream, its results written down; a view at the end is one already."""
        if stream.operation.kind == "to_view":
            return stream
        index = len(self.results)
        self.results.append([])
        self.moments.append([])
        self.ends.append(None)
        self.watched.append(stream)
        return operator(Operation("collect", lambda: Collect(self, index, timed=timed)))(stream)

    def begin(self) -> None:
        """Make a new graph, and restore what was committed."""
        self.clock.waiting.clear()
        self.graph = Graph(
            self.streams,
            policy=self.policy,
            clock=lambda: self.clock.now,
            timer=self.clock.later,
            on_lost=lambda failure, policy: self.lost.append(str(failure.error)),
        )
        self.graph.woken = self._wake
        self.sources: dict[str, Vertex] = {vertex.identity: vertex for vertex in self.graph.sources}
        self.checkpoints = Checkpoints(self.graph.stores, table="state", key_groups=self.key_groups)
        position = self.checkpoints.restore(list(self.table.items()))
        closed: list[str] = []
        if position is not None:
            closed = list(position.clock["closed"])
            for name in self.sources:
                self.source(name).times.restore({p: mark for source, _, p, mark in position.watermarks if source == name})
        self.graph.start(closed)
        for vertex in self.graph.sources:
            if vertex.wants_time:
                vertex.forward(self.source(vertex.identity).times.now)
        self.graph.settle()
        self.go_on()

    def source(self, identity: str) -> Source:
        """A source's node."""
        node = self.sources[identity].node
        assert isinstance(node, Source)
        return node

    def go_on(self) -> None:
        """Carry out what was asked for, and what that makes room for, as a run does before it sleeps."""
        self.woken = True
        while self.woken:
            self.woken = False
            self.graph.run_posted()

    def _wake(self) -> None:
        self.woken = True

    def push(self, identity: str, chunk: Chunk) -> None:
        """Put consecutive records of one partition through the graph."""
        if not self.sources[identity].closed:
            self.graph.push(self.sources[identity], chunk)
        self.go_on()

    def finish(self, identity: str) -> None:
        """End a source."""
        if not self.sources[identity].closed:
            self.graph.finish_source(self.sources[identity])
        self.go_on()

    def remember(self) -> None:
        """Note what is committed beside the state."""
        self._committed = (
            [len(one) for one in self.results],
            {topic: list(records) for topic, records in self.outputs.items()},
            {view: dict(rows) for view, rows in self.views.items()},
            list(self.lost),
        )

    def commit(self) -> None:
        """Save the state, and make the results so far final."""
        self.graph.cut()
        for topic, records in self.graph.outputs.items():
            self.outputs.setdefault(topic, []).extend(records)
        self.graph.outputs = {}
        for vertex, sink in self.graph.ends(ViewSink):
            assert isinstance(vertex.node, ToView)
            rows = self.views.setdefault(sink.view, {})
            rows.update((original(key), value) for key, value in vertex.node.changed.items())
            vertex.node.changed = {}
        self.epoch += 1
        marks = [(name, "", p, mark) for name in self.sources for p, mark in self.source(name).times.saved().items()]
        closed = [vertex.identity for vertex in self.graph.vertices if vertex.closed and vertex.identity]
        position = Position(epoch=self.epoch, watermarks=marks, topology=topology_of(self.graph), clock={"closed": closed})
        puts = self.checkpoints.cut(position)
        self.puts += len(puts)
        for put in puts:
            if put.value is None:
                self.table.pop(put.key, None)
            else:
                self.table[put.key] = put.value
        self.checkpoints.promote()
        self.remember()

    def roll_back(self) -> None:
        """Forget what was not committed, and begin anew from what was."""
        self.graph.close()
        lengths, outputs, views, lost = self._committed
        self.outputs = {topic: list(records) for topic, records in outputs.items()}
        self.views = {view: dict(rows) for view, rows in views.items()}
        self.lost = list(lost)
        for one, moments, length in zip(self.results, self.moments, lengths, strict=True):
            del one[length:], moments[length:]
        self.begin()
