"""Records to Kafka, in batches: on their own, or in a transaction."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import chain, count
from typing import Any, NamedTuple, TypeVar

from aiokafka import AIOKafkaProducer, errors
from aiokafka.producer.message_accumulator import BatchBuilder

from rxstreams.brokers.columns import Columns, divide, join
from rxstreams.brokers.kafka.cluster import Cluster
from rxstreams.brokers.kafka.faults import closed, patiently, said
from rxstreams.brokers.kafka.partitioning import assign
from rxstreams.failpoints import failpoint

__all__ = ["CODECS", "Appender", "Batching", "Dealer", "Sent", "close", "first_error", "producer", "send"]

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
    """Close a producer, or give up on that; then nothing of it goes on by itself."""
    await closed(one.stop())
    if (sender := one._sender.sender_task) is not None:
        sender.cancel()  # it would connect again, and send what was given up
    await closed(one.client.close())


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


class Dealer:
    """Deals records out to a topic's partitions, and says how they become batches there.

    Args:
        cluster: Where topics are, and are made.
        codec: How batches are compressed.
        in_transaction: Whether they are of transactions.
    """

    def __init__(self, cluster: Cluster, codec: int, *, in_transaction: bool) -> None:
        self._cluster, self._codec, self._in_transaction = cluster, codec, in_transaction
        self._keyless = count()

    async def deal(self, topic: str, columns: Columns) -> tuple[list[int], dict[int, Columns], Batching]:
        """The partition of each record; each partition's share; how they become batches."""
        partitions = await self._cluster.make(topic)
        assigned = assign(columns.keys, len(columns.values), partitions, next(self._keyless))
        return assigned, divide(columns, assigned), await self.batching(topic)

    async def batching(self, topic: str) -> Batching:
        """How records of a topic become batches."""
        return Batching(await self._cluster.limit(topic), self._codec, self._in_transaction)


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


Outcome = int | BaseException
"""A record's offset, or why it has none."""


async def send(client: AIOKafkaProducer, topic: str, partition: int, columns: Columns, how: Batching) -> list[Outcome]:
    """Send the records of a partition; what became of each, once that is known of all.

    A batch that is refused says nothing of the others, which may have been written.
    """
    # What the client learns of all topics at first, it forgets as soon as it asks for some; then a batch would wait without end.
    await client.client.add_topic(topic)
    if partition not in await client.partitions_for(topic):  # it has grown since the client last looked
        await client.client.force_metadata_update()
    sent = []
    try:
        for batch in _batches(columns, how):
            batch.close()
            sent.append((batch.record_count(), await client.send_batch(batch, topic, partition=partition)))
            failpoint("kafka.sending")
    except BaseException:
        for _, future in sent:
            future.cancel()
        raise
    answers = await asyncio.gather(*(future for _, future in sent), return_exceptions=True)
    return [
        answer if isinstance(answer, BaseException) else answer.offset + i
        for (n, _), answer in zip(sent, answers)
        for i in range(n)
    ]


def first_error(outcomes: Iterable[object]) -> Exception | None:
    """Why a record has no offset, if one has none: what the broker said, rather than what the client gave up for that."""
    found = [one for one in outcomes if isinstance(one, BaseException)]
    told = next((one for one in found if isinstance(one, Exception)), None)
    return told or (TimeoutError("the client gave up on a batch") if found else None)


_Call = tuple[Columns, asyncio.Future[list[tuple[int, int]]]]


class Appender:
    """Appends records on their own. What is asked for while others are under way goes together.

    Args:
        cluster: For the topics' partitions.
        options: How clients connect.
        codec: How batches are compressed.
    """

    def __init__(self, cluster: Cluster, options: Mapping[str, Any], codec: int) -> None:
        self._cluster, self._options = cluster, options
        self._dealer = Dealer(cluster, codec, in_transaction=False)
        self._queues: dict[str, list[_Call]] = {}
        self._working: dict[str, asyncio.Task[None]] = {}
        self._producer: AIOKafkaProducer | None = None
        self._sent = Sent()
        self._users: Counter[AIOKafkaProducer] = Counter()
        self._starting = asyncio.Lock()

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

    async def _append_all(self, topic: str, calls: list[_Call]) -> None:
        try:
            outcomes = await self._send(topic, join([columns for columns, _ in calls]))
        except Exception as error:
            outcomes = [error] * sum(len(columns.values) for columns, _ in calls)
        alone, at = [], 0
        for call in calls:
            mine = outcomes[at : at + len(call[0].values)]
            at += len(mine)
            # Of calls that went together one may be at fault, and the others need not fail with it; they go again, each alone.
            # Only such of which nothing was written: of a group in several batches some may have been.
            if len(calls) > 1 and all(map(_is_definite, mine)):
                alone.append(call)
            elif not call[1].done():
                self._conclude(topic, call[1], mine)
        for call in alone:
            await self._append_all(topic, [call])

    def _conclude(self, topic: str, future: asyncio.Future[list[tuple[int, int]]], outcomes: list[Any]) -> None:
        error = first_error(outcomes)
        if error is None:
            future.set_result(outcomes)
            return
        try:
            with said(f"broker {self._cluster.url}, topic {topic!r}"):
                raise error
        except Exception as told:
            future.set_exception(told)

    async def _send(self, topic: str, columns: Columns) -> list[tuple[int, int] | BaseException]:
        """What became of each record: its (partition, offset), or why it has none."""
        assigned, shares, how = await self._dealer.deal(topic, columns)
        async with self._lent() as client:
            sending = asyncio.gather(*(send(client, topic, partition, share, how) for partition, share in shares.items()))
            found: list[list[Outcome]] = []
            try:
                with said(f"broker {self._cluster.url}, topic {topic!r}"):
                    found = await asyncio.wait_for(sending, _DEADLINE)
            finally:
                if not found or first_error(chain(*found)) is not None:
                    self._drop(client)  # a producer that failed numbers its later batches wrongly
            for partition, share in shares.items():
                self._sent.add(topic, partition, len(share.values))
            if self._sent.too_many:
                self._drop(client)
        outcomes = dict(zip(shares, map(iter, found)))
        placed = [(partition, next(outcomes[partition])) for partition in assigned]
        return [one if isinstance(one, BaseException) else (partition, one) for partition, one in placed]

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[AIOKafkaProducer]:
        """The producer. One that was dropped is closed by the last who uses it: others' appends may be under way."""
        client = await self._started()
        self._users[client] += 1
        try:
            yield client
        finally:
            self._users[client] -= 1
            if not self._users[client]:
                del self._users[client]
                if self._producer is not client:
                    await close(client)

    def _drop(self, client: AIOKafkaProducer) -> None:
        """Have the next append make another producer."""
        if self._producer is client:
            self._producer = None

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                one = producer(self._options)
                try:
                    with said(f"broker {self._cluster.url}"):
                        await patiently(one.start)
                except BaseException:
                    await close(one)
                    raise
                self._producer, self._sent = one, Sent()
            return self._producer


def _is_definite(outcome: object) -> bool:
    """Whether it is an error of the broker's that says that the record was not written."""
    return isinstance(outcome, errors.KafkaError) and not outcome.retriable
