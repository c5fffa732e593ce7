"""Time that passes although no record comes: while its sources are idle, event time goes on with the clock."""

from __future__ import annotations

from functools import partial
from math import floor
from typing import TYPE_CHECKING

from rxstreams.feeds.source import Source
from rxstreams.operators.timestamps import EventTime
from rxstreams.watermarks import END, Bounded

if TYPE_CHECKING:
    from rxstreams.runtime.graph import Graph
    from rxstreams.runtime.vertices import Vertex

__all__ = ["PassingTime"]

TICK = 0.5


class PassingTime:
    """Moves the watermarks of idle sources, each time that something becomes due by it: a window's end, a timer.

    In between nobody would notice; so an idle pipeline wakes up when there is something to do, and not sooner.

    Args:
        graph: Made, but not begun.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.makers = [vertex for vertex in graph.vertices if vertex.wants_marks and isinstance(vertex.node, Source | EventTime)]
        self.readers = {
            maker: [one for one in graph.vertices if one.node.has_timers and maker in one.clocks] for maker in self.makers
        }
        self.awake_at = float("inf")

    def go_on(self) -> None:
        """Let time come to now where it goes by the clock and something is due, and be woken when more is."""
        for maker in self.makers:
            if self._by_clock(maker):
                self._pass(maker)

    def _by_clock(self, maker: Vertex) -> bool:
        """Whether nothing but the clock moves a maker's time: an idle source's, or that of one whose sources all are idle."""
        sources = [one for one in maker.above if not one.inputs and not one.closed]
        return not maker.closed and maker.node.by_clock and bool(sources) and all(one.node.by_clock for one in sources)

    def _pass(self, maker: Vertex) -> None:
        node, clock = maker.node, self.graph.clock()
        assert isinstance(node, Source | EventTime)
        assert isinstance(node.times.generator, Bounded)
        now, delay = floor(clock * 1000 + 0.001), node.times.generator.delay
        due = min((reader.node.next_time for reader in self.readers[maker] if not reader.closed), default=END)
        if node.times.now < due <= now - delay:
            self.graph.carry_out(partial(node.pass_time, now))
            due = min((reader.node.next_time for reader in self.readers[maker] if not reader.closed), default=END)
        if due != END:
            # What is due already is held by another input, or by what an operator may still emit: look again, now and then.
            self._wake_at((due + delay) / 1000 if due > node.times.now else clock + TICK, clock)

    def _wake_at(self, time: float, clock: float) -> None:
        if clock < self.awake_at <= time:
            return
        self.awake_at = time
        self.graph.later(max(0.0, time - clock), lambda: None)
