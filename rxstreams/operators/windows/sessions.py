"""Sessions that emit when they close: stretches of a key's records without a gap, which a record between two makes one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from heapq import heapify, heappop, heappush
from operator import itemgetter
from typing import Any

from rxstreams.aggregates.compiled import step_lines
from rxstreams.errors import Policy
from rxstreams.operators.stepping import Code, add
from rxstreams.operators.windows.closing import ON_TIME, Closing
from rxstreams.operators.windows.rows import Row, Rows
from rxstreams.state.keys import Ordered, ordered
from rxstreams.stream.loops import Loop
from rxstreams.watermarks import END
from rxstreams.windows import Session

__all__ = ["HEAD", "Sessions"]

HEAD = 3
"""What stands in a session before its slots: where it begins and ends, and the time of the record that came first."""


class Sessions(Closing):
    """``states`` has a key's session, a list, or a tuple of several.

    The heap has each session as it was when it began, known by its first record's time, which is in no other session of the
    key. One whose turn comes before its end, because it went on since, is put back; so a record of a session that is there
    costs the heap nothing. What has one end goes by the first record's time, then by the key's encoding.
    """

    def __init__(self, over: Session, rows: Rows, on_error: Policy | None) -> None:
        super().__init__(rows, on_error)
        self.over = over
        self.heap: list[tuple[int, int, Any]] = []
        self.unsaved: set[Hashable] = set()
        """Keys that had no session at the last commit: when they have none at the next, there is nothing to delete."""

    def start(self) -> None:
        super().start()
        self.heap[:] = [(row[1], row[2], ordered(key)) for key, held in self.states.items() for row in _each(held)]
        heapify(self.heap)  # this very list is known to the loop

    @property
    def next_time(self) -> int:
        return self.heap[0][0] if self.heap else END

    @property
    def pending(self) -> int:
        return sum(len(_each(held)) for held in self.states.values())

    def lines(self, loop: Loop, code: Code, port: int) -> Sequence[str]:
        compute, store = step_lines(self.rows.slots, loop)
        states, unsaved, heap = loop.bind(self.states), loop.bind(self.unsaved), loop.bind(self.heap)
        slots = ", ".join(map(repr, self.rows.empty))
        over = code.marked(lambda stop, mark: stop <= mark)
        return [
            f"row = {loop.bind(self.states.get)}(key)",
            f"stop = time + {self.over.gap}",
            *([] if self.over.max is None else [f"stop = min(stop, time - time % {self.over.max} + {self.over.max})"]),
            "if row is None:",
            f"    if stop <= {code.now} and {over}(stop, {code.now}): {code.behind}; continue",
            f"    row = [time, stop, time, {slots}]",
            *(f"    {line}" for line in (*compute, *store)),
            f"    {states}[key] = row",
            f"    {loop.bind(self.unsaved.add)}(key)",
            f"    {loop.bind(heappush)}({heap}, (stop, time, key if key.__class__ is str else {loop.bind(ordered)}(key)))",
            f"    if {heap}[0][0] == stop: due = {code.due}",
            "elif row.__class__ is list and time < row[1] and row[0] < stop:",
            *(f"    {line}" for line in (*compute, *store)),
            "    if time < row[0]: row[0] = time",
            "    if stop > row[1]: row[1] = stop",
            f"    if key not in {unsaved}: {loop.bind(self.dirty.add)}(key)",
            "else:",
            f"    if not {code.marked(self.place)}(value, key, time, stop, {code.now}): {code.behind}; continue",
            f"    due = {code.due}",
        ]

    def place(self, value: Any, key: Hashable, time: int, stop: int, mark: int) -> bool:
        """Put a record beside a key's session, or between several, which it makes one; False if it comes too late for that."""
        held = _each(self.states[key])
        touched = sorted((row for row in held if row[0] < stop and time < row[1]), key=itemgetter(0))
        if not touched and stop <= mark:
            return False
        row = touched[0] if touched else [time, stop, time, *self.rows.empty]
        self.rows.step(row, value)
        if not touched:
            held = (*held, row)
            heappush(self.heap, (stop, time, ordered(key)))
        for other in touched[1:]:
            self.rows.merge(row, other)
            held = tuple(one for one in held if one is not other)
        row[0], row[1] = min(row[0], time), max(stop, *(one[1] for one in (row, *touched)))
        self.hold(key, held)
        return True

    def hold(self, key: Hashable, held: Sequence[Row]) -> None:
        """From here on these are a key's sessions."""
        if len(held) == 1:
            self.states[key] = held[0]
        elif held:
            self.states[key] = held
        else:
            del self.states[key]
        if key not in self.unsaved:
            self.dirty.add(key)
        elif not held:
            self.unsaved.remove(key)

    def reach(self, mark: int) -> None:
        heap, states = self.heap, self.states
        keys: list[Hashable] = []
        rows: list[Row] = []
        while heap and heap[0][0] <= mark:
            end, first, stands = heappop(heap)
            key = stands.key if stands.__class__ is Ordered else stands
            held = _each(states.get(key, ()))
            for row in held:
                if row[2] == first:
                    if row[1] > end:
                        heappush(heap, (row[1], first, stands))
                        break
                    keys.append(key)
                    rows.append(row)
                    self.hold(key, () if len(held) == 1 else tuple(one for one in held if one is not row))
                    break
        if rows:
            self.put_sessions(keys, rows, mark)

    def put_sessions(self, keys: list[Hashable], rows: list[Row], mark: int) -> None:
        """The results of sessions that have closed, in this order."""
        if not self.fused:
            for key, row in zip(keys, rows, strict=True):
                merged = {key: row}
                self.put(self.made(merged, row[0], row[1]), merged, row[1] - 1, row[1], mark)
            return
        try:
            results = self.rows.spans(keys, rows, ON_TIME)
        except Exception:
            results = [self.made({key: row}, row[0], row[1])[0] for key, row in zip(keys, rows, strict=True)]
        add(self.out, results, keys, 0, 0.0, mark)
        self.out.times[-len(rows) :] = [row[1] - 1 for row in rows]  # type: ignore[index]  # a list, while it is being made

    def newest(self) -> Row | None:
        last = next(reversed(self.states.values()), None)
        return None if last is None else _each(last)[0]

    def cut(self) -> None:
        self.dirty |= self.unsaved
        self.unsaved.clear()


def _each(held: Any) -> Sequence[Row]:
    """A key's sessions, of what is held for it."""
    return (held,) if held.__class__ is list else held
