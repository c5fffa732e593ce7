"""Where results go: to_topic, to_view, to_callable. Sinks hold names; the run binds them to a broker."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any, TypeVar

import msgspec
from reactivex import Observable

from rxstreams.batch import Batch
from rxstreams.errors import ConfigError, EncodeError, GraphError, Policy, Retry, SinkError, check_policy
from rxstreams.operators.arguments import check_count, getter
from rxstreams.state.codec import TAGGED
from rxstreams.state.keys import original, topic_key
from rxstreams.stream import LOST, Node, Operation, Stream, operator
from rxstreams.watermarks import to_millis

__all__ = ["CallableSink", "TopicSink", "ViewSink", "to_callable", "to_topic", "to_view"]

A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class TopicSink:
    """What a run must know of ``to_topic``."""

    topic: str
    partitions: int | None


@dataclass(frozen=True, slots=True)
class ViewSink:
    """What a run must know of ``to_view``."""

    view: str
    publish: bool


@dataclass(frozen=True, slots=True)
class CallableSink:
    """What a run must know of ``to_callable``."""

    title: str


def to_topic(
    name: str,
    *,
    key: str | Callable[[A], Any] | None = None,
    timestamp: str | Callable[[A], Any] | None = None,
    headers: Callable[[A], Mapping[str, bytes] | Iterable[tuple[str, bytes]]] | None = None,
    encode: Callable[[A], bytes | None] | None = None,
    partitions: int | None = None,
    on_error: Policy | None = None,
) -> Callable[[Observable[A]], Stream[A]]:
    """Append each value to a topic, in the same commit as the state and the input's offsets; pass it on too.

    Shape: A → A, unchanged.
    Holds: an epoch's records, until its commit.
    Ends: with its input; what cannot be encoded meets ``on_error``.

    Args:
        name: The topic; a run creates it if it is not there.
        key: The record's key (a field's name or a function); None is the stream's key, if it is keyed. Records with one key
            stay in order.
        timestamp: The record's timestamp (field or function); None is its event time, if the stream has one, or the
            broker's clock.
        headers: The record's headers.
        encode: The record's bytes; None is JSON, and bytes as they are. A result of None is a tombstone.
        partitions: How many partitions a new topic gets.
        on_error: What happens to a value that cannot be encoded; None is the run's policy.
    """
    if not isinstance(name, str) or not name:
        raise ConfigError(f"to_topic(name): expected a topic's name, got {name!r}")
    if partitions is not None:
        check_count("to_topic(partitions)", partitions, least=1)
    check_policy("to_topic", on_error, waits=False)
    make = lambda: ToTopic(name, _recorder(key, timestamp, headers, encode), on_error)  # noqa: E731  # a value among values
    return operator(Operation("to_topic", make, {"name": name}, ends=TopicSink(name, partitions), sides=("errors",)))


def _recorder(key: Any, timestamp: Any, headers: Any, encode: Any) -> Callable[[Any, Any, Any], tuple[Any, ...]]:
    """The function that makes (bytes, key, timestamp, headers) of (value, the stream's key, its event time)."""
    to_bytes = encode or _default_encode()
    of_key = key if key is None else getter("to_topic(key)", key)
    of_time = timestamp if timestamp is None else getter("to_topic(timestamp)", timestamp)

    def record(value: Any, stream_key: Any, time: Any) -> tuple[Any, ...]:
        data = to_bytes(value)
        if data is not None and not isinstance(data, bytes):
            raise TypeError(f"encode: expected bytes or None, got {type(data).__name__}")
        found = () if headers is None else headers(value)
        return (
            data,
            topic_key(original(stream_key) if of_key is None else of_key(value)),
            time if of_time is None else to_millis(of_time(value)),
            tuple(found.items() if isinstance(found, Mapping) else found),
        )

    return record


def _default_encode() -> Callable[[Any], bytes]:
    to_json = msgspec.json.Encoder().encode
    return lambda value: value if isinstance(value, bytes) else to_json(value)


class ToTopic(Node):
    needs_time = True
    error_type = EncodeError

    def __init__(self, topic: str, record: Callable[[Any, Any, Any], tuple[Any, ...]], on_error: Policy | None) -> None:
        super().__init__()
        self.topic, self.record, self.on_error = topic, record, on_error

    def start(self) -> None:
        _needs_run(self, "to_topic")

    def batch(self, b: Batch, port: int) -> None:
        nothing = repeat(None, len(b))
        records, b = self.each(self.record, b, list(b.keys or nothing), list(b.times or nothing))
        self.host.write(self.topic, records)  # type: ignore[attr-defined]  # a run's host
        self.emit(b)


def _needs_run(node: Node, kind: str) -> None:
    if not node.host.durable:
        raise GraphError(f"{kind} writes in a run only: pass the stream to rxstreams.run, or subscribe to the stream before {kind}")


def to_view(name: str, *, publish: bool = False) -> Callable[[Observable[A]], Stream[A]]:
    """Keep the latest value of each key where it can be asked for: ``running.view(name).get(key)``; pass values on too.

    Shape: A → A, unchanged; an unkeyed stream is one row, under the key None. A view changes only at a commit.
    Holds: the latest value per key; saved in a run.
    Ends: with its input; the view stays.

    Args:
        name: The view, unique in its app.
        publish: Also keep it as a table in the broker, one record per changed key and commit, so that
            ``rxstreams.view(app, name)`` reads it from any process.
    """
    if not isinstance(name, str) or not name:
        raise ConfigError(f"to_view(name): expected a view's name, got {name!r}")
    return operator(Operation("to_view", ToView, {"name": name}, f"view:{name}", stateful=True, ends=ViewSink(name, publish)))


class ToView(Node):
    codec = TAGGED

    def __init__(self) -> None:
        super().__init__()
        self.changed: dict[Hashable, Any] = {}

    def start(self) -> None:
        _needs_run(self, "to_view")

    def batch(self, b: Batch, port: int) -> None:
        if b.keys is None:
            latest = {None: b.values[-1]}
        else:
            latest = dict(zip(b.keys, b.values, strict=True))
        self.states.update(latest)
        self.dirty.update(latest)
        self.changed.update(latest)
        self.emit(b)


def to_callable(
    function: Callable[[A], Any] | Callable[[A], Awaitable[Any]],
    *,
    capacity: int = 64,
    on_error: Policy | None = None,
    name: str | None = None,
) -> Callable[[Observable[A]], Stream[A]]:
    """Call ``function`` for each value, in order, outside the broker's commit; pass values on at once.

    Shape: A → A, unchanged. At least once: after a crash, calls whose epoch was not committed are made again.
    Holds: with a coroutine function up to ``capacity`` values that wait for their call; they are saved in a run, so that a
    commit does not wait for slow calls, and called again after a restart. While it is full, the run stops asking its sources.
    Ends: when every call has been made.

    Args:
        function: A function or a coroutine function of the value. A plain function that blocks, blocks the pipeline.
        capacity: How many values may wait.
        on_error: What happens when a call raises; ``Retry(backoff=…)`` waits with a coroutine function. None is the run's.
        name: The operator's identity for the saved values.
    """
    if not callable(function):
        raise ConfigError(f"to_callable(function): expected a function or a coroutine function, got {function!r}")
    check_count("to_callable(capacity)", capacity, least=1)
    waits = inspect.iscoroutinefunction(function)
    check_policy("to_callable", on_error, waits=waits)
    ends = CallableSink(f"to_callable({getattr(function, '__name__', 'function')})")
    make: Callable[[], Node] = (lambda: Awaiting(function, capacity, on_error)) if waits else (lambda: Calling(function, on_error))
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


class Awaiting(Node):
    """A bounded edge: values wait here, an entry each in ``states``, and one task calls for them in order."""

    codec = TAGGED
    error_type = SinkError

    def __init__(self, function: Callable[[Any], Awaitable[Any]], capacity: int, on_error: Policy | None) -> None:
        super().__init__()
        self.function, self.capacity, self.on_error = function, capacity, on_error
        self.waiting: deque[tuple[int, Any, Batch | None]] = deque()
        self.next = 0
        self.task: asyncio.Task[None] | None = None
        self.ended: tuple[int | None] | None = None

    def start(self) -> None:
        for number in sorted(self.states):
            self.waiting.append((number, self.states[number], None))
            self.next = number + 1
        if self.waiting:
            self.work()

    def room(self) -> int:
        """How many more values may come."""
        return self.capacity - len(self.waiting)

    def batch(self, b: Batch, port: int) -> None:
        for i, value in enumerate(b.values):
            if self.host.durable:
                TAGGED.check(value)
                self.states[self.next] = value
                self.dirty.add(self.next)
            self.waiting.append((self.next, value, b.cut(i, i + 1)))
            self.next += 1
        self.work()
        self.emit(b)

    def work(self) -> None:
        if self.task is None or self.task.done():
            self.task = asyncio.get_running_loop().create_task(self.call_all())
            self.task.add_done_callback(self.report)

    async def call_all(self) -> None:
        while self.waiting:
            number, value, b = self.waiting[0]
            await self.call(value, b)
            self.waiting.popleft()
            if self.states.pop(number, LOST) is not LOST:
                self.dirty.add(number)
            self.host.made_room()  # type: ignore[attr-defined]  # both hosts have it
        if self.ended:
            self.finish(*self.ended)

    async def call(self, value: Any, b: Batch | None) -> None:
        delay, attempts = self.backoff()
        for attempt in range(1, attempts + 1):
            try:
                await self.function(value)
                return
            except Exception as error:
                if attempt == attempts:
                    self.host.failed(error, b or Batch((value,)), 0, None, attempts=attempt)  # type: ignore[call-arg]  # ditto
                    return
                await asyncio.sleep(delay * 2 ** (attempt - 1))

    def backoff(self) -> tuple[float, int]:
        policy = self.host.policy  # type: ignore[attr-defined]  # both hosts have it
        return (policy.backoff or 0.0, policy.times + 1) if isinstance(policy, Retry) else (0.0, 1)

    def report(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.fail(task.exception())  # type: ignore[arg-type]  # call_all lets Exceptions through only

    def end(self, port: int, at: int | None = None) -> None:
        if self.waiting:
            self.ended = (None,)
        else:
            self.finish(at)

    def close(self) -> None:
        if self.task is not None:
            self.task.cancel()
