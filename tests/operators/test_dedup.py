"""dedup: what is let through, for how long, how many ids it remembers, and what is refused."""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import structlog

import rxstreams as rxs
from rxstreams import DeadLetter, Skip, Stop, aggregates as agg, operators as ops
from rxstreams.brokers import Record
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import ConfigError, OperatorError, Policy, TopologyError
from rxstreams.testing import virtually
from tests.laws.deduping import remembered
from tests.laws.harness import Drive, End, Event, Rec, Tick, lines, run

HOUR = 3600


def came(*at: tuple[str, float]) -> list[Any]:
    """Records given as (id, second)."""
    return [Rec("a", 0, {"id": one, "n": n}, round(second * 1000)) for n, (one, second) in enumerate(at)]


def through(events: list[Any], **options: Any) -> list[list[Any]]:
    """What comes through, and what does not, by number."""
    stream = lines("a", out_of_orderness=0.0).pipe(ops.dedup("id", **{"ttl": HOUR, **options}))
    return [[one["n"] for one in values] for values in run([*events, End("a")], stream, stream.duplicates).values]


def test_an_id_is_new_again_an_hour_later() -> None:
    """To the millisecond, counted from the record that came through, not from the last duplicate."""
    events = came(("order-123", 0), ("order-123", 5), ("order-456", 9), ("order-123", HOUR - 0.001), ("order-123", HOUR))
    assert through(events) == [[0, 2, 4], [1, 3]]


def test_an_id_is_new_again_after_a_restart_an_hour_later() -> None:
    """And a duplicate before that: what was saved is how long ago its record was, not when the run began."""
    orders = rxs.from_topic("orders", dict).pipe(ops.dedup("id", ttl=HOUR))
    drive = rxs.testing.drive(orders, orders.duplicates)
    drive.feed({"id": "order-123"}, at=0.0)
    drive.restart()
    drive.feed({"id": "order-123"}, {"id": "order-456"}, at=[HOUR - 0.001, HOUR - 0.001])
    assert drive.new(orders.duplicates) == [{"id": "order-123"}]
    drive.restart()
    drive.feed({"id": "order-123"}, at=float(HOUR))
    assert drive.values(orders) == [{"id": "order-123"}, {"id": "order-456"}, {"id": "order-123"}]
    assert drive.new(orders.duplicates) == []


def test_what_was_not_committed_is_no_duplicate_of_itself() -> None:
    """After a crash the same record is read again, and comes through once."""
    orders = rxs.from_topic("orders", dict).pipe(ops.dedup("id", ttl=HOUR))
    drive = rxs.testing.drive(orders, orders.duplicates)
    drive.feed({"id": "order-123"}, at=0.0)
    drive.crash()
    assert (drive.values(orders), drive.values(orders.duplicates)) == ([{"id": "order-123"}], [])


def test_an_older_record_is_a_duplicate_of_a_younger_one_that_came_first() -> None:
    """Less than ``ttl`` before or after is the same."""
    assert through(came(("a", 10), ("a", 7), ("a", 5)), ttl=5) == [[0], [1]], "the last is just 5 s older, and late"
    stream = lines("a", out_of_orderness=99.0).pipe(ops.dedup("id", ttl=5))
    values = run([*came(("a", 10), ("a", 7), ("a", 5), ("a", 6)), End("a")], stream).values[0]
    assert [one["n"] for one in values] == [0, 2], "it passes, and the younger one is what is remembered"


@pytest.mark.parametrize(
    ("key", "values"),
    [
        (None, ["a", "b", "a"]),
        ("x", [{"x": 7}, {"x": "7"}, {"x": 7}]),
        (lambda value: value % 5, [1, 2, 6]),
        (lambda value: (value, "pair"), [1, 2, 1]),
    ],
)
def test_what_tells_two_records_apart(key: Any, values: list[Any]) -> None:
    """A field, a function, or the value; 7 and "7" are two."""
    for policy in (Stop(), Skip()):
        stream = lines("a").pipe(ops.dedup(key, ttl=60))
        events: list[Event] = [*(Rec("a", 0, value, 1000) for value in values), End("a")]
        assert run(events, stream, policy=policy).values == [values[:2]]


