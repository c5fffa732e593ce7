"""Deduplication is what its definition says, whatever the cuts, the crashes and (where ``keep`` says so) the order of arrival."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings, strategies as st

from rxstreams import Skip, Stream, aggregates as agg, operators as ops
from rxstreams.watermarks import START
from tests.laws.harness import Drive, End, Event, Rec, Tick, lines, random_cuts, run, run_with_crashes

FEW = settings(max_examples=25, deadline=None)
MANY = settings(max_examples=120, deadline=None)
NONE_LATE = 60_000
"""Milliseconds; no record of ``items_of`` is so far behind another."""
TTL = 2000

seeds = st.integers(0, 2**32).map(random.Random)


class Item(NamedTuple):
    """A record: its number, the id that tells whether it was there before, and its time in milliseconds."""

    n: int
    id: str
    time: int


def items_of(*, most: int = 30, far: int = 16) -> st.SearchStrategy[list[Item]]:
    """Records of three ids in any order of time, half seconds apart, often of the same one."""
    one = st.tuples(st.sampled_from("abc"), st.integers(0, far))
    return st.lists(one, max_size=most).map(lambda many: [Item(n, key, 1_000_000 + 500 * at) for n, (key, at) in enumerate(many)])


def events(items: Iterable[Item]) -> list[Event]:
    """The records as they come, and the end."""
    return [*(Rec("a", 0, {"n": one.n, "id": one.id}, one.time) for one in items), End("a")]


def deduped(delay: int, *, by_key: bool = False, **options: Any) -> Stream[Any]:
    """The operator, by a field, or in a stream with keys by these."""
    source = lines("a", out_of_orderness=delay / 1000)
    options.setdefault("ttl", TTL / 1000)
    return source.pipe(ops.key_by("id"), ops.dedup(**options)) if by_key else source.pipe(ops.dedup("id", **options))


def parts(stream: Stream[Any]) -> list[Stream[Any]]:
    """What comes through, what does not, and what is late."""
    return [stream, stream.duplicates, stream.late]


def ns(values: Sequence[Any]) -> list[int]:
    """The numbers of records."""
    return [one["n"] if isinstance(one, dict) else one.record["n"] for one in values]


# The first.


def firsts(items: Sequence[Item], delay: int) -> tuple[list[int], list[int], list[int]]:
    """One after the other: new, a duplicate, or late, by what is remembered of its id."""
    seen: dict[str, int] = {}
    new, again, late = list[int](), list[int](), list[int]()
    mark = START
    for one in items:
        first = seen.get(one.id)
        if first is not None and mark >= (first // (TTL // 16) + 1) * (TTL // 16) + TTL:
            del seen[one.id]  # with its sixteenth
            first = None
        if first is not None and abs(one.time - first) < TTL:
            again.append(one.n)
        elif (first is None or one.time < first) and one.time + TTL <= mark:
            late.append(one.n)
        else:
            new.append(one.n)
            seen[one.id] = one.time if first is None else max(first, one.time)
        mark = max(mark, one.time - delay)
    return new, again, late


@pytest.mark.parametrize("by_key", [False, True], ids=["by a field", "by key"])
@MANY
@given(items=items_of(), delay=st.sampled_from((0, 700, NONE_LATE)))
def test_the_first_is_who_its_definition_says(by_key: bool, items: list[Item], delay: int) -> None:
    """Each record comes through, is a duplicate, or is late; in the source's loop and as an operator that passes batches."""
    for policy in ({}, {"policy": Skip()}):
        for cuts in (None, ()):
            found = run(events(items), *parts(deduped(delay, by_key=by_key)), cuts=cuts, **policy)  # type: ignore[arg-type]
            assert tuple(map(ns, found.values)) == firsts(items, delay)


@FEW
@given(items=items_of())
def test_of_records_in_order_of_time_it_is_what_a_sort_gives(items: list[Item]) -> None:
    """The first of each id, and then the first that is ``ttl`` behind it; none is late."""
    items = sorted(items, key=lambda one: one.time)
    expected, last = [], dict[str, int]()
    for one in sorted(items, key=lambda one: (one.id, one.time)):
        if one.id not in last or one.time - last[one.id] >= TTL:
            expected.append(one.n)
            last[one.id] = one.time
    values = run(events(items), *parts(deduped(0)), cuts=()).values
    assert (sorted(ns(values[0])), values[2]) == (sorted(expected), [])


KEEPS = {"first": "first", "last": "last", "an aggregate": agg.collect("n", max=100), "the greatest": agg.max("n")}


@pytest.mark.parametrize("keep", KEEPS.values(), ids=KEEPS)
@pytest.mark.parametrize("capacity", [None, 16])
@FEW
@given(items=items_of(most=60), delay=st.sampled_from((0, 700)), rng=seeds, by_key=st.booleans())
def test_cuts_and_crashes_change_nothing(
    keep: Any, capacity: int | None, items: list[Item], delay: int, rng: random.Random, by_key: bool
) -> None:
    """A retry after a restart is a duplicate still, and the same ids are remembered."""
    if capacity is not None and keep != "first":
        return
    if capacity is not None:
        items = [one._replace(id=f"{one.id}{one.n % 9}") for one in items]

    def make() -> list[Stream[Any]]:
        stream = deduped(delay, by_key=by_key, keep=keep, capacity=capacity)
        return parts(stream) if keep == "first" else [stream, stream.late]

    expected = run(events(items), *make())
    cut = run(events(items), *make(), cuts=random_cuts(rng, len(items)))
    assert (cut.results, cut.states) == (expected.results, expected.states)
    crashed = run_with_crashes(events(items), *make(), rng=rng)
    assert (crashed.results, crashed.states) == (expected.results, expected.states)


