"""Windows by definition, the slow way: every one looks at all records; records for them, and what a run makes of these."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

import rxstreams as rxs
from rxstreams import Skip, aggregates as agg, operators as ops, windows
from rxstreams.watermarks import START
from tests.laws.harness import End, Event, Rec, lines, run

Span = tuple[int, int]


class Item(NamedTuple):
    """A record."""

    id: int
    key: str
    time: int

    @property
    def x(self) -> int:
        """What is aggregated of it."""
        return self.id * self.id % 11 - 5


@dataclass(frozen=True)
class Kind:
    """Windows, and a function that lists those which records of one key may be in.

    Starts and ends are multiples of ``unit`` from ``base``; records come up to 24 steps of ``step`` units before or after it.
    """

    over: windows.Windows
    spans: Callable[[Sequence[int]], list[Span]]
    unit: int = 250
    base: int = 0
    step: int = 1

    @property
    def merges(self) -> bool:
        """Whether its windows depend on the records."""
        return isinstance(self.over, windows.Session)

    @property
    def refines(self) -> bool:
        """Whether it can give more than one pane."""
        return not isinstance(self.over, windows.Sliding)

    def ms(self, steps: int) -> int:
        """So many steps."""
        return steps * self.step * self.unit


# Definitions.


def grid(size: int, every: int, offset: int = 0) -> Callable[[Sequence[int]], list[Span]]:
    """Every window [offset + k · every, … + size) that could have one of the records."""

    def spans(times: Sequence[int]) -> list[Span]:
        first, last = (min(times) - size - offset) // every, (max(times) - offset) // every
        return [(offset + k * every, offset + k * every + size) for k in range(first, last + 1)]

    return spans


_QUARTER = timedelta(minutes=15)
_NAMES: dict[str, Callable[[date], Any]] = {
    "day": lambda day: day,
    "week": lambda day: day.isocalendar()[:2],
    "month": lambda day: (day.year, day.month),
}


@lru_cache
def _turns(unit: str, tz: str, year: int) -> list[int]:
    """When a later day, week or month begins, from the December before to the January after: all quarters of an hour tried."""
    named, place = _NAMES[unit], ZoneInfo(tz)
    at, until, found, name = datetime(year - 1, 12, 1, tzinfo=UTC), datetime(year + 1, 2, 1, tzinfo=UTC), [], None
    while at < until:
        if name is None or named(at.astimezone(place).date()) > name:
            name = named(at.astimezone(place).date())
            found.append(int(at.timestamp() * 1000))
        at += _QUARTER
    return found


def calendar(unit: str, tz: str, year: int) -> Callable[[Sequence[int]], list[Span]]:
    """The days, weeks or months of a place: from the first quarter of an hour with a date to the first with the next."""

    def spans(times: Sequence[int]) -> list[Span]:
        return [(start, end) for start, end in pairwise(_turns(unit, tz, year)) if end > min(times) and start <= max(times)]

    return spans


def sessions(gap: int, longest: int | None = None) -> Callable[[Sequence[int]], list[Span]]:
    """The records in order of time, cut where one is ``gap`` or more behind the last, and at multiples of ``longest``."""

    def spans(times: Sequence[int]) -> list[Span]:
        ordered = sorted(times)
        cell = (lambda time: time // longest) if longest else (lambda time: 0)
        cuts = [i for i, (a, b) in enumerate(pairwise(ordered), 1) if b - a >= gap or cell(a) != cell(b)]
        parts = [ordered[i:j] for i, j in pairwise((0, *cuts, len(ordered)))]
        ends = [min(part[-1] + gap, (cell(part[0]) + 1) * longest if longest else part[-1] + gap) for part in parts]
        return [(part[0], end) for part, end in zip(parts, ends, strict=True)]

    return spans


def slides(size: int) -> Callable[[Sequence[int]], list[Span]]:
    """A window per record."""
    return lambda times: [(time + 1 - size, time + 1) for time in times]


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


KINDS: dict[str, Kind] = {
    "tumbling": Kind(rxs.tumbling(1.5), grid(1500, 1500)),
    "tumbling with an offset": Kind(rxs.tumbling(2, offset=-0.75), grid(2000, 2000, -750)),
    "hopping": Kind(rxs.hopping(3, 1), grid(3000, 1000)),
    "hopping unevenly": Kind(rxs.hopping(4, 1.5), grid(4000, 1500)),
    "hopping with an offset": Kind(rxs.hopping(2.5, 0.75, offset=1), grid(2500, 750, 1000), base=1_700_000_000_000),
    "days with 23 hours": Kind(
        rxs.calendar("day", tz="Europe/Berlin"),
        calendar("day", "Europe/Berlin", 2025),
        unit=3_600_000,
        base=_ms("2025-03-30T12:00Z"),
    ),
    "days with 25 hours": Kind(
        rxs.calendar("day", tz="America/New_York"),
        calendar("day", "America/New_York", 2025),
        unit=3_600_000,
        base=_ms("2025-11-02T12:00Z"),
    ),
    "days without midnight": Kind(
        rxs.calendar("day", tz="Africa/Cairo"),
        calendar("day", "Africa/Cairo", 2025),
        unit=3_600_000,
        base=_ms("2025-04-24T21:00Z"),
    ),
    "weeks": Kind(
        rxs.calendar("week", tz="Europe/Berlin"),
        calendar("week", "Europe/Berlin", 2025),
        unit=3_600_000,
        base=_ms("2025-10-26T23:00Z"),
        step=6,
    ),
    "months before 1970": Kind(
        rxs.calendar("month", tz="Asia/Tokyo"),
        calendar("month", "Asia/Tokyo", 1969),
        unit=86_400_000,
        base=_ms("1969-06-30T15:00Z"),
        step=3,
    ),
    "session": Kind(rxs.session(1.25), sessions(1250)),
    "session with a maximum": Kind(rxs.session(1, max=2.5), sessions(1000, 2500)),
    "sliding": Kind(rxs.sliding(2), slides(2000)),
}
REFINING = {name: kind for name, kind in KINDS.items() if kind.refines}


def watermarks(items: Sequence[Item], delay: int) -> Iterator[int]:
    """The watermark before each record."""
    mark = START
    for one in items:
        yield mark
        mark = max(mark, one.time - delay)


Row = tuple[str, int, int, list[int]]
"""A key, a window's start and end, and the ids of the records in it."""


