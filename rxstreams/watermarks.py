"""Event time: how a record's time is read, and how far time has come (watermarks)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from math import floor
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from rxstreams.errors import ConfigError, seconds

__all__ = [
    "END",
    "SECONDS_BELOW",
    "SOURCE",
    "START",
    "Bounded",
    "Generator",
    "Late",
    "TimestampSource",
    "Watermarks",
    "bounded",
    "generator_of",
    "monotonic",
    "punctuated",
    "to_millis",
]

START = -(2**62)
"""The watermark before any record: nothing is known of time yet."""
END = 2**62
"""The watermark of an input that has ended: no record is expected any more, at any time."""

TimestampSource = str | Callable[[Any], Any] | None
"""Where a record's event time is: a field's name, a function of the value, or None for the broker's record timestamp."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
SECONDS_BELOW: Final = 100_000_000_000
"""Numbers below it are epoch seconds: as such the year 5138, as milliseconds March 1973."""


def to_millis(value: Any) -> int:
    """An event time as integer milliseconds since the epoch.

    Args:
        value: An aware ``datetime``, an ISO 8601 string with an offset, or epoch seconds or milliseconds (numbers beyond
            ±10¹¹ are milliseconds).

    Raises:
        ValueError: If it is none of these, or has no offset (then the time zone would be a guess).
    """
    kind = type(value)
    if kind is int:
        return value if abs(value) >= SECONDS_BELOW else value * 1000  # type: ignore[no-any-return]  # kind is int
    if isinstance(value, str):
        value = _from_iso(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(
                f"naive datetime {value.isoformat()}: expected one with a time zone; add tzinfo=timezone.utc or the zone it is in"
            )
        return (value - _EPOCH) // _MILLISECOND
    if kind is float and abs(value) < END:
        millis: float = value if abs(value) >= SECONDS_BELOW else value * 1000 + 0.001  # 1.001 · 1000 is a little less than 1001
        return floor(millis)
    raise ValueError(f"expected an aware datetime, an ISO 8601 text, or epoch seconds or milliseconds, got {value!r}")


def _from_iso(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"expected an ISO 8601 time such as 2026-01-16T10:00:00Z, got {text[:60]!r}") from None


Record = TypeVar("Record", covariant=True)


class Late(NamedTuple, Generic[Record]):
    """A record that came when nothing waited for it any more.

    Attributes:
        record: Its value.
        by: Seconds by which its event time was behind the watermark.
    """

    record: Record
    by: float


class Generator(Protocol):
    """How far time has come after a record: a function of the watermark so far, the record's value and its event time.

    It holds no memory of its own: the watermark is all that is remembered, for each partition, and saved with the position. What
    it returns below the watermark so far counts as no news.
    """

    def __call__(self, watermark: int, value: Any, time: int, /) -> int:
        """The watermark (ms) after the record: no record with a lesser event time is expected any more."""
        ...


class Bounded(msgspec.Struct, frozen=True):
    """The watermark of ``bounded``; see there."""

    delay: int

    def __call__(self, watermark: int, value: Any, time: int, /) -> int:
        """See ``Generator``."""
        return max(watermark, time - self.delay)


class Punctuated(msgspec.Struct, frozen=True):
    """The watermark of ``punctuated``; see there."""

    punctuation: Callable[[Any], Any]

    def __call__(self, watermark: int, value: Any, time: int, /) -> int:
        """See ``Generator``."""
        told = self.punctuation(value)
        return watermark if told is None else max(watermark, to_millis(told))


def bounded(out_of_orderness: float | timedelta) -> Generator:
    """The greatest time seen, minus ``out_of_orderness`` seconds: what a source's ``out_of_orderness=`` makes.

    Source: Flink's ``BoundedOutOfOrdernessWatermarks`` (there − 1 ms: a Flink watermark W still admits no record at W; ours
    admits records at W).
    """
    return Bounded(round(seconds("bounded(out_of_orderness)", out_of_orderness) * 1000))


def monotonic() -> Generator:
    """The greatest time seen: for partitions whose times never decrease.

    Source: Flink's ``AscendingTimestampsWatermarks``.
    """
    return Bounded(0)


def punctuated(punctuation: Callable[[Any], Any]) -> Generator:
    """What some records say: time stands still but where ``punctuation`` of a record is not None.

    Args:
        punctuation: The time up to which all records have come, of a record's value: an aware datetime, an ISO 8601 text with an
            offset, or epoch seconds or milliseconds; None where the record says nothing. If it raises, the record meets the
            source's policy.

    Source: Flink's ``AssignerWithPunctuatedWatermarks``.
    """
    if not callable(punctuation):
        raise ConfigError(f"punctuated(punctuation): expected a function of a record's value, got {punctuation!r}")
    return Punctuated(punctuation)


def generator_of(where: str, out_of_orderness: Any, watermarks: Any) -> Generator:
    """The watermark of a source or operator, of its two arguments.

    Raises:
        ConfigError: If they are wrong, or both given.
    """
    delay = seconds(f"{where}(out_of_orderness)", out_of_orderness)
    if watermarks is None:
        return bounded(delay)
    if delay:
        raise ConfigError(
            f"{where}: expected out_of_orderness or watermarks, got both; watermarks=bounded({delay:g}) is the first"
        )
    if not callable(watermarks):
        raise ConfigError(
            f"{where}(watermarks): expected bounded(…), monotonic(), punctuated(…), or a function of (watermark, value, time), "
            f"got {watermarks!r}"
        )
    return watermarks  # type: ignore[no-any-return]  # checked to be callable


SOURCE: Final = -1
"""In saved watermarks, the partition that stands for the whole source."""


class Watermarks:
    """The watermark of one source: the least of its partitions', those set aside as idle not counted; it never goes backwards.

    A partition that has had no record yet does not hold time back; one that joins, or comes back, starts where time is.

    Attributes:
        now: The watermark of the whole source.
        marks: That of each partition that counts, or did; of one that counts never less than ``now``.
        idle: The partitions that were set aside.
    """

    __slots__ = ("generator", "idle", "marks", "now")

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.now = START
        self.marks: dict[int, int] = {}
        self.idle: set[int] = set()

    def saved(self) -> dict[int, int]:
        """What is to be saved: each partition's watermark, and the source's under ``SOURCE``."""
        return {SOURCE: self.now, **self.marks} if self.now != START or self.marks else {}

    def restore(self, saved: Mapping[int, int]) -> None:
        """Go on from what was saved."""
        self.marks = dict(saved)
        self.now = self.marks.pop(SOURCE, START)

    def expect(self, partition: int) -> None:
        """This partition has records that are still to be read: it holds time where it is until its first one."""
        self.marks.setdefault(partition, self.now)

    def release(self, partition: int) -> None:
        """This partition was expected to have records, and has none."""
        if self.marks.get(partition) == START:
            del self.marks[partition]

    def set_aside(self, partition: int) -> None:
        """This partition is idle: it does not hold time back until its next record."""
        self.idle.add(partition)
        self._look()

    def raise_to(self, mark: int) -> None:
        """Time has come to ``mark`` without a record."""
        self.now = max(self.now, mark)

    def others(self, partition: int) -> int:
        """The least watermark of the other partitions that count."""
        return min((mark for p, mark in self.marks.items() if p != partition and p not in self.idle), default=END)

    def begin(self, partition: int) -> int:
        """A partition's watermark before its next record; from here on the partition counts."""
        self.idle.discard(partition)
        mark = self.marks[partition] = max(self.marks.get(partition, START), self.now)
        return mark

    def step(self, partition: int, value: Any, time: int) -> int:
        """Take in a partition's next record; return the source's watermark before it."""
        mark = self.begin(partition)
        before = self.now
        self.marks[partition] = max(mark, self.generator(mark, value, time))
        self._look()
        return before

    def advance(self, partition: int, times: Sequence[int], delay: int) -> list[int]:
        """Take in a partition's next records at once, where the watermark is ``Bounded``; return that before each of them."""
        if not times:
            return []
        others = self.others(partition)
        highs = list(accumulate(times, max, initial=self.begin(partition) + delay))
        self.reach(partition, highs.pop() - delay)
        return [min(high - delay, others) for high in highs]

    def reach(self, partition: int, mark: int) -> None:
        """A partition's records have brought it to ``mark``."""
        self.marks[partition] = mark
        self._look()

    def _look(self) -> None:
        counting = [mark for p, mark in self.marks.items() if p not in self.idle]
        if counting:
            self.now = max(self.now, min(counting))
