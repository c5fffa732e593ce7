"""A pipeline driven by hand: records, watermarks, idleness, the clock, commits and crashes, in virtual time, without a broker.

It is the run's own graph that is driven, with its own state and checkpoints. Only what a run does on an event loop is left out:
reading sources, and operators that wait (``to_callable`` with a coroutine function); for those there is ``virtually``.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from rxstreams.batch import Batch
from rxstreams.brokers.contract import Record
from rxstreams.errors import ConfigError, Policy, Stop
from rxstreams.feeds.source import Chunk, Source
from rxstreams.operators.sinks import ToView, ViewSink
from rxstreams.runtime.checkpoints import Checkpoints, Position
from rxstreams.runtime.graph import Graph
from rxstreams.runtime.topology import topology_of
from rxstreams.runtime.vertices import Vertex
from rxstreams.state.keys import original
from rxstreams.stream import Node, Operation, Stream, operator
from rxstreams.watermarks import to_millis

__all__ = ["Clock", "Drive", "Driver", "drive"]

Moment = datetime | str | float
"""An event time: an aware datetime, an ISO 8601 text with an offset, or epoch seconds or milliseconds."""


class Clock:
    """Time that passes when told to, and the actions that wait for it.

    Args:
        now: Seconds since the epoch.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self.waiting: list[tuple[float, int, Callable[[], None]]] = []
        self.numbers = itertools.count()

    def later(self, seconds: float, action: Callable[[], None]) -> Handle:
        """Have ``action`` done after some seconds, as ``loop.call_later`` does."""
        entry = (self.now + seconds, next(self.numbers), action)
        heapq.heappush(self.waiting, entry)
        return Handle(self, entry)

    def advance(self, seconds: float, after: Callable[[], None]) -> None:
        """Let time pass; call ``after`` whenever something was due."""
        until = self.now + seconds
        while self.waiting and self.waiting[0][0] <= until:
            self.now, _, action = heapq.heappop(self.waiting)
            action()
            after()
        self.now = until


class Handle:
    """What takes an action back."""

    def __init__(self, clock: Clock, entry: tuple[float, int, Callable[[], None]]) -> None:
        self.clock, self.entry = clock, entry

    def cancel(self) -> None:
        """Do not do it."""
        if self.entry in self.clock.waiting:
            self.clock.waiting.remove(self.entry)
            heapq.heapify(self.clock.waiting)


class Collect(Node):
    """Writes down what comes: (value, event time, key), and when by the clock."""

    def __init__(self, driver: Driver, index: int, *, timed: bool) -> None:
        super().__init__()
        self.driver, self.index = driver, index
        self.into, self.moments = driver.results[index], driver.moments[index]
        self.needs_time = timed  # type: ignore[misc]  # of one node, here

    def batch(self, b: Batch, port: int) -> None:
        """Write down."""
        n = len(b)
        times = b.times if b.times and self.needs_time else [None] * n
        self.into.extend(zip(b.values, times, b.keys or ["unkeyed"] * n, strict=True))
        self.moments.extend([self.driver.clock.now] * n)
        self.emit(b)

    def end(self, port: int, at: float | None = None) -> None:
        """Write down when it ended."""
        self.driver.ends[self.index] = self.driver.clock.now
        self.finish(at)