def contents(kind: Kind, items: Sequence[Item], marks: Iterable[int] | None = None, lateness: int = 0) -> list[Row]:
    """Every window that is not empty; where there are marks, without the records that came when it was kept no longer."""
    came = list(zip(items, marks if marks is not None else [START] * len(items), strict=True))
    rows: list[Row] = []
    for key in sorted({one.key for one in items}):
        mine = [(one, mark) for one, mark in came if one.key == key]
        for start, end in kind.spans([one.time for one, _ in mine]):
            ids = sorted(one.id for one, mark in mine if start <= one.time < end and end + lateness > mark)
            if ids:
                rows.append((key, start, end, ids))
    return sorted(rows)


# What a run makes.

AGGREGATES: dict[str, Any] = {
    "ids": agg.collect("id", max=1000),
    "n": agg.count(),
    "total": agg.sum("x"),
    "least": agg.min("x"),
    "most": agg.max("x"),
    "kinds": agg.distinct_count("x"),
}


def aggregated(items: Iterable[Item]) -> tuple[int, int, int | None, int | None, int]:
    """The aggregates of some records but their ids."""
    xs = [one.x for one in items]
    return len(xs), sum(xs), min(xs, default=None), max(xs, default=None), len(set(xs))


def records(items: Iterable[Item]) -> list[Event]:
    """The records of one partition."""
    return [Rec("a", 0, {"id": one.id, "key": one.key, "x": one.x}, one.time) for one in items]


