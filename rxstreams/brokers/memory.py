"""The broker in memory: for tests, notebooks and benchmarks. A commit is one uninterrupted stretch of Python."""

from __future__ import annotations

import asyncio
import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, MutableSequence, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, count
from typing import Any, TypeVar

from rxstreams.brokers.columns import Columns, assign, check_partitions, check_puts, divide, from_records, positions, present
from rxstreams.brokers.contract import Commit, Fetched, Header, Put, Record, Retention, TableRead
from rxstreams.errors import BrokerError, FencedError, MissingTopicError

__all__ = ["MemoryBroker", "MemoryTask"]

T = TypeVar("T")
_KEEP_DELETIONS = 3600.0


class _Partition:
    """One partition's log as parallel columns; ``weights[i]`` is the bytes of all records before the i-th.

    ``keys`` and ``headers`` are None until a record has any.
    """

    __slots__ = ("end", "headers", "keys", "offsets", "timestamps", "values", "weights")

    def __init__(self) -> None:
        self.offsets = array("q")
        self.values: list[bytes | None] = []
        self.keys: list[bytes | None] | None = None
        self.timestamps = array("q")
        self.headers: list[tuple[Header, ...]] | None = None
        self.weights = array("q", (0,))
        self.end = 0

    @property
    def start(self) -> int:
        return self.offsets[0] if self.offsets else self.end

    def extend(self, columns: Columns) -> int:
        """Append the records; the offset of the first."""
        first, before, more = self.end, len(self.values), len(columns.values)
        sizes = columns.sizes()
        self.weights.extend(accumulate(sizes[1:], initial=self.weights[-1] + sizes[0]))
        self.offsets.extend(range(first, first + more))
        self.values.extend(columns.values)
        self.timestamps.extend(columns.timestamps)
        self.keys = _extended(self.keys, columns.keys, None, before, more)
        self.headers = _extended(self.headers, columns.headers, (), before, more)
        self.end = first + more
        return first

    def span(self, offset: int, max_records: int, max_bytes: int) -> slice:
        """Where the records from ``offset`` on lie that may be read at once."""
        start = bisect_left(self.offsets, offset)
        stop = min(start + max_records, len(self.offsets))
        if stop > start and self.weights[stop] - self.weights[start] > max_bytes:
            stop = max(start + 1, bisect_right(self.weights, self.weights[start] + max_bytes, start, stop) - 1)
        return slice(start, stop)

    def numbers(self, span: slice) -> Sequence[int]:
        """The offsets of the records in ``span``: a range where they are dense."""
        offsets = self.offsets[span]
        if offsets and offsets[-1] - offsets[0] == len(offsets) - 1:
            return range(offsets[0], offsets[-1] + 1)
        return offsets

    def drop(self, n: int) -> None:
        """Forget the oldest ``n`` records."""
        columns: list[MutableSequence[Any] | None] = [self.offsets, self.values, self.keys, self.timestamps, self.headers]
        for column in (*columns, self.weights):
            if column is not None:
                del column[:n]

    def expired(self, retention: Retention, now: float) -> int:
        """How many of the oldest records ``retention`` lets go."""
        by_size = by_age = 0
        if retention.max_bytes is not None:
            by_size = bisect_left(self.weights, self.weights[-1] - retention.max_bytes)
        if retention.max_age is not None:
            oldest = (now - retention.max_age) * 1000
            by_age = next((i for i, stamp in enumerate(self.timestamps) if stamp >= oldest), len(self.timestamps))
        return max(by_size, by_age)


def _extended(column: list[T] | None, more: Sequence[T] | None, missing: T, before: int, added: int) -> list[T] | None:
    if column is None and more is None:
        return None
    column = [missing] * before if column is None else column
    column.extend([missing] * added if more is None else more)
    return column


@dataclass(slots=True)
class _Topic:
    partitions: list[_Partition]
    retention: Retention | None = None


class _Row:
    """A table's row: its value, the version that changed it last, and the one that made it."""

    __slots__ = ("created", "deleted", "value", "version")

    def __init__(self, value: bytes | None, version: int, created: int, deleted: float | None = None) -> None:
        self.value, self.version, self.created, self.deleted = value, version, created, deleted


