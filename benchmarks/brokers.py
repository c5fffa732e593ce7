"""What appending to and reading from an SQLite topic costs, per record and through the public API."""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from benchmarks import data, loops
from benchmarks.measure import PAIRS, W1_NS
from rxstreams.brokers import Record
from rxstreams.brokers.sqlite import SqliteBroker

RECORDS = 20_000

Times = dict[tuple[str, str], list[tuple[float, float]]]
"""Per name and goal of a measure: the microseconds per record, CPU scaled, and wall ÷ CPU."""


def broker_rows() -> list[tuple[str, float, str]]:
    """(name, microseconds of CPU per record, goal): append 100 (by 20 producers at once) and 1,000 records at a time, and
    read both back, 256 and 2,048 at a time.

    CPU time, the kernel's share of flushing included; the name says how much longer it takes by the wall clock. Each is the
    median of eleven turns, and scaled by what W1's loop takes just before.
    """
    threshold = gc.get_threshold()
    gc.set_threshold(50_000, 20, 100)
    try:
        times = asyncio.run(_measure(data.orders(RECORDS)))
    finally:
        gc.set_threshold(*threshold)
    medians = [(name, goal, *map(statistics.median, zip(*taken))) for (name, goal), taken in times.items()]
    return [(f"{name}; wall ÷ CPU {wall_to_cpu:.1f}", cpu, goal) for name, goal, cpu, wall_to_cpu in medians]


async def _measure(values: Sequence[bytes]) -> Times:
    times: Times = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        broker = SqliteBroker(Path(folder) / "bench.db")
        await broker.start()
        for turn in range(PAIRS):
            for batch, producers in ((100, 20), (1_000, 1)):
                topic, how = f"{batch}-{turn}", f"by {batch:,}, {producers} at once"
                work = _append(broker, topic, [Record(value) for value in values], batch, producers)
                times[f"append to a SQLite topic {how}", "≤ 0.8"].append(await _clocked(work, values))
                for most in (256, 2_048):
                    work = _read(broker, topic, most)
                    times[f"read from it by {most:,}, appended {how}", "≤ 0.2"].append(await _clocked(work, values))
        await broker.stop()
    return times


def _append(
    broker: SqliteBroker, topic: str, records: Sequence[Record], batch: int, producers: int
) -> Callable[[], Awaitable[int]]:
    batches = iter([records[at : at + batch] for at in range(0, len(records), batch)])

    async def produce() -> int:
        return sum([len(await broker.append(topic, each)) for each in batches])

    async def work() -> int:
        return sum(await asyncio.gather(*(produce() for _ in range(producers))))

    return work


def _read(broker: SqliteBroker, topic: str, most: int) -> Callable[[], Awaitable[int]]:
    async def work() -> int:
        at = found = 0
        while (fetched := await broker.read(topic, 0, at, max_records=most)).values:
            at, found = fetched.next_offset, found + len(fetched.values)
        return found

    return work


async def _clocked(work: Callable[[], Awaitable[int]], values: Sequence[bytes]) -> tuple[float, float]:
    start = time.process_time()
    loops.w1(values)
    w1_ns = (time.process_time() - start) / len(values) * 1e9
    wall, cpu = time.perf_counter(), time.process_time()
    done = await work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    if done != len(values):
        raise AssertionError(f"{done:,} of {len(values):,} records")
    return cpu / done * 1e6 * W1_NS / w1_ns, wall / cpu
