"""windowed: what each kind of window has, when it is emitted, which pane it is, and what is late."""

import asyncio
import random
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import looptime
import msgspec
import pytest

import rxstreams as rxs
from rxstreams import Skip, Stream, aggregates as agg, operators as ops, windows
from rxstreams.brokers import Record
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import OperatorError, TopologyError
from rxstreams.operators.windows.panes import Panes
from rxstreams.runtime.graph import Graph
from rxstreams.watermarks import Late
from tests.laws.harness import Drive, End, Event, Rec, lines, random_cuts, run
from tests.runtime.faulty import FaultyBroker, got

NOW = 1_700_000_000_000 - 1_700_000_000_000 % 86_400_000
"""A midnight, in milliseconds."""


def records(*seconds: float, value: Any = 1) -> list[Event]:
    """Records of these seconds after ``NOW``."""
    return [Rec("a", 0, value, NOW + round(second * 1000)) for second in seconds]


def shown(values: Sequence[Any], *names: str) -> list[tuple[Any, ...]]:
    """Results as (start, end, the named aggregates…), in seconds after ``NOW``."""
    return [((v.start - NOW) / 1000, (v.end - NOW) / 1000, *(getattr(v, name) for name in names)) for v in values]


def panes(values: Sequence[Any], *names: str) -> list[tuple[Any, ...]]:
    """The same with each result's pane."""
    told = zip(shown(values, *names), values, strict=True)
    return [(*one, value.pane.timing, value.pane.number, value.pane.last) for one, value in told]


def results(events: Sequence[Event], over: Any, *, out_of_orderness: float = 0.0, **options: Any) -> list[Any]:
    """The results of a run whose input does not end, however it is cut."""
    options.setdefault("n", agg.count())
    stream = lambda: lines(out_of_orderness=out_of_orderness).pipe(ops.windowed(over, **options))  # noqa: E731  # made anew
    expected = run(events, stream())
    for cuts in ([], random_cuts(random.Random(0), len(events))):
        assert run(events, stream(), cuts=cuts) == expected
    return expected.values[0]


# What is in a window.


def test_a_window_has_its_start_and_not_its_end() -> None:
    """[start, end): a record with just the end's time is in the next one, which the watermark opens."""
    assert shown(results(records(0, 59.999, 60, 120), rxs.tumbling(60)), "n") == [(0, 60, 2), (60, 120, 1)]


def test_windows_before_1970_are_aligned_too() -> None:
    """Alignment is by floor division, with an offset that may be negative."""
    events = [Rec("a", 0, 1, time) for time in (-1, -60_000, -60_001, 500_000)]
    values = results(events, rxs.tumbling(60), out_of_orderness=120)
    assert [(v.start, v.end, v.n) for v in values] == [(-120_000, -60_000, 1), (-60_000, 0, 2)]
    values = results(events, rxs.tumbling(60, offset=-15), out_of_orderness=120)
    assert [(v.start, v.end, v.n) for v in values] == [(-75_000, -15_000, 2), (-15_000, 45_000, 1)]


def test_a_record_behind_the_watermark_is_not_late_while_its_window_is_open() -> None:
    """It is counted; only when its window has closed is it late, by how far the watermark has passed it."""
    stream = lines(out_of_orderness=0.0).pipe(ops.windowed(rxs.tumbling(60), n=agg.count()))
    values, late = run([*records(50, 10, 61, 59.5), End("a")], stream, stream.late).values
    assert shown(values, "n") == [(0, 60, 2), (60, 120, 1)]
    assert late == [Late(1, 1.5)]


def test_hopping_windows_have_what_their_time_says_and_are_left_out_where_empty() -> None:
    """A record is in size ÷ every windows; where a stretch has no record there is no window, and none is missed after it."""
    values = results([*records(5, 12, 500), End("a")], rxs.hopping(20, 10))
    assert shown(values, "n") == [(-10, 10, 1), (0, 20, 2), (10, 30, 1), (490, 510, 1), (500, 520, 1)]


