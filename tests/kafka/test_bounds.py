"""On Kafka, too, no more is in flight than the bound says: its consumer is not asked for more, and stays alive."""

import pytest

from rxstreams.brokers.kafka import KafkaBroker
from tests.flow.test_bounds import FEW, check, flow

pytestmark = [pytest.mark.servers, pytest.mark.kafka, pytest.mark.timeout(900), pytest.mark.asyncio]


@pytest.mark.parametrize("records", [FEW, pytest.param(10_000_000, marks=pytest.mark.soak)])
async def test_no_more_is_in_flight_than_the_bound_says(broker: KafkaBroker, records: int) -> None:
    """The edge and the sink hold what they may, and all records arrive."""
    check(await flow(broker, records), records)
