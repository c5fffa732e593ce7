"""Windows hold what their definition says, whatever the order of arrival, the cuts, the crashes and the panes; and free it."""

from __future__ import annotations

import random
from datetime import datetime
from itertools import chain
from typing import Any

import pytest
from hypothesis import example, given, settings, strategies as st

import rxstreams as rxs
from rxstreams import Skip, Stream, aggregates as agg, operators as ops, windows
from tests.laws.harness import Drive, End, Event, Rec, lines, random_cuts, run, run_with_crashes
from tests.laws.window_model import Model
from tests.laws.windowing import (
    AGGREGATES,
    KINDS,
    REFINING,
    Item,
    Kind,
    aggregated,
    calendar,
    contents,
    disordered,
    grid,
    items_of,
    modes,
    records,
    sessions,
    watermarks,
    windowed,
)

FEW = settings(max_examples=30, deadline=None)
MANY = settings(max_examples=150, deadline=None)


def kinds(some: dict[str, Kind]) -> Any:
    """Parametrize with kinds of windows."""
    return pytest.mark.parametrize("kind", some.values(), ids=some.keys())


# The order of arrival.


def arrivals(items: list[Item], waits: list[int]) -> list[Item]:
    """The records in the order in which they arrive, each so long after its time."""
    return [one for _, one in sorted(zip(waits, items, strict=False), key=lambda pair: (pair[1].time + pair[0], pair[1].id))]


@kinds(KINDS)
@FEW
@given(data=st.data(), refined=st.booleans())
def test_arrival_order_within_out_of_orderness_changes_no_result(kind: Kind, data: st.DataObject, refined: bool) -> None:
    """Records that come at most ``out_of_orderness`` late, in whatever order, make the same final results for each key."""
    items = data.draw(items_of(kind))
    waits = st.lists(st.integers(0, 6).map(kind.ms), min_size=len(items), max_size=len(items))
    how = {"emit": windows.on_update, "lateness": kind.ms(3) / 1000} if refined and kind.refines else {}
    expected = windowed(sorted(items, key=lambda one: one.time), kind.over, delay=kind.ms(6), **how)
    made = windowed(arrivals(items, data.draw(waits)), kind.over, delay=kind.ms(6), **how)
    assert made.on_time == expected.on_time
    assert made.late == expected.late == []


@kinds(KINDS)
@FEW
@given(data=st.data())
def test_every_record_is_in_the_windows_that_its_time_says(kind: Kind, data: st.DataObject) -> None:
    """Where no record is late, each window has just the records of its span, and its aggregates are theirs."""
    items = data.draw(items_of(kind))
    made = windowed(items, kind.over, delay=kind.ms(48))
    assert made.rows == contents(kind, items)
    assert made.late == []
    for one in made.panes:
        assert (one.n, one.total, one.least, one.most, one.kinds) == aggregated(items[n] for n in one.ids)
        assert one.pane == windows.Pane(windows.ON_TIME, 0, True)
    assert made.times == [one.end - 1 for one in made.panes]
    assert [one.end for one in made.panes] == sorted(one.end for one in made.panes)


@kinds({name: kind for name, kind in KINDS.items() if not kind.merges and kind.refines})
@FEW
@given(data=st.data(), kept=st.sampled_from((0, 0, 4)))
def test_a_record_is_late_when_none_of_its_windows_is_kept(kind: Kind, data: st.DataObject, kept: int) -> None:
    """A record is in those of its windows that the watermark has not yet left ``lateness`` behind; on ``late`` if in none."""
    items, delay = data.draw(items_of(kind)), kind.ms(data.draw(st.integers(0, 6)))
    marks = list(watermarks(items, delay))
    made = windowed(items, kind.over, delay=delay, lateness=kind.ms(kept) / 1000)
    rows = contents(kind, items, marks, kind.ms(kept))
    finals = {(one.key, one.start, one.end): sorted(one.ids) for one in made.panes}
    assert [(*window, ids) for window, ids in sorted(finals.items())] == rows
    taken = {n for *_, ids in rows for n in ids}
    assert made.late == [(one.id, mark - one.time) for one, mark in zip(items, marks, strict=True) if one.id not in taken]


