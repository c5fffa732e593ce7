"""Where results go outside of the broker: to_callable."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import msgspec
from reactivex import Observable

from rxstreams.batch import Batch
from rxstreams.errors import ConfigError, Policy, Retry, SinkError, check_policy, seconds
from rxstreams.operators.arguments import check_count, check_name, getter, is_async
from rxstreams.operators.awaiting import check_awaited
from rxstreams.operators.calls import Calls, with_retry
from rxstreams.operators.edges import Held, Overflow, check_edge
from rxstreams.operators.identities import Identities, Namer
from rxstreams.state.codec import TAGGED
from rxstreams.stream import Node, Operation, Stream, operator
from rxstreams.stream.loops import Loop

__all__ = ["CallableSink", "to_callable"]

A = TypeVar("A", bound=Any)


class CallableSink(msgspec.Struct, frozen=True):
    """What a run must know of ``to_callable``."""

    title: str


def to_callable(
    function: Callable[..., Any] | Callable[..., Awaitable[Any]],
    *,
    capacity: int = 64,
    overflow: Overflow = "block",
    batch: int | None = None,
    timeout: float | timedelta | None = None,
    retry: int | Retry | None = None,
    with_id: bool | str | Callable[[Any], object] = False,
    on_error: Policy | None = None,
    name: str | None = None,
) -> Callable[[Observable[A]], Stream[A]]:
    """Call ``function`` for each value, in order, outside the broker's commit; pass values on at once.

    Shape: A → A, unchanged. At least once: after a crash, calls whose epoch was not committed are made again.
    Time: each record's own.
    Holds: with a coroutine function up to ``capacity`` values that wait for their call; they are saved in a run, so that a
    commit does not wait for slow calls, and called again after a restart. While it is full, the run stops asking its sources.
    Bounded by: ``capacity`` values (and what one record makes).
    Ends: when every call has been made.
    Names: RxJS —, RxPY —, Kafka Streams ``foreach``

    Args:
        function: A function or a coroutine function of the value; with ``batch`` of a list of values. A plain function that
            blocks holds the pipeline up: ``rxstreams.in_thread(function)`` has it called in a thread.
        capacity: How many values may wait.
        overflow: What becomes of more, as in ``bounded``; a value that is let go is not called for, and passes on all the same.
        batch: The most values for which one call is made: those that wait go together; none waits for others to come.
        timeout: Seconds that one attempt may take.
        retry: How often a failing call is made again, 0.1 s later and then twice as long each time; or ``Retry(…)``.
        with_id: Whether the function gets a second argument that names the record (with ``batch``, a list of them): the same text
            each time that it is called for the same record, also after a crash, so that who receives it can tell that it
            has it already. True names it after where it comes from, or its window; a field's name or a function of the
            value, after that.
        on_error: What happens when a call raises; ``Retry(backoff=…)`` waits with a coroutine function. None is the run's.
        name: The operator's identity for the saved values.

    Raises:
        ConfigError: If an argument is wrong.
    """
    if not callable(function):
        raise ConfigError(f"to_callable(function): expected a function or a coroutine function, got {function!r}")
    check_awaited("to_callable(function)", function)
    if batch is not None:
        check_count("to_callable(batch)", batch, least=1)
    namer: Namer = with_id if isinstance(with_id, bool) else getter("to_callable(with_id)", with_id)
    check_name("to_callable(name)", name)
    waits = is_async(function)
    check_edge("to_callable", capacity, overflow, busy=batch or 1)
    limit = None if timeout is None else seconds("to_callable(timeout)", timeout, allow_least=False)
    if not waits and (limit is not None or overflow != "block"):
        raise ConfigError(
            "to_callable: timeout= and overflow= are for calls that are waited for; make the function a coroutine function, or "
            "wrap one that blocks in rxstreams.in_thread(…)"
        )
    policy = with_retry("to_callable", retry, on_error)
    check_policy("to_callable", policy if retry is None else None, waits=waits)
    ends = CallableSink(f"to_callable({getattr(function, '__name__', 'function')})")

    waited = waits or retry is not None or batch is not None

    def make() -> Node:
        if not waited:
            return Calling(function, policy, namer=namer)
        call = function if waits else _awaited(function)
        return CallSink(call, capacity=capacity, overflow=overflow, timeout=limit, group=batch, on_error=policy, namer=namer)

    parameters = {"function": function}
    stateful = waited or bool(namer)  # for its identity is in the names
    return operator(Operation("to_callable", make, parameters, name, stateful=stateful, ends=ends, sides=("dropped", "errors")))


def _awaited(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    async def call(*args: Any) -> Any:
        made = function(*args)
        return await made if hasattr(made, "__await__") else made

    return call


class Calling(Node):
    codec = TAGGED
    error_type = SinkError

    def __init__(self, function: Callable[..., Any], on_error: Policy | None, *, namer: Namer) -> None:
        super().__init__()
        self.function, self.on_error, self.needs_order = function, on_error, namer is True
        self.identities = Identities(self, namer) if namer else None

    def batch(self, b: Batch, port: int) -> None:
        columns: tuple[Any, ...] = ()
        if self.identities is not None:
            names, b = self.identities.of(b)
            columns = (names,)
        results, b = self.each(self.function, b, *columns)
        if waited := [made for made in results if hasattr(made, "__await__")]:
            for made in waited:
                if hasattr(made, "close"):
                    made.close()  # a coroutine: or Python would tell that nobody has awaited it
            self.fail(
                TypeError(
                    "the function returned an awaitable, for which nobody would wait; give to_callable a coroutine function"
                )
            )
        self.emit(b)

    def join(self, loop: Loop) -> bool:
        if self.identities is None:
            loop.lines.append(f"{loop.bind(self.function)}(value)")
        return self.identities is None


class CallSink(Calls):
    """Calls for what waits, one call at a time; the values have passed on by then."""

    absorbs = False
    holds_time = False
    fans_out = False
    title = "to_callable with a coroutine function"
    error_type = SinkError

    def __init__(self, function: Callable[..., Awaitable[Any]], *, namer: Namer, **options: Any) -> None:
        super().__init__(function, concurrency=1, **options)
        self.identities = Identities(self, namer) if namer else None
        self.needs_order = namer is True

    def batch(self, b: Batch, port: int) -> None:
        self.take(b)
        self.work()
        self.emit(b)

    def records(self, b: Batch) -> list[Held]:
        if self.identities is None:
            return super().records(b)
        names, b = self.identities.of(b)
        ones = super().records(b)
        for one, name in zip(ones, names, strict=True):
            one.ident = name
        return ones

    def arguments(self, one: Held) -> tuple[Any, ...]:
        return (one.value,) if self.identities is None else (one.value, one.ident)

    def outcomes_of(self, ones: list[Held], found: Any) -> Sequence[Any]:
        return ones  # what it returns is nobody's business

    def results(self, ones: list[Held]) -> Batch:
        return Batch(())

    def free(self) -> int:
        return len(self.held)

    def saved(self, one: Held) -> tuple[Any, ...]:
        return (*super().saved(one), one.ident if self.identities is not None else None)

    def restored(self, number: int, value: Any, time: int | None, key: Any, ident: str | None = None) -> Held:
        one = super().restored(number, value, time, key)
        one.ident = ident
        return one

    def watermark(self, mark: int, port: int) -> None:
        self.forward(mark)

    def tell_anew(self) -> None:
        """Time does not wait for calls."""
