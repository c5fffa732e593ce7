"""What is in flight never exceeds its bound, however many fast records meet a slow sink; and memory does not grow with them."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

import rxstreams as rxs
from rxstreams import operators as ops
from rxstreams.brokers import Broker, Record
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.brokers.sqlite import SqliteBroker

CAPACITY, GROUP, EDGE = 2_000, 500, 300
FEW = 300_000


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


class Slow:
    """A sink that needs a millisecond for a group; it notes how many records are on their way to it, and the memory.

    Args:
        records: How many will come.
    """

    def __init__(self, records: int) -> None:
        self.records = records
        self.read = self.taken = self.most = 0
        self.memory: list[int] = []

    def enter(self, value: int) -> int:
        """A record was read."""
        self.read += 1
        if self.read % 100 == 0:
            self.most = max(self.most, self.read - self.taken)
        return value

    async def take(self, values: list[int]) -> None:
        """A group has arrived."""
        await asyncio.sleep(0.001)
        self.taken += len(values)
        self.most = max(self.most, self.read - self.taken)
        if self.taken % (self.records // 20) < len(values):
            gc.collect()
            self.memory.append(resident())


async def fill(broker: Broker, records: int) -> None:
    """Put numbers into the topic ``in``."""
    await broker.create_topic("in")
    batch = [Record(b"%d" % n) for n in range(1000)]
    for _ in range(records // 1000):
        await broker.append("in", batch)


async def flow(broker: Broker, records: int) -> Slow:
    """Read them all through an edge into a slow sink."""
    slow = Slow(records)
    await fill(broker, records)
    edge = rxs.from_topic("in", int, until="end").pipe(ops.map(slow.enter), ops.bounded(EDGE))
    stream = edge.pipe(ops.to_callable(slow.take, batch=GROUP, capacity=CAPACITY))
    bound = rxs.explain_memory(stream)
    assert [one.records for one in bound.bounds][1:] == [EDGE, CAPACITY]
    async with rxs.start(stream, app="flow", broker=broker) as running:
        await running.wait()
        assert max(edge.most for edge in running.edges) <= CAPACITY
    return slow


def check(slow: Slow, records: int) -> None:
    """See that all came, that no more than the bound was in flight, and that memory did not grow on the way."""
    assert slow.taken == records
    assert CAPACITY < slow.most <= CAPACITY + EDGE
    half = len(slow.memory) // 2
    assert max(slow.memory[half:]) < 1.1 * max(slow.memory[:half])


@pytest.mark.asyncio
@pytest.mark.parametrize("records", [FEW, pytest.param(10_000_000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_no_more_is_in_flight_than_the_bound_says(kind: str, records: int, tmp_path: Path) -> None:
    """The edge and the sink hold what they may, and all records arrive."""
    broker: Broker = MemoryBroker() if kind == "memory" else SqliteBroker(str(tmp_path / "flow.db"))
    await broker.start()
    try:
        check(await flow(broker, records), records)
    finally:
        await broker.stop()