class Order(msgspec.Struct):
    """A typed record."""

    id: int
    version: int = 0


@pytest.mark.parametrize("key", ["id", lambda order: order.id, lambda order: (order.id, "order")])
def test_typed_records_are_told_apart_by_a_field_or_a_function(key: Any) -> None:
    """And stay what they are; an aggregate of a field is that."""
    orders = rxs.from_topic("orders", Order)
    first, last = orders.pipe(ops.dedup(key, ttl=60)), orders.pipe(ops.dedup(key, ttl=60, keep="last"))
    greatest = orders.pipe(ops.dedup(key, ttl=60, keep=agg.max("version")))
    drive = rxs.testing.drive(first, last, greatest)
    drive.feed(Order(1, 7), Order(2, 1), Order(1, 3), at=[0.0, 1.0, 2.0])
    drive.end()
    assert drive.values(first) == [Order(1, 7), Order(2, 1)]
    assert drive.values(last) == [Order(1, 3), Order(2, 1)]
    assert drive.values(greatest) == [7, 1]


@pytest.mark.parametrize("keep", ["first", "last", agg.count()])
@pytest.mark.parametrize("policy", [Skip(), DeadLetter("bad")])
def test_a_record_without_an_id_meets_its_policy(policy: Policy, keep: Any) -> None:
    """Its neighbours do not notice."""
    stream = lines("a").pipe(ops.dedup("id", ttl=60, keep=keep, on_error=policy))
    outcome = run([Rec("a", 0, {"id": 1}, 1000), Rec("a", 0, {"no": 1}, 1000), Rec("a", 0, {"id": 1}, 1000), End("a")], stream)
    assert outcome.values == [[2 if keep == agg.count() else {"id": 1}]]
    assert len(outcome.lost) == 1
    assert "dedup" in outcome.lost[0]
    with pytest.raises(OperatorError, match=r"dedup\(key='id'.*: KeyError: 'id'"):
        run([Rec("a", 0, {"no": 1}, 1000)], lines("a").pipe(ops.dedup("id", ttl=60, keep=keep)))


@pytest.mark.parametrize("keep", ["first", "last", agg.count()])
@pytest.mark.parametrize("value", [[1, 2], {"x": 1}, 1.5])
def test_an_id_must_be_something_that_can_be_a_key(value: Any, keep: Any) -> None:
    """As it is saved under it; the message says what can, and what to make of others."""
    for clock in ("event", "processing"):
        stream = lines("a").pipe(ops.dedup(ttl=60, keep=keep, clock=clock))
        with pytest.raises(OperatorError, match=r"dedup\(ttl=60.0.*a key must be a str, bytes, int, .*Make one of these of it"):
            run([Rec("a", 0, value, 1000)], stream)


def test_the_oldest_sixteenth_goes_when_there_are_too_many() -> None:
    """By time; what is forgotten passes again, and the younger ones are still known."""
    first = came(*((f"id-{n}", 1000 - 10 * n) for n in range(32)))
    again = came(("new", 1500), *((f"id-{n}", 1001 - 10 * n) for n in (0, 29, 30, 31)))
    stream = lines("a", out_of_orderness=5000.0).pipe(ops.dedup("id", ttl=160, capacity=32))
    values = run([*first, *again, End("a")], stream).values[0]
    assert [one["id"] for one in values[32:]] == ["new", "id-30", "id-31"]


def test_an_id_that_is_evicted_at_once_leaves_nothing() -> None:
    """One that is older than all the others: though more of its time come, they are not forgotten for it."""
    events = came(*((f"id-{n}", 1000) for n in range(16)), ("x", 10), ("y", 10), ("y", 10), ("id-0", 1000))
    stream = lines("a", out_of_orderness=2000.0).pipe(ops.dedup("id", ttl=160, capacity=16))
    values = run([*events, End("a")], stream, cuts=()).values[0]
    assert [one["id"] for one in values[16:]] == ["x", "y", "y"]