@dataclass
class Made:
    """What came of it: the panes with their event times, and the ids of the late records with how late they were (ms)."""

    panes: list[Any]
    times: list[int]
    late: list[tuple[int, int]]

    @property
    def rows(self) -> list[Row]:
        """The panes as windows, without order."""
        return sorted((one.key, one.start, one.end, sorted(one.ids)) for one in self.panes)

    @property
    def on_time(self) -> dict[str, list[Any]]:
        """Each key's final results, in order, without what tells the order in which the records came."""
        found: dict[str, list[Any]] = {}
        for one in self.panes:
            if one.pane.timing == windows.ON_TIME:
                row = (one.start, one.end, one.n, one.total, one.least, one.most, one.kinds)
                found.setdefault(one.key, []).append(row)
        return found

    @property
    def written(self) -> list[Any]:
        """All that is to be seen of the panes."""
        return [
            (one.key, one.start, one.end, one.pane.timing, one.pane.number, one.pane.last, sorted(one.ids)) for one in self.panes
        ]


def windowed(items: Sequence[Item], over: windows.Windows, *, delay: int, cuts: Iterable[int] | None = (), **how: Any) -> Made:
    """Run a pipeline over the records, to the end; if it is one loop, again as operators that pass batches: that is the same."""
    made = _made(items, over, delay, cuts, how)
    if not how and not isinstance(over, windows.Sliding):
        assert _made(items, over, delay, cuts, {"on_error": Skip()}) == made
    return made


def _made(items: Sequence[Item], over: windows.Windows, delay: int, cuts: Iterable[int] | None, how: dict[str, Any]) -> Made:
    stream = lines(out_of_orderness=delay / 1000).pipe(ops.key_by("key"), ops.windowed(over, **how, **AGGREGATES))
    panes, late = run([*records(items), End("a")], stream, stream.late, cuts=cuts).results
    return Made(
        [value for value, _, _ in panes],
        [time for _, time, _ in panes],
        [(value.record["id"], round(value.by * 1000)) for value, _, _ in late],
    )


def items_of(kind: Kind, *, most: int = 14) -> st.SearchStrategy[list[Item]]:
    """Some records in any order of time, of two keys: far apart, or close to each other."""
    drawn = st.sampled_from((24, 9, 5)).flatmap(
        lambda far: st.lists(st.tuples(st.sampled_from("ab"), st.integers(-far, far)), max_size=most)
    )
    return drawn.map(lambda many: [Item(n, key, kind.base + kind.ms(steps)) for n, (key, steps) in enumerate(many)])


def modes(kind: Kind) -> dict[str, dict[str, Any]]:
    """Ways to give panes, as arguments of ``windowed``."""
    if not kind.refines:
        return {"on close": {}}
    if isinstance(kind.over, windows.Counting):
        return {"on close": {}, "on update": {"emit": windows.on_update}, "after two": {"emit": windows.after(2)}}
    kept = kind.ms(5) / 1000
    return {
        "on close": {},
        "on close, kept": {"lateness": kept},
        "on close, kept, discarding": {"lateness": kept, "panes": "discarding"},
        "on update": {"emit": windows.on_update},
        "on update, kept": {"emit": windows.on_update, "lateness": kept},
        "on update, kept, discarding": {"emit": windows.on_update, "lateness": kept, "panes": "discarding"},
        "after two": {"emit": windows.after(2), "lateness": kept},
        "after two, discarding": {"emit": windows.after(2), "panes": "discarding"},
        "every": {"emit": windows.every(kind.ms(2) / 1000)},
        "every, discarding": {"emit": windows.every(kind.ms(3) / 1000), "panes": "discarding"},
        "every, kept": {"emit": windows.every(kind.ms(2) / 1000), "lateness": kept},
        "every, kept, discarding": {"emit": windows.every(kind.ms(1) / 1000), "lateness": kept, "panes": "discarding"},
    }


def disordered(rng: random.Random, kind: Kind, n: int) -> list[Event]:
    """Records of five keys in two partitions, some too late, and the end."""
    events: list[Event] = []
    now = -12
    for number in range(n):
        now += rng.choice((0, 0, 1, 1, 2, 9 if rng.random() < 0.1 else 0))
        at = kind.base + kind.ms(now - rng.choice((0, 0, 0, 1, 2, 5, 11))) + rng.choice((0, 0, 0, 1))
        value = {"id": number, "key": rng.randrange(5), "x": rng.randrange(-5, 6)}
        events.append(Rec("a", rng.choice((0, 0, 0, 1)), value, at))
    return [*events, End("a")]
