"""A random instance of every operator, and random pipelines of them, over values that ``number`` takes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from rxstreams import Stream, aggregates as agg, operators as ops
from tests.vocabulary import combining, flow, folding, joins, mapping, patterning, taking, timing, windows
from tests.vocabulary.values import Make, number


class Pulse:
    """A keyed operator that counts, sets timers before and behind the watermark, clears some, and forgets."""

    def __init__(self, gap: int) -> None:
        self.gap = gap

    def open(self) -> list[int]:
        """Count, and the time of the timer that is set."""
        return [0, 0]

    def process(self, state: list[int], key: Any, value: Any, time: int, ctx: Any) -> None:
        """Count; have a timer at ``gap`` after the last record, another in the past or near future, sometimes."""
        state[0] += 1
        ctx.clear_timer(state[1])
        state[1] = time + self.gap
        ctx.set_timer(state[1])
        n = number(value)
        if n % 5 == 0:
            ctx.set_timer(time - 700 + 100 * (n % 11))
        ctx.emit(("seen", number(key), n, state[0], ctx.watermark))
        if n % 7 == 3:
            ctx.forget()

    def on_timer(self, state: list[int], key: Any, time: int, ctx: Any) -> None:
        """Tell; forget at the gap's end, and set another timer at times."""
        ctx.emit(("due", number(key), state[0], time, ctx.watermark))
        if time == state[1]:
            ctx.forget()
        elif state[0] % 3 == 0 and abs(state[1] - time) < 20_000:  # not from the first hour of 1970 to the clock's time
            ctx.set_timer(time + 250)
        elif time % 2 == 0:
            ctx.set_timer(time - 4999)


def _twice(x: Any) -> int:
    return number(x) * 2 + 1


