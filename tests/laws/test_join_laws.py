"""Joins give what their definition says, whatever the order of arrival, the cuts, the crashes and the ends; and free it all."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import pytest
from hypothesis import assume, given, settings, strategies as st

import rxstreams as rxs
from rxstreams import Skip, Stop, Stream, operators as ops
from rxstreams.errors import GraphError
from rxstreams.testing import virtually
from rxstreams.watermarks import START
from tests.laws.harness import Drive, End, Event, Rec, lines, random_cuts, run
from tests.laws.joining import (
    ALONE,
    BOUNDS,
    HOWS,
    IDLE,
    Arrival,
    Bounds,
    Choice,
    Intervals,
    Item,
    Time,
    both,
    choices_of,
    choose,
    chosen,
    ended,
    events,
    items_of,
    joined,
    keyed,
    late_of,
    live,
    numbers,
    partners,
    rows_of,
    run_cut_and_crashed,
    run_each_way,
    shuffled,
    sides,
    with_late,
)

FEW = settings(max_examples=25, deadline=None)
MANY = settings(max_examples=100, deadline=None)
NONE_LATE = 10_000
"""Milliseconds; no record of ``items_of`` is so far behind another."""

hows = pytest.mark.parametrize("how", HOWS)
seeds = st.integers(0, 2**32).map(random.Random)
bounded = st.sampled_from(BOUNDS)
arrivals = st.builds(ended, items_of(), st.permutations(["a", "b"]), early=st.booleans())


def interval(bounds: Bounds, delay: int = NONE_LATE, **options: Any) -> Stream[Any]:
    """An interval join of both sides."""
    return both(lambda right: ops.interval_join(right, **bounds.arguments, **options), delay)


# Every pair once.


@hows
@MANY
@given(items=items_of(), bounds=bounded)
def test_an_interval_join_is_its_definition(how: Any, items: list[Item], bounds: Bounds) -> None:
    """Every pair once, whichever side came first; alone what has no partner, once; each with its time. In whatever order."""
    outcome = run_each_way(events(items), lambda: [interval(bounds, how=how)])
    assert rows_of(outcome) == joined(items, bounds, how)


@hows
@FEW
@given(items=items_of(), bounds=bounded, rng=seeds, delay=st.sampled_from((0, 450, 2500)))
def test_arrival_order_within_out_of_orderness_changes_nothing(
    how: Any, items: list[Item], bounds: Bounds, rng: random.Random, delay: int
) -> None:
    """With a watermark that follows closely, so that records come out alone and are freed while others still come."""
    for arrived in (sorted(items, key=lambda one: one.time), shuffled(rng, items, delay)):
        outcome = run_each_way(events(arrived), lambda: [interval(bounds, delay, how=how)])
        assert rows_of(outcome) == joined(items, bounds, how)


@hows
@FEW
@given(arrived=arrivals, bounds=bounded, rng=seeds, delay=st.sampled_from((0, 450)), partitions=st.integers(1, 2))
def test_cuts_and_crashes_change_nothing(
    how: Any, arrived: list[Arrival], bounds: Bounds, rng: random.Random, delay: int, partitions: int
) -> None:
    """Though many are late: the same results in the same order, and what comes out alone does so once."""
    streams = with_late(interval(bounds, delay, how=how))
    run_cut_and_crashed(events(arrived, ends=(), partitions=partitions), streams, rng)


@hows
@FEW
@given(items=items_of(), bounds=bounded, ends=st.permutations(["a", "b"]))
def test_a_side_that_ends_early_holds_nothing_back(how: Any, items: list[Item], bounds: Bounds, ends: list[str]) -> None:
    """All of one side, and its end; then the other: what can be known is known, and nothing is lost."""
    parts = dict(zip("ab", sides(items), strict=True))
    arrived = [one for name in ends for one in events(parts[name], ends=name)]
    assert rows_of(run_each_way(arrived, lambda: [interval(bounds, how=how)])) == joined(items, bounds, how)


@FEW
@given(items=items_of(), bounds=bounded, how=st.sampled_from(HOWS), quiet=st.integers(0, 12), delay=st.sampled_from((250, 1000)))
def test_a_side_that_falls_silent_holds_nothing_back(items: list[Item], bounds: Bounds, how: Any, quiet: int, delay: int) -> None:
    """Live: what has no partner comes out by the clock, so much later as disorder and idleness say, though nothing ends."""
    begin = 1_000_000
    items = [one for one in items if not one.side or one.time < begin + 500 * quiet]
    join = lambda right: ops.interval_join(right, **bounds.arguments, how=how)  # noqa: E731  # used once
    came = virtually(live(items, join, delay), start=begin / 1000)
    assert sorted((numbers(value) for _, value in came), key=repr) == [row for row, _ in joined(items, bounds, how)]
    by_id, reach = {one.id: one for one in items}, (bounds.upper, -bounds.lower)
    for when, value in came:
        ids = [n for n in numbers(value) if n is not None]
        if how in ALONE and len(ids) == 1:
            one = by_id[ids[0]]
            assert when <= (one.time + max(0, reach[one.side]) + 2 * delay) / 1000 + IDLE + 0.5, "when it was looked again"


KINDS: dict[str, Callable[[str], Any]] = {
    "numbers": ord,
    "pairs": lambda key: (key, 1),
    "bytes": str.encode,
    "UUIDs": lambda key: UUID(int=ord(key)),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@FEW
@given(items=items_of(), bounds=bounded, rng=seeds, how=st.sampled_from(HOWS))
def test_keys_may_be_of_any_kind(kind: Any, items: list[Item], bounds: Bounds, rng: random.Random, how: Any) -> None:
    """They are saved and restored, and equal keys meet."""
    left, right = (lines(name, out_of_orderness=NONE_LATE / 1000).pipe(ops.key_by(lambda one: kind(one["key"]))) for name in "ab")
    outcome = run_cut_and_crashed(events(items), [left.pipe(ops.interval_join(right, **bounds.arguments, how=how))], rng)
    assert rows_of(outcome) == joined(items, bounds, how)


@MANY
@given(items=items_of(), more=items_of(), bounds=st.tuples(bounded, bounded), rng=seeds)
def test_joins_in_a_row_are_their_definitions(
    items: list[Item], more: list[Item], bounds: tuple[Bounds, Bounds], rng: random.Random
) -> None:
    """What comes out alone of the first is old, but not late for the second, which waits for it."""
    first = joined(items, bounds[0], "left")
    keys = {one.id: one.key for one in items}
    lefts = [Item(n, 0, keys[row[0]], time) for n, (row, time) in enumerate(first) if row[0] is not None]
    names = {n: row for n, (row, _) in enumerate(first)}
    expected = [
        (*names[row[0]], row[1]) for row, _ in joined([*lefts, *_on_the_right(more)], bounds[1], "left") if row[0] is not None
    ]
    merged = shuffled(rng, [*items, *(one._replace(side=2) for one in more)], 700)
    arrived = events(merged, ends="abc")
    for policy in (Stop(), Skip()):
        third = keyed("c", 700)
        chain = interval(bounds[0], 700, how="left").pipe(ops.interval_join(third, **bounds[1].arguments, how="left"))
        rows, late = run(arrived, *with_late(chain), cuts=(), policy=policy).values
        found = [(*numbers(pair), None if other is None else other["id"] + 1000) for pair, other in rows]
        assert (sorted(found, key=repr), late) == (sorted(expected, key=repr), [])


def _on_the_right(items: Sequence[Item]) -> list[Item]:
    """Copies on the right side, with other numbers."""
    return [one._replace(side=1, id=one.id + 1000) for one in items]


@pytest.mark.parametrize(("policy", "fused"), [(Stop(), True), (Skip(), False)])
def test_both_ways_to_run_are_run(policy: Any, fused: bool) -> None:
    """As ``run_each_way`` says: in the sources' loops, and as an operator of its own."""
    drive = Drive(interval(BOUNDS[0]), policy=policy)
    assert [drive.source(name).fused is not None for name in drive.sources] == [fused, fused]


