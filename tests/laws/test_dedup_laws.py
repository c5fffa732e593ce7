"""Deduplication is what its definition says, whatever the cuts, the crashes and (where ``keep`` says so) the order of arrival."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from rxstreams import DeadLetter, Skip, Stop, Stream, aggregates as agg, operators as ops, tumbling
from rxstreams.state.keys import encode_key
from tests.laws.deduping import (
    BAD,
    IDS,
    KEEPS,
    NEVER_LATE,
    Case,
    Counting,
    Item,
    Memory,
    by_clock,
    cases,
    deduped,
    firsts,
    groups,
    id_of,
    kept,
    kept_in,
    n_of,
    play,
    reach,
    record,
    remembered,
    rows,
    sorted_firsts,
    streams,
)
from tests.laws.harness import EPOCH, Drive, End, Event, Rec, Tick, lines, random_cuts, run, run_with_crashes

FEW = settings(max_examples=40, deadline=None)
MANY = settings(max_examples=250, deadline=None)
GROUPED = [keep for keep in KEEPS if keep != "first"]

seeds = st.integers(0, 2**32).map(random.Random)
ways = st.sampled_from(("field", "function", "keys"))
shapes = st.sampled_from(("dict", "struct", "mixed"))


def ns(found: Sequence[Sequence[Any]]) -> tuple[list[int], ...]:
    """The numbers of the records of each stream."""
    return tuple([n_of(value) for value in values] for values in found)


# The first.


@MANY
@given(case=cases(), by=ways, shape=shapes, rng=seeds)
def test_the_first_is_who_its_definition_says(case: Case, by: str, shape: str, rng: random.Random) -> None:
    """Each record comes through, is a duplicate, or is late: in the source's loop, as an operator that passes batches, however
    cut, and through crashes.
    """
    expected = firsts(case)
    assert sorted(n for told in expected for n in told) == [one.n for one in case.items]

    def make() -> list[Stream[Any]]:
        return streams(deduped(case, by=by, shape=shape))

    for policy in (Stop(), Skip()):
        for cuts in (None, (), random_cuts(rng, len(case.items) + 1)):
            assert ns(run(case.events, *make(), cuts=cuts, policy=policy).values) == expected
        assert ns(run_with_crashes(case.events, *make(), rng=rng, policy=policy).values) == expected


@MANY
@given(case=cases(delays=(0.3, 2, 2)), rng=seeds)
def test_within_out_of_orderness_nothing_is_forgotten_too_early(case: Case, rng: random.Random) -> None:
    """What is less than ``ttl`` from its id's latest first record is a duplicate, as if nothing were forgotten; none is late."""
    case = case.arriving(rng)
    latest, new = dict[str, int](), list[int]()
    for one in case.items:
        if one.id not in latest or abs(one.time - latest[one.id]) >= case.ttl:
            new.append(one.n)
            latest[one.id] = max(one.time, latest.get(one.id, one.time))
    again = [one.n for one in case.items if one.n not in new]
    assert ns(run(case.events, *streams(deduped(case)), cuts=()).values) == (new, [], again)


@MANY
@given(case=cases(delays=(0, 0.3)))
def test_of_records_in_order_of_time_it_is_what_a_sort_gives(case: Case) -> None:
    """The first of each id, and then the first that is ``ttl`` behind it; none is late, and times stay."""
    case.items.sort(key=lambda one: one.time)
    found, late, again = run(case.events, *streams(deduped(case)), cuts=()).results
    assert sorted(n_of(value) for value, _, _ in found) == sorted_firsts(case)
    assert late == []
    times = {one.n: one.time for one in case.items}
    assert {n_of(value): time for value, time, _ in [*found, *again]} == times


@MANY
@given(case=cases(delays=(0, 0.3, 0.49)), rng=seeds)
def test_no_two_that_pass_are_less_than_ttl_apart(case: Case, rng: random.Random) -> None:
    """However far behind the watermark they come: what may have been forgotten is late, and does not pass again."""
    new, _, _ = ns(run(case.events, *streams(deduped(case)), cuts=random_cuts(rng, len(case.items) + 1)).values)
    passed = sorted((one.id, one.time) for one in case.items if one.n in new)
    assert all(a != b or later - time >= case.ttl for (a, time), (b, later) in pairwise(passed))


