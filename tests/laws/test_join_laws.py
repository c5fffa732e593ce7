"""Joins give what their definition says, whatever the order of arrival, the cuts, the crashes and the ends; and free it all."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

import rxstreams as rxs
from rxstreams import Stream, operators as ops
from tests.laws.harness import Drive, End, Event, Rec, random_cuts, run, run_with_crashes
from tests.laws.joining import (
    BOUNDS,
    HOWS,
    Bounds,
    Item,
    both,
    choices_of,
    chosen,
    events,
    items_of,
    joined,
    keyed,
    numbers,
    rows_of,
    run_each_way,
    shuffled,
    sides,
)

FEW = settings(max_examples=25, deadline=None)
MANY = settings(max_examples=100, deadline=None)
NONE_LATE = 10_000
"""Milliseconds; no record of ``items_of`` is so far behind another."""

hows = pytest.mark.parametrize("how", HOWS)
seeds = st.integers(0, 2**32).map(random.Random)


def interval(bounds: Bounds, delay: int = NONE_LATE, **options: Any) -> Stream[Any]:
    """An interval join of both sides."""
    return both(lambda right: ops.interval_join(right, **bounds.arguments, **options), delay)


# Every pair once.


@hows
@MANY
@given(items=items_of(), bounds=st.sampled_from(BOUNDS))
def test_an_interval_join_is_its_definition(how: Any, items: list[Item], bounds: Bounds) -> None:
    """Every pair once, whichever side came first; alone what has no partner, once; each with its time. In whatever order."""
    outcome = run_each_way(events(items), lambda: [interval(bounds, how=how)])
    assert rows_of(outcome) == joined(items, bounds, how)


@hows
@FEW
@given(items=items_of(), bounds=st.sampled_from(BOUNDS), rng=seeds, delay=st.sampled_from((0, 450, 2500)))
def test_arrival_order_within_out_of_orderness_changes_nothing(
    how: Any, items: list[Item], bounds: Bounds, rng: random.Random, delay: int
) -> None:
    """With a watermark that follows closely, so that records come out alone and are freed while others still come."""
    for arrived in (sorted(items, key=lambda one: one.time), shuffled(rng, items, delay)):
        outcome = run_each_way(events(arrived), lambda: [interval(bounds, delay, how=how)])
        assert rows_of(outcome) == joined(items, bounds, how)


@hows
@FEW
@given(items=items_of(), bounds=st.sampled_from(BOUNDS), rng=seeds, delay=st.sampled_from((0, 450)))
def test_cuts_and_crashes_change_nothing(how: Any, items: list[Item], bounds: Bounds, rng: random.Random, delay: int) -> None:
    """Though many are late: the same results in the same order, and what comes out alone does so once."""
    arrived = events(items)
    make = lambda: (one := interval(bounds, delay, how=how), one.late)  # noqa: E731  # made anew for each run
    expected = run(arrived, *make())
    cut = run(arrived, *make(), cuts=random_cuts(rng, len(arrived)))
    assert (cut.results, cut.states) == (expected.results, expected.states)
    crashed = run_with_crashes(arrived, *make(), rng=rng)
    assert (crashed.results, crashed.states) == (expected.results, expected.states)


@hows
@FEW
@given(items=items_of(), bounds=st.sampled_from(BOUNDS), ends=st.permutations(["a", "b"]))
def test_a_side_that_ends_early_holds_nothing_back(how: Any, items: list[Item], bounds: Bounds, ends: list[str]) -> None:
    """All of one side, and its end; then the other: what can be known is known, and nothing is lost."""
    parts = dict(zip("ab", sides(items), strict=True))
    arrived = [one for name in ends for one in events(parts[name], ends=name)]
    assert rows_of(run_each_way(arrived, lambda: [interval(bounds, how=how)])) == joined(items, bounds, how)


# Late.


@MANY
@given(items=items_of(), bounds=st.sampled_from(BOUNDS), how=st.sampled_from(HOWS), delay=st.sampled_from((0, 700)))
def test_nothing_is_lost_and_nothing_comes_twice(items: list[Item], bounds: Bounds, how: Any, delay: int) -> None:
    """Each pair is one of the definition's, and comes once; who has come out alone is in none; and of the records that come out
    alone where they meet nobody, each is in a pair, alone, or late.
    """
    make = lambda: (one := interval(bounds, delay, how=how), one.late)  # noqa: E731  # made anew for each run
    came, late = run_each_way(events(items), make).values
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


# Choosing.


@MANY
@given(items=items_of(), bounds=st.sampled_from(BOUNDS), pick=st.sampled_from(("first", "last")), inner=st.booleans(), rng=seeds)
def test_first_and_last_are_by_time(items: list[Item], bounds: Bounds, pick: Any, inner: bool, rng: random.Random) -> None:
    """Of each left record's partners, whichever way they came."""
    how: Any = "inner" if inner else "left"
    expected = chosen(items, *bounds, pick, inner=inner)
    for arrived, delay in ((items, NONE_LATE), (shuffled(rng, items, 700), 700)):
        outcome = run_each_way(events(arrived), lambda delay=delay: [interval(bounds, delay, how=how, matches=pick)])
        assert choices_of(outcome) == expected


