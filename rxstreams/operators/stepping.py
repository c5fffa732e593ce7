"""What has its records' statements in one loop: alone, or as a part of the loop that reads the source."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from operator import length_hint
from typing import Any, ClassVar, NamedTuple

from rxstreams.batch import Batch
from rxstreams.operators.outbox import Outbox
from rxstreams.operators.stores import Store
from rxstreams.stream.loops import Loop, define, indented
from rxstreams.watermarks import END, START, Late

__all__ = ["Code", "Stepping", "add"]


class Code(NamedTuple):
    """How the statements of an operator say what is not the same alone and in a source's loop.

    Attributes:
        alone: Whether it is a loop of its own.
        now: The variable from which ``marked`` functions know the watermark; their last argument.
        marked: Makes a name for a function whose last argument is the watermark.
        passed: The statements that find out the watermark, and the expression for it then.
        due: The expression that finds out anew when something is due.
        behind: The statement for a record that comes too late.
        add: Makes the statements that add to the columns of a batch, of the expressions for a value and its time.
        put: The same for a result.
    """

    alone: bool
    now: str
    marked: Callable[[Callable[..., Any]], str]
    passed: tuple[Sequence[str], str]
    due: str
    behind: str
    add: Callable[[Batch, str, str], list[str]]
    put: Callable[[str, str], list[str]]


class Stepping(Outbox):
    """A node whose ``lines`` take in a record, and whose ``reach`` does what is due when the watermark comes to something.

    Args:
        behind: Milliseconds by which results may be behind the watermark, which is passed on so much later.

    Attributes:
        out: Results, to be passed on.
        asides: What is to go to side streams, by their names.
        timed: Whether results' times are wanted.
        parts: Its memory that stands apart.
        fused: Whether it is a part of its sources' loops; then nobody needs to know between which records a result was made.
    """

    locked = needs_time = fans_out = True
    passes: ClassVar[bool] = False
    """Whether its results are records that it lets through, so that what follows it can join the loop."""
    parts: Sequence[Store] = ()

    def __init__(self, behind: int = 0) -> None:
        super().__init__()
        self.behind = max(0, behind)
        self.holds_time = self.behind > 0  # type: ignore[misc]  # of one node, here
        self.steppers: dict[tuple[int, bool], Callable[..., None]] = {}
        self.fused, self.timed = False, True
        self.out = Batch([], [], [], [], [])
        self.asides: dict[str, Batch] = {"late": Batch([], [], [], [], [])}

    def lines(self, loop: Loop, code: Code, port: int) -> Sequence[str]:
        """The statements that take in ``value``, whose ``key`` and ``time`` are set; what is made of them may change ``due``."""
        raise NotImplementedError

    def reach(self, mark: int) -> None:
        """The watermark has come to ``mark``: do what is due by then, in order of time."""
        raise NotImplementedError

    # What it keeps.

    def start(self) -> None:
        super().start()
        for part in self.parts:
            part.start()

    def stores(self) -> Sequence[Any]:
        return (*super().stores(), *self.parts)

    def cut(self) -> None:
        for part in self.parts:
            part.settle()

    def check_kept(self) -> None:
        """Fail if something that was kept since this was asked cannot be saved."""

    # Records.

    def batch(self, b: Batch, port: int) -> None:
        self.timed = b.times is not None
        n, left, mapping = len(b), iter(b.values), isinstance(b.values[0], dict)
        columns = b.keys or [None] * n, b.times or [0] * n, b.marks or [self.told] * n, b.order or [0.0] * n
        records, step = zip(left, *columns), self.stepper(port, mapping)
        while True:
            try:
                step(records, self.next_time)
                break
            except Exception as error:  # the loop took the record out of all columns, and left its state as it was
                at = n - length_hint(left) - 1
                one = b.values[at], *(column[at] for column in columns)
                again = partial(self.stepper(port, isinstance(one[0], dict)), (one,), END)
                if isinstance(one[0], dict) == mapping or _fails(again):
                    self.host.failed(error, b, at, again)
        self.pass_on()
        self.wait()

    def stepper(self, port: int, mapping: bool) -> Callable[..., None]:
        """A loop over (value, key, time, watermark before, order) records."""
        if (port, mapping) not in self.steppers:
            loop = Loop(mapping=mapping)
            loop.keyed = True
            due = f"{loop.bind(lambda: self.next_time)}()"
            behind = f"{loop.bind(self.put_behind)}(value, key, time, mark, order)"
            put = partial(_add, loop, keyed=True, timed=True, placed=True)
            lines = self.lines(loop, Code(True, "mark", loop.bind, ((), "mark"), due, behind, put, partial(put, self.out)), port)
            code = f"""
