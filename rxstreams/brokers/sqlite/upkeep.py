"""Upkeep: records that retention lets go, and deletions of table rows that everybody has heard of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import apsw

from rxstreams.brokers.sqlite.database import number
from rxstreams.brokers.sqlite.tables import purge

__all__ = ["Upkeep"]

_KEEP_DELETIONS_MS = 3_600_000
_ROWS = 1_000
"""Rows of a partition to delete at a time: the writers' turn must stay short."""

_UNREAD = f"""SELECT coalesce(min(coalesce(o.next_offset, 0)), {2**63 - 1})
    FROM (SELECT DISTINCT app, topic FROM offsets WHERE topic = ?1) readers
    LEFT JOIN offsets o ON o.app = readers.app AND o.topic = readers.topic AND o.partition = ?2"""


class Upkeep:
    """A change that deletes what need not be kept; never a record that an app with offsets for its topic has not read."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def prepare(self, database: apsw.Connection) -> None:
        self._expired = list(self._find(database))

    def write(self, database: apsw.Connection) -> None:
        for topic, name, partition, expired in self._expired:
            # Looked up in the same transaction: an app may have registered since.
            until = min(expired, number(database, _UNREAD, (name, partition)))
            sql = "DELETE FROM batches WHERE topic = ? AND partition = ? AND next_offset <= ?"
            database.execute(sql, (topic, partition, until))
        purge(database, self._now_ms - _KEEP_DELETIONS_MS)

    def result(self) -> None:
        return None

    def _find(self, database: apsw.Connection) -> Iterator[tuple[int, str, int, int]]:
        sql = """SELECT id, name, partition, max_age_ms, max_bytes FROM topics JOIN partitions ON topic = id
            WHERE max_age_ms IS NOT NULL OR max_bytes IS NOT NULL"""
        limited: Sequence[Any] = database.execute(sql).fetchall()
        for topic, name, partition, max_age_ms, max_bytes in limited:
            expired = self._expired_until(database, (topic, partition), max_age_ms, max_bytes)
            if expired:
                yield topic, name, partition, expired

    def _expired_until(
        self, database: apsw.Connection, where: tuple[int, int], max_age_ms: int | None, max_bytes: int | None
    ) -> int:
        total = 0
        if max_bytes is not None:
            total = number(database, "SELECT sum(bytes) FROM batches WHERE topic = ? AND partition = ?", where)
        sql = "SELECT next_offset, latest_ms, bytes FROM batches WHERE topic = ? AND partition = ? ORDER BY next_offset LIMIT ?"
        oldest: Sequence[Any] = database.execute(sql, (*where, _ROWS)).fetchall()
        until = 0
        for after, latest_ms, size in oldest:
            aged = max_age_ms is not None and latest_ms < self._now_ms - max_age_ms
            if not aged and (max_bytes is None or total <= max_bytes):
                break
            until, total = after, total - size
        return until