class _Table:
    """Rows in order of their last change. ``seen`` is the last version that anybody read."""

    __slots__ = ("rows", "seen", "version")

    def __init__(self) -> None:
        self.rows: dict[bytes, _Row] = {}
        self.version = self.seen = 0

    def put(self, key: bytes, value: bytes | None, now: float) -> None:
        old = self.rows.pop(key, None)
        if value is not None:
            self.rows[key] = _Row(value, self.version, old.created if old else self.version)
        elif old and old.created <= self.seen:
            # Only who read the row must hear of its deletion: tables that nobody follows keep none.
            self.rows[key] = _Row(None, self.version, old.created, now)

    def read(self, after: int) -> TableRead:
        self.seen = self.version
        rows = []
        for key, row in reversed(self.rows.items()):
            if row.version <= after:
                break
            if row.value is not None or after:
                rows.append((key, row.value))
        return TableRead(self.version, rows)

    def purge(self, before: float) -> None:
        for key in [key for key, row in self.rows.items() if row.deleted is not None and row.deleted < before]:
            del self.rows[key]


@dataclass(slots=True)
class _Store:
    """What brokers of one name share."""

    topics: dict[str, _Topic] = field(default_factory=dict)
    tables: dict[str, _Table] = field(default_factory=dict)
    offsets: dict[str, dict[tuple[str, int], int]] = field(default_factory=dict)
    tasks: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    waiting: set[asyncio.Future[None]] = field(default_factory=set)

    def wake(self) -> None:
        for waiter in self.waiting:
            if not waiter.done():
                waiter.set_result(None)
        self.waiting.clear()

    def unread(self, topic: str, partition: int) -> int:
        """The first offset that a registered app has yet to read, or beyond every offset if there is no such app."""
        readers = (done for done in self.offsets.values() if any(name == topic for name, _ in done))
        return min((done.get((topic, partition), 0) for done in readers), default=2**63)


_STORES: dict[str, _Store] = {}