class Driver:
    """One pipeline, its saved state, and the graph that is at work now.

    Args:
        streams: What to collect the results of.
        timed: Whether event times are asked for downstream.
        policy: What happens to failing records where an operator does not say.
        start: Where the clock begins, in seconds since the epoch.
        key_groups: Into how many groups saved state is cut.

    Attributes:
        results: For each of the streams (views left out), what came out: (value, event time, internal key).
        moments: For each of these, when it came by the clock.
        ends: For each of the streams, when it ended; None where it has not.
        outputs: Records that were committed to topics.
        lost: What was let go, as messages.
        table: The saved state, as the rows of a broker's table.
    """

    def __init__(
        self,
        *streams: Stream[Any],
        timed: bool = True,
        policy: Policy = Stop(),
        start: float = 0.0,
        key_groups: int = 4,
    ) -> None:
        self.policy, self.key_groups, self.clock = policy, key_groups, Clock(start)
        self.results: list[list[Any]] = []
        self.moments: list[list[float]] = []
        self.ends: list[float | None] = []
        self.watched: list[Stream[Any]] = []
        self.streams = [self._collected(stream, timed=timed) for stream in streams]
        self.table: dict[bytes, bytes] = {}
        self.outputs: dict[str, list[Record]] = {}
        self.views: dict[str, dict[Any, Any]] = {}
        self.lost: list[str] = []
        self.epoch = self.puts = 0
        self.remember()
        self.begin()

    def _collected(self, stream: Stream[Any], *, timed: bool) -> Stream[Any]:
        """The stream, its results written down; a view at the end is one already."""
        if stream.operation.kind == "to_view":
            return stream
        index = len(self.results)
        self.results.append([])
        self.moments.append([])
        self.ends.append(None)
        self.watched.append(stream)
        return operator(Operation("collect", lambda: Collect(self, index, timed=timed)))(stream)

    def begin(self) -> None:
        """Make a new graph, and restore what was committed."""
        self.clock.waiting.clear()
        self.graph = Graph(
            self.streams,
            policy=self.policy,
            clock=lambda: self.clock.now,
            timer=self.clock.later,
            on_lost=lambda failure, policy: self.lost.append(str(failure.error)),
        )
        self.sources: dict[str, Vertex] = {vertex.identity: vertex for vertex in self.graph.sources}
        self.checkpoints = Checkpoints(self.graph.stores, table="state", key_groups=self.key_groups)
        position = self.checkpoints.restore(list(self.table.items()))
        closed: list[str] = []
        if position is not None:
            closed = list(position.clock["closed"])
            for name in self.sources:
                self.source(name).times.restore({p: mark for source, _, p, mark in position.watermarks if source == name})
        self.graph.start(closed)
        for vertex in self.graph.sources:
            if vertex.wants_time:
                vertex.forward(self.source(vertex.identity).times.now)
        self.graph.settle()
        self.graph.run_posted()

    def source(self, identity: str) -> Source:
        """A source's node."""
        node = self.sources[identity].node
        assert isinstance(node, Source)
        return node

    def push(self, identity: str, chunk: Chunk) -> None:
        """Put consecutive records of one partition through the graph."""
        if not self.sources[identity].closed:
            self.graph.push(self.sources[identity], chunk)
        self.graph.run_posted()

    def finish(self, identity: str) -> None:
        """End a source."""
        if not self.sources[identity].closed:
            self.graph.finish_source(self.sources[identity])
        self.graph.run_posted()

    def remember(self) -> None:
        """Note what is committed beside the state."""
        self._committed = (
            [len(one) for one in self.results],
            {topic: list(records) for topic, records in self.outputs.items()},
            {view: dict(rows) for view, rows in self.views.items()},
            list(self.lost),
        )

    def commit(self) -> None:
        """Save the state, and make the results so far final."""
        self.graph.cut()
        for topic, records in self.graph.outputs.items():
            self.outputs.setdefault(topic, []).extend(records)
        self.graph.outputs = {}
        for vertex, sink in self.graph.ends(ViewSink):
            assert isinstance(vertex.node, ToView)
            rows = self.views.setdefault(sink.view, {})
            rows.update((original(key), value) for key, value in vertex.node.changed.items())
            vertex.node.changed = {}
        self.epoch += 1
        marks = [(name, "", p, mark) for name in self.sources for p, mark in self.source(name).times.saved().items()]
        closed = [vertex.identity for vertex in self.graph.vertices if vertex.closed and vertex.identity]
        position = Position(epoch=self.epoch, watermarks=marks, topology=topology_of(self.graph), clock={"closed": closed})
        puts = self.checkpoints.cut(position)
        self.puts += len(puts)
        for put in puts:
            if put.value is None:
                self.table.pop(put.key, None)
            else:
                self.table[put.key] = put.value
        self.checkpoints.promote()
        self.remember()

    def roll_back(self) -> None:
        """Forget what was not committed, and begin anew from what was."""
        self.graph.close()
        lengths, outputs, views, lost = self._committed
        self.outputs = {topic: list(records) for topic, records in outputs.items()}
        self.views = {view: dict(rows) for view, rows in views.items()}
        self.lost = list(lost)
        for one, moments, length in zip(self.results, self.moments, lengths, strict=True):
            del one[length:], moments[length:]
        self.begin()


