"""Joins by definition, the slow way: every record looks at all of the other side; and records for them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from hypothesis import strategies as st

import rxstreams as rxs
from rxstreams import Skip, Stop, Stream, operators as ops
from rxstreams.brokers import Record
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.watermarks import END, START
from tests.laws.harness import End, Event, Outcome, Rec, lines, random_cuts, run, run_with_crashes

KEYS = "ab"
IDLE = 1.0
"""Seconds of silence after which a live source is idle."""
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
ALONE = {"left": (0,), "right": (1,), "outer": (0, 1), "anti": (0,)}
"""The sides whose records come out alone."""


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


# Step by step, for records that come late.

Arrival = Item | End


class Time:
    """The watermark of both sides: the least of theirs, each ``delay`` behind its youngest record."""

    def __init__(self, delay: int) -> None:
        self.delay, self.tops = delay, [START, START]

    def after(self, one: Arrival) -> int:
        """The watermark when this has come."""
        if isinstance(one, End):
            self.tops["ab".index(one.source)] = END
        else:
            self.tops[one.side] = max(self.tops[one.side], one.time - self.delay)
        return min(self.tops)


@dataclass(eq=False)
class Kept:
    """A record that a join keeps, and whether it has met somebody or come out alone."""

    item: Item
    met: bool = False
    alone: bool = False


class Intervals:
    """What ``interval_join`` says, read aloud: with each record, and each time that the watermark moves, all are looked at.

    Attributes:
        rows: What came out, with the event times, in order.
        late: The numbers of late records, and by how much they were (ms).
    """

    def __init__(self, arrived: Iterable[Arrival], bounds: Bounds, how: str, delay: int) -> None:
        self.bounds, self.how, self.reach = bounds, how, (bounds.upper, -bounds.lower)
        self.kept: list[Kept] = []
        self.mark = START
        self.rows: list[tuple[Pair, int]] = []
        self.late: list[tuple[int, int]] = []
        time = Time(delay)
        for one in arrived:
            if isinstance(one, Item):
                self.take(Kept(one))
            self.pass_to(time.after(one))

    def take(self, new: Kept) -> None:
        """A record comes: it meets who is there, and stays, or its last chance is over."""
        item = new.item
        for other in self.kept:
            left, right = (other, new) if item.side else (new, other)
            if other.item.side != item.side and not other.alone and partners(left.item, [right.item], self.bounds):
                self.meet(left, right)
        reach = self.reach[item.side]
        if item.time + reach >= self.mark:
            self.kept.append(new)
        elif not new.met and (reach >= 0 or item.time < self.mark):
            self.late.append((item.id, self.mark - item.time))
        elif not new.met and item.side in ALONE.get(self.how, ()):
            self.give(new)

    def meet(self, left: Kept, right: Kept) -> None:
        """Two that are partners."""
        if self.how == "semi" and not left.met:
            self.rows.append(((left.item.id, None), left.item.time))
        elif self.how not in ("semi", "anti"):
            self.rows.append(((left.item.id, right.item.id), max(left.item.time, right.item.time)))
        left.met = right.met = True

    def give(self, one: Kept) -> None:
        """One comes out alone."""
        one.alone = True
        self.rows.append(((None, one.item.id) if one.item.side else (one.item.id, None), one.item.time))

    def pass_to(self, mark: int) -> None:
        """Time passes: some come out alone, some are forgotten, in steps of a sixteenth of what they are kept for."""
        self.mark = mark
        last = {one: one.item.time + self.reach[one.item.side] for one in self.kept}
        may = [one for one in self.kept if one.item.side in ALONE.get(self.how, ()) and not (one.met or one.alone)]
        for one in sorted(may, key=lambda one: (last[one], one.item.side, one.item.key)):
            if last[one] < mark:
                self.give(one)
        steps = [max(1, abs(reach) // 16) for reach in self.reach]
        over = {one: step - one.item.time % step for one in self.kept for step in [steps[one.item.side]]}
        self.kept = [one for one in self.kept if mark < last[one] + over[one]]


class Choice(NamedTuple):
    """How one right record is chosen for each left one: from ``lower`` (None: any) to ``upper``, when ``wait`` is over, too."""

    lower: int | None
    upper: int
    pick: str
    wait: int = 0
    history: int = 0

    def of(self, left: Item, rights: Sequence[Item]) -> Item | None:
        """What is chosen of those that have come, which are in order of arrival."""
        met = partners(left, rights, Bounds(START if self.lower is None else self.lower, self.upper))
        if self.pick == "last":
            return max(reversed(met), key=lambda one: one.time, default=None)
        apart = (lambda one: (abs(one.time - left.time), one.time)) if self.pick == "nearest" else (lambda one: (one.time, 0))
        return min(met, key=apart, default=None)

    def sure(self, left: Item, rights: Sequence[Item]) -> int:
        """The watermark at which the choice is final."""
        first = self.of(left, rights) if self.pick == "first" else None
        return (first.time if first else left.time + self.upper) + self.wait + 1


def choose(arrived: Iterable[Arrival], choice: Choice, delay: int) -> tuple[list[tuple[Pair, int]], list[tuple[int, int]]]:
    """The choice of each left record when it is final, with the event time; and those that came too late, and by how much."""
    rights, waiting, mark, time = list[Item](), list[Item](), START, Time(delay)
    rows, late = list[tuple[Pair, int]](), list[tuple[int, int]]()
    for one in arrived:
        behind = max(0, choice.upper + choice.wait) + choice.history
        if isinstance(one, Item) and one.side:
            if choice.lower is not None or one.time + behind >= mark or any(_follows(one, other) for other in rights):
                rights.append(one)  # else its key may have been deleted since
        elif isinstance(one, Item) and one.time + behind < mark:
            late.append((one.id, mark - one.time))
        elif isinstance(one, Item):
            waiting.append(one)
        for now in (mark, mark := time.after(one)):
            for left in [left for left in waiting if choice.sure(left, rights) <= now]:
                waiting.remove(left)
                chosen = choice.of(left, rights)
                rows.append(((left.id, chosen and chosen.id), left.time))
    return sorted(rows, key=repr), late


def _follows(one: Item, other: Item) -> bool:
    return one.key == other.key and other.time <= one.time


# Records, and what a run makes of them.


def items_of(*, most: int = 26, far: int = 12) -> st.SearchStrategy[list[Item]]:
    """Records of two keys in any order of time, half seconds apart and a little, often of the same one: few, or a crowd."""
    one = st.tuples(st.booleans(), st.sampled_from(KEYS), st.integers(0, far))
    some = st.lists(one, max_size=most) | st.lists(one, min_size=most // 2, max_size=most)  # in the small ones little happens
    return some.map(
        lambda many: [Item(n, int(side), key, 1_000_000 + 500 * steps + n % 3 * 30) for n, (side, key, steps) in enumerate(many)]
    )


def ended(items: Sequence[Item], order: Sequence[str], *, early: bool) -> list[Arrival]:
    """The records and then the ends in this order; the first of them as ``early`` as it can be."""
    ends: list[Arrival] = list(map(End, order))
    rest = max((at for at, one in enumerate(items, 1) if "ab"[one.side] == order[0]), default=0) if early else len(items)
    return [*items[:rest], ends[0], *items[rest:], *ends[1:]]


def events(arrived: Iterable[Arrival], *, ends: Sequence[str] = ("a", "b"), partitions: int = 1) -> list[Event]:
    """The records as they come, in this order, and then the ends."""
    made: list[Event] = [
        Rec("abc"[one.side], one.id % partitions, one._asdict(), one.time) if isinstance(one, Item) else one for one in arrived
    ]
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


def late_of(outcome: Outcome) -> list[tuple[int, int]]:
    """The numbers of what was late, and by how much (ms); of deletions nothing is known."""
    return [(value.record["id"], round(value.by * 1000)) for value, _, _ in outcome.results[1] if value.record is not None]


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


def with_late(joined: Stream[Any]) -> list[Stream[Any]]:
    """A join and what is too late for it."""
    return [joined, joined.late]


def run_cut_and_crashed(arrived: Sequence[Event], streams: Sequence[Stream[Any]], rng: random.Random) -> Outcome:
    """Run it in pushes of one, cut anywhere, and crashed anywhere: all results come in one order, and the same is kept."""
    expected = run(arrived, *streams)
    cut = run(arrived, *streams, cuts=random_cuts(rng, len(arrived)))
    assert (cut.results, cut.states) == (expected.results, expected.states)
    crashed = run_with_crashes(arrived, *streams, rng=rng)
    assert (crashed.results, crashed.states) == (expected.results, expected.states)
    return expected


def arrival(item: Item, delay: int) -> float:
    """When a record comes, by the clock: less than ``delay`` after its time, and in eighths of a second, which are exact."""
    return -(-item.time // 125) / 8 + item.id * 3 % max(1, delay // 125) / 8


async def live(items: Sequence[Item], join: Callable[[Stream[Any]], Any], delay: int) -> list[tuple[float, Any]]:
    """What a run that never ends gives, and when by the clock (s)."""
    broker, loop, came = MemoryBroker(), asyncio.get_running_loop(), list[tuple[float, Any]]()
    for name in "ab":
        await broker.create_topic(name, 1)
    left, right = (
        rxs.from_topic(name, dict, out_of_orderness=delay / 1000, idle_after=IDLE).pipe(ops.key_by("key")) for name in "ab"
    )
    told = left.pipe(join(right), ops.to_callable(lambda value: came.append((loop.time(), value))))
    async with rxs.start(told, app="live", broker=broker, clock=loop.time):
        for one in sorted(items, key=lambda one: (arrival(one, delay), one.time)):
            await asyncio.sleep(arrival(one, delay) - loop.time())
            await broker.append("ab"[one.side], [Record(msgspec.json.encode(one._asdict()), None, one.time)])
        await asyncio.sleep(60)
    return came


def shuffled(rng: random.Random, items: Sequence[Item], delay: int) -> list[Item]:
    """An order of arrival in which no record is later than ``delay`` behind a younger one of its side."""
    return sorted(items, key=lambda one: one.time + rng.uniform(0, delay))
