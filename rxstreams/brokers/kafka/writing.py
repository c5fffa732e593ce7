"""Records to Kafka, in batches: on their own, or in a transaction."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import count
from typing import Any, NamedTuple, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from rxstreams.brokers.columns import Columns, divide, join, positions
from rxstreams.brokers.kafka.cluster import Cluster
from rxstreams.brokers.kafka.faults import CLOSING, patiently, said
from rxstreams.brokers.kafka.partitioning import assign
from rxstreams.errors import BrokerError
from rxstreams.failpoints import failpoint

__all__ = ["CODECS", "Appender", "Batching", "Sent", "all_of", "close", "producer", "send"]

A = TypeVar("A")

BATCH = 900_000
"""Bytes of a batch: below the million that a broker takes by default."""
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
"""How batches may be compressed, by the numbers that Kafka has for it."""
_DEADLINE = 60.0
"""Seconds for an append; the client would wait without end if the task that sends has died."""
_MOST = 2**30
"""Records that a producer may write to a partition: beyond twice as many, aiokafka numbers them wrongly."""


def producer(options: Mapping[str, Any], **more: Any) -> AIOKafkaProducer:
    """A producer of whole batches."""
    return AIOKafkaProducer(**options, acks="all", enable_idempotence=True, max_batch_size=BATCH, **more)


async def close(one: AIOKafkaProducer) -> None:
    """Close a producer, or give up on that."""
    with suppress(Exception):
        await asyncio.wait_for(one.stop(), CLOSING)
    with suppress(Exception):
        await one.client.close()


class Batching(NamedTuple):
    """How records become batches.

    Attributes:
        limit: The greatest batch, in bytes, that the topic takes.
        codec: How batches are compressed.
        in_transaction: Whether they are of a transaction.
    """

    limit: int
    codec: int
    in_transaction: bool

    def batch(self) -> BatchBuilder:
        """An empty batch."""
        return BatchBuilder(min(BATCH, self.limit), self.codec, is_transactional=self.in_transaction)


class Sent:
    """How many records a producer has written to each partition, so that it is renewed in time."""

    def __init__(self) -> None:
        self._records: Counter[tuple[str, int]] = Counter()

    def add(self, topic: str, partition: int, records: int) -> None:
        """Count some."""
        self._records[topic, partition] += records

    @property
    def too_many(self) -> bool:
        """Whether the producer must not be used any more."""
        return max(self._records.values(), default=0) >= _MOST


def _batches(columns: Columns, how: Batching) -> Iterator[BatchBuilder]:
    n = len(columns.values)
    keys, headers = columns.keys or [None] * n, columns.headers or [()] * n
    batch = how.batch()
    for value, key, timestamp, header in zip(columns.values, keys, columns.timestamps, headers):
        if batch.append(timestamp=timestamp, key=key, value=value, headers=list(header)) is None:
            yield batch
            batch = how.batch()
            batch.append(timestamp=timestamp, key=key, value=value, headers=list(header))
    yield batch


async def send(client: AIOKafkaProducer, topic: str, partition: int, columns: Columns, how: Batching) -> list[int]:
    """Send the records of a partition; the offset of each, once all are there.

    Everything that was sent is waited for, also if something fails: only then is it known what was refused.
    """
    if partition not in await client.partitions_for(topic):  # it has grown since the client last looked
        await client.client.force_metadata_update()
    sent = []
    for batch in _batches(columns, how):
        batch.close()
        sent.append((batch.record_count(), await client.send_batch(batch, topic, partition=partition)))
        failpoint("kafka.sending")
    answers = await all_of(future for _, future in sent)
    return [answer.offset + i for (n, _), answer in zip(sent, answers) for i in range(n)]


async def all_of(doing: Iterable[Awaitable[A]]) -> list[A]:
    """Wait for all of it; raise the first error once all have ended."""
    found = await asyncio.gather(*doing, return_exceptions=True)
    for answer in found:
        if isinstance(answer, BaseException):
            raise answer
    return found  # type: ignore[return-value]  # none is an exception


class Appender:
    """Appends records on their own. What is asked for while others are under way goes together.

    Args:
        cluster: For the topics' partitions.
        options: How clients connect.
        codec: How batches are compressed.
    """

    def __init__(self, cluster: Cluster, options: Mapping[str, Any], codec: int) -> None:
        self._cluster, self._options, self._codec = cluster, options, codec
        self._queues: dict[str, list[tuple[Columns, asyncio.Future[list[tuple[int, int]]]]]] = {}
        self._working: dict[str, asyncio.Task[None]] = {}
        self._producer: AIOKafkaProducer | None = None
        self._sent = Sent()
        self._starting = asyncio.Lock()
        self._keyless = count()

    async def append(self, topic: str, columns: Columns) -> list[tuple[int, int]]:
        """The (partition, offset) of each record, once all are there."""
        future: asyncio.Future[list[tuple[int, int]]] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(topic, []).append((columns, future))
        if topic not in self._working:
            self._working[topic] = asyncio.ensure_future(self._work(topic))
        return await asyncio.shield(future)

    async def stop(self) -> None:
        """Finish what is under way."""
        while self._working:
            await asyncio.gather(*self._working.values())
        one, self._producer = self._producer, None
        if one is not None:
            await close(one)

    async def _work(self, topic: str) -> None:
        """Append what is queued for a topic, all of it at once, until nothing is."""
        while calls := self._queues.pop(topic, None):
            await self._append_all(topic, calls)
        del self._working[topic]

    async def _append_all(self, topic: str, calls: list[tuple[Columns, asyncio.Future[list[tuple[int, int]]]]]) -> None:
        try:
            placed = await self._send(topic, join([columns for columns, _ in calls]))
        except Exception as error:
            if len(calls) > 1 and isinstance(error, BrokerError) and error.__cause__ is not None and _definite(error.__cause__):
                for call in calls:  # one of them is refused, and the others need not be
                    await self._append_all(topic, [call])
                return
            for _, future in calls:
                if not future.done():
                    future.set_exception(error)
            return
        at = 0
        for columns, future in calls:
            n = len(columns.values)
            if not future.done():
                future.set_result(placed[at : at + n])
            at += n

    async def _send(self, topic: str, columns: Columns) -> list[tuple[int, int]]:
        client = await self._started()
        partitions = await self._cluster.make(topic)
        how = Batching(await self._cluster.limit(topic), self._codec, in_transaction=False)
        assigned = assign(columns.keys, len(columns.values), partitions, next(self._keyless))
        shares = divide(columns, assigned)
        with said(f"broker {self._cluster.url}, topic {topic!r}"):
            try:
                sending = all_of(send(client, topic, partition, share, how) for partition, share in shares.items())
                found = await asyncio.wait_for(sending, _DEADLINE)
            except BaseException:
                self._producer = None  # a producer that failed numbers its later batches wrongly
                await close(client)
                raise
        for partition, share in shares.items():
            self._sent.add(topic, partition, len(share.values))
        if self._sent.too_many and self._producer is client:
            self._producer = None
            await close(client)
        return positions(assigned, dict(zip(shares, map(iter, found))))

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                one = producer(self._options)
                with said(f"broker {self._cluster.url}"):
                    await patiently(one.start)
                self._producer, self._sent = one, Sent()
            return self._producer


def _definite(error: BaseException) -> bool:
    """Whether an error says that nothing was written."""
    return not getattr(error, "retriable", True) and not isinstance(error, OSError)