DIRECTIONS = {"backward": "last", "forward": "first", "nearest": "nearest"}


@MANY
@given(items=items_of(), direction=st.sampled_from(sorted(DIRECTIONS)), tolerance=st.sampled_from((0, 1500, None)), rng=seeds)
def test_an_as_of_join_is_its_definition(items: list[Item], direction: Any, tolerance: int | None, rng: random.Random) -> None:
    """One for each left record: the latest, the next or the nearest, within the tolerance."""
    if tolerance is None and direction != "backward":
        tolerance = 2500
    lower = 0 if direction == "forward" else None if tolerance is None else -tolerance
    expected = chosen(items, lower, 0 if direction == "backward" else tolerance or 0, DIRECTIONS[direction], inner=False)
    seconds = None if tolerance is None else tolerance / 1000
    for arrived, delay in ((items, NONE_LATE), (shuffled(rng, items, 700), 700)):
        join = lambda right: ops.as_of_join(right, direction=direction, tolerance=seconds)  # noqa: E731  # used once
        outcome = run_each_way(events(arrived), lambda join=join, delay=delay: [both(join, delay)])
        assert choices_of(outcome) == expected
        crashed = run_with_crashes(events(arrived), both(join, delay), rng=rng)
        assert crashed.results == run(events(arrived), both(join, delay)).results


@FEW
@given(items=items_of(), rng=seeds, wait=st.sampled_from((1000, 5000)))
def test_waiting_makes_up_for_too_small_a_disorder(items: list[Item], rng: random.Random, wait: int) -> None:
    """Right records that come later than their source says are still chosen, if ``wait`` is as long."""
    left, right = sides(items)
    arrived = sorted(items, key=lambda one: (one.time + (rng.uniform(0, wait) if one.side else 0), -one.side))
    outcome = run(events(arrived), both(lambda other: ops.as_of_join(other, wait=wait / 1000), 0), cuts=())
    assert choices_of(outcome) == chosen([*left, *right], None, 0, "last", inner=False)


@MANY
@given(items=items_of(), left=st.booleans(), rng=seeds)
def test_a_table_by_event_time_does_not_depend_on_arrival(items: list[Item], left: bool, rng: random.Random) -> None:
    """It has for each record what it had then; every third update deletes. Of two updates of one time none is the later."""
    first = {(one.key, one.time): one for one in reversed(items) if one.side}
    items = [one for one in items if not one.side or first[one.key, one.time] is one]
    keys = {one.id: one.key for one in items}
    deletions = {place for place, one in first.items() if one.id % 3 == 0}
    rows = [
        (one, None if (keys[one], best) in deletions else best, time)
        for one, best, time in chosen(items, None, 0, "last", inner=False)
    ]
    expected = sorted((row for row in rows if left or row[1] is not None), key=repr)
    for arrived, delay in ((items, NONE_LATE), (shuffled(rng, items, 700), 700)):

        def make(delay: int = delay) -> list[Stream[Any]]:
            updates = keyed("b", delay).pipe(ops.map(lambda one: one if one["id"] % 3 else None))
            how: Any = "left" if left else "inner"
            table = rxs.table(updates, history=0)
            return [keyed("a", delay).pipe(ops.join_table(table, how=how, version="event_time"))]

        assert choices_of(run_each_way(events(arrived), make)) == expected
        assert run_with_crashes(events(arrived), *make(), rng=rng).results == run(events(arrived), *make()).results


