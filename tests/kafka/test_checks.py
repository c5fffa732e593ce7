"""What an app checks when it starts on Kafka, and what meddling with its topics and offsets does to it."""

import asyncio
import time
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from structlog.testing import capture_logs

import rxstreams as rxs
from rxstreams import aggregates as agg, operators as ops
from rxstreams.brokers import Commit, Put, Record, connect
from rxstreams.brokers.kafka import KafkaBroker
from rxstreams.errors import BrokerError, ConfigError, DeadLetter, EncodeError, MissingTopicError, OffsetsError
from rxstreams.runtime.offsets import Offsets
from rxstreams.testing.brokers import read_all
from tests.kafka.outcomes import values
from tests.servers.kafka import KafkaServer

pytestmark = [pytest.mark.servers, pytest.mark.kafka, pytest.mark.timeout(120), pytest.mark.asyncio]


async def copied(broker: KafkaBroker, offsets: Offsets | None = None) -> list[bytes | None]:
    """What an app has copied, once it has copied all that is there."""
    stream = rxs.from_topic("in", int, until="end", finish=False).pipe(ops.to_topic("out"))
    async with rxs.start(stream, app="copy", broker=broker, offsets=offsets) as running:
        await running.wait()
    return await values(broker, "out")


# Topics.


async def test_with_create_no_a_missing_topic_is_refused(kafka: str, admin: AIOKafkaAdminClient) -> None:
    """Each, with the settings that it should have; with all of them there, the app runs."""
    broker: Any = connect(f"kafka://{kafka}?create=no")
    await broker.start()
    try:
        for topic, policy in {"rxstreams.tasks": "compact", "out": "delete", "copy.state": "compact", "in": "delete"}.items():
            with pytest.raises(
                MissingTopicError, match=f"topic '{topic}' does not exist.* create=no. Create it with 1 part"
            ) as one:
                await copied(broker)
            assert ("cleanup.policy=compact" in str(one.value)) == (policy == "compact")
            await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"cleanup.policy": policy})])
        await broker.append("in", [Record(b"1")])
        assert await copied(broker) == [b"1"]
    finally:
        await broker.stop()


async def test_a_table_that_kafka_would_empty_is_refused(broker: KafkaBroker, admin: AIOKafkaAdminClient) -> None:
    """Its topic was made by somebody else, to be deleted by age."""
    await admin.create_topics([NewTopic("copy.state", 1, 1)])
    await broker.append("in", [Record(b"1")])
    with pytest.raises(BrokerError, match=r"'copy\.state': it is to be a table, and has cleanup\.policy=delete"):
        await copied(broker)
    assert await values(broker, "out") == []


async def test_topics_are_made_as_was_said(kafka: str, broker: KafkaBroker) -> None:
    """Those of tables compacted in small segments; others by the URL; compressed, if asked for."""
    other = connect(f"kafka://{kafka}?retention=7d&compression_type=zstd")
    assert isinstance(other, KafkaBroker)
    await other.start()
    try:
        await other.append("in", [Record(b'"%s"' % (b"x" * 100))] * 1000)
        stream = rxs.from_topic("in", until="end").pipe(ops.to_topic("out", partitions=3))
        async with rxs.start(stream, app="copy", broker=other) as running:
            await running.wait()
        assert (await other.topics())["out"] == 3
        settings = await other._cluster.settings("out")
        assert (settings["retention.ms"], settings["cleanup.policy"]) == (str(7 * 86_400_000), "delete")
        table = await other._cluster.settings("copy.state")
        assert (table["cleanup.policy"], table["segment.bytes"]) == ("compact", "33554432")
        assert sum([len(read.values) for p in range(3) for read in await read_all(broker, "out", p)]) == 1000
    finally:
        await other.stop()


# Clocks and transactions.


@pytest.mark.parametrize(("ahead", "warned"), [(0, False), (100, True), (-100, True)])
async def test_clocks_that_differ_are_told(kafka: str, ahead: float, *, warned: bool) -> None:
    """By how much, and what it does."""
    broker = KafkaBroker(kafka, clock=lambda: time.time() + ahead)
    await broker.start()
    try:
        with capture_logs() as logs:
            await broker.open("app", "0", instance="test")
    finally:
        await broker.stop()
    told = [log["seconds_ahead"] for log in logs if log["event"] == "clocks differ"]
    assert told == ([pytest.approx(-ahead, abs=2)] if warned else [])


