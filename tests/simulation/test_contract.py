"""The simulated broker keeps the broker contract where it does what every broker may: read short, stop at gaps, wake early."""

from itertools import count

import pytest

from rxstreams.brokers.memory import MemoryBroker
from rxstreams.testing.brokers import BrokerContract, Faults, Odds, SimulatedBroker, Storage

_names = count()
LEAST = (1e-6, 1e-5)
ODDS = Odds(
    refused=0.0, gone=0.0, late=0.0, lost=0.0, short=0.3, gap=0.5, early=0.3, most_records=5_000, latency=LEAST, fetching=LEAST
)


@pytest.mark.asyncio
class TestSimulated(BrokerContract):
    """Connections to one broker in memory."""

    @pytest.fixture
    def storage(self) -> Storage:
        """Brokers that share a name."""
        name = f"simulated-{next(_names)}"

        def connect() -> SimulatedBroker:
            return SimulatedBroker(MemoryBroker(name, sparse=True), Faults(0, ODDS), f"process {next(_names)}")

        return Storage(connect, retain=lambda _: MemoryBroker(name).retain())
