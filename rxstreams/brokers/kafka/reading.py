"""Records from Kafka: from any offset, and as they come."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition, errors

from rxstreams.brokers.columns import present
from rxstreams.brokers.contract import Fetched
from rxstreams.brokers.kafka.batches import Chunk, Packed, chunk, fetched, fetcher_is_dead
from rxstreams.brokers.kafka.cluster import BEGIN, Cluster
from rxstreams.brokers.kafka.faults import PATIENCE, closed, patiently, said
from rxstreams.errors import BrokerError, MissingTopicError, OffsetsError

__all__ = ["Reader"]

_LOOK = 0.5
"""Seconds after which a topic that was missing is looked for again."""


class _Partition:
    """What has been read of a partition and not been asked for yet.

    Attributes:
        where: Which.
        packed: Its records, in order, as they came.
        chunk: Those before them, taken apart.
        at: The offset from which it was read, or the records were taken, on.
        after: That after the records, which is where the client goes on.
        turn: Held while somebody goes to an offset and reads there: another would take the records away.
    """

    def __init__(self, where: TopicPartition) -> None:
        self.where = where
        self.packed: deque[Packed] = deque()
        self.chunk = chunk()
        self.at = self.after = -1
        self.turn = asyncio.Lock()

    @property
    def filled(self) -> bool:
        """Whether there are some."""
        return bool(self.packed or self.chunk.values)

    def clear(self) -> None:
        """Forget the records."""
        self.packed.clear()
        self.chunk = chunk()

    def take(self, max_records: int, max_bytes: int) -> Fetched:
        """The first of the records."""
        one, self.chunk = self.chunk, chunk()
        while self.packed and len(one.values) < max_records:
            self.packed.popleft().unpack(one)
        stop = _stop(one, max_records, max_bytes)
        if stop < len(one.values):
            one, self.chunk = one.cut(0, stop), one.cut(stop)
        rest = self.chunk.offsets
        self.at = rest[0] if rest else self.packed[0].start if self.packed else self.after
        columns = one.offsets, one.values, present(one.keys), one.timestamps, one.headers
        return Fetched(self.where.topic, self.where.partition, *columns, self.at)


def _stop(one: Chunk, max_records: int, max_bytes: int) -> int:
    """Where to end that there are not too many, but one."""
    if _weight(one.values) + _weight(one.keys) <= max_bytes:
        return min(len(one.values), max_records)
    sizes = accumulate(len(value or b"") + len(key or b"") for value, key in zip(one.values, one.keys))
    return min(max_records, max(1, bisect_right(list(sizes), max_bytes)))


def _weight(column: Sequence[bytes | None]) -> int:
    try:
        return sum(map(len, column))  # type: ignore[arg-type]  # mostly none is None
    except TypeError:
        return sum(len(one) for one in column if one is not None)


class _Topic:
    """A client that reads a topic, and its partitions."""

    def __init__(self, client: AIOKafkaConsumer) -> None:
        self.client = client
        self.partitions: dict[int, _Partition] = {}

    def assign(self, name: str, partitions: Iterable[int]) -> None:
        """Read these partitions, each only after ``go_to``: until then it has no place to be read from."""
        self.partitions |= {p: _Partition(TopicPartition(name, p)) for p in partitions if p not in self.partitions}
        self.client.assign([one.where for one in self.partitions.values()])
        for one in self.partitions.values():
            self.client.seek(one.where, max(0, one.after))
            if one.after < 0:
                self.client.pause(one.where)

    def go_to(self, one: _Partition, offset: int) -> None:
        """Have a partition be read from an offset on."""
        if one.at == offset:
            return
        if one.at < 0:
            self.client.resume(one.where)
        one.clear()
        one.at = one.after = offset
        self.client.seek(one.where, offset)


class Reader:
    """Reads committed records. A client for each topic; what it has read ahead stays until it is asked for.

    Args:
        cluster: For what is not in the records.
        options: How clients connect.
    """

    def __init__(self, cluster: Cluster, options: Mapping[str, Any]) -> None:
        self._cluster = cluster
        self._options = {
            **options,
            "group_id": None,
            "enable_auto_commit": False,
            "isolation_level": "read_committed",
            "auto_offset_reset": "none",
            "max_partition_fetch_bytes": 4_000_000,
        }
        self._topics: dict[str, _Topic] = {}
        self._opening = asyncio.Lock()

    async def stop(self) -> None:
        """Close the clients."""
        topics, self._topics = self._topics, {}
        for name, topic in topics.items():
            await self._give_up(topic, name)

    async def read(self, topic: str, partition: int, offset: int, max_records: int, max_bytes: int) -> Fetched:
        """See ``Broker.read``."""
        source, one = await self._find(topic, partition)
        async with one.turn:
            source.go_to(one, max(0, offset))
            if not one.filled:
                await self._fill(source, [one], 0.0)
            if not one.filled and one.after < (end := await self._cluster.end(topic, partition)):
                await self._fill_up_to(source, one, end)
            try:
                with said(f"broker {self._cluster.url}, topic {topic!r}"):
                    return one.take(max_records, max_bytes)
            except BaseException:  # it was damaged on its way, and is fetched anew
                one.clear()
                one.after = one.at
                source.client.seek(one.where, one.at)
                raise

    async def _fill_up_to(self, source: _Topic, one: _Partition, end: int) -> None:
        """Take what comes, at least up to an offset, which is there.

        Raises:
            BrokerError: If nothing comes for long, or the client has lost the task that fetches: it is closed, and the next
                that reads here makes another.
        """
        now = asyncio.get_running_loop().time
        until, at = now() + PATIENCE, one.after
        while not one.filled and one.after < end:
            await self._fill(source, [one], 0.1)
            if one.after > at:  # commits and aborted records, which are passed
                until, at = now() + PATIENCE, one.after
            if now() > until or fetcher_is_dead(source.client):
                await self._give_up(source, one.where.topic)
                where = f"broker {self._cluster.url}, topic {one.where.topic!r}, partition {one.where.partition}"
                there = f"there are some up to offset {end}; the client is made anew"
                raise BrokerError(f"{where}: no records come from offset {one.after} on, and {there}")

    async def _give_up(self, source: _Topic, name: str) -> None:
        if self._topics.get(name) is source:
            del self._topics[name]
        await _close(source.client)

    async def wait(self, positions: Mapping[tuple[str, int], int], timeout: float) -> None:
        """See ``Broker.wait``."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        while (left := until - loop.time()) > 0:
            sources = await self._positioned(positions)
            if any(one.filled for parts in sources.values() for one in parts):
                return
            # Not for longer than this: a topic may come to be, and who reads the same partition here may take what we wait for.
            left = min(left, _LOOK)
            tasks = [asyncio.ensure_future(self._fill(source, parts, left)) for source, parts in sources.items()]
            tasks += [] if tasks else [asyncio.ensure_future(asyncio.sleep(left))]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            if any(one.filled for parts in sources.values() for one in parts):
                return

    async def _positioned(self, positions: Mapping[tuple[str, int], int]) -> dict[_Topic, list[_Partition]]:
        """By client, the partitions that are there, each to be read from its offset on."""
        sources: dict[_Topic, list[_Partition]] = {}
        for (topic, partition), offset in positions.items():
            with suppress(MissingTopicError):
                source, one = await self._find(topic, partition)
                async with one.turn:
                    source.go_to(one, offset)
                sources.setdefault(source, []).append(one)
        return sources

    async def _find(self, topic: str, partition: int) -> tuple[_Topic, _Partition]:
        """A partition, and the client that reads it."""
        source = self._topics.get(topic)
        if source is None or partition not in source.partitions:
            async with self._opening:
                source = await self._open(topic, partition)
        return source, source.partitions[partition]

    async def _open(self, topic: str, partition: int) -> _Topic:
        """A client for a topic with this partition."""
        leaders = await self._cluster.partitions(topic)
        if partition not in leaders:
            raise MissingTopicError(f"{topic}[{partition}]", [f"{topic}[{one}]" for one in leaders])
        source = self._topics.get(topic)
        if source is None:
            client = AIOKafkaConsumer(**self._options)
            try:
                with said(f"broker {self._cluster.url}, topic {topic!r}"):
                    await patiently(client.start)
            except BaseException:
                await _close(client)
                raise
            source = self._topics[topic] = _Topic(client)
        if partition not in source.partitions:
            source.assign(topic, leaders)
        return source

    async def _go_to_starts(self, source: _Topic, parts: list[_Partition]) -> None:
        """Read what is before the start of its log from there on.

        Raises:
            OffsetsError: If a log ends before what was to be read: it is another log.
        """
        topic = parts[0].where.topic
        starts, ends = await self._cluster.offsets(topic, BEGIN), await self._cluster.offsets(topic, committed=False)
        for one in parts:
            start, end = starts[one.where.partition], ends[one.where.partition]
            if one.after > end:
                where = f"topic {topic!r}, partition {one.where.partition}"
                raise OffsetsError(
                    f"{where}: it was read up to offset {one.after}, and ends at {end}: it was deleted and made anew, or cut "
                    "off. Start with offsets='earliest' to read it from its start"
                )
            if one.after < start:
                source.go_to(one, start)

    async def _fill(self, source: _Topic, parts: list[_Partition], timeout: float) -> None:
        """Take what the client has read, or reads within a time."""
        where = [one.where for one in parts]
        try:
            with said(f"broker {self._cluster.url}, topic {where[0].topic!r}"):
                found = await fetched(source.client, where, timeout)
        except BaseException as error:
            # What the client took out of its buffers for the other partitions is lost with the exception; and so are ours.
            for one in parts:
                source.client.seek(one.where, one.after)
            cause = error.__cause__
            if isinstance(cause, errors.OffsetOutOfRangeError):
                await self._go_to_starts(source, parts)
                return
            raise
        for one in parts:
            one.packed.extend(found.get(one.where, ()))
            with suppress(errors.IllegalStateError):
                one.after = await source.client.position(one.where)


async def _close(client: AIOKafkaConsumer) -> None:
    """Close a client, or give up on that."""
    await closed(client.stop())
    await closed(client._client.close())
