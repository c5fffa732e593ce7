"""Records with one id that stand for one: by event time, in whatever order they come, or by the clock."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from operator import itemgetter
from typing import Any

from rxstreams.aggregates.accumulators import Aggregate
from rxstreams.batch import Batch
from rxstreams.errors import Policy
from rxstreams.operators.processing import Process
from rxstreams.operators.windows.rows import Row, Rows
from rxstreams.state.codec import TAGGED
from rxstreams.state.keys import internal
from rxstreams.watermarks import END

__all__ = ["Grouping", "Groups", "GroupsByClock"]

_time = itemgetter(0)


class Kept:
    """What is made of the records that one stands for.

    Args:
        aggregate: Of all of them.
        ttl: Milliseconds from the first on.
    """

    def __init__(self, aggregate: Aggregate, ttl: int) -> None:
        self.aggregate, self.ttl = aggregate, ttl
        self.rows = Rows({"kept": aggregate})
        self.kinds: set[type] = set()

    def check(self, value: Any) -> None:
        """Fail at a record that cannot be saved, or taken in: later there would be no telling which it was."""
        self.rows.step(self.rows.empty.copy(), value)
        if type(value) not in self.kinds:
            TAGGED.check(value)
            self.kinds.add(type(value))

    def result(self, row: Row) -> Any:
        """What comes out."""
        return self.aggregate.result(row, 0)


class Groups(Kept):
    """A keyed operator; an id's state is when the first of its records was, what has become of them, and the records that
    the watermark has not passed, in order of time.

    These are taken in by time, when nothing can come before them any more; so nothing depends on the order of arrival but which
    of two of one time is the last.
    """

    def open(self) -> list[Any]:
        """Nothing is known of the id."""
        return [None, [], []]

    def process(self, state: list[Any], key: Any, value: Any, time: int, ctx: Any) -> None:
        """Put a record where it belongs in time."""
        self.check(value)
        if time < ctx.watermark:
            ctx.late(value)
            if state[0] is None and not state[2]:
                ctx.forget()
            return
        insort(state[2], [time, value], key=_time)
        ctx.set_timer(time + 1)

    def on_timer(self, state: list[Any], key: Any, time: int, ctx: Any) -> None:
        """Take in what time has passed; emit when ``ttl`` is over."""
        passed = bisect_left(state[2], time, key=_time)
        for at, value in state[2][:passed]:
            if state[0] is None:
                state[:2] = at, self.rows.empty.copy()
                ctx.set_timer(at + self.ttl)
            self.rows.step(state[1], value)
        del state[2][:passed]
        if state[0] is not None and state[0] + self.ttl <= time:
            ctx.emit(self.result(state[1]), state[0] + self.ttl - 1)
            state[:2] = None, []
        if state[0] is None and not state[2]:
            ctx.forget()


class GroupsByClock(Kept):
    """A keyed operator; an id's state is what has become of its records, and their greatest event time."""

    def open(self) -> list[Any]:
        """Nothing is known of the id."""
        return [[], None]

    def process(self, state: list[Any], key: Any, value: Any, time: int, ctx: Any) -> None:
        """Take a record in; the first one starts the clock."""
        self.check(value)
        if state[1] is None:
            state[:] = self.rows.empty.copy(), time
            ctx.set_clock_timer(ctx.clock + self.ttl)
            ctx.set_timer(END)
        self.rows.step(state[0], value)
        state[1] = max(state[1], time)

    def on_clock(self, state: list[Any], key: Any, time: int, ctx: Any) -> None:
        """The clock says that ``ttl`` is over: emit, not behind what has been told of time."""
        ctx.emit(self.result(state[0]), max(state[1], ctx.moment.before))
        ctx.forget()

    on_timer = on_clock  # at the end of the input


class Grouping(Process):
    """Executes one of the above by each record's id; its results have no key, unless that is the id.

    Args:
        read: Tells a record's id, in a stream without keys.
        groups: The keyed operator.
        on_error: For records that have no id, or cannot be taken in.
    """

    def __init__(self, read: Callable[[Any], Any], groups: Kept, on_error: Policy | None) -> None:
        super().__init__(groups, on_error, trusted=True)  # type: ignore[arg-type]  # both kinds are keyed operators
        self.read = read

    def batch(self, b: Batch, port: int) -> None:
        if not self.host.keyed:
            ids, b = self.each(lambda value: internal(self.read(value)), b)
            b = b.keyed(ids)
        if len(b):
            super().batch(b, port)
