"""What operators keep: restored as it was, saved only where it changed, and gone when nothing can need it any more."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from reactivex.subject import Subject
from reactivex.testing import ReactiveTest, TestScheduler

import rxstreams
from rxstreams import DeadLetter, Retry, Skip, Stream, aggregates as agg, operators as ops
from rxstreams.errors import SinkError
from rxstreams.operators.processing import Process
from rxstreams.patterns import stage
from rxstreams.runtime.graph import Graph
from tests.laws.harness import Drive, End, Event, Rec, Tick, lines, random_events
from tests.laws.pipelines import Pulse
from tests.vocabulary import flow

STATEFUL: dict[str, Callable[[], Any]] = {
    "aggregate": lambda: ops.aggregate(n=agg.count(), total=agg.sum(), mean=agg.mean(), least=agg.min(), most=agg.max()),
    "buffer_with_count": lambda: ops.buffer_with_count(5, 2),
    "buffer_with_time": lambda: ops.buffer_with_time(5.0),
    "combine_latest": lambda: ops.combine_latest(lines("b")),
    "distinct": lambda: ops.distinct(lambda x: [x % 7]),
    "process": lambda: ops.process(Pulse(1500)),
    "reduce": lambda: ops.reduce(lambda total, x: total + x),
    "scan": lambda: ops.scan(lambda total, x: total + x),
    "take": lambda: ops.take(1000),
    "to_view": lambda: ops.to_view("v"),
    "average": ops.average,
    "buffer_with_time_or_count": lambda: ops.buffer_with_time_or_count(5.0, 7),
    "concat": lambda: ops.concat(lines("b")),
    "count": ops.count,
    "debounce": lambda: ops.debounce(3.0),
    "delay": lambda: ops.delay(3.0),
    "distinct_until_changed": lambda: ops.distinct_until_changed(lambda x: x % 2),
    "event_time": lambda: ops.event_time(lambda x: 10**12 + x),
    "filter_indexed": lambda: ops.filter_indexed(lambda x, i: (x + i) % 3),
    "first": lambda: ops.first(lambda x: x > 10),
    "last": ops.last,
    "map_indexed": lambda: ops.map_indexed(lambda x, i: x + i),
    "max": ops.max,
    "min": ops.min,
    "pairwise": ops.pairwise,
    "sample": lambda: ops.sample(3.0),
    "skip": lambda: ops.skip(40),
    "skip_while": lambda: ops.skip_while(lambda x: x < 15),
    "start_with": lambda: ops.start_with(1, 2),
    "sum": ops.sum,
    "take_last": lambda: ops.take_last(20),
    "take_while": lambda: ops.take_while(lambda x: x < 18),
    "throttle_first": lambda: ops.throttle_first(1.0),
    "timeout": lambda: ops.timeout(3.0, lines("b")),
    "rate_limit": lambda: ops.rate_limit(3, per=1e6),
    "to_list": ops.to_list,
    "with_latest_from": lambda: ops.with_latest_from(lines("b")),
    "zip": lambda: ops.zip(lines("b")),
    "as_of_join": lambda: ops.as_of_join(lines("b").pipe(ops.key_by(lambda x: x % 5))),
    "dedup": lambda: ops.dedup(ttl=5),
    "detect": lambda: ops.detect(stage("even", lambda x: x % 2 == 0).followed_by(stage("odd", lambda x: x % 2)).within(5)),
    "interval_join": lambda: ops.interval_join(lines("b").pipe(ops.key_by(lambda x: x % 5)), within=5, how="outer"),
    "join_table": lambda: ops.join_table(rxstreams.table(lines("b").pipe(ops.key_by(lambda x: x % 5)))),
    "windowed": lambda: ops.windowed(rxstreams.session(9), n=agg.count(), total=agg.sum()),
}

KEYED = lines().pipe(ops.key_by(lambda x: x % 5))


@pytest.mark.parametrize("name", STATEFUL)
def test_restored_state_is_the_state_before(name: str) -> None:
    """After a crash each stateful operator has exactly the states that were committed, and what follows is the same."""
    rng = random.Random(name)
    events = random_events(rng, 100, sources=("a", "b"))
    drive, other = (Drive(KEYED.pipe(STATEFUL[name](), ops.map(lambda x: x))) for _ in range(2))
    half = len(events) // 2
    drive.feed(events[:half], [])
    drive.commit()
    before = {store.identity: dict(store.states) for store in drive.graph.stores}
    drive.crash()
    assert {store.identity: dict(store.states) for store in drive.graph.stores} == before
    assert any(before.values())
    drive.feed(events[half:], [], offset=half)
    other.feed(events, [])
    assert drive.outcome() == other.outcome()


def test_every_stateful_operator_is_tested() -> None:
    """What an operator's blueprint calls stateful has its case above."""
    build: dict[str, Any] = {
        "filter": ops.filter(bool),
        "flat_map": ops.flat_map(lambda x: [x]),
        "key_by": ops.key_by("x"),
        "map": ops.map(),
        "merge": ops.merge(),
        "to_topic": ops.to_topic("t"),
        "to_callable": ops.to_callable(str),
        "do_action": ops.do_action(),
        "group_by": ops.group_by(bool),
        "share": ops.share(),
    }
    build["partition"] = lambda source: ops.partition(bool)(source)[0]
    elsewhere = ["bounded", *flow.AWAITING]  # tests/flow: they keep nothing that nobody waits for
    assert sorted([*STATEFUL, *build, *elsewhere]) == sorted(ops.__all__)
    assert [name for name, one in build.items() if KEYED.pipe(one).operation.stateful] == []
    assert [name for name, make in STATEFUL.items() if not KEYED.pipe(make()).operation.stateful] == []


