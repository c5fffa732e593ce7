"""The broker contract as tests, written once: every broker passes them, and a broker broken in any one way fails its case.

A test class derives from ``BrokerContract``, is marked for asyncio, and has a fixture ``storage``:

    @pytest.mark.asyncio
    class TestMyBroker(BrokerContract):
        @pytest.fixture
        def storage(self):
            return Storage(lambda: MyBroker("server:1234"))

And a broker for simulations: ``SimulatedBroker`` is a connection to another one, whose every call takes virtual time, and may
fail.
"""

from rxstreams.testing.brokers.contract import BrokerContract
from rxstreams.testing.brokers.simulated import Faults, Injected, Odds, SimulatedBroker
from rxstreams.testing.brokers.storage import Storage, read_all

__all__ = ["BrokerContract", "Faults", "Injected", "Odds", "SimulatedBroker", "Storage", "read_all"]