# Late.


@hows
@MANY
@given(arrived=arrivals, bounds=bounded, delay=st.sampled_from((0, 700, 2500)))
def test_late_records_meet_who_is_still_there(how: Any, arrived: list[Arrival], bounds: Bounds, delay: int) -> None:
    """As the slow way says, in its order: a pair if the other is kept, alone if it was in time, else late, and by how much."""
    slow = Intervals(arrived, bounds, how, delay)
    streams, come = with_late(interval(bounds, delay, how=how)), events(arrived, ends=())
    one_by_one = run(come, *streams, policy=Skip())
    assert [(numbers(value), time) for value, time, _ in one_by_one.results[0]] == slow.rows
    assert late_of(one_by_one) == slow.late
    outcome = run_each_way(come, lambda: streams)
    assert (rows_of(outcome), sorted(late_of(outcome))) == (sorted(slow.rows, key=repr), sorted(slow.late))


@MANY
@given(items=items_of(), bounds=bounded, how=st.sampled_from(HOWS), delay=st.sampled_from((0, 700)))
def test_nothing_is_lost_and_nothing_comes_twice(items: list[Item], bounds: Bounds, how: Any, delay: int) -> None:
    """Each pair is one of the definition's, and comes once; who has come out alone is in none; and of the records that come out
    alone where they meet nobody, each is in a pair, alone, or late.
    """
    streams = with_late(interval(bounds, delay, how=how))
    came, late = run_each_way(events(items), lambda: streams).values
    rows, behind = Counter(map(numbers, came)), Counter(one.record["id"] for one in late)
    assert set(rows.values()) | set(behind.values()) <= {1}
    possible = {row for row, _ in joined(items, bounds, "inner")}
    pairs = {row for row in rows if None not in row}
    assert pairs <= possible
    if how in ("semi", "anti"):
        return
    alone = {one for row in rows - Counter(pairs) for one in row if one is not None}
    met = {one for row in pairs for one in row}
    assert not alone & met
    assert not (alone | met) & behind.keys()
    for side, expected in zip(sides(items), ({"left", "outer"}, {"right", "outer"}), strict=True):
        if how in expected:
            assert {one.id for one in side} <= alone | met | behind.keys()


