"""Fusion: a source's decoder and the operators right after it become one loop, and its records never a list.

A record that is dropped as soon as the next one is decoded stays in the processor's cache, and nothing is called between two
operators. Where nobody needs the records' order, and a failing record stops the run, the loop does all that batches would have
done. Of times it keeps the greatest only, for windows that close the loop.
"""

from __future__ import annotations

from operator import length_hint
from typing import TYPE_CHECKING, Any

from rxstreams.batch import Batch
from rxstreams.errors import OperatorError
from rxstreams.feeds.source import Chunk, Source
from rxstreams.stream.loops import Follower, Loop
from rxstreams.watermarks import Bounded, to_millis

if TYPE_CHECKING:
    from rxstreams.runtime.graph import Graph
    from rxstreams.runtime.vertices import Vertex

__all__ = ["fuse"]

NEVER = 2**63
SECONDS_BELOW = 100_000_000_000
"""Integers below it are epoch seconds; see ``to_millis``."""


def fuse(graph: Graph) -> bool:
    """Fuse each source with what comes after it, as far as that goes; False, and nothing done, if an operator with timers is left
    out, which needs the records' order.
    """
    fused = [one for vertex in graph.sources if (one := _fused(vertex)) is not None]
    if {vertex for vertex in graph.vertices if vertex.node.has_timers} - {one.last for one in fused}:
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
    loop = Loop(mapping=source.mapping, clock=clock)
    loop.lines.append(f"value = {loop.bind(source.decode)}(value)")
    if clock is not None:
        loop.lines += clock.lines(loop)
    last = _join(vertex, loop)
    if last is vertex or (clock is not None and clock.follower is None):
        return None
    return Fused(source, last, loop, clock)


def _join(vertex: Vertex, loop: Loop) -> Vertex:
    """Have the operators after ``vertex`` join the loop; return the last one that did."""
    while len(vertex.edges) == 1 and not vertex.sides and not loop.closed:
        following, _ = vertex.edges[0]
        if "errors" in following.sides or not following.node.join(loop):
            break
        vertex = following
    return vertex


class FusedClock:
    """The event time of a fused loop; see ``rxstreams.stream.loops.Clock``."""

    def __init__(self, source: Source) -> None:
        self.source, self.times = source, source.times
        self.stamped = source.stamping.timestamp is None
        self.follower: Follower | None = None
        self.delay = self.others = 0

    def lead(self, follower: Follower) -> None:
        self.follower = follower

    def lines(self, loop: Loop) -> list[str]:
        """The statements that set ``time``, and say when it has come to something.

        A record that is the latest so far is in no window that it closes, so it makes no difference that these close before it.
        """
        lines = []
        if not self.stamped:
            lines.append(f"time = {loop.read(self.source.stamping.timestamp)}")
            seconds = f"time < {SECONDS_BELOW}"  # what is long before 1970 is looked at once more
            lines.append(f"if time.__class__ is not int or {seconds}: time = {loop.bind(to_millis)}(time)")
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
        self.others = self.times.others(partition)
        return high, self.due(), self.source.limit()

    def mark(self, high: int) -> int:
        return min(high - self.delay, self.others)

    def due(self) -> int:
        assert self.follower is not None
        due = self.follower.next_time
        return due + self.delay if due <= self.others else NEVER

    def reach(self, high: int) -> int:
        """Time has come to what was due; return what is due next."""
        assert self.follower is not None
        self.follower.reach(self.mark(high))
        return self.due()

    def end(self, partition: int, high: int) -> None:
        """After the records of a partition, which brought it to ``high``."""
        self.times.reach(partition, high - self.delay)


class Fused:
    """A source and the operators that joined its loop."""

    def __init__(self, source: Source, last: Vertex, loop: Loop, clock: FusedClock | None) -> None:
        self.source, self.last, self.clock = source, last, clock
        self.closed, self.keyed, self.after = loop.closed, loop.keyed, loop.after
        self.loop = loop.function()

    def begin(self) -> None:
        """From here on the source's records go through the loop."""
        self.source.fused = self.push
        if self.clock is not None and self.clock.follower is not None:
            self.clock.follower.fused = True

    def push(self, chunk: Chunk) -> None:
        """Put raw records through the loop, and emit what comes out as one batch."""
        values: list[Any] = []
        keys: list[Any] = []
        left = iter(chunk.values)
        clock = self.clock
        try:
            if clock is None:
                self.loop(left, values, keys)
            else:
                high = self.loop(left, values, keys, chunk.timestamps, *clock.begin(chunk.partition))
        except Exception as error:  # the iterator stands after the record at which it was raised
            self.blame(error, chunk, len(chunk.values) - length_hint(left) - 1)
        for action in self.after:
            action()
        if clock is not None:
            clock.end(chunk.partition, high)
            self.source.forward(self.source.times.now)
        if not self.closed:
            self.last.emit(Batch(values, None, keys if self.keyed else None))

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
