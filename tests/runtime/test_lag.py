"""lag: how far an app is behind, told alike of every broker."""

from collections.abc import Callable
from pathlib import Path

import pytest

import rxstreams as rxs
from rxstreams import operators as ops
from rxstreams.brokers import Broker, Commit, Record
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.brokers.sqlite import SqliteBroker
from rxstreams.runtime import Lag

MINUTE = 60_000


@pytest.mark.asyncio
@pytest.mark.parametrize("make", [lambda path: MemoryBroker(), SqliteBroker])
async def test_lag_is_what_was_not_committed_yet(make: Callable[[Path], Broker], tmp_path: Path) -> None:
    """Records per partition, and the age of the first of them."""
    broker = make(tmp_path / "lag.db")
    await broker.start()
    try:
        await broker.create_topic("in", 2)
        for i in range(4):  # a partition each, in turns
            await broker.append("in", [Record(b"%d" % i, None, i * MINUTE)])
        assert await rxs.lag("copy", broker=broker) == []
        copied = rxs.from_topic("in", until="end", finish=False).pipe(ops.to_topic("out"))
        async with rxs.start(copied, app="copy", broker=broker) as running:
            await running.wait()
        now = lambda: 6 * 60.0  # noqa: E731  # a value among values
        ends = await broker.end_offsets("in")
        assert await rxs.lag("copy", broker=broker, clock=now) == [Lag("in", p, ends[p], ends[p], 0, 0.0) for p in (0, 1)]
        placed = [(await broker.append("in", [Record(b"4", None, at * MINUTE)]))[0] for at in (4, 5)]
        found = {row.partition: row for row in await rxs.lag("copy", broker=broker, clock=now)}
        assert {p: (row.committed, row.records, row.seconds) for p, row in found.items()} == {
            p: (ends[p], 1, seconds) for (p, _), seconds in zip(placed, (120.0, 60.0))
        }
    finally:
        await broker.stop()


@pytest.mark.asyncio
async def test_lag_counts_partitions_that_were_never_read_and_leaves_out_topics_that_are_gone() -> None:
    """From their start on; the offsets of a deleted topic stay committed, and say nothing."""
    broker = MemoryBroker()
    await broker.start()
    await broker.create_topic("in", 2)
    for i in range(2):
        await broker.append("in", [Record(b"%d" % i)])
    await broker.create_topic("gone")
    handle = await broker.open("app", "0", instance="test")
    await handle.commit(Commit(offsets={("in", 0): 0, ("gone", 0): 7}))
    broker._store.topics.pop("gone")
    assert [(row.topic, row.partition, row.records) for row in await rxs.lag("app", broker=broker)] == [
        ("in", 0, 1),
        ("in", 1, 1),
    ]


@pytest.mark.asyncio
async def test_lag_of_a_url_opens_and_closes_the_broker(tmp_path: Path) -> None:
    """As a script would ask."""
    path = tmp_path / "lag.db"
    broker = SqliteBroker(path)
    await broker.start()
    await broker.append("in", [Record(b"1")])
    await (await broker.open("app", "0", instance="test")).commit(Commit(offsets={("in", 0): 0}))
    await broker.stop()
    assert [row.records for row in await rxs.lag("app", broker=f"sqlite:///{path}")] == [1]