@FEW
@given(case=cases(delays=(0,)), at=st.integers(0, 30), by=ways)
def test_a_retry_after_a_restart_is_no_new_record(case: Case, at: int, by: str) -> None:
    """What came through in order of time, and is sent again after a commit and a crash, is a duplicate, or late."""
    case.items.sort(key=lambda one: one.time)
    drive = Drive(*streams(deduped(case, by=by)))
    drive.feed(case.events[:-1][:at], ())
    drive.commit()
    [new, *_] = ns(drive.outcome().values)
    drive.crash()
    drive.feed([record(one) for one in case.items if one.n in new], (), offset=at)
    found, late, again = ns(drive.outcome().values)
    assert found == new
    assert sorted(late + again) == [one.n for one in sorted(case.items[:at])]


@MANY
@given(case=cases(), by=ways, rng=seeds, keep=st.sampled_from(list(KEEPS)))
def test_cuts_and_crashes_change_nothing(case: Case, by: str, rng: random.Random, keep: str) -> None:
    """Of two partitions: equal results with equal times and keys, in equal order, and equal states."""
    events = [one._replace(partition=rng.choice((0, 0, 1))) if isinstance(one, Rec) else one for one in case.events]

    def make() -> list[Stream[Any]]:
        return streams(deduped(case, by=by, keep=KEEPS[keep]))

    expected = run(events, *make())
    assert run(events, *make(), cuts=random_cuts(rng, len(events))) == expected
    assert run_with_crashes(events, *make(), rng=rng) == expected
    assert run(events, *make(), policy=Skip(), cuts=()) == expected


# The last, and aggregates.


@MANY
@given(case=cases(delays=(0.3, 1, 2)), rng=seeds, keep=st.sampled_from(GROUPED), by=ways, shape=shapes)
def test_the_last_and_aggregates_do_not_depend_on_arrival(case: Case, rng: random.Random, keep: str, by: str, shape: str) -> None:
    """The earliest of an id begins ``ttl``, all within it are one, and it has the time before that is over; by a sort."""
    for arrived in (case.arriving(rng), case.arriving(rng)):
        expected = sorted((group[0].time + case.ttl - 1, kept(keep, group)) for group in groups(arrived.items, case.ttl))
        made = streams(deduped(case, by=by, shape=shape, keep=KEEPS[keep]))
        found, late = run(arrived.events, *made, cuts=random_cuts(rng, len(case.items) + 1)).results
        assert rows(found, keep) == expected
        assert late == []


@MANY
@given(case=cases(), keep=st.sampled_from(GROUPED), by=ways, rng=seeds)
def test_a_record_is_in_one_group_or_late(case: Case, keep: str, by: str, rng: random.Random) -> None:
    """Late is what is behind the watermark when it comes, and by how much; the others are grouped as if it had not come."""
    expected = sorted((group[0].time + case.ttl - 1, kept(keep, group)) for group in groups(case.taken, case.ttl))
    behind = [(one.n, mark - one.time) for one, mark, _ in case.steps if one.time < mark]
    for result in (
        run(case.events, *streams(deduped(case, by=by, keep=KEEPS[keep])), cuts=()),
        run_with_crashes(case.events, *streams(deduped(case, by=by, keep=KEEPS[keep])), rng=rng),
    ):
        found, late = result.results
        assert rows(found, keep) == expected
        assert [(n_of(value), round(value.by * 1000)) for value, _, _ in late] == behind
        assert [time for _, time, _ in found] == sorted(time for _, time, _ in found)


@FEW
@given(case=cases(), keep=st.sampled_from(["last", "collected"]))
def test_no_result_is_late_for_what_comes_after_it(case: Case, keep: str) -> None:
    """It comes before the watermark that it was awaited for: a second deduplication has all of them."""
    first = deduped(case, keep=KEEPS[keep])
    second = first.pipe(ops.dedup(repr, ttl=0.001, keep="last"))
    one, two, late = run(case.events, first, second, second.late, cuts=()).values
    assert late == []
    assert sorted(map(repr, two)) == sorted(map(repr, one))


# By the clock.


pauses = st.lists(st.sampled_from((0, 0, 125, 250, 500, 1000, 1875, 2000, 2125)), min_size=30, max_size=30)


@MANY
@given(case=cases(), waits=pauses, rng=seeds, by=ways, policy=st.sampled_from((Stop(), Skip())))
def test_by_the_clock_event_time_does_not_count(case: Case, waits: list[int], rng: random.Random, by: str, policy: Any) -> None:
    """An id is new when the clock says that ``ttl`` is over, through restarts, too; nothing is late."""
    memory, now, told = Memory(2000), round(EPOCH * 1000), dict[str, list[int]](new=[], late=[], again=[])
    for one, wait in zip(case.items, waits, strict=False):
        now += wait
        memory.expire(now)
        told[memory.take(one._replace(time=now), 0)].append(one.n)
    drive = Drive(*streams(deduped(case, by=by, ttl=2, clock="processing")), policy=policy)
    play(drive, case.items, waits, rng)
    assert ns(drive.outcome().values) == (told["new"], [], told["again"])
    assert remembered(drive) == memory.first


