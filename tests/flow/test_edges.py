"""Bounded edges: how many wait, what becomes of more, who is told, and that nothing is lost that should not be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from reactivex.subject import Subject
from structlog.testing import capture_logs

import rxstreams as rxs
from rxstreams import Skip, aggregates as agg, operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import OperatorError
from rxstreams.runtime import Running
from rxstreams.runtime.graph import Graph
from tests.flow.driving import Served, outcome_of, run_through, virtual
from tests.runtime.faulty import got, put, until


def test_a_blocked_edge_loses_nothing_and_keeps_its_order() -> None:
    """A thousand values through an edge of five in front of a slow call: all come, in order, and no more than bounds wait."""
    entered = 0
    most = 0

    async def main() -> list[Any]:
        served = Served(takes=lambda value: 0.01)

        def enter(value: int) -> int:
            nonlocal entered, most
            entered += 1
            most = max(most, entered - len(served.ended))
            return value

        slow = ops.map_async(served, concurrency=1, capacity=2)
        return await outcome_of(range(1000), ops.map(enter), ops.bounded(5), slow)

    assert virtual(main) == [n * 10 for n in range(1000)]
    assert most <= 5 + 2 + 1


@pytest.mark.parametrize(
    ("overflow", "kept"),
    [("drop_newest", [0, 1, 2, 3, 4, 5, 6]), ("drop_oldest", [0, 1, 95, 96, 97, 98, 99]), ("latest", [0, 1, 97, 98, 99])],
)
def test_a_policy_drops_what_it_says(overflow: Any, kept: list[int]) -> None:
    """Of a hundred at once two are called for and five wait; what is dropped is counted, and on the stream `dropped`."""

    async def main() -> tuple[list[Any], list[int], Running]:
        broker, dropped = MemoryBroker(), list[int]()
        edge = rxs.from_iterable(range(100), name="values").pipe(ops.bounded(5, overflow))
        slow = edge.pipe(ops.map_async(Served(), concurrency=1, capacity=2), ops.to_topic("out"))
        side = edge.dropped.pipe(ops.to_callable(dropped.append))
        clock = asyncio.get_running_loop().time
        async with rxs.start(slow, side, app="app", broker=broker, clock=clock) as running:
            await running.wait()
        return await got(broker), dropped, running

    came, dropped, running = virtual(main)
    assert came == [n * 10 for n in kept]
    assert sorted(dropped + kept) == list(range(100))
    assert running.statistics.dropped == 100 - len(kept)
    assert running.edges[0].dropped == 100 - len(kept)
    assert running.edges[0].most <= 5


def test_latest_lets_all_that_wait_give_way() -> None:
    """The sixth empties an edge of five, and waits alone."""
    values = Subject[int]()
    came = list[int]()

    async def main() -> None:
        slow = ops.map_async(Served(), concurrency=1, capacity=1)
        subscription = values.pipe(ops.bounded(5, "latest"), slow).subscribe(came.append)
        for n in range(8):
            values.on_next(n)
        await asyncio.sleep(10)
        subscription.dispose()

    virtual(main)
    assert came == [0, 60, 70]


def test_what_is_dropped_is_said_in_the_log_where_nobody_reads_it() -> None:
    """One line with how many, not one for each."""

    async def main() -> list[Any]:
        with capture_logs() as logs:
            await run_through(range(100), ops.bounded(5, "drop_newest"), ops.map_async(Served(), concurrency=1, capacity=2))
        return [line for line in logs if "dropped" in line["event"]]

    (line,) = virtual(main)
    assert (line["records"], line["stage"]) == (93, "bounded(capacity=5, overflow='drop_newest')")


def test_overflow_fail_stops_the_run_or_meets_its_policy() -> None:
    """With `fail` the record that finds no room is a failing record."""
    slow = ops.map_async(Served(), concurrency=1, capacity=2)
    with pytest.raises(OperatorError, match=r"bounded\(.*BufferError: 5 records wait already \(capacity=5\); .*value 7"):
        virtual(lambda: run_through(range(100), ops.bounded(5, "fail"), slow))
    came = virtual(lambda: outcome_of(range(100), ops.bounded(5, "fail"), slow, on_error=Skip()))
    assert came == [n * 10 for n in range(7)]


def test_a_full_edge_asks_for_more_when_it_is_as_empty_as_was_said() -> None:
    """With `resume_at=0` it is filled when nothing waits: five, and five again, as Node's `drain`."""
    full: list[int] = []

    async def main() -> None:
        served = Served()
        edge = ops.bounded(5, resume_at=0, on_full=lambda: full.append(len(served.ended)))
        await run_through(range(21), edge, ops.map_async(served, concurrency=1, capacity=1))

    virtual(main)
    assert full == [0, 5, 10, 15]


