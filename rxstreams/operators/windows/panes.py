"""Windows that stand still and emit when they close, the common case: a pane's rows in one dict, and one loop for all."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import repeat
from operator import length_hint
from typing import Any

from rxstreams.aggregates.compiled import step_lines
from rxstreams.batch import Batch
from rxstreams.errors import Policy, StateCodecError
from rxstreams.operators.outbox import Outbox
from rxstreams.operators.windows.rows import Row, Rows
from rxstreams.state.keys import original
from rxstreams.state.spaces import Spaces, Touched
from rxstreams.stream.loops import Loop, define, indented
from rxstreams.watermarks import END, START, Late
from rxstreams.windows import Calendar, Grid, Pane

__all__ = ["Panes"]

ON_TIME = Pane()


class Panes(Outbox):
    """``spaces`` has the rows of each pane; ``states[None]`` how far time had come, where that decides what is still open.

    A window closes between two records, when the watermark reaches its end, and a pane is freed with the last window that has
    it: so what is held is what is open.
    """

    locked = needs_time = fans_out = True

    def __init__(self, over: Grid | Calendar, rows: Rows, on_error: Policy | None) -> None:
        super().__init__()
        self.over, self.rows, self.on_error = over, rows, on_error
        self.spaces: Spaces[Row] = Spaces()
        self.overlapping = isinstance(over, Grid) and over.every < over.size
        self.high = START
        self.next_end = END
        self.waiting: list[int] = []
        self.steppers: dict[bool, Callable[..., None]] = {}
        self.fused = False
        self.out = Batch([], [], [], [], [])
        self.late = Batch([], [], [], [], [])

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

    # Records.

    def batch(self, b: Batch, port: int) -> None:
        n, left, mapping = len(b), iter(b.values), isinstance(b.values[0], dict)
        columns = b.keys or [None] * n, b.times or [0] * n, b.marks or [START] * n, b.order or [0.0] * n
        records, step = zip(left, *columns), self.stepper(mapping)
        while True:
            try:
                step(records, self.next_end)
                break
            except Exception as error:  # the loop took the record out of all columns, and left its row as it was
                at = n - length_hint(left) - 1
                one = b.values[at], *(column[at] for column in columns)
                again = partial(self.stepper(isinstance(one[0], dict)), (one,), END)
                if isinstance(one[0], dict) == mapping or _fails(again):
                    self.host.failed(error, b, at, again)
        self.give_closed()
        self.wait()

    def stepper(self, mapping: bool) -> Callable[..., None]:  # a cache's key
        """A loop over (value, key, time, watermark before, order) records."""
        if mapping not in self.steppers:
            loop = Loop(mapping=mapping)
            due = f"{loop.bind(lambda: self.next_end)}()"
            lines = self.lines(
                loop,
                opened=f"{loop.bind(self.open)}(start, mark)",
                due=due,
                behind=f"{loop.bind(self.put_behind)}(value, key, time, mark, order)",
            )
            code = f"""
