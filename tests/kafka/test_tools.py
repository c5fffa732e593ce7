"""Kafka's own tools and clients see what an app does, and what they write is read as it is."""

import asyncio
from typing import Any

import aiokafka
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

import rxstreams as rxs
from rxstreams import operators as ops
from rxstreams.brokers import Record
from rxstreams.brokers.kafka import KafkaBroker, batches
from rxstreams.brokers.kafka.batches import TESTED
from rxstreams.testing.brokers import read_all
from tests.servers.kafka import KafkaServer

pytestmark = [pytest.mark.servers, pytest.mark.kafka, pytest.mark.timeout(120)]


@pytest.mark.asyncio
async def test_kafkas_own_tool_shows_the_offsets_of_an_app_and_how_far_it_is_behind(kafka: str, server: KafkaServer) -> None:
    """A group without members, under the app's name."""
    broker = KafkaBroker(kafka)
    await broker.start()
    await broker.append("in", [Record(b"%d" % i) for i in range(5)])
    copied = rxs.from_topic("in", until="end", finish=False).pipe(ops.to_topic("out"))
    async with rxs.start(copied, app="copy", broker=broker) as running:
        await running.wait()
    await broker.append("in", [Record(b"5"), Record(b"6")])
    await broker.stop()
    command = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
    told = await asyncio.to_thread(server.tool, command, "--bootstrap-server", kafka, "--describe", "--group", "copy")
    heads, row = (line.split() for line in told.splitlines() if line.strip() and "no active members" not in line)
    shown = dict(zip(heads, row))
    assert shown | {"TOPIC": "in", "PARTITION": "0", "CURRENT-OFFSET": "5", "LOG-END-OFFSET": "7", "LAG": "2"} == shown
    (ours,) = await rxs.lag("copy", broker=f"kafka://{kafka}")
    assert (ours.topic, ours.partition, ours.committed, ours.end, ours.records) == ("in", 0, 5, 7, 2)
    assert 0 < ours.seconds < 60


@pytest.mark.asyncio
@pytest.mark.parametrize("tested", [TESTED, ()])
@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
async def test_what_others_have_compressed_is_read(kafka: str, codec: Any, tested: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With keys, headers and times; what a transaction of theirs aborted is not. From batches, and by the client's public way."""
    monkeypatch.setattr(batches, "TESTED", tested)
    broker = KafkaBroker(kafka)
    await broker.start()
    await broker.create_topic("in")
    other = AIOKafkaProducer(bootstrap_servers=kafka, compression_type=codec, transactional_id=f"other-{codec}")
    await other.start()
    sent = []
    for turn, ends in enumerate((other.commit_transaction, other.abort_transaction, other.commit_transaction)):
        await other.begin_transaction()
        for i in range(200):
            one = Record(b"%d-%d " % (turn, i) * 20, b"k%d" % i, 1_700_000_000_000 + i, (("h", b"%d" % i),))
            await other.send("in", one.value, one.key, timestamp_ms=one.timestamp, headers=list(one.headers))
            sent += [one] if ends == other.commit_transaction else []
        await ends()
    await other.stop()
    assert (aiokafka.__version__ in batches.TESTED) == bool(tested)
    found = []
    for read in await read_all(broker, "in", max_records=150):
        assert read.keys is not None
        assert read.headers is not None
        found += map(Record, read.values, read.keys, read.timestamps, read.headers)
    await broker.stop()
    assert found == sent


@pytest.mark.asyncio
@pytest.mark.parametrize("tested", [TESTED, ()])
async def test_gaps_that_compaction_has_left_are_passed(kafka: str, tested: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches and between them, and those of aborted records; whatever offset is asked for, what is there from it on comes."""
    monkeypatch.setattr(batches, "TESTED", tested)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    settings = {
        "cleanup.policy": "compact",
        "segment.ms": "100",
        "min.cleanable.dirty.ratio": "0.001",
        "delete.retention.ms": "0",
    }
    await admin.create_topics([NewTopic("in", 1, 1, topic_configs=settings | {"max.compaction.lag.ms": "200"})])
    await admin.close()
    broker = KafkaBroker(kafka)
    await broker.start()
    expected: dict[bytes, tuple[int, bytes]] = {}
    other = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=f"other-{bool(tested)}")
    await other.start()
    for turn in range(6):
        ends = other.abort_transaction if turn % 3 == 1 else other.commit_transaction
        await other.begin_transaction()
        sent = [
            (b"k%d" % (i * 7 % (40 + turn)), await other.send("in", b"%d-%d" % (turn, i), b"k%d" % (i * 7 % (40 + turn))))
            for i in range(100)
        ]
        placed = [(key, (await future).offset) for key, future in sent]
        await ends()
        if ends == other.commit_transaction:
            expected |= {key: (offset, b"%d-%d" % (turn, i)) for i, (key, offset) in enumerate(placed)}
        await asyncio.sleep(0.15)  # so that the next turn is of another segment
    await other.stop()
    rows = sorted(expected.values())
    async with asyncio.timeout(60):
        while True:  # the last segment, which is written to, is never compacted
            await broker.append("in", [Record(b"end", b"end")])
            found = [pair for read in await read_all(broker, "in", max_records=30) for pair in zip(read.offsets, read.values)]
            found = [pair for pair in found if pair[1] != b"end"]
            if len(found) == len(rows):
                break
            await asyncio.sleep(0.2)
    assert found == rows
    for offset in range(0, rows[-1][0], 13):
        read = await broker.read("in", 0, offset, max_records=1)
        assert list(zip(read.offsets, read.values)) == [row for row in rows if row[0] >= offset][:1]
    await broker.stop()


@pytest.mark.asyncio
async def test_keys_go_to_the_partitions_that_java_chooses(kafka: str, server: KafkaServer) -> None:
    """So records of one key stay in order, whoever writes them."""
    broker = KafkaBroker(kafka)
    await broker.start()
    keys = [f"{word}-{i}" for word in ("user", "käse", "x" * 100) for i in range(40)]
    for topic in ("java", "ours"):
        await broker.create_topic(topic, 7)
    words = ("--bootstrap-server", kafka, "--topic", "java", "--property", "parse.key=true", "--property", "key.separator=:")
    given = "".join(f"{key}:1\n" for key in keys)
    await asyncio.to_thread(server.tool, "org.apache.kafka.tools.ConsoleProducer", *words, given=given)
    placed = await broker.append("ours", [Record(b"1", key.encode()) for key in keys])
    chosen = {
        (key or b"").decode(): partition
        for partition in range(7)
        for read in await read_all(broker, "java", partition)
        for key in read.keys or ()
    }
    await broker.stop()
    assert chosen == dict(zip(keys, (partition for partition, _ in placed)))
    assert set(chosen.values()) == set(range(7))
