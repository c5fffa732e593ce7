"""What gives results when windows close, and only then: one loop for its records, alone or as a part of a source's loop."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from itertools import repeat
from operator import length_hint
from typing import Any, NamedTuple

from rxstreams.batch import Batch
from rxstreams.errors import Policy, StateCodecError
from rxstreams.operators.outbox import Outbox
from rxstreams.operators.windows.rows import Row, Rows
from rxstreams.state.keys import original
from rxstreams.stream.loops import Loop, define, indented
from rxstreams.watermarks import END, START, Late
from rxstreams.windows import Pane

__all__ = ["ON_TIME", "Closing", "Code", "add"]

ON_TIME = Pane()


class Code(NamedTuple):
    """How the statements of an operator say what is not the same alone and in a source's loop.

    Attributes:
        now: The variable from which ``marked`` functions know the watermark; their last argument.
        marked: Makes a name for a function whose last argument is the watermark.
        due: The expression that finds out anew when something is due.
        behind: The statement for a record that comes too late.
    """

    now: str
    marked: Callable[[Callable[..., Any]], str]
    due: str
    behind: str


class Closing(Outbox):
    """A node of windows that are due at some watermark: ``lines`` put records into them, ``reach`` closes them.

    Args:
        rows: What is aggregated.
        on_error: For records that cannot be taken in, and results that cannot be made.
    """

    locked = needs_time = fans_out = True

    def __init__(self, rows: Rows, on_error: Policy | None) -> None:
        super().__init__()
        self.rows, self.on_error = rows, on_error
        self.steppers: dict[bool, Callable[..., None]] = {}
        self.fused = False
        self.out = Batch([], [], [], [], [])
        self.late = Batch([], [], [], [], [])

    def lines(self, loop: Loop, code: Code) -> Sequence[str]:
        """The statements that take in ``value``, whose ``key`` and ``time`` are set; what is made of them may change ``due``."""
        raise NotImplementedError

    def reach(self, mark: int) -> None:
        """The watermark has come to ``mark``: have what is due by then closed, in order of time."""
        raise NotImplementedError

    def newest(self) -> Row | None:
        """A row that was changed lately, if there is one."""
        raise NotImplementedError

    # Records.

    def batch(self, b: Batch, port: int) -> None:
        n, left, mapping = len(b), iter(b.values), isinstance(b.values[0], dict)
        columns = b.keys or [None] * n, b.times or [0] * n, b.marks or [START] * n, b.order or [0.0] * n
        records, step = zip(left, *columns), self.stepper(mapping)
        while True:
            try:
                step(records, self.next_time)
                break
            except Exception as error:  # the loop took the record out of all columns, and left its row as it was
                at = n - length_hint(left) - 1
                one = b.values[at], *(column[at] for column in columns)
                again = partial(self.stepper(isinstance(one[0], dict)), (one,), END)
                if isinstance(one[0], dict) == mapping or _fails(again):
                    self.host.failed(error, b, at, again)
        self.give_closed()
        self.wait()

    def stepper(self, mapping: bool) -> Callable[..., None]:
        """A loop over (value, key, time, watermark before, order) records."""
        if mapping not in self.steppers:
            loop = Loop(mapping=mapping)
            due = f"{loop.bind(lambda: self.next_time)}()"
            behind = f"{loop.bind(self.put_behind)}(value, key, time, mark, order)"
            lines = self.lines(loop, Code("mark", loop.bind, due, behind))
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

        def marked(function: Callable[..., Any]) -> str:
            return loop.bind(lambda *given: function(*given[:-1], clock.mark(given[-1])))

        clock.lead(self)
        if not loop.keyed:
            loop.before.append("key = None")
        behind = f"{marked(lambda value, key, time, mark: self.put_behind(value, key, time, mark, 0.0))}(value, key, time, high)"
        loop.lines += self.lines(loop, Code("high", marked, f"{loop.bind(clock.due)}()", behind))
        loop.closed = True
        loop.after.append(self.give_closed)
        return True

    def put_behind(self, value: Any, key: Hashable, time: int, mark: int, order: float) -> None:
        """A record comes too late for all its windows."""
        add(self.late, [Late(value, (mark - time) / 1000)], [key], time, order, mark)

    # Results.

    def put(self, results: Sequence[Any], keys: Iterable[Hashable], end: int, mark: int) -> None:
        """Results of windows that end at ``end``, for the watermark has come to ``mark``; to be passed on by ``give_closed``."""
        moment = None if self.fused else self.host.moment(end, mark)
        order, before = (0.0, START) if moment is None else (moment.order, moment.before)
        add(self.out, results, keys, end - 1, order, before)

    def made(self, rows: dict[Hashable, Row], start: int, end: int) -> list[Any]:
        """The results of a window's rows; one that cannot be made meets the policy, and is left out of both."""
        try:
            return self.rows.results(rows, start, end, ON_TIME)
        except Exception:
            results = []
            for key, row in list(rows.items()):
                try:
                    results += self.rows.results({key: row}, start, end, ON_TIME)
                except Exception as error:
                    del rows[key]
                    self.not_made(error, key, start, end)
            return results

    def not_made(self, error: Exception, key: Hashable, start: int, end: int) -> None:
        """The policy decides about a result that cannot be made."""
        self.host.failed(error, Batch(((original(key), start, end),), (end - 1,), (key,), (0.0,), (START,)), 0, None)

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
        row = self.newest()
        if row is not None:
            try:
                self.rows.check_savable(row)
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


def add(b: Batch, values: Sequence[Any], keys: Iterable[Hashable], time: int, order: float, mark: int) -> None:
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