class Drive(Driver):
    """A pipeline driven by hand; see ``drive``.

    Attributes:
        topics: What was committed to topics, as ``Record``s by topic: ``outputs``.
        views: What was committed to views: the latest value by key, by view.
    """

    def __init__(self, *streams: Stream[Any], policy: Policy = Stop(), start: float | None = None) -> None:
        self._clock_follows = start is None
        self._since: list[Callable[[], None]] = []
        self._offsets: dict[tuple[str, int], int] = {}
        self._taken: dict[int, int] = {}
        self._committed_offsets: dict[tuple[str, int], int] = {}
        super().__init__(*streams, policy=policy, start=start or 0.0)

    # What goes in.

    def feed(
        self,
        *values: Any,
        source: Stream[Any] | str | None = None,
        partition: int = 0,
        at: Moment | Sequence[Moment] | None = None,
    ) -> None:
        """Have records come, one by one.

        Args:
            values: What a source of topics decodes: bytes as they are, anything else as its JSON; or the items of an iterable.
            source: The source, or its topic's name; not needed where there is one.
            partition: Which of its partitions they come from.
            at: The records' timestamps, one for all or one each; None is the clock's. (A source that reads the time from the
                value does that.)

        Raises:
            ConfigError: If there is no such source.
        """
        identity = self._identity(source)
        stamps = at if isinstance(at, Sequence) and not isinstance(at, str) else [at] * len(values)
        if len(stamps) != len(values):
            raise ConfigError(f"feed(at): expected a time for each of the {len(values)} values, got {len(stamps)}")
        for value, stamp in zip(values, stamps, strict=True):
            self._do(partial(self._push_one, identity, partition, value, self._millis(stamp)))

    def _push_one(self, identity: str, partition: int, value: Any, stamp: int) -> None:
        raw = value
        if self.source(identity).decode is not None and not isinstance(value, bytes):
            raw = msgspec.json.encode(value)
        if self._clock_follows:
            self._let_clock_come_to(identity, raw, stamp)
        offset = self._offsets.get((identity, partition), 0)
        self._offsets[identity, partition] = offset + 1
        self.push(identity, Chunk(partition, [raw], [offset], offset + 1, [stamp], [None], [()]))

    def _let_clock_come_to(self, identity: str, raw: Any, stamp: int) -> None:
        """A record is not handled before the time that it has; one whose time cannot be read fails soon enough."""
        source = self.source(identity)
        with suppress(Exception):
            if source.read_time is not None:
                stamp = source.read_time(raw if source.decode is None else source.decode(raw))
            if stamp > self.clock.now * 1000:
                self.advance(stamp / 1000 - self.clock.now)

    def watermark(self, time: Moment, *, source: Stream[Any] | str | None = None) -> None:
        """Move a source's watermark by hand; it never goes back.

        Args:
            time: No record before it is expected any more.
            source: The source, or its topic's name; not needed where there is one.
        """
        identity, mark = self._identity(source), self._millis(time)

        def move() -> None:
            self.source(identity).times.raise_to(mark)
            self.graph.carry_out(lambda: self.sources[identity].forward(self.source(identity).times.now))
            self.graph.run_posted()

        self._do(move)

    def idle(self, partition: int = 0, *, all_partitions: bool = False, source: Stream[Any] | str | None = None) -> None:
        """Set a partition aside, which was asked and had nothing; or say that this is so of all of them."""
        identity = self._identity(source)
        news = Chunk(partition, (), (), 0, news="all idle" if all_partitions else "idle")
        self._do(partial(self.push, identity, news))

    def end(self, source: Stream[Any] | str | None = None) -> None:
        """End a source; without one, all of them."""
        for identity in self.sources if source is None else [self._identity(source)]:
            self._do(partial(self.finish, identity))

    def advance(self, seconds: float) -> None:
        """Let the clock go on; what is due by it happens on the way."""
        self.clock.advance(seconds, self.graph.run_posted)
        self.graph.run_posted()

    # Commits and crashes.

    def commit(self) -> None:
        """Commit: what was fed so far has been taken in for good."""
        super().commit()
        self._since.clear()
        self._committed_offsets = dict(self._offsets)

    def crash(self) -> None:
        """End without a word, and start again: from the last commit, with all that was fed since then fed once more."""
        self._offsets = dict(self._committed_offsets)
        self.roll_back()
        for action in list(self._since):
            action()

    def restart(self) -> None:
        """Stop after a commit, and start again."""
        self.commit()
        self.crash()

    # What comes out.

    def values(self, stream: Stream[Any] | None = None) -> list[Any]:
        """All values that came out of a stream so far; without one, of the first."""
        return [value for value, _, _ in self.results[self._index(stream)]]

    def new(self, stream: Stream[Any] | None = None) -> list[Any]:
        """The values that came out since the last call; what a crash takes back and brings again is not new."""
        index = self._index(stream)
        values = self.values(stream)[self._taken.get(index, 0) :]
        self._taken[index] = self._taken.get(index, 0) + len(values)
        return values

    @property
    def topics(self) -> dict[str, list[Record]]:
        """What was committed to topics."""
        return self.outputs

    def state(self, operator: str) -> dict[Any, Any]:
        """What an operator keeps, by the user's key; of an operator that keeps windows, by (window or pane, key).

        Args:
            operator: Its name, or how its title begins: ``"aggregate"``.

        Raises:
            ConfigError: If there is no such operator, or none that keeps anything.
        """
        for vertex in self.graph.stateful:
            if operator in (vertex.identity, vertex.stream and vertex.stream.operation.name) or vertex.title.startswith(operator):
                held = {original(key): state for key, state in vertex.node.states.items()}
                spaces = vertex.node.spaces.states if vertex.node.spaces is not None else {}
                return held | {(space, original(key)): one for space, keys in spaces.items() for key, one in keys.items()}
        known = ", ".join(vertex.title for vertex in self.graph.stateful) or "none"
        raise ConfigError(f"state({operator!r}): no such operator; those that keep something: {known}")

    # Inside.

    def _do(self, action: Callable[[], None]) -> None:
        self._since.append(action)
        action()

    def _millis(self, time: Moment | None) -> int:
        return round(self.clock.now * 1000) if time is None else to_millis(time)

    def _identity(self, source: Stream[Any] | str | None) -> str:
        if source is None:
            if len(self.sources) == 1:
                return next(iter(self.sources))
        elif isinstance(source, str):
            for identity in (source, f"topic:{source}"):
                if identity in self.sources:
                    return identity
        else:
            for identity, vertex in self.sources.items():
                if vertex.stream is source:
                    return identity
        raise ConfigError(f"source: expected one of {', '.join(self.sources)}, got {source!r}")

    def _index(self, stream: Stream[Any] | None) -> int:
        if stream is None:
            return 0
        for index, one in enumerate(self.watched):
            if one is stream:
                return index
        raise ConfigError(f"{stream!r} is not driven; pass it to drive(…)")


