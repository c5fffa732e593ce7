"""The broker in one SQLite file: no server, several processes, and what was acknowledged survives ``kill -9``."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import apsw

from rxstreams.brokers.columns import check_partitions, check_puts, from_records
from rxstreams.brokers.contract import Commit, Fetched, Record, Retention, TableRead
from rxstreams.brokers.sqlite import tables
from rxstreams.brokers.sqlite.database import connect, translate
from rxstreams.brokers.sqlite.log import Append, Batch, Known, Log, create_topic, join_appends
from rxstreams.brokers.sqlite.upkeep import Upkeep
from rxstreams.brokers.sqlite.writer import Call, Writer
from rxstreams.errors import BrokerError, FencedError, StorageFullError

__all__ = ["SqliteBroker", "SqliteTask"]

_POLL = 0.002
_POLL_MOST = 0.02
_UPKEEP_SECONDS = 10.0


class SqliteBroker:
    """Topics, tables and offsets in the SQLite file at ``path``; ``path.lock`` beside it is where writers take turns.

    Args:
        path: The file, made by ``start`` if it is missing; its directory must exist.
        retention: For topics that are created without one.
        clock: Seconds since the epoch; decides timestamps and what retention deletes.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, retention: Retention | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.path = Path(path)
        self.url = f"sqlite:///{self.path}"
        self._known = Known(retention or Retention())
        self._clock = clock
        self._keyless = count()
        self._waiting: set[asyncio.Future[None]] = set()
        self._writer = Writer(
            self.path,
            join=join_appends,
            upkeep=lambda: Upkeep(self._now_ms()),
            upkeep_seconds=_UPKEEP_SECONDS,
            committed=self._wake,
        )
        self._reader: apsw.Connection | None = None

    @property
    def transactions(self) -> int:
        """How many this object has committed: concurrent appends and commits share one."""
        return self._writer.transactions

    async def start(self) -> None:
        await self._writer.start()
        try:
            self._reader = connect(self.path, writing=False)
        except BaseException:
            await self._writer.stop(lambda: None)
            raise
        self._log = Log(self._reader)

    async def stop(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await self._writer.stop(reader.close)

    async def create_topic(self, topic: str, partitions: int = 1, retention: Retention | None = None) -> None:
        check_partitions(topic, partitions)
        await self._writer.write(Call(lambda db: create_topic(db, topic, partitions, retention, self._known.retention)))

    async def create_table(self, table: str) -> None:
        pass

    async def topics(self) -> dict[str, int]:
        with self._reading():
            return self._log.topics()

    async def append(self, topic: str, records: Sequence[Record], /) -> list[tuple[int, int]]:
        if not records:
            return []
        columns = from_records(topic, records, self._now_ms())
        return await self._writer.write(Append(topic, columns, next(self._keyless), self._known))

    async def read(self, topic: str, partition: int, offset: int, /, *, max_records: int, max_bytes: int = 8_000_000) -> Fetched:
        with self._reading():
            return self._log.read(topic, partition, offset, max_records, max_bytes)

    async def wait(self, positions: Mapping[tuple[str, int], int], /, *, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        deadline, pause, seen = loop.time() + timeout, _POLL, None
        while True:
            with self._reading() as database:
                # Taken before the look, so that what is committed in between is looked at again.
                version = database.execute("PRAGMA data_version").get
                if version != seen and any(self._log.end(*where) > offset for where, offset in positions.items()):
                    return
            seen, left = version, deadline - loop.time()
            if left <= 0:
                return
            await self._news(min(pause, left))
            pause = min(pause * 1.5, _POLL_MOST)

    async def start_offsets(self, topic: str, /) -> list[int]:
        with self._reading():
            return self._log.starts(topic)

    async def end_offsets(self, topic: str, /) -> list[int]:
        with self._reading():
            return self._log.ends(topic)

    async def record_limit(self, topic: str, /) -> int | None:
        return None

    async def offsets_at(self, topic: str, timestamp: int, /) -> list[int]:
        with self._reading():
            return self._log.at(topic, timestamp)

    async def read_table(self, table: str, /, *, after: int = 0) -> TableRead:
        found = self._rows_or_head(table, after)
        while isinstance(found, tables.TableHead):
            marked = await self._mark_seen(found)
            found = self._rows_or_head(table, after, unmarked=not marked)
        return found

    async def committed(self, app: str, /) -> dict[tuple[str, int], int]:
        with self._reading() as database:
            found = database.execute("SELECT topic, partition, next_offset FROM offsets WHERE app = ?", (app,))
            return {(topic, partition): offset for topic, partition, offset in found}

    async def apps(self) -> list[str]:
        with self._reading() as database:
            return [app for (app,) in database.execute("SELECT DISTINCT app FROM tasks ORDER BY app")]

    async def open(self, app: str, task: str, /, *, instance: str) -> SqliteTask:
        sql = """INSERT INTO tasks VALUES (?, ?, 1, ?) ON CONFLICT (app, task)
            DO UPDATE SET generation = generation + 1, instance = excluded.instance RETURNING generation"""
        generation = await self._writer.write(Call(lambda db: int(db.execute(sql, (app, task, instance)).get)))
        return SqliteTask(self, app, task, generation, instance)

    async def retain(self) -> None:
        """Delete now what retention lets go; the writer does so by itself every ten seconds of writing."""
        await self._writer.write(Upkeep(self._now_ms()))

    @contextmanager
    def _reading(self) -> Iterator[apsw.Connection]:
        if self._reader is None:
            raise BrokerError(f"{self.path}: the broker is not running; call start() first, and nothing after stop()")
        try:
            yield self._reader
        except apsw.Error as error:
            raise translate(error, self.path, self._reader) from error

    @contextmanager
    def _snapshot(self) -> Iterator[apsw.Connection]:
        with self._reading() as database, database:
            yield database

    def _rows_or_head(self, table: str, after: int, *, unmarked: bool = False) -> TableRead | tables.TableHead:
        with self._snapshot() as database:
            found = tables.head(database, table)
            if found is not None and found.version > found.seen and not unmarked:
                return found
            return TableRead(0, []) if found is None else tables.rows(database, table, found, after)

    async def _mark_seen(self, table: tables.TableHead) -> bool:
        try:
            await self._writer.write(Call(lambda db: tables.mark_seen(db, table.id, table.version + tables.SEEN_AHEAD)))
        except StorageFullError:
            # What is there must stay readable; where nothing can be written, little can be deleted either.
            return False
        return True

    async def _news(self, timeout: float) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            await asyncio.wait([waiter], timeout=timeout)
        finally:
            self._waiting.discard(waiter)

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


class SqliteTask:
    """One instance's right to commit, until a newer one opens the task."""

    def __init__(self, broker: SqliteBroker, app: str, task: str, generation: int, instance: str) -> None:
        self.app, self.task, self.generation, self.instance = app, task, generation, instance
        self._broker: SqliteBroker | None = broker

    async def commit(self, commit: Commit, /) -> None:
        broker = self._broker
        if broker is None:
            raise BrokerError(f"app {self.app!r}, task {self.task}: this handle was closed; open the task again")
        check_puts(commit.puts)
        now_ms, keyless = broker._now_ms(), next(broker._keyless)
        batches = [
            Batch(topic, from_records(topic, records, now_ms), keyless, broker._known)
            for topic, records in commit.outputs.items()
            if records
        ]
        await broker._writer.write(_Epoch(self, commit, batches, now_ms))

    async def close(self) -> None:
        self._broker = None


class _Epoch:
    """A task's commit as one change: refused whole if the task is another's by now."""

    def __init__(self, task: SqliteTask, commit: Commit, batches: list[Batch], now_ms: int) -> None:
        self._task, self._batches, self._now_ms = task, batches, now_ms
        self._puts = tables.last_puts(commit.puts)
        self._offsets = [(task.app, topic, partition, offset) for (topic, partition), offset in commit.offsets.items()]

    def prepare(self, database: apsw.Connection) -> None:
        for batch in self._batches:
            batch.prepare(database)

    def write(self, database: apsw.Connection) -> None:
        task = self._task
        sql = "SELECT generation, instance FROM tasks WHERE app = ? AND task = ?"
        generation, instance = database.execute(sql, (task.app, task.task)).get
        if generation != task.generation:
            raise FencedError(task.app, task.task, task.instance, instance)
        for batch in self._batches:
            batch.write(database)
        tables.put(database, self._puts, self._now_ms)
        database.executemany("INSERT OR REPLACE INTO offsets VALUES (?, ?, ?, ?)", self._offsets)

    def result(self) -> None:
        return None
