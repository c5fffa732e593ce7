"""from_topic: what it decodes, where it begins and ends, and how it reads outside a run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypedDict

import msgspec
import pytest

import rxstreams as rxs
from rxstreams import operators as ops
from rxstreams.brokers import Record, Retention
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import BrokerError, ConfigError
from rxstreams.stream import Stream


class AsStruct(msgspec.Struct):
    """A record as a Struct."""

    n: int


@dataclass
class AsDataclass:
    """A record as a dataclass."""

    n: int


class AsTypedDict(TypedDict):
    """A record as a TypedDict."""

    n: int


async def filled(*numbers: int, partitions: int = 1) -> MemoryBroker:
    """A broker with ``{"n": number}`` records, number n with the timestamp n × 1000."""
    broker = MemoryBroker()
    await broker.start()
    await broker.create_topic("in", partitions)
    for n in numbers:
        await broker.append("in", [Record(b'{"n":%d}' % n, timestamp=1_700_000_000_000 + n * 1000)])
    return broker


async def values(broker: MemoryBroker, stream: Stream[Any], app: str = "app") -> list[Any]:
    """What a run to the end of ``stream`` brings."""
    seen: list[Any] = []
    async with rxs.start(stream.pipe(ops.to_callable(seen.append)), app=app, broker=broker) as running:
        await running.wait()
    return seen


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("type", "expected"),
    [
        (AsStruct, AsStruct(1)),
        (AsDataclass, AsDataclass(1)),
        (AsTypedDict, {"n": 1}),
        (dict, {"n": 1}),
        (dict[str, int], {"n": 1}),
        (bytes, b'{"n":1}'),
        (Any, {"n": 1}),
    ],
)
async def test_a_record_becomes_what_was_asked_for(type: Any, expected: Any) -> None:
    """Struct, dataclass, TypedDict, dict, bytes and any JSON; a field is read of each by name."""
    broker = await filled(1)
    assert await values(broker, rxs.from_topic("in", type, until="end")) == [expected]
    if type is not bytes:
        rows = await values(broker, rxs.from_topic("in", type, until="end").pipe(ops.key_by("n")), app="keyed")
        assert rows == [expected]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (None, [1, 2, 3]),
        ("earliest", [1, 2, 3]),
        ("latest", []),
        (1_700_000_002.0, [2, 3]),
        (datetime.fromtimestamp(1_700_000_003, UTC), [3]),
    ],
)
async def test_the_first_start_begins_where_it_is_told(start: Any, expected: list[int]) -> None:
    """Earliest is a run's default; a time begins at the first record that has it or a later one."""
    broker = await filled(1, 2, 3)
    found = await values(broker, rxs.from_topic("in", AsStruct, start=start, until="end"))
    assert [one.n for one in found] == expected


@pytest.mark.asyncio
async def test_a_later_start_goes_on_whatever_the_first_was_told() -> None:
    """``start`` counts once; with ``finish=False`` the end of the topic is only where this run stops."""
    broker = await filled(1, 2)
    stream = rxs.from_topic("in", AsStruct, start="latest", until="end", finish=False)
    assert await values(broker, stream) == []
    await broker.append("in", [Record(b'{"n":3}')])
    assert await values(broker, stream) == [AsStruct(3)]
    assert await values(broker, stream) == []


@pytest.mark.asyncio
async def test_a_time_as_end_stops_before_the_first_record_from_then_on() -> None:
    """``until`` a time leaves out the record that has just that time."""
    broker = await filled(1, 2, 3)
    found = await values(broker, rxs.from_topic("in", AsStruct, until=1_700_000_003.0))
    assert [one.n for one in found] == [1, 2]


@pytest.mark.asyncio
async def test_a_finished_app_says_so_and_does_nothing() -> None:
    """The end of a bounded input is committed: new records are for another app."""
    broker = await filled(1)
    stream = rxs.from_topic("in", AsStruct, until="end")
    assert len(await values(broker, stream)) == 1
    await broker.append("in", [Record(b'{"n":2}')])
    assert await values(broker, stream) == []
    assert len(await values(broker, stream, app="another")) == 2


@pytest.mark.asyncio
async def test_retention_waits_for_an_app_that_is_behind() -> None:
    """What a registered app has not read is never deleted, so it goes on where it was."""
    broker = await filled(1, 2, 3)
    stream = rxs.from_topic("in", AsStruct, until="end", finish=False)
    await values(broker, stream)
    await broker.create_topic("in", retention=Retention(max_bytes=0))
    for n in range(4, 9):
        await broker.append("in", [Record(b'{"n":%d}' % n)])
    assert [one.n for one in await values(broker, stream)] == [4, 5, 6, 7, 8]