def test_a_late_record_is_in_those_of_its_hopping_windows_that_are_open() -> None:
    """What closed before it came has gone out without it; the others have it."""
    values = results([*records(5, 21, 18), End("a")], rxs.hopping(20, 10))
    assert shown(values, "n") == [(-10, 10, 1), (0, 20, 1), (10, 30, 2), (20, 40, 1)]


def test_sessions_are_cut_by_the_gap_and_joined_by_a_record_between() -> None:
    """Just the gap apart is two; a record that touches two makes them one."""
    assert shown(results(records(0, 29.999, 59.999, 200), rxs.session(30)), "n") == [(0, 59.999, 2), (59.999, 89.999, 1)]
    assert shown(results(records(0, 30, 99), rxs.session(30), out_of_orderness=39), "n") == [(0, 30, 1), (30, 60, 1)]
    assert shown(results(records(0, 40, 20, 200), rxs.session(30), out_of_orderness=30), "n") == [(0, 70, 3)]
    assert shown(results(records(0, 20, 35, 40, 200), rxs.session(30)), "n") == [(0, 70, 4)], "its first end was at 30"


def test_a_session_ends_at_the_next_multiple_of_its_longest() -> None:
    """However its records are strewn, none is longer than ``max``, and what comes behind the cut begins another."""
    values = results(records(*range(0, 200, 10), 999), rxs.session(15, max=60))
    assert shown(values, "n") == [(0, 60, 6), (60, 120, 6), (120, 180, 6), (180, 205, 2)]


def test_a_sliding_window_has_the_last_seconds_of_each_record() -> None:
    """A result a record, in order of time, when the watermark has passed it; one that is just ``size`` older is not in it."""
    events = [*records(1, 5, 3, 11, 11), *records(12)]
    values = results(events, rxs.sliding(10), out_of_orderness=2)
    assert shown(values, "n") == [(-8.999, 1.001, 1), (-6.999, 3.001, 2), (-4.999, 5.001, 3)]
    values = results([*events, End("a")], rxs.sliding(10), out_of_orderness=2)
    assert [v.n for v in values] == [1, 2, 3, 4, 4, 5]


def test_sliding_windows_are_what_their_definition_says() -> None:
    """Of hundreds of records out of order, under any cuts and crashes, each result is what a slow look at all of them gives."""
    rng = random.Random(3)
    times = [100 * i - rng.randrange(0, 1900, 100) for i in range(400)]
    events = [Rec("a", 0, i, NOW + time) for i, time in enumerate(times)]
    stream = lines(out_of_orderness=2.0).pipe(ops.windowed(rxs.sliding(3), n=agg.count(), last=agg.max(), sum=agg.sum()))
    expected = []
    for time in sorted(times):
        members = [i for i, other in enumerate(times) if time - 3000 < other <= time]
        expected.append((time + 1 - 3000, time + 1, len(members), max(members), sum(members)))
    drive = Drive(stream)
    for at in range(0, 400, 50):
        drive.feed(events[at : at + 50], random_cuts(rng, 50), offset=at)
        drive.commit()
        drive.crash()
    drive.feed([End("a")])
    found = [(v.start - NOW, v.end - NOW, v.n, v.last, v.sum) for v, _, _ in drive.results[0]]
    assert found == expected


def test_windows_count_records_of_their_key() -> None:
    """Each n records of a key, in the order in which they come; what is left at the end of the input comes then."""
    stream = lines().pipe(ops.key_by(lambda x: x % 2), ops.windowed(rxs.counting(3, every=2), n=agg.count(), t=agg.sum()))
    events = [*(Rec("a", 0, value, NOW + value) for value in range(9)), End("a")]
    found = [(v.key, v.n, v.t) for v in run(events, stream).values[0]]
    assert found == [(0, 3, 0 + 2 + 4), (1, 3, 1 + 3 + 5), (0, 3, 4 + 6 + 8), (0, 1, 8), (1, 2, 5 + 7)]


