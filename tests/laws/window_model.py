"""The panes of windows, step by step: time passes, and each time every window is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rxstreams import windows
from tests.laws.windowing import Item, Kind, watermarks


@dataclass(eq=False)
class Open:
    """A window that is kept."""

    start: int
    end: int
    members: list[Item] = field(default_factory=list)
    fresh: list[Item] = field(default_factory=list)
    panes: int = 0


class Model:
    """What ``windowed`` says of panes, read aloud: time passes unit by unit, and each time every window is looked at.

    Sessions are found anew from all records that are kept, with each record.
    """

    def __init__(self, kind: Kind, *, emit: windows.Emit, lateness: int, discarding: bool) -> None:
        self.kind, self.emit, self.lateness, self.discarding = kind, emit, lateness, discarding
        self.open: dict[str, list[Open]] = {"a": [], "b": []}
        self.now = 0
        self.panes: list[Any] = []
        self.late: list[int] = []

    def run(self, items: Sequence[Item], delay: int) -> None:
        """Take all records in, and then the end."""
        starts = [start for one in items for start, _ in self.kind.spans([one.time])]
        self.now = min(starts, default=0) - delay - self.kind.unit
        for one, mark in zip(items, watermarks(items, delay), strict=True):
            self.pass_to(mark)
            self.take(one)
        self.pass_to(2**62)

    def pass_to(self, mark: int) -> None:
        """Time comes to ``mark``, or as far as anything can happen."""
        last = max((one.end + self.lateness for kept in self.open.values() for one in kept), default=self.now)
        for now in range(self.now + self.kind.unit, min(mark, last) + 1, self.kind.unit):
            self.now = now
            for key, kept in self.open.items():
                self.look(key, kept)
        self.now = max(self.now, min(mark, 2**61))

    def look(self, key: str, kept: list[Open]) -> None:
        """See what of a key's windows is due now."""
        for one in sorted(kept, key=lambda one: one.end):
            if self.now == one.end:
                self.give(key, one, windows.ON_TIME)
            elif one.start < self.now < one.end and one.fresh and self.ticks(one):
                self.give(key, one, windows.EARLY)
            if self.now == one.end + self.lateness:
                kept.remove(one)

    def ticks(self, one: Open) -> bool:
        """Whether an early result is due by time; that of sessions, whose start may change, by multiples since the epoch."""
        return self.emit.kind == "every" and (self.now - (0 if self.kind.merges else one.start)) % self.emit.n == 0

    def take(self, item: Item) -> None:
        """A record comes."""
        kept = self.open[item.key]
        mine = self.session_of(item, kept) if self.kind.merges else self.windows_of(item, kept)
        for one in mine:
            one.members.append(item)
            one.fresh.append(item)
            if one.end <= self.now:
                self.give(item.key, one, windows.LATE)
            elif self.emit.kind in ("on_update", "after") and len(one.fresh) >= self.emit.n:
                self.give(item.key, one, windows.EARLY)
        if not mine:
            self.late.append(item.id)

    def windows_of(self, item: Item, kept: list[Open]) -> list[Open]:
        """The windows of a record that are kept, the earliest first."""
        known = {(one.start, one.end): one for one in kept}
        spans = [span for span in self.kind.spans([item.time]) if span[0] <= item.time < span[1]]
        mine = [known.get(span) or Open(*span) for span in spans if span[1] + self.lateness > self.now]
        kept += [one for one in mine if one not in kept]
        return mine

    def session_of(self, item: Item, kept: list[Open]) -> list[Open]:
        """The session that a record makes of all those it joins, if that is kept."""
        times = [one.time for session in kept for one in session.members]
        start, end = next(span for span in self.kind.spans([*times, item.time]) if span[0] <= item.time < span[1])
        if end + self.lateness <= self.now:
            return []
        whole = Open(start, end)
        for one in [one for one in kept if start <= one.start < end]:
            kept.remove(one)
            whole.members += one.members
            whole.fresh += one.fresh
            whole.panes = max(whole.panes, one.panes)
        kept.append(whole)
        return [whole]

    def give(self, key: str, one: Open, timing: windows.Timing) -> None:
        """A pane."""
        ids = sorted(item.id for item in (one.fresh if self.discarding else one.members))
        last = timing == windows.ON_TIME and not self.lateness
        self.panes.append((key, one.start, one.end, timing, one.panes, last, ids))
        one.panes += 1
        one.fresh = []
