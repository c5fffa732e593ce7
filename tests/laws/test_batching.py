"""Batching is invisible: however the input is cut into pushes, values, times, keys, order and state are the same."""

import random
from typing import Any

import pytest

from rxstreams import Stream, operators as ops
from tests.laws.harness import Outcome, lines, random_cuts, random_events, run, run_with_crashes
from tests.laws.pipelines import CLOCKED, GENERATORS, Pulse, chain, random_graph
from tests.vocabulary import flow
from tests.vocabulary.values import number

RECORDS = 220
GRAPHS = 3000
SHARDS = 6


def pipeline(seed: int, names: list[str]) -> Stream[Any]:
    """Return the same pipeline for a seed, time and again, so that a second run shares nothing with the first."""
    return chain(random.Random(seed), lines("a"), names)


def same(one: Outcome, other: Outcome) -> None:
    """Assert that two runs left the same behind, part by part."""
    assert one.results == other.results
    assert one.outputs == other.outputs
    assert one.states == other.states
    assert one.closed == other.closed
    assert one.lost == other.lost


def test_every_operator_has_a_generator() -> None:
    """What `operators.__all__` names, the laws cover; `group_by` works in a subscription only, what calls has its own laws."""
    assert sorted([*GENERATORS, *flow.AWAITING, "group_by"]) == sorted(ops.__all__)


@pytest.mark.parametrize("timed", [True, False], ids=["timed", "untimed"])
@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_cuts_do_not_show_in_an_operator(name: str, timed: bool) -> None:
    """Three random cuts of 220 records give what pushes of one give, with one partition and with three."""
    for seed in range(6):
        rng = random.Random(f"{name}{seed}")
        events = random_events(rng, RECORDS, partitions=rng.choice((1, 3)), ticks=name in CLOCKED)
        names = rng.choice(([name], ["key_by", name], ["filter", name], ["process", name]))
        expected = run(events, pipeline(seed, names), timed=timed)
        for cuts in ([], *(random_cuts(rng, len(events)) for _ in range(3))):
            same(run(events, pipeline(seed, names), cuts=cuts, timed=timed), expected)


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_cuts_and_crashes_do_not_show_in_a_chain_of_three(name: str) -> None:
    """An operator between two random others gives the same under random cuts, and when it is crashed and restored anywhere."""
    for seed in range(12):
        rng = random.Random(f"chain {name}{seed}")
        names = [rng.choice(sorted(GENERATORS)), name, rng.choice(sorted(GENERATORS))]
        ticks = not CLOCKED.isdisjoint(names)
        events = random_events(rng, RECORDS, partitions=rng.choice((1, 3)), ticks=ticks)
        expected = run(events, pipeline(seed, names))
        for _ in range(2):
            same(run(events, pipeline(seed, names), cuts=random_cuts(rng, len(events))), expected)
        if not ticks:
            same(run_with_crashes(events, pipeline(seed, names), rng=rng), expected)


