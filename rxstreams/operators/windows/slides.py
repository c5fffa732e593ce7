"""Sliding windows: for each record its key's last seconds, at a cost that does not depend on how many records these have."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from heapq import heappop, heappush
from operator import itemgetter
from typing import Any

from rxstreams.batch import Batch, concat
from rxstreams.errors import Policy
from rxstreams.operators.outbox import Outbox
from rxstreams.operators.windows.rows import Row, Rows
from rxstreams.state.keys import encode_key
from rxstreams.state.spaces import Spaces, Touched
from rxstreams.watermarks import END, START, Late
from rxstreams.windows import Pane, Sliding

__all__ = ["Slides"]

PARTS = 16
"""How many spaces a window's records are spread over: what a commit saves of a key anew is such a part, not the window."""
ON_TIME = Pane()


class Slides(Outbox):
    """``spaces`` has each key's records by time, [time, row], a part of the window's length in each; ``states[None]`` how far
    time had come: records before it are in windows, those from it on wait for the watermark to pass them.

    Records are taken in order of time, of one time in the order of arrival, which keys' results is that of their encoding.
    """

    locked = needs_time = fans_out = True

    def __init__(self, over: Sliding, rows: Rows, on_error: Policy | None) -> None:
        super().__init__()
        self.size, self.rows, self.on_error = over.size, rows, on_error
        self.part = max(1, over.size // PARTS)
        self.spaces: Spaces[list[Any]] = Spaces()
        self.high = START
        self.windows: dict[Hashable, Window] = {}
        self.waiting: dict[int, dict[Hashable, list[Row]]] = {}
        self.times: list[int] = []
        self.out: list[Batch] = []
        self.late: list[Batch] = []

    def start(self) -> None:
        super().start()
        self.high = self.states.get(None, START)
        known = [(time, key, row) for keys in self.spaces.states.values() for key, part in keys.items() for time, row in part]
        for time, key, row in sorted(known, key=itemgetter(0)):
            if time < self.high:
                self.windows.setdefault(key, Window(self.rows)).push(time, row)
            else:
                self.expect(time, key, row)

    @property
    def next_time(self) -> int:
        freed = min(self.spaces.states, default=END) + self.part + self.size - 1
        return min(self.times[0] + 1 if self.times else END, freed)

    @property
    def pending(self) -> int:
        return sum(len(rows) for keys in self.waiting.values() for rows in keys.values())

    def batch(self, b: Batch, port: int) -> None:
        n = len(b)
        self.each(self.one, b, b.keys or [None] * n, b.times or [0] * n, b.marks or [START] * n, b.order or [0.0] * n)
        self.go_on()

    def one(self, value: Any, key: Hashable, time: int, mark: int, order: float) -> None:
        """A record waits for the watermark to pass it, or has come too late."""
        self.reach(mark)
        if time < self.high:
            by = (self.high - time) / 1000
            self.late.append(Batch([Late(value, by)], [time], None, [order], [mark]))
            return
        row = self.rows.empty.copy()
        self.rows.step(row, value)
        self.rows.check_savable(row)
        space = self.spaces.open(time - time % self.part)
        part = space.get(key)
        if part is None:
            part = space.base.get(key) if isinstance(space, Touched) else None
            space[key] = part = [] if part is None else part
        part.append([time, row])
        self.expect(time, key, row)

    def expect(self, time: int, key: Hashable, row: Row) -> None:
        """A record waits."""
        keys = self.waiting.get(time)
        if keys is None:
            keys = self.waiting[time] = {}
            heappush(self.times, time)
        keys.setdefault(key, []).append(row)

    def reach(self, mark: int) -> None:
        """The watermark has come to ``mark``: give the results of the records before it, and free what is in no window more."""
        if mark <= self.high:
            return
        while self.times and self.times[0] < mark:
            time = heappop(self.times)
            order, before, _ = self.host.moment(time + 1, mark)
            keys = self.waiting.pop(time)
            for key in sorted(keys, key=encode_key) if len(keys) > 1 else keys:
                made = list(self.results(key, time, keys[key]))
                n = len(made)
                self.out.append(Batch(made, [time] * n, [key] * n, [order] * n, [before] * n))
        self.high = mark
        for part in [part for part in self.spaces.states if part + self.part + self.size - 1 <= mark]:
            for key in self.spaces.drop(part):
                if key in self.windows and self.windows[key].latest <= mark - self.size:
                    del self.windows[key]

    def results(self, key: Hashable, time: int, rows: list[Row]) -> Iterator[Any]:
        """A result for each of a key's records of one time, which all are in each other's windows."""
        window = self.windows.setdefault(key, Window(self.rows))
        for row in rows:
            window.push(time, row)
        start, end, whole = time + 1 - self.size, time + 1, window.since(time - self.size)
        for _ in rows:
            try:
                yield from self.rows.results({key: whole}, start, end, ON_TIME)
            except Exception as error:
                about = Batch(((key, start, end),), (time,), (key,), (0.0,), (START,))
                self.host.failed(error, about, 0, None)

    def go_on(self) -> None:
        """Pass on what is due, and what came too late."""
        late, self.late = self.late, []
        if late:
            self.host.aside("late", concat(late))
        out, self.out = self.out, []
        if out:
            made = concat(out)
            self.give(made if self.host.keyed else made.keyed(None))
        self.wait()

    def watermark(self, mark: int, port: int) -> None:
        self.reach(mark)
        self.go_on()
        self.tell(mark)

    def end(self, port: int, at: float | None = None) -> None:
        self.watermark(END, port)
        self.cut()
        self.stop()

    def cut(self) -> None:
        if not self.spaces.states:
            if self.states.pop(None, None) is not None:
                self.dirty.add(None)
        elif self.states.get(None, START) != self.high:
            self.states[None] = self.high
            self.dirty.add(None)


class Window:
    """The records of one key that the last record's window has, as two stacks.

    What came lately is merged as it comes; what is older stands merged with all that came after it, so that the oldest can be
    taken off. When none is left there, the newer ones are turned over: so each record is merged three times, whatever the size.

    Source: the two-stacks queue (Tangwongsan, Hirzel, Schneider, "Low-Latency Sliding-Window Aggregation", DEBS 2017).
    """

    __slots__ = ("front", "latest", "newer", "rows", "total")

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.front: list[tuple[int, Row]] = []
        self.newer: list[tuple[int, Row]] = []
        self.total: Row | None = None
        self.latest = START

    def push(self, time: int, row: Row) -> None:
        """A record comes, not before the last."""
        self.latest = time
        self.newer.append((time, row))
        if self.total is None:
            self.total = row.copy()
        else:
            self.rows.merge(self.total, row)

    def since(self, time: int) -> Row:
        """The row of all records after ``time``, of which there is one; the others are forgotten."""
        while self.front and self.front[-1][0] <= time:
            self.front.pop()
        if not self.front and self.newer[0][0] <= time:
            self.turn_over(time)
        row = self.front[-1][1].copy() if self.front else self.rows.empty.copy()
        if self.total is not None:
            self.rows.merge(row, self.total)
        return row

    def turn_over(self, time: int) -> None:
        """Put the newer records on the other stack, the oldest on top."""
        for at, row in reversed([one for one in self.newer if one[0] > time]):
            merged = row.copy()
            if self.front:
                self.rows.merge(merged, self.front[-1][1])
            self.front.append((at, merged))
        self.newer, self.total = [], None