# Latest, as they come.


@FEW
@given(items=items_of(), rng=seeds)
def test_the_latest_by_key_are_what_a_loop_makes(items: list[Item], rng: random.Random) -> None:
    """A row for each record, once both sides have one of its key."""
    latest: dict[str, dict[int, int]] = {}
    expected = []
    for one in items:
        held = latest.setdefault(one.key, {})
        held[one.side] = one.id
        expected += [(held[0], held[1])] if len(held) == 2 else []
    make = lambda: rxs.latest_by_key(left=keyed("a", 0), right=keyed("b", 0))  # noqa: E731  # made anew for each run
    outcome = run(events(items), make())
    assert [(row.left["id"], row.right["id"]) for row in outcome.values[0]] == expected
    assert run(events(items), make(), cuts=random_cuts(rng, len(items))).results == outcome.results
    assert run_with_crashes(events(items), make(), rng=rng).results == outcome.results


# With itself; and what is left.


@FEW
@given(items=items_of(), bounds=st.sampled_from(BOUNDS))
def test_a_self_join_is_a_join_with_a_copy(items: list[Item], bounds: Bounds) -> None:
    """Each record is on both sides."""
    stream = keyed("a", NONE_LATE)
    left = [one._replace(side=0) for one in items]
    outcome = run(events(left, ends="a"), stream.pipe(ops.interval_join(stream, **bounds.arguments)), cuts=())
    assert rows_of(outcome) == joined([*left, *(one._replace(side=1) for one in items)], bounds, "inner")


@pytest.mark.parametrize("how", [*HOWS, "first", "last", "as of", "nearest", "table"])
@FEW
@given(items=items_of(), bounds=st.sampled_from(BOUNDS), rng=seeds)
def test_all_is_freed_when_time_has_passed(how: str, items: list[Item], bounds: Bounds, rng: random.Random) -> None:
    """No entry is left in memory, none in the table, whatever came late or was restored on the way; without the ends."""
    joins: dict[str, Any] = {
        "first": lambda right: ops.interval_join(right, **bounds.arguments, matches="first"),
        "last": lambda right: ops.interval_join(right, **bounds.arguments, matches="last"),
        "as of": lambda right: ops.as_of_join(right, tolerance=2),
        "nearest": lambda right: ops.as_of_join(right, direction="nearest", tolerance=2),
        "table": lambda right: ops.join_table(
            rxs.table(right.pipe(ops.map(lambda _: None)), history=1), how="left", version="event_time"
        ),
    }
    join = joins.get(how) or (lambda right: ops.interval_join(right, **bounds.arguments, how=how))
    drive = Drive(both(join, 700))
    arrived: list[Event] = events(items, ends=())
    drive.feed(arrived, random_cuts(rng, len(arrived)))
    drive.commit()
    if rng.random() < 0.5:
        drive.crash()
    far: list[Event] = [Rec(source, 0, {"id": -1, "key": "z", "time": 0}, 2_000_000) for source in "ab"]
    later: list[Event] = [Rec(source, 0, {"id": -2, "key": "y", "time": 0}, 4_000_000) for source in "ab"]
    drive.feed([*far, *later], None, offset=len(arrived))
    drive.commit()
    for _ in range(2):
        assert {key for store in drive.graph.stores for key in store.states} <= {"y"}, "of the last two records alone"
        drive.crash()  # what the table still has comes back


def test_ends_of_nothing_are_ends() -> None:
    """Two empty sides give nothing, and end."""
    stream = both(lambda right: ops.interval_join(right, within=1, how="outer"), 0)
    outcome = run([End("a"), End("b")], stream)
    assert outcome.values == [[]]
    assert any("interval_join" in title for title in outcome.closed)
