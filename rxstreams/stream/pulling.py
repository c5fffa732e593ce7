"""``async for`` over an Observable: a bounded queue between a source that pushes and a loop that pulls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeVar

from reactivex import Notification, Observable
from reactivex.notification import OnCompleted, OnError, OnNext
from reactivex.scheduler.eventloop import AsyncIOThreadSafeScheduler

from rxstreams.stream.cold import Outlet

__all__ = ["pull"]

T = TypeVar("T")


class Waiting(Outlet):
    """Notifications that wait for ``async for``; our sources heed ``full``, others overflow with an error."""

    def __init__(self, capacity: int) -> None:
        super().__init__(
            lambda value: self._take(OnNext(value)), lambda error: self._take(OnError(error)), lambda: self._take(OnCompleted())
        )
        self.loop = asyncio.get_running_loop()
        self.capacity = capacity
        self.queue: asyncio.Queue[Notification[Any]] = asyncio.Queue()
        self.emptied = asyncio.Event()
        self.allowed = self.overflowed = False
        self.pace = self

    @property
    def full(self) -> bool:
        """Whether there is room for no more; one that asks before each record may come with all that the record makes."""
        self.allowed = self.queue.qsize() < self.capacity
        return not self.allowed

    async def room(self) -> None:
        while self.full:
            self.emptied.clear()
            await self.emptied.wait()

    def _take(self, item: Notification[Any]) -> None:
        # Values may come from any thread; those of this loop keep their place without a detour.
        if _running() is self.loop:
            self._put(item)
        else:
            self.loop.call_soon_threadsafe(self._put, item)

    def _put(self, item: Notification[Any]) -> None:
        if not isinstance(item, OnNext) or self.allowed or self.queue.qsize() < self.capacity:
            self.queue.put_nowait(item)
        elif not self.overflowed:
            self.overflowed = True
            text = f"the stream is {self.capacity} values ahead of `async for`, and this kind of source cannot be slowed"
            self.queue.put_nowait(OnError(BufferError(text + "; sample it first, or use rxstreams.run")))

    async def get(self) -> Notification[Any]:
        item = await self.queue.get()
        self.emptied.set()
        return item


async def pull(source: Observable[T], *, capacity: int) -> AsyncIterator[T]:
    """The values of ``source``, at most ``capacity`` of them waiting.

    Raises:
        BufferError: If more would wait: values are never dropped in silence.
    """
    waiting = Waiting(capacity)
    subscription = source.subscribe(waiting, scheduler=AsyncIOThreadSafeScheduler(waiting.loop))
    try:
        while True:
            item = await waiting.get()
            if isinstance(item, OnNext):
                yield item.value
            elif isinstance(item, OnError):
                raise item.exception
            else:
                return
    finally:
        subscription.dispose()


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
