"""A vertex: one node in the graph of a run, and the driver that it works for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Container, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from reactivex import Observable
from reactivex.abc import DisposableBase

from rxstreams.batch import Batch, concat
from rxstreams.errors import DeadLetter, GraphError, Policy, Retry, RxStreamsError, Skip, StateCodecError, Stop
from rxstreams.runtime.failures import Failure, explain
from rxstreams.stream import LOST, Moment, Node, Stream
from rxstreams.stream.node import Pace
from rxstreams.watermarks import END, START

if TYPE_CHECKING:
    from rxstreams.runtime.graph import Graph

__all__ = ["LAST", "End", "Mark", "Vertex"]

# Order numbers are floats, 53 bits: 13 for the record's place in its push; 4 for what comes between two records, the timers of
# one operator after those of another; and three times 12 for the records that one record made, numbered apart where they go
# different ways and may meet again. What is beyond that shares a number, and comes in the order of the inputs.
LAST = 2**13
"""The order number of what comes after every record of its push; a push has fewer records."""
SIBLINGS = 2.0**12
"""A record's brothers and sisters are so small a part of a number apart."""
MOST_SIBLINGS = 255
MOST_LEVELS = 3


class End(NamedTuple):
    """News for an inbox: the input has ended, after the record with order number ``at`` (None: after all)."""

    at: float | None


class Mark(NamedTuple):
    """News for an inbox: time has come as far as this."""

    watermark: int


def _siblings_apart(order: Sequence[float], unit: float, elder: float, n: float) -> Iterator[float]:
    """Order numbers apart, where the last that went out was number ``n`` of those that came in as ``elder``."""
    last = elder
    for number in order:
        n = min(n + 1, MOST_SIBLINGS) if number == last else 0.0
        last = number
        yield number + n * unit


