"""A Kafka broker for all tests of this folder, which each find empty."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient

pytest.register_assert_rewrite("rxstreams.testing.brokers")

from rxstreams.brokers.kafka import KafkaBroker  # noqa: E402
from tests.crash.processes import reap  # noqa: E402
from tests.servers.kafka import KafkaServer, running  # noqa: E402


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A broker; where the environment names the port of one that runs, that."""
    folder, port = tmp_path_factory.mktemp("kafka"), os.environ.get("RXSTREAMS_TEST_KAFKA")
    if port is not None:
        yield KafkaServer(folder, port=int(port))
        return
    with running(folder) as one:
        yield one


async def emptied(address: str) -> None:
    """Delete all topics of a broker."""
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        while names := [name for name in await admin.list_topics() if not name.startswith("__")]:
            await admin.delete_topics(names)
            await asyncio.sleep(0.05)
    finally:
        await admin.close()


@pytest_asyncio.fixture
async def kafka(server: KafkaServer) -> AsyncIterator[str]:
    """The address of a broker without topics."""
    await emptied(server.address)
    yield server.address
    reap()


@pytest_asyncio.fixture
async def broker(kafka: str) -> AsyncIterator[KafkaBroker]:
    """A broker, started."""
    one = KafkaBroker(kafka)
    await one.start()
    yield one
    await one.stop()


@pytest_asyncio.fixture
async def admin(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Somebody who makes topics, and deletes them, or records of them."""
    one = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await one.start()
    yield one
    await one.close()
