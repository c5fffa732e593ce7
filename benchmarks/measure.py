"""How a ratio is measured: two pieces of work in turns, CPU time, medians and quartiles of the paired ratios."""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks import data, loops

PAIRS = 11
W1_NS = 300
"""What a record takes W1's loop on the machine that the goals are meant for."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """The reference's time ÷ ours, pair by pair: 1 is as fast as the reference, 2 is twice as fast."""

    name: str
    goal: str
    ratios: list[float]
    wall_to_cpu: float
    ours_seconds: float
    records: int

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)

    def row(self) -> str:
        low, _, high = statistics.quantiles(self.ratios, n=4)
        each = self.ours_seconds / self.records * 1e9
        return f"| {self.name} | {self.median:.2f} | {low:.2f}–{high:.2f} | {self.goal} | {self.wall_to_cpu:.2f} | {each:,.0f} |"


def clocked(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """CPU seconds, wall seconds and result of ``work``, after a collection, with the thresholds that a run sets."""
    gc.collect()
    gc.freeze()
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 100)
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        result = work()
    finally:
        took = time.process_time() - cpu, time.perf_counter() - wall
        gc.set_threshold(*before)
        gc.unfreeze()
    return *took, result


def traced(make: Callable[[], Any]) -> int:
    """Bytes that what it makes holds."""
    gc.collect()
    tracemalloc.start()
    held = make()
    gc.collect()
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del held
    return used


def scale() -> float:
    """By what seconds are multiplied that they would be those of that machine."""
    records = data.orders(50_000)
    loops.w1(records)
    cpu, _, _ = clocked(lambda: loops.w1(records))
    return W1_NS / (cpu / len(records) * 1e9)


def compare(
    name: str,
    goal: str,
    reference: Callable[[], Any],
    ours: Callable[[], Any],
    *,
    records: int,
    same: Callable[[Any, Any], bool] = lambda a, b: a == b,
    pairs: int = PAIRS,
) -> Ratio:
    """Alternate the two, the first pair uncounted; fail if their outputs differ."""
    ratios, walls, seconds = [], [], []
    for turn in range(pairs + 1):
        theirs_cpu, _, expected = clocked(reference)
        ours_cpu, ours_wall, got = clocked(ours)
        if not same(expected, got):
            raise AssertionError(f"{name}: outputs differ: {str(expected)[:200]} and {str(got)[:200]}")
        if turn:
            ratios.append(theirs_cpu / ours_cpu)
            walls.append(ours_wall / ours_cpu)
            seconds.append(ours_cpu)
    return Ratio(name, goal, ratios, statistics.median(walls), statistics.median(seconds), records)
