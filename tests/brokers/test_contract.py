"""Every broker that needs no server keeps the contract."""

from collections.abc import Callable

import pytest

from rxstreams.testing.brokers import BrokerContract, Storage


@pytest.mark.asyncio
class TestMemory(BrokerContract):
    """The broker in memory."""

    @pytest.fixture
    def storage(self, memory: Callable[..., Storage]) -> Storage:
        """Brokers that share a name."""
        return memory()


@pytest.mark.asyncio
class TestSparseMemory(BrokerContract):
    """The broker in memory that leaves offsets unused, as Kafka does."""

    @pytest.fixture
    def storage(self, memory: Callable[..., Storage]) -> Storage:
        """Brokers that share a name."""
        return memory(sparse=True)


@pytest.mark.asyncio
class TestSqlite(BrokerContract):
    """The broker in one SQLite file."""

    @pytest.fixture
    def storage(self, sqlite: Storage) -> Storage:
        """Brokers on one file."""
        return sqlite
