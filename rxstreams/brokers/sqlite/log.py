"""Topics: a row holds a batch of one partition's records, so that a record costs a share of a row."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, count
from typing import Any, NamedTuple
from zlib import crc32

import apsw
import msgspec

from rxstreams.brokers.columns import Columns, assign, divide, join, positions, present
from rxstreams.brokers.contract import Fetched, Header, Retention
from rxstreams.brokers.sqlite.database import number
from rxstreams.brokers.sqlite.writer import Change, Stale
from rxstreams.errors import MissingTopicError, StorageDamagedError

__all__ = ["Append", "Batch", "Known", "Log", "Row", "Topic", "create_topic", "find_topic", "join_appends"]

_ROW_RECORDS = 1_000
_ROW_BYTES = 4_000_000
_KEPT_ROWS = 2

_Layout = tuple[list[bytes | None], bytes, list[bytes | None] | None, list[tuple[Header, ...]] | None]
"""What a row's blob holds: ``Columns``, its timestamps as 64-bit integers, or as one where all are equal."""

_encode_layout = msgspec.msgpack.Encoder().encode
_decode_layout = msgspec.msgpack.Decoder(_Layout).decode


class Topic(NamedTuple):
    """A topic as the file has it."""

    id: int
    partitions: int


def find_topic(database: apsw.Connection, name: str) -> Topic | None:
    """The topic, if it exists."""
    sql = "SELECT id, (SELECT count(*) FROM partitions WHERE topic = id) FROM topics WHERE name = ?"
    found = database.execute(sql, (name,)).fetchone()
    return None if found is None else Topic(*found)


def create_topic(database: apsw.Connection, name: str, partitions: int, retention: Retention | None, default: Retention) -> Topic:
    """Make sure that the topic has so many partitions; ``default`` is the retention of a new one."""
    found = find_topic(database, name)
    if found is None:
        retention = retention or default
        database.execute("INSERT INTO topics (name) VALUES (?)", (name,))
        found = Topic(database.last_insert_rowid(), 0)
    if retention is not None:
        age = None if retention.max_age is None else int(retention.max_age * 1000)
        database.execute("UPDATE topics SET max_age_ms = ?, max_bytes = ? WHERE id = ?", (age, retention.max_bytes, found.id))
    added = [(found.id, partition) for partition in range(found.partitions, partitions)]
    database.executemany("INSERT INTO partitions VALUES (?, ?, 0)", added)
    return Topic(found.id, max(found.partitions, partitions))


@dataclass(slots=True)
class Known:
    """What appends take for granted: new topics' retention, and each topic's partitions as they were at its last write."""

    retention: Retention
    partitions: dict[str, int] = field(default_factory=dict)


class _Encoded(NamedTuple):
    records: int
    latest_ms: int
    checksum: int
    blob: bytes


def _encode(columns: Columns) -> Iterator[_Encoded]:
    for start in range(0, len(columns.values), _ROW_RECORDS):
        yield from _encode_row(columns.cut(start, start + _ROW_RECORDS))


