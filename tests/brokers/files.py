"""Brokers on files, as the SQLite tests open them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import apsw

from rxstreams.brokers import Commit, Put, Record
from rxstreams.brokers.sqlite import SqliteBroker
from rxstreams.testing.brokers import read_all


@asynccontextmanager
async def running(path: Path, **options: object) -> AsyncIterator[SqliteBroker]:
    """A started broker."""
    broker = SqliteBroker(path, **options)  # type: ignore[arg-type]
    await broker.start()
    try:
        yield broker
    finally:
        await broker.stop()


async def values(broker: SqliteBroker, topic: str) -> list[bytes | None]:
    """All values of a topic's first partition."""
    return [value for fetched in await read_all(broker, topic) for value in fetched.values]


async def filled(path: Path, records: int = 3_000) -> None:
    """A file with a topic, a table and offsets."""
    async with running(path) as broker:
        task = await broker.open("app", "0", instance="filler")
        await task.commit(
            Commit({"t": [Record(b"value %d" % i) for i in range(records)]}, [Put("s", b"k", b"v" * 500)], {("t", 0): 1})
        )


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    """What ``sql`` finds in the file, or does to it."""
    database = apsw.Connection(str(path))
    try:
        return list(database.execute(sql))
    finally:
        database.close()
