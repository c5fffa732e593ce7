"""lag: how far an app is behind, in records and in seconds, on every broker."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from rxstreams.brokers.contract import Broker
from rxstreams.errors import MissingTopicError
from rxstreams.feeds.topics import opened

__all__ = ["Lag", "lag"]


class Lag(msgspec.Struct, frozen=True):
    """How far an app is behind in a partition, as ``kafka-consumer-groups --describe`` tells it, and in seconds.

    Attributes:
        topic: The topic.
        partition: The partition.
        committed: The next offset that the app has committed.
        end: The offset that the next record will get.
        records: What lies between; on Kafka that counts offsets, so also those of commits and aborted records. Less than 0 where
            the topic ends before what was committed: then it is another one of the same name.
        seconds: The age of the first record that is not read yet, by its timestamp; 0.0 if there is none.
    """

    topic: str
    partition: int
    committed: int
    end: int
    records: int
    seconds: float


async def lag(app: str, *, broker: str | Broker | None = None, clock: Callable[[], float] = time.time) -> list[Lag]:
    """How far ``app`` is behind, per partition of the topics that it has committed offsets of, in order.

    Shape: one ``Lag`` a partition, those too that it has not begun to read; none for an app that has committed nothing.

    Args:
        app: Whose.
        broker: A broker or its URL; None is ``RXSTREAMS_BROKER``, or the file ``rxstreams.db`` in this folder.
        clock: Seconds since the epoch.

    Raises:
        BrokerError: If the broker cannot be used.
    """
    async with opened(broker) as home:
        committed = await home.committed(app)
        found = []
        for topic in sorted({topic for topic, _ in committed}):
            try:
                starts, ends = await home.start_offsets(topic), await home.end_offsets(topic)
            except MissingTopicError:
                continue  # deleted; what was committed of it stays
            for partition, (start, end) in enumerate(zip(starts, ends)):
                at = committed.get((topic, partition), start)
                behind = end - max(at, start)
                age = await _age(home, topic, partition, at, behind, clock())
                found.append(Lag(topic, partition, at, end, behind, age))
        return found


async def _age(broker: Broker, topic: str, partition: int, at: int, behind: int, now: float) -> float:
    """Seconds since the first unread record's time."""
    if behind <= 0:
        return 0.0
    stamps = (await broker.read(topic, partition, at, max_records=1)).timestamps
    return max(0.0, round(now - stamps[0] / 1000, 3)) if stamps else 0.0