def test_backpressure_is_told_when_it_begins_and_when_it_is_over() -> None:
    """One line each for an edge that becomes full many times in between, with its name and for how long."""

    async def main() -> list[Any]:
        broker = MemoryBroker()
        await put(broker, range(200))
        slow = ops.map_async(Served(takes=lambda value: 0.1), concurrency=1, capacity=4, name="the service")
        stream = rxs.from_topic("in", int, max_ahead=None).pipe(slow, ops.to_topic("out"))
        with capture_logs() as logs:
            clock = asyncio.get_running_loop().time
            async with rxs.start(stream, app="app", broker=broker, clock=clock) as running:
                await asyncio.sleep(30)
                assert not running.edges[0].full
                assert running.edges[0].pauses > 50
                await put(broker, range(40))
                await asyncio.sleep(3)
        return [line for line in logs if "backpressure" in line["event"]]

    first, over, again, ended = virtual(main)
    assert (first["event"], first["edge"], first["capacity"]) == ("backpressure detected, pausing", "the service", 4)
    assert (over["event"], over["edge"]) == ("backpressure over", "the service")
    assert over["seconds"] == pytest.approx(20, abs=1)
    assert over["pauses"] > 50
    assert (again["event"], ended["event"]) == (first["event"], over["event"])


def test_the_edges_of_a_run_name_the_bottleneck() -> None:
    """Of two full edges it is the later one: the first is full for its sake."""

    async def main() -> list[tuple[str, bool, bool]]:
        quick = ops.map_async(Served(takes=lambda value: 0.001), capacity=8, concurrency=8, name="quick")
        slow = ops.map_async(Served(takes=lambda value: 1.0), capacity=2, concurrency=2, name="slow")
        stream = rxs.from_iterable(range(100), name="values").pipe(quick, slow, ops.bounded(3, name="after"))
        clock = asyncio.get_running_loop().time
        async with rxs.start(stream, app="app", broker=MemoryBroker(), clock=clock) as running:
            await asyncio.sleep(5.25)
            assert running.edges[1].waiting == 2
            return [(edge.name, edge.full, edge.bottleneck) for edge in running.edges]

    assert virtual(main) == [("quick", True, False), ("slow", True, True), ("after", False, False)]


def test_what_waits_in_an_edge_is_saved_and_comes_out_once() -> None:
    """A run is stopped while values wait; the next one gives them, then the rest, each once and in order."""

    async def main() -> list[Any]:
        broker, gate = MemoryBroker(), asyncio.Event()
        await put(broker, range(50))

        async def wait_first(value: int) -> int:
            await gate.wait()
            return value

        def build() -> rxs.Stream[Any]:
            edge = rxs.from_topic("in", int).pipe(ops.bounded(7, name="edge"))
            return edge.pipe(ops.map_async(wait_first, capacity=3, concurrency=3, name="call"), ops.to_topic("out"))

        async with rxs.start(build(), app="app", broker=broker, commit_interval=0.001) as running:
            await until(lambda: running.edges[0].waiting == 7 and running.statistics.epochs > 0)
        assert await broker.committed("app") == {("in", 0): 10}
        gate.set()
        async with rxs.start(build(), app="app", broker=broker, commit_interval=0.001) as running:
            assert running.statistics.restored == 10
            await until(lambda: broker._store.topics["out"].partitions[0].end == 50)
        return await got(broker)

    assert asyncio.run(main()) == list(range(50))


def test_an_edge_counts_where_its_results_meet_others() -> None:
    """What an edge gives to a merge in front of a slow call heeds that call's capacity, too."""

    async def main() -> int:
        slow = Served(takes=lambda value: 0.1)
        source = rxs.from_iterable(range(300), name="values")
        quick = source.pipe(ops.map_async(Served(takes=lambda value: 0.0), capacity=100), ops.flat_map(lambda n: [n, n]))
        met = quick.pipe(ops.merge(source), ops.map_async(slow, capacity=4, concurrency=4, name="slow"))
        clock = asyncio.get_running_loop().time
        async with rxs.start(met, app="app", broker=MemoryBroker(), clock=clock) as running:
            await running.wait()
            (edge,) = (edge for edge in running.edges if edge.name == "slow")
        assert len(slow.ended) == 900
        return edge.most

    assert virtual(main) <= 4 + 2