def test_a_late_record_meets_the_same_in_a_loop_and_outside() -> None:
    """The right record's partners are all over when it has come, but it was in time, and is kept for a sixteenth more."""
    items = [Item(0, 0, "b", 1_005_060), Item(1, 1, "a", 1_006_030), Item(2, 0, "a", 1_003_250)]
    outcome = run_each_way(events(items), lambda: with_late(interval(Bounds(1000, 3000), 0, how="left")))
    assert rows_of(outcome) == [((0, None), 1_005_060), ((2, 1), 1_006_030)]


# Choosing.


@MANY
@given(items=items_of(), bounds=bounded, pick=st.sampled_from(("first", "last")), inner=st.booleans(), rng=seeds)
def test_first_and_last_are_by_time(items: list[Item], bounds: Bounds, pick: Any, inner: bool, rng: random.Random) -> None:
    """Of each left record's partners, whichever way they came."""
    how: Any = "inner" if inner else "left"
    expected = chosen(items, *bounds, pick, inner=inner)
    for arrived, delay in ((items, NONE_LATE), (shuffled(rng, items, 700), 700)):
        outcome = run_each_way(events(arrived), lambda delay=delay: [interval(bounds, delay, how=how, matches=pick)])
        assert choices_of(outcome) == expected


DIRECTIONS = {"backward": "last", "forward": "first", "nearest": "nearest"}


def reach_of(direction: str, tolerance: int | None) -> tuple[int | None, int, str]:
    """Bounds of the right time behind the left one (ms), and which of those is chosen."""
    lower = 0 if direction == "forward" else None if tolerance is None else -tolerance
    return lower, 0 if direction == "backward" else tolerance or 0, DIRECTIONS[direction]


as_of_arguments = st.builds(
    lambda direction, tolerance: (direction, 2500 if tolerance is None and direction != "backward" else tolerance),
    st.sampled_from(sorted(DIRECTIONS)),
    st.sampled_from((0, 1500, None)),
)


