"""Joins: who meets whom, what comes out alone and when, what is late, what is kept and freed, and what is refused."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
import pytest

import rxstreams as rxs
from rxstreams import Skip, Stop, Stream, operators as ops
from rxstreams.brokers import Record
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import ConfigError, GraphError, Policy, StateCodecError, TopologyError
from rxstreams.operators.joins.sides import Entry
from rxstreams.testing import Drive
from rxstreams.watermarks import Late
from tests.laws.harness import End, Event, Rec, lines, run

Join = Callable[[Stream[Any]], Callable[[Any], Stream[Any]]]


def driven(join: Join, key: Any = None, **options: Any) -> tuple[Drive, Stream[Any]]:
    """A join of two topics whose records have a key ``k`` and what tells them apart, driven by hand."""
    left, right = (rxs.from_topic(name, dict, **options).pipe(key or ops.key_by("k")) for name in ("orders", "payments"))
    joined = left.pipe(join(right))
    late = [joined.late] if joined.operation.sides else []
    return rxs.testing.drive(joined.pipe(ops.map(_told)), *late), joined


def _told(value: Any) -> str:
    """``1+2`` for a pair, ``1`` for a record, ``1+`` where one is missing."""
    if isinstance(value, dict):
        return str(value["n"])
    return "+".join("" if one is None else str(one["n"]) for one in value)


def within(seconds: float, **options: Any) -> Join:
    """An interval join."""
    return lambda right: ops.interval_join(right, within=seconds, **options)


def feed(drive: Drive, topic: str, *records: tuple[float, int], key: str = "a") -> None:
    """Have records come, given as (seconds, number)."""
    for second, number in records:
        drive.feed({"k": key, "n": number}, source=topic, at=float(second))


def marks(drive: Drive, second: float) -> None:
    """Let time go on in both."""
    for topic in ("orders", "payments"):
        drive.watermark(float(second), source=topic)


# interval_join.


def test_bounds_are_inclusive_and_may_be_asymmetric() -> None:
    """Just the bound apart is a pair, a millisecond more is none; ``lower`` and ``upper`` count from left to right."""
    drive, _ = driven(within(5))
    feed(drive, "orders", (10, 1))
    feed(drive, "payments", (5, 2), (15, 3), (4.999, 4), (15.001, 5))
    assert drive.values() == ["1+2", "1+3"]
    drive, _ = driven(lambda right: ops.interval_join(right, lower=-1, upper=3))
    feed(drive, "payments", (9, 2), (8.999, 3), (13, 4), (13.001, 5))
    feed(drive, "orders", (10, 1))
    assert drive.values() == ["1+2", "1+4"]


@pytest.mark.parametrize(
    ("how", "at_once", "at_the_end"),
    [
        ("inner", ["1+3"], []),
        ("left", ["1+3"], ["2+"]),
        ("right", ["1+3"], ["+4"]),
        ("outer", ["1+3"], ["2+", "+4"]),
        ("semi", ["1"], []),
        ("anti", [], ["2"]),
    ],
)
def test_what_comes_out_alone_does_so_once_when_no_partner_can_come(how: Any, at_once: list[str], at_the_end: list[str]) -> None:
    """A millisecond behind the last chance, not before; after a crash as before it; and it is forgotten."""
    drive, _ = driven(within(5, how=how))
    feed(drive, "orders", (10, 1))
    feed(drive, "orders", (20, 2), key="b")
    feed(drive, "payments", (12, 3))
    feed(drive, "payments", (20, 4), key="c")
    assert drive.new() == at_once
    marks(drive, 25)
    drive.commit()
    assert drive.new() == []
    marks(drive, 25.001)
    assert drive.new() == at_the_end
    drive.crash()
    assert drive.new() == []
    drive.restart()
    marks(drive, 25.1)
    assert drive.new() == [], "what is kept a little longer does not come again"
    marks(drive, 30)
    drive.restart()
    assert drive.state("interval_join") == {}
    drive.end()
    assert drive.new() == []


def test_a_record_comes_out_alone_also_if_others_of_its_time_have_been_looked_through() -> None:
    """Records are found in steps of a sixteenth of the bound; one that comes into such a step later is found as well."""
    drive, _ = driven(within(5, how="left"))
    feed(drive, "orders", (10, 1))
    marks(drive, 15.001)
    feed(drive, "orders", (10.2, 2))
    marks(drive, 15.2)
    assert drive.values() == ["1+"]
    marks(drive, 15.201)
    assert drive.values() == ["1+", "2+"]


def test_both_inputs_hold_time_until_one_has_ended() -> None:
    """The least watermark counts; one that has ended does not hold it back, nor one that is set aside as idle."""
    for silence in (lambda drive: drive.end("payments"), lambda drive: drive.idle(all_partitions=True, source="payments")):
        drive, _ = driven(within(5, how="left"), idle_after=10.0, until=None)
        feed(drive, "payments", (1, 9), key="z")
        feed(drive, "orders", (10, 1))
        drive.watermark(100.0, source="orders")
        assert drive.values() == []
        silence(drive)
        drive.advance(5.001)
        assert drive.values() == ["1+"]


def test_a_late_record_meets_who_is_still_there_and_is_late_otherwise() -> None:
    """Late is what comes when its last chance is over; and never does it meet one that has come out alone."""
    drive, joined = driven(within(5, how="left"))
    feed(drive, "orders", (10, 1))
    marks(drive, 15.001)
    assert drive.values() == ["1+"]
    feed(drive, "payments", (10, 2))
    feed(drive, "orders", (9, 3))
    assert drive.values() == ["1+"]
    assert drive.values(joined.late) == [Late({"k": "a", "n": 2}, 5.001), Late({"k": "a", "n": 3}, 6.001)]
    feed(drive, "payments", (10.5, 4))
    marks(drive, 99)
    assert (drive.values(), len(drive.values(joined.late))) == (["1+"], 2), "in time, but too late for the order"


def test_a_record_in_time_whose_partners_are_all_over_comes_out_at_once() -> None:
    """Where all partners are before it, as with ``upper=-2``."""
    drive, _ = driven(lambda right: ops.interval_join(right, lower=-4, upper=-2, how="left"))
    marks(drive, 9)
    feed(drive, "orders", (10, 1), (11, 2))
    assert drive.values() == ["1+"]
    marks(drive, 9.001)
    assert drive.values() == ["1+", "2+"]


def test_first_and_last_are_chosen_by_time() -> None:
    """Not by who came first; and only when it is sure."""
    for matches, chosen in (("first", "1+4"), ("last", "1+3")):
        drive, _ = driven(within(5, matches=matches), out_of_orderness=20.0)
        feed(drive, "orders", (10, 1))
        feed(drive, "payments", (11, 2), (14, 3), (6, 4), (4, 5))
        assert drive.values() == []
        marks(drive, 15.001)
        assert drive.values() == [chosen]


def test_what_is_kept_is_freed_on_each_side_by_its_own_bound() -> None:
    """A left record as long as a payment may come, ``upper``; a right one as long as an order may, ``-lower``."""
    drive, _ = driven(lambda right: ops.interval_join(right, lower=0, upper=16))
    feed(drive, "orders", (10, 1))
    feed(drive, "payments", (10, 2), key="b")
    assert drive.state("interval_join") == {
        ("left", "a"): Entry(10_000, {"k": "a", "n": 1}),
        ("right", "b"): Entry(10_000, {"k": "b", "n": 2}),
    }
    marks(drive, 10.001)
    assert drive.state("interval_join").keys() == {("left", "a")}
    marks(drive, 26)
    assert drive.state("interval_join").keys() == {("left", "a")}
    marks(drive, 27)
    assert drive.state("interval_join") == {}


@pytest.mark.parametrize("policy", [Stop(), Skip()], ids=["in the sources' loops", "in batches"])
def test_a_window_behind_has_what_came_out_alone(policy: Policy) -> None:
    """Time is passed on so much later as what comes out is old, so that nothing is late there."""
    left, right = (rxs.from_topic(name, dict).pipe(ops.key_by("k")) for name in ("orders", "payments"))
    joined = left.pipe(ops.interval_join(right, within=100, how="left"), ops.key_by(lambda _: "all"))
    counts = joined.pipe(ops.windowed(rxs.tumbling(10), n=rxs.aggregates.count()))
    drive = rxs.testing.drive(counts, counts.late, on_error=policy)
    feed(drive, "orders", (5, 1), (15, 2))
    feed(drive, "orders", (5, 3), key="b")
    feed(drive, "payments", (6, 4), key="b")
    for second in (20, 104, 105.001, 110, 115.001, 120):
        marks(drive, second)
    assert [(row.start, row.n) for row in drive.values()] == [(0, 2), (10_000, 1)]
    assert drive.values(counts.late) == []


def test_what_is_freed_is_deleted_in_the_table() -> None:
    """Of two thousand records nothing is left there, when the next commits have been made; whether or not others stay."""
    for others in (0, 1):
        drive, _ = driven(within(5))
        for n in range(2000):
            feed(drive, "orders", (10, n), key=f"k{n}")
        for n in range(others):
            feed(drive, "orders", (999, n), key="other")
        drive.commit()
        saved = sum(map(len, drive.table.values()))
        marks(drive, 99)
        for _ in range(100):
            drive.commit()
        assert saved > 40_000 > 20 * sum(map(len, drive.table.values()))


def test_a_stream_meets_itself() -> None:
    """A self-join: each record with itself, and with its neighbours both ways."""
    orders = rxs.from_topic("orders", dict).pipe(ops.key_by("k"))
    drive = rxs.testing.drive(orders.pipe(ops.interval_join(orders, lower=0, upper=5), ops.map(_told)))
    feed(drive, "orders", (10, 1), (12, 2), (18, 3))
    assert sorted(drive.values()) == ["1+1", "1+2", "2+2", "3+3"]


# as_of_join.


def test_the_quote_of_a_trade_is_the_latest_up_to_it_whichever_came_first() -> None:
    """A quote that comes behind the trade counts if its time is before it; of two of one time, the one that came last."""
    drive, joined = driven(ops.as_of_join)
    feed(drive, "orders", (10, 1))
    feed(drive, "payments", (8, 2), (9, 3), (9, 4), (11, 5))
    assert drive.values() == []
    marks(drive, 10.001)
    assert drive.values() == ["1+4"]
    feed(drive, "orders", (10.5, 6))
    marks(drive, 20)
    assert drive.values() == ["1+4", "6+4"]
    feed(drive, "orders", (19, 7), (20, 8))
    marks(drive, 21)
    assert drive.values() == ["1+4", "6+4", "8+5"]
    assert [one.record["n"] for one in drive.values(joined.late)] == [7]
    assert drive.state("as_of_join").keys() == {("right", "a")}, "the latest stays"


def test_nearest_and_forward_look_ahead_as_far_as_the_tolerance() -> None:
    """Of two that are equally near, the earlier; forward takes one of the same time."""
    for direction, chosen in (("nearest", "1+2"), ("forward", "1+3"), ("backward", "1+2")):
        drive, _ = driven(lambda right, direction=direction: ops.as_of_join(right, direction=direction, tolerance=5))  # type: ignore[misc]
        feed(drive, "orders", (10, 1), (30, 9))
        feed(drive, "payments", (8, 2), (12, 3), (35.001, 8))
        marks(drive, 60)
        assert drive.values() == [chosen, "9+"]
        assert drive.state("as_of_join") == {}


def test_wait_holds_a_choice_back_for_late_quotes() -> None:
    """For so many seconds of event time; what comes even later is late where no trade can want it any more."""
    drive, _ = driven(lambda right: ops.as_of_join(right, tolerance=5, wait=3))
    feed(drive, "orders", (10, 1))
    marks(drive, 13)
    feed(drive, "payments", (9, 2))
    assert drive.values() == []
    marks(drive, 13.001)
    assert drive.values() == ["1+2"]


# join_table, latest_by_key.


def test_a_table_is_read_as_it_is_now_or_as_it_was() -> None:
    """By event time the version of the record's time counts; None deletes."""
    for version, expected in (("latest", ["1+", "2+3"]), ("event_time", ["1+3", "2+4"])):
        left, right = (rxs.from_topic(name, dict).pipe(ops.key_by("k")) for name in ("orders", "payments"))
        updates = right.pipe(ops.map(lambda update: update if update["n"] else None))
        table = rxs.table(updates, history=5)
        joined = left.pipe(ops.join_table(table, how="left", version=version))  # type: ignore[call-overload]
        drive = rxs.testing.drive(joined.pipe(ops.map(_told)))
        feed(drive, "orders", (10, 1))
        feed(drive, "payments", (9, 3))
        feed(drive, "orders", (12, 2))
        feed(drive, "payments", (11, 4), (13, 0))
        marks(drive, 13.001)
        feed(drive, "orders", (14, 5), (9.5, 6))
        marks(drive, 14.001)
        assert drive.values() == [*expected, *(["5+", "6+"] if version == "latest" else ["6+3", "5+"])]
        marks(drive, 99)
        assert drive.state("join_table") == {}, "a deletion leaves nothing"