class Once:
    """A keyed operator that keeps a key for ten seconds."""

    def open(self) -> int:
        """No record yet."""
        return 0

    def process(self, state: int, key: Any, value: Any, time: int, ctx: Any) -> None:
        """Count, and have a timer."""
        ctx.replace(state + 1)
        ctx.set_timer(time + 10_000)

    def on_timer(self, state: int, key: Any, time: int, ctx: Any) -> None:
        """Tell the count, and forget."""
        ctx.emit((key, state))
        ctx.forget()


def test_forgotten_keys_cost_nothing() -> None:
    """Of keys that were forgotten nothing is left: not in the states, the timers or the saved rows, before and after a crash."""
    drive = Drive(lines().pipe(ops.key_by(lambda x: x), ops.process(Once()), ops.map(lambda x: x)))
    process = _node(drive.graph, Process)
    drive.commit()
    empty = {key: len(value) for key, value in drive.table.items() if key != b"position"}
    drive.feed([Rec("a", 0, key, key) for key in range(2000)], [])
    drive.commit()
    full = sum(map(len, drive.table.values()))
    assert (len(process.states), len(process.timers)) == (2000, 2000)
    drive.feed([Rec("a", 0, 10**6, 10**6)], [])
    assert (len(process.states), len(process.timers)) == (1, 1)
    drive.commit()
    for n in range(8):  # every group is written anew at last
        drive.feed([Rec("a", 0, n, 10**7 * (n + 1))], [])
        drive.commit()
    drive.crash()
    process = _node(drive.graph, Process)
    assert (len(process.states), len(process.timers), len(process.dirty)) == (1, 1, 0)
    kept = sum(len(value) for key, value in drive.table.items() if key != b"position")
    assert kept < full / 20, (kept, full, empty)


def _node(graph: Graph, kind: type[Any]) -> Any:
    return next(vertex.node for vertex in graph.vertices if isinstance(vertex.node, kind))


