"""Several places as one stream of chunks, and which of them are idle. The only module that imports aiostream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from importlib.util import find_spec

from rxstreams.errors import ConfigError
from rxstreams.feeds.source import Chunk

__all__ = ["Silence", "check_merging", "merged"]


def check_merging(where: str, places: int) -> None:
    """Check that so many places can be merged.

    Raises:
        ConfigError: If what merges them is not installed.
    """
    if places > 1 and find_spec("aiostream") is None:
        raise ConfigError(
            f"{where}: several urls are merged by aiostream, which is not installed: pip install 'rxstreams[feeds]'; or make a "
            "stream of each url, and merge these by ops.merge"
        )


class Silence:
    """Which partitions are idle: those that were asked, and had nothing for ``after`` seconds, whether connected or not.

    Time counts only while a partition is asked: one whose records wait because nobody takes them is not idle.
    """

    def __init__(self, after: float, partitions: int) -> None:
        self.after, self.partitions = after, partitions
        self.idle: set[int] = set()

    async def told(self, partition: int, at: int, chunks: AsyncGenerator[Chunk, None]) -> AsyncGenerator[Chunk, None]:
        """A partition's chunks, and one without records when it becomes idle; ``at`` is its offset before them."""
        coming: asyncio.Task[Chunk | None] | None = None
        try:
            while True:
                coming = coming or asyncio.ensure_future(_following(chunks))
                done, _ = await asyncio.wait((coming,), timeout=None if partition in self.idle else self.after)
                if not done:
                    self.idle.add(partition)
                    yield Chunk(partition, (), (), at, news="all idle" if len(self.idle) == self.partitions else "idle")
                    continue
                chunk, coming = coming.result(), None
                if chunk is None:
                    return
                at = chunk.next_offset
                if len(chunk.values):
                    self.idle.discard(partition)
                yield chunk
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.wait((coming,))
            await chunks.aclose()


async def _following(chunks: AsyncGenerator[Chunk, None]) -> Chunk | None:
    return await anext(chunks, None)


async def merged(parts: Sequence[AsyncGenerator[Chunk, None]]) -> AsyncGenerator[Chunk, None]:
    """The chunks of all partitions, as they come; a partition is asked for its next when its last was taken."""
    if len(parts) == 1:
        async with aclosing(parts[0]) as chunks:
            async for chunk in chunks:
                yield chunk
        return
    from aiostream import stream

    async with stream.merge(*parts).stream() as streamer:
        async for chunk in streamer:
            yield chunk
