"""Fusion: a source's decoder and the operators right after it become one loop, and its records never a list.

A record that is dropped as soon as the next one is decoded stays in the processor's cache, and nothing is called between two
operators. Where nobody needs the records' times or order, and a failing record stops the run, the loop does all that batches
would have done.
"""

from __future__ import annotations

from operator import length_hint
from typing import TYPE_CHECKING, Any

from rxstreams.batch import Batch
from rxstreams.errors import OperatorError
from rxstreams.feeds.source import Chunk, Source
from rxstreams.stream.loops import Loop

if TYPE_CHECKING:
    from rxstreams.runtime.graph import Graph
    from rxstreams.runtime.vertices import Vertex

__all__ = ["fuse"]


def fuse(graph: Graph) -> None:
    """Fuse each source with what comes after it, as far as that goes."""
    for vertex in graph.sources:
        source = vertex.node
        assert isinstance(source, Source)
        if source.decode is None or vertex.wants_time or graph.numbered:
            continue
        loop = Loop(mapping=source.mapping)
        loop.lines.append(f"value = {loop.bind(source.decode)}(value)")
        last = _join(vertex, loop)
        if last is not vertex:
            source.fused = Fused(source, last, loop).push


def _join(vertex: Vertex, loop: Loop) -> Vertex:
    """Have the operators after ``vertex`` join the loop; return the last one that did."""
    while len(vertex.edges) == 1 and not vertex.sides and not loop.closed:
        following, _ = vertex.edges[0]
        if following.sides or not following.node.join(loop):
            break
        vertex = following
    return vertex


class Fused:
    """A source and the operators that joined its loop."""

    def __init__(self, source: Source, last: Vertex, loop: Loop) -> None:
        self.source, self.last, self.closed, self.keyed, self.after = source, last, loop.closed, loop.keyed, loop.after
        self.loop = loop.function()

    def push(self, chunk: Chunk) -> None:
        """Put raw records through the loop, and emit what comes out as one batch."""
        values: list[Any] = []
        keys: list[Any] = []
        left = iter(chunk.values)
        try:
            self.loop(left, values, keys)
        except Exception as error:  # the iterator stands after the record at which it was raised
            self.blame(error, chunk, len(chunk.values) - length_hint(left) - 1)
        for action in self.after:
            action()
        if not self.closed:
            self.last.emit(Batch(values, None, keys if self.keyed else None))

    def blame(self, error: Exception, chunk: Chunk, at: int) -> None:
        """Stop the run, saying where: the record goes through the operators one by one, and fails at its own."""
        self.source.fused = None
        self.source.push(chunk.cut(at, at + 1), numbered=True)
        # It failed in the loop and now it does not, so it depends on more than the record; it stops the run all the same.
        raise OperatorError(self.last.title, f"{type(error).__name__}: {error}, at offset {chunk.offsets[at]}", error) from error