class MemoryBroker:
    """A broker that forgets everything with the process.

    Args:
        name: Brokers of one name share what they hold, as ``memory://name`` does; None keeps it to this object.
        sparse: Leave an offset unused after each append and commit, as Kafka's transactions do.
        clock: Seconds since the epoch; decides timestamps and what retention deletes.
    """

    def __init__(self, name: str | None = None, *, sparse: bool = False, clock: Callable[[], float] = time.time) -> None:
        self.url = f"memory://{name or ''}"
        self._store = _Store() if name is None else _STORES.setdefault(name, _Store())
        self._gap = int(sparse)
        self._clock = clock
        self._keyless = count()

    async def start(self) -> None:
        """Nothing to open."""

    async def stop(self) -> None:
        """Nothing to release."""

    async def create_topic(self, topic: str, partitions: int = 1, retention: Retention | None = None) -> None:
        check_partitions(topic, partitions)
        found = self._store.topics.setdefault(topic, _Topic([]))
        found.partitions += [_Partition() for _ in range(partitions - len(found.partitions))]
        found.retention = retention or found.retention

    async def create_table(self, table: str) -> None:
        pass

    async def topics(self) -> dict[str, int]:
        return {name: len(topic.partitions) for name, topic in self._store.topics.items()}

    async def append(self, topic: str, records: Sequence[Record], /) -> list[tuple[int, int]]:
        if not records:
            return []
        columns = from_records(topic, records, self._now_ms())
        placed = self._extend(topic, columns)
        self._store.wake()
        return placed

    async def read(self, topic: str, partition: int, offset: int, /, *, max_records: int, max_bytes: int = 8_000_000) -> Fetched:
        log = self._partition(topic, partition)
        span = log.span(offset, max_records, max_bytes)
        headers = log.headers and log.headers[span]
        return Fetched(
            topic,
            partition,
            log.numbers(span),
            log.values[span],
            present(log.keys and log.keys[span]),
            log.timestamps[span],
            headers if headers and any(headers) else None,
            # What comes before the next record is a gap; reading goes on after it.
            log.offsets[span.stop] if span.stop < len(log.offsets) else max(offset, log.end),
        )

    async def wait(self, positions: Mapping[tuple[str, int], int], /, *, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while not self._any_ready(positions) and (left := deadline - loop.time()) > 0:
            waiter = loop.create_future()
            self._store.waiting.add(waiter)
            try:
                await asyncio.wait([waiter], timeout=left)
            finally:
                self._store.waiting.discard(waiter)

    async def start_offsets(self, topic: str, /) -> list[int]:
        return [log.start for log in self._topic(topic).partitions]

    async def end_offsets(self, topic: str, /) -> list[int]:
        return [log.end for log in self._topic(topic).partitions]

    async def record_limit(self, topic: str, /) -> int | None:
        return None

    async def offsets_at(self, topic: str, timestamp: int, /) -> list[int]:
        return [
            next((at for at, stamp in zip(log.offsets, log.timestamps, strict=True) if stamp >= timestamp), log.end)
            for log in self._topic(topic).partitions
        ]

    async def read_table(self, table: str, /, *, after: int = 0) -> TableRead:
        found = self._store.tables.get(table)
        return TableRead(0, []) if found is None else found.read(after)

    async def committed(self, app: str, /) -> dict[tuple[str, int], int]:
        return dict(self._store.offsets.get(app, {}))

    async def apps(self) -> list[str]:
        return sorted({app for app, _ in self._store.tasks})

    async def open(self, app: str, task: str, /, *, instance: str) -> MemoryTask:
        generation = self._store.tasks.get((app, task), (0, ""))[0] + 1
        self._store.tasks[app, task] = (generation, instance)
        return MemoryTask(self, app, task, generation, instance)

    async def retain(self) -> None:
        """Delete now what retention lets go, and deletions of table rows that everybody has heard of."""
        for topic in self._store.topics:
            self._retain(topic)
        for table in self._store.tables.values():
            table.purge(self._clock() - _KEEP_DELETIONS)

    def _retain(self, name: str) -> None:
        topic = self._store.topics[name]
        if topic.retention is None:
            return
        for partition, log in enumerate(topic.partitions):
            read = bisect_left(log.offsets, self._store.unread(name, partition))
            log.drop(min(read, log.expired(topic.retention, self._clock())))

    def _extend(self, topic: str, columns: Columns) -> list[tuple[int, int]]:
        logs = self._store.topics.setdefault(topic, _Topic([_Partition()])).partitions
        assigned = assign(columns, len(logs), next(self._keyless))
        following = {partition: count(logs[partition].extend(share)) for partition, share in divide(columns, assigned).items()}
        for partition in following:
            logs[partition].end += self._gap
        self._retain(topic)
        return positions(assigned, following)

    def _fence(self, task: MemoryTask) -> None:
        generation, instance = self._store.tasks[task.app, task.task]
        if generation != task.generation:
            raise FencedError(task.app, task.task, task.instance, instance)

    def _put(self, puts: Sequence[Put]) -> None:
        now = self._clock()
        for name in dict.fromkeys(put.table for put in puts):
            self._store.tables.setdefault(name, _Table()).version += 1
        for put in puts:
            self._store.tables[put.table].put(put.key, put.value, now)

    def _move(self, app: str, offsets: Mapping[tuple[str, int], int]) -> None:
        self._store.offsets.setdefault(app, {}).update(offsets)

    async def _apply(self, task: MemoryTask, commit: Commit) -> None:
        check_puts(commit.puts)
        outputs = {topic: from_records(topic, records, self._now_ms()) for topic, records in commit.outputs.items() if records}
        # No await from here to the end: whoever else runs sees all of the commit or nothing.
        self._fence(task)
        for topic, columns in outputs.items():
            self._extend(topic, columns)
        self._put(commit.puts)
        self._move(task.app, commit.offsets)
        self._store.wake()

    def _any_ready(self, positions: Mapping[tuple[str, int], int]) -> bool:
        topics = self._store.topics
        return any(
            topic in topics and partition < len(topics[topic].partitions) and topics[topic].partitions[partition].end > offset
            for (topic, partition), offset in positions.items()
        )

    def _topic(self, topic: str) -> _Topic:
        if topic not in self._store.topics:
            raise MissingTopicError(topic, list(self._store.topics))
        return self._store.topics[topic]

    def _partition(self, topic: str, partition: int) -> _Partition:
        logs = self._topic(topic).partitions
        if not 0 <= partition < len(logs):
            raise MissingTopicError(f"{topic}[{partition}]", [f"{topic}[{index}]" for index in range(len(logs))])
        return logs[partition]

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


class MemoryTask:
    """One instance's right to commit, until a newer one opens the task."""

    def __init__(self, broker: MemoryBroker, app: str, task: str, generation: int, instance: str) -> None:
        self.app, self.task, self.generation, self.instance = app, task, generation, instance
        self._broker: MemoryBroker | None = broker

    async def commit(self, commit: Commit, /) -> None:
        if self._broker is None:
            raise BrokerError(f"app {self.app!r}, task {self.task}: this handle was closed; open the task again")
        await self._broker._apply(self, commit)

    async def close(self) -> None:
        self._broker = None
