"""Stream: an Observable that is also a blueprint, and the way operators are made into functions for ``pipe``."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, overload

import msgspec
from reactivex import Observable, abc
from reactivex.disposable import Disposable
from reactivex.scheduler import CurrentThreadScheduler

from rxstreams.errors import ConfigError
from rxstreams.stream.cold import Outlet, connect
from rxstreams.stream.node import Node

if TYPE_CHECKING:
    from rxstreams.watermarks import Late

__all__ = ["Attachment", "Operation", "Operator", "Stream", "attached", "operator", "source_stream"]

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
P1 = TypeVar("P1")
P2 = TypeVar("P2")
P3 = TypeVar("P3")
P4 = TypeVar("P4")
P5 = TypeVar("P5")
P6 = TypeVar("P6")
P7 = TypeVar("P7")
R = TypeVar("R")
_T_out = TypeVar("_T_out", covariant=True)

Operator = Callable[[Observable[A]], "Stream[B]"]
"""What every operator returns: a function from an Observable to a Stream, ready for ``pipe``."""

Step = Callable[[Observable[A]], Observable[B]]

_serial = itertools.count()


class Attachment(Protocol):
    """A run that is making its graph, or is at work: it decides what subscribing to a Stream means meanwhile."""

    def attach(self, stream: Stream[Any], outlet: Outlet) -> abc.DisposableBase:
        """Connect ``outlet`` to the run's one node for ``stream``."""
        ...


attached: ContextVar[Attachment | None] = ContextVar("rxstreams.attached", default=None)
"""Set while a run subscribes to operators that are not ours, so that what they subscribe to is the run's, not a copy."""


class Operation(msgspec.Struct, frozen=True):
    """What an operator is, apart from its being at work: enough to draw, explain, check and make it.

    Attributes:
        kind: The operator's public name.
        make: Makes the node that does the work.
        parameters: What to show of its arguments; those that begin with an underscore are not shown.
        name: Its identity for saved state, where the user gave one.
        defines: The parameters that define its state; saved state of other ones does not fit.
        stateful: Whether it remembers anything that a commit must save.
        depends_on: ``"interleaving"`` or ``"clock"`` where the result depends on it; None where it follows from the input.
        key: Whether its results have the keys of the records they come from, a key that it makes, or none.
        makes_time: Whether its results have times of their own, whatever its inputs' are.
        sides: Names of its side streams (``errors``, …).
        ends: For sources and sinks, what a run needs to know of them.
    """

    kind: str
    make: Callable[[], Node]
    parameters: Mapping[str, Any] = msgspec.field(default_factory=lambda: MappingProxyType({}))
    name: str | None = None
    defines: tuple[str, ...] = ()
    stateful: bool = False
    depends_on: str | None = None
    key: Literal["kept", "made", "dropped"] = "kept"
    makes_time: bool = False
    sides: tuple[str, ...] = ()
    ends: Any = None

    @property
    def title(self) -> str:
        """The operator with its telling arguments: ``take(5)``."""
        told = ((key, value) for key, value in self.parameters.items() if value is not None and not key.startswith("_"))
        shown = [f"{key}={_brief(value)}" for key, value in told]
        return f"{self.kind}({', '.join(shown)})"


def _brief(value: Any) -> str:
    if isinstance(value, type) or callable(value):
        return getattr(value, "__qualname__", type(value).__name__).rpartition(".")[2]
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…'"


