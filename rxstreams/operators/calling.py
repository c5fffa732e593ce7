"""Where results go outside of the broker: to_callable."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from typing import Any, NamedTuple, TypeVar

import msgspec
from reactivex import Observable

from rxstreams.batch import Batch
from rxstreams.errors import ConfigError, GraphError, Policy, Retry, SinkError, check_policy
from rxstreams.operators.arguments import check_count, check_name, check_savable, is_async
from rxstreams.state.codec import TAGGED
from rxstreams.stream import LOST, Node, Operation, Pace, Stream, attached, operator
from rxstreams.stream.loops import Loop

__all__ = ["CallableSink", "to_callable"]

A = TypeVar("A", bound=Any)


class CallableSink(msgspec.Struct, frozen=True):
    """What a run must know of ``to_callable``."""

    title: str


def to_callable(
    function: Callable[[A], Any] | Callable[[A], Awaitable[Any]],
    *,
    capacity: int = 64,
    on_error: Policy | None = None,
    name: str | None = None,
) -> Callable[[Observable[A]], Stream[A]]:
    """Call ``function`` for each value, in order, outside the broker's commit; pass values on at once.

    Shape: A → A, unchanged. At least once: after a crash, calls whose epoch was not committed are made again.
    Time: each record's own.
    Holds: with a coroutine function up to ``capacity`` values that wait for their call; they are saved in a run, so that a
    commit does not wait for slow calls, and called again after a restart. While it is full, the run stops asking its sources.
    Bounded by: ``capacity`` values.
    Ends: when every call has been made.
    Names: RxJS —, RxPY —, Kafka Streams ``foreach``

    Args:
        function: A function or a coroutine function of the value. A plain function that blocks, blocks the pipeline.
        capacity: How many values may wait.
        on_error: What happens when a call raises; ``Retry(backoff=…)`` waits with a coroutine function. None is the run's.
        name: The operator's identity for the saved values.
    """
    if not callable(function):
        raise ConfigError(f"to_callable(function): expected a function or a coroutine function, got {function!r}")
    check_count("to_callable(capacity)", capacity, least=1)
    check_name("to_callable(name)", name)
    if inspect.isasyncgenfunction(function):
        raise ConfigError(
            f"to_callable(function): {function!r} is an async generator, which a call only begins; make it a coroutine function"
        )
    waits = is_async(function)
    check_policy("to_callable", on_error, waits=waits)
    ends = CallableSink(f"to_callable({getattr(function, '__name__', 'function')})")
    make: Callable[[], Node] = (
        (lambda: Awaiting(function, capacity, on_error)) if waits else (lambda: Calling(function, on_error))
    )
    parameters = {"function": function}
    return operator(Operation("to_callable", make, parameters, name, stateful=waits, ends=ends, sides=("errors",)))


class Calling(Node):
    error_type = SinkError

    def __init__(self, function: Callable[[Any], Any], on_error: Policy | None) -> None:
        super().__init__()
        self.function, self.on_error = function, on_error

    def batch(self, b: Batch, port: int) -> None:
        _, b = self.each(self.function, b)
        self.emit(b)

    def join(self, loop: Loop) -> bool:
        loop.lines.append(f"{loop.bind(self.function)}(value)")
        return True


class Waiting(NamedTuple):
    """A value whose call has not been made."""

    number: int
    value: Any
    record: Batch | None
    """None after a restart: then the value is all that is known of it."""
    origin: Any


class Awaiting(Node):
    """A bounded edge: values wait here, an entry each in ``states``, and one task calls for them in order."""

    codec = TAGGED
    error_type = SinkError

    def __init__(self, function: Callable[[Any], Awaitable[Any]], capacity: int, on_error: Policy | None) -> None:
        super().__init__()
        self.function, self.capacity, self.on_error = function, capacity, on_error
        self.waiting: deque[Waiting] = deque()
        self.next = 0
        self.task: asyncio.Task[None] | None = None
        self.ended = False
        self.emptied = asyncio.Event()

    def start(self) -> None:
        try:
            self.loop = asyncio.get_running_loop()
        except RuntimeError:
            raise GraphError(
                "to_callable with a coroutine function needs a running asyncio loop: subscribe inside a coroutine"
            ) from None
        for number in sorted(self.states):
            self.waiting.append(Waiting(number, self.states[number], None, None))
            self.next = number + 1
        self.work()

    @property
    def backlog(self) -> int:
        return len(self.waiting)

    def room(self, port: int = 0) -> int:
        return self.capacity - len(self.waiting)

    def paced(self, beyond: Pace | None) -> Pace | None:
        return Gate(self, beyond)

    def batch(self, b: Batch, port: int) -> None:
        for i, value in enumerate(b.values):
            if self.host.durable:
                check_savable(self, value)
                self.states[self.next] = value
                self.dirty.add(self.next)
            self.waiting.append(Waiting(self.next, value, b.cut(i, i + 1), self.host.origin()))
            self.next += 1
        self.emptied.clear()
        self.work()
        self.emit(b)

    def work(self) -> None:
        if self.waiting and (self.task is None or self.task.done()):
            self.task = self.loop.create_task(self.call_all())

    async def call_all(self) -> None:
        attached.set(None)  # the task has the context of the push that started it; what the function subscribes to is its own
        while self.waiting:
            one = self.waiting[0]
            error, attempts = await self.call(one.value)
            concluded = self.loop.create_future()
            self.host.post(partial(self.conclude, one, error, attempts, concluded), one.origin)
            await concluded

    async def call(self, value: Any) -> tuple[Exception | None, int]:
        """The error of the last attempt, if that failed too, and the number of attempts."""
        policy = self.host.policy
        retry = policy if isinstance(policy, Retry) else None
        for attempt in count(1):
            try:
                await self.function(value)
                break
            except Exception as error:
                if retry is None or attempt > retry.times:
                    return error, attempt
                await asyncio.sleep((retry.backoff or 0.0) * 2 ** (attempt - 1))
        return None, attempt

    def conclude(self, one: Waiting, error: Exception | None, attempts: int, concluded: asyncio.Future[None]) -> None:
        """A call was made: its record does not wait any more, in memory and in the next commit."""
        if error is not None:
            self.host.failed(error, one.record or Batch((one.value,)), 0, None, attempts=attempts)
        self.waiting.popleft()
        if self.states.pop(one.number, LOST) is not LOST:
            self.dirty ^= {one.number}  # what came after the last commit is in no saved state, so there is nothing to delete
        if not concluded.done():
            concluded.set_result(None)
        self.emptied.set()
        self.host.made_room()
        if self.ended and not self.waiting:
            self.finish()

    def end(self, port: int, at: float | None = None) -> None:
        self.ended = True
        if not self.waiting:
            self.finish(at)

    def close(self) -> None:
        if self.task is not None:
            self.task.cancel()


class Gate:
    """In a subscription: what a source heeds before it emits on."""

    def __init__(self, edge: Awaiting, beyond: Pace | None) -> None:
        self.edge, self.beyond = edge, beyond

    @property
    def full(self) -> bool:
        """Whether there is no room, here or further down."""
        return self.edge.room() <= 0 or (self.beyond is not None and self.beyond.full)

    async def room(self) -> None:
        """Return when there is room again."""
        while self.full:
            if self.edge.room() > 0 and self.beyond is not None:
                await self.beyond.room()
            else:
                await self.edge.emptied.wait()