async def test_a_transaction_s_time_that_the_broker_does_not_allow_is_refused(kafka: str) -> None:
    """With what to change."""
    broker = KafkaBroker(kafka, transaction_timeout=3600)
    await broker.start()
    try:
        with pytest.raises(ConfigError, match=r"transaction_timeout=3600s is more than the broker allows .*transaction\.max"):
            await broker.open("app", "0", instance="test")
    finally:
        await broker.stop()


# Sizes.


async def test_a_record_too_large_for_its_topic_meets_the_policy(broker: KafkaBroker, admin: AIOKafkaAdminClient) -> None:
    """With its input at hand; the records beside it go on."""
    await admin.create_topics([NewTopic("out", 1, 1, topic_configs={"max.message.bytes": "5000"})])
    sizes = [10, 4_000, 4_860, 4_880, 50_000, 20]
    await broker.append("in", [Record(b"%d" % size) for size in sizes])
    made = rxs.from_topic("in", int, until="end").pipe(ops.map(lambda n: b"x" * n))
    with pytest.raises(EncodeError, match=r"a record of 4,880 bytes .*topic 'out' takes 4,872; make it smaller"):
        async with rxs.start(made.pipe(ops.to_topic("out")), app="stops", broker=broker) as running:
            await running.wait()
    assert await values(broker, "out") == []
    asides = made.pipe(ops.to_topic("out", on_error=DeadLetter("dead")))
    async with rxs.start(asides, app="goes-on", broker=broker) as running:
        await running.wait()
    assert [len(value or b"") for value in await values(broker, "out")] == [10, 4_000, 4_860, 20]
    assert await values(broker, "dead") == [b"4880", b"50000"]


async def test_batches_and_state_are_no_larger_than_a_topic_takes(broker: KafkaBroker, admin: AIOKafkaAdminClient) -> None:
    """Many records at once, and state of far more than a record may have."""
    small = {"max.message.bytes": "5000"}
    await admin.create_topics([NewTopic("out", 1, 1, topic_configs=small)])
    await admin.create_topics([NewTopic("sums.state", 1, 1, topic_configs=small | {"cleanup.policy": "compact"})])
    await broker.append("in", [Record(b"%d" % n) for n in range(20_000)])

    def sums(app: str, key: Any) -> Any:
        numbers = rxs.from_topic("in", int, until="end", finish=False)
        return numbers.pipe(ops.key_by(key), ops.aggregate(n=agg.count()), ops.to_topic("out"))

    for _ in range(2):
        async with rxs.start(sums("sums", lambda n: n % 5_000), app="sums", broker=broker) as running:
            await running.wait()
    assert running.statistics.restored == 5_000
    assert len(await values(broker, "out")) == 20_000


async def test_records_of_megabytes_pass_where_a_topic_takes_them(broker: KafkaBroker, admin: AIOKafkaAdminClient) -> None:
    """Read, copied and appended."""
    for topic in ("in", "out"):
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "10000000"})])
    large = b'"%s"' % (b"x" * 6_000_000)
    await broker.append("in", [Record(b'"a"'), Record(large), Record(b'"b"')])
    stream = rxs.from_topic("in", str, until="end").pipe(ops.to_topic("out"))
    async with rxs.start(stream, app="copy", broker=broker) as running:
        await running.wait()
    assert await values(broker, "out") == [b'"a"', large, b'"b"']


# Meddling.


async def reset(server: KafkaServer, *how: str) -> None:
    """Set an app's offsets by Kafka's own tool."""
    command = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
    words = ("--bootstrap-server", server.address, "--group", "copy", "--topic", "in", "--reset-offsets", *how, "--execute")
    await asyncio.to_thread(server.tool, command, *words)


async def test_offsets_that_kafkas_own_tool_has_set_stop_the_start(broker: KafkaBroker, server: KafkaServer) -> None:
    """Until an operator says what to go by."""
    await broker.append("in", [Record(b"%d" % n) for n in range(3)])
    assert await copied(broker) == [b"0", b"1", b"2"]
    await reset(server, "--to-offset", "1")
    with pytest.raises(OffsetsError, match=r"in\[0\]: state 3, broker 1"):
        await copied(broker)
    assert await copied(broker, "group") == [b"0", b"1", b"2", b"1", b"2"]
    assert await copied(broker) == [b"0", b"1", b"2", b"1", b"2"]
    await reset(server, "--to-earliest")
    assert await copied(broker, "ours") == [b"0", b"1", b"2", b"1", b"2"]