def test_an_id_that_came_again_is_not_evicted_for_its_first_time() -> None:
    """It is as old as its latest first record, though it is in the step of the earlier one, too."""
    events = came(("a", 0), *((f"id-{n}", 1) for n in range(14)), ("a", 20), ("b", 21), ("c", 22), ("a", 23), ("id-13", 1.5))
    stream = lines("a", out_of_orderness=500.0).pipe(ops.dedup("id", ttl=16, capacity=16))
    values = run([*events, End("a")], stream).values[0]
    assert [one["id"] for one in values[15:]] == ["a", "b", "c"]


def test_an_id_that_came_again_is_evicted_after_what_is_older() -> None:
    """And then nothing is noted of it any more."""
    drive = Drive(lines("a", out_of_orderness=500.0).pipe(ops.dedup("id", ttl=16, capacity=16)))
    drive.feed(came(("a", 0), ("a", 16), *((f"old-{n}", 5) for n in range(15)), *((f"id-{n}", 40) for n in range(15))))
    assert list(remembered(drive)) == ["a", *(f"id-{n}" for n in range(15))]
    drive.feed(came(("id-15", 40)))
    assert list(remembered(drive)) == [f"id-{n}" for n in range(16)]


def test_what_comes_after_an_eviction_is_saved() -> None:
    """Though it is of the step of which a part has gone; so a retry after a crash is a duplicate."""
    drive = Drive(lines("a").pipe(ops.dedup("id", ttl=1600, capacity=32)))
    events = came(*((f"id-{n}", 1) for n in range(34)))
    for part in (events[:32], events[32:33], events[33:]):  # the second has two ids evicted
        drive.feed(part)
        drive.commit()
    drive.crash()
    drive.feed(events[33:])
    assert [one["n"] for one in drive.outcome().values[0]] == list(range(34))


def test_an_id_is_forgotten_an_eighth_after_its_seconds() -> None:
    """Between two records of one push, too; then one behind the watermark is late, as it cannot be told any more."""
    for second, late in ((17.999, []), (18, [2])):
        for policy in (Stop(), Skip()):
            stream = lines("a", out_of_orderness=0.0).pipe(ops.dedup("id", ttl=16))
            events = [*came(("a", 0), ("b", second), ("a", 8)), End("a")]
            new, behind = run(events, stream, stream.late, cuts=(), policy=policy).values
            assert ([one["n"] for one in new], [one.record["n"] for one in behind]) == ([0, 1], late)


def test_a_first_record_may_be_a_sixteenth_behind_the_watermark() -> None:
    """Less than that: no id that it could be one with is forgotten by then."""
    for second, new in ((99.001, [0, 1]), (99, [0])):
        stream = lines("a", out_of_orderness=0.0).pipe(ops.dedup("id", ttl=16))
        assert [one["n"] for one in run([*came(("a", 100), ("b", second)), End("a")], stream).values[0]] == new


def test_two_in_one_loop_have_a_memory_each() -> None:
    """What the second remembers does not go with what the first does."""
    stream = lines("a", out_of_orderness=0.0).pipe(ops.dedup("id", ttl=10), ops.dedup("n", ttl=20))
    drive = Drive(stream)
    drive.feed(came(("a", 0), ("b", 9), ("c", 12)), ())
    assert [dict(store.states) for store in drive.graph.stores if store.identity.endswith("/seen")] == [
        {"b": 9000, "c": 12_000},
        {0: 0, 1: 9000, 2: 12_000},
    ]


def test_what_comes_through_stands_on_a_topic_with_its_time() -> None:
    """The record's own, whether or not anything behind asks for it; so it does of the last, which waited."""
    for policy in (Stop(), Skip()):
        kept: list[tuple[Any, list[int]]] = [("first", [1000, 2000]), ("last", [60_999, 61_999])]
        for keep, times in kept:
            once = lines("a").pipe(ops.dedup("id", ttl=60, keep=keep), ops.to_topic("once"))
            outcome = run([*came(("a", 1), ("b", 2), ("a", 3)), End("a")], once, timed=False, policy=policy)
            assert [one.timestamp for one in outcome.outputs["once"]] == times


