"""explain_memory: how many records a pipeline holds at most, edge by edge."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from rxstreams.feeds.source import Source
from rxstreams.operators.edges import Edge
from rxstreams.operators.lining import Zip
from rxstreams.operators.sinks import TopicSink
from rxstreams.runtime.edges import name_of
from rxstreams.runtime.graph import Graph
from rxstreams.runtime.inputs import AHEAD
from rxstreams.runtime.settings import EPOCH_RECORDS
from rxstreams.runtime.vertices import Vertex
from rxstreams.stream import Stream

__all__ = ["Bound", "MemoryBounds", "explain_memory"]


class Bound(msgspec.Struct, frozen=True):
    """How many records one place of a pipeline holds at most.

    Attributes:
        where: The source, edge or sink.
        records: How many.
        why: What bounds them.
    """

    where: str
    records: int
    why: str


class MemoryBounds(msgspec.Struct, frozen=True):
    """How many records are under way in a pipeline at most; ``print`` it.

    Attributes:
        bounds: Place by place, in the order in which records come to them.
        written: How many records of input may have results that wait for their commit.
    """

    bounds: tuple[Bound, ...]
    written: int

    @property
    def records(self) -> int:
        """All that are read and not worked off, at most; what one record makes above an edge comes on top."""
        return sum(bound.records for bound in self.bounds)

    def __str__(self) -> str:
        rows = [(f"{bound.records:,}", bound.where, bound.why) for bound in self.bounds]
        rows.append((f"{self.records:,}", "in all", "and at each edge what one record makes above it"))
        if self.written:
            rows.append((f"{self.written:,}", "written to topics", "records of input whose results wait for their commit"))
        wide = [max(len(row[i]) for row in rows) for i in range(2)]
        return "\n".join(f"{n.rjust(wide[0])}  {where.ljust(wide[1])}  {why}" for n, where, why in rows)


def explain_memory(*streams: Stream[Any]) -> MemoryBounds:
    """Say how many records a pipeline holds in flight at most: read ahead, at work, and waiting at its edges.

    What operators remember by design (keys, windows, joins) is not in it: that is state, and ``state_limit`` bounds it.

    Args:
        streams: The pipeline's last streams, as ``run`` takes them.

    Raises:
        GraphError: If a run could not have them.
    """
    graph = Graph(streams, clock=time.time)
    try:
        found = [bound for vertex in graph.vertices if (bound := _bound(vertex)) is not None]
        return MemoryBounds(tuple(found), EPOCH_RECORDS if graph.ends(TopicSink) else 0)
    finally:
        graph.close()


def _bound(vertex: Vertex) -> Bound | None:
    node = vertex.node
    if isinstance(node, Source):
        chunk = node.feed.fetch
        return Bound(vertex.identity, (AHEAD + 2) * chunk, f"{AHEAD + 2} chunks of {chunk:,}: fetched, being fetched, at work")
    if isinstance(node, Edge):
        return Bound(name_of(vertex), node.capacity, "capacity" if node.overflow == "block" else f"capacity, {node.overflow}")
    if isinstance(node, Zip):
        return Bound(name_of(vertex), node.capacity * node.ports, f"capacity for each of {node.ports} inputs")
    return None
