"""The graph of a run: every stream's node once, in topological order, wired and named; and the pushes that go through it."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import repeat
from math import floor
from typing import Any, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from rxstreams.batch import Batch
from rxstreams.brokers.contract import Record
from rxstreams.errors import DeadLetter, GraphError, Policy, Skip, Stop
from rxstreams.feeds.source import Chunk, Source
from rxstreams.operators.sinks import TopicSink, ViewSink
from rxstreams.runtime.demand import Demand
from rxstreams.runtime.failures import Failure
from rxstreams.runtime.fusion import fuse
from rxstreams.runtime.naming import check_ids, name_vertices
from rxstreams.runtime.opaque import Opaque
from rxstreams.runtime.passing import PassingTime
from rxstreams.runtime.vertices import LAST, MOST_LEVELS, Vertex
from rxstreams.stream import Moment, Node, Outlet, Stream, attached
from rxstreams.stream.blueprint import SideOf
from rxstreams.watermarks import START

__all__ = ["Graph"]

T = TypeVar("T")
_as_record: Callable[[type[Record], tuple[Any, ...]], Record] = tuple.__new__
"""``Record._make`` at C speed, of tuples that have all four fields."""


class Graph:
    """Every node of a run.

    Args:
        streams: The pipeline's last streams.
        policy: What happens to failing records where an operator does not say.
        clock: Seconds since the epoch.
        timer: Calls an action after some seconds, as ``loop.call_later`` does; None never does (to look at a graph only).
        on_lost: Told of every record that was let go.
        on_aside: Told of records that came too late, or found no room, and of ids that were evicted, and where.
        on_pressure: Told when an edge has become full, and when it asks for more again.
        app: The run's name.
    """

    def __init__(
        self,
        streams: Iterable[Stream[Any]],
        *,
        policy: Policy = Stop(),
        clock: Callable[[], float],
        timer: Callable[[float, Callable[[], None]], Any] | None = None,
        on_lost: Callable[[Failure, Skip | DeadLetter], None] = lambda failure, policy: None,
        on_aside: Callable[[Vertex, str, Batch], None] = lambda vertex, name, what: None,
        on_pressure: Callable[[Vertex, bool], None] = lambda vertex, full: None,
        app: str = "",
    ) -> None:
        self.policy, self.clock, self.timer, self.note_lost, self.note_aside = policy, clock, timer, on_lost, on_aside
        self.note_pressure, self.app = on_pressure, app
        self.vertices: list[Vertex] = []
        self._of: dict[Stream[Any], Vertex] = {}
        self._making: list[Opaque] = []
        self.foreign: Opaque | None = None
        self.timers: set[Any] = set()
        self.posted: deque[Callable[[], None]] = deque()
        self.outputs: dict[str, list[Record]] = {}
        self.outgoing: dict[str, list[tuple[Sequence[float] | None, Sequence[tuple[Any, ...]]]]] = {}
        self.pushed: tuple[str, Chunk] | None = None
        self.timelines: dict[Vertex, Batch] = {}
        self.instant: float | None = None
        self.fatal: Exception | None = None
        self.thread = threading.get_ident()
        self.woken: Callable[[], None] = lambda: None
        self.got_on: Callable[[], None] = lambda: None
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
        node = stream.operation.make()
        if node.instead is not None:
            raise GraphError(f"{stream.operation.title} works in a subscription, not in a run: {node.instead}")
        vertex = self._add(Vertex(self, stream, node, stream.operation.title), inputs)
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
        node = Opaque(self)
        vertex = node.vertex = Vertex(self, None, node, f"opaque({type(foreign).__name__})")
        node._bind(vertex)
        self._making.append(node)
        try:
            node.subscribe_to(foreign)
        finally:
            self._making.pop()
        self.vertices.append(vertex)
        return vertex

    def attach(self, stream: Stream[Any], outlet: Outlet) -> abc.DisposableBase:
        """A foreign operator subscribes to a stream: while the graph is made, again to one that it reads, or too late."""
        if self._making:
            reader, source = self._making[-1], self._vertex(stream)
            source.edges.append((reader.vertex, reader.tap(outlet)))
            reader.vertex.inputs.append(source)
        elif self.foreign is None or not self.foreign.tap_again(self._of.get(stream), outlet):
            raise GraphError(
                f"{stream!r} was subscribed to while the run was under way; a run makes its graph before the first record. Put "
                "the stream into the pipeline itself (merge, combine_latest, a join), or return an iterable from flat_map"
            )
        return Disposable(outlet.dispose)

    def _finish_making(self) -> None:
        name_vertices(self.vertices)
        asks = any(vertex.asks_for_order for vertex in self.vertices)
        topics = [sink.topic for _, sink in self.ends(TopicSink)]
        shared = len(set(topics)) < len(topics)  # there the records of two sinks stand in the source's order
        meet = any(vertex.meets_itself for vertex in self.vertices)
        self.numbered = asks or shared or meet or not isinstance(self.policy, Stop)
        for vertex in reversed(self.vertices):
            targets = [*(target for target, _ in vertex.edges), *vertex.sides.values()]
            node = vertex.node
            vertex.fan_in = node.ports > 1
            asking = [target for target in targets if not target.node.makes_time]
            vertex.wants_time = node.needs_time or (node.passes_time and any(target.wants_time for target in asking))
            vertex.wants_marks = node.has_timers or (node.passes_time and any(target.wants_marks for target in asking))
            vertex.wants_latest = bool(targets) and all(_is_last_view(target) for target in targets)
        self.timed = any(vertex.node.has_timers for vertex in self.vertices)
        self.one_by_one = self._find_clocks()
        check_ids(self.vertices)
        self.fan_ins = [vertex for vertex in self.vertices if vertex.fan_in]
        self.sources = [vertex for vertex in self.vertices if isinstance(vertex.node, Source)]
        self.stateful = [v for v in self.vertices if v.stream is not None and v.stream.operation.stateful]
        self.stores: list[Any] = [store for vertex in self.stateful for store in vertex.node.stores()]
        self.givers = [vertex for vertex in self.vertices if type(vertex.node).give_more is not Node.give_more]
        self.leaves = [vertex for vertex in self.vertices if not vertex.edges]
        self.passing = PassingTime(self)
        self.demand = Demand(self.vertices)
        self._wire()
        if self.numbered or not fuse(self):
            self.numbered = self.numbered or self.timed  # timers stand between records, so that these need numbers
            self._wire()

    def _wire(self) -> None:
        self._find_siblings()
        for vertex in self.vertices:
            vertex.wire()

    def _find_clocks(self) -> bool:
        """Find who makes each vertex's time, and the fan-ins whose inputs have one; tell whether only pushes of one keep time
        exact.
        """
        held: dict[Vertex, bool] = {}
        due: dict[Vertex, bool] = {}
        exact = True
        for vertex in self.vertices:
            own = not vertex.inputs or vertex.node.makes_time or isinstance(vertex.node, Opaque)
            vertex.clocks = frozenset({vertex} if own else ()).union(*(source.clocks for source in vertex.inputs if not own))
            behind = not own and any(held[source] for source in vertex.inputs)
            held[vertex] = behind or vertex.node.holds_time
            behind_due = not own and any(due[source] for source in vertex.inputs)
            due[vertex] = behind_due or (vertex.node.holds_time and not vertex.node.gives_when_it_can)
            vertex.one_clock = len(vertex.clocks) == 1 and not behind
            if vertex.wants_marks and vertex.fan_in and not vertex.one_clock and vertex.meets_itself:
                exact = False
            if vertex.node.has_timers and behind_due:
                exact = False  # within a push nobody knows when a held watermark was let go
            if vertex.node.has_timers and len(vertex.clocks) > 1 and any(maker.node.makes_time for maker in vertex.clocks):
                exact = False  # one record moves several clocks
        return not exact

    def _find_siblings(self) -> None:
        """Find where branches begin whose records have brothers and sisters, and whose timers come after whose."""
        levels: dict[Vertex, int] = {}
        many: dict[Vertex, bool] = {}
        timed: dict[Vertex, int] = {}
        for vertex in self.vertices:
            above = vertex.inputs
            many[vertex] = vertex.node.fans_out or vertex.meets_itself or any(many[source] for source in above)
            splits = self.numbered and many[vertex] and len(vertex.edges) > 1
            levels[vertex] = max((levels[source] for source in above), default=0) + splits
            vertex.sibling_level = levels[vertex] if splits and levels[vertex] <= MOST_LEVELS else 0
            timed[vertex] = max((timed[source] for source in above), default=0) + vertex.node.has_timers
            vertex.timers_after = 1 - 0.5 ** min(timed[vertex], 3)

    # Working it.

    def start(self, closed: Iterable[str] = ()) -> None:
        """Begin, with states restored; what had ended before a restart is ended."""
        over = set(closed)
        for vertex in self.vertices:
            vertex.resume(over)
        self.settle()

    def push(self, source: Vertex, chunk: Chunk) -> None:
        """Put a chunk's records through the graph."""
        most = 1 if self.one_by_one else LAST - 1
        if len(chunk.values) > most:
            for start in range(0, len(chunk.values), most):
                self.push(source, chunk.cut(start, start + most))
            return
        assert isinstance(source.node, Source)
        self.pushed = (source.identity, chunk)
        try:
            self.carry_out(partial(source.node.push, chunk, numbered=self.numbered))
        finally:
            self.pushed = None
            self.timelines.clear()

    def finish_source(self, source: Vertex) -> None:
        """A source has ended."""
        self.carry_out(source.finish)

    def cut(self) -> None:
        """Let the nodes emit what they held back for the commit."""
        for vertex in self.vertices:
            if not vertex.closed:
                self.carry_out(vertex.node.cut)

    def run_posted(self) -> None:
        """Carry out what timers, foreign operators and other threads have asked for, each on its own."""
        while self.posted:
            self.carry_out(self.posted.popleft())
        for vertex in self.givers:
            waiting = vertex.node.backlog
            if waiting and not vertex.closed and vertex.room() > 0:
                self.carry_out(vertex.node.give_more)
                if 0 < vertex.node.backlog < waiting:
                    self.woken()  # there may be room for more at once, of which nobody would tell
        self.passing.go_on()

    def carry_out(self, action: Callable[[], None]) -> None:
        """Do something that may emit; whoever subscribes to a Stream meanwhile is told that it is too late."""
        token = attached.set(self)
        try:
            action()
            self.settle()
        finally:
            attached.reset(token)

    def settle(self) -> None:
        """Empty every inbox, in topological order; feedback through foreign operators may fill one again."""
        while any(vertex.inbox for vertex in self.fan_ins):
            for vertex in self.fan_ins:
                if vertex.inbox:
                    vertex.drain()
        if self.outgoing:
            self._send()

    # The place of what no single record made, among the records of a push; it is the same however the input is cut. What is made
    # while an input ends has the place of the record after which it ends, what a timer makes stands between two records.

    @contextmanager
    def at(self, instant: float | None) -> Iterator[None]:
        """While this lasts, an input ends after the record with this order number."""
        outer, self.instant = self.instant, instant
        try:
            yield
        finally:
            self.instant = outer

    def moment(self, clocks: Iterable[Vertex], time: int, mark: int, timers_after: float = 0.5) -> Moment:
        """When in this push time came to ``time``, as ``clocks`` have it: between which records, or at the end of an input."""
        timeline = next((self.timelines[clock] for clock in clocks if clock in self.timelines), None)
        marks, order = (timeline.marks, timeline.order) if timeline is not None else (None, None)
        if not marks or not order:
            return Moment(LAST if self.instant is None else self.instant, START, mark)
        after = max(1, bisect_left(marks, time))
        if self.instant is not None and order[after - 1] >= floor(self.instant):
            record = max(1, bisect_right(order, floor(self.instant)))
            return Moment(self.instant, marks[record - 1], mark)
        reached = marks[after] if after < len(marks) else mark
        return Moment(order[after - 1] + timers_after, min(marks[after - 1], mark), min(reached, mark))

    def post(self, action: Callable[[], None]) -> None:
        """Have ``action`` carried out between two pushes; from any thread."""
        self.posted.append(action)
        self.woken()

    def later(self, seconds: float, action: Callable[[], None]) -> abc.DisposableBase:
        """Have ``action`` carried out between two pushes, after ``seconds``."""
        if self.timer is None:
            return Disposable()

        def due() -> None:
            self.timers.discard(handle)
            self.post(action)

        def cancel() -> None:
            self.timers.discard(handle)
            handle.cancel()

        handle = self.timer(seconds, due)
        self.timers.add(handle)
        return Disposable(cancel)

    def write(self, topic: str, records: Sequence[tuple[Any, ...]], order: Sequence[float] | None = None) -> None:
        """Append records, given as (value, key, timestamp, headers), to a topic in this epoch's commit."""
        self.outgoing.setdefault(topic, []).append((order, records))

    def _send(self) -> None:
        """What a push wrote: of several vertices that write to one topic, in the order of the source's records."""
        outgoing, self.outgoing = self.outgoing, {}
        for topic, parts in outgoing.items():
            records = [record for _, part in parts for record in part]
            if len(parts) > 1 and self.numbered:
                places = [place for order, part in parts for place in (order or repeat(LAST, len(part)))]
                records = [records[i] for i in sorted(range(len(places)), key=places.__getitem__)]  # ties: in the vertices' order
            self.outputs.setdefault(topic, []).extend(map(_as_record, repeat(Record), records))

    def made_room(self) -> None:
        """An edge has got on: there may be room, or something to give."""
        self.got_on()
        self.woken()

    def in_loop(self) -> bool:
        """Whether this is the run's thread."""
        return threading.get_ident() == self.thread

    def ends(self, kind: type[T]) -> list[tuple[Vertex, T]]:
        """The sources or sinks of a kind, and what a run needs to know of them."""
        found = [(vertex, vertex.stream.operation.ends) for vertex in self.vertices if vertex.stream is not None]
        return [(vertex, end) for vertex, end in found if isinstance(end, kind)]

    @property
    def complete(self) -> bool:
        """Whether every branch has ended."""
        return all(vertex.closed for vertex in self.leaves)

    @property
    def waits_for_time(self) -> bool:
        """Whether every source has ended and some operator still has something to do, later."""
        return bool(self.timers) and all(source.closed for source in self.sources)

    def close(self) -> None:
        """Release what nodes and foreign operators hold."""
        self.open = False
        for vertex in self.vertices:
            vertex.node.close()

    async def closed(self) -> None:
        """Return when all that nodes had under way has ended."""
        for vertex in self.vertices:
            await vertex.node.closed()


def _is_last_view(vertex: Vertex) -> bool:
    return vertex.stream is not None and isinstance(vertex.stream.operation.ends, ViewSink) and not vertex.edges