@kinds({name: kind for name, kind in KINDS.items() if name.startswith(("tumbling", "days", "session"))})
@FEW
@given(data=st.data())
def test_a_record_is_in_one_window_or_late(kind: Kind, data: st.DataObject) -> None:
    """Where windows do not overlap, each record is in one or on ``late``, not both; their sums are the input's without those."""
    items = data.draw(items_of(kind))
    made = windowed(items, kind.over, delay=kind.ms(1))
    assert sorted([n for one in made.panes for n in one.ids] + [n for n, _ in made.late]) == [one.id for one in items]
    assert sum(one.total for one in made.panes) == sum(one.x for one in items) - sum(items[n].x for n, _ in made.late)


@MANY
@given(data=st.data())
def test_sliding_windows_answer_each_record_that_is_not_late(data: st.DataObject) -> None:
    """A record behind the watermark is late and in no window; each other one has one result, of the records up to it."""
    kind = KINDS["sliding"]
    items, delay = data.draw(items_of(kind)), kind.ms(data.draw(st.integers(0, 6)))
    marks = list(watermarks(items, delay))
    late = [(one.id, mark - one.time) for one, mark in zip(items, marks, strict=True) if one.time < mark]
    made = windowed(items, kind.over, delay=delay)
    assert made.late == late
    assert made.rows == contents(kind, [one for one in items if one.id not in dict(late)])
    assert made.panes == sorted(made.panes, key=lambda one: (one.end, one.key))


# Grids and sessions.


@MANY
@given(
    size=st.integers(1, 40),
    every=st.integers(1, 40),
    offset=st.integers(-39, 39),
    times=st.lists(st.integers(-150, 150), max_size=12),
)
@example(size=40, every=15, offset=0, times=[-150, -41, -40, -1, 0, 14, 15, 59, 60, 100])
@example(size=7, every=5, offset=-6, times=list(range(-20, 20)))
def test_panes_make_the_windows_of_the_definition(size: int, every: int, offset: int, times: list[int]) -> None:
    """Hopping windows merged of panes have the records of brute force: uneven, with offsets, before 1970; refined ones, too."""
    size, offset = max(size, every), offset % max(size, every) * (1 if offset >= 0 else -1)
    kind = Kind(rxs.hopping(size / 10, every / 10, offset=offset / 10), grid(size * 100, every * 100, offset * 100))
    items = [Item(n, "ab"[n % 2], time * 100) for n, time in enumerate(times)]
    expected = contents(kind, items)
    assert windowed(items, kind.over, delay=60_000).rows == expected
    refined = windowed(items, kind.over, delay=60_000, lateness=1.0)
    assert refined.rows == expected


@MANY
@given(
    data=st.data(),
    gap=st.integers(1, 12),
    more=st.none() | st.integers(0, 20),
    times=st.lists(st.integers(-60, 60), max_size=12),
)
def test_sessions_do_not_depend_on_the_order_of_their_records(
    data: st.DataObject, gap: int, more: int | None, times: list[int]
) -> None:
    """Any permutation of a key's records, merged two by two or many at once, makes the sessions of the records in order."""
    longest = None if more is None else gap + more
    over = rxs.session(gap / 10, max=None if longest is None else longest / 10)
    kind = Kind(over, sessions(gap * 100, None if longest is None else longest * 100))
    items = [Item(n, "a", time * 100) for n, time in enumerate(times)]
    expected = contents(kind, items)
    for order in (items, items[::-1], data.draw(st.permutations(items))):
        assert windowed(order, over, delay=20_000).rows == expected


def test_records_just_a_gap_apart_are_two_sessions() -> None:
    """[first, last + gap): a record at the end begins another session; one that comes between them makes one of the two."""
    pair = [Item(0, "a", -2000), Item(1, "a", 0)]
    assert windowed(pair, rxs.session(2), delay=9000).rows == [("a", -2000, 0, [0]), ("a", 0, 2000, [1])]
    assert windowed([*pair, Item(2, "a", -1)], rxs.session(2), delay=9000).rows == [("a", -2000, 2000, [0, 1, 2])]


