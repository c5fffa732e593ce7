"""Deduplication by definition, the slow way: one record after the other, or a sort; and records for it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import msgspec
from hypothesis import strategies as st

from rxstreams import Stream, aggregates as agg, operators as ops
from rxstreams.watermarks import START
from tests.laws.harness import Drive, End, Event, Rec, Tick, lines

NEVER_LATE = 2**40
"""Milliseconds; no record is so far behind another."""
PARTS = 16
"""What is forgotten is so by the steps of a sixteenth of ``ttl``."""
KEEPS: dict[str, Any] = {
    "first": "first",
    "last": "last",
    "collected": agg.collect("n", max=1000),
    "greatest": agg.max("n"),
    "counted": agg.count(),
}

IDS: list[Any] = ["a", "1", 1, True, None, 0, False, b"a", ("a",), (1, "a"), (True, "a"), ("a", None), 2**70, ""]
"""Ids that are all different, though some are equal in Python."""
BAD: list[Any] = [{"n": -1}, {"n": -1, "id": 1.5}, {"n": -1, "id": ["a"]}, {"n": -1, "id": {"x": 1}}, 7, None]
"""Records without an id, or with one that cannot be kept."""


class Item(NamedTuple):
    """A record: its number, the id that tells whether it was there before, and its time in milliseconds."""

    n: int
    id: str
    time: int


class Order(msgspec.Struct, frozen=True):
    """A record whose fields are attributes."""

    n: int
    id: str


@dataclass(frozen=True)
class Case:
    """Records as they come, how long an id is remembered, and how far the watermark is behind, both in milliseconds."""

    items: list[Item]
    ttl: int
    delay: int

    @property
    def steps(self) -> list[tuple[Item, int, int]]:
        """Each record with the watermark before it and after it."""
        marks = accumulate((one.time - self.delay for one in self.items), max, initial=START)
        return [(one, *both) for one, both in zip(self.items, pairwise(marks), strict=True)]

    @property
    def events(self) -> list[Event]:
        """The records in one partition, and the end."""
        return [*map(record, self.items), End("a")]

    @property
    def taken(self) -> list[Item]:
        """The records that are not behind the watermark when they come."""
        return [one for one, mark, _ in self.steps if one.time >= mark]

    def arriving(self, rng: random.Random) -> Case:
        """The same records, each up to ``delay`` later than its time; none is behind the watermark."""
        waits = {one.n: rng.choice((0, 0, self.delay, rng.randint(0, self.delay))) for one in self.items}
        return Case(sorted(self.items, key=lambda one: one.time + waits[one.n]), self.ttl, self.delay)


def record(one: Item) -> Rec:
    """What comes of it."""
    return Rec("a", 0, {"n": one.n, "id": one.id}, one.time)


@st.composite
def cases(
    draw: st.DrawFn, *, least: int = 0, most: int = 30, ids: int = 3, delays: Sequence[float] = (0, 0.3, 2, NEVER_LATE)
) -> Case:
    """Records about quarters of ``ttl`` from each other, or a millisecond beside, in any order of time.

    ``delays`` are in ``ttl``.
    """
    ttl = draw(st.sampled_from((2000, 2000, 3_600_000, 500, 49, 17, 2, 1)))
    delay = draw(st.sampled_from(delays))
    base, far = draw(st.sampled_from((1_000_000, 0, -3 * ttl))), draw(st.sampled_from((16, 6)))
    one = st.tuples(st.integers(0, ids - 1), st.integers(0, far), st.sampled_from((0, 0, 0, -1, 1)))
    many = draw(st.lists(one, min_size=least, max_size=most))
    items = [Item(n, f"id-{who}", base + at * ttl // 4 + beside) for n, (who, at, beside) in enumerate(many)]
    return Case(items, ttl, NEVER_LATE if delay == NEVER_LATE else round(delay * ttl))


# The operator.


def deduped(case: Case, *, by: str = "field", shape: str = "dict", **options: Any) -> Stream[Any]:
    """The operator over records of some shape, by their field, a function, or the stream's keys."""
    source = lines("a", out_of_orderness=case.delay / 1000)
    if shape != "dict":
        source = source.pipe(ops.map(lambda v: Order(**v) if shape == "struct" or v["n"] % 3 else v))
    options.setdefault("ttl", case.ttl / 1000)
    if by == "keys":
        return source.pipe(ops.key_by(id_of), ops.dedup(**options))
    return source.pipe(ops.dedup("id" if by == "field" else id_of, **options))


def id_of(value: Any) -> Any:
    """The id of a record of any shape."""
    return value["id"] if isinstance(value, dict) else value.id


def n_of(value: Any) -> int:
    """The number of a record of any shape, a late one too."""
    value = getattr(value, "record", value)
    number: int = value["n"] if isinstance(value, dict) else value.n
    return number


def streams(stream: Stream[Any]) -> list[Stream[Any]]:
    """All that comes of it."""
    return [stream, stream.late, stream.duplicates] if "duplicates" in stream.operation.sides else [stream, stream.late]


def remembered(drive: Drive) -> dict[Any, Any]:
    """The ids that are known, each with the time of its first record; nothing is noted of others."""
    [seen] = [store for store in drive.graph.stores if store.identity.endswith("/seen")]
    assert seen.several <= seen.states.keys() == {one for ids in seen.ages.values() for one in ids}
    return dict(seen.states)


# Driven.


