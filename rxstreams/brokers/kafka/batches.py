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
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import aiokafka
from aiokafka import AIOKafkaConsumer, TopicPartition, errors
from aiokafka.consumer import fetcher as fetching

__all__ = ["TESTED", "Chunk", "Packed", "by_client", "chunk", "fetched", "fetcher_is_dead", "from_batches"]

TESTED = ("0.14.0",)
"""The versions of aiokafka of which this knows the insides."""
_AT_ONCE = 2_000
"""Records that are taken from the client at once, by its public way."""
_OFFSET, KEY, TIMESTAMP, _HEADERS = map(attrgetter, ("offset", "key", "timestamp", "headers"))
_SOUND = lambda: True  # noqa: E731  # a value among values


class Column(Sequence[Any]):
    """A field of some records; most pipelines read values only, and so nobody makes columns that are not asked for.

    Args:
        records: As the client has them.
        field: What to read of each.
    """

    __slots__ = ("_field", "_records")

    def __init__(self, records: list[Any], field: Callable[[Any], Any]) -> None:
        self._records, self._field = records, field

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Any]:
        return map(self._field, self._records)

    def __getitem__(self, at: Any) -> Any:
        found = self._records[at]
        return Column(found, self._field) if isinstance(at, slice) else self._field(found)

    def count(self, value: Any) -> int:
        return list(self).count(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def __repr__(self) -> str:
        return repr(list(self))


class Chunk(NamedTuple):
    """Records in order, as the client has them, with the columns of them that everybody reads."""

    records: list[Any]
    offsets: array[int]
    values: list[bytes | None]

    def add(self, records: list[Any]) -> None:
        """Add some records."""
        n, first, last = len(records), records[0].offset, records[-1].offset
        if last - first == n - 1:  # none was compacted away
            self.offsets.extend(range(first, last + 1))
        else:
            self.offsets.fromlist([one.offset for one in records])
        self.records.extend(records)
        self.values.extend([one.value for one in records])

    def cut(self, start: int, stop: int | None = None) -> Chunk:
        """The records from ``start`` up to ``stop``."""
        return Chunk(self.records[start:stop], self.offsets[start:stop], self.values[start:stop])

    @property
    def keys(self) -> Column:
        """The records' keys."""
        return Column(self.records, KEY)

    @property
    def timestamps(self) -> Column:
        """When they were made, or appended (ms)."""
        return Column(self.records, TIMESTAMP)

    @property
    def headers(self) -> Sequence[tuple[tuple[str, bytes], ...]] | None:
        """Their headers; None where none has any."""
        return [tuple(one.headers) for one in self.records] if any(map(_HEADERS, self.records)) else None


def chunk() -> Chunk:
    """No records."""
    return Chunk([], array("q"), [])


class Packed(NamedTuple):
    """Consecutive records that are not taken apart yet.

    Records take several times as much memory as a batch of them. Taken apart few at a time, they stay in the processor's cache.
    """

    start: int
    """Where it is read from: a batch comes whole, and records before that were not asked for."""
    records: Iterable[Any]
    check: Callable[[], bool]
    """Whether it came as it was sent."""

    def unpack(self, into: Chunk) -> None:
        """Take it apart.

        Raises:
            CorruptRecordException: If it was damaged.
        """
        if not self.check():
            raise errors.CorruptRecordException(f"Invalid CRC in a batch from offset {self.start} on")
        ones = list(self.records)
        if ones and ones[0].offset < self.start:
            del ones[: bisect_left(ones, self.start, key=_OFFSET)]
        if ones:
            into.add(ones)


Found = dict[TopicPartition, list[Packed]]


async def fetched(
    client: AIOKafkaConsumer, where: Sequence[TopicPartition], timeout: float
) -> dict[TopicPartition, list[Packed]]:
    """What the client has of these partitions, or gets within a time (s); no records where it passed what is not to be read."""
    way = from_batches if aiokafka.__version__ in TESTED else by_client
    return await way(client, where, timeout)


async def by_client(
    client: AIOKafkaConsumer, where: Sequence[TopicPartition], timeout: float
) -> dict[TopicPartition, list[Packed]]:
    """The same by the client's public way."""
    found = {}
    for one, records in (await client.getmany(*where, timeout_ms=round(timeout * 1000), max_records=_AT_ONCE)).items():
        found[one] = [Packed(records[0].offset, records, _SOUND)] if records else []
    return found


async def from_batches(
    client: AIOKafkaConsumer, where: Sequence[TopicPartition], timeout: float
) -> dict[TopicPartition, list[Packed]]:
    """The same from the batches that the client has fetched."""
    fetcher, loop = client._fetcher, asyncio.get_running_loop()
    until = loop.time() + timeout
    with client._subscription.fetch_context():
        while True:
            if client._closed:
                raise errors.ConsumerStoppedError
            found = {one: packed for one in where if (packed := _taken(fetcher, one)) is not None}
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


def _taken(fetcher: Any, where: TopicPartition) -> list[Packed] | None:
    """What the client has of a partition; the next is fetched then."""
    result = fetcher._records.get(where)
    if result is None:
        return None
    del fetcher._records[where]
    fetcher._notify(fetcher._wait_consume_future)
    if not isinstance(result, fetching.FetchResult):
        result.check_raise()
    return _divided(result, where)


def _divided(result: fetching.FetchResult, where: TopicPartition) -> list[Packed] | None:
    if not result.check_assignment(where) or not result.has_more():
        return None  # it was sought elsewhere meanwhile
    records, found = result._partition_records, []
    while records._records.has_next():
        batch = records._records.next_batch()
        check = batch.validate_crc if records._check_crcs else _SOUND
        if batch.is_control_batch and not check():
            raise errors.CorruptRecordException(f"Invalid CRC - {where}")
        if not _is_aborted(records, batch) and not batch.is_control_batch:
            found.append(Packed(records.next_fetch_offset, batch, check))
        records.next_fetch_offset = batch.next_offset
    result._update_position()
    return found


def _is_aborted(records: fetching.PartitionRecords, batch: Any) -> bool:
    """Whether a batch is of a transaction that was aborted; its end is noted."""
    if batch.producer_id is None:
        return False
    records._consume_aborted_up_to(batch.base_offset)
    if batch.is_control_batch and records._contains_abort_marker(batch):
        records._aborted_producers.discard(batch.producer_id)
    return bool(batch.is_transactional and batch.producer_id in records._aborted_producers)
