"""Windows that count: each n records of a key."""

from __future__ import annotations

from typing import Any

from rxstreams.operators.windows.rows import Rows
from rxstreams.watermarks import END
from rxstreams.windows import EARLY, ON_TIME, Counting, Emit, Pane

__all__ = ["Counts"]

Open = list[Any]
"""[records, least time, greatest time, row]"""


class Counts:
    """A keyed operator; a key's state is how many records came since a window began, and the windows that are not full."""

    def __init__(self, over: Counting, rows: Rows, emit: Emit) -> None:
        self.over, self.rows = over, rows
        self.early = emit.n if emit.kind in ("on_update", "after") else over.n

    def open(self) -> list[Any]:
        """No window is open."""
        return [0, []]

    def process(self, state: list[Any], key: Any, value: Any, time: int, ctx: Any) -> None:
        """Put a record into every open window."""
        since, windows = state
        if since == 0:
            windows.append([0, time, time, self.rows.empty.copy()])
            ctx.set_timer(END)
        for one in windows:
            self.rows.step(one[3], value)
            self.rows.check_savable(one[3])
            one[:3] = one[0] + 1, min(one[1], time), max(one[2], time)
            if one[0] < self.over.n and not one[0] % self.early:
                self.fire(ctx, key, one, Pane(EARLY, one[0] // self.early - 1, last=False), time)
        state[0] = (since + 1) % self.over.every
        if windows[0][0] == self.over.n:
            self.fire(ctx, key, full := windows.pop(0), self.last_pane(full), time)
            if not windows and not state[0]:
                ctx.forget()

    def last_pane(self, one: Open) -> Pane:
        """The pane of a window that is full, or will not be filled any more."""
        return Pane(ON_TIME, (one[0] - (one[0] == self.over.n)) // self.early, last=True)

    def fire(self, ctx: Any, key: Any, one: Open, pane: Pane, time: int) -> None:
        """Give a pane."""
        _, start, latest, row = one
        ctx.emit(self.rows.result(key, row, start, latest + 1, pane), time)

    def on_timer(self, state: list[Any], key: Any, time: int, ctx: Any) -> None:
        """The input has ended: give what is left; not behind what has been told of time."""
        for one in state[1]:
            self.fire(ctx, key, one, self.last_pane(one), max(one[2], ctx.moment.before))
        ctx.forget()