def _encode_row(columns: Columns) -> Iterator[_Encoded]:
    size, times = len(columns.values), columns.timestamps
    packed = times.tobytes()
    if times[0] == times[-1] and packed == packed[:8] * size:
        times, packed = times[:1], packed[:8]
    blob = _encode_layout((columns.values, packed, columns.keys, columns.headers))
    if len(blob) > _ROW_BYTES and size > 1:
        yield from _encode_row(columns.cut(0, size // 2))
        yield from _encode_row(columns.cut(size // 2, size))
    else:
        yield _Encoded(size, max(times), crc32(blob), blob)


def _decode(first: int, after: int, checksum: int, blob: bytes) -> Row:
    if crc32(blob) != checksum:
        raise StorageDamagedError(f"the row of offsets {first} to {after - 1} is damaged; restore the file from a backup")
    values, packed, keys, headers = _decode_layout(blob)
    times = array("q", packed)
    return Row(
        first, after, len(blob), Columns(values, times if len(times) == len(values) else times * len(values), keys, headers)
    )


class Batch:
    """Records of one topic on their way into the file: divided and encoded first, then written."""

    def __init__(self, topic: str, columns: Columns, keyless: int, known: Known) -> None:
        self._topic, self._columns, self._keyless, self._known = topic, columns, keyless, known
        self.assigned: Sequence[int] = ()
        self.following: Mapping[int, Iterator[int]] = {}
        """The offsets that each partition's records got, to be taken in order."""

    def prepare(self, database: apsw.Connection) -> None:
        """Encode each partition's share."""
        # Looking it up here would begin a transaction only to end it; ``write`` finds out if it has changed.
        self._partitions = self._known.partitions.get(self._topic, 1)
        self.assigned = assign(self._columns, self._partitions, self._keyless)
        shares = divide(self._columns, self.assigned)
        self._rows = {partition: list(_encode(share)) for partition, share in shares.items()}

    def write(self, database: apsw.Connection) -> None:
        """Write the rows.

        Raises:
            Stale: If the topic's number of partitions is not the one known.
        """
        topic = find_topic(database, self._topic) or create_topic(database, self._topic, 1, None, self._known.retention)
        if topic.partitions != self._partitions:
            self._known.partitions[self._topic] = topic.partitions
            raise Stale
        firsts = {partition: _insert(database, topic.id, partition, rows) for partition, rows in self._rows.items()}
        self.following = {partition: count(first) for partition, first in firsts.items()}


def _insert(database: apsw.Connection, topic: int, partition: int, rows: Sequence[_Encoded]) -> int:
    where = (topic, partition)
    # Two statements: UPDATE … RETURNING takes three times as long.
    first = number(database, "SELECT next_offset FROM partitions WHERE topic = ? AND partition = ?", where)
    ends = list(accumulate((row.records for row in rows), initial=first))
    database.execute("UPDATE partitions SET next_offset = ? WHERE topic = ? AND partition = ?", (ends[-1], *where))
    database.executemany(
        "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (*where, first, after, row.latest_ms, len(row.blob), row.checksum, row.blob)
            for row, first, after in zip(rows, ends, ends[1:])
        ],
    )
    return first


class Append:
    """One call of ``append``. Those to one topic that are written together become one batch, led by the first."""

    def __init__(self, topic: str, columns: Columns, keyless: int, known: Known) -> None:
        self.topic, self.columns, self._keyless, self._known = topic, columns, keyless, known
        self.followers = [self]
        self._batch: Batch
        self._assigned: Sequence[int]

    def prepare(self, database: apsw.Connection) -> None:
        columns = join([append.columns for append in self.followers])
        batch = Batch(self.topic, columns, self._keyless, self._known)
        batch.prepare(database)
        start = 0
        for append in self.followers:
            stop = start + len(append.columns.values)
            append._batch, append._assigned, start = batch, batch.assigned[start:stop], stop

    def write(self, database: apsw.Connection) -> None:
        self._batch.write(database)

    def result(self) -> list[tuple[int, int]]:
        return positions(self._assigned, self._batch.following)


def join_appends(changes: list[Change[Any]]) -> list[Change[Any]]:
    """The changes to write for ``changes``: of the appends to a topic only the first, which leads the others."""
    leaders: dict[str, Append] = {}
    joined = []
    for change in changes:
        if isinstance(change, Append) and (leader := leaders.setdefault(change.topic, change)) is not change:
            leader.followers.append(change)
        else:
            joined.append(change)
    return joined


class Row(msgspec.Struct, frozen=True):
    """A decoded row: the records from ``first`` up to ``next``."""

    first: int
    next: int
    bytes: int
    columns: Columns

    def fitting(self, start: int, room: int, max_bytes: int) -> int:
        """The index up to which records from index ``start`` on are within both limits."""
        stop = min(start + room, self.next - self.first)
        if self.bytes <= max_bytes:
            return stop
        sizes = accumulate(self.columns.cut(start, stop).sizes())
        return start + bisect_right(list(sizes), max_bytes)


class Log:
    """Reads topics; per partition it keeps the rows decoded that readers have not finished."""

    def __init__(self, database: apsw.Connection) -> None:
        self._database = database
        self._topics: dict[str, Topic] = {}
        self._kept: dict[tuple[int, int], deque[Row]] = {}

    def topic(self, name: str, partition: int = 0) -> Topic:
        """The topic, looked up anew if it is not known to have this partition.

        Raises:
            MissingTopicError: If there is no such topic or partition.
        """
        found = self._topics.get(name)
        if found is not None and 0 <= partition < found.partitions:
            return found
        found = find_topic(self._database, name)
        if found is None:
            raise MissingTopicError(name, list(self.topics()))
        if not 0 <= partition < found.partitions:
            raise MissingTopicError(f"{name}[{partition}]", [f"{name}[{index}]" for index in range(found.partitions)])
        self._topics[name] = found
        return found

    def topics(self) -> dict[str, int]:
        """Every topic with its number of partitions."""
        return dict(self._database.execute("SELECT name, count(*) FROM topics JOIN partitions ON topic = id GROUP BY id"))

    def end(self, topic: str, partition: int) -> int:
        """The offset that the next record will get; 0 where there is no such partition."""
        sql = "SELECT next_offset FROM partitions WHERE topic = (SELECT id FROM topics WHERE name = ?) AND partition = ?"
        return number(self._database, sql, (topic, partition))

    def ends(self, topic: str) -> list[int]:
        """Each partition's end."""
        sql = "SELECT next_offset FROM partitions WHERE topic = ? ORDER BY partition"
        return [end for (end,) in self._database.execute(sql, (self._fresh(topic).id,))]

    def starts(self, topic: str) -> list[int]:
        """Each partition's first offset that is kept."""
        sql = """SELECT coalesce((SELECT first_offset FROM batches b WHERE b.topic = p.topic AND b.partition = p.partition
            ORDER BY next_offset LIMIT 1), next_offset) FROM partitions p WHERE topic = ? ORDER BY partition"""
        return [start for (start,) in self._database.execute(sql, (self._fresh(topic).id,))]

    def at(self, topic: str, timestamp: int) -> list[int]:
        """Each partition's offset of the first record that is not before ``timestamp``."""
        found = self._fresh(topic)
        return [self._at(found.id, partition, timestamp, end) for partition, end in enumerate(self.ends(topic))]

    def read(self, name: str, partition: int, offset: int, max_records: int, max_bytes: int) -> Fetched:
        """Records from ``offset`` on, as ``Broker.read`` says."""
        where = (self.topic(name, partition).id, partition)
        parts = self._parts(where, offset, max_records, max_bytes)
        if parts:
            return _fetched(name, partition, parts)
        end = self.end(name, partition)
        # Records may have come between the two looks; what is still not there below the end now is a gap.
        parts = self._parts(where, offset, max_records, max_bytes)
        return _fetched(name, partition, parts) if parts else Fetched(name, partition, (), (), None, (), None, max(offset, end))

    def _fresh(self, topic: str) -> Topic:
        self._topics.pop(topic, None)
        return self.topic(topic)

    def _at(self, topic: int, partition: int, timestamp: int, end: int) -> int:
        sql = f"{_SELECT} WHERE topic = ? AND partition = ? AND latest_ms >= ? ORDER BY next_offset LIMIT 1"
        for row in self._rows(sql, (topic, partition, timestamp)):
            return row.first + next(i for i, time in enumerate(row.columns.timestamps) if time >= timestamp)
        return end

    def _parts(self, where: tuple[int, int], offset: int, room: int, max_bytes: int) -> list[tuple[int, int, Row]]:
        parts: list[tuple[int, int, Row]] = []
        for row in self._from(where, offset):
            start = max(offset - row.first, 0)
            stop = row.fitting(start, room, max_bytes)
            if stop == start and not parts and room > 0:
                stop = start + 1
            if stop > start:
                parts.append((start, stop, row))
            if row.first + stop < row.next:
                self._keep(where, row)
                break
            room -= stop - start
            max_bytes -= row.bytes
            if room <= 0 or max_bytes <= 0:
                break
        return parts

    def _from(self, where: tuple[int, int], offset: int) -> Iterator[Row]:
        kept = next((row for row in self._kept.get(where, ()) if row.first <= offset < row.next), None)
        if kept is not None:
            yield kept
            offset = kept.next
        sql = f"{_SELECT} WHERE topic = ? AND partition = ? AND next_offset > ? ORDER BY next_offset"
        yield from self._rows(sql, (*where, offset))

    def _rows(self, sql: str, bindings: tuple[int, ...]) -> Iterator[Row]:
        cursor = self._database.execute(sql, bindings)
        try:
            for first, after, checksum, blob in cursor:
                yield _decode(first, after, checksum, blob)
        finally:
            # An open cursor would hold its snapshot, and with it the write-ahead log.
            cursor.close()

    def _keep(self, where: tuple[int, int], row: Row) -> None:
        kept = self._kept.setdefault(where, deque(maxlen=_KEPT_ROWS))
        if not any(row is other for other in kept):
            kept.append(row)


_SELECT = "SELECT first_offset, next_offset, checksum, columns FROM batches"


def _fetched(topic: str, partition: int, parts: Sequence[tuple[int, int, Row]]) -> Fetched:
    columns = join([row.columns.cut(start, stop) for start, stop, row in parts])
    (start, _, first), (_, stop, last) = parts[0], parts[-1]
    offsets: Sequence[int] = range(first.first + start, last.first + stop)
    if len(offsets) != len(columns.values):
        offsets = list(chain.from_iterable(range(row.first + i, row.first + j) for i, j, row in parts))
    headers = columns.headers if columns.headers is not None and any(columns.headers) else None
    return Fetched(
        topic, partition, offsets, columns.values, present(columns.keys), columns.timestamps, headers, last.first + stop
    )