@MANY
@given(items=items_of(), which=as_of_arguments, inner=st.booleans(), rng=seeds)
def test_an_as_of_join_is_its_definition(items: list[Item], which: tuple[Any, Any], inner: bool, rng: random.Random) -> None:
    """One for each left record: the latest, the next or the nearest, within the tolerance."""
    how: Any = "inner" if inner else "left"
    expected = chosen(items, *reach_of(*which), inner=inner)
    for arrived, delay in ((items, NONE_LATE), (shuffled(rng, items, 700), 700)):
        stream = both(as_of(*which, how=how), delay)
        assert choices_of(run_each_way(events(arrived), lambda stream=stream: [stream])) == expected


def as_of(direction: Any, tolerance: int | None, **options: Any) -> Callable[[Stream[Any]], Any]:
    """An as-of join with the right side, its tolerance in milliseconds."""
    seconds = None if tolerance is None else tolerance / 1000
    return lambda right: ops.as_of_join(right, direction=direction, tolerance=seconds, **options)


@MANY
@given(items=items_of(), rng=seeds, which=as_of_arguments, wait=st.sampled_from((1000, 5000)))
def test_waiting_makes_up_for_too_small_a_disorder(
    items: list[Item], rng: random.Random, which: tuple[Any, Any], wait: int
) -> None:
    """Right records that come later than their source says are still chosen, if ``wait`` is as long."""
    arrived = sorted(items, key=lambda one: (one.time + (rng.uniform(0, wait) if one.side else 0), -one.side))
    streams = with_late(both(as_of(*which, wait=wait / 1000), 0))
    outcome = run(events(arrived), *streams, cuts=())
    assert choices_of(outcome) == chosen(items, *reach_of(*which), inner=False)
    assert not {n for n, _ in late_of(outcome)} & {one.id for one in sides(items)[0]}


CHOICES: dict[str, Callable[[Bounds, tuple[Any, Any], int], tuple[Choice, Callable[[Stream[Any]], Any]]]] = {
    "first": lambda bounds, which, span: (Choice(*bounds, "first"), matching(bounds, "first")),
    "last": lambda bounds, which, span: (Choice(*bounds, "last"), matching(bounds, "last")),
    "as of": lambda bounds, which, span: (Choice(*reach_of(*which), wait=span), as_of(*which, wait=span / 1000)),
    "table": lambda bounds, which, span: (Choice(None, 0, "last", history=span), lambda right: by_time(right, span)),
}


def matching(bounds: Bounds, pick: Any) -> Callable[[Stream[Any]], Any]:
    """A left join with the first or last."""
    return lambda right: ops.interval_join(right, **bounds.arguments, how="left", matches=pick)


@pytest.mark.parametrize("case", CHOICES.values(), ids=CHOICES)
@MANY
@given(arrived=arrivals, bounds=bounded, which=as_of_arguments, span=st.sampled_from((0, 800, 3000)), rng=seeds)
def test_a_choice_is_made_once_or_the_record_is_late(
    case: Any, arrived: list[Arrival], bounds: Bounds, which: tuple[Any, Any], span: int, rng: random.Random
) -> None:
    """As the slow way says: of what has come when it is final, for each left record that is not too late. Cut, and crashed."""
    delay = rng.choice((0, 700))
    choice, join = case(bounds, which, span)
    outcome = run_cut_and_crashed(events(arrived, ends=()), with_late(both(join, delay)), rng)
    rows, late = choose(arrived, choice, delay)
    lefts = {one.id for one in arrived if isinstance(one, Item) and not one.side}
    assert (rows_of(outcome), [one for one in late_of(outcome) if one[0] in lefts]) == (rows, late)
    assert sorted([*(row[0] for row, _ in rows), *(n for n, _ in late)], key=repr) == sorted(lefts, key=repr)


# With tables, and latest values as they come.


def by_time(right: Stream[Any], history: int, how: Any = "left") -> Any:
    """A join with the versions of a table, kept for so many milliseconds."""
    return ops.join_table(rxs.table(right, history=history / 1000), how=how, version="event_time")


def deleting(right: Stream[Any]) -> Stream[Any]:
    """Every third record is a deletion."""
    return right.pipe(ops.map(lambda one: one if one["id"] % 3 else None))


