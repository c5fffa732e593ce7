"""What waits at the edges of a run: how full they are, who holds the others up, and what is said of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from rxstreams.log import logger
from rxstreams.operators.edges import Edge

if TYPE_CHECKING:
    from rxstreams.runtime.graph import Graph
    from rxstreams.runtime.vertices import Vertex

__all__ = ["EdgeState", "Pressure", "edges_of"]

QUIET = 1.0
"""Seconds for which an edge must have had room before its backpressure is said to be over."""


class EdgeState(msgspec.Struct, frozen=True):
    """An edge of a run, as it is now.

    Attributes:
        name: The operator's name or, without one, what it is.
        capacity: How many records may wait.
        overflow: What becomes of more.
        waiting: How many wait, or are worked on.
        most: The most that have, in this attempt.
        full: Whether it asks for no more.
        pauses: How often it has become full.
        dropped: Records that it let go.
        bottleneck: Whether it is full, and no edge behind it is: it is here that the pipeline is too slow.
    """

    name: str
    capacity: int
    overflow: str
    waiting: int
    most: int
    full: bool
    pauses: int
    dropped: int
    bottleneck: bool


def edges_of(graph: Graph) -> tuple[EdgeState, ...]:
    """The edges of a graph, in the order in which records come to them."""
    edges = {vertex: vertex.node for vertex in graph.vertices if isinstance(vertex.node, Edge)}
    full = [vertex for vertex, node in edges.items() if node.full and not vertex.closed]
    return tuple(
        EdgeState(
            name_of(vertex), node.capacity, node.overflow, node.backlog, node.most, node.full, node.pauses, node.dropped,
            vertex in full and not any(vertex in other.above for other in full if other is not vertex),
        )
        for vertex, node in edges.items()
    )  # fmt: skip


def name_of(vertex: Vertex) -> str:
    """What a user calls it."""
    return (vertex.stream.operation.name if vertex.stream is not None else None) or vertex.title


class Pressure:
    """Says when backpressure begins, and when it is over: when an edge has had room for a second.

    An edge that is at its bound all the time becomes full and gets room many times a second.
    """

    def __init__(self, app: str) -> None:
        self.app = app
        self.loop = asyncio.get_running_loop()
        self.since: dict[Vertex, tuple[float, int]] = {}
        self.timers: dict[Vertex, asyncio.TimerHandle] = {}

    def changed(self, vertex: Vertex, full: bool) -> None:
        """An edge has become full, or has room again."""
        timer = self.timers.pop(vertex, None)
        if timer is not None:
            timer.cancel()
        if not full:
            self.timers[vertex] = self.loop.call_later(QUIET, self.over, vertex)
        elif vertex not in self.since:
            edge = vertex.node
            assert isinstance(edge, Edge)
            self.since[vertex] = self.loop.time(), edge.pauses
            doing = "pausing" if edge.overflow == "block" else f"{edge.overflow}"
            logger().info(
                f"backpressure detected, {doing}",
                app=self.app,
                edge=name_of(vertex),
                waiting=edge.backlog,
                capacity=edge.capacity,
            )

    def over(self, vertex: Vertex) -> None:
        """An edge has had room for long enough."""
        since, pauses = self.since.pop(vertex)
        edge = vertex.node
        assert isinstance(edge, Edge)
        logger().info(
            "backpressure over",
            app=self.app,
            edge=name_of(vertex),
            seconds=round(self.loop.time() - since, 3),
            pauses=edge.pauses - pauses + 1,
            dropped=edge.dropped,
        )

    def close(self) -> None:
        """The attempt is over, and with it what is waited for."""
        for timer in self.timers.values():
            timer.cancel()
        for vertex in list(self.since):
            self.over(vertex)
