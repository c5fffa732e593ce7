"""Joins by definition, the slow way: every record looks at all of the other side; and records for them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from rxstreams import Skip, Stop, Stream, operators as ops
from rxstreams.watermarks import START
from tests.laws.harness import End, Event, Outcome, Rec, lines, run

KEYS = "ab"
Pair = tuple[int | None, int | None]
"""The numbers of a left and a right record; None where one is missing."""


class Item(NamedTuple):
    """A record of the left (0) or right (1) side; its time is in milliseconds."""

    id: int
    side: int
    key: str
    time: int


class Bounds(NamedTuple):
    """Milliseconds by which the right time is behind the left one, at least and at most."""

    lower: int
    upper: int

    @property
    def arguments(self) -> dict[str, float]:
        """As arguments of ``interval_join``."""
        return {"lower": self.lower / 1000, "upper": self.upper / 1000}


BOUNDS = [Bounds(-2000, 2000), Bounds(0, 0), Bounds(0, 3000), Bounds(-1000, 4000), Bounds(1000, 3000), Bounds(-3000, -1000)]
HOWS = ("inner", "left", "right", "outer", "semi", "anti")


# Definitions.


def sides(items: Iterable[Item]) -> tuple[list[Item], list[Item]]:
    """The left ones and the right ones."""
    items = list(items)
    return [one for one in items if not one.side], [one for one in items if one.side]


def partners(left: Item, right: Sequence[Item], bounds: Bounds) -> list[Item]:
    """The right records that a left one meets."""
    return [one for one in right if one.key == left.key and bounds.lower <= one.time - left.time <= bounds.upper]


def joined(items: Sequence[Item], bounds: Bounds, how: str) -> list[tuple[Pair, int]]:
    """What a join gives, with the event times, in no order."""
    left, right = sides(items)
    pairs = [(one, other) for one in left for other in partners(one, right, bounds)]
    met = {one.id for pair in pairs for one in pair}
    rows: list[tuple[Pair, int]] = []
    if how not in ("semi", "anti"):
        rows += [((one.id, other.id), max(one.time, other.time)) for one, other in pairs]
    if how in ("left", "outer", "anti"):
        rows += [((one.id, None), one.time) for one in left if one.id not in met]
    if how == "semi":
        rows += [((one.id, None), one.time) for one in left if one.id in met]
    if how in ("right", "outer"):
        rows += [((None, one.id), one.time) for one in right if one.id not in met]
    return sorted(rows, key=repr)


def chosen(items: Sequence[Item], lower: int | None, upper: int, pick: str, *, inner: bool) -> list[tuple[int, int | None, int]]:
    """For each left record the time of the right one that is chosen: (number, that time, its own time), in no order."""
    left, right = sides(items)
    rows: list[tuple[int, int | None, int]] = []
    for one in left:
        times = [other.time for other in partners(one, right, Bounds(START if lower is None else lower, upper))]
        by: Callable[[int], Any] = {"first": lambda time: time, "last": lambda time: -time}.get(pick) or (
            lambda time, one=one: (abs(time - one.time), time)
        )
        best = min(times, key=by, default=None)
        if best is not None or not inner:
            rows.append((one.id, best, one.time))
    return sorted(rows, key=repr)


# Records, and what a run makes of them.


def items_of(*, most: int = 24, far: int = 12) -> st.SearchStrategy[list[Item]]:
    """Records of two keys in any order of time, half seconds apart and a little, often of the same one."""
    one = st.tuples(st.booleans(), st.sampled_from(KEYS), st.integers(0, far))
    return st.lists(one, max_size=most).map(
        lambda many: [Item(n, int(side), key, 1_000_000 + 500 * steps + n % 3 * 30) for n, (side, key, steps) in enumerate(many)]
    )


def events(items: Iterable[Item], *, ends: Sequence[str] = ("a", "b")) -> list[Event]:
    """The records as they come, in this order, and then the ends."""
    made: list[Event] = [Rec("ab"[one.side], 0, {"id": one.id, "key": one.key, "time": one.time}, one.time) for one in items]
    return [*made, *map(End, ends)]


def keyed(name: str, delay: int) -> Stream[Any]:
    """A side, by key; ``delay`` is the milliseconds by which it may be out of order."""
    return lines(name, out_of_orderness=delay / 1000).pipe(ops.key_by("key"))


def both(join: Callable[[Stream[Any]], Any], delay: int) -> Stream[Any]:
    """The join of the two sides."""
    return keyed("a", delay).pipe(join(keyed("b", delay)))


def numbers(value: Any) -> Pair:
    """The numbers of what came out."""
    if isinstance(value, dict):
        return value["id"], None
    left, right = (None if one is None else one["id"] for one in value)
    return left, right


def rows_of(outcome: Outcome) -> list[tuple[Pair, int]]:
    """What came of a join's first stream, with the event times, in no order."""
    return sorted(((numbers(value), time) for value, time, _ in outcome.results[0]), key=repr)


def choices_of(outcome: Outcome) -> list[tuple[int, int | None, int]]:
    """The same of a join that chooses: the numbers, and the chosen ones' times."""
    found = [(left["id"], right and right["time"], time) for (left, right), time, _ in outcome.results[0]]
    return sorted(found, key=repr)


def run_each_way(arrived: Sequence[Event], make: Callable[[], Sequence[Stream[Any]]]) -> Outcome:
    """Run it in the sources' loops, and as operators that pass batches: what comes out is the same, but for its order."""
    loop = run(arrived, *make(), cuts=(), policy=Stop())
    batches = run(arrived, *make(), cuts=(), policy=Skip())
    for one, other in zip(loop.results, batches.results, strict=True):
        assert sorted(one, key=repr) == sorted(other, key=repr)
    return batches


def shuffled(rng: random.Random, items: Sequence[Item], delay: int) -> list[Item]:
    """An order of arrival in which no record is later than ``delay`` behind a younger one of its side."""
    return sorted(items, key=lambda one: one.time + rng.uniform(0, delay))
