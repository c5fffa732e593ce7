"""What the operators of the Rx vocabulary do beyond their pictures: policies, bounds, restarts, feedback, refusals."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
import reactivex
from reactivex import Observable
from reactivex.subject import Subject

import rxstreams
from rxstreams import Skip, Stream, operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import ConfigError, GraphError, OperatorError
from rxstreams.runtime.graph import Graph
from tests.laws.harness import Drive, End, Event, Rec, Tick, lines, random_cuts, run
from tests.runtime.faulty import got, put


def records(*values: int, source: str = "a") -> list[Event]:
    """Return records of one source, one a second."""
    return [Rec(source, 0, value, i * 1000) for i, value in enumerate(values)]


def picky(x: int, *_: Any) -> int:
    """Refuse 3."""
    if x == 3:
        raise ValueError("not 3")
    return x


PICKY: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "map_indexed": (lambda e: ops.map_indexed(lambda x, i: picky(x) * 10 + i, on_error=e), [10, 21, 43, 24]),
    "filter_indexed": (lambda e: ops.filter_indexed(lambda x, i: picky(x) and i, on_error=e), [2, 4, 2]),
    "take_while": (lambda e: ops.take_while(lambda x: picky(x) < 4, on_error=e), [1, 2]),
    "skip_while": (lambda e: ops.skip_while(lambda x: picky(x) < 4, on_error=e), [4, 2]),
    "first": (lambda e: ops.first(lambda x: picky(x) > 2, on_error=e), [4]),
    "last": (lambda e: ops.last(lambda x: picky(x) < 4, on_error=e), [2]),
    "distinct_until_changed": (lambda e: ops.distinct_until_changed(lambda x: picky(x) % 2, on_error=e), [1, 2]),
    "count": (lambda e: ops.count(picky, on_error=e), [4]),
    "sum": (lambda e: ops.sum(picky, on_error=e), [9]),
    "average": (lambda e: ops.average(picky, on_error=e), [2.25]),
    "min": (lambda e: ops.min(lambda a, b: picky(a) - b, on_error=e), [1]),
    "max": (lambda e: ops.max(lambda a, b: picky(a) - b, on_error=e), [4]),
}
"""Operators whose function refuses one of the values 1, 2, 3, 4, 2, and what they give without it."""


@pytest.mark.parametrize("name", PICKY)
def test_a_record_that_a_function_refuses_is_let_go_without_a_trace(name: str) -> None:
    """With Skip the others go on as if it had not been there (its index apart), whatever the cuts, and it is counted once."""
    make, expected = PICKY[name]
    events = [*records(1, 2, 3, 4, 2), End("a")]
    rng = random.Random(name)
    for cuts in (None, [], random_cuts(rng, 6), random_cuts(rng, 6)):
        outcome = run(events, lines().pipe(make(Skip())), cuts=cuts)
        assert outcome.values == [expected]
        assert len(outcome.lost) == 1
        assert "not 3" in outcome.lost[0]
        assert name in outcome.lost[0]


@pytest.mark.parametrize("name", PICKY)
def test_a_record_that_a_function_refuses_stops_a_run_without_a_policy(name: str) -> None:
    """The error names the operator and says what was raised."""
    with pytest.raises(OperatorError, match=rf"{name}.*ValueError: not 3"):
        run([*records(1, 2, 3), End("a")], lines().pipe(PICKY[name][0](None)), cuts=[])


@pytest.mark.parametrize("make", [ops.take_while, ops.skip_while, ops.first], ids=lambda make: make.__name__)
def test_a_predicate_that_raises_stop_iteration_is_an_error(make: Any) -> None:
    """It must not look like the end of the batch."""

    def predicate(x: int) -> bool:
        if x == 2:
            raise StopIteration
        return make is not ops.first

    with pytest.raises(OperatorError, match="StopIteration"):
        run([*records(1, 2, 3), End("a")], lines().pipe(make(predicate)), cuts=[])


def test_a_predicate_is_not_called_beyond_the_end() -> None:
    """`take_while` and `first` call their function for no record after the one at which they end, however long the batch."""
    for make in (lambda f: ops.take_while(lambda x: not f(x)), ops.first):
        seen: list[int] = []

        def reached(x: int, seen: list[int] = seen) -> bool:
            seen.append(x)
            return x == 2

        run([*records(1, 2, 3, 4), End("a")], lines().pipe(make(reached)), cuts=[])
        assert seen == [1, 2]


def test_do_action_sees_values_errors_and_the_end() -> None:
    """Each function is called before what it sees goes on; one that raises ends the subscription with its own error."""
    seen: list[Any] = []
    act = ops.do_action(seen.append, lambda error: seen.append(str(error)), lambda: seen.append("end"))
    reactivex.of(1, 2).pipe(act).subscribe(lambda x: seen.append(-x))
    assert seen == [1, -1, 2, -2, "end"]
    seen.clear()
    reactivex.throw(ValueError("bad")).pipe(act).subscribe(on_error=lambda error: seen.append(repr(error)))
    assert seen == ["bad", "ValueError('bad')"]
    errors: list[str] = []
    for broken in (ops.do_action(None, None, lambda: 1 // 0), ops.do_action(lambda x: 1 // 0)):
        reactivex.of(1).pipe(broken).subscribe(on_error=lambda error: errors.append(str(error)))
    reactivex.throw(ValueError("bad")).pipe(ops.do_action(None, lambda error: 1 // 0)).subscribe(
        on_error=lambda error: errors.append(str(error))
    )
    assert errors == ["integer division or modulo by zero"] * 3


def test_feedback_into_neighbours_sees_the_new_state() -> None:
    """What a subscriber feeds back from within a value meets an operator that has taken that value in already."""
    for operator, expected in (
        (ops.pairwise(), [(1, 2), (2, 20), (20, 3)]),
        (ops.distinct_until_changed(), [1, 2, 20, 3]),
        (ops.skip(1), [2, 20, 3]),
        (ops.map_indexed(lambda x, i: (x, i)), [(1, 0), (2, 1), (20, 2), (3, 3)]),
    ):
        source: Subject[int] = Subject()
        came: list[Any] = []

        def take(value: Any, came: list[Any] = came, source: Subject[int] = source) -> None:
            came.append(value)
            if value in ((1, 2), 2, (2, 1)):
                source.on_next(20)

        source.pipe(operator).subscribe(take)
        for value in (1, 2, 3):
            source.on_next(value)
        assert came == expected


def test_group_by_is_refused_in_a_run_and_says_what_to_do() -> None:
    """A run knows `key_by`, and so does the message."""
    with pytest.raises(GraphError, match=r"group_by.*subscription, not in a run: use key_by.*aggregate or process"):
        Graph([lines().pipe(ops.group_by(lambda x: x))], clock=lambda: 0.0)
    with pytest.raises(GraphError, match=r"merge.*subscription, not in a run: .*flat_map"):
        Graph([lines().pipe(ops.merge(max_concurrent=1))], clock=lambda: 0.0)


def test_a_group_keeps_the_input_alive() -> None:
    """As long as a group is read the source stays subscribed, though the outer subscription is disposed of."""
    source: Subject[int] = Subject()
    groups: list[Observable[int]] = []
    outer = source.pipe(ops.group_by(lambda x: x % 2)).subscribe(groups.append)
    source.on_next(1)
    came: list[int] = []
    inner = groups[0].subscribe(came.append)
    outer.dispose()
    source.on_next(3)
    assert came == [3]
    inner.dispose()
    assert source.observers == []


def test_share_subscribes_once_while_there_are_subscribers() -> None:
    """Two subscribers are one subscription; when both have gone there is none, and a third begins anew."""
    subscriptions: list[str] = []
    source: Subject[int] = Subject()
    observed = reactivex.defer(lambda _: subscriptions.append("on") or source)  # type: ignore[func-returns-value]
    shared = observed.pipe(ops.map(lambda x: x * 10), ops.share())
    one, two, three = ([], [], [])  # type: ignore[var-annotated]
    first, second = shared.subscribe(one.append), shared.subscribe(two.append)
    source.on_next(1)
    first.dispose()
    source.on_next(2)
    second.dispose()
    source.on_next(3)
    shared.subscribe(three.append)
    source.on_next(4)
    assert (one, two, three) == ([10], [10, 20], [40])
    assert subscriptions == ["on", "on"]


def test_partition_asks_once_and_puts_each_record_in_one_stream() -> None:
    """In a run a record that the predicate refuses is let go once, not once for each stream."""
    asked: list[int] = []

    def small(x: int) -> bool:
        asked.append(x)
        return picky(x) < 3

    low, high = lines().pipe(ops.partition(small, on_error=Skip()))
    outcome = run([*records(1, 2, 3, 4), End("a")], low, high, cuts=[])
    assert (outcome.values, asked, len(outcome.lost)) == ([[1, 2], [4]], [1, 2, 3, 4], 1)


# Bounds: a run reads its sources as far as there is room.


async def through(stream: Stream[Any], broker: MemoryBroker) -> None:
    """Run to the end of the input."""
    async with rxstreams.start(stream, app="app", broker=broker) as running:
        await running.wait()


def zipped(capacity: int, seen: dict[str, int]) -> Stream[Any]:
    """Return a zip of a long topic with one whose values are rare, which notes how far the first is ahead."""

    def note(side: str) -> Callable[[Any], Any]:
        def count(x: Any) -> Any:
            seen[side] = seen.get(side, 0) + 1
            seen["ahead"] = max(seen.get("ahead", 0), seen.get("fast", 0) - seen.get("slow", 0))
            return x

        return count

    fast = rxstreams.from_topic("fast", int, until="end").pipe(ops.map(note("fast")))
    slow = rxstreams.from_topic("slow", int, until="end").pipe(ops.filter(lambda x: x % 50 == 0), ops.map(note("slow")))
    return fast.pipe(ops.zip(slow, capacity=capacity), ops.to_topic("out"))


@pytest.mark.parametrize("capacity", [1, 10, 300])
def test_zip_asks_less_of_its_faster_input(capacity: int) -> None:
    """Never do more values wait than the capacity, and every pair comes."""

    async def main() -> None:
        broker, seen = MemoryBroker(), dict[str, int]()
        await put(broker, range(2000), "fast")
        await put(broker, range(100_000), "slow")
        await through(zipped(capacity, seen), broker)
        assert await got(broker) == [[i, 50 * i] for i in range(2000)]
        assert seen["ahead"] <= capacity

    asyncio.run(main())


def test_zips_that_wait_for_each_other_do_not_stop_for_ever() -> None:
    """Two zips of capacity one, each full with what the other's source must bring: the bound gives way, and all pairs come."""

    async def main() -> None:
        broker = MemoryBroker()
        await put(broker, range(100), "a")
        await put(broker, range(100), "b")
        a, b = (rxstreams.from_topic(name, int, until="end") for name in "ab")
        late_a, late_b = (s.pipe(ops.filter(lambda x: x >= 50)) for s in (a, b))
        one = a.pipe(ops.zip(late_b, capacity=1), ops.to_topic("one"))
        other = b.pipe(ops.zip(late_a, capacity=1), ops.to_topic("other"))
        async with rxstreams.start(one, other, app="app", broker=broker) as running:
            await asyncio.wait_for(running.wait(), 20)
        assert await got(broker, "one") == await got(broker, "other") == [[i, i + 50] for i in range(50)]

    asyncio.run(main())