def _map(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    k = rng.randrange(1, 5)
    return s.pipe(ops.map(lambda x: number(x) * k + 1))


def _filter(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    m = rng.randrange(2, 5)
    return s.pipe(ops.filter(lambda x: number(x) % m))


def _flat_map(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    m = rng.randrange(2, 5)
    return s.pipe(ops.flat_map(lambda x: [number(x) + i for i in range(number(x) % m)]))


def _scan(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    fold = lambda total, x: (number(total) * 3 + number(x)) % 10_007  # noqa: E731  # used twice
    return s.pipe(rng.choice((ops.scan(fold), ops.scan(fold, 7))))


def _reduce(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.reduce(lambda total, x: (total * 3 + number(x)) % 10_007, 5))


def _take(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.take(rng.choice((1, 5, 40, 1000))))


def _distinct(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    m = rng.choice((3, 50))
    return s.pipe(
        rng.choice(
            (ops.distinct(number), ops.distinct(lambda x: [number(x) % m]), ops.distinct(number, lambda a, b: a % m == b % m))
        )
    )


def _buffer_with_count(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(
        rng.choice(
            (ops.buffer_with_count(3), ops.buffer_with_count(4, 2), ops.buffer_with_count(2, 5), ops.buffer_with_count(70))
        )
    )


def _buffer_with_time(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(rng.choice((ops.buffer_with_time(1.0), ops.buffer_with_time(2.0, 0.7), ops.buffer_with_time(0.5, 1.5))))


def _merge(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    others = [rng.choice((s, _map(rng, s), _filter(rng, s))) for _ in range(rng.randint(0, 2))]
    return s.pipe(ops.map(_twice), ops.merge(*others))


def _combine_latest(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.combine_latest(_filter(rng, s), *([_scan(rng, s)] if rng.random() < 0.3 else [])))


def _key_by(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    m = rng.randrange(1, 6)
    choose = rng.choice((lambda x: number(x) % m, lambda x: f"k{number(x) % m}", lambda x: (number(x) % m > 1, None)))
    return s.pipe(ops.key_by(choose))


def _aggregate(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    some = {
        "n": agg.count(),
        "total": agg.sum(lambda x: number(x) / 8),
        "mean": agg.mean(number),
        "least": agg.min(number),
        "most": agg.max(number),
        "exact": agg.sum(lambda x: number(x) / 10, exact=True),
        "fair": agg.mean(lambda x: number(x) / 10, exact=True),
        "spread": agg.variance(number),
        "first": agg.first(number),
        "last": agg.last(),
        "some": agg.collect(number, max=7),
        "kinds": agg.distinct_count(lambda x: number(x) % 17),
        "best": agg.top(3, lambda x: number(x) % 11, number),
        "own": agg.of(int, lambda total, x: (total * 3 + x) % 1009, lambda a, b: a + b, str, field=number),
    }
    chosen = rng.sample(sorted(some), rng.randint(1, 6))
    return s.pipe(ops.aggregate(name=None, on_error=None, **{name: some[name] for name in chosen}))


def _process(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.process(Pulse(rng.choice((300, 2000, 9000)))))


def _to_topic(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(
        ops.to_topic(rng.choice(("one", "two")), encode=lambda x: b"%d" % number(x), timestamp=lambda x: 10**12 + number(x))
    )


def _to_view(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.to_view(f"view{rng.randrange(10**9)}"))


def _to_callable(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.to_callable(number))


GENERATORS: dict[str, Make] = {
    "aggregate": _aggregate,
    "buffer_with_count": _buffer_with_count,
    "buffer_with_time": _buffer_with_time,
    "combine_latest": _combine_latest,
    "distinct": _distinct,
    "filter": _filter,
    "flat_map": _flat_map,
    "key_by": _key_by,
    "map": _map,
    "merge": _merge,
    "process": _process,
    "reduce": _reduce,
    "scan": _scan,
    "take": _take,
    "to_callable": _to_callable,
    "to_topic": _to_topic,
    "to_view": _to_view,
    **combining.GENERATORS,
    **flow.GENERATORS,
    **folding.GENERATORS,
    **joins.GENERATORS,
    **patterning.GENERATORS,
    **mapping.GENERATORS,
    **taking.GENERATORS,
    **timing.GENERATORS,
    **windows.GENERATORS,
}
"""An operator without a generator fails a test."""

CLOCKED = frozenset({"buffer_with_time", "rate_limit"}) | timing.GENERATORS.keys()
"""Their results depend on the clock, so the clock must go on, and a crash may change them."""

LIVELY = (
    *mapping.GENERATORS,
    *taking.GENERATORS,
    *folding.GENERATORS,
    "start_with",
    "share",
    "bounded",
    "map",
    "filter",
    "flat_map",
    "scan",
    "take",
    "distinct",
    "buffer_with_count",
    "key_by",
    "aggregate",
    "process",
    "reduce",
    "to_topic",
    "windowed",
    "dedup",
    "interval_join",
    "as_of_join",
)

BY_KEY: tuple[Any, ...] = (joins.interval_join, joins.as_of_join, joins.join_table)


def chain(rng: random.Random, source: Stream[Any], names: Sequence[str]) -> Stream[Any]:
    """The operators of these names, one after the other."""
    for name in names:
        source = GENERATORS[name](rng, source)
    return source


def random_graph(rng: random.Random, sources: Sequence[Stream[Any]]) -> list[Stream[Any]]:
    """Branches, branches of branches, and where they meet again; the streams that are left over are the results."""
    streams: list[Stream[Any]] = list(sources)
    used: set[int] = set()
    for _ in range(rng.randint(3, 9)):
        at = rng.randrange(len(streams)) if rng.random() < 0.5 else len(streams) - 1
        used.add(at)
        if rng.random() < 0.4 and len(streams) > 1:
            others = [rng.randrange(len(streams)) for _ in range(rng.randint(1, 2))]
            used.update(others)
            join = rng.choice((ops.merge, ops.combine_latest, ops.with_latest_from, ops.zip, ops.concat, *BY_KEY))
            met = [streams[i] for i in others]
            streams.append(join(rng, streams[at], *met) if join in BY_KEY else streams[at].pipe(join(*met)))
        else:
            streams.append(chain(rng, streams[at], [rng.choice(LIVELY)]))
    return [one for i, one in enumerate(streams) if i not in used] or streams[-1:]
