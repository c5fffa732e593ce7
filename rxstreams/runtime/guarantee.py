"""What a run can promise, computed from its sources, operators and sinks, and the weakest link that it follows from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rxstreams.feeds.source import Source
from rxstreams.operators.calling import CallableSink
from rxstreams.runtime.opaque import Opaque

if TYPE_CHECKING:
    from rxstreams.runtime.graph import Graph

__all__ = ["Guarantee", "guarantee_of"]


@dataclass(frozen=True, slots=True)
class Guarantee:
    """``level`` is exactly_once, at_least_once, or at_most_once; ``because`` names the weakest link."""

    level: str
    because: str


def guarantee_of(graph: Graph) -> Guarantee:
    """The guarantee of the whole: no stronger than its weakest source, operator or sink."""
    weak: list[tuple[int, str]] = []
    for vertex in graph.vertices:
        node = vertex.node
        if isinstance(node, Source) and node.feed.weakness:
            weak.append((2, f"{vertex.identity}: {node.feed.weakness}"))
        if isinstance(node, Opaque):
            kind = "source" if not vertex.inputs else "operators"
            weak.append((2, f"{vertex.title}: what foreign {kind} hold in memory is not saved, and begins anew after a restart"))
        if vertex.stream is not None and isinstance(vertex.stream.operation.ends, CallableSink):
            weak.append((1, f"{vertex.title}: calls outside the broker are made again after a crash"))
    if not weak:
        return Guarantee("exactly_once", "offsets, state and outputs are one commit")
    rank, because = max(weak, key=lambda link: link[0])
    return Guarantee("at_most_once" if rank == 2 else "at_least_once", because)
