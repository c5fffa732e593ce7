"""Windows that stand still and are refined: with early results, or kept for late records."""

from __future__ import annotations

from typing import Any

from rxstreams.operators.windows.firing import Firing
from rxstreams.operators.windows.rows import Row
from rxstreams.windows import EARLY, ON_TIME, Calendar, Grid

__all__ = ["Refined"]


class Refined:
    """A keyed operator; a key's state is the row of each of its windows, by their start."""

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
            if self.every and row[self.firing.fresh] == 1:
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