async def test_a_topic_that_is_deleted_while_it_is_read_ends_the_run(broker: KafkaBroker, admin: AIOKafkaAdminClient) -> None:
    """By name; and later starts, too, until somebody says that its records are lost."""
    await broker.append("in", [Record(b"%d" % n) for n in range(3)])
    stream = rxs.from_topic("in", int).pipe(ops.to_topic("out"))
    with pytest.raises(MissingTopicError, match="topic 'in' does not exist"):
        async with rxs.start(stream, app="copy", broker=broker) as running:
            while running.statistics.epochs == 0:  # noqa: ASYNC110  # a run has no event for it
                await asyncio.sleep(0.01)
            await admin.delete_topics(["in"])
            async with asyncio.timeout(60):
                await running.wait()
    with pytest.raises(OffsetsError, match="the topic was deleted, or made anew"):
        await copied(broker)
    await broker.append("in", [Record(b"7")])
    with pytest.raises(OffsetsError, match="is to be read from 3, and has 0 to 1"):
        await copied(broker)
    assert await copied(broker, "earliest") == [b"0", b"1", b"2", b"7"]


async def test_a_topic_that_is_made_anew_while_it_is_read_ends_the_run(broker: KafkaBroker, admin: AIOKafkaAdminClient) -> None:
    """Whether it is seen to be gone, or to be shorter than what was read of it; nothing is passed over."""
    await broker.append("in", [Record(b"%d" % n) for n in range(300)])
    stream = rxs.from_topic("in", int).pipe(ops.to_topic("out"))
    with pytest.raises((MissingTopicError, OffsetsError)):
        async with rxs.start(stream, app="copy", broker=broker) as running:
            while running.statistics.records < 300:  # noqa: ASYNC110  # a run has no event for it
                await asyncio.sleep(0.01)
            await admin.delete_topics(["in"])
            other = KafkaBroker(broker.url.removeprefix("kafka://"))
            await other.start()
            async with asyncio.timeout(60):
                while running.health.status == "running":
                    await other.append("in", [Record(b"7")])
                    await asyncio.sleep(0.2)
            await other.stop()
            assert running.health.status == "failed"
            await running.wait()
    assert b"7" not in (await values(broker, "out"))[300:]


async def test_records_that_were_deleted_unread_stop_the_start(broker: KafkaBroker, admin: AIOKafkaAdminClient) -> None:
    """As retention does, or Kafka's own tool."""
    await broker.append("in", [Record(b"%d" % n) for n in range(3)])
    await copied(broker)
    await broker.append("in", [Record(b"%d" % n) for n in range(3, 6)])
    from aiokafka import TopicPartition
    from aiokafka.admin import RecordsToDelete

    await admin.delete_records({TopicPartition("in", 0): RecordsToDelete(5)})
    with pytest.raises(OffsetsError, match="is to be read from 3, and has 5 to 6: records were deleted before they were read"):
        await copied(broker)
    assert await copied(broker, "earliest") == [b"0", b"1", b"2", b"5"]


async def test_tombstones_are_read_and_written(broker: KafkaBroker) -> None:
    """A value of None deletes a key of a compacted topic."""
    await broker.append("in", [Record(b"1", b"a"), Record(None, b"a")])
    stream = rxs.from_topic("in", bytes, until="end").pipe(ops.to_topic("out", key=lambda _: b"a", encode=lambda value: value))
    async with rxs.start(stream, app="copy", broker=broker) as running:
        await running.wait()
    (read,) = await read_all(broker, "out")
    assert (list(read.keys or ()), list(read.values)) == ([b"a", b"a"], [b"1", None])


async def test_rows_of_tables_are_deleted(broker: KafkaBroker) -> None:
    """By a tombstone, in the transaction."""
    handle = await broker.open("app", "0", instance="test")
    await handle.commit(Commit(puts=[Put("t", b"a", b"1"), Put("t", b"b", b"2")]))
    await handle.commit(Commit(puts=[Put("t", b"a", None)]))
    assert (await broker.read_table("t")).rows == [(b"b", b"2")]
