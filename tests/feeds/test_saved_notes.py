"""What a feed saves comes back after a restart, as it was at the last commit."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

import rxstreams as rxs
from rxstreams import operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import OperatorError
from rxstreams.feeds.source import Chunk, Source, Stamping
from rxstreams.stream import Operation, source_stream
from tests.runtime.faulty import got


@dataclass(eq=False)
class Pages:
    """A feed whose place is a name: page after page of three items each, ``a0 a1 a2 b0 …``."""

    id: str = "pages"
    weakness: str | None = None
    live: bool = False
    finish: bool = True
    topic: str | None = None
    idle_after: float | None = None
    fetch: int = 3
    asked: list[dict[Any, Any]] = field(default_factory=list)

    async def chunks(
        self, broker: Any, positions: Mapping[int, int] | None, *, first: str | None, saved: Mapping[Any, Any]
    ) -> AsyncGenerator[Chunk, None]:
        self.asked.append(dict(saved))
        at: str = saved.get("at", "a0")
        for number in range("abcd".index(at[0]) * 3 + int(at[1]), 12, 3):
            names = [f"{'abcd'[i // 3]}{i % 3}" for i in range(number, min(number + 3, 12))]
            offsets = range(number, number + len(names))
            yield Chunk(0, names, offsets, offsets.stop, saves=lambda n, number=number: ("at", _name(number + n)))


def _name(number: int) -> str | None:
    return f"{'abcd'[number // 3]}{number % 3}" if number < 12 else None


def pages(feed: Pages) -> rxs.Stream[str]:
    """The feed as a stream."""
    operation = Operation("pages", lambda: Source(feed, None, Stamping(), None), stateful=True, ends=feed)
    return source_stream(operation)


@pytest.mark.asyncio
async def test_a_feed_goes_on_from_what_it_saved_when_a_run_is_started_again() -> None:
    """A page is committed and the next fails in the middle: the second start asks from there on, and each item counts once."""
    broker, feed, failed = MemoryBroker(), Pages(), list[str]()

    def fail_once(item: str) -> str:
        if item == "b1" and not failed:
            failed.append(item)
            raise RuntimeError("not now")
        return item

    for _ in range(2):
        with suppress(OperatorError):
            stream = pages(feed).pipe(ops.map(fail_once), ops.to_topic("out"))
            async with rxs.start(stream, app="pages", broker=broker, commit_interval=1e-9) as running:
                await running.wait()
    assert (failed, feed.asked) == (["b1"], [{}, {"at": "b0"}])
    assert await got(broker) == [_name(number) for number in range(12)]


def test_what_is_saved_follows_how_far_the_records_of_a_chunk_have_gone() -> None:
    """Of a chunk that is cut in two the first part saves what stands after it, the second what stands after both."""
    chunk = Chunk(0, ["a", "b", "c"], [7, 8, 9], 10, saves=lambda n: ("at", 7 + n))
    one, rest = chunk.cut(0, 2), chunk.cut(2, 3)
    assert one.saves is not None
    assert rest.saves is not None
    assert (one.saves(2), rest.saves(1), rest.cut(0, 1).saves(1)) == (("at", 9), ("at", 10), ("at", 10))  # type: ignore[misc]