class Stream(Observable[_T_out]):
    """An Observable that is also a blueprint: nothing happens until it is subscribed to, or run.

    ``subscribe`` is Rx to the letter: value by value, cold, ended by the first exception. ``rxstreams.run`` makes the durable
    thing of it. Either way the same operators do the work. ``async for value in stream`` subscribes on the running loop, and
    cancels when the loop is left.

    Attributes:
        operation: What made this stream.
        inputs: The observables that it reads; those that are no Stream are opaque.
        keyed: Whether its values have keys, in a run and on the way to a subscriber.
        clocked: Whether its times are the clock's, as of values that bring none: then time passes while no value comes, too.
        serial: Grows with each stream built, so that ties in naming have an order that adding a sink does not change.
    """

    def __init__(self, operation: Operation, *inputs: Observable[Any]) -> None:
        super().__init__()
        self.operation = operation
        self.inputs = inputs
        kept = operation.key == "kept" and bool(inputs) and all(isinstance(one, Stream) and one.keyed for one in inputs)
        self.keyed: bool = kept or operation.key == "made"
        by_clock = bool(inputs) and all(not isinstance(one, Stream) or one.clocked for one in inputs)
        self.clocked: bool = by_clock and not operation.makes_time
        self.serial = next(_serial)
        self._sides: dict[str, Stream[Any]] = {}

    def __repr__(self) -> str:
        return f"<Stream {self.operation.title}>"

    def __getattr__(self, name: str) -> Any:
        # Only called for what is nowhere else: side streams, and mistakes.
        if name.startswith("_") or name not in _SIDES:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if name not in self.operation.sides:
            holders = [node.operation.title for node in _upstream(self) if name in node.operation.sides]
            where = (
                f"it belongs to the stream that {holders[0]} returned: keep that one in a variable"
                if holders
                else f"no operator before it has one; {_SIDES[name]}"
            )
            raise AttributeError(f"the stream of {self.operation.title} has no side stream {name!r}; {where}")
        if name not in self._sides:
            self._sides[name] = Stream(Operation(name, _side_alone, ends=SideOf(self, name)))
        return self._sides[name]

    if TYPE_CHECKING:
        late: Stream[Late[Any]]

        @property
        def duplicates(self) -> Stream[_T_out]: ...

        # As Observable.pipe, but in terms of the elements: only so do checkers tell a lambda what comes in.
        @overload  # type: ignore[override]  # RxPY's is in terms of the results
        def pipe(self, /) -> Stream[_T_out]: ...
        @overload
        def pipe(self, a: Callable[[Observable[_T_out]], R], /) -> R: ...
        @overload
        def pipe(self, a: Step[_T_out, P1], b: Callable[[Observable[P1]], R], /) -> R: ...
        @overload
        def pipe(self, a: Step[_T_out, P1], b: Step[P1, P2], c: Callable[[Observable[P2]], R], /) -> R: ...
        @overload
        def pipe(self, a: Step[_T_out, P1], b: Step[P1, P2], c: Step[P2, P3], d: Callable[[Observable[P3]], R], /) -> R: ...
        @overload
        def pipe(
            self, a: Step[_T_out, P1], b: Step[P1, P2], c: Step[P2, P3], d: Step[P3, P4], e: Callable[[Observable[P4]], R], /
        ) -> R: ...
        @overload
        def pipe(
            self,
            a: Step[_T_out, P1],
            b: Step[P1, P2],
            c: Step[P2, P3],
            d: Step[P3, P4],
            e: Step[P4, P5],
            f: Callable[[Observable[P5]], R],
            /,
        ) -> R: ...
        @overload
        def pipe(
            self,
            a: Step[_T_out, P1],
            b: Step[P1, P2],
            c: Step[P2, P3],
            d: Step[P3, P4],
            e: Step[P4, P5],
            f: Step[P5, P6],
            g: Callable[[Observable[P6]], R],
            /,
        ) -> R: ...
        @overload
        def pipe(
            self,
            a: Step[_T_out, P1],
            b: Step[P1, P2],
            c: Step[P2, P3],
            d: Step[P3, P4],
            e: Step[P4, P5],
            f: Step[P5, P6],
            g: Step[P6, P7],
            h: Callable[[Observable[P7]], R],
            /,
        ) -> R: ...
        def pipe(self, *operators: Any) -> Any: ...

    def subscribe(
        self,
        on_next: abc.ObserverBase[_T_out] | abc.OnNext[_T_out] | None = None,
        on_error: abc.OnError | None = None,
        on_completed: abc.OnCompleted | None = None,
        *,
        scheduler: abc.SchedulerBase | None = None,
    ) -> abc.DisposableBase:
        """Subscribe as to any Observable; see ``reactivex.Observable.subscribe``."""
        outlet = on_next if isinstance(on_next, Outlet) else Outlet.of(on_next, on_error, on_completed)
        run = attached.get()
        if run is not None:
            return run.attach(self, outlet)

        def begin(_: Any = None, __: Any = None) -> None:
            try:
                outlet.subscription = connect(
                    self.operation.make(), self.inputs, outlet, scheduler, keyed=self.keyed, clocked=self.clocked
                )
            except Exception as error:
                if not outlet.fail(error):
                    raise

        # RxPY's trampoline: the first subscription of a thread opens it, so that its disposable is in place before any value.
        trampoline = CurrentThreadScheduler.singleton()
        if trampoline.schedule_required():
            trampoline.schedule(begin)
        else:
            begin()
        return Disposable(outlet.dispose)

    def __aiter__(self) -> AsyncIterator[_T_out]:
        """Iterate over the values, at most 1,024 of them waiting; leaving the loop cancels the subscription.

        Raises:
            Exception: What the stream fails with.
            BufferError: If the stream, which cannot be slowed from here, is 1,024 values ahead of the loop's body.
        """
        from rxstreams.stream.pulling import pull  # only here: asyncio's queue is not needed to describe a stream

        return pull(self, capacity=1024)


