"""What the app of ``worker.py`` is given, what it comes to, and what it comes to in memory, where nothing fails."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from zlib import crc32

import msgspec

import rxstreams as rxs
from rxstreams.brokers import Broker, Record
from rxstreams.brokers.kafka import KafkaBroker
from rxstreams.brokers.kafka.partitioning import assign
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.testing.brokers import read_all
from tests.crash.processes import event, used
from tests.kafka.worker import TOPICS, pipeline

T = TypeVar("T")
PARTS = [
    next(
        name
        for name in map("p{}".format, range(100))
        if {assign([name.encode()], 1, 2, 0)[0], crc32(name.encode()) % 2} == {where}
    )
    for where in (0, 1)
]
"""A key of each partition, on Kafka and in memory."""


def on(address: str, use: Callable[[Broker], Coroutine[Any, Any, T]]) -> T:
    """What ``use`` makes of a broker on Kafka."""
    return used(KafkaBroker(address), use)


async def values(broker: Broker, topic: str, partition: int = 0) -> list[bytes | None]:
    """All values of a topic's partition."""
    return [value for read in await read_all(broker, topic, partition) for value in read.values]


async def filled(broker: Broker, records: int) -> None:
    """Put the input into the topic ``in``, half of it into each partition."""
    await broker.create_topic("in", 2)
    for partition, part in enumerate(PARTS):
        for at in range(0, records // 2, 20_000):
            events = [event(part, seq) for seq in range(at, min(at + 20_000, records // 2))]
            placed = await broker.append("in", [Record(msgspec.json.encode(one), part.encode()) for one in events])
            assert {where for where, _ in placed} == {partition}


async def by_key(broker: Broker, topic: str, partitions: int) -> dict[str, list[Any]]:
    """The values of a topic, by key in order."""
    found: dict[str, list[Any]] = {}
    for partition in range(partitions):
        for fetched in await read_all(broker, topic, partition, max_records=5_000):
            for key, value in zip(fetched.keys or (), fetched.values):
                found.setdefault((key or b"").decode(), []).append(msgspec.json.decode(value or b"null"))
    return found


async def outcome(broker: Broker) -> dict[str, Any]:
    """What is in the topics, by key in order, in the view, and what is committed."""
    topics = await broker.topics()
    values = await asyncio.gather(*(by_key(broker, topic, topics[topic]) for topic in TOPICS))
    rows = (await broker.read_table("everything.view.totals")).rows
    view = {key: msgspec.json.decode(value or b"null") for key, value in rows}
    return {**dict(zip(TOPICS, values)), "view": view, "committed": sorted(await broker.committed("everything"))}


def expected(records: int) -> dict[str, Any]:
    """What the app comes to in memory; its ``out`` is what passes the filter, once and in order."""

    async def main() -> dict[str, Any]:
        broker = MemoryBroker()
        await filled(broker, records)
        async with rxs.start(*pipeline(lambda one: one.seq % 10 != 3), app="everything", broker=broker) as running:
            await running.wait()
        return await outcome(broker)

    found = asyncio.run(main())
    passed = [seq for seq in range(records // 2) if seq % 10 != 3]
    assert found["out"] == {part: [[part, seq] for seq in passed] for part in PARTS}
    return found
