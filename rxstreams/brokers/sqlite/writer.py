"""The writer: one thread that takes turns with other processes and commits what has queued up, in one transaction."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

import apsw

from rxstreams.brokers.sqlite.database import connect, is_full, open_lock, prepare, translate, turn
from rxstreams.errors import BrokerError, CommitUnknownError, RxStreamsError
from rxstreams.failpoints import failpoint

__all__ = ["Call", "Change", "Stale", "Writer"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
_GROUP = 1_000


class Stale(Exception):
    """What was prepared does not fit the file any more (a topic has more partitions now); prepare it again."""


class Change(Protocol[T_co]):
    """Something to write, in two steps, so that nothing is computed while other writers wait."""

    def prepare(self, database: apsw.Connection) -> None:
        """Encode, before the turn begins; called again after ``Stale``."""
        ...

    def write(self, database: apsw.Connection) -> None:
        """Write what was prepared. A BrokerError refuses this change alone, and is raised before anything was written."""
        ...

    def result(self) -> T_co:
        """What the caller gets once the transaction is durable."""
        ...


class Call(Generic[T]):
    """A change that needs no preparation: ``function(database)``."""

    def __init__(self, function: Callable[[apsw.Connection], T]) -> None:
        self._function = function

    def prepare(self, database: apsw.Connection) -> None:
        """Nothing to encode."""

    def write(self, database: apsw.Connection) -> None:
        self._result = self._function(database)

    def result(self) -> T:
        return self._result


class _Job:
    __slots__ = ("change", "error", "future")

    def __init__(self, change: Change[Any], future: asyncio.Future[Any] | None) -> None:
        self.change, self.future = change, future
        self.error: Exception | None = None

    def settle(self) -> None:
        # The result is taken even where nobody waits any more: appends that share a row count on from one another.
        result = self.change.result() if self.error is None else None
        if self.future is None or self.future.done():
            return
        if self.error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(self.error)


class Writer:
    """Commits changes to the file at ``path``, all that are waiting at a time.

    Args:
        path: The database.
        join: Which changes to write for those that are waiting; appends to one topic go into one.
        upkeep: What to commit after a group, every ``upkeep_seconds`` at most.
        committed: Called on the loop after each group.
    """

    def __init__(
        self,
        path: Path,
        *,
        join: Callable[[list[Change[Any]]], list[Change[Any]]],
        upkeep: Callable[[], Change[Any]],
        upkeep_seconds: float,
        committed: Callable[[], None],
    ) -> None:
        self._path, self._join, self._upkeep, self._committed = path, join, upkeep, committed
        self._upkeep_seconds, self._upkeep_due = upkeep_seconds, time.monotonic() + upkeep_seconds
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._running = False
        self.transactions = 0
        """How many have been committed."""

    async def start(self) -> None:
        """Open the file, making it if need be, and begin."""
        self._loop = asyncio.get_running_loop()
        self._database = await asyncio.to_thread(self._open)
        self._ended = self._loop.create_future()
        self._running = True
        threading.Thread(target=self._run, name=f"rxstreams writer {self._path.name}", daemon=True).start()

    async def stop(self, last: Callable[[], None]) -> None:
        """Commit what is waiting, call ``last``, and close the file."""
        if self._running:
            self._running, self._last = False, last
            self._queue.put(None)
            await self._ended

    async def write(self, change: Change[T]) -> T:
        """Commit ``change``; returns when it is durable."""
        if not self._running:
            raise BrokerError(f"{self._path}: the broker is not running; call start() first, and nothing after stop()")
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Job(change, future))
        return await future

    def _open(self) -> apsw.Connection:
        self._lock = open_lock(self._path)
        try:
            with turn(self._lock):
                prepare(self._path)
                return connect(self._path, writing=True)
        except Exception as error:
            os.close(self._lock)
            raise translate(error, self._path) from error

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            self._commit([job, *self._waiting()])
            del job  # what it wrote may be much, and the next may be long in coming
            if time.monotonic() >= self._upkeep_due:
                self._commit([_Job(self._upkeep(), None)])
                self._upkeep_due = time.monotonic() + self._upkeep_seconds
        self._close()

    def _waiting(self) -> list[_Job]:
        jobs: list[_Job] = []
        with suppress(Empty):
            while len(jobs) < _GROUP:
                job = self._queue.get_nowait()
                if job is None:
                    self._queue.put(None)
                    break
                jobs.append(job)
        return jobs

    def _close(self) -> None:
        with turn(self._lock), suppress(apsw.Error):
            # In a turn: the last to close a file folds the log into it, and nobody may be opening it then.
            self._last()
            self._database.close()
        os.close(self._lock)
        self._tell(self._ended.set_result, None)

    def _commit(self, jobs: list[_Job]) -> None:
        try:
            refused = self._transact([job.change for job in jobs])
        except Exception as error:
            problem = translate(error, self._path, self._database)
            problem.__cause__ = error.__cause__ if problem is error else error
            refused = {job.change: problem for job in jobs}
        for job in jobs:
            job.error = refused.get(job.change)
        self._tell(self._settle, jobs)

    def _transact(self, changes: list[Change[Any]]) -> dict[Change[Any], RxStreamsError]:
        failpoint("commit.before")
        joined = self._join(changes)
        while True:
            for change in joined:
                change.prepare(self._database)
            with suppress(Stale), turn(self._lock):
                failpoint("commit.locked")
                return self._write(joined)

    def _write(self, changes: list[Change[Any]]) -> dict[Change[Any], RxStreamsError]:
        refused: dict[Change[Any], RxStreamsError] = {}
        self._database.execute("BEGIN IMMEDIATE")
        try:
            for change in changes:
                try:
                    change.write(self._database)
                except BrokerError as error:
                    refused[change] = error
            failpoint("commit.written")
            self._end()
        except BaseException:
            self._roll_back()
            raise
        failpoint("commit.done")
        self.transactions += 1
        return refused

    def _end(self) -> None:
        try:
            self._database.execute("COMMIT")
        except apsw.Error as error:
            if is_full(error, self._database):
                raise
            raise CommitUnknownError(f"{self._path}: the commit's outcome is unknown: {error}; open the task anew") from error

    def _roll_back(self) -> None:
        with suppress(apsw.Error):
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")

    def _settle(self, jobs: list[_Job]) -> None:
        for job in jobs:
            job.settle()
        self._committed()

    def _tell(self, function: Callable[[Any], None], argument: Any) -> None:
        # The loop may be gone: then nobody waits for the answer.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, argument)
