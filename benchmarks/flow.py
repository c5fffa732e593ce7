"""Edges and calls: against a hand-written loop of tasks, with and without commits, and what an edge costs a record."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import rxstreams as rxs
from benchmarks import measure, pipelines
from rxstreams import operators as ops
from rxstreams.brokers import Broker
from rxstreams.brokers.memory import MemoryBroker

CONCURRENCY = 64
LOOKUPS = 10_000
_apps = count()
MEAN = 0.01
"""Seconds that a lookup takes, in the mean."""


async def at_once(value: int) -> int:
    """A coroutine that does not suspend."""
    return value + 1


def hand_written(values: Sequence[int]) -> int:
    """The sum of what calls give, in order, with at most 64 tasks under way."""

    async def main() -> int:
        total = 0
        waiting: deque[asyncio.Task[int]] = deque()
        for value in values:
            if len(waiting) == CONCURRENCY:
                total += await waiting.popleft()
            waiting.append(asyncio.create_task(at_once(value)))
        while waiting:
            total += await waiting.popleft()
        return total

    return asyncio.run(main())


def mapped(values: Sequence[int]) -> int:
    """The same by ``map_async``, in a run."""
    total = 0

    def add(value: int) -> None:
        nonlocal total
        total += value

    run_memory(rxs.from_iterable(values).pipe(ops.map_async(at_once, concurrency=CONCURRENCY), ops.to_callable(add)))
    return total


def run_memory(stream: rxs.Stream[Any], commit_interval: float = 60.0) -> None:
    """A run to its end, in memory."""
    rxs.run(stream, app="bench", broker=MemoryBroker(), commit_interval=commit_interval)


def looked_up(commit_interval: float, seed: int) -> float:
    """Seconds of 10,000 lookups of exponential latency, a hundred at a time."""
    rng = random.Random(seed)
    latencies = [rng.expovariate(1 / MEAN) for _ in range(LOOKUPS)]

    async def look_up(value: int) -> int:
        await asyncio.sleep(latencies[value])
        return value

    began = time.perf_counter()
    called = ops.map_async(look_up, concurrency=100)
    run_memory(rxs.from_iterable(range(LOOKUPS), name="keys").pipe(called, ops.to_topic("out")), commit_interval)
    return time.perf_counter() - began


def chained(broker: Broker, *edge: Any) -> int:
    """Two synchronous chains over a topic, with an edge between them or without: then they are one loop."""
    total = 0

    def add(value: int) -> None:
        nonlocal total
        total += value

    first = rxs.from_topic("in", int, until="end").pipe(ops.map(lambda x: x + 1), ops.filter(lambda x: x % 4))
    stream = first.pipe(*edge, ops.map(lambda x: x * 2), ops.to_callable(add))
    rxs.run(stream, app=f"chained{next(_apps)}", broker=broker, commit_interval=60.0)
    return total


def ratios(pairs: int) -> Iterator[measure.Ratio]:
    """Calls against a loop of tasks."""
    values = range(100_000)
    yield measure.compare(
        "`map_async`, calls that do not suspend, in order, 64 at a time ÷ a loop of tasks", "≥ 0.6",
        lambda: hand_written(values), lambda: mapped(values), records=len(values), pairs=pairs,
    )  # fmt: skip


def edge_ns(pairs: int, records: int = 300_000) -> float:
    """Nanoseconds that an edge costs a record, as on the machine that the goals are meant for."""
    broker = pipelines.filled(MemoryBroker(), [b"%d" % n for n in range(records)], topic="in")
    costs = []
    for _ in range(pairs + 1):
        without, _, expected = measure.clocked(lambda: chained(broker))
        with_edge, _, got = measure.clocked(lambda: chained(broker, ops.bounded(4096)))
        assert got == expected
        costs.append((with_edge - without) / records * 1e9)
    return statistics.median(costs[1:]) * measure.scale()


def rows(pairs: int) -> list[tuple[str, str, str]]:
    """Figures that are no ratio to a loop."""
    times = [(looked_up(0.1, seed), looked_up(60.0, seed)) for seed in range(min(pairs, 5))]
    ratio = statistics.median(a / b for a, b in times)
    seconds = statistics.median(a for a, _ in times)
    return [
        ("10,000 lookups of 10 ms, 100 at a time, commits every 100 ms ÷ without", f"{ratio:.2f} ({seconds:.2f} s)", "≤ 1.15"),
        ("a bounded edge between two synchronous chains, a record", f"{edge_ns(pairs):.0f} ns, scaled", "≤ 60 ns"),
    ]
