"""Tables: the last value of each key, and deletions for as long as somebody may need to hear of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from zlib import crc32

import apsw

from rxstreams.brokers.contract import Put, TableRead
from rxstreams.errors import StorageDamagedError

__all__ = ["SEEN_AHEAD", "Changes", "TableHead", "head", "last_puts", "mark_seen", "purge", "put", "rows"]

SEEN_AHEAD = 100
"""Versions that a reader marks as seen beyond the one it reads, so that a follower seldom has to write."""

Changes = dict[str, list[tuple[bytes, bytes | None, int]]]
"""Per table: key, value, and the value's checksum."""

_UPSERT = """INSERT INTO rows (tab, key, value, checksum, version, created) VALUES (?1, ?2, ?3, ?4, ?5, ?5)
    ON CONFLICT (tab, key) DO UPDATE
    SET value = excluded.value, checksum = excluded.checksum, version = excluded.version, deleted_ms = NULL"""
_BURY = "UPDATE rows SET value = NULL, checksum = 0, version = ?, deleted_ms = ? WHERE tab = ? AND key = ? AND value IS NOT NULL"
_FORGET = "DELETE FROM rows WHERE tab = ? AND key = ? AND created > ?"


class TableHead(NamedTuple):
    """What is known of a table besides its rows; ``seen`` is the last version that somebody may have read."""

    id: int
    version: int
    seen: int


def last_puts(puts: Iterable[Put]) -> Changes:
    """The puts by table, each key's last only."""
    last: dict[str, dict[bytes, bytes | None]] = {}
    for put in puts:
        last.setdefault(put.table, {})[put.key] = put.value
    return {table: [(key, value, crc32(value or b"")) for key, value in rows.items()] for table, rows in last.items()}


def put(database: apsw.Connection, changes: Mapping[str, list[tuple[bytes, bytes | None, int]]], now_ms: int) -> None:
    """Write the changes; each table's version grows by one."""
    for name, rows in changes.items():
        sql = """INSERT INTO tables (name, version) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET version = version + 1
            RETURNING id, version, seen"""
        table = TableHead(*database.execute(sql, (name,)).get)
        upserts = [(table.id, key, value, checksum, table.version) for key, value, checksum in rows if value is not None]
        deleted = [key for key, value, _ in rows if value is None]
        database.executemany(_UPSERT, upserts)
        # Only who read the row must hear of its deletion: tables that nobody follows (state) keep none.
        database.executemany(_FORGET, [(table.id, key, table.seen) for key in deleted])
        database.executemany(_BURY, [(table.version, now_ms, table.id, key) for key in deleted])


def head(database: apsw.Connection, name: str) -> TableHead | None:
    """The table, if it was ever written."""
    found = database.execute("SELECT id, version, seen FROM tables WHERE name = ?", (name,)).fetchone()
    return None if found is None else TableHead(*found)


def mark_seen(database: apsw.Connection, table: int, version: int) -> None:
    """Remember that somebody may have read the table up to ``version``: from now on it keeps these rows' deletions."""
    database.execute("UPDATE tables SET seen = max(seen, ?) WHERE id = ?", (version, table))


def rows(database: apsw.Connection, name: str, table: TableHead, after: int) -> TableRead:
    """The rows that changed after a version, deletions among them if ``after`` is not 0."""
    if after == 0:
        found = database.execute("SELECT key, value, checksum FROM rows WHERE tab = ? AND value IS NOT NULL", (table.id,))
    else:
        found = database.execute("SELECT key, value, checksum FROM rows WHERE tab = ? AND version > ?", (table.id, after))
    return TableRead(table.version, [_checked(name, *row) for row in found])


def _checked(name: str, key: bytes, value: bytes | None, checksum: int) -> tuple[bytes, bytes | None]:
    if crc32(value or b"") != checksum:
        raise StorageDamagedError(f"table {name!r}: the value of key {key!r} is damaged; restore the file from a backup")
    return key, value


def purge(database: apsw.Connection, before_ms: int) -> None:
    """Forget the deletions from before a time."""
    database.execute("DELETE FROM rows WHERE deleted_ms < ?", (before_ms,))
