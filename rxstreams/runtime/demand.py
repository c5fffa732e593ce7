"""Demand: how many records of each source may be pushed, so that no node must hold more than it has room for.

Inside a synchronous chain there is no queue, so room exists where records wait: for a call (``to_callable``), or for another
input (``zip``, ``concat``). A source is read as far as the tightest of the nodes below it has room.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from rxstreams.stream import UNBOUNDED, Node

if TYPE_CHECKING:
    from rxstreams.runtime.vertices import Vertex

__all__ = ["Demand"]


class Gate(NamedTuple):
    """A node that limits a source, the ports at which the source's records arrive, and whether one record may arrive as many."""

    vertex: Vertex
    ports: Sequence[int]
    crowded: bool


class Demand:
    """The limits of every source of a graph.

    Args:
        vertices: Those of the graph, in topological order.
    """

    def __init__(self, vertices: Sequence[Vertex]) -> None:
        self._gates: dict[Vertex, list[Gate]] = {}
        for vertex in vertices:
            if type(vertex.node).room is not Node.room:
                for source, ports in _sources(vertex).items():
                    crowded = any(one.node.fans_out for one in vertex.above - {vertex})
                    self._gates.setdefault(source, []).append(Gate(vertex, ports, crowded or _arrives_twice(vertex, ports)))

    def room(self, source: Vertex) -> int:
        """How many records of a source may be pushed now; at most one where it may arrive as many."""
        return self._room(source, waiting_for_others=True)

    def rooms(self, sources: Sequence[Vertex]) -> dict[Vertex, int]:
        """The room for each of the sources that are left.

        Nodes that wait for another input may wait for each other, in a ring: one has no room for the very source that the next
        one waits for. A bound that would stop everything for ever gives way (Parks, "Bounded Scheduling of Process Networks",
        1995); one that waits for a call never does, because calls end.
        """
        rooms = {source: self.room(source) for source in sources}
        if any(rooms.values()):
            return rooms
        return {source: self._room(source, waiting_for_others=False) for source in sources}

    def _room(self, source: Vertex, *, waiting_for_others: bool) -> int:
        least = UNBOUNDED
        for vertex, ports, crowded in self._gates.get(source, ()):
            if vertex.closed or (vertex.fan_in and not waiting_for_others):
                continue
            # Of several ports of one node the emptiest counts: it may be the one that the others wait for.
            room = max(0, *[vertex.node.room(port) for port in ports])
            least = min(least, room, 1 if crowded and room < UNBOUNDED else room)
        return least


def _sources(vertex: Vertex) -> dict[Vertex, list[int]]:
    """The sources above a vertex, and the ports at which their records arrive."""
    found: dict[Vertex, list[int]] = {}
    for port, above in enumerate(vertex.inputs):
        for source in above.above:
            if not source.inputs:
                found.setdefault(source, []).append(port)
    return found


def _arrives_twice(vertex: Vertex, ports: Sequence[int]) -> bool:
    """Whether branches of the source meet before the vertex, so that a record may arrive at one port as two."""
    return any(one.meets_itself for port in ports for one in vertex.inputs[port].above)