def play(drive: Drive, items: Iterable[Item], waits: Sequence[int], rng: random.Random) -> None:
    """Have records come by the clock, with restarts between them."""
    for one, wait in zip(items, waits, strict=False):
        drive.feed([Tick(wait / 1000), record(one)], offset=one.n)
        if rng.random() < 0.2:
            drive.commit()
            drive.crash()


class Counting(Drive):
    """Writes down which ids are evicted."""

    def begin(self) -> None:
        super().begin()
        self.evicted: list[Any] = []
        self.graph.note_aside = lambda vertex, name, what: self.evicted.extend(what.values if name == "evicted" else ())


def reach(drive: Drive, mark: int) -> None:
    """The watermark comes to this."""
    [(name, vertex)] = drive.sources.items()
    drive.source(name).times.raise_to(mark)
    drive.graph.carry_out(lambda: vertex.forward(drive.source(name).times.now))
    drive.graph.run_posted()


def kept_in(drive: Drive) -> list[Any]:
    """What the operator remembers, wherever it does."""
    [node] = [vertex.node for vertex in drive.graph.stateful]
    apart = [getattr(store, name, ()) for store in node.stores() for name in ("states", "ages", "several", "saved")]
    return [held for held in (*apart, getattr(node, "timers", ()), getattr(node, "waiting", ())) if len(held)]


# The first.


class Told(NamedTuple):
    """The numbers of the records that come through, that are late, and that are duplicates."""

    new: list[int]
    late: list[int]
    again: list[int]


class Memory:
    """The time of each id's latest first record.

    Args:
        ttl: Milliseconds.
        capacity: How many ids there may be.
    """

    def __init__(self, ttl: int, capacity: int | None = None) -> None:
        self.ttl, self.capacity, self.grace = ttl, capacity, max(1, ttl // PARTS)
        self.first: dict[str, int] = {}
        self.evicted: list[str] = []

    def expire(self, mark: int) -> None:
        """Forget the ids of the steps that ended ``ttl`` and a sixteenth ago."""
        for one, time in list(self.first.items()):
            if (time // self.grace + 1) * self.grace + self.ttl + self.grace <= mark:
                del self.first[one]

    def take(self, one: Item, mark: int) -> str:
        """Whether a record is ``new``, ``late`` or a duplicate (``again``) when the watermark has come to ``mark``."""
        first = self.first.get(one.id)
        if first is not None and abs(one.time - first) < self.ttl:
            return "again"
        if (first is None or one.time < first) and one.time + self.grace <= mark:
            return "late"
        if first is None or one.time > first:
            self.first[one.id] = one.time
            self.evict(first is None)
        return "new"

    def evict(self, more: bool) -> None:
        """Forget the oldest sixteenth if there are too many."""
        if more and self.capacity is not None and len(self.first) > self.capacity:
            by_age = sorted(self.first, key=lambda one: (self.first[one], one))
            for one in by_age[: max(1, self.capacity // PARTS)]:
                self.evicted.append(one)
                del self.first[one]


def firsts(case: Case, capacity: int | None = None) -> Told:
    """One record after the other."""
    told, memory = Told([], [], []), Memory(case.ttl, capacity)
    for one, mark, _ in case.steps:
        memory.expire(mark)
        getattr(told, memory.take(one, mark)).append(one.n)
    return told


def sorted_firsts(case: Case) -> list[int]:
    """Of each id, the first by time, and then the first that is ``ttl`` behind it."""
    passed, last = list[int](), dict[str, int]()
    for one in sorted(case.items, key=lambda one: (one.id, one.time, one.n)):
        if one.id not in last or one.time - last[one.id] >= case.ttl:
            passed.append(one.n)
            last[one.id] = one.time
    return sorted(passed)


# The last, and aggregates.


def groups(items: Iterable[Item], ttl: int) -> list[list[Item]]:
    """By id and time: the earliest begins ``ttl``, what is in it is one with it; in order of when they are over."""
    made: list[list[Item]] = []
    for one in sorted(items, key=lambda one: (one.id, one.time)):  # stable: those of one time as they came
        if made and made[-1][0].id == one.id and one.time - made[-1][0].time < ttl:
            made[-1].append(one)
        else:
            made.append([one])
    return sorted(made, key=lambda group: (group[0].time, group[0].id))


def kept(keep: str, group: Sequence[Item]) -> Any:
    """What one of ``KEEPS`` makes of a group."""
    numbers = [one.n for one in group]
    results = {"last": numbers[-1], "collected": numbers, "greatest": max(numbers), "counted": len(numbers)}
    return results[keep]


def rows(results: Sequence[tuple[Any, int, Any]], keep: str) -> list[tuple[int, Any]]:
    """The times and results of a run, those of one time in any order; of records the number."""
    return sorted((time, n_of(value) if keep == "last" else value) for value, time, _ in results)


def by_clock(items: Sequence[Item], pauses: Iterable[int], ttl: int) -> Iterator[tuple[int, list[Item]]]:
    """The groups by the clock, each with the time when it is over; a record comes so long after the one before it."""
    begun: dict[str, tuple[int, list[Item]]] = {}
    now = 0
    for one, pause in zip(items, pauses, strict=True):
        now += pause
        if one.id in begun and now >= begun[one.id][0] + ttl:
            since, group = begun.pop(one.id)
            yield since + ttl, group
        begun.setdefault(one.id, (now, []))[1].append(one)
    yield from ((since + ttl, group) for since, group in begun.values())