def test_days_follow_the_clocks_of_their_place() -> None:
    """The day on which clocks go forward has 23 hours, the one on which they go back 25; weeks begin on Monday."""
    berlin = ZoneInfo("Europe/Berlin")

    def hours(unit: Any, *moment: int) -> float:
        day = windows.calendar(unit, tz="Europe/Berlin")
        time = round(datetime(*moment, tzinfo=berlin).timestamp() * 1000)
        start = day.pane(time)
        assert start <= time < day.end(start)
        assert (day.begin(day.end(start)), day.next_end(time)) == (start, day.end(start))
        return (day.end(start) - start) / 3_600_000

    assert [hours("day", 2026, 3, 29, hour) for hour in (0, 1, 12, 23)] == [23.0] * 4
    assert [hours("day", 2026, 10, 25, hour) for hour in (0, 2, 23)] == [25.0] * 3
    assert [hours("day", 2026, 3, 28), hours("week", 2026, 3, 29), hours("month", 2026, 2, 15)] == [24.0, 167.0, 672.0]
    week = windows.calendar("week", tz=berlin)
    start = week.pane(round(datetime(2026, 1, 16, tzinfo=berlin).timestamp() * 1000))
    assert datetime.fromtimestamp(start / 1000, berlin) == datetime(2026, 1, 12, tzinfo=berlin)


def test_a_day_without_a_midnight_begins_when_the_clocks_jump() -> None:
    """In Cairo the clocks went from 0:00 to 1:00 on 28 April 2023."""
    cairo = ZoneInfo("Africa/Cairo")
    day = windows.calendar("day", tz=cairo)
    start = day.pane(round(datetime(2023, 4, 28, 12, tzinfo=cairo).timestamp() * 1000))
    assert datetime.fromtimestamp(start / 1000, cairo) == datetime(2023, 4, 28, 1, tzinfo=cairo)
    assert day.end(start) - start == 23 * 3_600_000
    assert day.pane(start) == start
    assert day.pane(start - 1) == start - 24 * 3_600_000


def test_calendar_windows_run() -> None:
    """Records of two days are two results, in a place that is seven hours ahead."""
    events = [*records(16 * 3600, 17 * 3600 - 1, 17 * 3600, 99 * 3600)]
    values = results(events, rxs.calendar("day", tz="Asia/Ho_Chi_Minh"))
    assert shown(values, "n") == [(-7 * 3600, 17 * 3600, 2), (17 * 3600, 41 * 3600, 1)]


# Panes.


def test_a_window_that_is_kept_gives_a_late_result_for_each_late_record() -> None:
    """On time once, then refined while it is kept; after that a record is late."""
    stream = lines(out_of_orderness=0.0).pipe(ops.windowed(rxs.tumbling(60), lateness=30, n=agg.count()))
    values, late = run(records(50, 70, 40, 89.9, 30, 90, 20), stream, stream.late).values
    assert panes(values, "n") == [
        (0, 60, 1, "on time", 0, False),
        (0, 60, 2, "late", 1, False),
        (0, 60, 3, "late", 2, False),
    ]
    assert late == [Late(1, 70.0)]


def test_a_window_that_was_empty_when_it_closed_has_late_results_only() -> None:
    """An on-time pane comes once per window that is not empty then."""
    values = results(records(70, 50), rxs.tumbling(60), lateness=30)
    assert panes(values, "n") == [(0, 60, 1, "late", 0, False)]


def test_a_session_that_fired_merges_again_with_its_contents() -> None:
    """A late record within its lateness makes two fired sessions one, or opens a fired one again."""
    values = results(records(0, 25, 55, 12), rxs.session(20), lateness=40)
    assert panes(values, "n") == [
        (0, 20, 1, "on time", 0, False),
        (25, 45, 1, "on time", 0, False),
        (0, 45, 3, "late", 1, False),
    ]
    values = results(records(0, 30, 18, 38.5), rxs.session(20), lateness=40)
    assert panes(values, "n") == [(0, 20, 1, "on time", 0, False)], "it is open again, with the record at 30"
    values = results(records(0, 30, 18, 60), rxs.session(20), lateness=40)
    assert panes(values, "n") == [(0, 20, 1, "on time", 0, False), (0, 50, 3, "on time", 1, False)]


