"""Records of two streams whose times lie between bounds: every pair once, whichever record comes first."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Literal

from rxstreams.operators.joins.alone import Alone, Group
from rxstreams.operators.joins.sides import Entry, Inspector, Side
from rxstreams.operators.stepping import Code, Stepping
from rxstreams.state.codec import TAGGED
from rxstreams.state.keys import Ordered
from rxstreams.stream.loops import Loop
from rxstreams.watermarks import END

__all__ = ["How", "Intervals"]

How = Literal["inner", "left", "right", "outer", "semi", "anti"]
ALONE: dict[str, tuple[int, ...]] = {"left": (0,), "right": (1,), "outer": (0, 1), "anti": (0,)}
"""The sides whose records come out alone, when no partner can come any more."""
ONE_TIME = {**ALONE, "semi": (0,)}
"""The sides whose records come out with their own time, though not at once."""


class Intervals(Stepping):
    """The entries of both sides are its stores; a record looks for its partners in the other one.

    A pair is made when the second of its two records is handled: it finds the first there, which is kept as long as a partner
    may come.

    Args:
        lower: Milliseconds by which a right record's time is behind the left one's, at least (negative: before it).
        upper: The same, at most.
        how: Which records come out without a partner, or instead of pairs.
    """

    codec = TAGGED
    ports = 2

    def __init__(self, lower: int, upper: int, how: How) -> None:
        self.how, self.bounds = how, ((lower, upper), (-upper, -lower))
        self.parts = self.sides = Side(self, "left", upper), Side(self, "right", -lower)
        self.alone = {port: Alone(self.sides[port], port, self.bounds[port][1]) for port in ALONE.get(how, ())}
        self.inspector = Inspector(self, *self.sides)
        # What comes out as one record has that one's time, which is over by so much when its partner comes, or none can.
        super().__init__(max((self.bounds[port][1] for port in ONE_TIME.get(how, ())), default=0))

    @property
    def pending(self) -> int:
        return sum(map(len, self.sides))

    @property
    def next_time(self) -> int:
        alone = min((one.next_time for one in self.alone.values()), default=END)
        return min(self.sides[0].next_time, self.sides[1].next_time, alone)

    def join(self, loop: Loop) -> bool:
        # In a source's loop a record's own time counts before it is taken in. With a bound on one side only that makes a
        # difference: its last chance may be over then.
        return min(high for _, high in self.bounds) >= 0 and super().join(loop)

    def lines(self, loop: Loop, code: Code, port: int) -> Sequence[str]:
        mine, theirs, (low, high) = self.sides[port], self.sides[1 - port], self.bounds[port]
        still = " and other.met < 2" if 1 - port in self.alone else ""  # else a late record would pair with what came out alone
        meet = [f"if {low} <= other.time - time <= {high}{still}:", *(f"    {line}" for line in self.meeting(loop, code, port))]
        return [
            f"entry = {loop.bind(Entry)}(time, value)",
            f"held = {loop.bind(theirs.states.get)}(key)",
            "if held is not None:",
            "    if held.__class__ is list:",
            "        for other in held:",
            *(f"            {line}" for line in meet),
            "    else:",
            "        other = held",
            *(f"        {line}" for line in meet),
            *self.alone_at_once(code, port),
            *mine.keeping(loop, code),
            *(self.alone[port].joining(loop, code) if port in self.alone else ()),
        ]

    def alone_at_once(self, code: Code, port: int) -> list[str]:
        """The statements that keep nothing of a record for which no partner can come.

        It is late if it was so itself: its partners may all have to be before it. If it was not, it comes out here and now, for
        the watermark at which it would have, had it been there, is over.
        """
        high = self.bounds[port][1]
        sure = code.marked(lambda time, mark: time + high < mark)
        left = [f"if not entry.met: {code.behind}"]
        if high < 0:
            late = code.marked(lambda time, mark: time < mark)
            out = code.put(self.row("value", port), "time") if port in self.alone else ["pass"]
            left = [f"if not entry.met and {late}(time, {code.now}):", f"    {code.behind}"]
            left += ["elif not entry.met:", *(f"    {line}" for line in out)]
        return [f"if time + {high} < {code.now} and {sure}(time, {code.now}):", *(f"    {line}" for line in left), "    continue"]

    def row(self, value: str, port: int) -> str:
        """The expression for what comes out of a record alone."""
        return value if self.how == "anti" else f"(None, {value})" if port else f"({value}, None)"

    def meeting(self, loop: Loop, code: Code, port: int) -> list[str]:
        """The statements for ``entry`` and its partner ``other``."""
        left, right = ("other", "entry") if port else ("entry", "other")
        later = "time if time > other.time else other.time"
        if self.how == "semi":
            made = [f"if not {left}.met:", *(f"    {line}" for line in code.put(f"{left}.value", f"{left}.time"))]
        else:
            made = [] if self.how == "anti" else code.put(f"({left}.value, {right}.value)", later)
        lines = [*made, "entry.met = 1"]
        if self.how != "inner":
            lines.append(f"if not other.met: other.met = 1; {loop.bind(self.sides[1 - port].dirty.add)}(key)")
        return lines

    def reach(self, mark: int) -> None:
        groups = [group for one in self.alone.values() for group in one.take(mark)]
        if len(self.alone) > 1:
            groups.sort(key=itemgetter(0, 1))
        for side in self.sides:
            side.expire(mark)
        if groups:
            self.put_alone(groups, mark)

    def put_alone(self, groups: list[Group], mark: int) -> None:
        """Records come out alone, in this order; what is kept a while longer must not come out again."""
        values, keys, times, dues = list[Any](), list[Any](), list[int](), list[int]()
        for due, port, group in groups:
            side = self.sides[port]
            for stands, entry in group:  # once over them: there may be very many
                if entry.met:
                    continue
                key = stands.key if stands.__class__ is Ordered else stands
                if key in side.states:
                    entry.met = 2
                    side.dirty.add(key)
                values.append(entry.value if self.how == "anti" else (None, entry.value) if port else (entry.value, None))
                keys.append(key)
                times.append(entry.time)
                dues.append(due)
        self.put_each(values, keys, times, dues, mark)

    def check_kept(self) -> None:
        self.inspector.look()
