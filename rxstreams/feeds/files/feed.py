"""The files' feed, which lets a thread read them, and the node that decodes their records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import msgspec

from rxstreams.feeds.files.lines import BLOCK
from rxstreams.feeds.files.reading import Reading
from rxstreams.feeds.files.rows import RowDecoder
from rxstreams.feeds.files.stretches import Bad, Headers
from rxstreams.feeds.files.telling import telling
from rxstreams.feeds.files.what import What
from rxstreams.feeds.source import Chunk, Source

if TYPE_CHECKING:
    from rxstreams.brokers.contract import Broker

__all__ = ["FilesFeed", "FilesSource"]

T = TypeVar("T")

MOST_RECORDS = BLOCK // 2
"""Of a block, if each of its lines has one character."""


class FilesFeed(msgspec.Struct, frozen=True, eq=False):
    """Files, read in order; an offset is a record's number among all."""

    id: str
    what: What
    every: float
    progress: bool | None
    live: bool
    finish: bool
    idle_after: float | None
    weakness: str | None = None
    topic: str | None = None
    fetch: int = MOST_RECORDS

    async def chunks(
        self, broker: Broker | None, positions: Mapping[int, int] | None, *, first: str | None, saved: Mapping[Any, Any]
    ) -> AsyncGenerator[Chunk, None]:
        reading = Reading(self.what, (positions or {}).get(0, 0), saved)
        with ExitStack() as stack:
            stack.callback(reading.close)
            tell = None if self.live else stack.enter_context(telling(self.id, self.progress))
            while True:
                chunks = await _beside(reading.take)
                for chunk in chunks:
                    yield chunk
                if tell is not None:
                    tell(reading.done, reading.total)
                if chunks:
                    continue
                if not self.live:
                    return
                await asyncio.sleep(self.every)
                reading.again()


async def _beside(work: Callable[[], T]) -> T:
    """Have a thread do it. Who is cancelled waits for it all the same: files must not be closed while they are read."""
    thread = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        await asyncio.wait([thread])
        if not thread.cancelled():
            thread.exception()  # somebody has to look at it
        raise


class FilesSource(Source):
    """A source some of whose records cannot be decoded, and say why."""

    def push(self, chunk: Chunk, *, numbered: bool) -> None:
        n = len(chunk.values)
        if isinstance(self.decode, RowDecoder) and isinstance(chunk.headers, Headers):
            self.decode.layout = chunk.headers.stretch.layout
        if not n or not isinstance(chunk.values[0], Bad):
            super().push(chunk, numbered=numbered)
            return
        fused, decode = self.fused, self.decode
        self.fused, self.decode = None, _refuse  # it stands alone in its chunk
        try:
            super().push(chunk, numbered=True)
        finally:
            self.fused, self.decode = fused, decode


def _refuse(bad: Bad) -> NoReturn:
    raise ValueError(bad.problem)
