"""Storages of the brokers that need no server."""

from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import cast

import apsw
import pytest

pytest.register_assert_rewrite("rxstreams.testing.brokers")

from rxstreams.brokers import Broker  # noqa: E402
from rxstreams.brokers.memory import MemoryBroker  # noqa: E402
from rxstreams.brokers.sqlite import SqliteBroker  # noqa: E402
from rxstreams.testing.brokers import Storage  # noqa: E402

_names = count()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where an SQLite broker's file will be."""
    return tmp_path / "broker.db"


@pytest.fixture
def memory() -> Callable[..., Storage]:
    """A storage in memory: of this class of broker, with gaps between offsets or without."""

    def make(kind: type[MemoryBroker] = MemoryBroker, *, sparse: bool = False) -> Storage:
        name = f"contract-{next(_names)}"
        return Storage(lambda: kind(name, sparse=sparse), retain=lambda broker: cast(MemoryBroker, broker).retain())

    return make


@pytest.fixture
def sqlite(path: Path) -> Storage:
    """A storage in an SQLite file."""
    return Storage(lambda: SqliteBroker(path), gap=_gap(path), retain=lambda broker: cast(SqliteBroker, broker).retain())


def _gap(path: Path) -> Callable[[Broker, str, int], Awaitable[None]]:
    async def gap(broker: Broker, topic: str, partition: int) -> None:
        database = apsw.Connection(str(path))
        database.execute("UPDATE partitions SET next_offset = next_offset + 3 WHERE partition = ?", (partition,))
        database.close()

    return gap
