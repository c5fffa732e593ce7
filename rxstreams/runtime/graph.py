"""The graph of a run: every stream's node once, in topological order, wired and named; and the pushes that go through it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from reactivex import Observable, abc
from reactivex.disposable import Disposable, SingleAssignmentDisposable

from rxstreams.brokers.contract import Record
from rxstreams.errors import DeadLetter, GraphError, Policy, Skip, Stop
from rxstreams.feeds.source import Chunk, Source
from rxstreams.operators.sinks import ViewSink
from rxstreams.runtime.failures import Failure
from rxstreams.runtime.naming import name_vertices
from rxstreams.runtime.opaque import Opaque
from rxstreams.runtime.scheduling import RunScheduler
from rxstreams.runtime.vertices import Vertex
from rxstreams.stream import Outlet, Stream, attached
from rxstreams.stream.blueprint import SideOf

__all__ = ["Graph"]


class Graph:
    """Every node of a run.

    Args:
        streams: The pipeline's last streams.
        policy: What happens to failing records where an operator does not say.
        clock: Seconds since the epoch.
        timer: Calls an action after some seconds, as ``loop.call_later`` does; None never does (to look at a graph only).
        on_lost: Told of every record that was let go.
    """

    def __init__(
        self,
        streams: Iterable[Stream[Any]],
        *,
        policy: Policy = Stop(),
        clock: Callable[[], float],
        timer: Callable[[float, Callable[[], None]], Any] | None = None,
        on_lost: Callable[[Failure, Skip | DeadLetter], None] = lambda failure, policy: None,
    ) -> None:
        self.policy, self.clock, self.timer, self.note_lost = policy, clock, timer, on_lost
        self.scheduler = RunScheduler(self.post, self.later, clock)
        self.vertices: list[Vertex] = []
        self._of: dict[Stream[Any], Vertex] = {}
        self._making: list[Vertex] = []
        self.posted: deque[Callable[[], None]] = deque()
        self.outputs: dict[str, list[Record]] = {}
        self.pushed: tuple[str, Chunk] | None = None
        self.thread = threading.get_ident()
        self.woken: Callable[[], None] = lambda: None
        self.open = True
        token = attached.set(self)
        try:
            for stream in streams:
                self._vertex(stream)
        finally:
            attached.reset(token)
        self._finish_making()

    # Making it.

    def _vertex(self, stream: Stream[Any]) -> Vertex:
        """The one vertex of a stream; inputs come before it in ``vertices``, which so is in topological order."""
        if stream in self._of:
            return self._of[stream]
        side = stream.operation.ends
        if isinstance(side, SideOf):
            return self._side_vertex(stream, side)
        inputs = [self._vertex(one) if isinstance(one, Stream) else self._opaque(one) for one in stream.inputs]
        vertex = self._add(Vertex(self, stream, stream.operation.make(), stream.operation.title), inputs)
        self._of[stream] = vertex
        return vertex

    def _add(self, vertex: Vertex, inputs: Sequence[Vertex]) -> Vertex:
        for port, source in enumerate(inputs):
            source.edges.append((vertex, port))
        vertex.inputs = list(inputs)
        self.vertices.append(vertex)
        return vertex

    def _side_vertex(self, stream: Stream[Any], side: SideOf) -> Vertex:
        main = self._vertex(side.stream)
        from rxstreams.operators.combining import Merge  # a side stream passes on what its main node puts there

        vertex = Vertex(self, stream, Merge(1), f"{main.title}.{side.name}")
        vertex.inputs = [main]
        main.sides[side.name] = vertex
        self.vertices.append(vertex)
        self._of[stream] = vertex
        return vertex

    def _opaque(self, foreign: Observable[Any]) -> Vertex:
        """A vertex for a chain of foreign operators: subscribing to it shows which streams it reads."""
        node = Opaque()
        vertex = node.vertex = Vertex(self, None, node, f"opaque({type(foreign).__name__})")
        node._bind(vertex)
        self._making.append(vertex)
        try:
            node.subscription = SingleAssignmentDisposable()
            node.subscription.disposable = foreign.subscribe(node.on_next, node.on_error, node.on_completed, scheduler=self.scheduler)
        finally:
            self._making.pop()
        self.vertices.append(vertex)
        return vertex

    def attach(self, stream: Stream[Any], outlet: Outlet) -> abc.DisposableBase:
        """A foreign operator subscribes to a stream: now, while the graph is made, or too late."""
        if not self._making:
            raise GraphError(
                f"{stream!r} was subscribed to while the run was under way; a run makes its graph before the first record. Put the "
                "stream into the pipeline itself (merge, combine_latest, a join), or return an iterable from flat_map"
            )
        reader = self._making[-1]
        source = self._vertex(stream)
        opaque = reader.node
        assert isinstance(opaque, Opaque)
        source.edges.append((reader, opaque.tap(outlet)))
        reader.inputs.append(source)
        return Disposable(outlet.dispose)

    def _finish_making(self) -> None:
        name_vertices(self.vertices)
        asks = any(v.policy_asks_for_order for v in self.vertices) or isinstance(self.policy, Skip | DeadLetter)
        self.numbered = asks or not isinstance(self.policy, Stop) or any(map(_meets_itself, self.vertices))
        for vertex in reversed(self.vertices):
            targets = [*(target for target, _ in vertex.edges), *vertex.sides.values()]
            node = vertex.node
            vertex.fan_in = node.ports > 1
            vertex.wants_time = node.needs_time or (node.passes_time and any(target.wants_time for target in targets))
            vertex.wants_latest = bool(targets) and all(_is_last_view(target) for target in targets)
        for vertex in self.vertices:
            vertex.wire()
        self.fan_ins = [vertex for vertex in self.vertices if vertex.fan_in]
        self.sources = [vertex for vertex in self.vertices if isinstance(vertex.node, Source)]
        self.stateful = [v for v in self.vertices if v.stream is not None and v.stream.operation.stateful]
        self.leaves = [vertex for vertex in self.vertices if not vertex.edges]
        self.edges_with_room = [vertex.node.room for vertex in self.vertices if hasattr(vertex.node, "room")]

    # Working it.

    def start(self, closed: Iterable[str] = ()) -> None:
        """Begin, with states restored; what had ended before a restart is ended."""
        over = set(closed)
        for vertex in self.vertices:
            if vertex.identity in over and not vertex.closed:
                vertex.close_silently()
        for vertex in self.vertices:
            if not vertex.closed:
                vertex.node.start()
        self.settle()

    def push(self, source: Vertex, chunk: Chunk) -> None:
        """Put a chunk's records through the graph."""
        assert isinstance(source.node, Source)
        self.pushed = (source.identity, chunk)
        source.node.push(chunk, numbered=self.numbered)
        self.settle()
        self.pushed = None

    def finish_source(self, source: Vertex) -> None:
        """A source has ended."""
        source.finish()
        self.settle()

    def cut(self) -> None:
        """Let the nodes emit what they held back for the commit."""
        for vertex in self.vertices:
            if not vertex.closed or vertex.wants_latest:
                vertex.node.cut()
        self.settle()

    def settle(self) -> None:
        """Empty every inbox, in topological order; feedback through foreign operators may fill one again."""
        while any([vertex.drain() for vertex in self.fan_ins if vertex.inbox]):
            pass

    def run_posted(self) -> None:
        """Carry out what timers, foreign operators and other threads have asked for, each on its own."""
        while self.posted:
            self.posted.popleft()()
            self.settle()

    def post(self, action: Callable[[], None]) -> None:
        """Have ``action`` carried out between two pushes; from any thread."""
        self.posted.append(action)
        self.woken()

    def wake(self) -> None:
        """Have the run look again whether there is something to do."""
        self.woken()

    def later(self, seconds: float, action: Callable[[], None]) -> abc.DisposableBase:
        """Have ``action`` carried out between two pushes, after ``seconds``."""
        if self.timer is None:
            return Disposable()
        handle = self.timer(seconds, lambda: self.post(action))
        return Disposable(handle.cancel)

    def write(self, topic: str, records: Iterable[tuple[Any, ...]]) -> None:
        """Append records, given as (value, key, timestamp, headers), to a topic in this epoch's commit."""
        self.outputs.setdefault(topic, []).extend(map(Record._make, records))

    def in_loop(self) -> bool:
        """Whether this is the run's thread."""
        return threading.get_ident() == self.thread

    def room(self) -> int:
        """How many records may be pushed now."""
        return min((room() for room in self.edges_with_room), default=1 << 30)

    @property
    def complete(self) -> bool:
        """Whether every branch has ended."""
        return all(vertex.closed for vertex in self.leaves)

    def close(self) -> None:
        """Release what nodes and foreign operators hold."""
        self.open = False
        for vertex in self.vertices:
            vertex.node.close()


def _is_last_view(vertex: Vertex) -> bool:
    return vertex.stream is not None and isinstance(vertex.stream.operation.ends, ViewSink) and not vertex.edges


def _meets_itself(vertex: Vertex) -> bool:
    """Whether two inputs of a vertex come from one source."""
    if len(vertex.inputs) < 2:
        return False
    above = [_above(source) for source in vertex.inputs]
    return sum(map(len, above)) > len(set().union(*above))


def _above(vertex: Vertex) -> set[Vertex]:
    found, waiting = {vertex}, [vertex]
    while waiting:
        for source in waiting.pop().inputs:
            if source not in found:
                found.add(source)
                waiting.append(source)
    return found