def test_a_maximum_cuts_sessions_at_its_multiples() -> None:
    """Sessions end at each multiple of ``max`` since the epoch, before 1970 too; a record at it begins the next."""
    items = [Item(n, "a", time) for n, time in enumerate((-5001, -5000, -4000, -3000, -1500, -1, 0, 1500, 4999, 5000))]
    assert windowed(items, rxs.session(2, max=5), delay=9000).rows == [
        ("a", -5001, -5000, [0]),
        ("a", -5000, 0, [1, 2, 3, 4, 5]),
        ("a", 0, 3500, [6, 7]),
        ("a", 4999, 5000, [8]),
        ("a", 5000, 7000, [9]),
    ]


@pytest.mark.parametrize(
    ("place", "instant"),
    [
        ("America/Havana", "2024-11-03T05:00Z"),  # from 1:00 back to 0:00
        ("America/Sao_Paulo", "2018-02-18T02:00Z"),  # from 0:00 back to 23:00
        ("America/Sao_Paulo", "2018-11-04T03:00Z"),  # from 0:00 to 1:00
        ("America/St_Johns", "2010-11-07T02:31Z"),  # from 0:01 back to 23:01
        ("America/Toronto", "1919-03-31T04:30Z"),  # from 23:30 to 0:30
        ("Pacific/Apia", "2011-12-30T10:00Z"),  # a day is left out
        ("Asia/Kathmandu", "1985-12-31T18:30Z"),  # from 0:00 to 0:15
    ],
)
def test_a_day_is_what_lies_between_its_first_instant_and_the_next_days(place: str, instant: str) -> None:
    """Whatever clocks do about midnight, each record is in the window [start, end) that has its time; in order none is late."""
    at = datetime.fromisoformat(instant)
    middle = int(at.timestamp()) // 900 * 900_000
    items = [Item(n, "a", middle + quarter * 900_000) for n, quarter in enumerate(range(-150, 150))]
    kind = Kind(rxs.calendar("day", tz=place), calendar("day", place, at.year))
    for cuts in ((), None):
        made = windowed(items, kind.over, delay=0, cuts=cuts)
        assert made.late == []
        assert made.rows == contents(kind, items)


# Panes.


@kinds(REFINING)
@MANY
@given(data=st.data())
def test_panes_are_those_of_the_slow_way(kind: Kind, data: st.DataObject) -> None:
    """Early, on-time and late panes, their numbers, contents and order, and the late records, are those of the model, which looks
    at every window each time that time passes a unit.
    """
    items, delay = data.draw(items_of(kind)), kind.ms(data.draw(st.integers(0, 4)))
    check_panes(kind, items, delay, data.draw(st.sampled_from(list(modes(kind).values()))))


@kinds({name: kind for name, kind in KINDS.items() if kind.merges})
@settings(max_examples=600, deadline=None)
@given(data=st.data(), steps=st.lists(st.integers(-8, 8), min_size=3, max_size=10), delay=st.integers(0, 8))
def test_panes_of_crowded_sessions_are_those_of_the_slow_way(
    kind: Kind, data: st.DataObject, steps: list[int], delay: int
) -> None:
    """The same where a key's sessions touch each other time and again, before and after they fired."""
    items = [Item(n, "a", kind.ms(step)) for n, step in enumerate(steps)]
    check_panes(kind, items, kind.ms(delay), data.draw(st.sampled_from([{}, {}, *modes(kind).values()])))


STORIES: dict[str, tuple[Kind, list[tuple[str, int]], int, dict[str, Any]]] = {
    "no early result when the window has ended": (
        Kind(rxs.tumbling(10), grid(10_000, 10_000)),
        [("a", 1000), ("a", 11_000), ("a", 2000)],
        0,
        {"lateness": 10, "emit": windows.every(3)},
    ),
    "a session that has fired goes on": (
        Kind(rxs.session(5), sessions(5000)),
        [("a", 5000), ("b", 12_000), ("a", 8000), ("b", 100_000)],
        0,
        {"lateness": 5},
    ),
    "an early result after the end that was awaited": (
        Kind(rxs.session(3), sessions(3000)),
        [("a", 15_000), ("a", 17_000), ("a", 19_000), ("a", 21_000)],
        0,
        {"emit": windows.every(10)},
    ),
    "an early result before the start that was known": (
        Kind(rxs.session(6), sessions(6000)),
        [("a", 12_000), ("a", 9000), ("a", 11_500), ("b", 20_000)],
        4000,
        {"emit": windows.every(10)},
    ),
}