def test_the_latest_values_of_three_streams_stand_side_by_side() -> None:
    """Once none is missing for the key, and with each new one."""
    streams = {name: rxs.from_topic(name, dict).pipe(ops.key_by("k")) for name in ("a", "b", "c")}
    drive = rxs.testing.drive(rxs.latest_by_key(**streams).pipe(ops.map(lambda row: (row.a["n"], row.b["n"], row.c["n"]))))
    feed(drive, "a", (1, 1), (2, 2))
    feed(drive, "b", (3, 3))
    feed(drive, "c", (4, 9), key="other")
    drive.restart()
    feed(drive, "c", (5, 4))
    feed(drive, "a", (6, 5))
    assert drive.values() == [(2, 3, 4), (5, 3, 4)]


# Refused.


class Numbered(msgspec.Struct):
    """A record whose key is a number."""

    k: int


class Named(msgspec.Struct):
    """A record whose key is a text."""

    k: str


def test_keys_of_two_declared_types_are_refused_when_built() -> None:
    """Through what passes values on, too; and where a type is not known, nothing is said."""
    left = rxs.from_topic("orders", Numbered).pipe(ops.filter(bool), ops.key_by("k"))
    right = rxs.from_topic("payments", Named).pipe(ops.key_by("k"), ops.filter(bool))
    message = r"interval_join: the keys of input 0 are int, those of input 1 str, which are never equal"
    with pytest.raises(ConfigError, match=message):
        left.pipe(ops.interval_join(right, within=1))
    with pytest.raises(ConfigError, match=r"latest_by_key: the keys of a are int, those of b str"):
        rxs.latest_by_key(a=left, b=right)
    left.pipe(ops.interval_join(right.pipe(ops.key_by(lambda one: int(one.k))), within=1))


