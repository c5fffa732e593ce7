"""The broker on Kafka: topics and tables are topics, a commit is a transaction."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer, errors

from rxstreams.brokers.columns import check_partitions, from_records
from rxstreams.brokers.contract import Fetched, Record, Retention, TableRead
from rxstreams.brokers.kafka.cluster import BEGIN, Cluster
from rxstreams.brokers.kafka.faults import cap_loggers, patiently, said
from rxstreams.brokers.kafka.reading import Reader
from rxstreams.brokers.kafka.security import Security
from rxstreams.brokers.kafka.tasks import TABLE, TASKS, KafkaTask
from rxstreams.brokers.kafka.writing import CODECS, Appender, Dealer, close, producer
from rxstreams.errors import BrokerError, ConfigError, MissingTopicError
from rxstreams.failpoints import failpoint
from rxstreams.log import Progress, logger

__all__ = ["KafkaBroker", "Security"]

_TASKS_SETTINGS = TABLE | {"message.timestamp.type": "LogAppendTime"}
"""Its records have the broker's time, so that it is seen when clocks differ."""
_SKEW = 5.0
"""Seconds by which clocks may differ before there is a warning."""
_SIGNING = 3.0
"""Seconds after the fence within which a newer instance leaves word of itself."""
_READ_AT_ONCE = 10_000
_OVERHEAD = 128
"""Bytes that a record, alone in its batch, takes beside its key, value and headers; at most."""