def drive(*streams: Stream[Any], on_error: Policy = Stop(), start: Moment | None = None) -> Drive:
    """Drive a pipeline by hand, as a run would: feed it records, move its watermark and the clock, commit, crash, look.

        counts = rxs.from_topic("orders", Order, timestamp="at").pipe(
            ops.key_by("user"), ops.windowed(rxs.tumbling(60), n=agg.count())
        )
        drive = testing.drive(counts, counts.late)
        drive.feed(Order("ann", "2026-01-16T10:00:05Z"))
        drive.watermark("2026-01-16T10:01:00Z")
        assert [(row.key, row.n) for row in drive.new()] == [("ann", 1)]
        drive.crash()                         # what was fed since the last commit is fed again
        assert drive.values(counts.late) == []

    Nothing sleeps, and there is no event loop. Each value goes through on its own.

    Args:
        streams: What is looked at: results, side streams, sinks.
        on_error: What happens to failing records where an operator does not say.
        start: Where the clock begins; it passes by ``advance`` only then. None begins at 1970, and the clock goes on by itself
            so far that no record comes before the time that it has.

    Raises:
        ConfigError: If there is nothing to drive.
        GraphError: If an operator needs an event loop, such as ``to_callable`` with a coroutine function.
    """
    if not streams:
        raise ConfigError("drive: expected at least one stream")
    return Drive(*streams, policy=on_error, start=None if start is None else to_millis(start) / 1000)