@pytest.mark.parametrize("shard", range(SHARDS))
def test_cuts_do_not_show_in_random_graphs(shard: int) -> None:
    """500 graphs with diamonds, early ends and several sources give under random cuts what pushes of one give."""
    for seed in range(shard * GRAPHS // SHARDS, (shard + 1) * GRAPHS // SHARDS):
        try:
            check_graph(seed)
        except BaseException:
            print(f"seed {seed}")
            raise


def check_graph(seed: int, *, crash: bool | None = None) -> None:
    """Compare one random graph under pushes of one and random cuts, every fifth with crashes."""

    def streams() -> list[Stream[Any]]:
        rng = random.Random(f"graph {seed}")
        return random_graph(rng, [lines(name) for name in names])

    rng = random.Random(seed)
    names = rng.choice((["a"], ["a"], ["a", "b"]))
    timed = rng.random() < 0.6
    events = random_events(rng, rng.choice((12, 30)), sources=names, partitions=rng.choice((1, 1, 2)), most=12)
    expected = run(events, *streams(), timed=timed)
    same(run(events, *streams(), cuts=random_cuts(rng, len(events)), timed=timed), expected)
    if seed % 5 == 0 if crash is None else crash:
        same(run_with_crashes(events, *streams(), rng=rng, timed=timed), expected)


def _early_end(s: Stream[Any], other: Stream[Any]) -> list[Stream[Any]]:
    timers = s.pipe(ops.take(9), ops.filter(lambda x: number(x) % 3 == 0), ops.process(Pulse(600)))
    return [timers.pipe(ops.merge(s)), timers.pipe(ops.process(Pulse(900)), ops.buffer_with_count(3))]


def _timers_after_timers(s: Stream[Any], other: Stream[Any]) -> list[Stream[Any]]:
    once = s.pipe(ops.process(Pulse(300)))
    twice = once.pipe(ops.filter(lambda x: number(x) % 2), ops.process(Pulse(300)))
    return [once.pipe(ops.merge(twice, twice.pipe(ops.process(Pulse(500))), s))]


def _held_time(s: Stream[Any], other: Stream[Any]) -> list[Stream[Any]]:
    held = s.pipe(ops.buffer_with_count(3, 2))
    return [held.pipe(ops.process(Pulse(400))), held.pipe(ops.merge(s), ops.process(Pulse(700)))]


def _two_clocks(s: Stream[Any], other: Stream[Any]) -> list[Stream[Any]]:
    met = s.pipe(ops.merge(other), ops.process(Pulse(400)))
    return [met.pipe(ops.merge(s.pipe(ops.filter(lambda x: number(x) % 2))), ops.process(Pulse(800)), ops.map(number))]


def _other_ends_first(s: Stream[Any], other: Stream[Any]) -> list[Stream[Any]]:
    return [
        s.pipe(ops.merge(other.pipe(ops.take(3))), ops.process(Pulse(400))),
        s.pipe(ops.combine_latest(other.pipe(ops.take(2)))),
    ]


def _brothers_and_sisters(s: Stream[Any], other: Stream[Any]) -> list[Stream[Any]]:
    many = s.pipe(ops.flat_map(lambda x: [number(x) + i for i in range(number(x) % 4)]))
    again = many.pipe(ops.merge(many.pipe(ops.take(7), ops.map(lambda x: -x))))
    return [
        again.pipe(ops.merge(again.pipe(ops.map(lambda x: x * 100)), s)),
        again.pipe(ops.combine_latest(again.pipe(ops.take(5)))),
    ]


def _one_topic(s: Stream[Any], other: Stream[Any]) -> list[Stream[Any]]:
    out = lambda: ops.to_topic("out", encode=lambda x: b"%d" % number(x))  # noqa: E731  # used thrice
    return [s.pipe(out()), s.pipe(ops.process(Pulse(500)), out()), s.pipe(ops.flat_map(lambda x: [x, -x]), out())]


def _ends_behind_ends(s: Stream[Any], other: Stream[Any]) -> list[Stream[Any]]:
    add = ops.reduce(lambda a, b: a + number(b), 0)
    early = s.pipe(ops.take(6), ops.buffer_with_count(4), add, ops.map(lambda x: x * 3), add)
    return [early.pipe(ops.merge(s)), early.pipe(ops.combine_latest(s))]


def _never_complete(s: Stream[Any], other: Stream[Any]) -> list[Stream[Any]]:
    hopeless = s.pipe(ops.take(4), ops.filter(lambda x: False), ops.combine_latest(s))
    return [hopeless.pipe(ops.reduce(lambda a, b: 0, -1), ops.merge(s)), hopeless]


def _time_anew(s: Stream[Any], other: Stream[Any]) -> list[Stream[Any]]:
    anew = s.pipe(ops.event_time(lambda x: 10**12 + 300 * (number(x) % 20), out_of_orderness=0.5))
    return [anew.pipe(ops.process(Pulse(600)), ops.merge(s), ops.map(number))]


def _clocks_of_one_record(s: Stream[Any], other: Stream[Any]) -> list[Stream[Any]]:
    anew = s.pipe(ops.event_time(lambda x: 10**12 + 300 * (number(x) % 20), out_of_orderness=0.5))
    timers = anew.pipe(ops.process(Pulse(600)))
    return [
        s.pipe(ops.process(Pulse(400)), ops.merge(timers), ops.process(Pulse(900)), ops.map(number)),
        anew.pipe(ops.merge(s), ops.process(Pulse(500))),
    ]


HARD = [
    _time_anew,
    _clocks_of_one_record,
    _early_end,
    _ends_behind_ends,
    _never_complete,
    _timers_after_timers,
    _held_time,
    _two_clocks,
    _other_ends_first,
    _brothers_and_sisters,
    _one_topic,
]


@pytest.mark.parametrize("hard", HARD, ids=lambda hard: hard.__name__)
def test_cuts_do_not_show_in_hard_places(hard: Any) -> None:
    """Early ends, timers behind timers, held watermarks, two clocks, brothers and sisters: the same under cuts and crashes."""
    some = 0
    for seed in range(40):
        rng = random.Random(f"{hard.__name__} {seed}")
        events = random_events(rng, 50, sources=rng.choice((("a",), ("a", "b"))), partitions=rng.choice((1, 2)))
        timed = seed % 2 == 0
        expected = run(events, *hard(lines("a"), lines("b")), timed=timed)
        some += any(expected.results)
        for cuts in ([], random_cuts(rng, len(events))):
            same(run(events, *hard(lines("a"), lines("b")), cuts=cuts, timed=timed), expected)
        same(run_with_crashes(events, *hard(lines("a"), lines("b")), rng=rng, timed=timed), expected)
    assert some > 30
