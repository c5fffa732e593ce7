"""Clients that have lost the task that works for them are made anew, and what waits for brokers is bounded."""

import asyncio

import pytest

import rxstreams as rxs
from rxstreams import operators as ops
from rxstreams.brokers import Commit, Record
from rxstreams.brokers.kafka import KafkaBroker, faults, writing
from rxstreams.errors import BrokerError, CommitUnknownError
from rxstreams.testing.brokers import read_all
from tests.kafka.outcomes import values

pytestmark = [pytest.mark.servers, pytest.mark.kafka, pytest.mark.timeout(120), pytest.mark.asyncio]


LARGE = Record(b"x" * 800_000)
"""Of which each is a batch; a batch waits for the one before it."""


async def killed(task: "asyncio.Task[None]") -> None:
    """End a client's own task, as an error in it would."""
    task.cancel()
    await asyncio.wait([task])


async def test_a_reader_whose_client_fetches_no_more_is_given_another(broker: KafkaBroker) -> None:
    """The read that finds it out fails, and the next one reads on."""
    await broker.append("in", [Record(b"0")])
    assert [list(read.values) for read in await read_all(broker, "in")] == [[b"0"]]
    await killed(broker._reader._topics["in"].client._fetcher._fetch_task)
    await broker.append("in", [Record(b"1")])
    with pytest.raises(BrokerError, match=r"no records come from offset 1 on, and there are some up to offset 2; .* anew"):
        await broker.read("in", 0, 1, max_records=10)
    assert list((await broker.read("in", 0, 1, max_records=10)).values) == [b"1"]


async def test_a_run_goes_on_when_its_client_fetches_no_more(broker: KafkaBroker) -> None:
    """It begins anew, and nothing is lost or doubled; a fetch that was under way may still bring a record."""
    await broker.append("in", [Record(b"0")])
    appended = [b"0"]
    async with rxs.start(rxs.from_topic("in", int).pipe(ops.to_topic("out")), app="copy", broker=broker) as running:
        async with asyncio.timeout(30):
            while running.statistics.epochs == 0:  # noqa: ASYNC110  # a run has no event for it
                await asyncio.sleep(0.01)
            await killed(broker._reader._topics["in"].client._fetcher._fetch_task)
            while running.statistics.restarts == 0:
                appended.append(b"%d" % len(appended))
                await broker.append("in", [Record(appended[-1])])
                await asyncio.sleep(0.2)
            while sum(row.records for row in await rxs.lag("copy", broker=broker)):  # noqa: ASYNC110  # ditto
                await asyncio.sleep(0.05)
    assert await values(broker, "out") == appended


@pytest.mark.parametrize("records", [1, 3])
async def test_appends_get_another_producer_when_the_last_sends_no_more(
    broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch, records: int
) -> None:
    """The append that finds it out fails; the next one is made."""
    await broker.append("in", [Record(b"0")])
    monkeypatch.setattr(writing, "_DEADLINE", 1.0)
    producer = broker._appender._producer
    assert producer is not None
    await killed(producer._sender.sender_task)
    with pytest.raises(BrokerError):
        await broker.append("in", [LARGE] * records)
    await broker.append("in", [Record(b"2")])
    assert await values(broker, "in") == [b"0", b"2"]


@pytest.mark.parametrize("records", [1, 3])
async def test_a_commit_whose_producer_sends_no_more_is_in_doubt(
    broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch, records: int
) -> None:
    """And over in time: whether it took place, only who opens the task anew can tell."""
    monkeypatch.setattr(rxs.brokers.kafka.tasks, "_DEADLINE", 1.0)
    handle = await broker.open("app", "0", instance="test")
    await handle.commit(Commit({"out": [Record(b"0")]}))
    await killed(handle._producer._sender.sender_task)
    with pytest.raises(CommitUnknownError):
        await handle.commit(Commit({"out": [LARGE] * records}))
    handle = await broker.open("app", "0", instance="test")
    await handle.commit(Commit({"out": [Record(b"2")]}))
    assert await values(broker, "out") == [b"0", b"2"]


async def test_a_client_that_cannot_reach_the_brokers_is_made_anew(broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that knows them by addresses that they no longer have would never find them again."""
    await broker.create_topic("in")
    monkeypatch.setattr(faults, "PATIENCE", 0.3)
    client = broker._cluster._client
    assert client is not None
    with monkeypatch.context() as lost:
        for connection in list(client._conns.values()):
            connection.close()
        lost.setattr(client.cluster, "broker_metadata", lambda node: None)
        with pytest.raises(BrokerError):
            await broker.end_offsets("in")
    assert await broker.end_offsets("in") == [0]
    assert broker._cluster._client is not client


async def test_a_producer_is_renewed_before_it_numbers_its_records_wrongly(
    broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Aiokafka's numbers go wrong after 2³¹ records of a partition: an append gets another producer, a task is opened anew."""
    monkeypatch.setattr(writing, "_MOST", 3)
    await broker.append("in", [Record(b"0"), Record(b"1")])
    first = broker._appender._producer
    await broker.append("in", [Record(b"2")])
    await broker.append("in", [Record(b"3")])
    assert broker._appender._producer is not first
    handle = await broker.open("app", "0", instance="test")
    await handle.commit(Commit({"out": [Record(b"%d" % i) for i in range(3)]}))
    with pytest.raises(BrokerError, match="its producer has to be renewed; open the task anew"):
        await handle.commit(Commit({"out": [Record(b"3")]}))
    handle = await broker.open("app", "0", instance="test")
    await handle.commit(Commit({"out": [Record(b"3")]}))
    for topic in ("in", "out"):
        assert await values(broker, topic) == [b"0", b"1", b"2", b"3"]
