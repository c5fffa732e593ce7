"""Event time: how a record's time is read, and how far time has come (watermarks)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any

__all__ = ["END", "START", "TimestampSource", "Watermarks", "to_millis"]

START = -(2**62)
"""The watermark before any record: nothing is known of time yet."""
END = 2**62
"""The watermark of an input that has ended: no record is expected any more, at any time."""

TimestampSource = str | Callable[[Any], Any] | None
"""Where a record's event time is: a field's name, a function of the value, or None for the broker's record timestamp."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_SECONDS_BELOW = 100_000_000_000  # as seconds the year 5138, as milliseconds March 1973


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
        return value if abs(value) >= _SECONDS_BELOW else value * 1000  # type: ignore[no-any-return]  # kind is int
    if isinstance(value, str):
        value = _from_iso(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(
                f"naive datetime {value.isoformat()}: expected one with a time zone; add tzinfo=timezone.utc or the zone it is in"
            )
        return (value - _EPOCH) // _MILLISECOND
    if kind is float and abs(value) < END:
        return int(value if abs(value) >= _SECONDS_BELOW else value * 1000)
    raise ValueError(f"expected an aware datetime, an ISO 8601 text, or epoch seconds or milliseconds, got {value!r}")


def _from_iso(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"expected an ISO 8601 time such as 2026-01-16T10:00:00Z, got {text[:60]!r}") from None


class Watermarks:
    """The watermark of one source: the least, over its partitions, of the greatest time seen − ``out_of_orderness``.

    A partition that has had no record yet does not hold time back; one that joins later starts where time is, so that it never
    goes backwards.

    Source: bounded out-of-orderness as in Flink's ``BoundedOutOfOrdernessWatermarks`` (there − 1 ms: a Flink watermark W still
    admits no record at W; ours admits records at W).
    """

    __slots__ = ("delay", "highest")

    def __init__(self, out_of_orderness: float = 0.0, highest: Mapping[int, int] | None = None) -> None:
        self.delay = int(out_of_orderness * 1000)
        self.highest = dict(highest or {})

    @property
    def now(self) -> int:
        """The watermark of the whole source."""
        return min(self.highest.values()) - self.delay if self.highest else START

    def expect(self, partition: int) -> None:
        """This partition has records that are still to be read: it holds time where it is until its first one."""
        self.highest.setdefault(partition, self.now + self.delay)

    def release(self, partition: int) -> None:
        """This partition was expected to have records, and has none."""
        if self.highest.get(partition) == START + self.delay:
            del self.highest[partition]

    def advance(self, partition: int, times: Sequence[int]) -> list[int]:
        """Take in a partition's next records; return the source's watermark before each of them."""
        if not times:
            return []
        delay = self.delay
        others = min((high for p, high in self.highest.items() if p != partition), default=END)
        highs = list(accumulate(times, max, initial=self.highest.get(partition, self.now + delay)))
        self.highest[partition] = highs.pop()
        return [min(high, others) - delay for high in highs]
