"""What a commit of many changed keys costs: the part of an epoch that is the commit's, driven by hand."""

from __future__ import annotations

import statistics
import time
from typing import Any

import msgspec

import rxstreams as rxs
from benchmarks import measure
from rxstreams import aggregates as agg, operators as ops
from rxstreams.brokers.kafka import KafkaBroker
from rxstreams.feeds import Chunk
from rxstreams.runtime.settings import Settings, Statistics
from rxstreams.runtime.task import Task

KEYS = 20_000
EPOCHS = 11


class Order(msgspec.Struct, gc=False):
    """What is read of an order."""

    user_id: str
    amount: float


async def rows(broker: KafkaBroker) -> list[tuple[str, ...]]:
    """(what, figure, goal) for the table."""
    await broker.create_topic("dirty")
    stream = rxs.from_topic("dirty", Order).pipe(
        ops.key_by("user_id"), ops.aggregate(count=agg.count(), revenue=agg.sum("amount"))
    )
    task = Task([stream], broker, Settings(app="dirty"), "bench", {}, Statistics())
    await task.acquire()
    values = [b'{"user_id":"u-%d","amount":12.34}' % i for i in range(KEYS)]
    try:
        taken = [await _commit(task, values, epoch) for epoch in range(EPOCHS + 1)][1:]
    finally:
        await task.close()
    cpu, wall = map(statistics.median, zip(*taken))
    name = f"CPU of a commit that saves {KEYS:,} changed keys, scaled; here, and by the wall"
    return [(name, f"{cpu * 1000 * measure.scale():.0f} ms; {cpu * 1000:.0f}, {wall * 1000:.0f}", "≤ 30 ms")]


async def _commit(task: Task, values: list[bytes], epoch: int) -> tuple[float, float]:
    """CPU and wall seconds of the commit after each key has had one more record."""
    source, begin = task.graph.sources[0], epoch * KEYS
    chunk: Any = Chunk(0, values, range(begin, begin + KEYS), begin + KEYS, [0] * KEYS)
    task.graph.push(source, chunk)
    task.positions[source.identity] = {0: chunk.next_offset}
    cpu, wall = time.process_time(), time.perf_counter()
    await task.commit()
    return time.process_time() - cpu, time.perf_counter() - wall