def test_early_results_come_with_each_record_or_each_nth() -> None:
    """Accumulating panes have the window so far, discarding ones what came since."""
    over, events = rxs.tumbling(60), [*records(1, 2, 3, 61)]
    assert panes(results(events, over, emit=windows.on_update), "n") == [
        *((0, 60, n, "early", n - 1, False) for n in (1, 2, 3)),
        (60, 120, 1, "early", 0, False),
        (0, 60, 3, "on time", 3, True),
    ]
    assert panes(results(events, over, emit=windows.after(2), panes="discarding"), "n") == [
        (0, 60, 2, "early", 0, False),
        (0, 60, 1, "on time", 1, True),
    ]


def test_early_results_come_as_time_goes_on() -> None:
    """Each time that event time is so far from the window's start, if there was a record since: with the one that moved it."""
    values = results(records(1, 5, 25, 26, 55, 61), rxs.tumbling(60), emit=windows.every(10))
    assert panes(values, "n") == [(0, 60, 3, "early", 0, False), (0, 60, 5, "early", 1, False), (0, 60, 5, "on time", 2, True)]


# Keys, times, results.


def test_results_have_their_key_and_a_time_within_their_window() -> None:
    """So a result falls into the longer window that has all of its own."""
    per_minute = lines(out_of_orderness=0.0).pipe(
        ops.key_by(lambda x: ("even", True) if x % 2 == 0 else None), ops.windowed(rxs.tumbling(60), t=agg.sum())
    )
    per_day = per_minute.pipe(ops.windowed(rxs.tumbling(86_400), minutes=agg.count(), t=agg.sum("t")))
    events = [Rec("a", 0, value, NOW + value * 40_000) for value in range(6)]
    first, second = run([*events, End("a")], per_minute, per_day).results
    assert [(value.key, time - NOW, key) for value, time, key in first][:2] == [
        (("even", True), 59_999, first[0][2]),
        (None, 59_999, None),
    ]
    assert [(value.key, value.minutes, value.t) for value, _, _ in second] == [(("even", True), 3, 6), (None, 3, 9)]


def test_a_result_goes_to_a_topic_and_comes_back() -> None:
    """As JSON with its bounds and pane; a declared subclass, and any JSON, read it."""

    class PerMinute(rxs.Windowed, frozen=True):
        orders: int
        revenue: float

    async def main() -> None:
        broker = MemoryBroker()
        await broker.append("in", [Record(b"2.5", None, NOW + n) for n in (1, 2)])
        aggregates = {"orders": agg.count(), "revenue": agg.sum()}
        source = rxs.from_topic("in", float, until="end")
        out = source.pipe(ops.key_by(lambda _: "ann"), ops.windowed(rxs.tumbling(60), **aggregates), ops.to_topic("out"))
        async with rxs.start(out, app="app", broker=broker) as running:
            await running.wait()
        assert await got(broker) == [
            {
                "key": "ann", "start": NOW, "end": NOW + 60_000, "pane": {"timing": "on time", "number": 0, "last": True},
                "orders": 2, "revenue": 5.0,
            }
        ]  # fmt: skip
        read = await broker.read("out", 0, 0, max_records=9)
        assert (read.keys, list(read.timestamps)) == ([b"ann"], [NOW + 59_999])
        back: list[Any] = []
        again = rxs.from_topic("out", PerMinute, until="end").pipe(ops.to_callable(back.append))
        async with rxs.start(again, app="again", broker=broker) as running:
            await running.wait()
        assert back == [PerMinute("ann", NOW, NOW + 60_000, windows.Pane(), 2, 5.0)]

    asyncio.run(main())