def test_ids_that_are_evicted_are_counted_and_warned_of() -> None:
    """In the run's statistics, and in the log, with what to do."""
    broker = MemoryBroker()

    async def main() -> int:
        await broker.start()
        await broker.append("ids", [Record(b"%d" % n) for n in range(100)])
        once = rxs.from_topic("ids", int, until="end").pipe(ops.dedup(ttl=60, capacity=32), ops.to_callable(lambda _: None))
        async with rxs.start(once, app="app", broker=broker) as running:
            await running.wait()
            return running.statistics.evicted

    with structlog.testing.capture_logs() as logs:
        evicted = virtually(main())
    assert evicted == 34 * 2
    (log,) = [one for one in logs if "capacity" in str(one) and one["log_level"] == "warning"]
    assert "dedup" in str(log)


def test_memory_is_bounded_by_the_capacity() -> None:
    """After each record."""
    stream = lines("a").pipe(ops.dedup("id", ttl=1e6, capacity=16))
    outcome = run(came(*((f"id-{n}", n) for n in range(200))), stream)
    (seen,) = [states for name, states in outcome.states.items() if name.endswith("/seen")]
    assert len(seen) == 16


def test_the_ids_of_a_keyed_stream_are_its_keys() -> None:
    """And these stay, for what is behind it."""
    stream = lines("a").pipe(ops.key_by("id"), ops.dedup(ttl=60), ops.aggregate(n=agg.count()))
    values = run([*came(("a", 1), ("b", 2), ("a", 3)), End("a")], stream).values[0]
    assert [(row.key, row.n) for row in values] == [("a", 1), ("b", 1)]


def test_only_dedup_of_the_first_has_a_stream_of_duplicates() -> None:
    """Of the others all are in the result; the message says which has one."""
    stream = lines("a").pipe(ops.dedup("id", ttl=60, keep="last"))
    with pytest.raises(
        AttributeError, match=r"no side stream .duplicates.; no operator before it has one; dedup\(keep=.first.\) has"
    ):
        stream.duplicates.pipe(ops.map(str))
    with pytest.raises(AttributeError, match=r"map.* has no side stream 'duplicates'; it belongs to .*dedup.*keep that one"):
        lines("a").pipe(ops.dedup("id", ttl=60), ops.map(str)).duplicates.pipe(ops.map(str))


@pytest.mark.parametrize("keep", ["last", agg.count()])
def test_where_time_counts_a_record_behind_the_watermark_is_late(keep: Any) -> None:
    """It might have been the first of its group, whose time has begun without it."""
    stream = lines("a", out_of_orderness=1.0).pipe(ops.dedup("id", ttl=60, keep=keep))
    values, late = run([*came(("a", 10), ("a", 8.9), ("a", 9)), End("a")], stream, stream.late).values
    assert [(one.record["n"], one.by) for one in late] == [(1, 0.1)]
    assert values == ([{"id": "a", "n": 0}] if keep == "last" else [2])


def test_what_cannot_be_saved_fails_when_it_comes() -> None:
    """Where records are kept."""
    stream = lines("a").pipe(ops.map(lambda one: iter([one])), ops.dedup(lambda _: 1, ttl=60, keep="last"))
    with pytest.raises(OperatorError, match="list_iterator"):
        run([Rec("a", 0, 1, 1000)], stream)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ttl": 0}, r"dedup\(ttl\).*0"),
        ({"ttl": -1}, r"dedup\(ttl\).*-1"),
        ({"ttl": "1h"}, r"dedup\(ttl\).*'1h'"),
        ({"ttl": 1, "keep": "latest"}, r"dedup\(keep\): expected 'first', 'last' or an aggregate .*, got 'latest'"),
        ({"ttl": 1, "clock": "wall"}, r"dedup\(clock\): expected 'event' or 'processing', got 'wall'"),
        ({"ttl": 1, "capacity": 15}, r"dedup\(capacity\).*16.*15"),
        ({"ttl": 1, "capacity": 99, "keep": "last"}, r"dedup\(capacity\): 'last' holds records, .* expected keep='first'"),
        ({"ttl": 1, "key": 7}, r"dedup\(key\).*7"),
        ({"ttl": 1, "on_error": "skip"}, r"dedup.*on_error.*'skip'"),
    ],
)
def test_what_is_no_deduplication_is_refused(options: dict[str, Any], message: str) -> None:
    """When it is built, with what was expected and what was given."""
    with pytest.raises(ConfigError, match=message):
        ops.dedup(**options)


