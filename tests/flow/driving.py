"""What the tests of flow share: runs on virtual time, and functions that take their time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, TypeVar

import rxstreams as rxs
from rxstreams import operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.testing import virtually
from tests.runtime.faulty import got

__all__ = ["Served", "outcome_of", "run_through", "virtual"]

T = TypeVar("T")


def virtual(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What a coroutine function returns, on a loop whose time is not waited for."""
    return virtually(work())


class Served:
    """A service: notes who calls it and when, and answers after a while.

    Args:
        takes: Seconds for a value.
        fails: Whether a call for a value (its how-manieth, from 1) fails.
    """

    def __init__(
        self, takes: Callable[[Any], float] = lambda value: 1.0, fails: Callable[[Any, int], bool] = lambda value, n: False
    ) -> None:
        self.takes, self.fails = takes, fails
        self.began: list[Any] = []
        self.ended: list[Any] = []
        self.times: list[float] = []
        self.under_way = self.most = 0

    async def __call__(self, value: Any) -> Any:
        """Answer with ten times the value."""
        self.began.append(value)
        self.times.append(asyncio.get_running_loop().time())
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(self.takes(value))
        finally:
            self.under_way -= 1
        if self.fails(value, self.began.count(value)):
            raise LookupError(f"no {value}")
        self.ended.append(value)
        return value * 10


async def run_through(
    values: Iterable[Any], *operators: Any, broker: MemoryBroker | None = None, app: str = "app", **options: Any
) -> rxs.Running:
    """A run over values to its end."""
    stream = rxs.from_iterable(list(values), name="values").pipe(*operators)
    clock = asyncio.get_running_loop().time
    async with rxs.start(stream, app=app, broker=broker or MemoryBroker(), clock=clock, **options) as running:
        await running.wait()
    return running


async def outcome_of(values: Iterable[Any], *operators: Any, **options: Any) -> list[Any]:
    """What a run over values writes."""
    broker = MemoryBroker()
    await run_through(values, *operators, ops.to_topic("out"), broker=broker, **options)
    return await got(broker)


async def stopped(running: rxs.Running, work: Awaitable[Any]) -> None:
    """Return when ``work`` is done, or the run has failed."""
    with suppress(rxs.RxStreamsError):
        await work
