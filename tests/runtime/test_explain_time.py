"""explain_time: who holds time back at each operator, since when and why; on a virtual loop."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import looptime
import msgspec
import pytest

import rxstreams as rxs
from rxstreams import aggregates as agg, operators as ops
from rxstreams.brokers import Record
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import ConfigError

EPOCH = 1_700_000_000
KEYS = (b"d", b"a")
"""Of records for partition 0 and 1 of two."""


def virtually(work: Coroutine[Any, Any, Any]) -> Any:
    """What ``work`` returns on a loop whose time is not waited for."""
    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0)) as runner:
        return runner.run(work)


async def put(broker: MemoryBroker, second: float, partition: int) -> None:
    """Append a record with a time."""
    await broker.append("in", [Record(msgspec.json.encode(second), KEYS[partition], int((EPOCH + second) * 1000))])


def at(second: float) -> int:
    """Milliseconds since the epoch."""
    return int((EPOCH + second) * 1000)


def test_it_names_the_partition_that_holds_the_windows() -> None:
    """Of two partitions the silent one holds the window open; when that is set aside, the other; then the clock."""

    async def main() -> None:
        broker = MemoryBroker()
        await broker.create_topic("in", 2)
        source = rxs.from_topic("in", float, out_of_orderness=1.0)
        counts = source.pipe(ops.windowed(rxs.tumbling(10), n=agg.count()), ops.to_view("counts"))
        loop = asyncio.get_running_loop()
        async with rxs.start(counts, app="app", broker=broker, clock=lambda: EPOCH + loop.time()) as running:
            found = rxs.explain_time(running)["windowed"]
            assert (found.watermark, found.behind, found.waiting, found.next) == (None, None, 0, None)
            assert found.held_by is not None
            assert (found.held_by.source, found.held_by.why) == ("topic:in", "no record yet")
            assert "windowed(over=tumbling(10), n='count()'): no watermark yet" in str(rxs.explain_time(running))

            await put(broker, 1.0, 1)
            await asyncio.sleep(3)
            await put(broker, 2.5, 0)
            await asyncio.sleep(0.5)
            found = rxs.explain_time(running)["windowed"]
            assert (found.watermark, found.behind, found.waiting, found.next) == (at(0), 3.5, 1, at(10))
            assert msgspec.to_builtins(found.held_by) == {
                "source": "topic:in", "partition": 1, "watermark": at(0), "since": EPOCH + 0.0, "why": "idle",
            }  # fmt: skip
            text = str(rxs.explain_time(running))
            assert "watermark 2023-11-14T22:13:20.000Z, 3.500 s behind the clock" in text
            assert "held by topic:in, partition 1, at 2023-11-14T22:13:20.000Z since 2023-11-14T22:13:20.000Z: idle (" in text
            assert "1 wait for time, the first of them for 2023-11-14T22:13:30.000Z" in text

            await asyncio.sleep(8)
            found = rxs.explain_time(running)["windowed"]
            assert (found.watermark, found.held_by and found.held_by.partition) == (at(1.5), 0)
            await asyncio.sleep(4)
            found = rxs.explain_time(running)["windowed"]
            assert found.held_by is not None
            assert (found.held_by.why, found.waiting, found.next) == ("by the clock", 0, None)

    virtually(main())


def test_it_tells_backpressure_from_silence() -> None:
    """A source whose records wait for room is not idle: they are there."""

    async def main() -> None:
        broker = MemoryBroker()
        await broker.create_topic("in", 1)
        for second in range(5000):
            await put(broker, second, 0)

        async def slowly(value: float) -> None:
            await asyncio.sleep(1.0)

        slow = rxs.from_topic("in", float).pipe(
            ops.to_callable(slowly, capacity=3), ops.windowed(rxs.tumbling(10), n=agg.count())
        )
        async with rxs.start(slow, app="app", broker=broker) as running:
            await asyncio.sleep(20)
            found = rxs.explain_time(running)["windowed"]
            assert found.held_by is not None
            assert found.held_by.why == "backpressured"

    virtually(main())


def test_it_says_so_where_time_is_over_or_nobody_reads_it() -> None:
    """A finished input, a pipeline without event time, and an operator that is not there."""

    async def main() -> None:
        broker = MemoryBroker()
        await put(broker, 1.0, 0)
        source = rxs.from_topic("in", float, until="end")
        async with rxs.start(source.pipe(ops.windowed(rxs.tumbling(10), n=agg.count())), app="a", broker=broker) as running:
            await running.wait()
            assert "time is over" in str(rxs.explain_time(running))
            with pytest.raises(KeyError, match=r"no operator .*sessions.* that deals in event time"):
                rxs.explain_time(running)["sessions"]
        async with rxs.start(source.pipe(ops.map(str)), app="b", broker=broker) as running:
            assert str(rxs.explain_time(running)) == "nothing in this run reads event time"

    asyncio.run(main())
    with pytest.raises(ConfigError, match="the run has not begun"):
        _unbegun()


def _unbegun() -> None:
    running = object.__new__(rxs.Running)
    running.task = None
    rxs.explain_time(running)