class Vertex:
    """One node of a run and what is around it; implements ``rxstreams.stream.Host``.

    A node with one input is called directly. One with several gets what comes into its inbox, which the graph empties when
    all of a push has gone through: branches of one source that meet again come one after the other, and only then can their
    records be put back into the source's order. So the result does not show how the input was cut into batches.
    """

    durable = True
    pace: Pace | None = None
    beyond: Pace | None = None

    def __init__(self, graph: Graph, stream: Stream[Any] | None, node: Node, title: str) -> None:
        self.graph, self.stream, self.node, self.title = graph, stream, node, title
        self.app = graph.app
        self.inputs: list[Vertex] = []
        self.edges: list[tuple[Vertex, int]] = []
        self.sides: dict[str, Vertex] = {}
        self.inbox: list[tuple[int, Batch | End | Mark]] = []
        self.closed = False
        self.fan_in = self.one_clock = False
        self.clocks: frozenset[Vertex] = frozenset()
        self.sibling_level = 0
        self.timers_after = 0.5
        self.youngest: tuple[Any, float, float] = (None, -1.0, -1.0)
        self.keyed = stream is not None and stream.keyed
        self.clocked = stream is not None and stream.clocked
        self.wants_time = self.wants_marks = self.wants_latest = self.limited = False
        self.identity = self.fingerprint = ""
        self.policy: Policy = Stop()
        self.forgiving = False
        self.emit: Callable[[Batch], None] = lambda b: None
        self.lost = 0
        self.told = START

    # What the graph does with it.

    @cached_property
    def above(self) -> frozenset[Vertex]:
        """The vertex itself, and all that its records come from; known once every input is connected."""
        return frozenset({self}).union(*(source.above for source in self.inputs))

    @property
    def meets_itself(self) -> bool:
        """Whether two inputs come from one source."""
        return sum(len(source.above) for source in self.inputs) > len(self.above) - 1

    @property
    def asks_for_order(self) -> bool:
        """Whether records are to be found again in the source from here."""
        return self.node.on_error is not None or self.node.needs_order or "errors" in self.sides

    def wire(self) -> None:
        """Bind the node, now that all edges are known."""
        self.policy = self.node.on_error or self.graph.policy
        self.forgiving = not isinstance(self.policy, Stop)
        self.emit = self._emitter()
        self.node._bind(self)

    def _emitter(self) -> Callable[[Batch], None]:
        inlets = [target.inlet(port) for target, port in self.edges]
        if (not self.inputs or self.node.makes_time) and self.graph.timed:
            inlets.insert(0, self._set_timeline)
        if len(inlets) == 1:
            return inlets[0]
        unit = SIBLINGS**-self.sibling_level

        def emit(b: Batch) -> None:
            if unit < 1 and b.order:
                b = b.ordered(self._apart(b.order, unit))
            for inlet in inlets:
                inlet(b)

        return emit

    def _apart(self, order: Sequence[float], unit: float) -> Sequence[float]:
        """A batch's order numbers, such that brothers and sisters can be told apart, in whichever batches they go out."""
        push, elder, younger = self.youngest
        apart = order
        if push is not self.graph.pushed:
            elder = younger = -1.0
        if order[0] == elder or len(set(order)) < len(order):
            apart = list(_siblings_apart(order, unit, elder, (younger - elder) / unit))
        self.youngest = self.graph.pushed, order[-1], apart[-1]
        return apart

    def _set_timeline(self, b: Batch) -> None:
        if self.graph.pushed is not None:
            self.graph.timelines[self] = b

    def inlet(self, port: int) -> Callable[[Batch], None]:
        """The function that takes batches into one input."""
        if self.fan_in:
            return lambda b: self.inbox.append((port, b)) if b.values else None
        batch = self.node.batch

        def deliver(b: Batch) -> None:
            if b.values and not self.closed:
                batch(b, port)

        return deliver

    def drain(self) -> None:
        """Handle what is in the inbox."""
        news, self.inbox = self.inbox, []
        batches = [(port, item) for port, item in news if isinstance(item, Batch)]
        ends = [(port, item.at) for port, item in news if isinstance(item, End)]
        self._merge(batches, ends)
        for port, item in news:
            if isinstance(item, Mark) and not self.closed:
                self.node.watermark(item.watermark, port)

    def _merge(self, batches: list[tuple[int, Batch]], ends: list[tuple[int, float | None]]) -> None:
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
                with self.graph.at(at):
                    self.node.end(port, at)
        self._hand_over(whole, ports, done, len(ports))

    def _hand_over(self, whole: Batch, ports: Sequence[int], start: int, stop: int) -> int:
        if start < stop and not self.closed:
            b, ports = whole.cut(start, stop), ports[start:stop]
            if b.marks is not None and self.wants_marks and not self.one_clock:
                others = {port: self.node.time_of_inputs(but=port) for port in set(ports)}
                b = b.marked([min(mark, others[port]) for mark, port in zip(b.marks, ports)])
            self.node.merged(b, ports)
        return stop

    # What the node asks of its host.

    def finish(self, at: float | None = None) -> None:
        if self.closed:
            return
        self.closed = True
        if at is None:
            at = self.graph.instant
        push, elder, younger = self.youngest
        if push is self.graph.pushed and at == elder:
            at = younger  # the end comes after the last of the brothers and sisters that went out
        with self.graph.at(at):
            for target, port in self.edges:
                if target.fan_in:
                    target.inbox.append((port, End(at)))
                elif not target.closed:
                    target.node.end(port, at)
            for side in self.sides.values():
                side.finish(at)

    def resume(self, over: Container[str]) -> None:
        """Begin after a restart. What had ended stays ended without a word: what the end had to say was said, and committed."""
        node, ended = self.node, [port for port, source in enumerate(self.inputs) if source.closed]
        self.closed = self.identity in over if self.identity else bool(ended) and len(ended) == len(self.inputs)
        node.done.update(ended)
        if self.closed:
            return
        node.start()
        node.ready()
        if len(ended) == len(self.inputs) > 0 and not self.closed:
            self.graph.post(lambda: node.end(ended[0]))  # it still had something to do when its input had ended

    def fail(self, error: Exception) -> None:
        if isinstance(error, StateCodecError):
            raise StateCodecError(f"{self.title}: {error}") from error
        if isinstance(error, RxStreamsError):
            raise error
        raise GraphError(f"{self.title}: {type(error).__name__}: {error}") from error

    def forward(self, watermark: int) -> None:
        self.told = watermark
        for target, port in self.edges:
            if not target.wants_marks:
                continue
            if target.fan_in:
                target.inbox.append((port, Mark(watermark)))
            elif not target.closed:
                target.node.watermark(watermark, port)
        for side in self.sides.values():
            side.forward(watermark)

    def fresh(self, values: Sequence[Any], times: Sequence[int] | None, keys: Sequence[Any] | None = None) -> Batch:
        n, moment = len(values), self.graph.moment(self.clocks, END, END)
        order = [moment.order] * n if self.graph.numbered else None
        if not self.wants_time:
            return Batch(values, None, keys, order)
        return Batch(values, times, keys, order, [moment.before] * n)

    def moment(self, time: int, mark: int) -> Moment:
        return self.graph.moment(self.clocks, time, mark, self.timers_after)

    def failed(self, error: Exception, batch: Batch, index: int, again: Callable[[], Any] | None, *, attempts: int = 1) -> Any:
        if isinstance(error, GraphError) or error is self.graph.fatal:
            raise error  # nothing that another record would not meet, or decided already
        if isinstance(error, StopIteration) or isinstance(error.__cause__, StopIteration):
            error = RuntimeError("the function raised StopIteration")  # it looks different to a list, a generator and a call
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
            self.graph.fatal = failure.error
            raise failure.error
        self._let_go(failure, policy, batch, index)
        return LOST

    def _let_go(self, failure: Failure, policy: Skip | DeadLetter, batch: Batch, index: int) -> None:
        self.lost += 1
        self.graph.note_lost(failure, policy)
        if isinstance(policy, DeadLetter):
            self.graph.write(
                policy.topic, [failure.dead_letter()], None if batch.order is None else batch.order[index : index + 1]
            )
        side = self.sides.get("errors")
        if side is not None:
            side.emit(batch.at([index], [failure]).keyed(None))

    def later(self, seconds: float, action: Callable[[], None]) -> DisposableBase:
        return self.graph.later(seconds, lambda: None if self.closed else action())

    def now(self) -> float:
        return self.graph.clock()

    def origin(self) -> Any:
        return self.graph.pushed

    def post(self, action: Callable[[], None], origin: Any) -> None:
        def act() -> None:
            self.graph.pushed = origin
            try:
                action()
            finally:
                self.graph.pushed = None

        self.graph.post(act)

    def open(self, inner: Observable[Any], node: Node, batch: Batch) -> None:
        raise AssertionError("a run subscribes to nothing: its graph is made before any record")

    def switch(self, other: Observable[Any]) -> None:
        raise AssertionError("a run subscribes to nothing: its graph is made before any record")

    # Beyond the Host contract, for sinks.

    def write(self, topic: str, records: Sequence[Any], order: Sequence[float] | None) -> None:
        """Append records in this epoch's commit."""
        self.graph.write(topic, records, order)

    def made_room(self) -> None:
        """An edge that was full may have room."""
        self.graph.made_room()

    def pressure(self, *, full: bool) -> None:
        self.graph.note_pressure(self, full)

    def room(self) -> int:
        return self.graph.demand.room_below(self)

    def aside(self, name: str, batch: Batch) -> None:
        if name in ("late", "evicted", "dropped"):
            self.graph.note_aside(self, name, batch)
        side = self.sides.get(name)
        if side is not None:
            side.emit(batch)

    def reads(self, name: str) -> bool:
        return name in self.sides