@pytest.mark.asyncio
async def test_a_new_partition_is_read_from_its_start() -> None:
    """Partitions that were added after the last commit lose nothing."""
    broker = await filled(1)
    stream = rxs.from_topic("in", AsStruct, until="end", finish=False)
    await values(broker, stream)
    await broker.create_topic("in", 3)
    for n in range(2, 8):
        await broker.append("in", [Record(b'{"n":%d}' % n)])
    assert sorted(one.n for one in await values(broker, stream)) == [2, 3, 4, 5, 6, 7]
    assert sum((await broker.committed("app")).values()) == 7


@pytest.mark.asyncio
async def test_a_subscription_reads_what_comes_from_now_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside a run a topic is followed from its end, and leaving the loop leaves no task behind."""
    monkeypatch.setenv("RXSTREAMS_BROKER", "memory://followed")
    broker = MemoryBroker("followed")
    await broker.start()
    await broker.append("in", [Record(b'{"n":1}')])
    before = asyncio.all_tasks()

    async def first() -> Any:
        async for value in rxs.from_topic("in", AsStruct):
            return value

    async def feed() -> None:
        for n in range(2, 1000):
            await broker.append("in", [Record(b'{"n":%d}' % n)])
            await asyncio.sleep(0.001)

    feeding = asyncio.create_task(feed())
    found = await asyncio.wait_for(first(), 5)
    feeding.cancel()
    await asyncio.gather(feeding, return_exceptions=True)
    assert found.n >= 2
    for _ in range(5):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


def test_a_subscription_without_a_loop_is_an_error_with_the_remedy() -> None:
    """A topic is read by a loop, so the error says where to subscribe."""
    with pytest.raises(ConfigError, match="needs a running asyncio loop"):
        rxs.from_topic("in").subscribe()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"start": "first"}, r"from_topic\(start\): expected 'earliest', 'latest' or a time, got 'first'"),
        ({"until": datetime(2026, 1, 1)}, r"from_topic\(until\).*naive datetime"),  # noqa: DTZ001  # just that is refused
        ({"out_of_orderness": -1}, r"from_topic\(out_of_orderness\): expected at least 0.0 seconds, got -1"),
        ({"max_ahead": "1d"}, r"from_topic\(max_ahead\): expected seconds as a finite number"),
        ({"timestamp": 5}, r"from_topic\(timestamp\): expected a field's name, a function of the value, or None, got 5"),
        ({"on_error": "skip"}, r"from_topic: on_error expects"),
        ({"on_error": rxs.Retry(2, backoff=1.0)}, r"cannot wait"),
    ],
)
def test_wrong_arguments_are_refused_when_the_stream_is_built(arguments: dict[str, Any], words: str) -> None:
    """The message names the argument, what was expected and what came."""
    with pytest.raises(ConfigError, match=words):
        rxs.from_topic("in", **arguments)


def test_a_type_that_cannot_be_decoded_is_refused_when_the_stream_is_built() -> None:
    """A union that no decoder could tell apart fails before anything runs."""
    ambiguous: Any = AsStruct | AsDataclass
    with pytest.raises(ConfigError, match="cannot decode JSON into"):
        rxs.from_topic("in", ambiguous)


@pytest.mark.asyncio
async def test_a_partition_with_a_backlog_holds_time_until_it_is_read() -> None:
    """Partitions are read one after the other, but no record of the second is behind the time that the first has come to."""
    broker = MemoryBroker()
    await broker.start()
    await broker.create_topic("in", 2)
    values = [Record(b'{"n":%d}' % n, key, timestamp=n * 1000) for n in range(5000) for key in (b"a", b"d")]
    await broker.append("in", values)
    assert all(await broker.end_offsets("in")), "both partitions have records"
    late: list[int] = []

    class Late:
        """Notes records that are behind the watermark."""

        def open(self) -> None: ...
        def process(self, state: None, key: Any, value: Any, time: int, ctx: Any) -> None:
            if time < ctx.watermark:
                late.append(value["n"])

        def on_timer(self, state: None, key: Any, time: int, ctx: Any) -> None: ...

    stream = rxs.from_topic("in", dict, until="end").pipe(ops.process(Late()))
    async with rxs.start(stream, app="late", broker=broker) as running:
        await running.wait()
    # Within a partition nothing is out of order; the other one may be ahead by what is fetched at once, never before its start.
    assert late == []


@pytest.mark.asyncio
async def test_records_that_are_deleted_while_a_run_is_behind_are_an_error() -> None:
    """A gap at the start of the log is told from one that a broker's numbering makes."""
    broker = await filled(1, 2, 3)
    feed = rxs.from_topic("in", AsStruct).operation.ends
    chunks = feed.chunks(broker, None, first=None, saved={})
    assert len((await anext(chunks)).values) == 0, "the backlog is announced"
    await broker.create_topic("in", retention=Retention(max_bytes=0))
    await broker.append("in", [Record(b'{"n":4}')])
    with pytest.raises(BrokerError, match="was deleted unread"):
        await anext(chunks)
