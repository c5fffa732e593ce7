"""K2 by hand on aiokafka's public API: what a careful engineer would write for this one job, plainly and as fast as it goes.

    python -m benchmarks.kafka.loops plain|tuned BOOTSTRAP IN OUT RECORDS

Exactly once, a transaction every 100 ms. Open windows live in memory only, so a restart would lose them: both do less than they
should. plain: getmany as it comes, one send per result. tuned: getmany(2000), 4 MB partition fetches, record batches built by
hand with a cached partition per key, raised gc thresholds.
"""

import asyncio
import gc
import sys
import time

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.partitioner import murmur2
from aiokafka.structs import OffsetAndMetadata

WINDOW, DISORDER, PARTITIONS, INTERVAL = 60_000, 2_000, 4, 0.1


class Order(msgspec.Struct, gc=False):
    user_id: str
    amount: float
    timestamp: int


class Total(msgspec.Struct):
    user_id: str
    start: int
    count: int
    revenue: float


class Windows:
    """Count and sum per (window, user), closed by the least watermark over the partitions."""

    def __init__(self):
        self.open = {}
        self.latest = {}
        self.decode = msgspec.json.Decoder(Order).decode
        self.encode = msgspec.json.Encoder().encode

    def add(self, partition, values):
        latest, current, users = self.latest.get(partition, 0), -1, {}
        for order in map(self.decode, values):
            at = order.timestamp
            if at > latest:
                latest = at
            start = at - at % WINDOW
            if start != current:
                users = self.open.setdefault(start, {})
                current = start
            total = users.get(order.user_id)
            if total is None:
                users[order.user_id] = [1, order.amount]
            else:
                total[0] += 1
                total[1] += order.amount
        self.latest[partition] = latest

    def close(self):
        if len(self.latest) < PARTITIONS:
            return []
        watermark = min(self.latest.values()) - DISORDER
        return [
            (user.encode(), self.encode(Total(user, start, count, round(revenue, 2))))
            for start in [start for start in self.open if start + WINDOW <= watermark]
            for user, (count, revenue) in self.open.pop(start).items()
        ]


async def plain(bootstrap, source, sink, records):
    group = f"loop-{sink}"
    consumer = AIOKafkaConsumer(
        source, bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest",
        isolation_level="read_committed",
    )  # fmt: skip
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=group)
    await consumer.start()
    await producer.start()
    windows, seen, results, offsets, last = Windows(), 0, [], {}, time.monotonic()
    while seen < records or offsets:
        for partition, messages in (await consumer.getmany(timeout_ms=100)).items():
            windows.add(partition, [message.value for message in messages])
            offsets[partition] = messages[-1].offset + 1
            seen += len(messages)
        results += windows.close()
        if offsets and (time.monotonic() - last >= INTERVAL or seen >= records):
            async with producer.transaction():
                await asyncio.gather(*[await producer.send(sink, value, key) for key, value in results])
                await producer.send_offsets_to_transaction(offsets, group)
            results, offsets, last = [], {}, time.monotonic()
    await producer.stop()
    await consumer.stop()


async def send(producer, topic, results, partition_of):
    """Send results in hand-built batches and wait for every one of them (aiokafka commits a transaction whose produce failed)."""
    by_partition = {}
    for key, value in results:
        partition = partition_of.get(key)
        if partition is None:
            partition = partition_of[key] = (murmur2(key) & 0x7FFFFFFF) % PARTITIONS
        by_partition.setdefault(partition, []).append((key, value))
    sent = []
    for partition, pairs in by_partition.items():
        batch = producer.create_batch()
        for key, value in pairs:
            if batch.append(key=key, value=value, timestamp=None) is None:
                batch.close()
                sent.append(await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                batch.append(key=key, value=value, timestamp=None)
        batch.close()
        sent.append(await producer.send_batch(batch, topic, partition=partition))
    await asyncio.gather(*sent)


async def tuned(bootstrap, source, sink, records):
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    group = f"loop-{sink}"
    consumer = AIOKafkaConsumer(
        source, bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest",
        isolation_level="read_committed", max_partition_fetch_bytes=4 << 20, fetch_max_bytes=50 << 20,
    )  # fmt: skip
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=group, linger_ms=5)
    await consumer.start()
    await producer.start()
    windows, partition_of, seen, results, offsets = Windows(), {}, 0, [], {}
    last = time.monotonic()
    while seen < records or offsets:
        for partition, messages in (await consumer.getmany(timeout_ms=100, max_records=2000)).items():
            windows.add(partition, [message.value for message in messages])
            offsets[partition] = OffsetAndMetadata(messages[-1].offset + 1, "")
            seen += len(messages)
        results += windows.close()
        if offsets and (time.monotonic() - last >= INTERVAL or seen >= records):
            async with producer.transaction():
                await send(producer, sink, results, partition_of)
                await producer.send_offsets_to_transaction(offsets, group)
            results, offsets, last = [], {}, time.monotonic()
    await producer.stop()
    await consumer.stop()


if __name__ == "__main__":
    asyncio.run({"plain": plain, "tuned": tuned}[sys.argv[1]](*sys.argv[2:5], int(sys.argv[5])))