@pytest.mark.parametrize(("kind", "records", "delay", "mode"), STORIES.values(), ids=STORIES)
def test_panes_that_were_once_wrong(kind: Kind, records: list[tuple[str, int]], delay: int, mode: dict[str, Any]) -> None:
    """What chance found, told once more without it."""
    check_panes(kind, [Item(n, key, time) for n, (key, time) in enumerate(records)], delay, mode)


def check_panes(kind: Kind, items: list[Item], delay: int, mode: dict[str, Any]) -> None:
    """Compare a run with the model."""
    model = Model(
        kind,
        emit=mode.get("emit", windows.on_close),
        lateness=round(mode.get("lateness", 0) * 1000),
        discarding=mode.get("panes") == "discarding",
    )
    model.run(items, delay)
    made = windowed(items, kind.over, delay=delay, **mode)
    written, panes = made.written, model.panes
    if not mode:  # on time only: the results of one end are in the order of the keys' first records
        written, panes = (sorted(each, key=lambda pane: (pane[2], pane)) for each in (written, panes))
    assert written == panes
    assert [n for n, _ in made.late] == model.late


@kinds({name: kind for name, kind in REFINING.items() if not kind.merges})
@MANY
@given(data=st.data())
def test_the_panes_of_a_window_tell_its_story(kind: Kind, data: st.DataObject) -> None:
    """A window's panes are numbered, early ones before the one on time, late ones after it, and no pane follows the last. That
    on time comes once if the window was not empty then; together, or the last of them, they have all records that were taken.
    """
    items, delay = data.draw(items_of(kind)), kind.ms(data.draw(st.integers(0, 4)))
    mode = data.draw(st.sampled_from(list(modes(kind).values())))
    marks, lateness = list(watermarks(items, delay)), round(mode.get("lateness", 0) * 1000)
    made = windowed(items, kind.over, delay=delay, **mode)
    expected = {row[:3]: row[3] for row in contents(kind, items, marks, lateness)}
    stories: dict[Any, list[Any]] = {}
    for one in made.panes:
        stories.setdefault((one.key, one.start, one.end), []).append(one)
    assert stories.keys() == expected.keys()
    for window, panes in stories.items():
        ids, end = expected[window], window[2]
        timings = [one.pane.timing for one in panes]
        assert timings == sorted(timings, key=(windows.EARLY, windows.ON_TIME, windows.LATE).index)
        assert timings.count(windows.ON_TIME) == any(marks[n] < end for n in ids)
        assert timings.count(windows.LATE) == sum(marks[n] >= end for n in ids)
        assert [one.pane.number for one in panes] == list(range(len(panes)))
        assert [one.pane.last for one in panes] == [False] * (len(panes) - 1) + [not lateness]
        told = [one.ids for one in panes] if mode.get("panes") == "discarding" else [panes[-1].ids]
        assert sorted(chain.from_iterable(told)) == ids
    taken = {n for ids in expected.values() for n in ids}
    assert [n for n, _ in made.late] == [one.id for one in items if one.id not in taken]


@MANY
@given(items=items_of(KINDS["tumbling"]))
def test_results_come_in_the_order_of_ends_and_then_of_first_records(items: list[Item]) -> None:
    """Where windows do not overlap and are on time only, those that close come by their end, those of one end as keys came."""
    made = windowed(items, KINDS["tumbling"].over, delay=KINDS["tumbling"].ms(4))
    assert made.panes == sorted(made.panes, key=lambda one: (one.end, min(one.ids)))


@kinds(REFINING)
@FEW
@given(data=st.data())
def test_no_result_is_late_for_a_longer_window(kind: Kind, data: st.DataObject) -> None:
    """What panes add to each other comes, be it late, before the watermark behind has passed it: in a longer window that has all
    of a window's results, their sum is that of the records.
    """
    items, delay = data.draw(items_of(kind)), kind.ms(data.draw(st.integers(0, 4)))
    mode = {**data.draw(st.sampled_from(list(modes(kind).values()))), "panes": "discarding"}
    first = lines(out_of_orderness=delay / 1000).pipe(ops.key_by("key"), ops.windowed(kind.over, **mode, n=agg.count()))
    # A result has the time just before its window's end, and windows of a millisecond can have no other.
    second = first.pipe(ops.windowed(rxs.tumbling(0.001), n=agg.sum("n")))
    panes, sums, late = run([*records(items), End("a")], first, second, second.late).values
    assert late == []
    expected: dict[Any, int] = {}
    for one in panes:
        expected[one.key, one.end] = expected.get((one.key, one.end), 0) + one.n
    assert {(one.key, one.end): one.n for one in sums} == expected


