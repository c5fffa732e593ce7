"""How far time has come: generators, partitions that fall silent, and time that goes on with the clock; on a virtual loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import looptime
import msgspec
import pytest

import rxstreams as rxs
from rxstreams import operators as ops, watermarks
from rxstreams.brokers import Record
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import ConfigError
from rxstreams.stream import Stream
from rxstreams.watermarks import START, Watermarks, bounded, monotonic, punctuated

EPOCH = 1_700_000_000
KEYS = [b"d", b"a"]
"""Keys whose records go to partition 0 and 1 of two."""


class Alarm:
    """Tells when the watermark reaches a second after each record."""

    def open(self) -> int:
        """Nothing to keep."""
        return 0

    def process(self, state: int, key: Any, value: Any, time: int, ctx: Any) -> None:
        """Set a timer."""
        ctx.set_timer(time + 1000)

    def on_timer(self, state: int, key: Any, time: int, ctx: Any) -> None:
        """Tell how far behind the record it was, in seconds since the epoch of the test."""
        ctx.emit(time / 1000 - EPOCH - 1)


def virtually(work: Coroutine[Any, Any, Any]) -> Any:
    """What ``work`` returns on a loop whose time is not waited for."""
    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0)) as runner:
        return runner.run(work)


class Told:
    """A run of ``stream`` that writes down (seconds of the loop, which record's timer fired)."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.came: list[tuple[float, float]] = []

    async def create(self, partitions: int = 1) -> None:
        """Make the topic."""
        await self.broker.create_topic("in", partitions)

    async def put(self, second: float, partition: int = 0) -> None:
        """Append a record with a time."""
        key = KEYS[partition] if len(await self.broker.end_offsets("in")) > 1 else None
        record = Record(msgspec.json.encode(second), key, int((EPOCH + second) * 1000))
        assert [place for place, _ in await self.broker.append("in", [record])] == [partition]

    def tell(self, second: float) -> None:
        """Write down."""
        self.came.append((round(asyncio.get_running_loop().time(), 3), second))

    async def run(self, stream: Stream[Any], work: Coroutine[Any, Any, Any], *, app: str = "app") -> None:
        """Run ``work`` beside the pipeline."""
        clock = asyncio.get_running_loop().time
        out = stream.pipe(ops.process(Alarm()), ops.to_callable(self.tell))
        async with rxs.start(out, app=app, broker=self.broker, clock=lambda: EPOCH + clock()):
            await work


def source(**options: Any) -> Stream[Any]:
    """The topic, by its records' times."""
    return rxs.from_topic("in", float, **options)


def test_a_partition_that_was_asked_and_had_nothing_is_set_aside_at_the_deadline() -> None:
    """The silent one of two partitions holds time for ten seconds from when it was first found empty, and not a bit longer."""

    async def main() -> list[tuple[float, float]]:
        told = Told()
        await told.create(2)

        async def work() -> None:
            await told.put(1.0, 1)
            await told.put(1.5, 0)
            for second in range(2, 14):
                await asyncio.sleep(1)
                await told.put(second, 0)
            await asyncio.sleep(0.5)

        await told.run(source(), work())
        return told.came

    came = virtually(main())
    # Partition 1 was read, and found empty right after, at 0 s; so at 10 s what partition 0 has come to counts alone.
    assert came == [(10.0, second) for second in (1.0, 1.5, *range(2, 11))] + [(11.0, 11), (12.0, 12)]


def test_without_an_input_time_goes_on_with_the_clock() -> None:
    """What ends before the partition is idle is closed when it is; what ends later when the clock says so: end + disorder."""

    async def main(**options: Any) -> list[tuple[float, float]]:
        told = Told()
        await told.create()

        async def work() -> None:
            for second in (1.0, 9.0, 30.0):
                await told.put(second)
            await asyncio.sleep(60)

        await told.run(source(out_of_orderness=5.0, **options), work())
        return told.came

    # 30 s − 5 s is the watermark at once, so 1 + 1 and 9 + 1 are due; 30 + 1 is when the clock says 36.
    assert virtually(main()) == [(0.0, 1.0), (0.0, 9.0), (36.0, 30.0)]
    assert virtually(main(idle_after=50.2)) == [(0.0, 1.0), (0.0, 9.0), (50.2, 30.0)]
    assert virtually(main(idle_after=None)) == [(0.0, 1.0), (0.0, 9.0)]
    assert virtually(main(advance_when_idle=False)) == [(0.0, 1.0), (0.0, 9.0)]


def test_the_clock_moves_time_no_further_than_the_disorder_allows() -> None:
    """Two things that are due a second apart come a second apart, each when the clock says end + disorder."""

    async def main() -> list[tuple[float, float]]:
        told = Told()
        await told.create()

        async def work() -> None:
            await told.put(31.0)
            await told.put(30.0)
            await asyncio.sleep(60)

        await told.run(source(out_of_orderness=5.0), work())
        return told.came

    assert virtually(main()) == [(36.0, 30.0), (37.0, 31.0)]


def test_every_partition_must_be_idle_before_the_clock_takes_over() -> None:
    """As long as one of two has records, the clock moves nothing."""

    async def main() -> list[tuple[float, float]]:
        told = Told()
        await told.create(2)

        async def work() -> None:
            await told.put(20.0, 1)
            for second in range(1, 31):
                await told.put(-100.0 + second, 0)
                await asyncio.sleep(1)
            assert [second for _, second in told.came] == [-100.0 + second for second in range(1, 30)]
            del told.came[:]
            await asyncio.sleep(30)

        await told.run(source(), work())
        return told.came

    # Partition 0 had its last record at 29 s and is idle at 39 s.
    assert virtually(main()) == [(39.0, -70.0), (39.0, 20.0)]


def test_a_record_ends_the_clocks_rule() -> None:
    """After a record time is what records say again, and never goes back: one that is older than that is behind it."""

    async def main() -> list[tuple[float, float]]:
        told = Told()
        await told.create()

        async def work() -> None:
            await told.put(1.0)
            await asyncio.sleep(20)
            await told.put(1.5)
            await told.put(12.0)
            await asyncio.sleep(15)

        await told.run(source(), work())
        return told.came

    # The record at 12 is behind the clock, which counts again only when its partition is idle again.
    assert virtually(main()) == [(10.0, 1.0), (20.0, 1.5), (30.0, 12.0)]


def test_a_restart_does_not_take_back_what_idleness_has_moved() -> None:
    """A record that would have been behind before the restart is behind after it."""

    async def main() -> list[tuple[float, float]]:
        told = Told()
        await told.create()

        async def silent() -> None:
            await told.put(1.0)
            await asyncio.sleep(15)

        async def more() -> None:
            await told.put(5.0)
            await asyncio.sleep(1)

        await told.run(source(), silent())
        await told.run(source(), more())
        return told.came

    # At 10 s the clock moved time to 10 s; so the timer of 5 + 1 is due at once.
    assert virtually(main()) == [(10.0, 1.0), (15.0, 5.0)]


def test_a_bounded_topic_is_never_idle() -> None:
    """In a replay the clock moves nothing; a partition that has been read to its end no longer holds the others back."""

    async def main() -> list[tuple[float, float]]:
        told = Told()
        await told.create(2)
        await told.put(1.0, 1)
        for second in range(1, 4):
            await told.put(second, 0)
        clock = asyncio.get_running_loop().time
        out = source(until="end", out_of_orderness=100).pipe(ops.process(Alarm()), ops.to_callable(told.tell))
        async with rxs.start(out, app="app", broker=told.broker, clock=lambda: EPOCH + clock()) as running:
            await running.wait()
        return told.came

    assert virtually(main()) == [(0.0, 1.0), (0.0, 2.0), (0.0, 3.0)]


@pytest.mark.parametrize("late", [False, True])
def test_a_partition_that_is_not_asked_is_not_idle(late: bool) -> None:
    """However long a reader has no room: silence counts only from one question to the next, and records found then end it."""

    async def main() -> list[Any]:
        told = Told()
        await told.create()
        chunks = source().operation.ends.chunks(told.broker, None, first=None, saved={})
        await told.put(1.0)
        assert (await anext(chunks)).news == "expected"
        assert len((await anext(chunks)).values) == 1
        waiting = asyncio.ensure_future(anext(chunks))  # asked, and nothing there
        await asyncio.sleep(1)
        await told.put(2.0)
        assert len((await waiting).values) == 1
        await asyncio.sleep(100)  # nobody asks
        if late:
            await told.put(3.0)
        began = asyncio.get_running_loop().time()
        chunk = await anext(chunks)
        return [chunk.news, len(chunk.values), asyncio.get_running_loop().time() - began]

    assert virtually(main()) == ([None, 1, 0.0] if late else ["all idle", 0, 10.0])


def test_an_async_iterable_falls_silent_too() -> None:
    """It is asked, and has nothing: after ten seconds the clock takes over; while the run has no room it is not asked."""

    async def main() -> list[tuple[float, float]]:
        told = Told()

        async def items() -> AsyncIterator[float]:
            yield 1.0
            await asyncio.sleep(3)
            yield 2.0
            await asyncio.sleep(60)
            yield 3.0

        stream = rxs.from_async_iterable(items, timestamp=lambda second: EPOCH + second)
        await told.run(stream, asyncio.sleep(70))
        return told.came

    assert virtually(main()) == [(3.0, 1.0), (13.0, 2.0), (63.0, 3.0)]


def test_event_time_goes_on_with_the_clock_as_its_source_does() -> None:
    """Time that is taken from the values is moved by the clock while the topic is idle, if it may be."""

    async def main(**options: Any) -> list[tuple[float, float]]:
        told = Told()
        await told.create()

        async def work() -> None:
            await told.put(-500.0)
            await asyncio.sleep(30)

        stream = source().pipe(ops.event_time(lambda second: EPOCH + second + 515, out_of_orderness=2.0, **options))
        await told.run(stream, work())
        return told.came

    assert virtually(main()) == [(18.0, 15.0)]
    assert virtually(main(advance_when_idle=False)) == []


def test_two_idle_topics_go_on_together() -> None:
    """Where streams meet, the least of their watermarks counts, and each goes by the clock with its own disorder."""

    async def main() -> list[tuple[float, float]]:
        told = Told()
        await told.create()
        await told.broker.create_topic("other")

        async def work() -> None:
            await told.put(12.0)
            await asyncio.sleep(60)

        other = rxs.from_topic("other", float, out_of_orderness=7.0)
        await told.run(source().pipe(ops.merge(other)), work())
        return told.came

    assert virtually(main()) == [(20.0, 12.0)]


# The values that say how far time has come.


def test_watermarks_are_the_least_of_the_partitions_that_count() -> None:
    """One that joins, or comes back, starts where time is; time never goes back."""
    marks = Watermarks(bounded(1.0))
    assert marks.advance(0, [5000, 4000, 9000], 1000) == [START, 4000, 4000]
    assert marks.now == 8000
    assert marks.advance(1, [3000, 20_000], 1000) == [8000, 8000]
    assert marks.now == 8000
    marks.set_aside(0)
    assert marks.now == 19_000
    assert marks.advance(0, [10_000], 1000) == [19_000]
    assert (marks.now, marks.marks) == (19_000, {0: 19_000, 1: 19_000})
    again = Watermarks(bounded(1.0))
    again.restore(marks.saved())
    assert (again.now, again.marks) == (marks.now, marks.marks)


def test_generators_say_how_far_time_has_come() -> None:
    """Bounded, monotonic, punctuated, and one's own: a function of the watermark so far, the value and its time."""
    assert [bounded(2.0)(0, "x", time) for time in (1000, 5000)] == [0, 3000]
    assert [monotonic()(4000, "x", time) for time in (1000, 5000)] == [4000, 5000]
    says = punctuated(lambda value: value.get("until"))
    assert [says(0, {"until": "1970-01-01T00:00:05Z"}, 0), says(7, {}, 9_000_000)] == [5000, 7]
    marks = Watermarks(lambda watermark, value, time: time - value)
    assert [marks.step(0, 10, 1000), marks.step(0, 900, 1000), marks.step(0, 0, 2000)] == [START, 990, 990]
    assert marks.now == 2000


def test_a_punctuated_source_moves_only_where_a_record_says_so() -> None:
    """And a record whose punctuation raises meets the source's policy."""

    async def main() -> tuple[list[tuple[float, float]], int]:
        told = Told()
        await told.create()
        for second in (1.0, 2.0, 0.5, 40.0, 6.0):
            await told.put(second)
        said: dict[float, Any] = {0.5: "soon", 6.0: EPOCH + 5}
        says = punctuated(said.get)
        clock = asyncio.get_running_loop().time
        stream = source(watermarks=says, on_error=rxs.Skip())
        out = stream.pipe(ops.process(Alarm()), ops.to_callable(told.tell))
        async with rxs.start(out, app="app", broker=told.broker, clock=lambda: EPOCH + clock()) as running:
            await asyncio.sleep(60)
        return told.came, running.statistics.lost

    assert virtually(main()) == ([(0.0, 1.0), (0.0, 2.0)], 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"idle_after": 0}, r"from_topic\(idle_after\): expected more than 0.0 seconds"),
        ({"advance_when_idle": 1}, r"from_topic\(advance_when_idle\): expected True, False or None, got 1"),
        ({"advance_when_idle": True, "watermarks": punctuated(str)}, r"from_topic\(advance_when_idle\): the clock can take"),
        ({"watermarks": 5.0}, r"from_topic\(watermarks\): expected bounded\(…\)"),
        ({"watermarks": monotonic(), "out_of_orderness": 5.0}, r"expected out_of_orderness or watermarks, got both"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], words: str) -> None:
    """The message names the argument, what was expected and what came."""
    with pytest.raises(ConfigError, match=words):
        rxs.from_topic("in", **arguments)
    with pytest.raises(ConfigError, match="punctuation"):
        watermarks.punctuated(5)  # type: ignore[arg-type]  # refused


