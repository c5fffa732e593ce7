"""One record of the other stream for each: the nearest, the first or the last of those that its time lets choose."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from heapq import heapify, heappop, heappush
from typing import Any, Literal

from rxstreams.operators.joins.sides import Entry, Inspector
from rxstreams.operators.joins.versions import ByTime, Versions
from rxstreams.operators.stepping import Code, Stepping, add
from rxstreams.state.codec import TAGGED
from rxstreams.state.keys import Ordered, ordered
from rxstreams.stream.loops import Loop
from rxstreams.watermarks import END, START

__all__ = ["Choosing", "Pick"]

Pick = Literal["first", "last", "nearest"]


class Choosing(Stepping):
    """Left records wait until their choice is final: when the watermark has passed all that could be chosen, or the first of it.

    So the answer does not depend on the order of arrival, and comes in the order of its being final; of what is final at once,
    in the order of the keys' encodings, then of time.

    Args:
        lower: Milliseconds by which the right record's time is behind the left one's, at least (negative: before it); None
            where it may be as old as it is, and a key's latest stays.
        upper: The same, at most.
        pick: Which of those that are there.
        inner: Whether a record for which there is none is left out.
        wait: Milliseconds of event time to wait longer, for right records that come too late.
        history: Milliseconds for which it stays known what was to be chosen, for left records that come too late.
    """

    codec = TAGGED
    ports = 2

    def __init__(self, lower: int | None, upper: int, pick: Pick, *, inner: bool, wait: int = 0, history: int = 0) -> None:
        super().__init__(max(0, upper + wait) + history)
        self.lower, self.upper, self.pick, self.inner, self.extra = lower, upper, pick, inner, wait
        self.left = ByTime(self, "left")
        self.right = Versions(self, "right", self.behind - (lower or 0), latest=lower is None)
        self.parts = self.left, self.right
        self.inspector = Inspector(self, *self.parts)
        self.waiting: list[tuple[int, Any]] = []

    def start(self) -> None:
        super().start()
        self.waiting = [(self.due(key, entry), ordered(key)) for key, held in self.left.states.items() for entry in held]
        heapify(self.waiting)

    @property
    def pending(self) -> int:
        return len(self.left) + len(self.right)

    @property
    def next_time(self) -> int:
        return min(self.right.next_time, self.waiting[0][0] if self.waiting else END)

    def join(self, loop: Loop) -> bool:
        return False

    def lines(self, loop: Loop, code: Code, port: int) -> Sequence[str]:
        take = self.take_right if port else self.take_left
        return [f"{loop.bind(take)}(value, key, time, mark, order)", f"due = {code.due}"]

    def take_left(self, value: Any, key: Hashable, time: int, mark: int, order: float) -> None:
        """A left record: its choice is final already, or it waits."""
        entry = Entry(time, value)
        due = self.due(key, entry)
        if time + self.behind < mark:
            self.put_behind(value, key, time, mark, order)
        elif due <= mark:
            self.give_choice(key, entry, order, mark)
        else:
            self.left.add(key, entry)
            heappush(self.waiting, (due, ordered(key)))

    def take_right(self, value: Any, key: Hashable, time: int, mark: int, order: float) -> None:
        """A right record: what waits for the first one may have it."""
        if self.right.useless(key, time, mark):
            self.put_behind(value, key, time, mark, order)
            return
        self.right.add(key, Entry(time, value))
        if self.pick == "first" and key in self.left.states:
            due = time + self.extra + 1
            if due > mark:
                heappush(self.waiting, (due, ordered(key)))
            else:
                self.give_final(key, mark, order, mark)

    def due(self, key: Hashable, entry: Entry) -> int:
        """The watermark at which an entry's choice is final."""
        last = entry.time + self.upper
        if self.pick == "first":
            found = self.right.between(key, self.first(entry), last)
            last = found[0].time if found else last
        return last + self.extra + 1

    def first(self, entry: Entry) -> int:
        """The earliest time that may be chosen for it."""
        return START if self.lower is None else entry.time + self.lower

    def choice(self, key: Hashable, entry: Entry) -> Entry | None:
        """What is chosen for an entry, of what is there."""
        first, last = self.first(entry), entry.time + self.upper
        if self.pick == "last":
            return self.right.at(key, first, last)
        found = self.right.between(key, first, last)
        if self.pick == "nearest":
            return min(found, key=lambda one: abs(one.time - entry.time), default=None)
        return found[0] if found else None

    def give_choice(self, key: Hashable, entry: Entry, order: float, mark: int) -> None:
        """Add the result for an entry; its choice is final."""
        chosen = self.choice(key, entry)
        value = None if chosen is None else chosen.value
        if value is not None or not self.inner:
            add(self.out, ((entry.value, value),), (key,), entry.time, order, mark)

    def give_final(self, key: Hashable, due: int, order: float, mark: int) -> None:
        """Add the results of a key that are final when the watermark is ``due``: of its first entries, so far as they are."""
        held = self.left.states.get(key, ())
        final = 0
        for entry in held:
            if self.due(key, entry) > due:
                break
            self.give_choice(key, entry, order, mark)
            final += 1
        if final:
            self.left.forget(key, final)

    def reach(self, mark: int) -> None:
        while self.waiting and self.waiting[0][0] <= mark:
            due, stands = heappop(self.waiting)
            moment = self.host.moment(due, mark)
            self.give_final(stands.key if isinstance(stands, Ordered) else stands, due, moment.order, moment.before)
        self.right.expire(mark)

    def check_kept(self) -> None:
        self.inspector.look()
