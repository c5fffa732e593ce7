"""Whatever a partition's bytes are, taking its batches apart gives what the client itself makes of them."""

import random
import struct
from typing import Any

import pytest
from aiokafka import TopicPartition, errors
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.record._crecords import crc32c_cython
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from rxstreams.brokers.kafka import batches
from rxstreams.brokers.kafka.reading import _Partition

WHERE = TopicPartition("t", 0)
CODECS = (0, 1, 2, 3, 4)
ABORT, COMMIT = b"\0\0\0\0", b"\0\0\0\1"
READ_COMMITTED = 1


class Assignment:
    """A client's place in the partition."""

    active = True

    def __init__(self, position: int) -> None:
        self.position, self.paused = position, False

    def state_value(self, where: TopicPartition) -> Any:
        return self

    def consumed_to(self, position: int) -> None:
        self.position = position


def batch(
    rng: random.Random, base: int, *, producer: int = -1, transactional: bool = False, marker: bytes | None = None
) -> tuple[bytes, int]:
    """A batch from an offset on, and the offset after it: with gaps, headers, and all kinds of nothing in it."""
    codec = 0 if marker else rng.choice(CODECS)
    builder = DefaultRecordBatchBuilder(2, codec, transactional, producer, 0, 0, 1 << 20)
    deltas = [0] if marker else sorted(rng.sample(range(12), rng.randint(1, 8)))
    for delta in deltas:
        key = marker or rng.choice([None, b"", b"k%d" % delta])
        value = rng.choice([None, b"", b"v" * rng.randint(1, 40)])
        headers = rng.choice([[], [], [], [("h", b"1"), ("h", b""), ("ü", b"\0")]])
        builder.append(delta, 1_000 + rng.randint(-50, 50), key, value, headers)
    data = bytearray(builder.build())
    (attributes,) = struct.unpack_from(">h", data, 21)
    attributes |= (0x20 if marker else 0) | (0x08 if not marker and rng.random() < 0.3 else 0)
    struct.pack_into(">h", data, 21, attributes)
    last = deltas[-1] + (0 if marker else rng.choice([0, 0, 3]))  # the last ones may be compacted away
    struct.pack_into(">i", data, 23, last)
    struct.pack_into(">q", data, 0, base)
    struct.pack_into(">I", data, 17, crc32c_cython(bytes(data[21:])))
    return bytes(data), base + last + 1


def log(rng: random.Random) -> tuple[bytes, list[tuple[int, int]], int]:
    """A partition's bytes, its aborted transactions, and its end."""
    parts, aborted, at, open_since = [], [], 0, dict[int, int]()
    for _ in range(rng.randint(1, 25)):
        producer = rng.choice([-1, 1, 2, 3])
        if producer in open_since and rng.random() < 0.4:
            marker = rng.choice([ABORT, COMMIT])
            first = open_since.pop(producer)
            if marker is ABORT:
                aborted.append((producer, first))
            part, end = batch(rng, at, producer=producer, transactional=True, marker=marker)
        else:
            transactional = producer >= 0 and (producer in open_since or rng.random() < 0.7)
            if transactional:
                open_since.setdefault(producer, at)
            part, end = batch(rng, at, producer=producer, transactional=transactional)
        parts.append(part)
        at = end + rng.choice([0, 0, 0, 5])
    return b"".join(parts), aborted, at


def fetched(data: bytes, aborted: list[tuple[int, int]], offset: int) -> FetchResult:
    """What the client has after it fetched the bytes from an offset on."""
    records = PartitionRecords(WHERE, MemoryRecords(data), list(aborted), offset, None, None, True, READ_COMMITTED)
    return FetchResult(WHERE, assignment=Assignment(offset), partition_records=records, backoff=0)


def ours(result: FetchResult, offset: int, most: int) -> list[tuple[Any, ...]]:
    """The records, taken some at a time."""
    partition, rows = _Partition(WHERE), []
    partition.at = partition.after = offset
    partition.packed.extend(batches._divided(result, WHERE) or ())
    partition.after = result._assignment.position
    while partition.filled:
        got = partition.take(most, 100)
        n = len(got.values)
        assert n <= most
        assert got.keys is None or any(key is not None for key in got.keys)
        assert got.headers is None or any(got.headers)
        columns = got.offsets, got.values, got.keys or [None] * n, got.timestamps, got.headers or [()] * n
        rows += zip(*columns, strict=True)
        assert n == 0 or got.next_offset > got.offsets[-1]
        assert partition.at == got.next_offset
    return rows


@pytest.mark.parametrize("seed", range(400))
def test_records_are_those_that_the_client_gives(seed: int) -> None:
    """Aborted, control, compacted and compressed batches, and an offset in the midst of one."""
    rng = random.Random(seed)
    data, aborted, end = log(rng)
    offset = rng.choice([0, rng.randint(0, end)])
    theirs = fetched(data, aborted, offset)
    expected = [(one.offset, one.value, one.key, one.timestamp, one.headers) for one in theirs.getall()]
    result = fetched(data, aborted, offset)
    assert ours(result, offset, rng.choice([1, 3, 1_000])) == expected
    assert result._assignment.position == theirs._assignment.position


def test_old_batches_are_read() -> None:
    """Of Kafka before 0.11, which a log may still have."""
    for magic, codecs in ((0, (0, 1)), (1, (0, 1, 3))):
        for codec in codecs:
            builder = LegacyRecordBatchBuilder(magic, codec, 1 << 20)
            for i in range(5):
                builder.append(i, 1_000 + i, b"k", b"v%d" % i)
            data = builder.build()
            if codec:
                struct.pack_into(">q", data, 0, 4)  # a broker gives a wrapper the offset of the last that is in it
            data = bytes(data)
            for offset in (0, 2):
                expected = [(one.offset, one.value, one.key, one.timestamp) for one in fetched(data, [], offset).getall()]
                assert [row[:4] for row in ours(fetched(data, [], offset), offset, 2)] == expected


def test_a_damaged_batch_is_refused() -> None:
    """The records before it are given."""
    rng = random.Random(1)
    first, end = batch(rng, 0)
    second, _ = batch(rng, end)
    data = bytearray(first + second)
    data[len(first) + 40] ^= 1
    partition = _Partition(WHERE)
    partition.packed.extend(batches._divided(fetched(bytes(data), [], 0), WHERE) or ())
    with pytest.raises(errors.CorruptRecordException, match=f"offset {end}"):
        partition.take(1_000, 1_000_000)
