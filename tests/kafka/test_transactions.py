"""A commit on Kafka is whole or not there, also where the client by itself would commit a part, or go on with what is broken."""

import asyncio
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

import rxstreams as rxs
from rxstreams import operators as ops
from rxstreams.brokers import Commit, Put, Record
from rxstreams.brokers.kafka import KafkaBroker, batches
from rxstreams.errors import BrokerError, CommitUnknownError, FencedError
from tests.kafka.outcomes import values

pytestmark = [pytest.mark.servers, pytest.mark.kafka, pytest.mark.timeout(60), pytest.mark.asyncio]


@pytest_asyncio.fixture
async def small(admin: AIOKafkaAdminClient) -> str:
    """A topic that takes small records only."""
    await admin.create_topics([NewTopic("small", 1, 1, topic_configs={"max.message.bytes": "5000"})])
    return "small"


TOO_LARGE = Record(b"x" * 6_000)
MADE = rxs.from_topic("in", int, until="end").pipe(
    ops.map(lambda n: b"x" * n), ops.to_view("all", publish=True), ops.to_topic("large")
)
"""Built here, which imports the operators: CPython 3.11 can fail to parse while it collects the garbage of clients."""


async def test_a_commit_of_which_a_record_is_refused_leaves_nothing(broker: KafkaBroker, small: str) -> None:
    """The client would commit the rest, offsets too, and so lose the record."""
    await broker.create_topic("in")
    handle = await broker.open("app", "0", instance="test")
    with pytest.raises(BrokerError, match=r"MessageSizeTooLargeError.* nothing of the commit was written"):
        await handle.commit(Commit({"out": [Record(b"1")], small: [TOO_LARGE]}, [Put("table", b"k", b"v")], {("in", 0): 7}))
    assert await values(broker, "out") == await values(broker, small) == []
    assert (await broker.read_table("table")).rows == []
    assert await broker.committed("app") == {}


async def test_after_a_refused_commit_the_handle_commits_nothing_more(broker: KafkaBroker, small: str) -> None:
    """The client would number the next batches wrongly, and fail for ever; who opens the task anew goes on."""
    handle = await broker.open("app", "0", instance="test")
    with pytest.raises(BrokerError):
        await handle.commit(Commit({small: [TOO_LARGE]}))
    with pytest.raises(BrokerError, match="MessageSizeTooLargeError"):
        await handle.commit(Commit({small: [Record(b"1")]}))
    handle = await broker.open("app", "0", instance="test")
    await handle.commit(Commit({small: [Record(b"2")]}))
    assert await values(broker, small) == [b"2"]


async def test_after_a_refused_append_others_are_made(broker: KafkaBroker, small: str) -> None:
    """By another producer; and of appends that go together, only the one that is at fault fails."""
    done = await asyncio.gather(
        *(broker.append(small, [one]) for one in (Record(b"1"), TOO_LARGE, Record(b"2"))), return_exceptions=True
    )
    assert [isinstance(one, BrokerError) for one in done] == [False, True, False]
    await broker.append(small, [Record(b"3")])
    assert sorted(await values(broker, small)) == [b"1", b"2", b"3"]  # type: ignore[type-var]  # none is None


async def test_appends_beside_a_refused_one_to_another_topic_are_made(broker: KafkaBroker, small: str) -> None:
    """They share the producer, which is given up for the refused one, and closed when nobody uses it any more."""
    for turn in range(4):
        large = [Record(b"x" * 700_000)] * 20
        done = await asyncio.gather(
            broker.append("other", large), broker.append(small, [TOO_LARGE]), broker.append("third", [Record(b"1")]),
            return_exceptions=True,
        )  # fmt: skip
        assert [isinstance(one, BrokerError) for one in done] == [False, True, False], (turn, done)
    assert [len(value or b"") for value in await values(broker, "other")] == [700_000] * 80


async def test_a_commit_that_is_cancelled_is_in_doubt(broker: KafkaBroker) -> None:
    """The client goes on with it; so the handle is over, and what became of it is told by what is there."""
    handle = await broker.open("app", "0", instance="test")
    await handle.commit(Commit({"out": [Record(b"0")]}))
    doubtful = asyncio.ensure_future(handle.commit(Commit({"out": [Record(b"1")]})))
    while not handle._producer._txn_manager.is_in_transaction():  # noqa: ASYNC110  # it has no event
        await asyncio.sleep(0)
    doubtful.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doubtful
    with pytest.raises(CommitUnknownError, match="cancelled"):
        await handle.commit(Commit({"out": [Record(b"2")]}))
    handle = await broker.open("app", "0", instance="test")
    await handle.commit(Commit({"out": [Record(b"3")]}))
    assert await values(broker, "out") in ([b"0", b"3"], [b"0", b"1", b"3"])


