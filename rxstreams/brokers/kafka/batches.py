"""Fetched records as columns: straight from the record batches, or by the client's public way.

An object for each record is most of what reading by ``getmany`` costs. For the versions of aiokafka that this was tested with,
the batches that its fetcher has are taken apart here; for others it is ``getmany``. A test has both ways read the same.

What is left out is the same, too, and in the same order (Kafka's rules for readers of committed records): a batch of a producer
whose transaction was aborted, from the first offset that the response names for it to its abort marker; control batches; and
records before the offset that was asked for, as a batch comes whole.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple

import aiokafka
from aiokafka import AIOKafkaConsumer, TopicPartition, errors
from aiokafka.consumer import fetcher as fetching

__all__ = ["TESTED", "Chunk", "by_client", "chunk", "fetched", "fetcher_is_dead", "from_batches"]

TESTED = ("0.14.0",)
"""The versions of aiokafka of which this knows the insides."""
_AT_ONCE = 4_000
"""Records that are taken from the client at once, by its public way."""


class Chunk(NamedTuple):
    """Records in order, as columns."""

    offsets: array[int]
    values: list[bytes | None]
    keys: list[bytes | None]
    timestamps: array[int]
    headers: list[tuple[tuple[str, bytes], ...]]

    def add(self, records: Sequence[Any]) -> None:
        """Add some records."""
        self.offsets.extend([one.offset for one in records])
        self.values.extend([one.value for one in records])
        self.keys.extend([one.key for one in records])
        self.timestamps.extend([one.timestamp for one in records])
        self.headers.extend([tuple(one.headers) if one.headers else () for one in records])


def chunk() -> Chunk:
    """No records."""
    return Chunk(array("q"), [], [], array("q"), [])


async def fetched(client: AIOKafkaConsumer, where: Sequence[TopicPartition], timeout: float) -> dict[TopicPartition, Chunk]:
    """What the client has of these partitions, or gets within a time (s); no records where it passed what is not to be read."""
    way = from_batches if aiokafka.__version__ in TESTED else by_client
    return await way(client, where, timeout)


async def by_client(client: AIOKafkaConsumer, where: Sequence[TopicPartition], timeout: float) -> dict[TopicPartition, Chunk]:
    """The same by the client's public way."""
    found = {}
    for one, records in (await client.getmany(*where, timeout_ms=round(timeout * 1000), max_records=_AT_ONCE)).items():
        found[one] = chunk()
        found[one].add(records)
    return found


async def from_batches(client: AIOKafkaConsumer, where: Sequence[TopicPartition], timeout: float) -> dict[TopicPartition, Chunk]:
    """The same from the batches that the client has fetched."""
    fetcher, loop = client._fetcher, asyncio.get_running_loop()
    until = loop.time() + timeout
    with client._subscription.fetch_context():
        while True:
            if client._closed:
                raise errors.ConsumerStoppedError
            found = {one: columns for one in where if (columns := _taken(fetcher, one)) is not None}
            left = until - loop.time()
            if found or left <= 0:
                return found
            waiter = fetcher._create_fetch_waiter()
            try:
                done, _ = await asyncio.wait([waiter], timeout=left)
            finally:
                waiter.cancel()
            if done and not waiter.cancelled():
                waiter.result()  # the client's own task has failed


def fetcher_is_dead(client: AIOKafkaConsumer) -> bool:
    """Whether the client's own task that fetches has ended; the client itself would wait for it without end."""
    task = getattr(getattr(client, "_fetcher", None), "_fetch_task", None)
    return task is not None and task.done()


def _taken(fetcher: Any, where: TopicPartition) -> Chunk | None:
    """What the client has of a partition; the next is fetched then."""
    result = fetcher._records.get(where)
    if result is None:
        return None
    del fetcher._records[where]
    fetcher._notify(fetcher._wait_consume_future)
    if not isinstance(result, fetching.FetchResult):
        result.check_raise()
    return _unpacked(result, where)


def _unpacked(result: fetching.FetchResult, where: TopicPartition) -> Chunk | None:
    if not result.check_assignment(where) or not result.has_more():
        return None  # it was sought elsewhere meanwhile
    records, columns = result._partition_records, chunk()
    while records._records.has_next():
        batch = records._records.next_batch()
        if records._check_crcs and not batch.validate_crc():
            raise errors.CorruptRecordException(f"Invalid CRC - {where}")
        if not _is_aborted(records, batch) and not batch.is_control_batch:
            ones = list(batch)
            if ones and ones[0].offset < records.next_fetch_offset:
                del ones[: bisect_left([one.offset for one in ones], records.next_fetch_offset)]
            columns.add(ones)
        records.next_fetch_offset = batch.next_offset
    result._update_position()
    return columns


def _is_aborted(records: fetching.PartitionRecords, batch: Any) -> bool:
    """Whether a batch is of a transaction that was aborted; its end is noted."""
    if batch.producer_id is None:
        return False
    records._consume_aborted_up_to(batch.base_offset)
    if batch.is_control_batch and records._contains_abort_marker(batch):
        records._aborted_producers.discard(batch.producer_id)
    return bool(batch.is_transactional and batch.producer_id in records._aborted_producers)