def test_concat_does_not_read_a_source_before_its_turn() -> None:
    """Nothing of the second topic is held: it is read when the first has ended."""

    async def main() -> None:
        broker = MemoryBroker()
        await put(broker, range(500), "a")
        await put(broker, range(500, 1000), "b")
        order: list[int] = []
        a, b = (rxstreams.from_topic(name, int, until="end").pipe(ops.do_action(order.append)) for name in "ab")
        await through(a.pipe(ops.concat(b), ops.to_topic("out")), broker)
        assert order == list(range(1000))
        assert await got(broker) == order

    asyncio.run(main())


# Restarts.


def after_a_restart(stream: Stream[Any], before: list[Event], after: list[Event]) -> Drive:
    """Feed, commit, crash, feed on."""
    drive = Drive(stream)
    drive.feed(before)
    drive.commit()
    drive.crash()
    drive.feed(after, offset=len(before))
    drive.commit()
    return drive


def test_start_with_begins_once() -> None:
    """After a restart the first values do not come again; a crash before the first commit leaves none, so then they do."""
    drive = after_a_restart(lines().pipe(ops.start_with(8, 9)), records(1), records(2))
    assert [value for value, _, _ in drive.results[0]] == [8, 9, 1, 2]
    drive = Drive(lines().pipe(ops.start_with(8)))
    drive.crash()
    drive.feed(records(1))
    assert [value for value, _, _ in drive.results[0]] == [8, 1]