@pytest.mark.parametrize(
    "operator",
    [ops.buffer_with_count(10), ops.buffer_with_count(10, 3), ops.buffer_with_time(1.0)],
    ids=["count", "overlapping", "time"],
)
def test_emptied_buffers_cost_nothing(operator: Any) -> None:
    """What a buffer has let out is in no state and in no saved row; what came and went between two commits was never written."""
    drive = Drive(lines().pipe(operator))
    events: list[Event] = [Rec("a", 0, n, n) for n in range(3000)]
    drive.feed([*events, Tick(1.5)], [])
    buffer = next(vertex.node for vertex in drive.graph.stateful)
    assert len([key for key in buffer.states if isinstance(key, int)]) <= 10
    assert len(buffer.dirty) < 20
    for n in range(30):
        drive.feed([*(Rec("a", 0, i, 3000 + n) for i in range(95)), Tick(1.5)], [], offset=3000 + n * 95)
        drive.commit()
    assert sum(map(len, drive.table.values())) < 3500
    drive.feed([End("a")])
    drive.commit()
    assert [key for key in buffer.states if isinstance(key, int)] == []


def test_an_epoch_writes_what_changed_only() -> None:
    """With 3,000 keys kept, an epoch that touches one key writes a small part of what there is."""
    drive = Drive(lines().pipe(ops.key_by(lambda x: x), ops.aggregate(n=agg.count())), lines("b").pipe(ops.distinct(name="seen")))
    drive.feed([*(Rec("a", 0, key, 0) for key in range(3000)), *(Rec("b", 0, key, 0) for key in range(3000))], [])
    drive.commit()
    for _ in range(3):
        rows = dict(drive.table)
        drive.feed([Rec("a", 0, 7, 0), Rec("b", 0, 7, 0)], [])
        drive.commit()
        written = {key for key, value in drive.table.items() if rows.get(key) != value}
        assert len(written) == 2, written  # one delta, and the position


def test_overdue_buffers_come_out_once_after_a_restart() -> None:
    """A list that fell due while the run was down comes out once, at once, however long that was; then the rhythm goes on."""
    drive = Drive(lines().pipe(ops.buffer_with_time(2.0)), timed=False)
    drive.feed([Rec("a", 0, 1, 0), Tick(2.5), Rec("a", 0, 2, 0), Tick(1.0)])
    drive.commit()
    assert [value for value, _, _ in drive.results[0]] == [[1]]
    drive.graph.close()
    drive.clock.now += 1000.0
    drive.crash()
    drive.feed([Tick(0.1)])
    assert [value for value, _, _ in drive.results[0]] == [[1], [2]]
    drive.feed([Rec("a", 0, 3, 0), Tick(1.8), Rec("a", 0, 4, 0), Tick(0.2), Tick(2.0)])
    assert [value for value, _, _ in drive.results[0]] == [[1], [2], [3, 4], []]


def test_a_closed_graph_leaves_no_timer() -> None:
    """Closing a graph takes the timers of its buffers back."""
    drive = Drive(lines().pipe(ops.buffer_with_time(2.0)), lines("b").pipe(ops.buffer_with_time(1.0, 3.0)))
    assert len(drive.clock.waiting) == 2
    drive.graph.close()
    assert drive.clock.waiting == []


