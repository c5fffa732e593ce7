"""Operators that are not ours inside a run: what goes in is handed over value by value, what comes out is lifted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from reactivex import Observable
from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable, SingleAssignmentDisposable

from rxstreams.batch import Batch
from rxstreams.errors import GraphError
from rxstreams.runtime.scheduling import RunScheduler
from rxstreams.stream import Node, Outlet, Stream
from rxstreams.watermarks import START

if TYPE_CHECKING:
    from rxstreams.runtime.graph import Graph
    from rxstreams.runtime.vertices import Vertex

__all__ = ["Opaque"]


class Opaque(Node):
    """One chain of foreign operators. Its inputs are the streams that it subscribed to; its state is nobody's to save.

    What comes out while a record goes in was made by that record, and so was what it has the scheduler do at once: that is done
    before the next record, as on RxPY's own trampoline, so that it does not show how the input was cut into batches. What comes
    out at any other time (a timer, another thread) waits for the run's loop, and goes through on its own.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.ports = 0
        self.graph = graph
        self.scheduler = RunScheduler(self.soon, self.later, graph.clock)
        self.outlets: list[list[Outlet]] = []
        self.subscription: DisposableBase = Disposable()
        self.current: int | None = None
        self.asked: deque[Callable[[], None]] = deque()
        self.made: list[tuple[int, Any]] = []
        self.over = self.beginning = False
        self.error: Exception | None = None
        self.clock = START
        self.vertex: Vertex

    # Subscriptions of the foreign operators to ours.

    def subscribe_to(self, foreign: Observable[Any]) -> None:
        """Subscribe to the chain's end, which has it subscribe to what it reads.

        Some (``retry``, ``catch`` with a list) have the scheduler do that, and it must be done now, while the graph is made. A
        chain that reads no stream of ours is a source: what it schedules are its values, which must wait for the run.
        """
        subscription = self.subscription = SingleAssignmentDisposable()
        self.beginning = True
        subscription.disposable = foreign.subscribe(self.take, self.take_error, self.take_end, scheduler=self.scheduler)
        if self.asked and not self.outlets and _leads_to_a_stream(foreign):
            while self.asked and not self.outlets:
                self.asked.popleft()()
        self.beginning = False
        while self.asked:
            self.soon(self.asked.popleft())

    def tap(self, outlet: Outlet) -> int:
        """A new input, which hands its values to ``outlet``."""
        self.outlets.append([outlet])
        self.ports += 1
        return self.ports - 1

    def tap_again(self, source: Vertex | None, outlet: Outlet) -> bool:
        """Have ``outlet`` read a stream that this chain reads already, from the next record on; False if it does not.

        ``retry`` and ``catch`` do so after an error. There is no way back to earlier records: a run reads its input once.
        """
        for port, above in enumerate(self.vertex.inputs):
            if above is source:
                if port in self.done:
                    raise GraphError(
                        f"{above.title} has ended, and a foreign operator (repeat?) subscribed to it again; a run reads its "
                        "input once"
                    )
                self.outlets[port].append(outlet)
                return True
        return False

    def start(self) -> None:
        for port in self.done:
            self.graph.post(partial(self.complete, port))

    # From the run into the foreign operators.

    @contextmanager
    def at_work_on(self, index: int) -> Iterator[None]:
        """While this lasts, the foreign operators are at work on a record, and what they make is that record's."""
        outer = self.graph.foreign, self.current
        self.graph.foreign, self.current = self, index
        try:
            yield
        finally:
            self.graph.foreign, self.current = outer

    def batch(self, b: Batch, port: int) -> None:
        with self.at_work_on(0):
            for i, value in enumerate(b.values):
                self.current = i
                self.hand_over(port, value)
                if self.over:
                    break
        made, self.made = self.made, []
        if made:
            self.send(b.at([i for i, _ in made], [value for _, value in made]))
        if self.over:
            self.stop(b.order[i] if b.order else None)

    def hand_over(self, port: int, value: Any) -> None:
        """One value to whoever reads this input, and what was asked of the scheduler meanwhile."""
        outlets = self.outlets[port]
        for outlet in tuple(outlets):  # who subscribes now begins with the next value
            outlet.on_next(value)
        self.do_what_was_asked()
        if any(outlet.is_stopped for outlet in outlets):
            outlets[:] = [outlet for outlet in outlets if not outlet.is_stopped]

    def do_what_was_asked(self) -> None:
        """Carry out what the foreign operators wanted done as soon as the call that wanted it had returned."""
        while self.asked and not self.over:
            self.asked.popleft()()

    def end(self, port: int, at: float | None = None) -> None:
        self.done.add(port)
        self.complete(port)

    def complete(self, port: int) -> None:
        """Tell the foreign operators that an input has ended."""
        with self.at_work_on(0):
            for outlet in tuple(self.outlets[port]):
                outlet.on_completed()
            self.do_what_was_asked()
        made, self.made = self.made, []
        if made:
            self.send(self.host.fresh([value for _, value in made], [0] * len(made)))
        if self.over:
            self.stop()

    def stop(self, at: float | None = None) -> None:
        """The foreign operators have ended, or failed."""
        if self.error is not None:
            self.fail(self.error)
        self.finish(at)

    def watermark(self, mark: int, port: int) -> None:
        """Time does not pass through what is opaque."""

    # What the foreign operators ask of the scheduler.

    def soon(self, action: Callable[[], None]) -> None:
        """Have an action done right after the record at hand, or between two pushes if there is none."""
        if self.beginning or self.at_work():
            self.asked.append(action)
        else:
            self.graph.post(lambda: self.act(action))

    def later(self, seconds: float, action: Callable[[], None]) -> DisposableBase:
        """Have an action done between two pushes, after some seconds."""
        return self.graph.later(seconds, lambda: self.act(action))

    def act(self, action: Callable[[], None]) -> None:
        """Do something that no record of ours asks for now; it may subscribe to our streams again."""
        outer, self.graph.foreign = self.graph.foreign, self
        try:
            action()
        finally:
            self.graph.foreign = outer

    # From the foreign operators into the run.

    def take(self, value: Any) -> None:
        if self.at_work():
            self.made.append((self.current or 0, value))
        else:
            self.graph.post(lambda: self.send(self.host.fresh((value,), (0,))))

    def take_error(self, error: Exception) -> None:
        self.error = error
        self.take_end()

    def take_end(self) -> None:
        if self.at_work():
            self.over = True
        else:
            self.graph.post(self.stop)

    def at_work(self) -> bool:
        """Whether a record is going in, on this very thread."""
        return self.current is not None and self.graph.in_loop()

    def send(self, b: Batch) -> None:
        """Pass results on without keys, stamped by the clock where time is read."""
        if not self.host.wants_time:
            self.emit(b.keyed(None))
            return
        now = self.clock = max(self.clock, int(self.host.now() * 1000))
        self.emit(Batch(b.values, [now] * len(b), None, b.order, [now] * len(b)))
        self.forward(now)

    def close(self) -> None:
        self.subscription.dispose()


def _leads_to_a_stream(foreign: Observable[Any]) -> bool:
    """Whether a stream of ours is in the closures that a chain of foreign operators is made of."""
    seen: set[int] = set()
    waiting: list[Any] = [foreign]
    while waiting:
        thing = waiting.pop()
        if isinstance(thing, Stream):
            return True
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, Observable):
            waiting += vars(thing).values()
        elif isinstance(thing, FunctionType):
            waiting += [cell.cell_contents for cell in thing.__closure__ or () if cell != CellType()]
        elif isinstance(thing, partial):
            waiting += [thing.func, *thing.args, *thing.keywords.values()]
        elif isinstance(thing, MethodType):
            waiting += [thing.__func__, thing.__self__]
        elif isinstance(thing, list | tuple):
            waiting += thing
    return False
