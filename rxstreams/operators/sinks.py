"""Where results go in the broker: to_topic, to_view. Sinks hold names; the run binds them to a broker."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, TypeVar

import msgspec
from reactivex import Observable

from rxstreams.batch import Batch
from rxstreams.errors import ConfigError, EncodeError, GraphError, Policy, check_policy
from rxstreams.operators.arguments import check_count, check_function, check_name, check_savable, getter
from rxstreams.state.codec import TAGGED
from rxstreams.state.keys import original, topic_key, topic_keys
from rxstreams.stream import Node, Operation, Stream, operator
from rxstreams.watermarks import to_millis

__all__ = ["ToTopic", "ToView", "TopicSink", "ViewSink", "to_topic", "to_view"]

A = TypeVar("A", bound=Any)


class TopicSink(msgspec.Struct, frozen=True):
    """What a run must know of ``to_topic``."""

    topic: str
    partitions: int | None


class ViewSink(msgspec.Struct, frozen=True):
    """What a run must know of ``to_view``."""

    view: str
    publish: bool


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
            records = list(zip(values, topic_keys(b.keys) or repeat(None), b.times or repeat(None), repeat(())))
        else:
            nothing = [None] * len(b)
            records, b = self.each(self.record, b, b.keys or nothing, b.times or nothing)
        if self.limit is not None and records and _most(records) > self.limit:
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
    return len(data or b"") + len(key or b"") + _headers_size(headers)


def _headers_size(headers: Iterable[tuple[str, bytes]]) -> int:
    return sum(len(name) + len(text) + 10 for name, text in headers)


def _most(records: Sequence[tuple[Any, ...]]) -> int:
    """What no record is larger than, at C speed."""
    values, keys, _, headers = zip(*records)
    longest = (max(map(len, filter(None, column)), default=0) for column in (values, keys))
    return sum(longest) + max(map(_headers_size, filter(None, headers)), default=0)


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