def test_a_failing_record_leaves_no_trace_in_its_window() -> None:
    """The policy decides about it; a window that only failing records were in does not exist."""
    for over in (rxs.tumbling(60), rxs.hopping(60, 30), rxs.session(60), rxs.sliding(60), rxs.counting(2)):
        stream = lines(out_of_orderness=0.0).pipe(ops.windowed(over, t=agg.sum(lambda x: 6 // x), on_error=Skip()))
        events = [
            *(Rec("a", 0, value, NOW + 10 * i) for i, value in enumerate((1, 0, 2))),
            Rec("a", 0, 0, NOW + 500_000),
            End("a"),
        ]
        outcome = run(events, stream, cuts=[])
        assert max(value.t for value in outcome.values[0]) == 9, over
        assert all(value.t for value in outcome.values[0]), over
        assert len(outcome.lost) == 2, over


def test_a_result_that_cannot_be_made_meets_the_policy() -> None:
    """The other keys' results do not notice."""
    own = agg.of(int, lambda total, x: total + x, lambda a, b: a + b, lambda total: 100 // (total - 3))
    for over in (rxs.tumbling(60), rxs.hopping(60, 60)):
        stream = lines(out_of_orderness=0.0).pipe(ops.key_by(lambda x: x), ops.windowed(over, r=own, on_error=Skip()))
        outcome = run([*(Rec("a", 0, value, NOW) for value in (1, 3, 5)), End("a")], stream, cuts=[])
        assert [(value.key, value.r) for value in outcome.values[0]] == [(1, -50), (5, 50)]
        assert len(outcome.lost) == 1


def test_state_of_other_windows_does_not_fit() -> None:
    """Saved windows are refused by a pipeline that cuts time otherwise, and nothing is reset in silence."""

    async def main() -> None:
        broker = MemoryBroker()
        await broker.append("in", [Record(b"1", None, NOW)])

        async def go(over: Any, **options: Any) -> None:
            source = rxs.from_topic("in", until="end", finish=False)
            stream = source.pipe(ops.windowed(over, n=agg.count(), name="windows", **options))
            async with rxs.start(stream, app="app", broker=broker) as running:
                await running.wait()

        await go(rxs.tumbling(60))
        await go(rxs.tumbling(60))
        for over, options in ((rxs.tumbling(30), {}), (rxs.tumbling(60), {"emit": windows.on_update})):
            with pytest.raises(TopologyError, match="saved as windowed"):
                await go(over, **options)

    asyncio.run(main())


# The loop that decodes, reads times and keys, and fills windows.


def fused(stream: Stream[Any]) -> bool:
    """Whether a run makes one loop of a pipeline."""
    graph = Graph([stream], clock=lambda: 0.0)
    return any(isinstance(vertex.node, Panes) and vertex.node.fused for vertex in graph.vertices)


class Order(msgspec.Struct):
    """A record of the tests below."""

    user: str
    amount: float
    at: Any


def source(**options: Any) -> Stream[Order]:
    """Orders, by their own times."""
    return rxs.from_topic("in", Order, timestamp="at", until="end", **options)


def per_minute(orders: Stream[Order], *, late: bool = False) -> list[Stream[Any]]:
    """A pipeline that can be one loop."""
    made = orders.pipe(
        ops.filter(lambda o: o.amount > 0),
        ops.key_by("user"),
        ops.windowed(rxs.tumbling(60), n=agg.count(), t=agg.sum("amount"), top=agg.max("amount")),
    )
    rows = made.pipe(ops.map(lambda v: [v.key, v.start, v.n, v.t, v.top]), ops.to_topic("out"))
    return [rows, *([made.late.pipe(ops.map(lambda late: [late.record.user, late.by]), ops.to_topic("late"))] if late else [])]


def orders(n: int, seed: int) -> list[bytes]:
    """Orders of three users, up to four seconds out of order, every tenth later than that, some filtered out."""
    rng = random.Random(seed)
    kinds = (lambda at: at, lambda at: datetime.fromtimestamp(at / 1000, ZoneInfo("UTC")).isoformat())
    times = [NOW + 70_000 * seed + 700 * i - rng.randrange(4000) - (90_000 if rng.random() < 0.1 else 0) for i in range(n)]
    return [
        msgspec.json.encode({"user": rng.choice("abc"), "amount": rng.randrange(-1, 5) / 4, "at": rng.choice(kinds)(at)})
        for at in times
    ]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("partitions", [1, 3])
def test_the_one_loop_does_what_batches_do(late: bool, partitions: int) -> None:
    """The same pipeline gives the same results and late records, whether it is one loop or not, from commit to commit."""

    async def main(chosen: Any) -> tuple[Any, ...]:
        broker = MemoryBroker()
        await broker.create_topic("in", partitions)
        for seed in range(20):
            await broker.append("in", [Record(value, b"k%d" % (i % 7)) for i, value in enumerate(orders(100, seed))])
        async with rxs.start(*chosen, app="app", broker=broker, commit_interval=1e-9) as running:
            await running.wait()
        return await got(broker), await got(broker, "late"), running.statistics.late

    one_loop = per_minute(source(out_of_orderness=5.0), late=late)
    apart = per_minute(source(out_of_orderness=5.0, on_error=Skip()), late=late)
    assert [fused(one_loop[0]), fused(apart[0])] == [True, False]
    assert (made := asyncio.run(main(one_loop))) == asyncio.run(main(apart))
    assert len(made[0]) > 40
    assert made[2] > 40


def test_a_pipeline_that_needs_the_records_order_is_not_one_loop() -> None:
    """Two windows one behind the other, branches that meet again, a policy, a time of one's own."""
    orders = source()
    made = orders.pipe(ops.key_by("user"), ops.windowed(rxs.tumbling(60), n=agg.count()))
    assert fused(made)
    assert fused(made.pipe(ops.merge(source())))
    assert not fused(made.pipe(ops.windowed(rxs.tumbling(600), n=agg.sum("n"))))
    assert not fused(made.pipe(ops.merge(orders)))
    assert not fused(source(on_error=Skip()).pipe(ops.windowed(rxs.tumbling(60), n=agg.count())))
    assert not fused(source().pipe(ops.event_time("at"), ops.windowed(rxs.tumbling(60), n=agg.count())))
    own = source(watermarks=lambda watermark, value, time: time)
    assert not fused(own.pipe(ops.windowed(rxs.tumbling(60), n=agg.count())))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (b'{"user":"a","amount":1,"at":"soon"}', r"from_topic.*expected an ISO 8601 time such as .* got 'soon'.*offset 2"),
        (b'{"user":"a","amount":1}', r"from_topic.*missing required field `at`"),
        (b'{"user":null,"amount":1,"at":1}', r"from_topic"),
    ],
)
def test_a_bad_record_in_the_one_loop_is_told_where_it_failed(bad: bytes, words: str) -> None:
    """The message names the stage, as it does where batches go from operator to operator."""

    async def main() -> None:
        broker = MemoryBroker()
        good = b'{"user":"a","amount":1,"at":%d}' % NOW
        await broker.append("in", [Record(value) for value in (good, good, bad, good)])
        async with rxs.start(*per_minute(source()), app="app", broker=broker) as running:
            await running.wait()

    with pytest.raises(rxs.RxStreamsError, match=words):
        asyncio.run(main())


def test_a_result_that_cannot_be_made_in_the_one_loop_stops_the_run() -> None:
    """By default, naming the operator; nothing of the epoch is committed."""

    async def main() -> None:
        broker = MemoryBroker()
        await broker.append("in", [Record(b'{"user":"a","amount":3,"at":%d}' % (NOW + n)) for n in (0, 90_000)])
        own = agg.of(int, lambda total, x: total + x, None, lambda total: 100 // (total - 3), field="amount")
        stream = source().pipe(ops.key_by("user"), ops.windowed(rxs.tumbling(60), r=own))
        async with rxs.start(stream, app="app", broker=broker) as running:
            await running.wait()

    with pytest.raises(OperatorError, match=r"windowed.*ZeroDivisionError"):
        asyncio.run(main())


def test_a_time_far_ahead_is_refused_by_the_one_loop_too() -> None:
    """One wrong clock must not close everybody's windows."""

    async def main() -> None:
        broker = MemoryBroker()
        await broker.append("in", [Record(b'{"user":"a","amount":3,"at":%d}' % (NOW * 2))])
        stream = rxs.from_topic("in", Order, timestamp="at").pipe(ops.windowed(rxs.tumbling(60), n=agg.count()))
        assert fused(stream)
        async with rxs.start(stream, app="app", broker=broker) as running:
            await running.wait()

    with pytest.raises(rxs.RxStreamsError, match="more than max_ahead=86400 s ahead of the clock"):
        asyncio.run(main())


# Many at once, and room for few.


def slow(tell: list[float], seconds: float = 1.0) -> Any:
    """A call that takes a second."""

    async def call(value: Any) -> None:
        await asyncio.sleep(seconds)
        tell.append(value.start)

    return call


@pytest.mark.parametrize("over", [rxs.tumbling(1), rxs.hopping(2, 1), rxs.session(0.5), rxs.sliding(1)])
def test_what_closes_at_once_comes_as_there_is_room(over: Any) -> None:
    """A thousand windows due at one watermark: no more wait for their call than the edge holds, and each comes once, in order."""

    async def main() -> None:
        broker = MemoryBroker()
        await broker.append("in", [Record(b"1", None, NOW + 1000 * n) for n in range(1000)])
        called: list[float] = []
        windowed = rxs.from_topic("in", until="end", out_of_orderness=5000).pipe(ops.windowed(over, n=agg.count()))
        edge = windowed.pipe(ops.to_callable(slow(called), capacity=7))
        async with rxs.start(edge, app="app", broker=broker) as running:
            assert running.task is not None
            awaiting = next(v.node for v in running.task.graph.vertices if v.title.startswith("to_callable"))
            waiting = asyncio.ensure_future(running.wait())
            most = 0
            while not waiting.done():
                await asyncio.sleep(0.5)
                most = max(most, awaiting.backlog)
            await waiting
        assert most == 7
        assert len(called) == (1001 if isinstance(over, windows.Grid) and over.size == 2000 else 1000)
        assert called == sorted(called)

    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0)) as runner:
        runner.run(main())


@pytest.mark.parametrize("over", [rxs.tumbling(1), rxs.session(0.5)])
def test_what_waits_for_room_is_saved(over: Any) -> None:
    """A run that crashes while a hundred results wait for their calls goes on with those that were not made."""

    async def main() -> None:
        crashes = 0

        async def fault(n: int, make: Any) -> None:
            nonlocal crashes
            await make()
            if crashes < 3 and n % 30 == 29:
                crashes += 1
                raise RuntimeError("the process is gone")

        broker = FaultyBroker(fault)
        await broker.append("in", [Record(b"1", None, NOW + 1000 * n) for n in range(100)])
        called: list[float] = []
        windowed = rxs.from_topic("in", until="end", out_of_orderness=5000).pipe(ops.windowed(over, n=agg.count()))
        edge = windowed.pipe(ops.to_callable(slow(called, 0.25), capacity=3))
        for _ in range(5):
            try:
                async with rxs.start(edge, app="app", broker=broker) as running:
                    await running.wait()
                break
            except RuntimeError:
                continue
        assert crashes == 3
        assert sorted(set(called)) == [NOW + 1000 * n for n in range(100)]
        assert len(called) <= 100 + 3 * 4, "at least once, and no more again than waited in the edge"

    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0)) as runner:
        runner.run(main())


