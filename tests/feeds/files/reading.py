"""What the tests of files share: files, runs over them, and what came out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

import rxstreams as rxs
from rxstreams import operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import OperatorError
from rxstreams.feeds.files import from_files
from rxstreams.testing.brokers import read_all
from tests.runtime.faulty import got


class Order(msgspec.Struct):
    """What a line holds."""

    id: int
    amount: float = 1.5


def lines(ids: Iterable[int]) -> bytes:
    """Orders as NDJSON."""
    return b"".join(msgspec.json.encode(Order(i)) + b"\n" for i in ids)


async def run(pattern: Any, type: Any = Order, *, broker: MemoryBroker | None = None, **options: Any) -> list[Any]:
    """Read files to their end, and return all that has come out so far."""
    broker = broker or MemoryBroker()
    async with rxs.start(passed(pattern, type, **options), app="files", broker=broker) as running:
        await running.wait()
    return await got(broker)


def passed(pattern: Any, type: Any = Order, *, step: Callable[[Any], Any] | None = None, **options: Any) -> rxs.Stream[Any]:
    """Records, through ``step``, into the topic ``out``; of orders their ids."""
    step = step or ((lambda one: one.id) if type is Order else lambda one: one)
    return from_files(pattern, type, **options).pipe(ops.map(step), ops.to_topic("out"))


async def fails_once(pattern: Any, at: int, broker: MemoryBroker, type: Any = Order, **options: Any) -> list[Any]:
    """Run twice, in small epochs: the first fails at the record with id ``at``; return what has come out of both."""
    failed: list[int] = []

    def step(record: Any) -> int:
        number = int(record["id"] if isinstance(record, dict) else record.id)
        if number == at and not failed:
            failed.append(number)
            raise RuntimeError("not now")
        return number

    for _ in range(2):
        try:
            stream = passed(pattern, type, step=step, **options)
            async with rxs.start(stream, app="files", broker=broker, commit_interval=1e-9) as running:
                await running.wait()
        except OperatorError:
            committed = len(await got(broker))
            assert 0 < committed < at + 1, "the failing run must have committed some"
    assert failed == [at]
    return await got(broker)


@asynccontextmanager
async def following(pattern: Any, broker: MemoryBroker, **options: Any) -> AsyncIterator[Callable[[list[Any]], Awaitable[None]]]:
    """A run that follows, and a function that waits until so much has come out, which must be just this."""
    stream = passed(pattern, follow=True, every=0.002, **options)
    async with rxs.start(stream, app="files", broker=broker, commit_interval=0.001) as running:

        async def come(expected: list[Any]) -> None:
            async with asyncio.timeout(20):
                while (end := (await broker.end_offsets("out"))[0]) < len(expected):
                    assert running._worker is not None
                    if running._worker.done():
                        await running.wait()
                    await broker.wait({("out", 0): end}, timeout=0.05)
            assert await got(broker) == expected

        yield come


async def saved(broker: MemoryBroker, app: str = "files") -> int:
    """How many rows the app's state has been written in so far."""
    return len((await broker.read_table(f"{app}.state")).rows)


def write(folder: Path, **files: bytes) -> None:
    """Files of NDJSON."""
    for name, content in files.items():
        (folder / f"{name}.ndjson").write_bytes(content)


async def dead(broker: MemoryBroker) -> list[tuple[bytes, str, str]]:
    """Dead letters: the bytes, their place, the error."""
    letters = []
    for part in await read_all(broker, "dead", 0):
        for value, headers in zip(part.values, part.headers or ()):
            told = dict(headers)
            letters.append((value or b"", (told["rxs.place"] or b"").decode(), (told["rxs.error"] or b"").decode()))
    return letters
