"""Windows and sessions that are refined: with early results, or kept for late records. Keyed operators."""

from __future__ import annotations

from typing import Any

from rxstreams.operators.windows.firing import Firing
from rxstreams.operators.windows.rows import Row
from rxstreams.windows import EARLY, ON_TIME, Calendar, Grid, Session

__all__ = ["RefinedSessions", "RefinedWindows"]


class RefinedWindows:
    """Windows that stand still; a key's state is the row of each of its windows, by their start."""

    def __init__(self, over: Grid | Calendar, firing: Firing) -> None:
        self.over, self.firing = over, firing
        self.every = firing.emit.n if firing.emit.kind == "every" else 0

    def open(self) -> dict[int, Row]:
        """No window is open."""
        return {}

    def process(self, state: dict[int, Row], key: Any, value: Any, time: int, ctx: Any) -> None:
        """Put a record into each of its windows that is still kept, the earliest first."""
        mark, lateness = ctx.watermark, self.firing.lateness
        kept = [start for start in self.over.starts(time) if self.over.end(start) + lateness > mark]
        for start in reversed(kept):
            end = self.over.end(start)
            row = state.get(start)
            if row is None:
                row = self.firing.new()
                # What begins after its end has no result on time; it is kept for as long as it would have been.
                ctx.set_timer(end if end > mark else end + lateness)
            self.firing.take(row, value)
            state[start] = row
            if self.every and end > mark:
                ctx.set_timer(min(end, self.firing.next_tick(mark, start)))
            self.firing.after_record(ctx, key, row, start, end)
        if not kept:
            ctx.late(value)
            if not state:
                ctx.forget()

    def on_timer(self, state: dict[int, Row], key: Any, time: int, ctx: Any) -> None:
        """A window ends, or is kept no longer, or an early result is due."""
        lateness = self.firing.lateness
        for start in sorted(state):
            row, end = state[start], self.over.end(start)
            if time == end:
                self.firing.fire(ctx, key, row, start, end, ON_TIME)
                if lateness:
                    ctx.set_timer(end + lateness)
            elif self.every and start < time < end and not (time - start) % self.every and row[self.firing.fresh]:
                self.firing.fire(ctx, key, row, start, end, EARLY)
            if time == end + lateness:
                del state[start]
        if not state:
            ctx.forget()


Span = list[Any]
"""[start, end, row]"""


class RefinedSessions:
    """Sessions; a key's state is those that are kept, in no order: they never overlap.

    Each session that is to end has a timer at its end or before: one that comes too early finds that the session goes on, and is
    set again. So a record of such a session sets no timer but that of an early result.
    """

    def __init__(self, over: Session, firing: Firing) -> None:
        self.over, self.firing = over, firing
        self.every = firing.emit.n if firing.emit.kind == "every" else 0

    def open(self) -> list[Span]:
        """No session is open."""
        return []

    def process(self, state: list[Span], key: Any, value: Any, time: int, ctx: Any) -> None:
        """Put a record into the session that it makes of all those that it touches; it is late if that is kept no longer."""
        mark, lateness = ctx.watermark, self.firing.lateness
        start, end = self.over.span(time)
        touched = sorted((one for one in state if one[0] < end and start < one[1]), key=lambda one: one[0])
        awaited = any(one[1] > mark for one in touched)
        for one in touched:
            start, end = min(start, one[0]), max(end, one[1])
        if end + lateness <= mark:
            ctx.late(value)
            if not state:
                ctx.forget()
            return
        row = touched[0][2] if touched else self.firing.new()
        self.firing.take(row, value)
        for one in touched[1:]:
            self.firing.absorb(row, one[2])
            state.remove(one)
        if touched:
            touched[0][:2] = start, end
        else:
            state.append([start, end, row])
        if end <= mark:
            ctx.set_timer(end + lateness)
        elif not awaited:
            ctx.set_timer(end)
        if self.every and end > mark:
            ctx.set_timer(min(end, self.firing.next_tick(mark, start - start % self.every)))
        self.firing.after_record(ctx, key, row, start, end)

    def on_timer(self, state: list[Span], key: Any, time: int, ctx: Any) -> None:
        """A session ends, or is kept no longer, or goes on, or an early result is due."""
        lateness = self.firing.lateness
        for one in sorted(state, key=lambda one: one[1]):
            start, end, row = one
            if time == end:
                self.firing.fire(ctx, key, row, start, end, ON_TIME)
                if lateness:
                    ctx.set_timer(end + lateness)
            elif time < end:
                ctx.set_timer(end)
                if self.every and start < time and not time % self.every and row[self.firing.fresh]:
                    self.firing.fire(ctx, key, row, start, end, EARLY)
            if time == end + lateness:
                state.remove(one)
        if not state:
            ctx.forget()