class KafkaBroker:
    """Topics, tables and committed offsets on Kafka.

    A table is a compacted topic, an app a consumer group without members, a task a transactional id.

    Args:
        servers: ``host:port``, several by commas.
        replication: How often topics that are made are kept; None is three times, or once a broker if there are fewer.
        retention: Of topics that are made without one; None keeps records for ever. Kafka's own default would delete records
            whose event time is a week ago as soon as they are written.
        transaction_timeout: Seconds after which the brokers abort a transaction of which they hear nothing more.
        compression_type: Of batches that are written: ``none``, ``gzip``, ``snappy``, ``lz4`` or ``zstd``.
        create: Whether topics that are missing are made; else they are refused.
        security: TLS and SASL.
        clock: Seconds since the epoch; the timestamps of records that have none.
    """

    def __init__(
        self,
        servers: str,
        *,
        replication: int | None = None,
        retention: Retention | None = None,
        transaction_timeout: float = 60.0,
        compression_type: str = "none",
        create: bool = True,
        security: Security = Security(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        cap_loggers()
        self.url = f"kafka://{servers}"
        self._options: dict[str, Any] = {"bootstrap_servers": servers, "client_id": "rxstreams", **security.options()}
        self._options["request_timeout_ms"] = 10_000
        self._timeout, self._clock = transaction_timeout, clock
        if compression_type not in CODECS:
            raise ConfigError(f"Kafka: compression_type={compression_type!r}; expected one of {', '.join(CODECS)}")
        self._codec = CODECS[compression_type]
        self._cluster = Cluster(self.url, self._options, replication, _settings(retention or Retention()), create=create)
        self._dealer = Dealer(self._cluster, self._codec, in_transaction=True)
        self._tasks: set[KafkaTask] = set()

    async def start(self) -> None:
        await self._cluster.start()
        self._reader = Reader(self._cluster, self._options)
        self._appender = Appender(self._cluster, self._options, self._codec)

    async def stop(self) -> None:
        if hasattr(self, "_reader"):
            await self._appender.stop()
            await asyncio.gather(*(task.close() for task in self._tasks))
            await self._reader.stop()
        await self._cluster.stop()

    async def create_topic(self, topic: str, partitions: int = 1, retention: Retention | None = None) -> None:
        check_partitions(topic, partitions)
        await self._cluster.make(topic, partitions)
        if retention is not None:
            await self._cluster.set(topic, _settings(retention))

    async def create_table(self, table: str) -> None:
        await self._cluster.make(table, settings=TABLE)

    async def topics(self) -> dict[str, int]:
        return {name: len(leaders) for name, leaders in (await self._cluster.topics()).items() if name != TASKS}

    async def append(self, topic: str, records: Sequence[Record], /) -> list[tuple[int, int]]:
        if not records:
            return []
        return await self._appender.append(topic, from_records(topic, records, self._now_ms()))

    async def read(self, topic: str, partition: int, offset: int, /, *, max_records: int, max_bytes: int = 8_000_000) -> Fetched:
        return await self._reader.read(topic, partition, offset, max_records, max_bytes)

    async def wait(self, positions: Mapping[tuple[str, int], int], /, *, timeout: float) -> None:
        await self._reader.wait(positions, timeout)

    async def start_offsets(self, topic: str, /) -> list[int]:
        return await self._cluster.offsets(topic, BEGIN)

    async def end_offsets(self, topic: str, /) -> list[int]:
        return await self._cluster.ends(topic)

    async def offsets_at(self, topic: str, timestamp: int, /) -> list[int]:
        found = await self._cluster.offsets(topic, max(0, timestamp))
        return [end if at < 0 else at for at, end in zip(found, await self._cluster.ends(topic))]

    async def read_table(self, table: str, /, *, after: int = 0) -> TableRead:
        try:
            (end,) = await self._cluster.ends(table)
        except MissingTopicError:
            return TableRead(0, [])
        rows: dict[bytes, bytes | None] = {}
        at = after
        progress = Progress("reading a table", table=table)
        while at < end:
            read = await self._reader.read(table, 0, at, _READ_AT_ONCE, 64_000_000)
            rows.update(zip(read.keys or (), read.values))  # type: ignore[arg-type]  # rows have keys
            at = read.next_offset
            progress(at - after, end - after, records=at, of=end)
        return TableRead(max(at, after), [(key, value) for key, value in rows.items() if value is not None or after])

    async def record_limit(self, topic: str, /) -> int | None:
        return await self._cluster.limit(topic, anew=True) - _OVERHEAD

    async def committed(self, app: str, /) -> dict[tuple[str, int], int]:
        return await self._cluster.committed(app)

    async def apps(self) -> list[str]:
        return sorted({key.decode().rpartition("/")[0] for key, _ in (await self.read_table(TASKS)).rows})

    async def open(self, app: str, task: str, /, *, instance: str) -> KafkaTask:
        timeout = round(self._timeout * 1000)
        one = producer(self._options, transactional_id=f"{app}.{task}", transaction_timeout_ms=timeout)
        where = f"app {app!r}, task {task}"
        try:
            with said(f"broker {self.url}, {where}"):
                await self._start(one)
                # With its first transaction the producer gets its epoch, which fences every earlier instance and ends what that
                # left open. From here on the task is ours.
                await one.begin_transaction()
                await one.abort_transaction()
            failpoint("kafka.fenced")
            await self._sign(app, task, instance)
        except BaseException:
            await close(one)
            raise
        handle = KafkaTask(self, app, task, instance, one)
        self._tasks.add(handle)
        return handle

    async def _start(self, one: AIOKafkaProducer) -> None:
        try:
            await patiently(one.start)
        except errors.InvalidTransactionTimeout as error:
            raise ConfigError(
                f"broker {self.url}: transaction_timeout={self._timeout:g}s is more than the broker allows a transaction; give "
                "it less, or raise transaction.max.timeout.ms there"
            ) from error

    async def _sign(self, app: str, task: str, instance: str) -> None:
        """Leave word of who has the task now; and compare clocks, as the broker stamps it with its own."""
        await self._cluster.make(TASKS, settings=_TASKS_SETTINGS)
        word = Record(instance.encode(), f"{app}/{task}".encode())
        before = self._now_ms()
        ((partition, offset),) = await self._appender.append(TASKS, from_records(TASKS, [word], before))
        after = self._now_ms()
        stamps = (await self._reader.read(TASKS, partition, offset, 1, 1)).timestamps
        if stamps and not before - _SKEW * 1000 <= stamps[0] <= after + _SKEW * 1000:
            ahead = (stamps[0] - after) / 1000
            logger().warning(
                "clocks differ",
                broker=self.url,
                seconds_ahead=round(ahead, 1),
                remedy="synchronise the clocks of this machine and the broker's: records without a time of their own are stamped "
                "here, and the broker deletes by time, and refuses what is too far ahead",
            )

    async def _newer(self, task: KafkaTask) -> str | None:
        """Who has a task now; None if it is still the same, and the broker has only ended what it had begun."""
        now = asyncio.get_running_loop().time
        until = now() + _SIGNING
        while True:
            try:
                rows = dict((await self.read_table(TASKS)).rows)
            except (TimeoutError, BrokerError):
                return "another instance"
            owner = (rows.get(f"{task.app}/{task.task}".encode()) or b"another instance").decode()
            if owner != task.instance:
                return owner
            if now() > until:
                return None
            await asyncio.sleep(0.05)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def _settings(retention: Retention) -> dict[str, str]:
    return {
        "retention.ms": str(-1 if retention.max_age is None else round(retention.max_age * 1000)),
        "retention.bytes": str(-1 if retention.max_bytes is None else retention.max_bytes),
    }
