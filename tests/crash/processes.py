"""Starting the worker's jobs as processes, filling and reading the SQLite file that they share."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar
from zlib import crc32

import msgspec

from rxstreams.brokers import Broker, Record
from rxstreams.brokers.sqlite import SqliteBroker
from rxstreams.testing.brokers import read_all
from tests.crash.worker import Event

T = TypeVar("T")
B = TypeVar("B", bound=Broker)
ROOT = Path(__file__).parents[2]
started: list[subprocess.Popen[str]] = []
WORKER = Path(__file__).with_name("worker.py")


def start(job: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Begin a job of the worker in a process of its own; a warning there is an error."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", str(WORKER), job, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    started.append(process)
    return process


def reap() -> None:
    """End what a failed test has left running."""
    for process in started:
        if process.returncode is None:
            process.kill()
            process.communicate()
    started.clear()


def ended(process: subprocess.Popen[str], status: int = 0, *, within: float = 60.0) -> tuple[str, str]:
    """What a process has printed and logged, once it has ended with ``status``."""
    out, errors = process.communicate(timeout=within)
    assert process.returncode == status, errors
    return out, errors


def until(condition: Callable[[], T], *, within: float = 30.0) -> T:
    """The first true answer of ``condition``."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.005)
    raise AssertionError(f"not within {within} s: {condition}")


def used(broker: B, use: Callable[[B], Coroutine[Any, Any, T]]) -> T:
    """What ``use`` makes of a broker that is opened for it alone."""

    async def main() -> T:
        await broker.start()
        try:
            return await use(broker)
        finally:
            await broker.stop()

    return asyncio.run(main())


def on(path: Path, use: Callable[[SqliteBroker], Coroutine[Any, Any, T]]) -> T:
    """What ``use`` makes of a broker on the file."""
    return used(SqliteBroker(path), use)


def keys_of(partitions: int) -> list[bytes]:
    """A record key for each partition."""
    names = [b"p%d" % i for i in range(100)]
    return [next(name for name in names if crc32(name) % partitions == partition) for partition in range(partitions)]


def event(part: str, seq: int) -> Event:
    """The ``seq``-th record of a partition; its users are nobody else's, and pause now and then."""
    return Event(part, seq, f"{part}/{(seq // 40 * 7 + seq % 11) % 97}", seq * 37 % 1009, seq * 3 + seq // 100 * 40)


def fill(path: Path, records: int, partitions: int = 2) -> None:
    """Append events to ``in``, as many in each partition, in order of their event times."""

    async def use(broker: SqliteBroker) -> None:
        await broker.create_topic("in", partitions)
        for key in keys_of(partitions):
            name = key.decode()
            events = [event(name, seq) for seq in range(records // partitions)]
            for at in range(0, len(events), 10_000):
                await broker.append("in", [Record(msgspec.json.encode(one), key) for one in events[at : at + 10_000]])

    on(path, use)


def topic(path: Path, name: str, partition: int = 0) -> list[Any]:
    """Every value of a topic's partition."""

    async def use(broker: SqliteBroker) -> list[Any]:
        if name not in await broker.topics():
            return []
        fetched = await read_all(broker, name, partition)
        return [msgspec.json.decode(value) for part in fetched for value in part.values if value is not None]

    return on(path, use)


def offsets(path: Path, app: str) -> dict[tuple[str, int], int]:
    """The offsets that an app has committed."""
    return on(path, lambda broker: broker.committed(app))


def numbered(values: list[Any]) -> dict[str, list[int]]:
    """Of [part, seq] pairs, each part's numbers in their order."""
    found: dict[str, list[int]] = {}
    for part, seq in values:
        found.setdefault(part, []).append(seq)
    return found