@MANY
@given(items=items_of(), left=st.booleans(), rng=seeds, history=st.sampled_from((0, 900, 3000)))
def test_a_table_by_event_time_does_not_depend_on_arrival(
    items: list[Item], left: bool, rng: random.Random, history: int
) -> None:
    """It has for each record what it had then, deletions included, for records up to ``history`` late, too. Of two updates of
    one time none is the later.
    """
    first = {(one.key, one.time): one for one in reversed(items) if one.side}
    items = [one for one in items if not one.side or first[one.key, one.time] is one]
    keys = {one.id: one.key for one in items}
    deletions = {place for place, one in first.items() if one.id % 3 == 0}
    rows = [
        (one, None if (keys[one], best) in deletions else best, time)
        for one, best, time in chosen(items, None, 0, "last", inner=False)
    ]
    expected = sorted((row for row in rows if left or row[1] is not None), key=repr)
    later = sorted(items, key=lambda one: one.time + rng.uniform(0, 700 if one.side else 700 + history))
    for arrived, delay in ((items, NONE_LATE), (later, 700)):
        how = "left" if left else "inner"
        streams = with_late(both(lambda right, how=how: by_time(deleting(right), history, how), delay))
        outcome = run_each_way(events(arrived), lambda streams=streams: streams)
        assert (choices_of(outcome), outcome.values[1]) == (expected, [])
        run_cut_and_crashed(events(arrived), streams, rng)


@MANY
@given(arrived=arrivals, history=st.sampled_from((0, 900)))
def test_a_late_update_brings_nothing_back_that_was_deleted(arrived: list[Arrival], history: int) -> None:
    """Though a deletion need not be remembered: each record has the latest of its key's updates that were in time, or a late one
    that is later still.
    """
    outcome = run(events(arrived, ends=()), *with_late(both(lambda right: by_time(deleting(right), history), 0)))
    by_id, mark, time, late = {one.id: one for one in arrived if isinstance(one, Item)}, START, Time(0), set[int]()
    for one in arrived:
        if isinstance(one, Item) and one.time < mark:
            late.add(one.id)
        mark = time.after(one)
    for (n, found), _ in rows_of(outcome):
        updates = partners(by_id[n], sides(by_id.values())[1], Bounds(START, 0))
        last = max((one.time for one in updates if one.id not in late), default=START)
        may_be = {one.id if one.id % 3 else None for one in updates if one.time >= last}
        assert found in (may_be if last != START else {None, *may_be})


@FEW
@given(items=items_of(), rng=seeds, left=st.booleans())
def test_a_table_as_it_is_now_is_what_a_loop_makes(items: list[Item], rng: random.Random, left: bool) -> None:
    """The last update that has come, unless it was a deletion; what the table has is saved."""
    table: dict[str, int | None] = {}
    expected = []
    for one in items:
        if one.side:
            table[one.key] = one.id if one.id % 3 else None
        elif left or table.get(one.key) is not None:
            expected.append((one.id, table.get(one.key)))
    how: Any = "left" if left else "inner"
    stream = both(lambda right: ops.join_table(rxs.table(deleting(right)), how=how), 0)
    outcome = run_cut_and_crashed(events(items), [stream], rng)
    assert list(map(numbers, outcome.values[0])) == expected
    assert all(state is not None for held in outcome.states.values() for state in held.values()), "a deletion leaves nothing"


@pytest.mark.parametrize("names", ["ab", "abc"])
@FEW
@given(items=items_of(), rng=seeds)
def test_the_latest_by_key_are_what_a_loop_makes(names: str, items: list[Item], rng: random.Random) -> None:
    """A row for each record, once all streams have one of its key."""
    items = [one._replace(side=one.id * 7 % len(names)) for one in items]
    latest: dict[str, dict[int, int]] = {}
    expected = []
    for one in items:
        held = latest.setdefault(one.key, {})
        held[one.side] = one.id
        expected += [tuple(held[at] for at in range(len(names)))] if len(held) == len(names) else []
    stream = rxs.latest_by_key(**{f"of_{name}": keyed(name, 0) for name in names})
    outcome = run_cut_and_crashed(events(items, ends=names), [stream], rng)
    assert [tuple(getattr(row, f"of_{name}")["id"] for name in names) for row in outcome.values[0]] == expected


# With itself; what is refused; and what is left.