def test_an_update_that_comes_too_late_does_not_bring_back_what_was_deleted() -> None:
    """It is late; one that is newer than what the table has is taken."""
    left, right = (rxs.from_topic(name, dict).pipe(ops.key_by("k")) for name in ("orders", "payments"))
    table = rxs.table(right.pipe(ops.map(lambda update: update if update["n"] else None)), history=0)
    joined = left.pipe(ops.join_table(table, how="left", version="event_time"))
    drive = rxs.testing.drive(joined.pipe(ops.map(_told)), joined.late)
    feed(drive, "payments", (10, 1), (20, 0))
    feed(drive, "payments", (10, 2), key="b")
    marks(drive, 100)
    feed(drive, "payments", (15, 3))
    feed(drive, "payments", (15, 4), key="b")
    feed(drive, "orders", (200, 5))
    feed(drive, "orders", (200, 6), key="b")
    drive.end()
    assert sorted(drive.values()) == ["5+", "6+4"]
    assert [one.record["n"] for one in drive.values(joined.late)] == [3]


def test_a_late_record_meets_the_same_with_a_bound_on_one_side() -> None:
    """Whether or not the join could be a part of the sources' loops."""
    for policy in (Stop(), Skip()):
        left, right = (rxs.from_topic(name, dict).pipe(ops.key_by("k")) for name in ("orders", "payments"))
        joined = left.pipe(ops.interval_join(right, lower=1, upper=3, how="left"), ops.map(_told))
        drive = rxs.testing.drive(joined, on_error=policy)
        feed(drive, "orders", (5.06, 0), key="z")
        feed(drive, "payments", (6.03, 1))
        feed(drive, "orders", (3.25, 2))
        drive.end()
        assert drive.values() == ["2+1", "0+"]


