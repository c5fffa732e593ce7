"""Where a contract test keeps its data, and reading it back with every promise of ``Fetched`` checked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from rxstreams.brokers.contract import Broker, Fetched

__all__ = ["Storage", "read_all"]


@dataclass
class Storage:
    """One place where brokers keep their data, new for each test.

    Args:
        connect: A broker on this storage, not started; each call is like another process where the broker allows it.
        gap: Leaves offsets of a partition unused, so that the next record's is not the next number; None where append does
            so itself or the broker never has gaps.
        retain: Applies retention now; None where the broker's server does when it likes, and the cases only check what
            must never happen.
    """

    connect: Callable[[], Broker]
    gap: Callable[[Broker, str, int], Awaitable[None]] | None = None
    retain: Callable[[Broker], Awaitable[None]] | None = None
    _open: list[Broker] = field(default_factory=list)

    async def broker(self) -> Broker:
        """One more connection, started."""
        broker = self.connect()
        await broker.start()
        self._open.append(broker)
        return broker

    @asynccontextmanager
    async def brokers(self) -> AsyncIterator[tuple[Broker, Broker]]:
        """Two connections, and the end of all that this storage has opened."""
        try:
            yield await self.broker(), await self.broker()
        finally:
            for broker in self._open:
                await broker.stop()
            self._open.clear()


async def read_all(broker: Broker, topic: str, partition: int = 0, *, start: int = 0, max_records: int = 100) -> list[Fetched]:
    """Everything from ``start`` up to the present end, as it is read."""
    end = (await broker.end_offsets(topic))[partition]
    fetched = []
    while start < end:
        fetched.append(await broker.read(topic, partition, start, max_records=max_records))
        _check(fetched[-1], start, max_records)
        start = fetched[-1].next_offset
    return fetched


def _check(fetched: Fetched, asked: int, max_records: int) -> None:
    offsets = list(fetched.offsets)
    assert len(offsets) == len(fetched.values) == len(fetched.timestamps) <= max_records, "columns differ in length"
    assert fetched.keys is None or len(fetched.keys) == len(offsets), "keys: one per record"
    assert fetched.headers is None or len(fetched.headers) == len(offsets), "headers: one per record"
    assert offsets == sorted(set(offsets)), f"offsets do not grow: {offsets}"
    assert not offsets or asked <= offsets[0], f"asked for {asked}, got an earlier {offsets[0]}"
    assert fetched.next_offset > max([asked, *offsets]), f"asked for {asked}, next_offset is {fetched.next_offset}"