def test_an_iterable_that_waits_for_room_is_not_idle() -> None:
    """Its items are there; it is the calls that take long."""

    async def main() -> list[float]:
        broker, seen = MemoryBroker(), []
        clock = asyncio.get_running_loop().time

        async def items() -> AsyncIterator[float]:
            for second in range(40):
                yield float(second)

        async def slowly(second: float) -> None:
            await asyncio.sleep(11)
            seen.append(running.task.graph.sources[0].node.times.now / 1000 - EPOCH)  # type: ignore[union-attr]

        timed = rxs.from_async_iterable(items, timestamp=lambda second: EPOCH + second - 1000)
        edge = timed.pipe(ops.to_callable(slowly, capacity=2), ops.process(Alarm()))
        async with rxs.start(edge, app="app", broker=broker, clock=lambda: EPOCH + clock()) as running:
            await asyncio.sleep(200)
        return seen

    assert max(virtually(main())) < -900, "the clock has moved nothing"


def test_a_replay_does_not_go_by_the_clock() -> None:
    """Unless it is asked to; nor does a topic whose records alone say how far time has come."""

    def by_clock(**options: Any) -> bool:
        return bool(source(**options).operation.make().stamping.by_clock)  # type: ignore[attr-defined]  # a source's node

    assert [by_clock(), by_clock(until="end"), by_clock(until="end", advance_when_idle=True)] == [True, False, True]
    assert [by_clock(advance_when_idle=False), by_clock(watermarks=punctuated(str))] == [False, False]


def test_event_time_waits_for_all_its_sources_to_fall_silent() -> None:
    """One of two that meet still has records: the clock moves nothing behind them."""

    async def main() -> list[tuple[float, float]]:
        told = Told()
        await told.create()
        await told.broker.create_topic("other")

        async def work() -> None:
            await told.broker.append("other", [Record(b"-900.0", None, EPOCH * 1000)])
            for second in range(30):
                await told.put(-990.0 + second)
                await asyncio.sleep(1)

        both = source().pipe(ops.merge(rxs.from_topic("other", float)), ops.event_time(lambda second: EPOCH + second))
        await told.run(both, work())
        return told.came

    assert all(second < -900 for _, second in virtually(main()))
