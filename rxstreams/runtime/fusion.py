"""Fusion: a source's decoder and the operators right after it become one loop, and its records never a list.

A record that is dropped as soon as the next one is decoded stays in the processor's cache, and nothing is called between two
operators. Where nobody needs the records' order, and a failing record stops the run, the loop does all that batches would have
done. Of times it keeps the greatest only, for windows that close the loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from operator import length_hint
from typing import TYPE_CHECKING, Any

from rxstreams.batch import Batch
from rxstreams.errors import OperatorError
from rxstreams.feeds.source import Chunk, Source
from rxstreams.operators.arguments import field_types
from rxstreams.stream.loops import Follower, Loop
from rxstreams.watermarks import SECONDS_BELOW, Bounded, to_millis

if TYPE_CHECKING:
    from rxstreams.runtime.graph import Graph
    from rxstreams.runtime.vertices import Vertex

__all__ = ["fuse"]

NEVER = 2**63


def fuse(graph: Graph) -> bool:
    """Fuse each source with what comes after it, as far as that goes; False, and nothing done, if an operator with timers is left
    out, which needs the records' order.
    """
    fused = [one for vertex in graph.sources if (one := _fused(vertex)) is not None]
    inputs = Counter(vertex for one in fused for vertex in one.joined)
    if any(vertex.node.has_timers and inputs[vertex] < vertex.node.ports for vertex in graph.vertices):
        return False
    for one in fused:
        one.begin()
    return True


def _fused(vertex: Vertex) -> Fused | None:
    """A source and the operators that can join its loop."""
    source = vertex.node
    assert isinstance(source, Source)
    if source.decode is None:
        return None
    clock = FusedClock(source) if vertex.wants_time else None
    if clock is not None and not isinstance(source.times.generator, Bounded):
        return None
    loop = Loop(mapping=source.mapping, clock=clock, fields=field_types(source.kind))
    loop.lines.append(f"value = {loop.bind(source.decode)}(value)")
    if clock is not None:
        loop.lines += clock.lines(loop)
    joined = _join(vertex, loop)
    if not joined:
        return None
    loop.closed = loop.closed or not joined[-1].edges
    return Fused(source, joined, loop, clock)


def _join(vertex: Vertex, loop: Loop) -> list[Vertex]:
    """Have the operators after ``vertex`` join the loop; return those that did."""
    joined: list[Vertex] = []
    while len(vertex.edges) == 1 and not loop.closed and (vertex.node.has_timers or not vertex.sides):
        vertex, loop.port = vertex.edges[0]
        before = loop.timed
        loop.timed = loop.clock is not None and any(
            target.wants_time for target in (*(target for target, _ in vertex.edges), *vertex.sides.values())
        )
        if "errors" in vertex.sides or not vertex.node.join(loop):
            loop.timed = before  # what comes out is what the last that joined gives
            break
        joined.append(vertex)
    return joined


class FusedClock:
    """The event time of a fused loop; see ``rxstreams.stream.loops.Clock``."""

    def __init__(self, source: Source) -> None:
        self.source, self.times = source, source.times
        self.stamped = source.stamping.timestamp is None
        self.followers: list[Follower] = []
        self.limits: list[Callable[[], int]] = []
        self.delay = self.others = 0

    def lead(self, follower: Follower, others: Callable[[], int] | None) -> None:
        self.followers.append(follower)
        self.limits += [] if others is None else [others]

    def lines(self, loop: Loop) -> list[str]:
        """The statements that set ``time``, and say when it has come to something.

        A record that is the latest so far is in no window that it closes, so it makes no difference that these close before it.
        """
        lines = []
        if not self.stamped:
            lines.append(f"time = {loop.read(self.source.stamping.timestamp)}")
            other = "" if loop.is_a(self.source.stamping.timestamp, int) else "time.__class__ is not int or "
            # What is long before 1970 is looked at once more.
            lines.append(f"if {other}time < {SECONDS_BELOW}: time = {loop.bind(to_millis)}(time)")
        reach = loop.bind(self.reach)
        return [
            *lines,
            "if time > high:",
            "    if time > limit: raise ValueError('ahead of the clock')",
            "    high = time",
            f"    if time >= due: due = {reach}(time)",
        ]

    def begin(self, partition: int) -> tuple[int, int, int]:
        """Before the next records of a partition: ``high``, ``due``, and the greatest time that is let in."""
        assert isinstance(self.times.generator, Bounded)
        self.delay = self.times.generator.delay
        high = self.times.begin(partition) + self.delay
        self.others = min([self.times.others(partition), *(limit() for limit in self.limits)])
        return high, self.due(), self.source.limit()

    def mark(self, high: int) -> int:
        return min(high - self.delay, self.others)

    def due(self) -> int:
        due = min((follower.next_time for follower in self.followers), default=NEVER)
        return due + self.delay if due <= self.others else NEVER

    def reach(self, high: int) -> int:
        """Time has come to what was due; return what is due next."""
        mark = self.mark(high)
        for follower in self.followers:
            follower.reach(mark)
        return self.due()

    def end(self, partition: int, high: int) -> None:
        """After the records of a partition, which brought it to ``high``."""
        self.times.reach(partition, high - self.delay)


class Fused:
    """A source and the operators that joined its loop."""

    def __init__(self, source: Source, joined: list[Vertex], loop: Loop, clock: FusedClock | None) -> None:
        self.source, self.joined, self.last, self.clock = source, joined, joined[-1], clock
        self.closed, self.keyed, self.timed, self.after = loop.closed, loop.keyed, loop.timed, loop.after
        self.loop = loop.function()

    def begin(self) -> None:
        """From here on the source's records go through the loop."""
        self.source.fused = self.push
        for follower in self.clock.followers if self.clock is not None else ():
            follower.fused = True

    def push(self, chunk: Chunk) -> None:
        """Put raw records through the loop, and emit what comes out as one batch."""
        values: list[Any] = []
        keys: list[Any] = []
        times: list[int] = []
        left = iter(chunk.values)
        clock = self.clock
        try:
            if clock is None:
                self.loop(left, values, keys)
            else:
                stamps = chunk.timestamps
                if clock.stamped and stamps is None:
                    stamps = [int(self.source.host.now() * 1000)] * len(chunk.values)
                high = self.loop(left, values, keys, times, stamps, *clock.begin(chunk.partition))
        except Exception as error:  # the iterator stands after the record at which it was raised
            self.blame(error, chunk, len(chunk.values) - length_hint(left) - 1)
        for action in self.after:
            action()
        if clock is not None:
            clock.end(chunk.partition, high)
            self.source.forward(self.source.times.now)
        if not self.closed:
            self.last.emit(Batch(values, times if self.timed else None, keys if self.keyed else None))

    def blame(self, error: Exception, chunk: Chunk, at: int) -> None:
        """Stop the run, saying where: the record goes through the operators one by one, and fails at its own."""
        if error is self.last.graph.fatal:
            raise error
        self.source.fused = None
        graph, record = self.last.graph, chunk.cut(at, at + 1)
        assert graph.pushed is not None
        graph.pushed = graph.pushed[0], record
        self.source.push(record, numbered=True)
        # It failed in the loop and now it does not, so it depends on more than the record; it stops the run all the same.
        raise OperatorError(self.last.title, f"{type(error).__name__}: {error}, at offset {chunk.offsets[at]}", error) from error
