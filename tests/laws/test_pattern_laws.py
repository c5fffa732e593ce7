"""Patterns are what their definition says, in any order of arrival within out_of_orderness, whatever the cuts and crashes."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import assume, given, settings, strategies as st

from rxstreams import Skip, Stop
from rxstreams.patterns import no_skip, stage, to_last
from tests.laws.harness import Drive, random_cuts, run, run_with_crashes
from tests.laws.patterning import (
    Builder,
    One,
    arriving,
    as_told,
    came,
    detected,
    expected,
    in_some_order,
    is_twofold,
    skips_of,
    some_events,
    told,
    unfinished,
)

MANY = settings(max_examples=400, deadline=None)
FEW = settings(max_examples=100, deadline=None)
seeds = st.integers(0, 2**32).map(random.Random)


@MANY
@given(events=some_events(), rng=seeds, exact=st.booleans())
def test_a_pattern_is_its_definition(events: list[One], rng: random.Random, exact: bool) -> None:
    """Every match there is, by each stage's events, and of those what skipping leaves."""
    pattern = Builder(rng, exact=exact).whole()
    skip = no_skip if is_twofold(pattern) else skips_of(rng, pattern)
    found = run(came(events), detected(pattern, skip), cuts=()).values[0]
    assert in_some_order([told(match) for match in found]) == in_some_order(expected(pattern, skip, events)), (pattern, skip)


@MANY
@given(events=some_events(most=12), rng=seeds, exact=st.booleans(), delay=st.sampled_from((0, 1500, 4000)))
def test_order_of_arrival_cuts_and_crashes_change_nothing(events: list[One], rng: random.Random, exact: bool, delay: int) -> None:
    """Equal results with equal times, in equal order, and equal states."""
    pattern = Builder(rng, exact=exact).whole()
    skip = skips_of(rng, pattern)

    def make() -> list[Any]:
        stream = detected(pattern, skip, delay=delay / 1000)
        return [stream, stream.late, stream.timed_out]

    arrived = arriving(events, rng, delay)
    outcome = run(came(arrived), *make())
    assert outcome.values[1] == []
    cut = run(came(arrived), *make(), cuts=random_cuts(rng, len(arrived) + 1), policy=rng.choice((Stop(), Skip())))
    assert cut == outcome, (pattern, skip)
    assert run_with_crashes(came(arrived), *make(), rng=rng) == outcome, (pattern, skip)
    straight = run(came(events), *make(), cuts=())
    assert in_some_order([told(one) for one in outcome.values[0]]) == in_some_order([told(one) for one in straight.values[0]])


def test_what_is_open_does_not_depend_on_who_looked_at_it() -> None:
    """What a look has found out and written down is no part of the state: crashes anywhere leave the same behind."""
    events = came([One(n, "k", "a", 0, 1_000_000 + n * 1000) for n in range(3)])
    make = lambda: detected(stage("s1").times_or_more(2).greedy(), to_last("s1"))  # noqa: E731  # a value among values
    outcome = run(events, make())
    for seed in range(40):
        assert run_with_crashes(events, make(), rng=random.Random(seed)) == outcome


@MANY
@given(events=some_events(most=4), rng=seeds, exact=st.booleans())
def test_a_partial_match_whose_time_runs_out_is_told(events: list[One], rng: random.Random, exact: bool) -> None:
    """Each that has not been complete, once, with the events that it has.

    Of repeated sequences some ways to the same events may be complete.
    """
    pattern = Builder(rng, exact=exact).whole(depths=(0, 1))
    assume(not is_twofold(pattern))
    stream = detected(pattern)
    found = run(came(events), stream, stream.timed_out, cuts=()).values[1]
    due = set[str]()
    for key in {one.key for one in events}:
        mine = [one for one in events if one.key == key]
        if pattern.millis is not None:
            due |= {repr(as_told(taken, mine, over - 1)) for over, taken in unfinished(pattern, mine)}
    assert in_some_order([told(match) for match in found]) == sorted(due), pattern


@MANY
@given(events=some_events(most=20), rng=seeds, exact=st.booleans())
def test_all_is_freed_when_time_has_passed(events: list[One], rng: random.Random, exact: bool) -> None:
    """A sixteenth of ``within`` later at most: in memory, among the timers, and in the table, whatever was restored."""
    pattern = Builder(rng, exact=exact).whole()
    if pattern.millis is None:
        pattern = pattern.within(3)
    stream = detected(pattern, skips_of(rng, pattern), delay=2)
    drive = Drive(stream)
    sent = came(arriving(events, rng, 2000))[:-1]
    drive.feed(sent, random_cuts(rng, len(sent)))
    drive.commit()
    if rng.random() < 0.5:
        drive.crash()
    last = max((one.time for one in events), default=0)
    [(name, vertex)] = drive.sources.items()
    drive.source(name).times.raise_to(last + (pattern.millis or 0) * 17 // 16 + 1)
    drive.graph.carry_out(lambda: vertex.forward(drive.source(name).times.now))
    drive.graph.run_posted()
    [node] = [one.node for one in drive.graph.stateful]
    assert (node.states, node.waiting.states, node.waiting.heap, node.timers.keys) == ({}, {}, [], {})
    for _ in range(8):  # every group is written anew at last
        drive.commit()
    assert drive.table.keys() == {b"position"}
