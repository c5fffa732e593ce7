"""Node: one operator at work, per subscription or once per run; the contract that operators are written against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import length_hint
from types import FunctionType
from typing import Any, ClassVar, Final, NamedTuple, Protocol

from reactivex import Observable
from reactivex.abc import DisposableBase

from rxstreams.batch import Batch
from rxstreams.errors import OperatorError, Policy, RecordError
from rxstreams.stream.loops import Loop
from rxstreams.watermarks import END, START

__all__ = ["LOST", "UNBOUNDED", "Host", "Moment", "Node", "Pace"]

LOST: Final = object()
"""What ``Host.failed`` answers when the record is gone and the rest goes on."""


UNBOUNDED: Final = 1 << 30
"""What ``Node.room`` answers where there is no bound."""


class Pace(Protocol):
    """An observer that can say when it has no room."""

    @property
    def full(self) -> bool:
        """Whether there is no room."""
        ...

    async def room(self) -> None:
        """Return when there is room again."""
        ...


class Moment(NamedTuple):
    """When time came to some point, seen from a node: the same however the input is cut into batches."""

    order: float
    before: int
    """The watermark until then."""
    after: int
    """The watermark from then on."""


class Host(Protocol):
    """What a driver gives to the node that it drives. Two implementations: a direct subscription, and a run."""

    wants_time: bool
    """Whether event times are read by this node or by something downstream."""
    wants_latest: bool
    """Whether everything downstream reads no more than the latest result per key and commit."""
    durable: bool
    """Whether this is a run: state is saved, and fails at the record that made it unsavable."""
    forgiving: bool
    """Whether a record may fail and the rest go on, so that what it changed must be undone."""
    keyed: bool
    """Whether its results have keys: the blueprint says so, whichever records come first."""
    clocked: bool
    """Whether time is the clock's, so that it passes while no record comes, too."""
    pace: Pace | None
    """What a source must heed before it emits on, if the observer can say that it has no room."""
    beyond: Pace | None
    """What is heeded for the sake of those below, in a subscription."""
    app: str
    """The run's name; empty in a subscription."""
    limited: bool
    """Whether there may be no room below."""
    policy: Policy
    """What happens to a record that fails here."""

    def emit(self, batch: Batch, /) -> None:
        """Pass a batch on; an empty one goes nowhere. The last act of whatever calls it: emitting may re-enter the node."""
        ...

    def finish(self, at: float | None = None) -> None:
        """End the output: after the record of order number ``at``, or after all that was emitted."""
        ...

    def fail(self, error: Exception) -> None:
        """End the output with an error (in a run: stop the run)."""
        ...

    def forward(self, watermark: int) -> None:
        """Tell everybody downstream how far time has come."""
        ...

    def fresh(self, values: Sequence[Any], times: Sequence[int] | None, keys: Sequence[Any] | None = None) -> Batch:
        """A batch of results that no single record made: a timer, the end. ``times`` count only where times are wanted."""
        ...

    def moment(self, time: int, mark: int) -> Moment:
        """When time came to ``time``, which by the watermark ``mark`` is over."""
        ...

    def failed(self, error: Exception, batch: Batch, index: int, again: Callable[[], Any] | None, *, attempts: int = 1) -> Any:
        """Say what becomes of record ``index``, whose user function raised: the result of trying ``again``, or LOST.

        A direct subscription ends with the error; a run does as the policy says.
        """
        ...

    def later(self, seconds: float, action: Callable[[], None]) -> DisposableBase:
        """Call ``action`` after ``seconds`` on the subscription's scheduler (in a run: between two batches)."""
        ...

    def made_room(self) -> None:
        """Tell that an edge which was full may have room."""
        ...

    def pressure(self, *, full: bool) -> None:
        """Tell that an edge has become full, or asks for more again."""
        ...

    def room(self) -> int:
        """How many results there is room for below."""
        ...

    def aside(self, name: str, batch: Batch) -> None:
        """Put records on a side stream, if somebody reads it; those that are late are counted."""
        ...

    def reads(self, name: str) -> bool:
        """Whether somebody reads a side stream."""
        ...

    def origin(self) -> Any:
        """Where the records at hand came from; for ``post``."""
        ...

    def post(self, action: Callable[[], None], origin: Any) -> None:
        """Call ``action`` when nothing else is at work (in a run: between two batches), for records of ``origin``."""
        ...

    def now(self) -> float:
        """Seconds since the epoch by the scheduler's clock."""
        ...

    def switch(self, other: Observable[Any]) -> None:
        """Leave the first input for ``other``, which is the second (subscriptions only)."""
        ...

    def open(self, inner: Observable[Any], node: Node, batch: Batch) -> None:
        """Subscribe to an Observable that a user's function returned for the one record in ``batch``."""
        ...