def test_timers_fire_in_the_order_of_time_and_key_between_the_records() -> None:
    """Timers fire where the watermark passes them: after the record that moved it, before the next, in order of time and key."""

    class At:
        def open(self) -> None:
            return None

        def process(self, state: None, key: Any, value: Any, time: int, ctx: Any) -> None:
            ctx.emit(("record", key, time, ctx.watermark))
            for after in (3000, 1000, -5000):
                ctx.set_timer(time + after)

        def on_timer(self, state: None, key: Any, time: int, ctx: Any) -> None:
            ctx.emit(("timer", key, time, ctx.watermark))

    low = -(2**62)
    events = [Rec("a", 0, "b", 10_000), Rec("a", 0, "a", 10_000), Rec("a", 0, "a", 13_500), End("a")]
    expected = [
        ("record", "b", 10_000, low),
        ("timer", "b", 5000, 8000),
        ("record", "a", 10_000, 8000),
        ("timer", "a", 5000, 8000),
        ("record", "a", 13_500, 8000),
        ("timer", "a", 8500, 11_500),
        ("timer", "a", 11_000, 11_500),
        ("timer", "b", 11_000, 11_500),
        *(("timer", key, time, 2**62) for key, time in (("a", 13_000), ("b", 13_000), ("a", 14_500), ("a", 16_500))),
    ]
    for cuts in (None, [], [1], [2]):
        drive = Drive(lines().pipe(ops.key_by(lambda x: x), ops.process(At())))
        drive.feed(events, cuts)
        assert [value for value, _, _ in drive.results[0]] == expected


def test_only_a_bounded_number_of_records_waits_for_slow_calls() -> None:
    """In a run a slow call holds its source back: never more than the capacity waits, or one more record's fan-out."""

    async def main(fan_out: int) -> tuple[int, int]:
        waiting = most = calls = 0

        async def slow(value: int) -> None:
            nonlocal waiting, calls
            await asyncio.sleep(0)
            waiting -= 1
            calls += 1

        def count(value: int) -> int:
            nonlocal waiting, most
            waiting += 1
            most = max(most, waiting)
            return value

        stream = rxstreams.from_iterable(range(600))
        many = stream.pipe(ops.flat_map(lambda x: [x] * fan_out)) if fan_out > 1 else stream
        both = many.pipe(ops.map(count), ops.to_callable(slow, capacity=10))
        async with rxstreams.start(both, app=f"slow{fan_out}", broker="memory://slow", commit_interval=0.01) as running:
            await running.wait()
        return calls, most

    assert asyncio.run(main(1)) == (600, 10)
    assert asyncio.run(main(7)) == (4200, 14)


def test_failing_calls_meet_their_policy_with_the_original_bytes() -> None:
    """An async call that fails is tried again, waits in between, and is a dead letter at last; the calls after it go on."""

    async def main() -> tuple[list[int], list[Any], list[Any]]:
        broker = rxstreams.connect("memory://failing")
        await broker.start()
        for value in (b"1", b"2", b"3"):
            await broker.append("in", [rxstreams.brokers.contract.Record(value, key=b"k", headers=(("h", b"x"),))])
        calls: list[int] = []

        async def call(value: int) -> None:
            calls.append(value)
            if value == 2:
                raise LookupError(value)

        source: Stream[Any] = rxstreams.from_topic("in", int, until="end")
        stream = source.pipe(
            ops.map(lambda x: x), ops.to_callable(call, on_error=Retry(2, backoff=0.001, then=DeadLetter("dead")))
        )
        told: list[Any] = []
        errors = stream.errors.pipe(ops.map(lambda failure: told.append((failure.stage, failure.attempts, failure.value))))
        async with rxstreams.start(stream, errors, app="failing", broker=broker) as running:
            await running.wait()
        dead = await broker.read("dead", 0, 0, max_records=10)
        await broker.stop()
        return calls, list(zip(dead.values, dead.keys or (), dead.headers or (), strict=True)), told

    calls, dead, told = asyncio.run(main())
    assert calls == [1, 2, 2, 2, 3]
    [(value, key, headers)] = dead
    assert (value, key) == (b"2", b"k")
    assert dict(headers) | {"rxs.error": b""} == {
        "h": b"x",
        "rxs.topic": b"in",
        "rxs.partition": b"0",
        "rxs.offset": b"1",
        "rxs.stage": b"to_callable(function=call)",
        "rxs.error": b"",
        "rxs.attempts": b"3",
    }
    assert told == [("to_callable(function=call)", 3, 2)]