def test_what_was_delayed_comes_after_a_restart_at_its_time() -> None:
    """A record that was held is due when it was due; one that is overdue comes at once."""
    drive = Drive(lines().pipe(ops.delay(5.0)))
    drive.feed([*records(1), Tick(2.0), *records(2)])
    drive.commit()
    drive.crash()
    drive.feed([Tick(2.9)], offset=3)
    assert drive.results == [[]]
    drive.feed([Tick(0.2)], offset=4)
    assert [value for value, _, _ in drive.results[0]] == [1]
    drive.clock.now += 60
    drive.commit()
    drive.crash()
    drive.feed([Tick(0.0)], offset=5)
    assert [value for value, _, _ in drive.results[0]] == [1, 2]


def test_a_debounced_value_comes_once_after_a_restart() -> None:
    """What waited for silence when the run stopped comes out, once, when its silence is over."""
    drive = Drive(lines().pipe(ops.debounce(5.0)))
    drive.feed([*records(1, 2), Tick(1.0)])
    drive.commit()
    drive.crash()
    drive.feed([Tick(3.0)], offset=3)
    assert drive.results == [[]]
    drive.feed([Tick(2.0), Tick(60.0)], offset=4)
    assert [value for value, _, _ in drive.results[0]] == [2]


def test_a_run_that_times_out_goes_over_to_the_other_and_stays_there() -> None:
    """Before the timeout nothing of the other comes; after it nothing of the first, not even after a restart."""
    stream = lines().pipe(ops.timeout(5.0, lines("b")))
    drive = Drive(stream)
    drive.feed([*records(1), *records(8, source="b"), Tick(4.0), *records(2), Tick(6.0), *records(3)])
    assert [value for value, _, _ in drive.results[0]] == [1, 2, 8]
    drive.commit()
    drive.crash()
    drive.feed([*records(4), *records(9, source="b")], offset=6)
    assert [value for value, _, _ in drive.results[0]] == [1, 2, 8, 9]
    with pytest.raises(GraphError, match=r"timeout.*nothing came for 5 s.*other="):
        run([*records(1), Tick(6.0)], lines().pipe(ops.timeout(5.0)))


