"""The workloads as rxstreams pipelines and as RxPY ones, with the loops' user functions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import reactivex
from reactivex import operators as rx

import rxstreams as rxs
from benchmarks import loops
from rxstreams import aggregates as agg, operators as ops
from rxstreams.brokers import Broker, Record
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.brokers.sqlite import SqliteBroker

keep = lambda o: o.amount > 1000  # noqa: E731  # the loops' own user functions are lambdas
to_vnd = lambda o: o.amount * 24000  # noqa: E731  # ditto


def filled(broker: Broker, records: Sequence[bytes], topic: str = "orders", batch: int = 1000) -> Broker:
    """A broker with the records in a topic."""

    async def fill() -> None:
        await broker.start()
        for at in range(0, len(records), batch):
            await broker.append(topic, [Record(value) for value in records[at : at + batch]])
        await broker.stop()

    asyncio.run(fill())
    return broker


def memory(records: Sequence[bytes]) -> Broker:
    """A memory broker with the records."""
    return filled(MemoryBroker(), records)


def sqlite(records: Sequence[bytes], folder: str) -> str:
    """The URL of a SQLite broker with the records."""
    path = str(Path(folder) / "bench.db")
    filled(SqliteBroker(path), records)
    return f"sqlite:///{path}"


async def _to_the_end(stream: Any, broker: Broker | str, app: str, interval: float, view: str) -> Any:
    async with rxs.start(stream, app=app, broker=broker, commit_interval=interval) as running:
        await running.wait()
        return running.view(view)


_apps = iter(range(1_000_000))


def run_w1(broker: Broker) -> tuple[int, float]:
    """W1: decode, filter, map, fold."""
    stream = rxs.from_topic("orders", loops.Order, until="end").pipe(
        ops.filter(keep), ops.map(to_vnd), ops.aggregate(n=agg.count(), total=agg.sum()), ops.to_view("w1")
    )
    row = asyncio.run(_to_the_end(stream, broker, f"w1-{next(_apps)}", 60.0, "w1"))[None]
    return row.n, row.total


def run_totals(broker: Broker | str, interval: float) -> dict[str, list[Any]]:
    """TOT: decode, key_by, running count and sum into a view."""
    stream = rxs.from_topic("orders", loops.Order, until="end").pipe(
        ops.key_by("user_id"), ops.aggregate(n=agg.count(), total=agg.sum("amount")), ops.to_view("totals")
    )
    view = asyncio.run(_to_the_end(stream, broker, f"tot-{next(_apps)}", interval, "totals"))
    return {row.key: [row.n, row.total] for row in view.values()}


def rxpy_w1(records: Sequence[bytes]) -> tuple[int, float]:
    """W1 as RxPY."""
    out: list[Any] = []
    reactivex.from_iterable(records).pipe(
        rx.map(loops._do),
        rx.filter(keep),
        rx.map(to_vnd),
        rx.reduce(lambda acc, x: (acc[0] + 1, acc[1] + x), (0, 0.0)),
    ).subscribe(out.append)
    return out[0]  # type: ignore[no-any-return]  # what reduce made


def loop_totals(url: str) -> dict[str, list[Any]]:
    """The hand-written loop over the same topic, without commits."""

    async def main() -> dict[str, list[Any]]:
        broker = rxs.connect(url)
        await broker.start()
        values: list[bytes] = []
        state: dict[str, list[Any]] = {}
        offset, end = 0, (await broker.end_offsets("orders"))[0]
        while offset < end:
            fetched = await broker.read("orders", 0, offset, max_records=2048)
            offset, values = fetched.next_offset, fetched.values  # type: ignore[assignment]  # no tombstones here
            loops.totals_into(values, state)
        await broker.stop()
        return state

    return asyncio.run(main())


def collected(broker: Broker, stream: Any) -> list[Any]:
    """All that comes out of a stream."""
    out: list[Any] = []

    async def main() -> None:
        one = stream.pipe(ops.to_callable(out.append))
        async with rxs.start(one, app=f"collected-{next(_apps)}", broker=broker, commit_interval=60.0) as running:
            await running.wait()

    asyncio.run(main())
    return out


def hold(stream: Any, broker: Broker, interval: float = 60.0) -> Any:
    """Run a pipeline over a broker to its end, and keep its state: the graph as the run leaves it."""
    from rxstreams.runtime.settings import Settings, Statistics
    from rxstreams.runtime.task import Task

    async def main() -> Any:
        await broker.start()
        settings = Settings(app=f"hold-{next(_apps)}", commit_interval=interval)
        task = Task([stream], broker, settings, "bench", {}, Statistics())
        await task.acquire()
        await task.work()
        held = task.graph, task.checkpoints
        await task.close()
        return held

    return asyncio.run(main())


def hold_totals(broker: Broker) -> Any:
    """Run TOT over a broker without a view, and keep its state."""
    stream = rxs.from_topic("orders", loops.Order, until="end").pipe(
        ops.key_by("user_id"), ops.aggregate(n=agg.count(), total=agg.sum("amount"))
    )
    return hold(stream, broker, interval=0.1)


def rxpy_direct(values: Sequence[int]) -> int:
    """A direct subscription of RxPY's map and filter."""
    out: list[int] = []
    reactivex.from_iterable(values).pipe(rx.map(lambda x: x + 1), rx.filter(lambda x: x % 2 == 0)).subscribe(out.append)
    return sum(out)


def ours_direct(values: Sequence[int]) -> int:
    """The same with ours, after the same source."""
    out: list[int] = []
    reactivex.from_iterable(values).pipe(ops.map(lambda x: x + 1), ops.filter(lambda x: x % 2 == 0)).subscribe(out.append)
    return sum(out)