def test_the_memory_of_a_pipeline_is_a_number() -> None:
    """`explain_memory` names each place and its bound, and adds them up."""
    slow = ops.map_async(Served(), concurrency=5, name="service")
    stream = rxs.from_topic("orders").pipe(slow, ops.bounded(7, "latest"), ops.to_topic("out"))
    told = rxs.explain_memory(stream.pipe(ops.zip(rxs.from_iterable([1], name="few"), capacity=9)))
    assert {bound.where: bound.records for bound in told.bounds} == {
        "topic:orders": 8192,
        "service": 20,
        "bounded(capacity=7, overflow='latest')": 7,
        "iterable:few": 4096,
        "zip(capacity=9)": 18,
    }
    assert told.records == 12_333
    assert str(told).splitlines()[-2:] == [
        " 12,333  in all                                  and at each edge what one record makes above it",
        "500,000  written to topics                       records of input whose results wait for their commit",
    ]


def test_a_rate_limit_holds_in_every_window_of_time_and_over_a_restart() -> None:
    """No more than ten in any second, although the run is stopped and started in the middle."""

    async def main() -> list[float]:
        broker, times, loop = MemoryBroker(), list[float](), asyncio.get_running_loop()
        await put(broker, range(35))

        def build() -> rxs.Stream[Any]:
            limited = rxs.from_topic("in", int, max_ahead=None).pipe(ops.rate_limit(10, per=1.0), ops.to_topic("out"))
            return limited.pipe(ops.to_callable(lambda value: times.append(loop.time())))

        for seconds in (1.4, 10.0):
            async with rxs.start(build(), app="app", broker=broker, clock=loop.time):
                await asyncio.sleep(seconds)
        assert await got(broker) == list(range(35))
        return times

    times = virtual(main)
    assert len(times) == 35
    assert min(later - time for time, later in zip(times, times[10:], strict=False)) >= 1.0 - 1e-6
    assert times[-1] - times[0] == pytest.approx(3.0, abs=0.1)


def test_what_is_being_called_for_is_not_dropped() -> None:
    """Policies that drop leave alone what is under way: each call that has begun gives its result."""

    async def numbers() -> Any:
        for n in range(20):
            yield n
            await asyncio.sleep(0.1 if n == 2 else 0.0)

    async def main() -> list[Any]:
        broker = MemoryBroker()
        made = ops.map_async(Served(), concurrency=3, capacity=4, overflow="latest")
        stream = rxs.from_async_iterable(numbers, name="numbers").pipe(made, ops.to_topic("out"))
        async with rxs.start(stream, app="app", broker=broker) as running:
            await running.wait()
        return await got(broker)

    assert virtual(main) == [0, 10, 20, 190]


def test_nobody_waits_for_a_commit() -> None:
    """What a call makes room for goes on at once, and the run ends with the last call or timer, however seldom it commits."""

    async def main(*operators: Any) -> float:
        await run_through(range(20), *operators, commit_interval=1000.0)
        return asyncio.get_running_loop().time()

    slow = ops.map_async(Served(), concurrency=1, capacity=1)
    assert virtual(lambda: main(ops.bounded(5), slow, ops.bounded(2))) == pytest.approx(20, abs=0.01)
    assert virtual(lambda: main(ops.delay(7))) == pytest.approx(7, abs=0.01)


def test_windows_behind_an_edge_are_read_in_batches() -> None:
    """Records go through one by one only where timers must stand between the same of them; behind an edge they need not."""
    source = rxs.from_topic("in", int, timestamp=lambda n: n)
    counted = ops.windowed(rxs.tumbling(5), n=agg.count())
    one_by_one = {
        kind: Graph([source.pipe(before, counted)], clock=lambda: 0.0).one_by_one
        for kind, before in {"edge": ops.bounded(5), "calls": ops.map_async(Served()), "delay": ops.delay(1)}.items()
    }
    assert one_by_one == {"edge": False, "calls": False, "delay": True}


def test_what_there_is_room_for_again_and_again_goes_at_once() -> None:
    """Windows that close at once are given out one by one in front of an operator that makes several of each, without a pause."""

    async def main() -> int:
        source = rxs.from_iterable(range(50), timestamp=lambda n: 1_000_000_000_000 + n * 1000, name="values")
        closed = source.pipe(ops.key_by(lambda n: n), ops.windowed(rxs.tumbling(1000), n=agg.count()))
        came = list[int]()
        many = closed.pipe(ops.flat_map(lambda row: [row.n, row.n]), ops.rate_limit(1000), ops.to_callable(came.append))
        async with rxs.start(many, app="app", broker=MemoryBroker(), commit_interval=1000.0):
            await asyncio.sleep(1)
            return len(came)

    assert virtual(main) == 100