def test_a_hundred_thousand_windows_close_at_one_watermark() -> None:
    """All of them, each once, and nothing is left of them."""
    drive = Drive(lines(out_of_orderness=0.0).pipe(ops.key_by(lambda x: x), ops.windowed(rxs.tumbling(60), n=agg.count())))
    drive.feed([Rec("a", 0, key, NOW) for key in range(100_000)], [])
    drive.feed(records(61, value=-1), [])
    assert len(drive.results[0]) == 100_000
    (node,) = [vertex.node for vertex in drive.graph.stateful]
    assert (len(node.spaces), node.pending) == (1, 1)


def test_hopping_windows_that_closed_before_a_crash_do_not_close_again() -> None:
    """A pane is kept for later windows; the earlier ones that had it have gone out."""
    drive = Drive(lines(out_of_orderness=0.0).pipe(ops.windowed(rxs.hopping(20, 10), n=agg.count())))
    drive.feed(records(5, 11), [])
    drive.commit()
    drive.crash()
    drive.feed(records(41), [], offset=2)
    assert shown([value for value, _, _ in drive.results[0]], "n") == [(-10, 10, 1), (0, 20, 2), (10, 30, 1)]


def test_a_session_that_goes_on_after_a_commit_is_saved() -> None:
    """With what came since; and one that has closed since does not come back."""
    drive = Drive(lines(out_of_orderness=0.0).pipe(ops.key_by(lambda x: x), ops.windowed(rxs.session(30), n=agg.count())))
    drive.feed([*records(0, value=1), *records(1, value=2)], [])
    drive.commit()
    drive.feed(records(29, value=1), [], offset=2)
    drive.commit()
    drive.crash()
    drive.feed(records(40, value=3), [], offset=3)
    drive.commit()
    drive.crash()
    drive.feed(records(100, value=3), [], offset=4)
    values = [value for value, _, _ in drive.results[0]]
    found = [(value.key, *one) for value, one in zip(values, shown(values, "n"), strict=True)]
    assert found == [(2, 1, 31, 1), (1, 0, 59, 2), (3, 40, 70, 1)]