# The last, and aggregates.


def groups(items: Sequence[Item]) -> list[list[Item]]:
    """By id and time: the earliest begins ``ttl``, what is in it is one with it."""
    made: list[list[Item]] = []
    for one in sorted(items, key=lambda one: (one.id, one.time, one.n)):
        if made and made[-1][0].id == one.id and one.time - made[-1][0].time < TTL:
            made[-1].append(one)
        else:
            made.append([one])
    return made


@pytest.mark.parametrize("by_key", [False, True], ids=["by a field", "by key"])
@MANY
@given(items=items_of(), rng=seeds, delay=st.sampled_from((700, NONE_LATE)))
def test_the_last_and_aggregates_do_not_depend_on_arrival(
    by_key: bool, items: list[Item], rng: random.Random, delay: int
) -> None:
    """Every record is in one group; its result has the time before ``ttl`` is over. Of two of one time none is the later."""
    arrived = sorted(items, key=lambda one: one.time + rng.uniform(0, min(delay, 700)))
    expected = [([one.n for one in group], group[0].time + TTL - 1) for group in groups(items)]
    stream = deduped(delay, by_key=by_key, keep=agg.collect("n", max=100))
    rows, late = run(events(arrived), stream, stream.late, cuts=()).results
    assert sorted((sorted(value), time) for value, time, _ in rows) == sorted((sorted(value), time) for value, time in expected)
    assert late == []
    last = run(events(arrived), deduped(delay, by_key=by_key, keep="last"), cuts=()).results[0]
    when = {one.n: one.time for one in items}
    found = sorted((value["id"], when[value["n"]], time) for value, time, _ in last)
    assert found == sorted((group[-1].id, group[-1].time, group[0].time + TTL - 1) for group in groups(items))


@FEW
@given(items=items_of())
def test_no_record_is_lost_to_an_aggregate(items: list[Item]) -> None:
    """With a watermark that follows at once, each is in a group or late, and in one of them only."""
    stream = deduped(0, keep=agg.collect("n", max=100))
    rows, late = run(events(items), stream, stream.late, cuts=()).values
    assert sorted([n for row in rows for n in row] + ns(late)) == [one.n for one in items]


# By the clock.


@FEW
@given(items=items_of(), pauses=st.lists(st.sampled_from((0, 500, 1500, 2000)), min_size=31, max_size=31), crash=st.booleans())
def test_by_the_clock_event_time_does_not_count(items: list[Item], pauses: list[int], crash: bool) -> None:
    """An id is new when the clock says that ``ttl`` is over, through a restart, too; nothing is late."""
    drive = Drive(*parts(deduped(0, clock="processing"))[:2])
    now, seen, new = 0, dict[str, int](), list[int]()
    for one, pause in zip(items, pauses, strict=False):
        now += pause
        if one.id not in seen or now - seen[one.id] >= TTL:
            seen[one.id] = now
            new.append(one.n)
        drive.feed([Tick(pause / 1000), Rec("a", 0, {"n": one.n, "id": one.id}, one.time)], offset=one.n)
        if crash:
            drive.commit()
            drive.crash()
    values = drive.outcome().values
    assert ns(values[0]) == new
    assert sorted([*ns(values[0]), *ns(values[1])]) == [one.n for one in items]


@FEW
@given(items=items_of(most=12), pauses=st.lists(st.sampled_from((0, 500, 1500, 2000)), min_size=12, max_size=12))
def test_by_the_clock_an_aggregate_comes_when_its_seconds_are_over(items: list[Item], pauses: list[int]) -> None:
    """From its first record on; each record is in one."""
    drive = Drive(deduped(0, clock="processing", keep=agg.collect("n", max=100)))
    now, begun, expected, open_ = 0, dict[str, int](), list[list[int]](), dict[str, list[int]]()
    for one, pause in zip(items, pauses, strict=False):
        now += pause
        for key in [key for key, at in begun.items() if now - at >= TTL]:
            expected.append(open_.pop(key))
            del begun[key]
        begun.setdefault(one.id, now)
        open_.setdefault(one.id, []).append(one.n)
        drive.feed([Tick(pause / 1000), Rec("a", 0, {"n": one.n, "id": one.id}, one.time)], offset=one.n)
    drive.feed([Tick(TTL / 1000)], offset=len(items))
    assert sorted(drive.outcome().values[0]) == sorted([*expected, *open_.values()])


# What is left.


@pytest.mark.parametrize("keep", KEEPS.values(), ids=KEEPS)
@FEW
@given(items=items_of(), rng=seeds, delay=st.sampled_from((0, 700)))
def test_all_is_freed_when_time_has_passed(keep: Any, items: list[Item], rng: random.Random, delay: int) -> None:
    """No id is left in memory, none in the table, whatever was restored on the way."""
    drive = Drive(deduped(delay, keep=keep))
    arrived = events(items)[:-1]
    drive.feed(arrived, random_cuts(rng, len(arrived)))
    drive.commit()
    if rng.random() < 0.5:
        drive.crash()
    for n, time in enumerate((2_000_000, 3_000_000)):
        drive.feed([Rec("a", 0, {"n": -1, "id": f"z{n}"}, time)], offset=len(arrived) + n)
    drive.commit()
    for _ in range(2):
        assert {key for store in drive.graph.stores for key in store.states} <= {"z1"}
        drive.crash()  # what the table still has comes back
