"""How event time is cut into windows."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from datetime import date, datetime, timedelta, tzinfo
from math import gcd
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from rxstreams.errors import ConfigError, seconds

__all__ = [
    "Calendar",
    "Counting",
    "Grid",
    "Session",
    "Sliding",
    "Windows",
    "calendar",
    "counting",
    "hopping",
    "millis",
    "session",
    "sliding",
    "tumbling",
]


class Windows(msgspec.Struct, frozen=True):
    """How a stream is cut into windows."""


class Grid(Windows, frozen=True):
    """Windows that stand still: where they begin does not depend on the records. Times and lengths are milliseconds.

    Records are gathered in *panes*, the pieces that every window is a row of (Li et al., "No Pane, No Gain", 2005); each record
    is in one pane, and a window's result is merged of its panes'.
    """

    size: int
    every: int
    offset: int = 0

    @property
    def pane_size(self) -> int:
        """How long a pane is."""
        return gcd(self.size, self.every)

    def pane(self, time: int) -> int:
        """Where the pane with ``time`` begins."""
        return time - (time - self.offset) % self.pane_size

    def next_end(self, time: int) -> int:
        """The first end of a window after ``time``."""
        return time + self.every - (time - self.offset - self.size) % self.every

    def last_end(self, pane: int) -> int:
        """The end of the last window that has this pane."""
        return pane + self.size - (pane - self.offset) % self.every

    def begin(self, end: int) -> int:
        """Where the window begins that ends at ``end``."""
        return end - self.size

    def starts(self, time: int) -> Iterator[int]:
        """Where the windows with ``time`` begin, the latest first."""
        return iter(range(time - (time - self.offset) % self.every, time - self.size, -self.every))

    def end(self, start: int) -> int:
        """Where the window ends that begins at ``start``."""
        return start + self.size

    def __repr__(self) -> str:
        begun = f", offset={self.offset / 1000:g}" if self.offset else ""
        if self.size == self.every:
            return f"tumbling({self.size / 1000:g}{begun})"
        return f"hopping({self.size / 1000:g}, {self.every / 1000:g}{begun})"


class Calendar(Windows, frozen=True):
    """Days, weeks or months of a place, each its own pane; in milliseconds they differ in length."""

    unit: Literal["day", "week", "month"]
    tz: tzinfo

    def pane(self, time: int) -> int:
        """Where the window with ``time`` begins."""
        day = self._first_day(time)
        # Clocks that go back over midnight have it twice; the day begins with the first, and what is between is in it.
        following = self._following(day)
        return self._instant(following if self._instant(following) <= time else day)

    def end(self, start: int) -> int:
        """Where the window ends that begins at ``start``."""
        return self._instant(self._following(self._first_day(start)))

    last_end = end

    def next_end(self, time: int) -> int:
        """The first end of a window after ``time``."""
        return self.end(self.pane(time))

    def begin(self, end: int) -> int:
        """Where the window begins that ends at ``end``."""
        return self.pane(end - 1)

    def starts(self, time: int) -> Iterator[int]:
        """Where the window with ``time`` begins."""
        return iter((self.pane(time),))

    def _first_day(self, time: int) -> date:
        day = self._local_day(time)
        if self.unit == "week":
            return day - timedelta(days=day.weekday())
        return day.replace(day=1) if self.unit == "month" else day

    def _following(self, day: date) -> date:
        if self.unit == "month":
            return (day + timedelta(days=31)).replace(day=1)
        return day + timedelta(days=7 if self.unit == "week" else 1)

    def _instant(self, day: date) -> int:
        """When the day begins: at the first of two midnights; where the clocks skip midnight, at the instant at which they do."""
        midnight = datetime(day.year, day.month, day.day, tzinfo=self.tz)
        first, second = ((midnight.replace(fold=fold) - _EPOCH) // _MILLISECOND for fold in (0, 1))
        if first <= second:
            return first
        # Skipped: by the offset after the change it is before it, and the other way round.
        return second + bisect_left(range(second, first), day, key=self._local_day)

    def _local_day(self, time: int) -> date:
        return (_EPOCH + timedelta(milliseconds=time)).astimezone(self.tz).date()

    def __repr__(self) -> str:
        return f"calendar({self.unit!r}, tz={str(self.tz)!r})"


_EPOCH = datetime.fromtimestamp(0, ZoneInfo("UTC"))
_MILLISECOND = timedelta(milliseconds=1)


class Session(Windows, frozen=True):
    """From a record on, until ``gap`` milliseconds have passed without one, or the next multiple of ``max`` has come."""

    gap: int
    max: int | None = None

    def span(self, time: int) -> tuple[int, int]:
        """The session [start, end) of one record."""
        return time, self.bounded(time, time + self.gap)

    def bounded(self, start: int, end: int) -> int:
        """Where a session must end that begins at ``start``, and would end at ``end``."""
        return end if self.max is None else min(end, start - start % self.max + self.max)

    def __repr__(self) -> str:
        return f"session({self.gap / 1000:g}{'' if self.max is None else f', max={self.max / 1000:g}'})"


class Sliding(Windows, frozen=True):
    """For each record the ``size`` milliseconds that end with it."""

    size: int

    def __repr__(self) -> str:
        return f"sliding({self.size / 1000:g})"


class Counting(Windows, frozen=True):
    """``n`` records of a key, begun with each ``every``-th."""

    n: int
    every: int

    def __repr__(self) -> str:
        return f"counting({self.n}{'' if self.n == self.every else f', every={self.every}'})"


def tumbling(size: float | timedelta, *, offset: float | timedelta = 0.0) -> Grid:
    """Windows that follow each other without gap or overlap, [0, size), [size, 2 size), … since the epoch.

    Args:
        size: Seconds, to the millisecond.
        offset: Seconds by which they are shifted; less than ``size``, either way.

    Raises:
        ConfigError: If ``size`` is not positive, or the offset not below it.
    """
    length = millis("tumbling(size)", size)
    return _grid("tumbling", length, length, offset)


def hopping(size: float | timedelta, every: float | timedelta, *, offset: float | timedelta = 0.0) -> Grid:
    """Windows that overlap: each ``size`` seconds long, a new one every ``every`` seconds, aligned to the epoch.

    A record is in size ÷ every windows. (Flink calls these sliding.)

    Args:
        size: Seconds, to the millisecond.
        every: Seconds from one start to the next; at most ``size``.
        offset: Seconds by which they are shifted; less than ``size``, either way.

    Raises:
        ConfigError: If a length is not positive, ``every`` is above ``size``, or the offset not below it.
    """
    length, step = millis("hopping(size)", size), millis("hopping(every)", every)
    if step > length:
        raise ConfigError(f"hopping(every): expected at most the size, {length / 1000:g} s, or records would be in no window")
    return _grid("hopping", length, step, offset)


def _grid(where: str, size: int, every: int, offset: float | timedelta) -> Grid:
    shift = round(seconds(f"{where}(offset)", offset, least=float("-inf")) * 1000)
    if abs(shift) >= size:
        raise ConfigError(f"{where}(offset): expected less than the size, {size / 1000:g} s, got {shift / 1000:g}")
    return Grid(size, every, shift % every)


def millis(where: str, value: float | timedelta) -> int:
    """A positive duration argument in whole milliseconds.

    Raises:
        ConfigError: If it is none, or less than one.
    """
    whole = round(seconds(where, value, allow_least=False) * 1000)
    if whole < 1:
        raise ConfigError(f"{where}: expected at least a millisecond, got {value!r}")
    return whole


def calendar(unit: Literal["day", "week", "month"], *, tz: str | tzinfo) -> Calendar:
    """Days, weeks (from Monday, ISO 8601) or months of a place, from midnight to midnight by its clocks.

    Where these are changed, a day has 23 or 25 hours.

    Args:
        unit: ``"day"``, ``"week"`` or ``"month"``.
        tz: The place: a name such as ``"Asia/Ho_Chi_Minh"``, or a ``tzinfo``.

    Raises:
        ConfigError: If the unit or the place is not known.
    """
    if unit not in ("day", "week", "month"):
        raise ConfigError(f"calendar(unit): expected 'day', 'week' or 'month', got {unit!r}")
    if isinstance(tz, str):
        try:
            return Calendar(unit, ZoneInfo(tz))
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ConfigError(f"calendar(tz): {tz!r} is no place that the time zone database knows: {error}") from error
    if not isinstance(tz, tzinfo):
        raise ConfigError(f"calendar(tz): expected a name such as 'Europe/Berlin' or a tzinfo, got {tz!r}")
    return Calendar(unit, tz)


def session(gap: float | timedelta, *, max: float | timedelta | None = None) -> Session:  # noqa: A002  # the field's word
    """Stretches of a key's records that follow each other by less than ``gap`` seconds: [first, last + gap).

    Records that are just ``gap`` apart are two sessions. A record between two makes one of them.

    Args:
        gap: Seconds of silence that end a session.
        max: Seconds that a session may last: it ends at the next multiple of ``max`` since the epoch, and what comes then begins
            another. So where sessions are cut does not depend on the order in which records come.

    Raises:
        ConfigError: If ``gap`` is not positive, or ``max`` is below it.

    Source: Apache Beam's sessions for [first, last + gap); Azure Stream Analytics' maximum duration for ``max``.
    """
    silence = millis("session(gap)", gap)
    if max is None:
        return Session(silence)
    longest = millis("session(max)", max)
    if longest < silence:
        raise ConfigError(f"session(max): expected at least the gap, {silence / 1000:g} s, got {longest / 1000:g}")
    return Session(silence, longest)


def sliding(size: float | timedelta) -> Sliding:
    """For each record, its key's records of the last ``size`` seconds up to it: time − size < t ≤ time.

    Records of one time are in each other's windows, so that the result does not depend on which came first. (SQL: ``RANGE
    BETWEEN … PRECEDING AND CURRENT ROW``, without the record that is just ``size`` older.)

    Args:
        size: Seconds, to the millisecond.

    Raises:
        ConfigError: If ``size`` is not positive.
    """
    return Sliding(millis("sliding(size)", size))


def counting(n: int, *, every: int | None = None) -> Counting:
    """Each ``n`` records of a key, in the order in which they come.

    Args:
        n: How many records a window has.
        every: How many records after the last one a window begins; None is ``n``, so that they do not overlap.

    Raises:
        ConfigError: If a number is not a positive integer, or ``every`` is above ``n``.
    """
    step = n if every is None else every
    for name, value in (("n", n), ("every", step)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"counting({name}): expected a positive integer, got {value!r}")
    if step > n:
        raise ConfigError(f"counting(every): expected at most n, {n}, or records would be in no window; got {step}")
    return Counting(n, step)