@hows
@FEW
@given(items=items_of(), bounds=bounded, rng=seeds)
def test_a_self_join_is_a_join_with_a_copy(how: Any, items: list[Item], bounds: Bounds, rng: random.Random) -> None:
    """Each record is on both sides."""
    stream = keyed("a", NONE_LATE)
    left = [one._replace(side=0) for one in items]
    itself = stream.pipe(ops.interval_join(stream, **bounds.arguments, how=how))
    rows = [((one, other and other - 1000), time) for (one, other), time in joined([*left, *_on_the_right(items)], bounds, how)]
    assert rows_of(run_each_way(events(left, ends="a"), lambda: [itself])) == sorted(rows, key=repr)
    run_cut_and_crashed(events(left, ends="a"), [itself], rng)


JOINS: dict[str, Callable[[Any, Any], Any]] = {
    "all": lambda left, right: left.pipe(ops.interval_join(right, within=1)),
    "last": lambda left, right: left.pipe(ops.interval_join(right, within=1, matches="last")),
    "as of": lambda left, right: left.pipe(ops.as_of_join(right)),
    "table by time": lambda left, right: left.pipe(ops.join_table(rxs.table(right, history=1), version="event_time")),
    "table": lambda left, right: left.pipe(ops.join_table(rxs.table(right))),
    "latest": lambda left, right: rxs.latest_by_key(left=left, right=right),
}


@pytest.mark.parametrize("join", JOINS.values(), ids=JOINS)
@FEW
@given(items=items_of())
def test_keys_of_two_types_are_refused(join: Any, items: list[Item]) -> None:
    """As soon as both sides have had one, for all joins; they could only ever give nothing."""
    assume(all(sides(items)))
    right = lines("b").pipe(ops.key_by(lambda one: ord(one["key"])))
    with pytest.raises(GraphError, match="never equal"):
        run(events(items), join(keyed("a", 0), right))


def bytes_saved(drive: Drive) -> dict[bytes, int]:
    """How much the table has of each part of the state."""
    return {key: len(value) for key, value in drive.table.items() if key != b"position"}


@pytest.mark.parametrize("how", [*HOWS, "first", "last", "as of", "nearest", "table"])
@FEW
@given(items=items_of(), bounds=bounded, rng=seeds)
def test_all_is_freed_when_time_has_passed(how: str, items: list[Item], bounds: Bounds, rng: random.Random) -> None:
    """No entry is left in memory, none in the table, whatever came late or was restored on the way; without the ends."""
    joins: dict[str, Any] = {
        "first": lambda right: ops.interval_join(right, **bounds.arguments, matches="first"),
        "last": lambda right: ops.interval_join(right, **bounds.arguments, matches="last"),
        "as of": lambda right: ops.as_of_join(right, tolerance=2),
        "nearest": lambda right: ops.as_of_join(right, direction="nearest", tolerance=2),
        "table": lambda right: by_time(right.pipe(ops.map(lambda _: None)), 1000),
    }
    join = joins.get(how) or (lambda right: ops.interval_join(right, **bounds.arguments, how=how))
    drive, fresh = Drive(both(join, 700)), Drive(both(join, 700))
    arrived: list[Event] = events(items, ends=())
    drive.feed(arrived, random_cuts(rng, len(arrived)))
    drive.commit()
    if rng.random() < 0.5:
        drive.crash()
    far: list[Event] = [Rec(source, 0, {"id": -1, "key": "z", "time": 0}, 2_000_000) for source in "ab"]
    later: list[Event] = [Rec(source, 0, {"id": -2, "key": "y", "time": 0}, 4_000_000) for source in "ab"]
    for one in (drive, fresh):
        one.feed([*far, *later], None, offset=len(arrived))
        one.commit()
    assert bytes_saved(drive) == bytes_saved(fresh), "as if there had been no records before"
    for _ in range(2):
        assert {key for store in drive.graph.stores for key in store.states} <= {"y"}, "of the last two records alone"
        drive.crash()  # what the table still has comes back


def test_ends_of_nothing_are_ends() -> None:
    """Two empty sides give nothing, and end."""
    stream = both(lambda right: ops.interval_join(right, within=1, how="outer"), 0)
    outcome = run([End("a"), End("b")], stream)
    assert outcome.values == [[]]
    assert any("interval_join" in title for title in outcome.closed)