def test_a_ttl_that_is_no_millisecond_is_refused() -> None:
    """Times are integer milliseconds; of less, nothing could be a duplicate."""
    with pytest.raises(ConfigError, match=r"dedup\(ttl\)"):
        ops.dedup("id", ttl=0.0004)


def test_a_stream_with_keys_needs_no_key() -> None:
    """There can be one id only; the message says both ways out."""
    with pytest.raises(ConfigError, match=r"dedup\(key\): the stream has keys.*leave it out, or use dedup before key_by"):
        lines("a").pipe(ops.key_by("id"), ops.dedup("id", ttl=1))


def test_ttl_may_be_a_timedelta() -> None:
    """It is the same as its seconds."""
    events = came(("a", 0), ("a", HOUR - 0.001), ("a", HOUR))
    assert through(events, ttl=timedelta(hours=1)) == through(events, ttl=HOUR) == [[0, 2], [1]]


def test_by_the_clock_an_id_is_new_again_an_hour_later() -> None:
    """Whatever time the records say; a restart does not make it new, and no hour that passed while nothing ran is lost."""
    orders = rxs.from_topic("orders", dict).pipe(ops.dedup("id", ttl=HOUR, clock="processing"))
    drive = rxs.testing.drive(orders, start=1000.0)
    drive.feed({"id": "a", "n": 0}, at=9000.0)
    drive.advance(HOUR - 1)
    drive.restart()
    drive.feed({"id": "a", "n": 1}, at=0.0)
    drive.commit()
    drive.clock.now += 1  # while nothing runs
    drive.crash()
    drive.feed({"id": "a", "n": 2}, at=0.0)
    assert [one["n"] for one in drive.values()] == [0, 2]


def test_another_keep_does_not_take_over_saved_state() -> None:
    """What was kept is not what it needs; another ``ttl`` is fine."""
    broker = MemoryBroker()

    async def run_it(**options: Any) -> None:
        once = rxs.from_topic("ids", int, until="end").pipe(ops.dedup(**options), ops.to_callable(lambda _: None))
        async with rxs.start(once, app="app", broker=broker) as running:
            await running.wait()

    async def main() -> None:
        await broker.start()
        await broker.append("ids", [Record(b"1")])
        await run_it(ttl=60)
        await run_it(ttl=90)
        with pytest.raises(TopologyError, match="dedup"):
            await run_it(ttl=60, keep="last")

    asyncio.run(main())


def test_an_expired_step_is_forgotten_once_for_an_id_that_came_again() -> None:
    """An id in two steps that go at one watermark, the younger of which was begun first, is not looked for twice."""
    stream = lines("a", out_of_orderness=50.0).pipe(ops.dedup("id", ttl=1))
    events = came(("b", 12), ("a", 10), ("a", 12), ("z", 48.5), ("c", 99), ("d", 999))
    assert [one["n"] for one in run(events, stream).values[0]] == [0, 1, 2, 3, 4, 5]


def test_nothing_is_noted_of_an_id_that_came_again_and_was_forgotten() -> None:
    """While others are remembered still."""
    drive = Drive(lines("a", out_of_orderness=0.0).pipe(ops.dedup("id", ttl=1)))
    drive.feed(came(("a", 0), ("a", 1), ("b", 1.9), ("c", 2.5)))
    assert remembered(drive) == {"b": 1900, "c": 2500}


def test_by_the_clock_a_group_has_its_greatest_time_but_is_not_late() -> None:
    """What comes after it has been told of time, and waits for nothing before that."""
    for delay, time in ((99.0, 5000), (0.0, 9000)):
        stream = lines("a", out_of_orderness=delay).pipe(ops.dedup("id", ttl=2, keep=agg.count(), clock="processing"))
        drive = Drive(stream)
        drive.feed([*came(("a", 5), ("a", 3), ("b", 9)), Tick(2.0)])
        assert [(value, at) for value, at, _ in drive.results[0]] == [(2, time), (1, 9000)]