def test_what_reads_refined_results_sees_the_watermark_later() -> None:
    """By the lateness, so that a late result is in time there."""
    refined = lines(out_of_orderness=0.0).pipe(ops.windowed(rxs.tumbling(10), lateness=40, n=agg.count()))
    stream = refined.pipe(ops.windowed(rxs.tumbling(30), n=agg.count()))
    values, late = run([*records(1, 35, 8, 99), End("a")], stream, stream.late).values
    assert (shown(values, "n"), late) == ([(0, 30, 2), (30, 60, 1), (90, 120, 1)], [])


def test_timers_fire_as_there_is_room() -> None:
    """A keyed operator's own timers, a hundred due at one watermark: no more wait than the edge holds, each once, in order."""

    class Alarms:
        """Sets a timer for each record."""

        def open(self) -> int:
            return 0

        def process(self, state: int, key: Any, value: Any, time: int, ctx: Any) -> None:
            ctx.set_timer(time + 1_000_000)

        def on_timer(self, state: int, key: Any, time: int, ctx: Any) -> None:
            ctx.emit(windows.Windowed(key, time, time, windows.Pane()))

    async def main() -> None:
        broker = MemoryBroker()
        await broker.append("in", [Record(b"1", None, NOW + 1000 * n) for n in range(100)])
        called: list[float] = []
        edge = rxs.from_topic("in", until="end").pipe(ops.process(Alarms()), ops.to_callable(slow(called), capacity=3))
        async with rxs.start(edge, app="app", broker=broker) as running:
            assert running.task is not None
            awaiting = next(v.node for v in running.task.graph.vertices if v.title.startswith("to_callable"))
            waiting = asyncio.ensure_future(running.wait())
            most = 0
            while not waiting.done():
                await asyncio.sleep(0.5)
                most = max(most, awaiting.backlog)
            await waiting
        assert (most, called) == (3, [NOW + 1000 * n + 1_000_000 for n in range(100)])

    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0)) as runner:
        runner.run(main())


@pytest.mark.slow
def test_a_hundred_thousand_windows_that_close_at_once_do_not_exceed_the_edge() -> None:
    """However quickly calls are made, no more results wait for theirs than there is room for; each comes once."""

    async def main() -> None:
        broker = MemoryBroker()
        await broker.append("in", [Record(b"%d" % n, None, NOW) for n in range(100_000)])
        most, called = 0, set()

        async def call(value: Any) -> None:
            nonlocal most
            most = max(most, awaiting.backlog)
            called.add(value.key)

        keyed = rxs.from_topic("in", int, until="end").pipe(
            ops.key_by(lambda x: x), ops.windowed(rxs.tumbling(60), n=agg.count())
        )
        async with rxs.start(keyed.pipe(ops.to_callable(call, capacity=500)), app="app", broker=broker) as running:
            assert running.task is not None
            awaiting = next(v.node for v in running.task.graph.vertices if v.title.startswith("to_callable"))
            await running.wait()
        assert (most, len(called)) == (500, 100_000)

    asyncio.run(main())
