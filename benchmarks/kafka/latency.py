"""From append to committed output: records at a steady rate through a pipeline that commits every 100 ms, each in a process.

``latency.py send BOOTSTRAP TOPIC RATE SECONDS`` appends, and prints how many records it were, and how many a second;
``latency.py pass BOOTSTRAP IN OUT`` is the pipeline, until it is terminated.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

import rxstreams as rxs
from benchmarks.kafka import processes
from rxstreams import operators as ops
from rxstreams.brokers.contract import Retention
from rxstreams.brokers.kafka import KafkaBroker

RATE = 20_000
PARTITIONS = 4
TICK = 0.005
SETTLING = 5.0
"""Seconds at the beginning of which no record counts: clients connect, batches find their size."""
QUIET = 3.0
"""Seconds without a record after which the reader takes it that all have come."""


class Sent(msgspec.Struct):
    """One record: its number, and the clock when it was handed to the producer."""

    number: int
    sent: float


async def send(bootstrap: str, topic: str, rate: int, seconds: float) -> None:
    """Append at a steady rate, every 5 ms what is due by then."""
    encode = msgspec.json.encode
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_batch_size=1_000_000) as producer:
        began, number, under_way = time.monotonic(), 0, set[asyncio.Future[object]]()
        while (passed := time.monotonic() - began) < seconds:
            due = int(passed * rate)
            for partition in range(PARTITIONS):
                batch = producer.create_batch()
                for one in range(number + partition, due, PARTITIONS):
                    batch.append(key=None, value=encode(Sent(one, time.time())), timestamp=None)
                if batch.record_count():
                    batch.close()
                    future = await producer.send_batch(batch, topic, partition=partition)
                    under_way.add(future)
                    future.add_done_callback(under_way.discard)
            number = due
            await asyncio.sleep(TICK - (time.monotonic() - began) % TICK)
        await asyncio.gather(*under_way)
        print(number, number / (time.monotonic() - began))


def pass_on(bootstrap: str, source: str, sink: str) -> None:
    """Pass records through."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    stream = rxs.from_topic(source, Sent).pipe(ops.map(lambda record: record), ops.to_topic(sink, partitions=PARTITIONS))
    rxs.run(stream, app=f"pass-{sink}", broker=f"kafka://{bootstrap}", commit_interval=0.1)


async def rows(broker: KafkaBroker, address: str, env: Mapping[str, str], seconds: float) -> list[tuple[str, ...]]:
    """(what, figure, goal) for the table."""
    for topic in ("sent", "passed"):
        await broker.create_topic(topic, PARTITIONS, Retention())
    passing = _start(env, "pass", address, "sent", "passed")
    sending = _start(env, "send", address, "sent", str(RATE), str(seconds + SETTLING))
    try:
        arrived = await _read(address, sending)
        sent, rate = sending.communicate()[0].split()
    finally:
        sending.kill()
        passing.send_signal(signal.SIGTERM)
        passing.communicate()
    first = min(one.sent for one, _ in arrived)
    waits = [(at - one.sent) * 1000 for one, at in arrived if one.sent - first >= SETTLING]
    if len({one.number for one, _ in arrived}) != len(arrived) or len(arrived) != int(sent):
        raise AssertionError(f"{sent} records were sent, {len(arrived):,} came")
    cuts = statistics.quantiles(waits, n=100)
    name = f"append to committed output, {RATE:,} records/s ({float(rate):,.0f} achieved) for {seconds:.0f} s: p50, p99, most"
    return [(name, f"{cuts[49]:.0f}, {cuts[98]:.0f}, {max(waits):.0f} ms", "p99 ≤ 250 ms")]


def _start(env: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(processes.module("latency", *arguments), env=env, stdout=subprocess.PIPE, text=True)


async def _read(address: str, sending: subprocess.Popen[str]) -> list[tuple[Sent, float]]:
    """What comes out, each with the clock at its arrival, until nothing more is sent and nothing more comes."""
    decode = msgspec.json.Decoder(Sent).decode
    arrived: list[tuple[Sent, float]] = []
    client = AIOKafkaConsumer(bootstrap_servers=address, isolation_level="read_committed", auto_offset_reset="earliest")
    async with client:
        client.assign([TopicPartition("passed", partition) for partition in range(PARTITIONS)])
        heard = time.monotonic()
        while sending.poll() is None or time.monotonic() - heard < QUIET:
            found = await client.getmany(timeout_ms=100)
            now = time.time()
            if found:
                heard = time.monotonic()
            arrived += [(decode(one.value), now) for records in found.values() for one in records]
    return arrived


if __name__ == "__main__":
    if sys.argv[1] == "send":
        asyncio.run(send(*sys.argv[2:4], int(sys.argv[4]), float(sys.argv[5])))
    else:
        pass_on(*sys.argv[2:5])
