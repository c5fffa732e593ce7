"""Where only views read an aggregate, and where a source is fused with its operators, results are those of the long way."""

import random
from typing import Any

from rxstreams import Stream, aggregates as agg, operators as ops
from tests.laws.harness import End, Event, Rec, lines, random_cuts, random_events, run, run_with_crashes
from tests.vocabulary.values import number

FIELDS: dict[str, Any] = {
    "n": agg.count(),
    "total": agg.sum("x"),
    "mean": agg.mean("x"),
    "least": agg.min("x"),
    "most": agg.max(lambda v: v["x"]),
    "exact": agg.sum("x", exact=True),
    "fair": agg.mean("x", exact=True),
    "spread": agg.variance("x"),
    "first": agg.first("x"),
    "last": agg.last(lambda v: v["x"]),
    "some": agg.collect("x", max=9),
    "kinds": agg.distinct_count("x"),
    "best": agg.top(3, "k", "x"),
    "own": agg.of(int, lambda total, x: (total * 3 + int(x)) % 1009, lambda a, b: a + b, str, field="x"),
}


def pipeline(seed: int, *, long_way: bool) -> list[Stream[Any]]:
    """Return aggregates that end in a view; on the long way somebody else reads them too, so nothing can be left out."""
    rng = random.Random(f"views {seed}")
    stream = lines().pipe(ops.map(lambda x: {"x": x / 4, "k": x % 5}))
    if rng.random() < 0.5:
        stream = stream.pipe(ops.filter(lambda v: v["k"] != 3))
    if rng.random() < 0.7:
        stream = stream.pipe(ops.key_by(rng.choice(["k", lambda v: f"key {v['k']}", lambda v: v["k"] > 2])))
    some = rng.sample(sorted(FIELDS), rng.randint(1, 6))
    stream = stream.pipe(ops.aggregate(name="totals", on_error=None, **{name: FIELDS[name] for name in some}))
    view = stream.pipe(ops.to_view("totals"))
    return [view, stream.pipe(ops.map(number))] if long_way else [view]


def test_views_hold_what_is_emitted_record_by_record() -> None:
    """120 aggregations into a view end, with any cuts and crashes, with the rows that emitting every row would leave."""
    for seed in range(120):
        rng = random.Random(seed)
        events = random_events(rng, 120, partitions=2)
        timed = rng.random() < 0.5
        expected = run(events, *pipeline(seed, long_way=True), timed=timed).states
        assert run(events, *pipeline(seed, long_way=False), cuts=random_cuts(rng, len(events)), timed=timed).states == expected
        assert run_with_crashes(events, *pipeline(seed, long_way=False), rng=rng, timed=timed).states == expected
        assert any(name.startswith("view:") and rows for name, rows in expected.items())


def test_values_do_not_depend_on_whether_times_are_read() -> None:
    """Chains of decode, map, filter, scan and key_by, fused without times, give the values that they give with times."""
    for seed in range(60):
        rng = random.Random(seed)
        events: list[Event] = [*(Rec("a", 0, rng.randrange(50), i) for i in range(150)), End("a")]

        def stream(seed: int = seed) -> Stream[Any]:
            dice = random.Random(f"fused {seed}")
            s: Stream[Any] = lines()
            for _ in range(dice.randint(1, 4)):
                s = s.pipe(
                    dice.choice(
                        [
                            ops.map(lambda x: x * 3 + 1),
                            ops.filter(lambda x: x % 3),
                            ops.scan(lambda total, x: (total + x) % 1009, 5),
                            ops.key_by(lambda x: x % 4 > 1),
                            ops.map(),
                        ]
                    )
                )
            return s

        timed = run(events, stream(), cuts=random_cuts(rng, 150))
        untimed = run(events, stream(), cuts=random_cuts(rng, 150), timed=False)
        assert untimed.values == timed.values
        assert untimed.states == timed.states
        assert [key for _, _, key in untimed.results[0]] == [key for _, _, key in timed.results[0]]
