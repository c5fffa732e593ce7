"""When a window gives results beside the one on time: early, late, accumulating or discarding; what grids and sessions share."""

from __future__ import annotations

from typing import Any, Literal

from rxstreams.operators.windows.rows import Row, Rows
from rxstreams.windows import EARLY, LATE, ON_TIME, Emit, Pane, Timing

__all__ = ["Firing"]


class Firing:
    """What happens to the row of a window and key. Behind its slots a row has how many panes it gave, and the records since.

    Args:
        rows: What is aggregated.
        emit: When there are early panes.
        lateness: Milliseconds for which a window is kept after its end.
        panes: Whether a pane has all records of the window, or those since the last one.
    """

    def __init__(self, rows: Rows, emit: Emit, lateness: int, panes: Literal["accumulating", "discarding"]) -> None:
        self.rows, self.emit, self.lateness, self.discarding = rows, emit, lateness, panes == "discarding"
        self.panes = len(rows.empty)
        self.fresh = self.panes + 1

    def new(self) -> Row:
        """The row of a window without records."""
        return [*self.rows.empty, 0, 0]

    def take(self, row: Row, value: Any) -> None:
        """A record comes into the window."""
        self.rows.step(row, value)
        row[self.fresh] += 1
        self.rows.check_savable(row)

    def absorb(self, row: Row, other: Row) -> None:
        """The window is one with another that comes after it."""
        self.rows.merge(row, other)
        row[self.panes] = max(row[self.panes], other[self.panes])
        row[self.fresh] += other[self.fresh]

    def after_record(self, ctx: Any, key: Any, row: Row, start: int, end: int) -> None:
        """Give a pane if this record asks for one: a late one, or as many came as an early one needs."""
        if end <= ctx.watermark:
            self.fire(ctx, key, row, start, end, LATE)
        elif self.emit.kind in ("on_update", "after") and row[self.fresh] >= self.emit.n:
            self.fire(ctx, key, row, start, end, EARLY)

    def next_tick(self, watermark: int, origin: int) -> int:
        """When the next early pane is due that time alone asks for: the first multiple of the interval behind the watermark."""
        ahead = max(watermark, origin)
        return ahead - (ahead - origin) % self.emit.n + self.emit.n

    def fire(self, ctx: Any, key: Any, row: Row, start: int, end: int, timing: Timing) -> None:
        """Give a pane."""
        pane = Pane(timing, row[self.panes], timing == ON_TIME and not self.lateness)
        ctx.emit(self.rows.result(key, row, start, end, pane), end - 1)
        row[self.panes] += 1
        row[self.fresh] = 0
        if self.discarding:
            row[: self.panes] = self.rows.empty