def step(records, due):
{indented(loop.before, 1)}
    for value, key, time, mark, order in records:
        if mark >= due:
            {loop.bind(self.reach)}(mark)
            due = {due}
{indented(lines, 2)}
"""
            self.steppers[port, mapping] = define("step", code, loop.names)
        return self.steppers[port, mapping]

    def join(self, loop: Loop) -> bool:
        clock, port = loop.clock, loop.port
        if clock is None or (self.ports > 1 and clock.followers):
            return False  # with two inputs the loop's time is the least of both, which is not that of an operator before

        def marked(function: Callable[..., Any]) -> str:
            return loop.bind(lambda *given: function(*given[:-1], clock.mark(given[-1])))

        self.timed = loop.timed
        clock.lead(self, (lambda: self.time_of_inputs(but=port)) if self.ports > 1 else None)
        if not loop.keyed:
            loop.before.append("key = None")
        behind = f"{marked(lambda value, key, time, mark: self.put_behind(value, key, time, mark, 0.0))}(value, key, time, high)"
        put = partial(_add, loop, keyed=self.host.keyed, timed=loop.timed, placed=False)
        seen = f"seen{loop.bind(self)}"  # the time of which ``mark`` is: for many records after it, it stays
        loop.before.append(f"{seen} = None")
        passed = [f"if {seen} != high: {seen} = high; mark{seen} = {loop.bind(clock.mark)}(high)"], f"mark{seen}"
        code = Code(False, "high", marked, passed, f"{loop.bind(clock.due)}()", behind, put, partial(put, self.out))
        loop.lines += self.lines(loop, code._replace(put=lambda *_: []) if self.passes else code, port)
        loop.closed = not self.passes
        loop.after.append(self.pass_on)
        return True

    def put_behind(self, value: Any, key: Hashable, time: int, mark: int, order: float) -> None:
        """A record comes too late."""
        add(self.asides["late"], [Late(value, (mark - time) / 1000)], [key], time, order, mark)

    # Results.

    def put(self, results: Sequence[Any], keys: Iterable[Hashable], time: int, due: int, mark: int) -> None:
        """Add results of the event time ``time`` that were due at ``due``, for the watermark has come to ``mark``."""
        moment = None if self.fused else self.host.moment(due, mark)
        order, before = (0.0, START) if moment is None else (moment.order, moment.before)
        add(self.out, results, keys, time, order, before)

    def put_each(
        self, results: Sequence[Any], keys: Iterable[Hashable], times: Iterable[int], dues: Sequence[int], mark: int
    ) -> None:
        """Add results, each of a time and due of its own."""
        out, moments = self.out, {}
        if not self.fused:
            moments = {due: self.host.moment(due, mark) for due in dict.fromkeys(dues)}
            out.order.extend(moments[due].order for due in dues)  # type: ignore[union-attr]  # the columns are lists
            out.marks.extend(moments[due].before for due in dues)  # type: ignore[union-attr]  # ditto
        out.values.extend(results)  # type: ignore[attr-defined]  # ditto
        out.keys.extend(keys)  # type: ignore[union-attr]  # ditto
        out.times.extend(times)  # type: ignore[union-attr]  # ditto

    def pass_on(self) -> None:
        """Pass on what was made, and what came too late."""
        self.check_kept()
        for name, b in self.asides.items():
            if b.values:
                self.host.aside(name, self.taken(b).keyed(None))
        if self.out.values:
            self.give(self.taken(self.out))

    def taken(self, b: Batch) -> Batch:
        """What was added to a batch, with the columns that others know of; loops know its lists, so that these stay."""
        keys = list(b.keys or ()) if self.host.keyed else None
        times = list(b.times or ()) if self.timed else None
        if self.fused:
            made = Batch(list(b.values), times, keys)
        else:
            marks = b.marks or ()
            marks = [mark if mark == START else mark - self.behind for mark in marks] if self.behind else list(marks)
            made = Batch(list(b.values), times, keys, list(b.order or ()), marks)
        for column in (b.values, b.keys, b.times, b.order, b.marks):
            column.clear()  # type: ignore[union-attr]  # they are lists
        return made

    # Time.

    def clock_came_to(self, due: int) -> None:
        for port in range(self.ports):
            if port not in self.done:
                self.marks[port] = max(self.marks.get(port, START), due)
        self.tell_time()

    def watermark(self, mark: int, port: int) -> None:
        self.marks[port] = mark
        self.tell_time()

    def come_to(self, mark: int) -> None:
        self.reach(mark)
        self.pass_on()
        self.wait()
        self.tell(mark if mark in (START, END) else mark - self.behind)

    def end(self, port: int, at: float | None = None) -> None:
        self.done.add(port)
        if len(self.done) < self.ports:
            self.tell_time()
            return
        self.come_to(END)
        self.cut()
        self.stop(at)


def _add(loop: Loop, out: Batch, value: str, time: str, *, keyed: bool, timed: bool, placed: bool) -> list[str]:
    """The statements that add a value to the columns of a batch."""
    columns: list[tuple[Any, str]] = [(out.values, value)]
    columns += [(out.times, time)] if timed else []
    columns += [(out.keys, "key")] if keyed else []
    columns += [(out.order, "order"), (out.marks, "mark")] if placed else []
    return [f"{loop.bind(column.append)}({expression})" for column, expression in columns]


def add(b: Batch, values: Sequence[Any], keys: Iterable[Hashable], time: int, order: float, mark: int) -> None:
    """Add records that have one time and place."""
    n = len(values)
    b.values.extend(values)  # type: ignore[attr-defined]  # the columns of a batch that is being made are lists
    b.keys.extend(keys)  # type: ignore[union-attr]  # ditto
    b.times.extend([time] * n)  # type: ignore[union-attr]  # ditto
    b.order.extend([order] * n)  # type: ignore[union-attr]  # ditto
    b.marks.extend([mark] * n)  # type: ignore[union-attr]  # ditto


def _fails(again: Callable[[], None]) -> bool:
    """Whether a record of the other kind, mapping or object, fails by that loop, too."""
    try:
        again()
    except Exception:
        return True
    return False
