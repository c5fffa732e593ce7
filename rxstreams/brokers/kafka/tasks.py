"""A task's transactions."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaProducer, TopicPartition, errors

from rxstreams.brokers.columns import Columns, check_puts, from_records
from rxstreams.brokers.contract import Commit, Put
from rxstreams.brokers.kafka.faults import FENCED, UNKNOWN, unknown
from rxstreams.brokers.kafka.writing import Batching, Sent, close, first_error, send
from rxstreams.errors import BrokerError, FencedError, StorageFullError
from rxstreams.failpoints import failpoint

if TYPE_CHECKING:
    from rxstreams.brokers.kafka import KafkaBroker

__all__ = ["TABLE", "TASKS", "KafkaTask"]

TASKS = "rxstreams.tasks"
"""The table of who opened a task last."""

_DEADLINE = 10.0
"""Seconds for a commit; then its outcome is unknown. The client would repeat its requests without end."""
_ABORTING = 2.0
TABLE = {
    "cleanup.policy": "compact",
    "segment.bytes": "33554432",
    "min.cleanable.dirty.ratio": "0.1",
    "max.compaction.lag.ms": "3600000",
    "delete.retention.ms": "3600000",
}
"""Settings of a table's topic: small segments and a limit to when they are compacted, as the one that is written to never is."""


Share = tuple[str, int, Columns, Batching]
"""What goes to a partition: topic, partition, records, and how they become batches."""


class KafkaTask:
    """One instance's right to commit, until a newer one has the transactional id.

    After an error of a transaction nothing more can be committed: what the producer knows may be wrong then, and only who opens
    the task anew learns what is there.
    """

    def __init__(self, broker: KafkaBroker, app: str, task: str, instance: str, producer: AIOKafkaProducer) -> None:
        self.app, self.task, self.instance = app, task, instance
        self._broker, self._producer = broker, producer
        self._over: Callable[[], BaseException] | None = None
        self._sent = Sent()
        self._ending = False

    async def commit(self, commit: Commit, /) -> None:
        if self._over is not None:
            raise self._over()
        check_puts(commit.puts)
        try:
            shares = await asyncio.wait_for(self._divided(commit), _DEADLINE)
        except TimeoutError:
            raise BrokerError(f"{self._where}: no answer within {_DEADLINE:g} s; nothing of the commit was written") from None
        try:
            await asyncio.wait_for(self._transact(shares, commit.offsets), _DEADLINE)
        except asyncio.CancelledError:
            self._over = lambda: unknown(self._where, "it was cancelled")
            await self._close()
            raise
        except Exception as error:
            self._over = await self._judged(error)
            raise self._over() from error
        for topic, partition, columns, _ in shares:
            self._sent.add(topic, partition, len(columns.values))
        if self._sent.too_many:  # only who opens the task anew gets another producer
            self._over = lambda: BrokerError(f"{self._where}: its producer has to be renewed; open the task anew")
            await self._close()

    async def close(self) -> None:
        if self._over is None:
            self._over = lambda: BrokerError(f"{self._where}: this handle was closed; open the task again")
        await self._close()

    async def _close(self) -> None:
        self._broker._tasks.discard(self)
        await close(self._producer)

    # A transaction.

    @property
    def _where(self) -> str:
        return f"app {self.app!r}, task {self.task}"

    async def _divided(self, commit: Commit) -> list[Share]:
        """What a commit writes, by partition."""
        now = self._broker._now_ms()
        outputs = {topic: from_records(topic, records, now) for topic, records in commit.outputs.items() if records}
        shares = [share for topic, columns in outputs.items() for share in await self._shares(topic, columns)]
        shares += [share for table, puts in _by_table(commit.puts).items() for share in await self._rows(table, puts, now)]
        if not shares and not commit.offsets:
            # The client asks nobody about an empty transaction, and so would not hear that the task is another's now.
            shares = await self._rows(TASKS, [Put(TASKS, f"{self.app}/{self.task}".encode(), self.instance.encode())], now)
        return shares

    async def _shares(self, topic: str, columns: Columns) -> list[Share]:
        _, shares, how = await self._broker._dealer.deal(topic, columns)
        return [(topic, partition, share, how) for partition, share in shares.items()]

    async def _rows(self, table: str, puts: list[Put], now: int) -> list[Share]:
        await self._broker._cluster.make(table, settings=TABLE)
        columns = Columns([put.value for put in puts], array("q", (now,)) * len(puts), [put.key for put in puts])
        return [(table, 0, columns, await self._broker._dealer.batching(table))]

    async def _transact(self, shares: list[Share], offsets: Mapping[tuple[str, int], int]) -> None:
        producer, self._ending = self._producer, False
        await producer.begin_transaction()
        failpoint("kafka.begun")
        # Each answer is waited for, and looked at, before the commit: the client commits although a batch was refused.
        if error := first_error(chain(*await asyncio.gather(*(send(producer, *share) for share in shares)))):
            raise error
        failpoint("kafka.sent")
        if offsets:
            next_ones = {TopicPartition(*where): offset for where, offset in offsets.items()}
            await producer.send_offsets_to_transaction(next_ones, self.app)
        failpoint("kafka.offsets")
        # From here on no error says that it is not committed: the answer may have been lost, and what failed be a second try.
        self._ending = True
        await producer.commit_transaction()
        failpoint("kafka.ended")

    async def _judged(self, error: Exception) -> Callable[[], BaseException]:
        """What an error means; afterwards the producer is used no more."""
        cause = error.__cause__ or error
        newer = await self._broker._newer(self) if isinstance(cause, FENCED) else None
        if newer is not None:
            found: Callable[[], BaseException] = lambda: FencedError(self.app, self.task, self.instance, newer)  # noqa: E731
        elif isinstance(cause, FENCED):
            found = lambda: unknown(self._where, "the broker has ended its transaction, or forgotten its id")  # noqa: E731
        elif self._ending or isinstance(cause, UNKNOWN) or not isinstance(cause, errors.KafkaError):
            why = f"no answer within {_DEADLINE:g} s" if isinstance(error, TimeoutError) else repr(cause)
            found = lambda: unknown(self._where, why)  # noqa: E731  # a value among values
        else:
            with suppress(Exception):
                await asyncio.wait_for(self._producer.abort_transaction(), _ABORTING)
            found = lambda: _refused(self._where, cause)  # noqa: E731  # ditto
        await self._close()
        return found


def _refused(where: str, cause: errors.KafkaError) -> BrokerError:
    kind = StorageFullError if isinstance(cause, errors.KafkaStorageError) else BrokerError
    return kind(f"{where}: {cause!r}; nothing of the commit was written")


def _by_table(puts: list[Put]) -> dict[str, list[Put]]:
    found: dict[str, list[Put]] = {}
    for put in puts:
        found.setdefault(put.table, []).append(put)
    return found