@pytest.mark.parametrize("policy", [None, Retry(1)], ids=["stop", "retry"])
def test_failing_calls_stop_the_run(policy: Any) -> None:
    """With Stop an async call that fails stops the run with a SinkError; nothing hangs."""

    async def call(value: int) -> None:
        raise LookupError(value)

    async def main() -> None:
        stream = rxstreams.from_iterable([1, 2, 3], name="x").pipe(ops.to_callable(call, on_error=policy))
        async with rxstreams.start(stream, app="stops", broker="memory://stops") as running:
            await running.wait()

    with pytest.raises(SinkError, match="LookupError"):
        asyncio.run(main())


async def _committed(running: rxstreams.Running) -> None:
    while not running.statistics.epochs:  # noqa: ASYNC110  # the run tells nobody of a commit
        await asyncio.sleep(0)


def test_calls_that_were_not_made_are_made_after_a_restart() -> None:
    """Values that wait for their call are saved, and so called after a restart, also when their source had ended."""
    calls: list[int] = []

    async def main() -> None:
        gate = asyncio.Event()

        async def call(value: int) -> None:
            if value == 2:
                gate.set()
                await asyncio.Event().wait()
            calls.append(value)

        async def quick(value: int) -> None:
            calls.append(value)

        for function in (call, quick):
            stream = rxstreams.from_iterable([1, 2, 3, 4], name="x").pipe(ops.take(3), ops.to_callable(function, name="calls"))
            async with rxstreams.start(stream, app="again", broker=broker, commit_interval=0.001) as running:
                if function is call:
                    await gate.wait()
                    await _committed(running)
                else:
                    await running.wait()

    broker = rxstreams.connect("memory://again")

    async def whole() -> None:
        await broker.start()
        await main()
        await broker.stop()

    asyncio.run(whole())
    assert calls == [1, 2, 3]


def test_distinct_compares_as_rxpy_does() -> None:
    """Hashable or not, equal is equal: 1 is True, a set is its frozenset; NaN is never itself, also after a restart."""
    nan = float("nan")
    values: list[Any] = [1, True, {1}, frozenset({1}), [1], [1], nan, nan, 1.0, "a"]
    drive = Drive(lines().pipe(ops.map(lambda i: values[i]), ops.distinct()), timed=False)
    for i in range(len(values)):
        drive.feed([Rec("a", 0, i, 0)], offset=i)
        drive.commit()
        drive.crash()
    assert repr([value for value, _, _ in drive.results[0]]) == repr([1, {1}, [1], nan, nan, "a"])