class Node:
    """One operator at work.

    All that it remembers is in ``states``, by keys of its own; whatever it changes there it names in ``dirty``. It writes
    both *before* it emits, and emitting is its last act, because downstream may feed back into it.
    """

    ports: int = 1
    """How many inputs there are; ports are numbered from 0."""
    port_order: ClassVar[Sequence[int] | None] = None
    """The order in which the inputs are subscribed; None is 0, 1, 2, …"""
    locked: ClassVar[bool] = False
    """Whether inputs on several threads must take turns (direct subscriptions; a run is on one thread)."""
    needs_time: ClassVar[bool] = False
    """Whether it reads event times or watermarks itself."""
    passes_time: ClassVar[bool] = True
    """Whether its results' times are made from its inputs' times."""
    makes_time: ClassVar[bool] = False
    """Whether its results' times and watermarks are its own, so that it needs none of its inputs."""
    holds_time: ClassVar[bool] = False
    """Whether it holds the watermark back, for results that it may still emit."""
    gives_when_it_can: ClassVar[bool] = False
    """Of what holds time: whether its results come when there is room or an answer, so that behind it nobody can expect them, and
    time, between the same records however the input is cut."""
    has_timers: ClassVar[bool] = False
    """Whether it must know when, between two records of a push, time came to some point."""
    lends_clock: ClassVar[bool] = False
    """Whether its own scheduler, where it has one, is passed on to its inputs (subscriptions)."""
    in_turn: ClassVar[bool] = False
    """Whether a subscription subscribes to an input only when the one before it has ended."""
    instead: ClassVar[str | None] = None
    """For what a run cannot have: what to do instead."""
    fans_out: ClassVar[bool] = False
    """Whether one record may make several results."""
    absorbs: ClassVar[bool] = False
    """Whether its results wait in it until there is room for them below; the graph calls ``give_more`` then."""
    on_error: Policy | None = None
    """What happens to a record at which its user function raises; None is the run's policy."""
    needs_order: bool = False
    """Whether it must know which of the source's records each one comes from."""
    error_type: type[RecordError] = OperatorError
    """What a failing record is reported as."""
    by_clock: bool = False
    """Of what makes time: whether it goes on with the clock as long as no record comes."""
    scheduler: Any = None
    """The operator's own scheduler argument, which wins over the subscription's."""
    host: Host

    def __init__(self) -> None:
        self.states: dict[Any, Any] = {}
        self.dirty: set[Any] = set()
        self.spaces: Any = None  # a rxstreams.state.spaces.Spaces, where memory is freed in layers
        self.done: set[int] = set()
        self.marks: dict[int, int] = {}
        self.told = START

    def start(self) -> None:
        """Begin: state is restored, inputs are not subscribed yet."""

    def ready(self) -> None:
        """Go on beginning, now that the inputs are subscribed: what is due at the same time as a record comes after it."""

    def produce(self) -> None:
        """Begin to emit, as a source in a direct subscription; in a run the run reads the source itself."""

    def batch(self, b: Batch, port: int) -> None:
        """Handle the next records of an input."""
        raise NotImplementedError

    def join(self, loop: Loop) -> bool:
        """Add to ``loop`` the statements that do what ``batch`` does, for records that have values and keys only; False if
        that cannot be.
        """
        return False

    def merged(self, b: Batch, ports: Sequence[int]) -> None:
        """Handle records of several inputs in one order; ``ports`` says which input each came from."""
        start = 0
        for i in range(1, len(ports) + 1):
            if i == len(ports) or ports[i] != ports[start]:
                self.batch(b.cut(start, i), ports[start])
                start = i

    def end(self, port: int, at: float | None = None) -> None:
        """Handle the end of an input; the output ends when all inputs have."""
        self.done.add(port)
        if len(self.done) == self.ports:
            self.cut()
            self.finish(at)
        elif self.host.wants_time:
            self.tell_time()

    def input_failed(self, error: Exception) -> None:
        """Handle the error with which an input ended, in a subscription (in a run an error stops the run)."""
        self.fail(error)

    def watermark(self, mark: int, port: int) -> None:
        """Handle the news that an input's time has come as far as ``mark``."""
        if self.ports == 1:
            self.forward(mark)
            return
        self.marks[port] = mark
        self.tell_time()

    def tell_time(self) -> None:
        """Pass on how far the time of all inputs has come, if that is news."""
        now = self.time_of_inputs()
        if now > self.told:
            self.told = now
            self.come_to(now)

    def come_to(self, mark: int) -> None:
        """The time of all inputs has come to ``mark``, which is news."""
        self.forward(mark)

    def time_of_inputs(self, but: int | None = None) -> int:
        """The least watermark of the inputs, those that have ended and input ``but`` not counted."""
        counted = (port for port in range(self.ports) if port not in self.done and port != but)
        return min((self.marks.get(port, START) for port in counted), default=END)

    def room(self, port: int) -> int:
        """How many more records of an input there is room for, in a run, which reads its sources accordingly."""
        return UNBOUNDED

    def paced(self, beyond: Pace | None) -> Pace | None:
        """What a source above must heed in a subscription; ``beyond`` is what it must heed for the sake of those below."""
        return beyond

    def stores(self) -> Sequence[Any]:
        """What a commit saves: the node, and further memory of its own kind that stands apart."""
        return (self,)

    @property
    def next_time(self) -> int:
        """The next time at which it has something to do (``has_timers``), if no record comes before; END where there is none."""
        return END

    @property
    def backlog(self) -> int:
        """How many values wait in it, for a call or for room."""
        return 0

    def give_more(self) -> None:
        """Emit what waits, as far as there is room below."""

    @property
    def pending(self) -> int:
        """How many windows, timers or records wait for time to come."""
        return 0

    def cut(self) -> None:
        """Emit what was held back for the sake of the commit that comes now (views take the latest result per key)."""

    def lifetime(self, group: DisposableBase) -> DisposableBase:
        """What a subscription gets to dispose of, given what disposes of all the inputs."""
        return group

    def close(self) -> None:
        """Release what ``start`` took; after the end, an error, or disposal."""

    async def closed(self) -> None:
        """Return when what ``close`` has cancelled has ended."""

    # What follows is given; operators call it and do not override it.

    def emit(self, batch: Batch) -> None:
        """Pass results on; see ``Host.emit``."""
        self.host.emit(batch)

    def finish(self, at: float | None = None) -> None:
        """End the output; see ``Host.finish``."""
        self.host.finish(at)

    def fail(self, error: Exception) -> None:
        """End the output with an error; see ``Host.fail``."""
        self.host.fail(error)

    def forward(self, watermark: int) -> None:
        """Pass a watermark on; see ``Host.forward``."""
        self.host.forward(watermark)

    def each(self, function: Callable[..., Any], b: Batch, *columns: Sequence[Any]) -> tuple[list[Any], Batch]:
        """``function`` of each value (and of what stands beside it in ``columns``), at C speed; where a record was lost, the
        batch that comes back is shorter by it.

        There is no ``try`` per record: ``list.extend`` keeps what came before the exception, the values' iterator knows how
        far it got, and ``map`` goes on after raising (a generator does not, so it is made anew). A StopIteration from the
        function would end ``map`` without a word, so the count is checked.
        """
        values = b.values
        if len(values) == 1 and not columns:
            return self._one(function, b)
        results: list[Any] = []
        values_left = iter(values)
        lost: set[int] = set()
        # A Python function is called quicker from a Python loop, where the interpreter makes no new frame of its own for it;
        # a C function quicker from `map`.
        calls = None if isinstance(function, FunctionType) and not columns else map(function, values_left, *columns)
        while True:
            error: Exception
            try:
                results.extend((function(value) for value in values_left) if calls is None else calls)
                if len(results) + len(lost) == len(values):
                    break
                error = RuntimeError("the function raised StopIteration")
            except Exception as raised:
                error = raised
            at = len(values) - length_hint(values_left) - 1
            answer = self.host.failed(error, b, at, partial(function, values[at], *[column[at] for column in columns]))
            if answer is LOST:
                lost.add(at)
            else:
                results.append(answer)
        if lost:
            b = b.where([i not in lost for i in range(len(values))])
        return results, b

    def _one(self, function: Callable[[Any], Any], b: Batch) -> tuple[list[Any], Batch]:
        """``each`` of a batch of one, as a direct subscription has them."""
        try:
            return [function(b.values[0])], b
        except Exception as error:
            answer = self.host.failed(error, b, 0, partial(function, b.values[0]))
            return ([], b.cut(0, 0)) if answer is LOST else ([answer], b)

    def _bind(self, host: Host) -> None:
        """Let ``host`` drive this node; its methods become the node's own, one call less per batch."""
        self.host = host
        self.emit = host.emit  # type: ignore[method-assign,assignment]  # its parameter has no name
        self.finish = host.finish  # type: ignore[method-assign]
        self.forward = host.forward  # type: ignore[method-assign]