def test_a_run_waits_for_what_is_due_after_its_input_has_ended() -> None:
    """The run of a topic that is read to its end goes on until the last delayed record has come."""

    async def main() -> None:
        broker = MemoryBroker()
        await put(broker, range(3))
        await through(rxstreams.from_topic("in", int, until="end").pipe(ops.delay(0.2), ops.to_topic("out")), broker)
        assert await got(broker) == [0, 1, 2]

    asyncio.run(main())


def test_results_that_are_held_hold_the_watermark() -> None:
    """A timer downstream does not fire before a delayed record that is older than it."""

    class Late:
        """Tells records that come behind the watermark."""

        def open(self) -> int:
            return 0

        def process(self, state: int, key: Any, value: Any, time: int, ctx: Any) -> None:
            ctx.emit((value, ctx.watermark > time))

        def on_timer(self, state: int, key: Any, time: int, ctx: Any) -> None:
            """Set none."""

    for operator in (ops.delay(3.0), ops.debounce(1.0), ops.sample(1.5), ops.take_last(3), ops.buffer_with_time_or_count(2.0, 2)):
        source = lines(out_of_orderness=0.0)
        events: list[Event] = []
        for record in records(1, 2, 3, 4, 5):
            events += [record, Tick(1.0)]
        outcome = run([*events, End("a"), Tick(9.0)], source.pipe(operator, ops.process(Late())))
        assert outcome.values[0]
        assert [late for _, late in outcome.values[0]] == [False] * len(outcome.values[0])


def test_unsavable_values_fail_at_the_record_in_every_operator_that_holds_them() -> None:
    """What cannot be saved is refused when it comes, not at the commit."""
    for operator in (
        ops.take_last(2), ops.last(), ops.pairwise(), ops.distinct_until_changed(), ops.to_list(), ops.min(lambda a, b: 0),
        ops.delay(1.0), ops.debounce(1.0), ops.sample(1.0), ops.buffer_with_time_or_count(9.0, 9), ops.zip(lines("b")),
    ):  # fmt: skip
        with pytest.raises((GraphError, OperatorError, rxstreams.errors.StateError), match="cannot"):
            run(records(1), lines().pipe(ops.map(lambda x: object()), operator))


def test_zip_takes_futures_as_rxpy_does() -> None:
    """A future is a source of one value."""

    async def main() -> list[Any]:
        future = asyncio.get_running_loop().create_future()
        future.set_result(7)
        came: list[Any] = []
        reactivex.of(1).pipe(ops.zip(future)).subscribe(came.append)
        await asyncio.sleep(0)
        return came

    assert asyncio.run(main()) == [(1, 7)]
    with pytest.raises(ConfigError, match="zip: expected an Observable as input 1"):
        ops.zip([1, 2])