async def test_opening_ends_what_the_one_before_had_begun(broker: KafkaBroker) -> None:
    """Its transaction is aborted before anything is read, and it is fenced at its next commit."""
    await broker.create_topic("out")
    older: Any = await broker.open("app", "0", instance="older")
    await older._producer.begin_transaction()
    await older._producer.send_and_wait("out", b"never")
    newer = await broker.open("app", "0", instance="newer")
    assert await values(broker, "out") == []
    assert await broker._cluster.offsets("out", committed=True) == await broker._cluster.offsets("out", committed=False)
    await newer.commit(Commit({"out": [Record(b"1")]}))
    with pytest.raises(BrokerError):
        await older.commit(Commit({"out": [Record(b"2")]}))
    assert await values(broker, "out") == [b"1"]


async def test_topics_that_come_later_do_not_hide_those_that_were_there(broker: KafkaBroker) -> None:
    """The client forgets what it learnt of all topics at first when it asks for some; a commit to one then never ends."""
    await broker.create_topic("old")
    for i in range(4):
        handle = await broker.open("app", f"{i}", instance="test")
        async with asyncio.timeout(8):
            await handle.commit(Commit({f"new-{i}": [Record(b"0")], "old": [Record(b"%d" % i)]}, [Put(f"t-{i}", b"k", b"v")]))
    assert await values(broker, "old") == [b"0", b"1", b"2", b"3"]


async def test_who_is_fenced_is_told_by_whom(broker: KafkaBroker, kafka: str) -> None:
    """By name; tasks of other names do not fence each other."""
    older = await broker.open("app", "0", instance="the older")
    other = await broker.open("app", "1", instance="another task")
    await broker.open("app", "0", instance="the newer")
    with pytest.raises(FencedError, match=r"\(the older\) was fenced by a newer one \(the newer\)"):
        await older.commit(Commit({"out": [Record(b"1")]}))
    await other.commit(Commit({"out": [Record(b"2")]}))
    assert await values(broker, "out") == [b"2"]


@pytest.mark.parametrize("tested", [batches.TESTED, ()])
async def test_what_was_fetched_beside_a_partition_that_fails_is_not_lost(
    broker: KafkaBroker, admin: AIOKafkaAdminClient, tested: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client drops the records of healthy partitions with the error of another."""
    monkeypatch.setattr(batches, "TESTED", tested)
    await broker.create_topic("in", 3)
    for _ in range(2):
        for partition in range(3):
            await broker.append("in", [Record(b"%d" % partition)])
    await admin.delete_records({TopicPartition("in", 1): RecordsToDelete(1)})
    positions = {("in", partition): 0 for partition in range(3)}
    async with asyncio.timeout(20):
        for _ in range(20):
            await broker.wait(positions, timeout=0.2)
        found = [list((await broker.read("in", p, 0, max_records=10)).values) for p in range(3)]
    assert [len(one) for one in found] == [2, 1, 2]


async def test_a_run_whose_commit_is_refused_ends_and_goes_on_later(
    broker: KafkaBroker, small: str, admin: AIOKafkaAdminClient
) -> None:
    """Nothing is committed of the epoch; once the topic takes it, it is there once."""
    await broker.append("in", [Record(b"%d" % n) for n in (1, 6_000, 2)])
    await admin.create_topics(
        [NewTopic("app.view.all", 1, 1, topic_configs={"max.message.bytes": "5000", "cleanup.policy": "compact"})]
    )
    await broker.append("in", [Record(b"6000")])
    with pytest.raises(BrokerError, match="MessageSizeTooLargeError"):
        async with rxs.start(MADE, app="app", broker=broker) as running:
            await running.wait()
    assert await values(broker, "large") == []
    assert sum((await broker.committed("app")).values()) == 0
    await broker._cluster.set("app.view.all", {"max.message.bytes": "50000"})
    await broker.stop()
    await broker.start()
    async with rxs.start(MADE, app="app", broker=broker) as running:
        await running.wait()
    assert [len(value or b"") for value in await values(broker, "large")] == [1, 6_000, 2, 6_000]