def _by_now(right: Any) -> Any:
    return ops.join_table(rxs.table(right))


@pytest.mark.parametrize(
    "join", [within(5), within(5, matches="last"), ops.as_of_join, _by_now], ids=["all", "last", "as of", "table"]
)
def test_keys_of_two_types_fail_at_the_first_records(join: Join) -> None:
    """Saying which."""
    drive, _ = driven(join, ops.key_by(lambda one: one["n"] if one["n"] > 5 else one["k"]))
    feed(drive, "orders", (1, 1))
    with pytest.raises(
        GraphError, match=r"join.*: the (left )?stream has keys such as 'a', the (right stream|table) such as 7, .*never equal"
    ):
        feed(drive, "payments", (1, 7))


def test_the_latest_of_streams_with_keys_of_two_types_fail_too() -> None:
    """By the names of the streams."""
    streams = {name: rxs.from_topic(name, dict).pipe(ops.key_by(lambda one: one["k"])) for name in ("a", "b")}
    drive = rxs.testing.drive(rxs.latest_by_key(**streams))
    feed(drive, "a", (1, 1))
    with pytest.raises(GraphError, match=r"latest_by_key.*: a has keys such as 'a', b such as 7, which are never equal"):
        drive.feed({"k": 7}, source="b", at=2.0)


