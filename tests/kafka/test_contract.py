"""The broker on Kafka keeps the contract that all brokers keep."""

import pytest

from rxstreams.brokers.kafka import KafkaBroker
from rxstreams.testing.brokers import BrokerContract, Storage

pytestmark = [pytest.mark.servers, pytest.mark.kafka, pytest.mark.timeout(120)]


@pytest.mark.asyncio
class TestKafka(BrokerContract):
    """The broker on a real Kafka."""

    patience = 30.0

    @pytest.fixture
    def storage(self, kafka: str) -> Storage:
        """Brokers on one Kafka."""
        return Storage(lambda: KafkaBroker(kafka))
