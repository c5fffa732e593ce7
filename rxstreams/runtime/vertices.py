"""A vertex: one node in the graph of a run, and the driver that it works for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from reactivex import Observable
from reactivex.abc import DisposableBase

from rxstreams.batch import Batch, concat
from rxstreams.errors import DeadLetter, GraphError, Policy, Retry, RxStreamsError, Skip, Stop
from rxstreams.runtime.failures import Failure, explain
from rxstreams.stream import LOST, Node, Stream

if TYPE_CHECKING:
    from rxstreams.runtime.graph import Graph

__all__ = ["LAST", "End", "Mark", "Vertex"]

LAST = 2**62
"""The order number of what comes after every record of its push."""


class End(NamedTuple):
    """News for an inbox: the input has ended, after the record with order number ``at`` (None: after all)."""

    at: int | None


class Mark(NamedTuple):
    """News for an inbox: time has come as far as this."""

    watermark: int


class Vertex:
    """One node of a run and what is around it; implements ``rxstreams.stream.Host``.

    A node with one input is called directly. One with several gets what comes into its inbox, which the graph empties when
    all of a push has gone through: branches of one source that meet again come one after the other, and only then can their
    records be put back into the source's order. So the result does not show how the input was cut into batches.
    """

    durable = True
    pace = None

    def __init__(self, graph: Graph, stream: Stream[Any] | None, node: Node, title: str) -> None:
        self.graph, self.stream, self.node, self.title = graph, stream, node, title
        self.inputs: list[Vertex] = []
        self.edges: list[tuple[Vertex, int]] = []
        self.sides: dict[str, Vertex] = {}
        self.inbox: list[tuple[int, Batch | End | Mark]] = []
        self.closed = False
        self.fan_in = False
        self.wants_time = self.wants_latest = self.numbered = False
        self.identity = self.fingerprint = ""
        self.policy: Policy = Stop()
        self.forgiving = False
        self.emit: Callable[[Batch], None] = lambda b: None
        self.lost = 0

    # What the graph does with it.

    @property
    def policy_asks_for_order(self) -> bool:
        """Whether records that fail here are to be found again in the source."""
        return self.node.on_error is not None or bool(self.sides)

    def wire(self) -> None:
        """Bind the node, now that all edges are known."""
        self.policy = self.node.on_error or self.graph.policy
        self.forgiving = not isinstance(self.policy, Stop)
        self.emit = self._emitter()
        self.node._bind(self)

    def _emitter(self) -> Callable[[Batch], None]:
        inlets = [target.inlet(port) for target, port in self.edges]
        if len(inlets) == 1:
            return inlets[0]

        def emit(b: Batch) -> None:
            for inlet in inlets:
                inlet(b)

        return emit

    def inlet(self, port: int) -> Callable[[Batch], None]:
        """The function that takes batches into one input."""
        if self.fan_in:
            return lambda b: self.inbox.append((port, b)) if b.values else None
        batch = self.node.batch

        def deliver(b: Batch) -> None:
            if b.values and not self.closed:
                batch(b, port)

        return deliver

    def drain(self) -> bool:
        """Handle what is in the inbox; tell whether there was anything."""
        news, self.inbox = self.inbox, []
        batches = [(port, item) for port, item in news if isinstance(item, Batch)]
        ends = [(port, item.at) for port, item in news if isinstance(item, End)]
        self._merge(batches, ends)
        for port, item in news:
            if isinstance(item, Mark) and not self.closed:
                self.node.watermark(item.watermark, port)
        return bool(news)

    def _merge(self, batches: list[tuple[int, Batch]], ends: list[tuple[int, int | None]]) -> None:
        """Pass batches on in the source's order (of one record's: in the order of the inputs), each end in its place."""
        batches.sort(key=lambda part: part[0])  # stable: an input's batches stay in order
        whole = concat(b for _, b in batches) if batches else Batch(())
        ports: Sequence[int] = [port for port, b in batches for _ in range(len(b))]
        if whole.order is not None and len({port for port, _ in batches}) > 1:
            index = sorted(range(len(ports)), key=whole.order.__getitem__)
            ports = [ports[i] for i in index]
            whole = whole.at(index, [whole.values[i] for i in index])
        done = 0
        for port, at in sorted(ends, key=lambda end: LAST if end[1] is None else end[1]):
            after = len(ports) if at is None or whole.order is None else bisect_right(whole.order, at)
            done = self._hand_over(whole, ports, done, max(done, after))
            if not self.closed:
                self.node.end(port, at)
        self._hand_over(whole, ports, done, len(ports))

    def _hand_over(self, whole: Batch, ports: Sequence[int], start: int, stop: int) -> int:
        if start < stop and not self.closed:
            self.node.merged(whole.cut(start, stop), ports[start:stop])
        return stop

    # What the node asks of its host.

    def finish(self, at: int | None = None) -> None:
        if self.closed:
            return
        self.closed = True
        for target, port in self.edges:
            if target.fan_in:
                target.inbox.append((port, End(at)))
            elif not target.closed:
                target.node.end(port, at)
        for side in self.sides.values():
            side.finish(at)

    def close_silently(self) -> None:
        """Be as closed as before the restart: what the end had to say has been said, and committed."""
        self.closed = True
        for target, port in self.edges:
            target.node.done.add(port)
            if len(target.node.done) == target.node.ports and not target.closed:
                target.close_silently()

    def fail(self, error: Exception) -> None:
        if isinstance(error, RxStreamsError):
            raise error
        raise GraphError(f"{self.title}: {type(error).__name__}: {error}") from error

    def forward(self, watermark: int) -> None:
        for target, port in self.edges:
            if not target.wants_time:
                continue
            if target.fan_in:
                target.inbox.append((port, Mark(watermark)))
            elif not target.closed:
                target.node.watermark(watermark, port)

    def fresh(self, values: Sequence[Any], times: Sequence[int] | None, keys: Sequence[Any] | None = None) -> Batch:
        n = len(values)
        order = [LAST] * n if self.graph.numbered else None
        if not self.wants_time:
            return Batch(values, None, keys, order)
        return Batch(values, times, keys, order, [self.node.time_of_inputs()] * n)

    def failed(
        self, error: Exception, batch: Batch, index: int, again: Callable[[], Any] | None, *, attempts: int = 1
    ) -> Any:
        policy = self.policy
        if isinstance(policy, Retry):
            while again is not None and attempts <= policy.times:
                attempts += 1
                try:
                    return again()
                except Exception as raised:
                    error = raised
            policy = policy.then
        failure = explain(self, error, batch, index, attempts)
        if isinstance(policy, Stop):
            raise failure.error
        self._let_go(failure, policy, batch, index)
        return LOST

    def _let_go(self, failure: Failure, policy: Skip | DeadLetter, batch: Batch, index: int) -> None:
        self.lost += 1
        self.graph.note_lost(failure, policy)
        if isinstance(policy, DeadLetter):
            self.graph.write(policy.topic, [failure.dead_letter()])
        side = self.sides.get("errors")
        if side is not None:
            side.emit(batch.at([index], [failure]).keyed(None))

    def later(self, seconds: float, action: Callable[[], None]) -> DisposableBase:
        return self.graph.later(seconds, lambda: None if self.closed else action())

    def now(self) -> float:
        return self.graph.clock()

    def open(self, inner: Observable[Any], node: Node, batch: Batch) -> None:
        raise GraphError(
            f"{self.title}: a run cannot subscribe to Observables that come as values: its graph is made before the first record. "
            "Use flat_map with a function that returns iterables"
        )

    # Beyond the Host contract, for sinks.

    def write(self, topic: str, records: Sequence[Any]) -> None:
        """Append records in this epoch's commit."""
        self.graph.write(topic, records)

    def made_room(self) -> None:
        """An edge that was full may have room."""
        self.graph.wake()