def test_a_record_that_cannot_be_saved_fails_when_it_comes() -> None:
    """Not at the commit, where nobody knows any more which it was."""
    for join in (within(5), ops.as_of_join):
        drive, _ = driven(join, lambda s: s.pipe(ops.key_by("k"), ops.map(lambda one: iter([one]))))
        with pytest.raises(StateCodecError, match=r"join.*list_iterator"):
            feed(drive, "orders", (1, 1))


def test_another_join_does_not_take_over_saved_state() -> None:
    """Other bounds need what was not kept: the run refuses to begin, and says so."""
    broker = MemoryBroker()

    async def run(**options: Any) -> None:
        left, right = (rxs.from_topic(name, dict, until="end").pipe(ops.key_by("k")) for name in ("orders", "payments"))
        joined = left.pipe(ops.interval_join(right, **options), ops.to_callable(lambda _: None))
        async with rxs.start(joined, app="app", broker=broker) as running:
            await running.wait()

    async def main() -> None:
        await broker.start()
        for topic in ("orders", "payments"):
            await broker.append(topic, [Record(b'{"k": "a"}', None, 1)])
        await run(within=5)
        for changed in ({"within": 6}, {"within": 5, "how": "left"}):
            with pytest.raises(TopologyError, match="interval_join"):
                await run(**changed)
        await run(lower=-5, upper=5)

    asyncio.run(main())


def test_keys_of_any_kind_come_out_in_order() -> None:
    """UUIDs, numbers and pairs: what comes out alone at one watermark is in the order of the keys' encodings, time first."""
    for keys in ([UUID(int=2), UUID(int=1)], [2, 300], [("b", 1), ("a", 2)]):
        drive, _ = driven(within(5, how="anti"), ops.key_by(lambda one, keys=keys: keys[one["n"]]))  # type: ignore[misc]
        feed(drive, "orders", (10, 0), (10, 1), (9, 0))
        marks(drive, 50)
        assert drive.values() == ["0", "1", "0"]


