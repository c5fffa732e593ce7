"""drive: a pipeline by hand, step by step, in virtual time; and the virtual loop for what needs one."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

import rxstreams as rxs
from rxstreams import Skip, aggregates as agg, operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import ConfigError, GraphError
from rxstreams.testing import drive, virtual_loop, virtually
from rxstreams.watermarks import Late


class Order(msgspec.Struct):
    """A record."""

    user: str
    at: float
    amount: int = 1


orders = rxs.from_topic("orders", Order, timestamp="at", out_of_orderness=5.0)
per_minute = orders.pipe(ops.key_by("user"), ops.windowed(rxs.tumbling(60), n=agg.count(), total=agg.sum("amount")))


def row(value: Any) -> tuple[Any, ...]:
    """A result's key, start in seconds, and figures."""
    return value.key, value.start / 1000, value.n, value.total


def test_results_are_read_step_by_step() -> None:
    """What is new since the last look, after records, and after the watermark was moved."""
    by_hand = drive(per_minute, per_minute.late)
    by_hand.feed(Order("ann", 1.0), Order("bob", 3.0, 7), Order("ann", 64.0))
    assert by_hand.new() == []
    by_hand.feed(Order("ann", 65.0))
    assert list(map(row, by_hand.new())) == [("ann", 0, 1, 1), ("bob", 0, 1, 7)]
    by_hand.watermark(120)
    assert list(map(row, by_hand.new())) == [("ann", 60, 2, 2)]
    by_hand.feed(Order("bob", 59.0))
    assert (by_hand.new(), by_hand.values(per_minute.late)) == ([], [Late(Order("bob", 59.0), 61.0)])
    assert len(by_hand.values()) == 3


def test_state_can_be_looked_at() -> None:
    """By the user's key; windows by where they begin and the key; nothing is left when they have closed."""
    totals = orders.pipe(ops.key_by("user"), ops.aggregate(n=agg.count()))
    by_hand = drive(per_minute, totals)
    by_hand.feed(Order("ann", 1.0), Order("ann", 61.0))
    assert by_hand.state("windowed") == {(0, "ann"): [1, 1], (60_000, "ann"): [1, 1]}
    assert by_hand.state("aggregate") == {"ann": [2]}
    by_hand.end()
    assert by_hand.state("windowed") == {}
    with pytest.raises(ConfigError, match=r"state\('map'\): no such operator; those that keep something: windowed.*aggregate"):
        by_hand.state("map")


def test_a_crash_loses_nothing_and_doubles_nothing() -> None:
    """What was fed since the last commit is fed again; what had come since then comes again, and is not new."""
    stream = per_minute.pipe(ops.to_topic("out"))
    by_hand = drive(stream)
    by_hand.feed(Order("ann", 1.0))
    by_hand.commit()
    by_hand.feed(Order("ann", 2.0), Order("ann", 66.0))
    assert list(map(row, by_hand.new())) == [("ann", 0, 2, 2)]
    assert by_hand.topics == {}
    by_hand.crash()
    assert (by_hand.new(), list(map(row, by_hand.values()))) == ([], [("ann", 0, 2, 2)])
    by_hand.commit()
    by_hand.restart()
    assert [msgspec.json.decode(record.value)["n"] for record in by_hand.topics["out"]] == [2]
    by_hand.end()
    assert list(map(row, by_hand.new())) == [("ann", 60, 1, 1)]


def test_views_change_at_a_commit() -> None:
    """And a crash takes them back to it."""
    by_hand = drive(orders.pipe(ops.key_by("user"), ops.aggregate(n=agg.count()), ops.to_view("counts")))
    by_hand.feed(Order("ann", 1.0))
    assert by_hand.views == {}
    by_hand.commit()
    assert by_hand.views["counts"]["ann"].n == 1


def test_partitions_fall_silent_and_the_clock_goes_on() -> None:
    """One that is idle no longer holds time back; when all are, time goes on with the clock."""
    by_hand = drive(per_minute, start=0)
    by_hand.feed(Order("ann", 1.0), partition=1)
    by_hand.feed(Order("ann", 80.0), partition=0)
    assert by_hand.new() == []
    by_hand.idle(1)
    assert list(map(row, by_hand.new())) == [("ann", 0, 1, 1)]
    by_hand.idle(0, all_partitions=True)
    by_hand.advance(124.9)
    assert by_hand.new() == []
    by_hand.advance(0.1)
    assert list(map(row, by_hand.new())) == [("ann", 60, 1, 1)]


def test_several_sources_are_told_apart() -> None:
    """By the stream, or by the topic's name; without one where there are several it is an error that names them."""
    payments = rxs.from_topic("payments")
    both = orders.pipe(ops.map(lambda order: order.amount), ops.merge(payments))
    by_hand = drive(both)
    by_hand.feed(Order("ann", 1.0, 5), source="orders")
    by_hand.feed(7, 8, source=payments, at=["2026-01-16T10:00:00Z", 1_768_557_700])
    assert by_hand.values() == [5, 7, 8]
    with pytest.raises(ConfigError, match="source: expected one of topic:orders, topic:payments, got None"):
        by_hand.feed(1)
    with pytest.raises(ConfigError, match="got 'refunds'"):
        by_hand.end("refunds")
    with pytest.raises(ConfigError, match=r"feed\(at\): expected a time for each of the 2 values, got 1"):
        by_hand.feed(1, 2, source=payments, at=[3])
    with pytest.raises(ConfigError, match="is not driven"):
        by_hand.values(payments)


def test_bad_bytes_meet_the_policy() -> None:
    """Bytes go to the decoder as they are."""
    by_hand = drive(per_minute, on_error=Skip())
    by_hand.feed(b'{"user"', Order("ann", 1.0))
    by_hand.end()
    assert list(map(row, by_hand.new())) == [("ann", 0, 1, 1)]
    assert "DecodeError" in by_hand.lost[0] or "truncated" in by_hand.lost[0]


def test_what_waits_needs_a_loop() -> None:
    """An operator that waits says so; on a virtual loop it does not take the time that it waits."""

    async def call(value: Any) -> None:
        await asyncio.sleep(3600)

    with pytest.raises(GraphError, match="needs a running asyncio loop"):
        drive(orders.pipe(ops.to_callable(call)))
    with pytest.raises(ConfigError, match="at least one stream"):
        drive()

    async def main() -> float:
        loop = asyncio.get_running_loop()
        stream = rxs.from_iterable([1, 2]).pipe(ops.to_callable(call))
        async with rxs.start(stream, app="app", broker=MemoryBroker(), clock=loop.time) as running:
            await running.wait()
        return loop.time()

    assert virtually(main()) == pytest.approx(7200, abs=1)


def test_the_fixture_and_the_loop(virtually: Any) -> None:
    """The fixture runs a coroutine in virtual time; a loop may begin at a time of one's own."""

    async def main() -> float:
        await asyncio.sleep(86_400)
        return asyncio.get_running_loop().time()

    assert virtually(main()) == 86_400
    loop = virtual_loop(start=100)
    try:
        assert loop.time() == 100
    finally:
        loop.close()
