"""Bad records in a topic: the policy decides about each, and its neighbours do not notice."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import pytest

import rxstreams as rxs
from rxstreams import operators as ops
from rxstreams.brokers import Record
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import DecodeError, TimestampError

NOW = datetime(2026, 1, 16, 10, tzinfo=UTC)


class Order(msgspec.Struct):
    """What the topic should hold."""

    id: int
    amount: float
    at: datetime


def order(number: int, at: datetime = NOW) -> bytes:
    """A good record."""
    return msgspec.json.encode(Order(number, 1.5, at))


BAD = {
    "malformed": b'{"id": 1, "amount": ',
    "wrong type": b'{"id": "one", "amount": 1.5, "at": "2026-01-16T10:00:00Z"}',
    "missing field": b'{"id": 1, "amount": 1.5}',
    "empty": b"",
    "no JSON at all": b"\x00\xff\xfe",
    "5 MB long": b'{"id": 1, "amount": 1.5, "at": "' + b"9" * 5_000_000 + b'"}',
    "naive time": b'{"id": 1, "amount": 1.5, "at": "2026-01-16T10:00:00"}',
    "absurd time": order(1, datetime(2299, 1, 1, tzinfo=UTC)),
    "tombstone": None,
}


async def run(
    values: Sequence[bytes | None], policy: rxs.Skip | rxs.DeadLetter | rxs.Retry | None, app: str = "bad"
) -> MemoryBroker:
    """Read ``values`` as orders with their own times, and write their ids to the topic ``ids``."""
    broker = MemoryBroker()
    await broker.start()
    await broker.append("orders", [Record(value, key=b"k", headers=(("who", b"me"),)) for value in values])
    # Two kinds of reading: to the end as a replay would, but with the check of the clock that live sources have.
    orders = rxs.from_topic("orders", Order, timestamp="at", on_error=policy)
    out = orders.pipe(ops.map(lambda one: one.id), ops.to_topic("ids"))
    async with rxs.start(out, app=app, broker=broker, clock=NOW.timestamp) as running:
        while (await broker.committed(app)).get(("orders", 0), 0) < len(values):
            await broker.wait({("ids", 0): (await _ends(broker, "ids"))[0]}, timeout=0.01)
            if running._worker is not None and running._worker.done():
                break
    return broker


async def _ends(broker: MemoryBroker, topic: str) -> list[int]:
    return await broker.end_offsets(topic) if topic in await broker.topics() else [0]


async def read(broker: MemoryBroker, topic: str) -> list[bytes | None]:
    """All values of a topic's one partition."""
    return list((await broker.read(topic, 0, 0, max_records=100_000, max_bytes=1 << 40)).values)


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", BAD)
async def test_a_bad_record_goes_to_the_dead_letters_and_its_neighbours_go_on(kind: str) -> None:
    """The dead letter holds the original bytes and where they came from; the records before and after are results."""
    broker = await run([order(0), BAD[kind], order(2)], rxs.DeadLetter("dead"))
    assert await read(broker, "ids") == [b"0", b"2"]
    dead = await broker.read("dead", 0, 0, max_records=10, max_bytes=1 << 40)
    assert list(dead.values) == [BAD[kind] if BAD[kind] is not None else b"null"]
    assert dead.keys == [b"k"]
    assert dead.headers is not None
    headers = dict(dead.headers[0])
    assert (headers["who"], headers["rxs.topic"], headers["rxs.partition"], headers["rxs.offset"]) == (
        b"me",
        b"orders",
        b"0",
        b"1",
    )
    assert headers["rxs.attempts"] == b"1"
    assert headers["rxs.stage"].startswith(b"from_topic(name='orders'")
    assert len(headers["rxs.error"]) < 2_000


@pytest.mark.asyncio
async def test_every_bad_record_is_skipped_and_counted() -> None:
    """With Skip only the good ones are results, whatever stands between them."""
    values = [value for bad in BAD.values() for value in (order(7), bad)]
    broker = await run([*values, order(8)], rxs.Skip())
    assert await read(broker, "ids") == [b"7"] * len(BAD) + [b"8"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kind", "error"), [("malformed", DecodeError), ("absurd time", TimestampError), ("naive time", TimestampError)]
)
async def test_without_a_policy_the_run_stops_and_says_where(kind: str, error: type[Exception]) -> None:
    """The message names source, partition and offset, and nothing of the epoch is committed."""
    with pytest.raises(error, match=r"topic:orders, partition 0"):
        await run([order(0), BAD[kind]], None)


@pytest.mark.asyncio
async def test_ten_thousand_mutated_records_never_crash_a_run() -> None:
    """Whatever bytes come, a record either decodes or is a dead letter with its very bytes, and none is lost."""
    chance = random.Random(7)
    values = [_mutated(chance, order(number)) for number in range(10_000)]
    broker = await run(values, rxs.DeadLetter("dead"))
    good, dead = await read(broker, "ids"), await read(broker, "dead")
    assert len(good) + len(dead) == len(values)
    left = iter(values)
    assert all(any(value == letter for value in left) for letter in dead), "the dead letters are the inputs, in order"
    assert 1_000 < len(dead) < 9_999


def _mutated(chance: random.Random, value: bytes) -> bytes:
    out = bytearray(value)
    for _ in range(chance.randrange(0, 4)):
        match chance.randrange(3):
            case 0:
                out[chance.randrange(len(out))] = chance.randrange(256)
            case 1:
                del out[chance.randrange(len(out)) :][:1]
            case _:
                out[chance.randrange(len(out)) : 0] = bytes([chance.randrange(256)])
    return bytes(out)
