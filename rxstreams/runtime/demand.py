"""Demand: how many records of each source may be pushed, so that no node must hold more than it has room for.

Inside a synchronous chain there is no queue, so room exists where records wait: for a call (``to_callable``), or for another
input (``zip``, ``concat``). A source is read as far as the tightest of the nodes below it has room; what a node makes of time
alone, such as the results of a hundred thousand windows that close at once, it gives out as far as there is room below it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rxstreams.operators.edges import Edge
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
    """The limits of every source of a graph, and of what its nodes make of time.

    Args:
        vertices: Those of the graph, in topological order.
    """

    def __init__(self, vertices: Sequence[Vertex]) -> None:
        self._gates: dict[Vertex, list[Gate]] = {}
        self._below: dict[Vertex, list[Gate]] = {}
        self._edges = [vertex for vertex in vertices if isinstance(vertex.node, Edge)]
        meetings = [vertex for vertex in vertices if vertex.fan_in and _has_room(vertex)]
        only = meetings[0] if len(meetings) == 1 else None
        for vertex in vertices:
            if _has_room(vertex):
                self._limit_sources(vertex)
            if type(vertex.node).give_more is not Node.give_more:
                below = _gates_below(vertex, past_meetings=isinstance(vertex.node, Edge))
                self._below[vertex] = [gate for gate in below if not gate.vertex.fan_in or _may_wait(vertex, gate, only)]
                vertex.limited = bool(self._below[vertex])

    def _limit_sources(self, vertex: Vertex) -> None:
        above = [_above(one) for one in vertex.inputs]
        for source in dict.fromkeys(one for part in above for one in part if not one.inputs):
            ports = [port for port, part in enumerate(above) if source in part]
            between = [one for port in ports for one in above[port]]
            crowded = any(one.node.fans_out or one.meets_itself for one in between)
            self._gates.setdefault(source, []).append(Gate(vertex, ports, crowded))

    def room(self, source: Vertex) -> int:
        """How many records of a source may be pushed now; at most one where it may arrive as many."""
        return self._room(source, waiting_for_others=True)

    def room_below(self, vertex: Vertex) -> int:
        """How many results of a node there is room for now."""
        return min((_room_at(gate) for gate in self._below.get(vertex, ()) if not gate.vertex.closed), default=UNBOUNDED)

    def rooms(self, sources: Sequence[Vertex]) -> dict[Vertex, int]:
        """The room for each of the sources that are left.

        Nodes that wait for another input may wait for each other, in a ring: one has no room for the very source that the next
        one waits for. A bound that would stop everything for ever gives way (Parks, "Bounded Scheduling of Process Networks",
        1995); one that waits for a call never does, because calls end, nor does any while what waits for a call may bring more.
        """
        rooms = {source: self.room(source) for source in sources}
        if any(rooms.values()) or any(isinstance(edge.node, Edge) and edge.node.moving for edge in self._edges):
            return rooms
        return {source: self._room(source, waiting_for_others=False) for source in sources}

    def _room(self, source: Vertex, *, waiting_for_others: bool) -> int:
        least = UNBOUNDED
        for gate in self._gates.get(source, ()):
            if not gate.vertex.closed and (waiting_for_others or not gate.vertex.fan_in):
                least = min(least, _room_at(gate))
        return least


def _room_at(gate: Gate) -> int:
    """How many records may come; of several ports of one node the emptiest counts: it may be the one that the others wait for."""
    room = max(0, *[gate.vertex.node.room(port) for port in gate.ports])
    return min(room, 1) if gate.crowded and room < UNBOUNDED else room


def _above(vertex: Vertex) -> dict[Vertex, None]:
    """A vertex, and all from which a record may come to it at once: what absorbs its results until there is room is the last."""
    found, waiting = {vertex: None}, [vertex]
    while waiting:
        for source in () if (one := waiting.pop()).node.absorbs else one.inputs:
            if source not in found:
                found[source] = None
                waiting.append(source)
    return found


def _gates_below(vertex: Vertex, *, past_meetings: bool, crowded: bool = False) -> Iterator[Gate]:
    """What limits a node's results: not past where streams meet, because there it matters what comes when; except for edges,
    whose results come when they can.
    """
    for target, port in vertex.edges:
        if target.fan_in and not past_meetings:
            continue
        if _has_room(target):
            yield Gate(target, (port,), crowded)
        if not target.node.absorbs:
            many = crowded or target.node.fans_out or target.meets_itself
            yield from _gates_below(target, past_meetings=past_meetings, crowded=many)


def _has_room(vertex: Vertex) -> bool:
    return type(vertex.node).room is not Node.room


def _may_wait(edge: Vertex, gate: Gate, only: Vertex | None) -> bool:
    """Whether an edge may wait for a node that waits for another stream: not if they could wait for each other, in a ring. They
    cannot if no other node of the graph waits so, and what it waits for comes from other sources than what is in the edge.
    """
    others = [source for port, source in enumerate(gate.vertex.inputs) if port not in gate.ports]
    return gate.vertex is only and not any(_sources(edge) & _sources(other) for other in others)


def _sources(vertex: Vertex) -> set[Vertex]:
    return {one for one in vertex.above if not one.inputs}
