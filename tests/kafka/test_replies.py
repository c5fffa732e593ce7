"""Requests to a real Kafka that never arrive, and answers that are lost or late: each output is there once, and in order.

A proxy stands between the app and the broker. Of each type of request that the app sends, some are cut off before the broker has
them, some answers are lost although the broker has done what was asked, and some are late. The app goes on in the same process,
and comes to what it comes to in memory.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from rxstreams.brokers import Commit, Record
from rxstreams.brokers.kafka import KafkaBroker
from rxstreams.errors import CommitUnknownError
from rxstreams.testing.brokers import read_all
from tests.crash.processes import ended, reap
from tests.kafka.conftest import emptied
from tests.kafka.outcomes import expected, filled, on, outcome
from tests.kafka.test_kill9 import Killing
from tests.servers.kafka import free_port, running
from tests.servers.proxy import Api, Fault, Proxy, through

pytestmark = [pytest.mark.servers, pytest.mark.kafka, pytest.mark.timeout(180)]

RECORDS = 2_000
LOST, CUT, LATE = Fault("lost"), Fault("cut"), Fault("late", 3.0)
TOO_LATE = Fault("late", 10.5)
"""A commit's deadline is ten seconds."""
WITHIN = 40.0
"""Seconds for a run, with its faults."""


def each(api: Api, first: int, every: int = 1) -> dict[tuple[int, int], Fault]:
    """Each kind of fault, from the ``first`` request of a type on, to each ``every``-th."""
    return {(api, first + every * turn): fault for turn, fault in enumerate((LOST, CUT, LATE))}


# Without its first answers no client knows yet that there is a broker; that ends the process, so that a wrong address is seen.
RUNS = [
    each(Api.API_VERSIONS, 2) | each(Api.CREATE_TOPICS, 2) | {(Api.DESCRIBE_CONFIGS, 2): LOST, (Api.DESCRIBE_CONFIGS, 3): CUT},
    each(Api.METADATA, 2, 7) | each(Api.INIT_PRODUCER_ID, 1),
    each(Api.LIST_OFFSETS, 1) | each(Api.FIND_COORDINATOR, 1),
    each(Api.FETCH, 1) | each(Api.PRODUCE, 2),
    each(Api.ADD_PARTITIONS_TO_TXN, 2, 2) | each(Api.ADD_OFFSETS_TO_TXN, 2),
    each(Api.TXN_OFFSET_COMMIT, 2) | each(Api.WRITE_TXN_MARKERS, 2) | each(Api.END_TXN, 2),
    {(Api.END_TXN, 2): TOO_LATE, (Api.PRODUCE, 8): TOO_LATE},
]


def table(proxy: Proxy, log: str, seconds: float) -> str:
    """What befell the requests of a run, and how often the app began anew."""
    events = [json.loads(line)["event"] for line in log.splitlines() if line.startswith("{")]
    restarts = events.count("beginning anew from the broker")
    rows = [
        f"{Api(api).name:22} {kind:8} {struck:7} {proxy.seen[api]:8} {restarts:8} {seconds:7.1f}"
        for (api, kind), struck in sorted(proxy.struck.items())
    ]
    return "\n".join(["request                fault     struck requests restarts seconds", *rows])


@pytest.fixture(scope="module")
def in_memory() -> dict[str, Any]:
    """What the app comes to where nothing fails."""
    return expected(RECORDS)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Before a broker of this module's own."""
    port = free_port()
    with running(tmp_path_factory.mktemp("kafka"), advertised=port) as server, through(port, server.port) as one:
        yield one
    reap()


@pytest.mark.slow
@pytest.mark.parametrize("faults", RUNS, ids=lambda faults: "-".join(dict.fromkeys(Api(api).name for api, _ in faults)))
def test_the_outcome_is_as_if_the_network_were_good(
    faults: dict[tuple[int, int], Fault],
    proxy: Proxy,
    in_memory: dict[str, Any],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """Nothing is missing and nothing is there twice, and the process has gone on."""
    proxy.plan({})
    asyncio.run(emptied(proxy.address))
    on(proxy.address, lambda broker: filled(broker, RECORDS))
    app = Killing(f"kafka://{proxy.address}?transaction_timeout=30s", tmp_path)
    proxy.plan(faults)
    began = time.monotonic()
    _, log = ended(app.begin(delay=0.0004), within=WITHIN)
    record_property("told", table(proxy, log, time.monotonic() - began))
    assert proxy.struck.total() == len(faults), f"planned {faults}; struck {proxy.struck}; requests {proxy.seen}"
    proxy.plan({})
    assert on(proxy.address, outcome) == in_memory


@pytest_asyncio.fixture
async def broker(proxy: Proxy) -> AsyncIterator[KafkaBroker]:
    """A broker behind the proxy, without topics."""
    proxy.plan({})
    await emptied(proxy.address)
    one = KafkaBroker(proxy.address)
    await one.start()
    yield one
    await one.stop()


@pytest.mark.asyncio
async def test_a_commit_whose_answer_was_lost_is_not_said_to_have_written_nothing(proxy: Proxy, broker: KafkaBroker) -> None:
    """It is done; the client asks again and fails at that, for a reason that is no timeout."""
    task = await broker.open("commits", "0", instance="one")
    await task.commit(Commit({"committed": [Record(b"0")]}, [], {}))
    proxy.plan({(Api.END_TXN, 1): LOST, (Api.API_VERSIONS, 1): CUT, (Api.FIND_COORDINATOR, 1): CUT})
    with pytest.raises(CommitUnknownError):
        await task.commit(Commit({"committed": [Record(b"1")]}, [], {}))
    assert proxy.struck.total() == 3
    assert [value for read in await read_all(broker, "committed") for value in read.values] == [b"0", b"1"]


@pytest.mark.asyncio
async def test_the_client_does_not_forget_a_topic_s_leader_as_it_learns_of_another(proxy: Proxy, broker: KafkaBroker) -> None:
    """Once a request was cut off it knows all topics there are, and with the next new one it would know only that."""
    await broker.create_topic("old")
    proxy.plan({(Api.INIT_PRODUCER_ID, 1): CUT})
    task = await broker.open("remembers", "0", instance="one")
    await task.commit(Commit({"old": [Record(b"0")], "new": [Record(b"1")]}, [], {}))
    assert proxy.struck.total() == 1
    assert proxy.seen[Api.METADATA] < 100
