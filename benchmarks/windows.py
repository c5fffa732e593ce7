"""Windows of event time: against hand-written loops, by the number of windows that are open, and what it costs to save them."""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import rxstreams as rxs
from benchmarks import data, loops, measure, pipelines
from rxstreams import aggregates as agg, operators as ops
from rxstreams.brokers import Broker
from rxstreams.feeds import Chunk
from rxstreams.runtime.graph import Graph
from rxstreams.runtime.settings import BATCH, Statistics
from rxstreams.windows import Windows

DISORDER = 5.0
FOR_EVER = 10**9
AT_ONCE = 100_000
OPEN = 1_000_000


def ratios(n: int, pairs: int) -> Iterator[measure.Ratio]:
    """The workloads against their loops."""
    few, many = data.orders(n), data.orders(n, 100_000)
    on_few, on_many = pipelines.memory(few), pipelines.memory(many)
    for name, goal, loop, records, broker, over in (
        ("W2 tumbling 60 s, 1,000 keys, count and sum", "≥ 0.8", loops.w2, few, on_few, rxs.tumbling(60)),
        ("W2b the same, 100,000 keys", "≥ 0.75", loops.w2, many, on_many, rxs.tumbling(60)),
        ("W3 hopping 60 s every 10 s", "≥ 0.7", loops.w3, few, on_few, rxs.hopping(60, 10)),
        ("W6 sessions, gap 30 s, 100,000 keys", "≥ 0.6", loops.w6, many, on_many, rxs.session(30)),
    ):
        theirs, ours = _loop(loop, records), _pipeline(broker, over)
        yield measure.compare(name, goal, theirs, ours, records=n, same=_same, pairs=pairs)
    ten, one = (_without_results(few, rxs.hopping(60, every)) for every in (10, 1))
    name = "hopping 60 s every 1 s, without results, against every 10 s"
    yield measure.compare(name, "≥ 1 / 1.3 = 0.77", ten, one, records=n, pairs=pairs)
    short, long = (_pipeline(on_few, rxs.sliding(size)) for size in (60, 600))
    name = "sliding 600 s, 1,000 keys, against 60 s: ten times the records in a window"
    same = lambda a, b: len(a) == len(b)  # noqa: E731  # a value among values
    yield measure.compare(name, "about 1", short, long, records=n, same=same, pairs=pairs)
    for name, goal, records in (("W2", "≥ 1 / 1.2 = 0.83", few), ("W2b", "≥ 1 / 1.35 = 0.74", many)):
        yield _saving(name, goal, records, pairs)


def _loop(loop: Callable[[Any], Any], records: Sequence[bytes]) -> Callable[[], Any]:
    return lambda: loop(records)


def _pipeline(broker: Broker | str, over: Windows, *, interval: float = 60.0, **options: Any) -> Callable[[], Any]:
    return lambda: run(broker, over, interval, **options)[0]


def run(broker: Broker | str, over: Windows, interval: float, **options: Any) -> tuple[list[Any], Statistics]:
    """Count and sum per user and window, and collect the results."""
    out: list[Any] = []
    options = {"timestamp": "ts", "out_of_orderness": DISORDER, "until": "end", **options}
    stream = rxs.from_topic("orders", loops.Order, **options).pipe(
        ops.key_by("user_id"), ops.windowed(over, n=agg.count(), total=agg.sum("amount")), ops.to_callable(out.append)
    )

    async def main() -> Statistics:
        app = f"windows-{next(pipelines._apps)}"
        async with rxs.start(stream, app=app, broker=broker, commit_interval=interval) as running:
            await running.wait()
            return running.statistics

    return out, asyncio.run(main())


