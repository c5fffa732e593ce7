"""Kafka's own tools and clients see what an app does, and what they write is read as it is."""

import asyncio
from typing import Any

import aiokafka
import pytest
from aiokafka import AIOKafkaProducer

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
    assert dict(zip(heads, row)) | {"TOPIC": "in", "PARTITION": "0", "CURRENT-OFFSET": "5", "LAG": "2"} == dict(zip(heads, row))


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
