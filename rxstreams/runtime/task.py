"""One attempt at a task: acquire it, restore, work epoch by epoch, commit; after any doubt it is dropped and begun anew."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from rxstreams.brokers.contract import Broker, Commit, Put, TaskHandle
from rxstreams.errors import BrokerError, OffsetsError
from rxstreams.failpoints import failpoint
from rxstreams.feeds.source import Chunk, Source
from rxstreams.log import Progress, logger
from rxstreams.operators.calling import CallableSink
from rxstreams.operators.edges import Edge
from rxstreams.operators.sinks import TopicSink, ToTopic, ToView, ViewSink
from rxstreams.runtime.checkpoints import Checkpoints, Stateful
from rxstreams.runtime.edges import Pressure, name_of
from rxstreams.runtime.graph import Graph
from rxstreams.runtime.inputs import Inputs
from rxstreams.runtime.limits import check_size, entries
from rxstreams.runtime.losses import Losses
from rxstreams.runtime.offsets import resumption
from rxstreams.runtime.position import Position
from rxstreams.runtime.settings import EPOCH_RECORDS, Settings, Statistics
from rxstreams.runtime.topology import check_topology, topology_of
from rxstreams.runtime.vertices import Vertex
from rxstreams.stream import Stream
from rxstreams.views import View, published, table_of

__all__ = ["Task"]

HEARTBEAT = 5.0
DAY = 86_400.0
"""Seconds after which an idle task commits its offsets again: Kafka forgets those of a group that is quiet for a week."""
STALLED_AFTER = 300.0
"""Seconds without any progress, while records wait, after which the task begins anew: as long as Kafka's own consumers have for
a batch (``max.poll.interval.ms``)."""
CLOSE_WITHIN = 5.0
"""Seconds for which it is waited for calls that were cancelled."""
YIELD_EVERY = 0.005
RESOLUTION = 1e-6
"""Seconds by which a loop may call a timer early, such as one that counts whole microseconds of virtual time."""
SHARE_OF_COMMITS = 0.25


class Task:
    """One attempt. Its memory is trusted only while every commit is known to have happened.

    Args:
        streams: The pipeline's last streams; nodes are made anew for each attempt.
        broker: Started.
        settings: How to work.
        instance: Who this is, for the message that a fenced instance gets.
        views: The run's views by name; they outlive the attempt.
        statistics: Counted on over attempts.
    """

    def __init__(
        self,
        streams: Iterable[Stream[Any]],
        broker: Broker,
        settings: Settings,
        instance: str,
        views: dict[str, View],
        statistics: Statistics,
    ) -> None:
        self.broker, self.settings, self.instance, self.views, self.statistics = broker, settings, instance, views, statistics
        self.changed = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        losses = Losses(statistics, self.loop.time)
        self.pressure = Pressure(settings.app)
        self.graph = Graph(
            streams,
            policy=settings.on_error,
            clock=settings.clock,
            timer=self.loop.call_later,
            on_lost=losses.lost,
            on_aside=losses.aside,
            on_pressure=self.pressure.changed,
            app=settings.app,
        )
        self.graph.woken, self.graph.got_on = self._wake, self._got_on
        self.table = f"{settings.app}.state"
        self.checkpoints = Checkpoints(self.graph.stores, table=self.table, key_groups=settings.key_groups)
        self.positions: dict[str, dict[int, int]] = {}
        self.moved_at: dict[tuple[Vertex, int], float] = {}
        self.moved = self.warned = False
        self.epoch = 0
        self.progressed = self.committed_at = self.loop.time()
        self.finished = False
        self.stopping = False
        self.since_commit = 0
        self.commit_before = 0.0
        self.inputs: Inputs
        self.handle: TaskHandle

    def _got_on(self) -> None:
        self.progressed = self.loop.time()

    def _wake(self) -> None:
        if self.graph.in_loop():
            self.changed.set()
        else:
            self.loop.call_soon_threadsafe(self.changed.set)

    # Acquire: from `open` on the task is ours, and only then is what the broker has of it read.

    async def acquire(self) -> None:
        """Own the task, and be where its last commit was.

        Raises:
            TopologyError: If saved state fits no operator.
            FormatError: If saved state cannot be read.
            OffsetsError: If it cannot be told where to go on.
        """
        self.handle = await self.broker.open(self.settings.app, self.settings.task, instance=self.instance)
        failpoint("acquire.opened")
        rows = (await self.broker.read_table(self.table)).rows
        position = check_topology(self.graph, rows)
        topics = {vertex.identity: vertex.node.feed.topic for vertex in self.graph.sources if isinstance(vertex.node, Source)}
        read = {source: topic for source, topic in topics.items() if topic is not None}
        try:
            self.positions, reset = await resumption(self.broker, self.settings.app, self.settings.offsets, read, position)
        except OffsetsError:
            await self.handle.commit(Commit())  # if a newer instance has committed since the state was read, this says so
            raise
        if reset:
            await self.handle.commit(Commit(puts=[Put(self.table, key, None) for key, _ in rows]))
            position = None
        await self._open_ends()
        closed: list[str] = []
        if position is not None:
            progress = Progress("restoring", app=self.settings.app)
            restored = self.checkpoints.restore(rows, lambda done, of: progress(done, of, groups=f"{done} of {of}"))
            assert restored is not None
            closed = self._resume(restored)
        failpoint("acquire.restored")
        self.statistics.restored = sum(map(entries, self.graph.stateful))
        for vertex, end in self.graph.ends(ViewSink):
            self.views[end.view]._load(vertex.node.states, self.epoch)
        self.graph.start(closed)
        for vertex in self.graph.sources:
            if isinstance(vertex.node, Source) and vertex.wants_time:
                vertex.forward(vertex.node.times.now)
        self.graph.settle()

    async def _open_ends(self) -> None:
        """Have the topics and tables that are written to, and know how large their records may be."""
        for vertex, sink in self.graph.ends(TopicSink):
            await self.broker.create_topic(sink.topic, sink.partitions or 1)
            assert isinstance(vertex.node, ToTopic)
            vertex.node.limit = await self.broker.record_limit(sink.topic)
        for _, view in self.graph.ends(ViewSink):
            if view.publish:
                await self.broker.create_table(table_of(self.settings.app, view.view))
        await self.broker.create_table(self.table)
        self.checkpoints.bound(await self.broker.record_limit(self.table))

    def _resume(self, position: Position) -> list[str]:
        self.epoch, self.finished = position.epoch, position.finished
        by_identity = {vertex.identity: vertex for vertex in self.graph.sources}
        marks: dict[str, dict[int, int]] = {}
        for source, _, partition, mark in position.watermarks:
            marks.setdefault(source, {})[partition] = mark
        for source, saved in marks.items():
            node = by_identity[source].node if source in by_identity else None
            if isinstance(node, Source):
                node.times.restore(saved)
        return list(position.clock.get("closed", ()))

    # Work.

    async def work(self) -> None:
        """Push what comes, commit at the interval, until the input ends or ``stop`` is called.

        Raises:
            RxStreamsError: What stopped it; nothing of the open epoch is visible then.
        """
        sources = [vertex for vertex in self.graph.sources if not vertex.closed]
        self.inputs = Inputs(
            sources,
            self.broker,
            self.positions,
            self.changed.set,
            rooms=self.graph.demand.rooms,
            largest=self.settings.batch,
        )
        now = yielded = self.loop.time()
        next_commit, next_beat = now + self._interval(), now + HEARTBEAT
        while not self.stopping and not self._over():
            self.changed.clear()  # what changes from here on is looked at before it is waited for anything
            self.graph.run_posted()
            got = self.inputs.next()
            if got is None:
                await self._sleep(next_commit if self._has_news() else next_beat)
            elif got[1] is None:
                self._source_ended(got[0])
            else:
                self._push(got[0], got[1])
            now = self.loop.time()
            if now >= next_commit - RESOLUTION or self.since_commit >= EPOCH_RECORDS:
                began = now
                if self._has_news():
                    await self.commit()
                    next_beat = self.loop.time() + HEARTBEAT
                now = yielded = self.loop.time()
                next_commit = max(now, began + self._interval())
            elif now - yielded >= YIELD_EVERY:
                await asyncio.sleep(0)
                yielded = self.loop.time()
            if now - self.progressed >= STALLED_AFTER:
                await self._check_stalled()
            if now >= next_beat - RESOLUTION:
                await self._beat(now)
                next_beat = self.loop.time() + HEARTBEAT
        await self._end()

    async def _beat(self, now: float) -> None:
        """Commit nothing, which tells an idle instance that it was fenced; once a day the offsets."""
        offsets = {}
        if now - self.committed_at >= DAY:
            offsets, self.committed_at = self._offsets(), now
        await self.handle.commit(Commit(offsets=offsets))

    async def _check_stalled(self) -> None:
        """Give up on this attempt if records wait in a topic that is being read.

        Raises:
            BrokerError: If so: whatever holds them back, a fetch that never returns or a call that never ends, a restart drops.
        """
        if any(isinstance(vertex.node, Edge) and vertex.node.patient for vertex in self.graph.vertices):
            self._got_on()  # it waits for what comes by itself
            return
        for vertex in self.inputs.live:
            assert isinstance(vertex.node, Source)
            topic, at = vertex.node.feed.topic, self.positions.get(vertex.identity, {})
            if topic is None:
                continue
            starts, ends = await self.broker.start_offsets(topic), await self.broker.end_offsets(topic)
            waiting = sum(abs(end - at.get(p, start)) for p, (start, end) in enumerate(zip(starts, ends)))
            if waiting:
                stalled = f"no progress for {STALLED_AFTER:g} s, and {waiting:,} records wait{self._held_by()}"
                raise BrokerError(f"app {self.settings.app!r}, topic {topic!r}: {stalled}")
        self.progressed = self.loop.time()

    def _held_by(self) -> str:
        """Which edge it is that brings nothing."""
        full = [name_of(vertex) for vertex in self.graph.vertices if isinstance(vertex.node, Edge) and vertex.node.full]
        return f" for {full[-1]}; calls that may take longer need timeout=" if full else ""

    def stop(self) -> None:
        """Finish the epoch, commit it, and return from ``work``."""
        self.stopping = True
        self._wake()

    def _over(self) -> bool:
        if any(vertex.node.backlog for vertex, _ in self.graph.ends(CallableSink)):
            return False
        if self.graph.complete:
            return True
        still = self.inputs.live or self.graph.posted or self.graph.waits_for_time
        return not still and not self._foreign() and not any(vertex.node.backlog for vertex in self.graph.vertices)

    def _foreign(self) -> bool:
        """Whether foreign operators may still bring something: sources, and operators that have not ended after their inputs."""
        foreign = (vertex for vertex in self.graph.vertices if vertex.stream is None and not vertex.closed)
        return any(all(source.closed for source in vertex.inputs) for vertex in foreign)

    def _interval(self) -> float:
        """The commit interval, stretched so that commits take no more than a quarter of the time."""
        # Of two, as one alone may have had to find the brokers, make a table, or wait for a disk.
        least = min(self.commit_before, self.statistics.commit_seconds) / SHARE_OF_COMMITS
        self.commit_before = self.statistics.commit_seconds
        self.statistics.interval = max(self.settings.commit_interval, least)
        return self.statistics.interval

    def _push(self, vertex: Vertex, chunk: Chunk) -> None:
        failpoint("epoch.polled")
        began = self.loop.time()
        self.graph.push(vertex, chunk)
        self.inputs.adapt(len(chunk.values), self.loop.time() - began)
        self.positions.setdefault(vertex.identity, {})[chunk.partition] = chunk.next_offset
        if len(chunk.values):
            self.moved_at[vertex, chunk.partition] = self.settings.clock()
        self.moved = True
        self.progressed = self.loop.time()
        self.since_commit += len(chunk.values)
        self.statistics.records += len(chunk.values)
        failpoint("epoch.pushed")

    def _source_ended(self, vertex: Vertex) -> None:
        assert isinstance(vertex.node, Source)
        if vertex.node.feed.finish:
            self.graph.finish_source(vertex)
            self.moved = True

    async def _sleep(self, until: float) -> None:
        """Wait for news; no longer than ``until``."""
        if self.graph.posted or self.inputs.waiting or self._over():
            return
        timer = self.loop.call_at(until, self.changed.set)
        try:
            await self.changed.wait()
        finally:
            timer.cancel()

    def _has_news(self) -> bool:
        return self.moved or bool(self.graph.outputs) or any(map(_changed, self.graph.stores))

    async def _end(self) -> None:
        self.graph.run_posted()
        self.finished = self.graph.complete
        if self._has_news() or self.finished:
            await self.commit()

    # Commit.

    async def commit(self) -> None:
        """Make outputs, state and offsets of this epoch durable together, then visible.

        Order: nodes emit what they held back (so that it is in this commit), state is encoded, the broker commits, and only
        when it has said so do views change and is the next epoch's memory trusted. If it raises, this attempt is over.
        """
        began = self.loop.time()
        self.graph.cut()
        self.epoch += 1
        commit = Commit(self.graph.outputs, self.checkpoints.cut(self._position()), self._offsets())
        size, limit = self.checkpoints.saved_bytes, self.settings.state_limit
        self.warned = check_size(self.settings.app, size, limit, self.graph.stateful, warned=self.warned)
        self.graph.outputs = {}
        changes = self._view_changes(commit.puts)
        failpoint("epoch.cut")
        await self.handle.commit(commit)
        failpoint("epoch.committed")
        self.checkpoints.promote()
        self.moved, self.since_commit = False, 0
        self.progressed = self.committed_at = self.loop.time()
        for view, changed in changes:
            view._apply(changed, self.epoch)
        failpoint("epoch.promoted")
        self.statistics.epochs += 1
        self.statistics.commit_seconds = self.loop.time() - began

    def _view_changes(self, puts: list[Put]) -> list[tuple[View, dict[Any, Any]]]:
        changes = []
        for vertex, sink in self.graph.ends(ViewSink):
            assert isinstance(vertex.node, ToView)
            changed, vertex.node.changed = vertex.node.changed, {}
            if sink.publish:
                puts.extend(published(self.settings.app, sink.view, changed))
            changes.append((self.views[sink.view], changed))
        return changes

    def _offsets(self) -> dict[tuple[str, int], int]:
        """Next offsets by topic; of two sources on one topic, the one that is behind."""
        offsets: dict[tuple[str, int], int] = {}
        for vertex in self.graph.sources:
            assert isinstance(vertex.node, Source)
            topic = vertex.node.feed.topic
            for partition, offset in self.positions.get(vertex.identity, {}).items():
                if topic is not None:
                    offsets[topic, partition] = min(offset, offsets.get((topic, partition), offset))
        return offsets

    def _position(self) -> Position:
        offsets, watermarks = [], []
        for vertex in self.graph.sources:
            assert isinstance(vertex.node, Source)
            topic = vertex.node.feed.topic or ""
            offsets += [(vertex.identity, topic, p, offset) for p, offset in self.positions.get(vertex.identity, {}).items()]
            watermarks += [(vertex.identity, topic, p, mark) for p, mark in vertex.node.times.saved().items()]
        closed = [vertex.identity for vertex in self.graph.vertices if vertex.closed and vertex.identity]
        return Position(
            epoch=self.epoch,
            offsets=offsets,
            watermarks=watermarks,
            topology=topology_of(self.graph),
            finished=self.finished,
            clock={"closed": closed},
        )

    async def close(self) -> None:
        """Release everything; correctness never depends on it."""
        self.pressure.close()
        self.graph.close()
        try:
            async with asyncio.timeout(CLOSE_WITHIN):
                await self.graph.closed()
        except TimeoutError:
            logger().warning("calls that were cancelled go on", app=self.settings.app, waited=CLOSE_WITHIN)
        if hasattr(self, "inputs"):
            await self.inputs.close()
        if hasattr(self, "handle"):
            await self.handle.close()


def _changed(store: Stateful) -> bool:
    spaces = store.spaces
    return bool(store.dirty) or (spaces is not None and bool(spaces.touched or spaces.dropped))
