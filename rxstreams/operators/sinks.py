"""Where results go: to_topic, to_view, to_callable. Sinks hold names; the run binds them to a broker."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from functools import partial
from itertools import count, repeat
from typing import Any, NamedTuple, TypeVar

import msgspec
from reactivex import Observable

from rxstreams.batch import Batch
from rxstreams.errors import ConfigError, EncodeError, GraphError, Policy, Retry, SinkError, check_policy
from rxstreams.operators.arguments import check_count, check_function, check_name, check_savable, getter, is_async
from rxstreams.state.codec import TAGGED
from rxstreams.state.keys import original, topic_key, topic_keys
from rxstreams.stream import LOST, Node, Operation, Pace, Stream, attached, operator
from rxstreams.stream.loops import Loop
from rxstreams.watermarks import to_millis

__all__ = ["CallableSink", "ToTopic", "ToView", "TopicSink", "ViewSink", "to_callable", "to_topic", "to_view"]

A = TypeVar("A", bound=Any)


class TopicSink(msgspec.Struct, frozen=True):
    """What a run must know of ``to_topic``."""

    topic: str
    partitions: int | None


class ViewSink(msgspec.Struct, frozen=True):
    """What a run must know of ``to_view``."""

    view: str
    publish: bool


class CallableSink(msgspec.Struct, frozen=True):
    """What a run must know of ``to_callable``."""

    title: str


def to_topic(
    name: str,
    *,
    key: str | Callable[[Any], Any] | None = None,
    timestamp: str | Callable[[Any], Any] | None = None,
    headers: Callable[[Any], Mapping[str, bytes] | Iterable[tuple[str, bytes]]] | None = None,
    encode: Callable[[Any], bytes | None] | None = None,
    partitions: int | None = None,
    on_error: Policy | None = None,
) -> Callable[[Observable[A]], Stream[A]]:
    """Append each value to a topic, in the same commit as the state and the input's offsets; pass it on too.

    Shape: A → A, unchanged.
    Time: each record's own.
    Holds: an epoch's records, until its commit.
    Bounded by: the records of an epoch.
    Ends: with its input; what cannot be encoded meets ``on_error``.
    Names: RxJS —, RxPY —, Kafka Streams ``to``

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
    check_name("to_topic(name)", name, or_none=False)
    if partitions is not None:
        check_count("to_topic(partitions)", partitions, least=1)
    check_function("to_topic(headers)", headers, or_none=True)
    check_function("to_topic(encode)", encode, or_none=True)
    check_policy("to_topic", on_error, waits=False)
    record = _recorder(key, timestamp, headers, encode)
    plain = key is None and timestamp is None and headers is None and encode is None
    make = lambda: ToTopic(name, record, on_error, plain=plain)  # noqa: E731  # a value among values
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


_to_json = msgspec.json.Encoder().encode


def _default_encode() -> Callable[[Any], bytes]:
    return lambda value: value if isinstance(value, bytes) else _to_json(value)


class ToTopic(Node):
    needs_time = True
    error_type = EncodeError

    def __init__(
        self, topic: str, record: Callable[[Any, Any, Any], tuple[Any, ...]], on_error: Policy | None, *, plain: bool
    ) -> None:
        super().__init__()
        self.topic, self.record, self.on_error, self.plain = topic, record, on_error, plain
        self.limit: int | None = None
        """Bytes that a record may have; the run asks the broker."""

    def start(self) -> None:
        _needs_run(self, "to_topic")

    def batch(self, b: Batch, port: int) -> None:
        records: list[tuple[Any, ...]]
        if self.plain and not any(issubclass(kind, bytes) for kind in set(map(type, b.values))):
            # By columns, at C speed: JSON under the stream's own keys and times.
            values, b = self.each(_to_json, b)
            keys = topic_keys(b.keys)
            records = list(zip(values, keys or repeat(None), b.times or repeat(None), repeat(())))
            largest = max(map(len, values), default=0) + max((len(key or b"") for key in set(keys or ())), default=0)
        else:
            nothing = [None] * len(b)
            records, b = self.each(self.record, b, b.keys or nothing, b.times or nothing)
            largest = max(map(_size, records), default=0)
        if self.limit is not None and largest > self.limit:
            records, b = self.each(self.check_size, b, records)
        self.host.write(self.topic, records, b.order)  # type: ignore[attr-defined]  # a run's host
        self.emit(b)

    def check_size(self, value: Any, record: tuple[Any, ...]) -> tuple[Any, ...]:
        size = _size(record)
        if self.limit is not None and size > self.limit:
            raise ValueError(
                f"a record of {size:,} bytes (value, key, headers), and topic {self.topic!r} takes {self.limit:,}; make it "
                "smaller, or have the topic take more (max.message.bytes)"
            )
        return record


def _size(record: tuple[Any, ...]) -> int:
    data, key, _, headers = record
    return len(data or b"") + len(key or b"") + sum(len(name) + len(text) + 10 for name, text in headers)


def _needs_run(node: Node, kind: str) -> None:
    if not node.host.durable:
        raise GraphError(
            f"{kind} writes in a run only: pass the stream to rxstreams.run, or subscribe to the stream before {kind}"
        )


def to_view(name: str, *, publish: bool = False) -> Callable[[Observable[A]], Stream[A]]:
    """Keep the latest value of each key where it can be asked for: ``running.view(name).get(key)``; pass values on too.

    Shape: A → A, unchanged; an unkeyed stream is one row, under the key None. A view changes only at a commit.
    Time: each record's own.
    Holds: the latest value per key; saved in a run.
    Bounded by: the number of keys.
    Ends: with its input; the view stays.
    Names: RxJS —, RxPY —, Kafka Streams ``toTable``

    Args:
        name: The view, unique in its app.
        publish: Also keep it as a table in the broker, one record per changed key and commit, so that
            ``rxstreams.view(app, name)`` reads it from any process.
    """
    check_name("to_view(name)", name, or_none=False)
    if not isinstance(publish, bool):
        raise ConfigError(f"to_view(publish): expected True or False, got {publish!r}")
    return operator(Operation("to_view", ToView, {"name": name}, f"view:{name}", stateful=True, ends=ViewSink(name, publish)))


class ToView(Node):
    codec = TAGGED

    def __init__(self) -> None:
        super().__init__()
        self.changed: dict[Hashable, Any] = {}
        self.savable: set[type] = set()

    def start(self) -> None:
        _needs_run(self, "to_view")

    def batch(self, b: Batch, port: int) -> None:
        latest: dict[Hashable, Any] = {None: b.values[-1]} if b.keys is None else dict(zip(b.keys, b.values, strict=True))
        if type(b.values[-1]) not in self.savable:  # a look at one, as the values of a stream are of a kind
            check_savable(self, b.values[-1])
            self.savable.add(type(b.values[-1]))
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