# Cuts, crashes, and what is left.


COUNTING = {str(over): Kind(over, grid(1, 1)) for over in (rxs.counting(3), rxs.counting(5, every=2))}


@kinds(KINDS | COUNTING)
def test_cuts_and_crashes_do_not_show(kind: Kind) -> None:
    """However the records are cut, and wherever a run is crashed and goes on from its last commit, results and late records are
    equal, in equal order, and so is what is left.
    """

    def streams(mode: dict[str, Any], dice: random.Random) -> list[Stream[Any]]:
        stream = lines(out_of_orderness=kind.ms(2) / 1000)
        if dice.random() < 0.8:
            stream = stream.pipe(ops.key_by("key"))
        if dice.random() < 0.5:
            stream = stream.pipe(ops.map(lambda v: v))
        policy = Skip() if dice.random() < 0.5 else None  # with a policy it is not one loop
        stream = stream.pipe(ops.windowed(kind.over, **mode, on_error=policy, **AGGREGATES))
        return [stream, stream.late] if dice.random() < 0.7 else [stream]

    for title, mode in modes(kind).items():
        for seed in range(2 if mode else 8):
            rng, build = random.Random(f"{kind.over} {title} {seed}"), lambda: streams(mode, random.Random(seed))  # noqa: B023
            events = disordered(rng, kind, 90)
            expected = run(events, *build())
            assert expected.results[0]
            assert run(events, *build(), cuts=()) == expected
            assert run(events, *build(), cuts=random_cuts(rng, len(events))) == expected
            assert run_with_crashes(events, *build(), rng=rng) == expected


@kinds(KINDS)
def test_what_is_over_costs_nothing(kind: Kind) -> None:
    """When the watermark has passed the end and the lateness of all windows, nothing is left of them: not in the states, the
    spaces, the timers or the saved rows, before a crash and after it.
    """
    for title, mode in modes(kind).items():
        drive = Drive(
            lines(out_of_orderness=kind.ms(2) / 1000).pipe(
                ops.filter(lambda v: v["key"] is not None), ops.key_by("key"), ops.windowed(kind.over, **mode, **AGGREGATES)
            )
        )
        events = disordered(random.Random(f"{kind.over} {title}"), kind, 300)[:-1]
        over = max(one.time for one in events if isinstance(one, Rec)) + kind.ms(20) + 62 * 86_400_000
        for at in range(0, len(events), 50):
            drive.feed(events[at : at + 50], [], offset=at)
            drive.commit()
        frees_all(drive, [Rec("a", partition, {"key": None}, over) for partition in (0, 1)])


def test_windows_that_are_full_cost_nothing() -> None:
    """When each key has had a multiple of the records of a counting window, nothing is left of it."""
    drive = Drive(lines().pipe(ops.key_by(lambda x: x % 5), ops.windowed(rxs.counting(3), n=agg.count())))
    drive.feed([Rec("a", 0, n, n) for n in range(14)], [])
    drive.commit()
    frees_all(drive, [Rec("a", 0, 4, 0)])


def frees_all(drive: Drive, last: list[Event]) -> None:
    """Assert that with these records all state goes, and stays away."""
    assert kept(drive)
    drive.feed(last, [])
    drive.crash()
    assert kept(drive)
    drive.feed(last, [])
    drive.commit()
    assert not kept(drive)
    for _ in range(8):  # every group is written anew at last
        drive.commit()
    drive.crash()
    assert not kept(drive)
    assert drive.table.keys() == {b"position"}


def kept(drive: Drive) -> list[Any]:
    """What the operator remembers, wherever it does."""
    [node] = [vertex.node for vertex in drive.graph.stateful]
    spaces = [] if node.spaces is None else [node.spaces.states, node.spaces.touched, node.spaces.saved]
    own = [getattr(node, name, ()) for name in ("timers", "waiting", "times", "windows")]
    return [held for held in (node.states, *spaces, *own) if len(held)]