@MANY
@given(case=cases(), waits=pauses, rng=seeds, by=ways, keep=st.sampled_from(GROUPED), ends=st.booleans())
def test_by_the_clock_a_group_comes_when_its_seconds_are_over(
    case: Case, waits: list[int], rng: random.Random, by: str, keep: str, ends: bool
) -> None:
    """From its first record on, through restarts; at the end of the input at once. Each record is in one group, none is late."""
    waits = waits[: len(case.items)]
    made = list(by_clock(case.items, waits, 2000))
    drive = Drive(*streams(deduped(case, by=by, ttl=2, clock="processing", keep=KEEPS[keep])))
    play(drive, case.items, waits, rng)
    drive.feed([End("a") if ends else Tick(2.0)], offset=len(case.items))
    until = sum(waits)
    expected = sorted((min(over, until) if ends else over, kept(keep, group)) for over, group in made)
    values, late = drive.outcome().values
    moments = [round((moment - EPOCH) * 1000) for moment in drive.moments[0]]
    found = [n_of(value) if keep == "last" else value for value in values]
    assert sorted(zip(moments, found, strict=True)) == expected
    assert late == []
    assert not any(store.states for store in drive.graph.stores)


# Capacity, and what is left.


@MANY
@given(case=cases(least=30, most=60, ids=40), by=ways, capacity=st.sampled_from((16, 17, 31, 32)))
def test_no_more_ids_are_remembered_than_the_capacity(case: Case, by: str, capacity: int) -> None:
    """After each push: the oldest sixteenth goes when there is one too many, is counted, and is new again.

    In a source's loop what a record's own time is past is forgotten before it is taken in; so fewer may have to go there.
    """
    memory = Memory(case.ttl, capacity)
    drive = Counting(*streams(deduped(case, by=by, capacity=capacity)), policy=Skip())
    loop = Counting(*streams(deduped(case, by=by, capacity=capacity)), policy=Stop())
    for one, mark, after in case.steps:
        memory.take(one, mark)
        memory.expire(after)
        for each in (drive, loop):
            each.feed([record(one)], offset=one.n)
            assert len(remembered(each)) <= capacity
        assert remembered(drive) == memory.first
    assert sorted(drive.evicted) == sorted(memory.evicted)
    drive.feed([End("a")], offset=len(case.items))
    assert ns(drive.outcome().values) == firsts(case, capacity)


@pytest.mark.parametrize("seed", range(20))
def test_a_crash_does_not_change_which_ids_are_evicted(seed: int) -> None:
    """What comes through after it is what would have come."""
    rng = random.Random(seed)
    apart = rng.choice([(0, 10, 30, 500, 510, 1000), range(0, 3000, 100)])
    times = [1_000_000 + rng.choice(apart) for _ in range(80)]
    case = Case([Item(n, f"id-{rng.randrange(40)}", time) for n, time in enumerate(times)], 2000, NEVER_LATE)
    expected = run(case.events, *streams(deduped(case, capacity=16)))
    assert len(expected.values[0]) > 40
    assert run_with_crashes(case.events, *streams(deduped(case, capacity=16)), rng=rng) == expected


