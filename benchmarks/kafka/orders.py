"""K2's input, and what a correct job makes of it: JSON orders in 4 partitions by user, 6 ms apart, disorder up to 2 s."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2

from rxstreams.brokers.contract import Retention
from rxstreams.brokers.kafka import KafkaBroker

PARTITIONS, USERS, STEP, DISORDER, WINDOW = 4, 1_000, 6, 2_000, 60_000
START = 1_768_557_600_000
"""A minute's begin (ms)."""
AT_ONCE = 200
"""Batches under way; each is of 16 kB, as of a producer's default, which is about 155 records."""

Totals = dict[tuple[str, int], tuple[int, int]]
"""By user and begin of a window (ms), its records and their cents."""


class Order(NamedTuple):
    """One order as it is made."""

    user: str
    partition: int
    value: bytes
    time: int
    cents: int


class Written(msgspec.Struct):
    """One result as every variant writes it."""

    user_id: str
    start: int
    count: int
    revenue: float


class Expected(NamedTuple):
    """What a job must write: if a window closes where all partitions have passed its end, or where its own has."""

    together: Totals
    apart: Totals


def orders(n: int, seed: int = 7) -> Iterator[Order]:
    """Make ``n`` orders, always the same."""
    rng = random.Random(seed)
    partitions = [partition_of(f"u-{user}") for user in range(USERS)]
    for i in range(n):
        user, cents = rng.randrange(USERS), rng.randrange(1, 100_000)
        time = START + DISORDER + STEP * i - rng.randint(0, DISORDER)
        value = b'{"id":"o-%d","user_id":"u-%d","amount":%.2f,"timestamp":%d}' % (i, user, cents / 100, time)
        yield Order(f"u-{user}", partitions[user], value, time, cents)


def partition_of(user: str) -> int:
    """Where Kafka's own partitioner puts a user."""
    return int(murmur2(user.encode()) & 0x7FFFFFFF) % PARTITIONS


async def fill(address: str, topic: str, n: int) -> Expected:
    """Write ``n`` orders to a new topic; what a job must make of them."""
    broker = KafkaBroker(address)
    await broker.start()
    await broker.create_topic(topic, PARTITIONS, Retention())
    await broker.stop()
    windows: dict[tuple[str, int], list[int]] = {}
    latest = dict.fromkeys(range(PARTITIONS), 0)
    async with AIOKafkaProducer(bootstrap_servers=address, acks="all") as producer:
        filling = {partition: Filling(producer, topic, partition) for partition in range(PARTITIONS)}
        for user, partition, value, time, cents in orders(n):
            await filling[partition].add(user.encode(), value)
            entry = windows.setdefault((user, time - time % WINDOW), [0, 0])
            entry[0] += 1
            entry[1] += cents
            latest[partition] = max(latest[partition], time)
        for one in filling.values():
            await one.end()
    return _expected({where: (count, cents) for where, (count, cents) in windows.items()}, latest)


def _expected(windows: Totals, latest: dict[int, int]) -> Expected:
    least = min(latest.values())
    passed = lambda start, time: start + WINDOW <= time - DISORDER  # noqa: E731  # a rule among values
    return Expected(
        {(user, start): total for (user, start), total in windows.items() if passed(start, least)},
        {(user, start): total for (user, start), total in windows.items() if passed(start, latest[partition_of(user)])},
    )


class Filling:
    """A partition that is written to in hand-built batches: several times as fast as a record at a time."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partition: int) -> None:
        self.producer, self.topic, self.partition = producer, topic, partition
        self.batch = producer.create_batch()
        self.sent: list[asyncio.Future[object]] = []

    async def add(self, key: bytes, value: bytes) -> None:
        """Write a record, some time."""
        if self.batch.append(key=key, value=value, timestamp=None) is None:
            await self._send()
            self.batch = self.producer.create_batch()
            self.batch.append(key=key, value=value, timestamp=None)

    async def end(self) -> None:
        """Write what is left, and wait for all of it."""
        if self.batch.record_count():
            await self._send()
        await asyncio.gather(*self.sent)

    async def _send(self) -> None:
        self.batch.close()
        self.sent.append(await self.producer.send_batch(self.batch, self.topic, partition=self.partition))
        if len(self.sent) >= AT_ONCE:
            await asyncio.gather(*self.sent)
            self.sent.clear()


async def check(broker: KafkaBroker, topic: str, expected: Totals) -> None:
    """Compare every window that a job wrote.

    Raises:
        AssertionError: If it wrote one twice, or others, or other figures.
    """
    found: Totals = {}
    results = 0
    decode = msgspec.json.Decoder(Written).decode
    for partition, end in enumerate(await broker.end_offsets(topic)):
        at = 0
        while at < end:
            fetched = await broker.read(topic, partition, at, max_records=10_000)
            at = fetched.next_offset
            results += len(fetched.values)
            for one in map(decode, fetched.values):
                found[one.user_id, one.start] = one.count, round(one.revenue * 100)
    if found != expected or results != len(found):
        raise AssertionError(f"{topic}: expected {_summary(expected)}, got {results:,} results, {_summary(found)}")


def _summary(totals: Totals) -> str:
    records, cents = (sum(column) for column in zip(*totals.values())) if totals else (0, 0)
    return f"{len(totals):,} windows, {records:,} records, {cents:,} cents"