@pytest.mark.parametrize("how", ["left", "anti", "outer"])
def test_many_that_come_out_alone_at_once_do_not_exceed_the_edge(how: Any) -> None:
    """However quickly calls are made, no more results wait for theirs than there is room for; each comes once."""

    async def main() -> None:
        broker = MemoryBroker()
        await broker.append("orders", [Record(b'{"k":"%d","n":1}' % n, None, 1_000_000) for n in range(20_000)])
        await broker.create_topic("payments")
        most, called = 0, Counter[str]()

        async def call(row: Any) -> None:
            nonlocal most
            most = max(most, awaiting.backlog)
            called[(row if how == "anti" else row[0])["k"]] += 1

        left, right = (rxs.from_topic(name, dict, until="end").pipe(ops.key_by("k")) for name in ("orders", "payments"))
        alone = left.pipe(ops.interval_join(right, within=5, how=how), ops.to_callable(call, capacity=500))
        async with rxs.start(alone, app="app", broker=broker) as running:
            assert running.task is not None
            awaiting = next(v.node for v in running.task.graph.vertices if v.title.startswith("to_callable"))
            await running.wait()
        assert (most, len(called), set(called.values())) == (500, 20_000, {1})

    asyncio.run(main())


def test_what_joins_one_loop_does_not_meet_in_its_variables() -> None:
    """Two deduplications, and a join behind them: each frees its own ids, in a loop as in batches."""
    for policy in (Stop(), Skip()):
        left, right = rxs.from_topic("orders", dict), rxs.from_topic("payments", dict).pipe(ops.key_by("k"))
        once = left.pipe(ops.dedup("k", ttl=10), ops.dedup("n", ttl=5), ops.key_by("k"))
        drive = rxs.testing.drive(once.pipe(ops.interval_join(right, within=1), ops.map(_told)), on_error=policy)
        feed(drive, "payments", (1.5, 9))
        feed(drive, "orders", (1, 1))
        for n, second in ((2, 9), (3, 12), (4, 30), (5, 99)):
            feed(drive, "orders", (second, n), key=f"k{n}")
        feed(drive, "orders", (99, 6))
        assert drive.values() == ["1+9"]
        seen = [set(store.states) for store in drive.graph.stores if store.identity.endswith("/seen")]
        assert seen == [{"k5", "a"}, {5, 6}]


def test_what_a_loop_gives_to_a_topic_has_its_times() -> None:
    """Whatever is last in it, and though nobody behind the topic asks."""
    for policy in (Stop(), Skip()):
        for last in (ops.filter(lambda _: True), ops.dedup("n", ttl=10), ops.map(lambda one: one)):
            events: list[Event] = [Rec("a", 0, {"n": 1}, 7000), End("a")]
            outcome = run(events, lines("a").pipe(last, ops.to_topic("out")), timed=False, policy=policy)
            assert [record.timestamp for record in outcome.outputs["out"]] == [7000]


def test_what_is_before_a_join_goes_by_its_own_time() -> None:
    """Not by the least of the join's two inputs: a record that is late for `dedup` does not come to the join."""
    for policy in (Stop(), Skip()):
        once = lines("a", out_of_orderness=0.0).pipe(ops.dedup("k", ttl=2))
        joined = once.pipe(ops.key_by("k"), within(1, how="left")(lines("b").pipe(ops.key_by("k"))), ops.map(_told))
        events: list[Event] = [Rec("a", 0, {"k": "x", "n": n}, time) for n, time in ((0, 1_002_000), (1, 1_000_000))]
        values, late = run([*events, End("a"), End("b")], joined, once.late, cuts=(), policy=policy).values
        assert (values, [one.record["n"] for one in late]) == (["0+"], [1])