@MANY
@given(case=cases(ids=8), by=ways, rng=seeds)
def test_an_id_is_remembered_for_ttl_and_an_eighth(case: Case, by: str, rng: random.Random) -> None:
    """No less, as the watermark goes, and no more; through restarts, too."""
    drive, latest = Drive(*streams(deduped(case, by=by))), dict[str, int]()
    for one, _, mark in case.steps:
        drive.feed([record(one)], offset=one.n)
        if one.n in [n_of(value) for value, _, _ in drive.results[0][-1:]]:
            latest[one.id] = max(one.time, latest.get(one.id, one.time))
        held = remembered(drive)
        assert {who for who, time in latest.items() if time + case.ttl + max(1, case.ttl // 16) > mark} <= held.keys()
        assert all(time + case.ttl + 2 * max(1, case.ttl // 16) > mark for time in held.values())
        if rng.random() < 0.2:
            drive.commit()
            drive.crash()
            assert remembered(drive) == held


@MANY
@given(case=cases(delays=(0, 0.3, 2)), by=ways, keep=st.sampled_from(list(KEEPS)), rng=seeds)
def test_all_is_freed_when_time_has_passed(case: Case, by: str, keep: str, rng: random.Random) -> None:
    """An eighth after ``ttl`` no id is left in memory and none in the table, whatever was restored on the way."""
    stream = deduped(case, by=by, keep=KEEPS[keep])
    drive = Drive(*streams(stream))
    sent = case.events[:-1]
    drive.feed(sent, random_cuts(rng, len(sent)))
    drive.commit()
    if rng.random() < 0.5:
        drive.crash()
    over = max((one.time for one in case.items), default=0) + case.ttl + 2 * max(1, case.ttl // 16)
    for mark in (over - case.ttl, over - case.ttl // 2, over):
        drive.commit()
        reach(drive, mark)
    assert kept_in(drive) == []
    for _ in range(8):  # every group is written anew at last
        drive.commit()
    drive.crash()
    assert kept_in(drive) == []
    assert drive.table.keys() == {b"position"}


# What is an id, and what has none.


@FEW
@given(
    chosen=st.lists(st.integers(0, len(IDS) - 1), max_size=40),
    keys=st.booleans(),
    keep=st.sampled_from(["first", "last"]),
    rng=seeds,
)
def test_ids_of_all_kinds_are_told_apart(chosen: list[int], keys: bool, keep: str, rng: random.Random) -> None:
    """1, True and "1" are three, also in a tuple and after a crash."""
    events: list[Event] = [*(Rec("a", 0, {"n": n, "at": at}, 1000) for n, at in enumerate(chosen)), End("a")]

    def make(policy: Any = None) -> Stream[Any]:
        by = lambda value: IDS[value["at"]]  # noqa: E731  # it is given twice
        options = {"ttl": 5, "keep": KEEPS[keep], "on_error": policy}
        return lines("a").pipe(*([ops.key_by(by), ops.dedup(**options)] if keys else [ops.dedup(by, **options)]))

    numbered = list(enumerate(chosen))
    one_each = {encode_key(IDS[at]): n for n, at in (numbered if keep == "last" else numbered[::-1])}
    for outcome in (run(events, make()), run(events, make(Skip()), cuts=()), run_with_crashes(events, make(), rng=rng)):
        assert sorted(n_of(value) for value in outcome.values[0]) == sorted(one_each.values())


@FEW
@given(case=cases(), by=st.sampled_from(["field", "function"]), keep=st.sampled_from(list(KEEPS)), rng=seeds)
def test_records_without_an_id_leave_no_trace(case: Case, by: str, keep: str, rng: random.Random) -> None:
    """What has none, or one that cannot be kept, meets the operator's policy or the run's; all else is as if it had not come."""
    bad = [Rec("a", 0, rng.choice(BAD), -(2**50)) for _ in range(rng.randint(1, 4))]
    events: list[Event] = [*case.events[:-1]]
    for one in bad:
        events.insert(rng.randint(0, len(events)), one)
    expected = run(case.events, *streams(deduped(case, by=by, keep=KEEPS[keep])), policy=Skip()).values
    for policy in (Skip(), DeadLetter("dead")):
        for own, of_run in ((policy, Stop()), (None, policy)):
            made = streams(deduped(case, by=by, keep=KEEPS[keep], on_error=own))
            outcome = run([*events, End("a")], *made, policy=of_run, cuts=random_cuts(rng, len(events)))
            assert outcome.values == expected
            assert len(outcome.lost) == len(bad)
            assert len(outcome.outputs.get("dead", ())) == (len(bad) if policy != Skip() else 0)


@MANY
@given(case=cases(), rng=seeds, by=ways, then=st.sampled_from(("dedup", "interval_join", "windowed")))
def test_what_shares_the_loop_does_not_meet(case: Case, rng: random.Random, by: str, then: str) -> None:
    """One deduplication behind another, or another operator, in the source's loop or not: each with its own memory and time."""

    def make() -> list[Stream[Any]]:
        first = deduped(case, by=by)
        if then == "dedup":
            return streams(first.pipe(ops.dedup(None if by == "keys" else "n", ttl=case.ttl / 1000)))
        keyed = first.pipe(ops.key_by(id_of))
        if then == "windowed":
            return [keyed.pipe(ops.windowed(tumbling(case.ttl / 1000), n=agg.count()))]
        other = lines("b").pipe(ops.key_by("id"))
        return [keyed.pipe(ops.interval_join(other, within=case.ttl / 1000, how="left"))]

    events = [
        *(one._replace(source="b") if isinstance(one, Rec) and one.value["n"] % 4 == 3 else one for one in case.events),
        End("b"),
    ]
    expected = run(events, *make(), policy=Skip())
    assert run(events, *make(), cuts=random_cuts(rng, len(events))) == expected
    assert run(events, *make()) == expected