def step(records, due):
{indented(loop.before, 1)}
    for value, key, time, mark, order in records:
        if mark >= due:
            {loop.bind(self.reach)}(mark)
            due = {due}
{indented(lines, 2)}
"""
            self.steppers[mapping] = define("step", code, loop.names)
        return self.steppers[mapping]

    def join(self, loop: Loop) -> bool:
        clock = loop.clock
        if clock is None:
            return False

        def behind(value: Any, key: Hashable, time: int, high: int) -> None:
            self.put_behind(value, key, time, clock.mark(high), 0.0)

        clock.lead(self)
        if not loop.keyed:
            loop.before.append("key = None")
        loop.lines += self.lines(
            loop,
            opened=f"{loop.bind(lambda start, high: self.open(start, clock.mark(high)))}(start, high)",
            due=f"{loop.bind(clock.due)}()",
            behind=f"{loop.bind(behind)}(value, key, time, high)",
        )
        loop.closed = True
        loop.after.append(self.give_closed)
        return True

    def lines(self, loop: Loop, *, opened: str, due: str, behind: str) -> list[str]:
        """The statements that put ``value`` into the row of its pane and key.

        A row that is new comes into its pane only when the record has been taken in, so that one that fails leaves no trace.
        """
        compute, store = step_lines(self.rows.slots, loop)
        find, again = loop.bind(self.spaces.touched.get), loop.bind(self.touch)
        return [
            *self.pane_lines(loop),
            f"pane = {find}(start)",
            "if pane is None:",
            f"    pane = {opened}",
            f"    if pane is None: {behind}; continue",
            f"    due = {due}",
            "row = pane.get(key)",
            "if row is None:",
            f"    row = {self.rows.empty!r} if pane.__class__ is dict else {again}(pane, key)",
            *(f"    {line}" for line in compute),
            *(f"    {line}" for line in store),
            "    pane[key] = row",
            "else:",
            *(f"    {line}" for line in compute),
            *(f"    {line}" for line in store),
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

    def put_behind(self, value: Any, key: Hashable, time: int, mark: int, order: float) -> None:
        """A record comes too late for all its windows."""
        _add(self.late, [Late(value, (mark - time) / 1000)], [key], time, order, mark)

    # Time.

    def reach(self, mark: int) -> None:
        """The watermark has come to ``mark``: close what ends by then, in the order of the ends."""
        while self.waiting and self.next_end <= mark:
            end = self.next_end
            merged = self.close_window(self.over.begin(end), end)
            moment = None if self.fused else self.host.moment(end, mark)
            if merged:
                order, before = (0.0, START) if moment is None else (moment.order, moment.before)
                _add(self.out, self.results(merged, end), merged, end - 1, order, before)
            self.find_next(end)
        self.high = max(self.high, mark)

    def close_window(self, start: int, end: int) -> dict[Hashable, Row]:
        """The rows of a window, and free the panes that no later one has."""
        if not self.overlapping:
            heappop(self.waiting)
            return self.spaces.drop(start)
        assert isinstance(self.over, Grid)
        merged: dict[Hashable, Row] = {}
        for pane in range(start, end, self.over.pane_size):
            if pane in self.spaces.states:
                self.rows.merge_all(merged, self.spaces.states[pane])
        while self.waiting and self.waiting[0] < start + self.over.every:
            self.spaces.drop(heappop(self.waiting))
        return merged

    def find_next(self, end: int) -> None:
        """The next end of a window with something in it, after those up to ``end`` have closed."""
        self.next_end = self.over.next_end(max(self.waiting[0], end)) if self.waiting else END

    def results(self, merged: dict[Hashable, Row], end: int) -> list[Any]:
        """A window's results; one that cannot be made meets the policy, and the others do not notice."""
        start = self.over.begin(end)
        try:
            return self.rows.results(merged, start, end, ON_TIME)
        except Exception:
            made = []
            for key, row in list(merged.items()):
                try:
                    made += self.rows.results({key: row}, start, end, ON_TIME)
                except Exception as error:
                    del merged[key]
                    about = Batch(((original(key), start, end),), (end - 1,), (key,), (0.0,), (START,))
                    self.host.failed(error, about, 0, None)
            return made

    def give_closed(self) -> None:
        """Pass on what has closed, and what came too late."""
        self.check_savable()
        out, late = self.out, self.late
        if late.values:
            self.late = Batch([], [], [], [], [])
            self.host.aside("late", self.shown(late).keyed(None))
        if out.values:
            self.out = Batch([], [], [], [], [])
            self.give(self.shown(out))

    def shown(self, b: Batch) -> Batch:
        """A batch with the columns that others know of."""
        keyed = b if self.host.keyed else b.keyed(None)
        return keyed.ordered(None).marked(None) if self.fused else keyed

    def check_savable(self) -> None:
        """What cannot be saved fails with the batch that made it: a look at one row, as values of a field are of a kind."""
        pane = next(reversed(self.spaces.touched.values()), None)
        if pane:
            try:
                self.rows.check_savable(next(reversed(pane.values())))
            except StateCodecError as error:
                self.fail(error)

    def watermark(self, mark: int, port: int) -> None:
        self.reach(mark)
        self.give_closed()
        self.wait()
        self.tell(mark)

    def end(self, port: int, at: float | None = None) -> None:
        self.watermark(END, port)
        self.cut()
        self.stop()

    def cut(self) -> None:
        if not self.overlapping:
            return
        if not self.spaces.states:
            if self.states.pop(None, None) is not None:
                self.dirty.add(None)
        elif self.states.get(None, START) != self.high:
            self.states[None] = self.high
            self.dirty.add(None)


def _add(b: Batch, values: list[Any], keys: Any, time: int, order: float, mark: int) -> None:
    """Add records that have one time and place."""
    n = len(values)
    for column, more in (
        (b.values, values), (b.keys, keys), (b.times, repeat(time, n)), (b.order, repeat(order, n)), (b.marks, repeat(mark, n)),
    ):  # fmt: skip
        column.extend(more)  # type: ignore[union-attr]  # the columns of a batch that is being made are lists


def _fails(again: Callable[[], None]) -> bool:
    """Whether a record of the other kind, mapping or object, fails by that loop, too."""
    try:
        again()
    except Exception:
        return True
    return False