def _without_results(records: Sequence[bytes], over: Windows) -> Callable[[], Any]:
    """Push records through the pipeline while time stands still: no window closes, and no commit saves what is open."""
    stream = rxs.from_topic("orders", loops.Order, timestamp="ts", out_of_orderness=FOR_EVER, until="end").pipe(
        ops.key_by("user_id"), ops.windowed(over, n=agg.count(), total=agg.sum("amount"))
    )

    def work() -> None:
        graph = Graph([stream], clock=time.time)
        graph.start()
        for at in range(0, len(records), BATCH):
            part = records[at : at + BATCH]
            graph.push(graph.sources[0], Chunk(0, part, range(at, at + len(part)), at + len(part)))

    return work


def _same(expected: list[Any], got: list[Any]) -> bool:
    found = sorted((one.key, one.start, one.n, one.total) for one in got)
    return len(expected) == len(found) and all(
        a[:3] == b[:3] and abs(a[3] - b[3]) <= 1e-9 * abs(a[3]) for a, b in zip(sorted(expected), found, strict=True)
    )


def _saving(name: str, goal: str, records: Sequence[bytes], pairs: int) -> measure.Ratio:
    """From a SQLite topic, without commits on the way against one every 100 ms."""
    with tempfile.TemporaryDirectory() as folder:
        url = pipelines.sqlite(records, folder)
        intervals: list[float] = []

        def saved() -> list[Any]:
            out, statistics_ = run(url, rxs.tumbling(60), 0.1)
            intervals.append(statistics_.interval)
            return out

        unsaved = _pipeline(url, rxs.tumbling(60))
        ratio = measure.compare("", goal, unsaved, saved, records=len(records), pairs=pairs)
    effective = statistics.median(intervals) * 1000
    title = f"{name} from SQLite, saved every 100 ms (in effect {effective:.0f} ms), against unsaved"
    return measure.Ratio(title, goal, ratio.ratios, ratio.wall_to_cpu, ratio.ours_seconds, ratio.records)


def rows() -> Iterator[tuple[str, str, str]]:
    """(what, figure, goal) for the table."""
    per_pair = _bytes_per_open_pair()
    yield f"bytes per open (key, window) pair with count and sum, of {OPEN:,}", f"{per_pair:.0f}", "≤ 250"
    seconds = statistics.median(_close_at_once() for _ in range(3))
    yield f"closing {AT_ONCE:,} windows at one watermark, scaled", f"{seconds:.2f} s", "≤ 0.3 s"


def _bytes_per_open_pair() -> float:
    """What an open window of a key holds in memory, the key's text left out."""
    keys, windows = 100_000, OPEN // 100_000
    names = [b"u-%d" % i for i in range(keys)]
    template = b'{"id":"o","user_id":"%s","amount":1.5,"ts":%d}'
    broker = pipelines.memory([template % (name, data.T0 + 60_000 * w) for w in range(windows) for name in names])
    stream = rxs.from_topic("orders", loops.Order, timestamp="ts", out_of_orderness=FOR_EVER, until="end", finish=False).pipe(
        ops.key_by("user_id"), ops.windowed(rxs.tumbling(60), n=agg.count(), total=agg.sum("amount"))
    )

    used = measure.traced(lambda: pipelines.hold(stream, broker))
    return (used - windows * keys * 56) / OPEN  # each window's record brought its key's text anew


def _close_at_once() -> float:
    """CPU seconds from the watermark to the last of its results, on a machine on which W1 takes 300 ns."""
    template = b'{"id":"o","user_id":"u-%d","amount":1.5,"ts":%d}'
    records = [template % (i, data.T0) for i in range(AT_ONCE)]
    stream = rxs.from_topic("orders", loops.Order, timestamp="ts").pipe(
        ops.key_by("user_id"), ops.windowed(rxs.tumbling(60), n=agg.count(), total=agg.sum("amount"))
    )
    drive = rxs.testing.drive(stream)
    drive.feed(*records)
    gc.collect()
    start = time.process_time()
    drive.watermark(data.T0 / 1000 + 60)
    took = time.process_time() - start
    if len(drive.values()) != AT_ONCE:
        raise AssertionError(f"{len(drive.values()):,} of {AT_ONCE:,} results")
    return took * measure.scale()
