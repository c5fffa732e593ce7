"""Brokers whose commits go wrong in a way that a test chooses, and what the runtime tests put into topics and read from them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec

from rxstreams.brokers import Commit, Record
from rxstreams.brokers.memory import MemoryBroker, MemoryTask
from rxstreams.testing.brokers import read_all

Fault = Callable[[int, Callable[[], Awaitable[None]]], Awaitable[None]]
"""What becomes of the n-th commit (from 1 on), given the function that makes it."""


class FaultyBroker(MemoryBroker):
    """A memory broker that leaves each commit to ``fault``; ``commits`` has what was asked of it."""

    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self.fault = fault
        self.commits: list[Commit] = []
        self.opened = 0

    async def open(self, app: str, task: str, /, *, instance: str) -> MemoryTask:
        """Open a task whose commits go through ``fault``."""
        self.opened += 1
        handle = await super().open(app, task, instance=instance)
        make = handle.commit

        async def commit(change: Commit, /) -> None:
            self.commits.append(change)
            await self.fault(len(self.commits), lambda: make(change))

        handle.commit = commit  # type: ignore[method-assign]
        return handle


class Gate:
    """A fault that holds every commit until it is opened."""

    def __init__(self) -> None:
        self.waiting, self.opened = asyncio.Event(), asyncio.Event()

    async def __call__(self, n: int, make: Callable[[], Awaitable[None]]) -> None:
        """Wait for the gate, then commit."""
        self.waiting.set()
        await self.opened.wait()
        await make()


async def put(broker: MemoryBroker, values: Iterable[Any], topic: str = "in", key: bytes | None = None) -> None:
    """Append values as JSON."""
    await broker.append(topic, [Record(msgspec.json.encode(value), key) for value in values])


async def got(broker: MemoryBroker, topic: str = "out", partition: int = 0) -> list[Any]:
    """All values of a topic's partition; none if it is not there."""
    if topic not in await broker.topics():
        return []
    parts = await read_all(broker, topic, partition)
    return [msgspec.json.decode(value) for part in parts for value in part.values if value is not None]


async def until(condition: Callable[[], bool], within: float = 10.0) -> None:
    """Return when ``condition`` holds."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110  # any condition, so there is no event
            await asyncio.sleep(0.001)
