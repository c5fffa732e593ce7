"""What the sources have fetched ahead, whose turn it is, and how many records go through at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from rxstreams.feeds.source import Chunk, Source

if TYPE_CHECKING:
    from rxstreams.brokers.contract import Broker
    from rxstreams.runtime.vertices import Vertex

__all__ = ["Inputs"]

AHEAD = 2
FIRST_BATCH = 256
LONG_PUSH = 0.01


class Inputs:
    """The sources of a task, each read by a task of its own while records are worked on and committed.

    Holds two fetched chunks per source, and the one that is being worked on; the feed waits when these are full.

    Args:
        sources: The sources that have not ended.
        broker: Where topics are.
        positions: By source, per partition the next offset; none for a source that was never read.
        news: Called when something has come.
        rooms: How many records of each source there is room for.
        largest: The most records that go through at once.
    """

    def __init__(
        self,
        sources: Iterable[Vertex],
        broker: Broker,
        positions: Mapping[str, Mapping[int, int]],
        news: Callable[[], None],
        *,
        rooms: Callable[[Sequence[Vertex]], Mapping[Vertex, int]],
        largest: int,
    ) -> None:
        self.live = list(sources)
        self.broker, self.news, self.rooms, self.largest = broker, news, rooms, largest
        self.size = min(FIRST_BATCH, largest)
        self._ready: dict[Vertex, asyncio.Queue[Chunk | Exception | None]] = {v: asyncio.Queue(AHEAD) for v in self.live}
        self._part: dict[Vertex, tuple[Chunk, int]] = {}
        self.fetched: Counter[tuple[Vertex, int]] = Counter()
        """By source and partition, the records that were fetched, and are not pushed yet."""
        loop = asyncio.get_running_loop()
        self._asked: dict[Vertex, float] = {}
        self._at = {vertex: positions.get(vertex.identity, {}).get(0, 0) for vertex in self.live}
        work = [self._read(vertex, positions.get(vertex.identity)) for vertex in self.live]
        self._readers = [loop.create_task(one) for one in [*work, *map(self._watch, filter(_may_be_idle, self.live))]]

    async def _read(self, vertex: Vertex, known: Mapping[int, int] | None) -> None:
        """Put chunks, then an error or None, into the source's queue, whose bound is what holds the feed back."""
        assert isinstance(vertex.node, Source)
        queue, last, now = self._ready[vertex], None, asyncio.get_running_loop().time
        positions = None if known is None else dict(known)  # the task moves its own on
        saved = dict(vertex.node.states)
        try:
            async with aclosing(vertex.node.feed.chunks(self.broker, positions, first="earliest", saved=saved)) as chunks:
                self._asked[vertex] = now()
                async for chunk in chunks:
                    del self._asked[vertex]
                    self._at[vertex] = chunk.next_offset
                    self.fetched[vertex, chunk.partition] += len(chunk.values)
                    await queue.put(chunk)
                    self.news()
                    self._asked[vertex] = now()
        except Exception as error:
            last = error
        self._asked.pop(vertex, None)
        await queue.put(last)
        self.news()

    async def _watch(self, vertex: Vertex) -> None:
        """Tell when a source has been asked and had nothing, for as long as makes it idle; while it is not asked, it is not."""
        assert isinstance(vertex.node, Source)
        after, now, told = vertex.node.feed.idle_after, asyncio.get_running_loop().time, None
        assert after is not None
        while vertex in self.live:
            asked = self._asked.get(vertex)
            left = after if asked is None or asked == told else asked + after - now()
            if left > 0:
                await asyncio.sleep(left)
                continue
            told = asked
            await self._ready[vertex].put(Chunk(0, (), (), self._at[vertex], news="all idle"))
            self.news()

    @property
    def waiting(self) -> bool:
        """Whether something has come that nobody has taken, and that there is room for."""
        rooms = self.rooms(self.live)
        return any(rooms[vertex] > 0 and (vertex in self._part or not self._ready[vertex].empty()) for vertex in self.live)

    def next(self) -> tuple[Vertex, Chunk | None] | None:
        """The next records of a source, as many as there is room for, or its end (None); None if there is nothing to push.

        The sources take turns, so that none waits for a chunk of another that takes long.

        Raises:
            Exception: What the source failed with.
        """
        rooms = self.rooms(self.live)
        for vertex in self.live:
            room = min(rooms[vertex], self.size)
            if room <= 0:
                continue
            part = self._part.pop(vertex, None) or self._fetched(vertex)
            if part is None:
                continue
            chunk, at = part
            if chunk is None:
                self.live.remove(vertex)
                return vertex, None
            self.live.append(self.live.pop(self.live.index(vertex)))
            self.fetched[vertex, chunk.partition] -= min(room, len(chunk.values) - at)
            if len(chunk.values) - at > room:
                self._part[vertex] = chunk, at + room
                return vertex, chunk.cut(at, at + room)
            return vertex, chunk.cut(at, len(chunk.values)) if at else chunk
        return None

    def _fetched(self, vertex: Vertex) -> tuple[Chunk | None, int] | None:
        """What a source has fetched, from its first record on; None if nothing has come."""
        if self._ready[vertex].empty():
            return None
        item = self._ready[vertex].get_nowait()
        if isinstance(item, Exception):
            raise item
        return item, 0

    def adapt(self, records: int, took: float) -> None:
        """Choose the next batch's size by how long this one took: large ones for speed, but signals, timers and the commit
        interval must not wait for a slow function to be called two thousand times.
        """
        if took > LONG_PUSH:
            self.size = max(1, records // 2)
        elif records >= self.size and took < LONG_PUSH / 4:
            self.size = min(2 * self.size, self.largest)

    async def close(self) -> None:
        """Stop reading."""
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)


def _may_be_idle(vertex: Vertex) -> bool:
    return isinstance(vertex.node, Source) and vertex.wants_time and vertex.node.feed.idle_after is not None