def test_a_record_that_is_let_go_leaves_no_key_behind() -> None:
    """A key whose only record failed is in no state and in no view, where rows are built at the commit only."""
    stream = lines().pipe(
        ops.key_by(lambda x: x), ops.aggregate(total=agg.sum(lambda x: 1 // x), on_error=Skip()), ops.to_view("v")
    )
    for cuts in ([], None):
        drive = Drive(stream)
        drive.feed([Rec("a", 0, value, 0) for value in (1, 0, 2)], cuts)
        states = drive.outcome().states
        assert {name: list(rows) for name, rows in states.items()} == {"a/aggregate": [1, 2], "view:v": [1, 2]}


def test_rows_show_their_fields() -> None:
    """A row reads as what it holds, and names that run together are two types."""
    drive = Drive(lines().pipe(ops.aggregate(n=agg.count(), t=agg.sum())), timed=False)
    drive.feed([Rec("a", 0, 5, 0)])
    (row, _, _) = drive.results[0][0]
    assert repr(row) == "Row(key=None, n=1, t=5)"
    one, other = (lines().pipe(ops.aggregate(**dict.fromkeys(names, agg.count()))) for names in (("a_b", "c"), ("a", "b_c")))
    assert one.operation.make().row is not other.operation.make().row  # type: ignore[attr-defined]  # of a RunningAggregate


class Quiet:
    """A keyed operator that tells when a key has been silent for some seconds."""

    def open(self) -> list[int]:
        """The time of the timer that is set."""
        return [0]

    def process(self, state: list[int], key: Any, value: Any, time: int, ctx: Any) -> None:
        """Begin to wait anew."""
        ctx.clear_timer(state[0])
        state[0] = time + 30_000
        ctx.set_timer(state[0])

    def on_timer(self, state: list[int], key: Any, time: int, ctx: Any) -> None:
        """Tell."""
        ctx.emit((key, "silent"))
        ctx.forget()


def test_time_passes_in_silence_where_it_is_the_clocks() -> None:
    """Values of a plain Observable have the scheduler's time, and a timer fires when the clock says so."""
    scheduler = TestScheduler()
    source = scheduler.create_hot_observable(
        ReactiveTest.on_next(210, "a"), ReactiveTest.on_next(220, "b"), ReactiveTest.on_next(235, "a")
    )
    result = scheduler.start(lambda: source.pipe(ops.key_by(lambda x: x), ops.process(Quiet()), ops.map(lambda x: x)))
    assert result.messages == [ReactiveTest.on_next(250, ("b", "silent")), ReactiveTest.on_next(265, ("a", "silent"))]


def test_time_passes_in_silence_in_a_run_too() -> None:
    """In a run the timers of an operator behind a foreign source fire on the clock, after a restart as well."""
    subject: Subject[str] = Subject()
    drive = Drive(subject.pipe(ops.key_by(lambda x: x), ops.process(Quiet()), ops.map(lambda x: x)))
    subject.on_next("a")
    drive.graph.run_posted()
    drive.feed([Tick(29.0)])
    assert drive.results == [[]]
    drive.commit()
    drive.crash()
    drive.feed([Tick(2.0)])
    assert [value for value, _, _ in drive.results[0]] == [("a", "silent")]
    drive.graph.close()
    assert drive.clock.waiting == []


def test_a_sum_too_great_for_its_mean_fails_at_its_record() -> None:
    """A mean that no float can hold is the record's failure, not the commit's; the accumulators stay as they were."""
    huge = lines().pipe(ops.map(lambda x: 10**400 if x == 2 else x))
    some = {"n": agg.count(), "m": agg.mean()}
    for end in (ops.map(lambda row: row), ops.to_view("v")):
        for cuts in ([], None):
            drive = Drive(huge.pipe(ops.aggregate(name="means", on_error=Skip(), **some), end))
            drive.feed([Rec("a", 0, value, 0) for value in (1, 2, 3)], cuts)
            outcome = drive.outcome()
            assert outcome.states["means"] == {None: [2, 4, 2]}
            assert len(outcome.lost) == 1


class Tell:
    """A keyed operator that tells what it is given, and when."""

    def open(self) -> None:
        """Nothing to keep."""

    def process(self, state: None, key: Any, value: Any, time: int, ctx: Any) -> None:
        """Tell the value, its time, and the watermark."""
        ctx.emit((value, time, ctx.watermark))

    def on_timer(self, *_: Any) -> None:
        """Do nothing."""


@pytest.mark.parametrize("cuts", [None, []], ids=["ones", "whole"])
def test_results_that_are_held_back_hold_the_watermark(cuts: list[int] | None) -> None:
    """What reduce and buffers have yet to emit is never late: the watermark does not pass its time before it is out."""
    events: list[Event] = [*(Rec("a", 0, n, 1000 * n) for n in range(1, 8)), End("a")]
    source = lines()
    small = source.pipe(ops.filter(lambda x: x < 4))
    drive = Drive(
        source.pipe(ops.take(3), ops.reduce(lambda a, b: a + b), ops.process(Tell())),
        small.pipe(ops.buffer_with_count(2), ops.process(Tell())),
    )
    drive.feed(events, cuts)
    low = -(2**62)
    assert drive.outcome().values == [[(6, 3000, low)], [([1, 2], 2000, -1000), ([3], 3000, 3000)]]
