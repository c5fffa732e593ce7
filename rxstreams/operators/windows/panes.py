"""Windows that stand still and emit when they close: the rows of a pane in one dict, which goes when its last window has."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from heapq import heapify, heappop, heappush

from rxstreams.aggregates.compiled import step_lines
from rxstreams.errors import Policy
from rxstreams.operators.stepping import Code
from rxstreams.operators.windows.closing import Closing
from rxstreams.operators.windows.rows import Row, Rows
from rxstreams.state.spaces import Spaces, Touched
from rxstreams.stream.loops import Loop
from rxstreams.watermarks import END, START
from rxstreams.windows import Calendar, Grid

__all__ = ["Panes"]


class Panes(Closing):
    """``spaces`` has the rows of each pane; ``states[None]`` how far time had come, where that decides what is still open.

    A window closes between two records, when the watermark reaches its end, and a pane is freed with the last window that has
    it: so what is held is what is open.
    """

    def __init__(self, over: Grid | Calendar, rows: Rows, on_error: Policy | None) -> None:
        super().__init__(rows, on_error)
        self.over = over
        self.spaces: Spaces[Row] = Spaces()
        self.overlapping = isinstance(over, Grid) and over.every < over.size
        self.high = START
        self.next_end = END
        self.waiting: list[int] = []

    def start(self) -> None:
        super().start()
        self.high = self.states.get(None, START)
        self.waiting = list(self.spaces.states)
        heapify(self.waiting)
        self.find_next(self.high)

    @property
    def next_time(self) -> int:
        return self.next_end

    @property
    def pending(self) -> int:
        return len(self.spaces.states)

    def lines(self, loop: Loop, code: Code, port: int) -> Sequence[str]:
        # A row that is new comes into its pane only when the record has been taken in, so that one that fails leaves no trace.
        compute, store = step_lines(self.rows.slots, loop)
        find, again = loop.bind(self.spaces.touched.get), loop.bind(self.touch)
        return [
            *self.pane_lines(loop),
            f"pane = {find}(start)",
            "if pane is None:",
            f"    pane = {code.marked(self.open)}(start, {code.now})",
            f"    if pane is None: {code.behind}; continue",
            f"    due = {code.due}",
            "row = pane.get(key)",
            "if row is None:",
            f"    row = {self.rows.empty!r} if pane.__class__ is dict else {again}(pane, key)",
            *(f"    {line}" for line in (*compute, *store)),
            "    pane[key] = row",
            "else:",
            *(f"    {line}" for line in (*compute, *store)),
        ]

    def pane_lines(self, loop: Loop) -> list[str]:
        """The statements that set ``start``, where the record's pane begins."""
        over = self.over
        if isinstance(over, Grid):
            shift = over.offset % over.pane_size
            return [f"start = time - (time - {shift}) % {over.pane_size}" if shift else f"start = time - time % {over.pane_size}"]
        loop.before.append("start = stop = 0")
        return [f"if not start <= time < stop: start = {loop.bind(over.pane)}(time); stop = {loop.bind(over.end)}(start)"]

    def open(self, start: int, mark: int) -> dict[Hashable, Row] | None:
        """Where to find a pane's rows, when it is first looked for since the last commit; None if all its windows have closed."""
        if self.over.last_end(start) <= mark:
            return None
        if start not in self.spaces.states:
            heappush(self.waiting, start)
            self.next_end = min(self.next_end, self.over.next_end(max(start, mark)))
        return self.spaces.open(start)

    def touch(self, pane: Touched, key: Hashable) -> Row:
        """The row of a key that is first touched since the last commit, or a new one."""
        return pane.base.get(key) or self.rows.empty.copy()

    def newest(self) -> Row | None:
        pane = next(reversed(self.spaces.touched.values()), None)
        return next(reversed(pane.values())) if pane else None

    def reach(self, mark: int) -> None:
        while self.waiting and self.next_end <= mark:
            end = self.next_end
            start = self.over.begin(end)
            merged = self.close_window(start, end)
            if merged:
                self.put(self.made(merged, start, end), merged, end - 1, end, mark)
            self.find_next(end)
        self.high = max(self.high, mark)

    def close_window(self, start: int, end: int) -> dict[Hashable, Row]:
        """The rows of a window, and free the panes that no later one has."""
        if not self.overlapping:
            heappop(self.waiting)
            return self.spaces.drop(start)
        assert isinstance(self.over, Grid)
        merged: dict[Hashable, Row] = {}
        panes: Sequence[int] = range(start, end, self.over.pane_size)
        if len(panes) > len(self.spaces.states):  # lengths with a small common divisor make many panes, most of them empty
            panes = sorted(pane for pane in self.spaces.states if start <= pane < end)
        for pane in panes:
            if pane in self.spaces.states:
                self.rows.merge_all(merged, self.spaces.states[pane])
        while self.waiting and self.waiting[0] < start + self.over.every:
            self.spaces.drop(heappop(self.waiting))
        return merged

    def find_next(self, end: int) -> None:
        """The next end of a window with something in it, after those up to ``end`` have closed."""
        self.next_end = self.over.next_end(max(self.waiting[0], end)) if self.waiting else END

    def cut(self) -> None:
        if not self.overlapping:
            return
        if not self.spaces.states:
            if self.states.pop(None, None) is not None:
                self.dirty.add(None)
        elif self.states.get(None, START) != self.high:
            self.states[None] = self.high
            self.dirty.add(None)