class SideOf(msgspec.Struct, frozen=True):
    """What a side stream is a side of."""

    stream: Stream[Any]
    name: str


_SIDES = {
    "errors": "those that call functions have",
    "late": "those that go by event time have, such as windowed, the joins and dedup",
    "duplicates": "dedup(keep='first') has",
    "timed_out": "detect has",
    "dropped": "edges have: bounded, rate_limit, map_async and its like, to_callable",
}
"""The names of side streams, and which operators have one, for messages."""


def _side_alone() -> Node:
    raise ConfigError("a side stream (errors, …) has values in a run only: pass it to rxstreams.run beside its main stream")


def _upstream(stream: Stream[Any]) -> list[Stream[Any]]:
    found: dict[Stream[Any], None] = {}
    waiting = [stream]
    while waiting:
        for source in waiting.pop().inputs:
            if isinstance(source, Stream) and source not in found:
                found[source] = None
                waiting.append(source)
    return list(found)


def operator(
    operation: Operation, *others: Observable[Any], into: type[Stream[Any]] = Stream
) -> Callable[[Observable[Any]], Stream[Any]]:
    """The function for ``pipe`` that puts ``operation`` after an Observable (and after ``others`` too)."""
    for i, other in enumerate(others):
        if not isinstance(other, Observable):
            raise ConfigError(f"{operation.kind}: expected an Observable as input {i + 1}, got {other!r}")

    def build(source: Observable[Any]) -> Stream[Any]:
        if not isinstance(source, Observable):
            raise ConfigError(
                f"{operation.kind}: expected an Observable to work on, got {type(source).__name__}; use it in a pipe"
            )
        return into(operation, source, *others)

    return build


def source_stream(operation: Operation) -> Stream[Any]:
    """A stream that begins with ``operation``."""
    return Stream(operation)


def fluent(name: str, function: Callable[..., Callable[[Observable[Any]], Any]]) -> None:
    """Let Stream's inherited method ``name`` build our operator instead of RxPY's; names that RxPY lacks are not added."""
    if not hasattr(Observable, name):
        return

    def method(self: Stream[Any], *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)(self)

    method.__name__, method.__doc__ = name, f"As ``operators.{name}`` in a pipe."
    setattr(Stream, name, method)
