"""What a broker is: topics, tables and committed offsets that change together in one commit.

A broker is where a pipeline's records, state and positions live. Implementations (``memory``, ``sqlite``, …) say only what
differs from what stands here. ``rxstreams.testing.brokers`` holds the contract as a test suite that each of them passes.

Terms: a *topic* is a partitioned log of records; a *table* keeps the last value of each key; *committed offsets* are per
(app, topic, partition) the next offset to read. A *task* is one running instance's share of an app; opening it fences every
earlier instance of the same task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

__all__ = ["Broker", "Commit", "Fetched", "Put", "Record", "Retention", "TableRead", "TaskHandle"]

Header = tuple[str, bytes]


class Record(NamedTuple):
    """One record as producers and commits append it."""

    value: bytes | None
    """The payload; None is a tombstone."""
    key: bytes | None = None
    """Decides the partition (records of one key stay in order); None spreads records over partitions."""
    timestamp: int | None = None
    """Milliseconds since the epoch; None is the broker's clock at the append."""
    headers: tuple[Header, ...] = ()


class Fetched(msgspec.Struct, frozen=True):
    """Consecutive records of one partition, as parallel columns.

    ``next_offset`` is where to read on: greater than every offset here, and greater than the offset asked for even where
    ``values`` is empty because only gaps were passed (offsets are ordered, not dense).
    """

    topic: str
    partition: int
    offsets: Sequence[int]
    values: Sequence[bytes | None]
    keys: Sequence[bytes | None] | None
    """None where no record here has a key."""
    timestamps: Sequence[int]
    headers: Sequence[tuple[Header, ...]] | None
    """None where no record here has headers."""
    next_offset: int


class Put(NamedTuple):
    """One change of a table: the new value of a key, or its deletion (value None)."""

    table: str
    key: bytes
    value: bytes | None


class Commit(msgspec.Struct):
    """What one epoch changes, all of it or nothing."""

    outputs: dict[str, list[Record]] = msgspec.field(default_factory=dict)
    """Records to append, by topic, in order. Missing topics are created with one partition (or as ``create_topic`` said)."""
    puts: list[Put] = msgspec.field(default_factory=list)
    offsets: dict[tuple[str, int], int] = msgspec.field(default_factory=dict)
    """Next offset to read, by (topic, partition); committed under the app's name."""


class TableRead(NamedTuple):
    """A table's rows, and the version to ask for next."""

    version: int
    """Grows with every commit that changed this table."""
    rows: list[tuple[bytes, bytes | None]]
    """(key, value) in no promised order; value None is a deletion (only where ``after`` was given)."""


class Retention(msgspec.Struct, frozen=True):
    """How much of a topic is kept. What a registered app has not read yet is never deleted, whatever these say."""

    max_age: float | None = None
    """Seconds after which a record may be deleted; None keeps records whatever their age."""
    max_bytes: int | None = None
    """Bytes of a partition's records beyond which the oldest may be deleted; None sets no limit."""


class TaskHandle(Protocol):
    """The right to commit for one task of an app, until a newer instance takes it."""

    async def commit(self, commit: Commit, /) -> None:
        """Make outputs, table changes and offsets durable and visible together.

        Checks the fencing token inside the same transaction.

        Raises:
            FencedError: If a newer instance has opened the task. Nothing was written, unless the answer to this very commit was
                lost before.
            CommitUnknownError: If the outcome cannot be known. The caller drops its memory and opens the task anew.
            StorageFullError: If there is no room. Nothing was written.
            BrokerError: For any other definite failure. Nothing was written.
        """
        ...

    async def close(self) -> None:
        """Give the handle back; a task need not be closed before another instance opens it. Idempotent."""
        ...


class Broker(Protocol):
    """Topics, tables and committed offsets. Everything here may be used by several processes and tasks at once."""

    url: str

    async def start(self) -> None:
        """Open files or connections. Called once, before anything else.

        Raises:
            StorageDamagedError: If what is there cannot be read, or is not this broker's.
        """
        ...

    async def stop(self) -> None:
        """Finish appends that are under way, and release everything. Idempotent."""
        ...

    async def create_topic(self, topic: str, partitions: int = 1, retention: Retention | None = None) -> None:
        """Make sure that ``topic`` exists with at least ``partitions`` partitions (more may be added, never fewer); a given
        ``retention`` replaces what was set before.
        """
        ...

    async def create_table(self, table: str) -> None:
        """Make sure that a table can be written to; a commit makes one that is missing, too.

        Raises:
            BrokerError: If it could not keep its rows.
        """
        ...

    async def topics(self) -> dict[str, int]:
        """Every topic with its number of partitions."""
        ...

    async def append(self, topic: str, records: Sequence[Record], /) -> list[tuple[int, int]]:
        """Append records on their own, outside any epoch; return (partition, offset) of each once all are durable.

        Concurrent appends share a commit. Records with one key go to one partition, in order; a missing topic is created
        with one partition.
        """
        ...

    async def read(self, topic: str, partition: int, offset: int, /, *, max_records: int, max_bytes: int = 8_000_000) -> Fetched:
        """Committed records from the first offset ≥ ``offset`` on, at most ``max_records``; at least one record if there is
        any, whatever its size. Never waits; an offset before the start of the log reads from its start.

        Raises:
            MissingTopicError: If there is no such topic or partition.
        """
        ...

    async def wait(self, positions: Mapping[tuple[str, int], int], /, *, timeout: float) -> None:
        """Return as soon as one of the (topic, partition) may have a committed record at or after its offset, or after
        ``timeout`` seconds. May return early; never waits on although a record is there.
        """
        ...

    async def start_offsets(self, topic: str, /) -> list[int]:
        """Per partition, the least offset that is still kept (the end offset where nothing is)."""
        ...

    async def end_offsets(self, topic: str, /) -> list[int]:
        """Per partition, the offset that the next record will get."""
        ...

    async def offsets_at(self, topic: str, timestamp: int, /) -> list[int]:
        """Per partition, the offset of the first record with a timestamp ≥ ``timestamp`` (ms), or the end offset."""
        ...

    async def read_table(self, table: str, /, *, after: int = 0) -> TableRead:
        """The table's rows that changed after version ``after``; 0 reads all that is there. A deletion may be forgotten after
        an hour. A table that was never written is empty.
        """
        ...

    async def record_limit(self, topic: str, /) -> int | None:
        """The greatest size of a record of a topic or table: bytes of its key, value and headers; None where there is no limit.
        Of one that is not there it is what one that is made now would have.
        """
        ...

    async def committed(self, app: str, /) -> dict[tuple[str, int], int]:
        """The next offsets that ``app`` committed last."""
        ...

    async def apps(self) -> list[str]:
        """Every app that has opened a task here."""
        ...

    async def open(self, app: str, task: str, /, *, instance: str) -> TaskHandle:
        """Become the owner of a task. From here on every earlier instance's commit raises FencedError.

        Args:
            instance: Who this is (host, process, start time), for the message that the fenced one gets.
        """
        ...
