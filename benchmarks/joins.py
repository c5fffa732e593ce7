"""Joins and deduplication: against hand-written loops, what a waiting record holds, and many that come out alone at once."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

import rxstreams as rxs
from benchmarks import data, loops, measure, pipelines
from rxstreams import Stream, operators as ops
from rxstreams.brokers import Broker
from rxstreams.brokers.memory import MemoryBroker

DISORDER = {"orders": 5.0, "payments": 10.0}
"""Seconds by which the topics' records are out of order at most."""
FOR_EVER = 10**9
WAITING = 1_000_000
AT_ONCE = 100_000


def ratios(pairs: int) -> Iterator[measure.Ratio]:
    """The workloads against their loops."""
    merged = data.merged(200_000)
    both = _both(merged)
    join = lambda: pipelines.collected(both, _joined())  # noqa: E731  # a value among values
    name = f"W4 join of orders and payments within 5 min, {len(merged):,} records"
    yield measure.compare(name, "≥ 0.65", lambda: loops.w4(merged), join, records=len(merged), same=_same_rows, pairs=pairs)
    many = data.orders(500_000)[:-1]  # at the 500,000th record of an epoch there is a commit, and the loop has none
    orders = pipelines.memory(many)
    once = lambda: pipelines.collected(orders, _source("orders", loops.Order).pipe(ops.dedup("id", ttl=3600)))  # noqa: E731
    name = f"W5 dedup, 1 h, {len(many):,} records"
    yield measure.compare(name, "≥ 0.7", lambda: loops.w5(many), once, records=len(many), pairs=pairs)


def _both(merged: Sequence[tuple[int, bytes]]) -> Broker:
    """A broker with the records in two topics."""
    broker: Broker = MemoryBroker()
    for side, topic in enumerate(("orders", "payments")):
        broker = pipelines.filled(broker, [value for which, value in merged if which == side], topic)
    return broker


def _source(topic: str, kind: Any, **options: Any) -> Stream[Any]:
    return rxs.from_topic(topic, kind, timestamp="ts", until="end", **{"out_of_orderness": DISORDER[topic], **options})


def _joined() -> Stream[Any]:
    """As W4: each order with its payment's id."""
    payments = _source("payments", loops.Payment).pipe(ops.key_by("order_id"))
    orders = _source("orders", loops.Order).pipe(ops.key_by("id"))
    return orders.pipe(ops.interval_join(payments, within=300), ops.map(lambda pair: (pair[0].id, pair[1].payment_id)))


def _same_rows(expected: list[Any], got: list[Any]) -> bool:
    return sorted(expected) == sorted(got)


def rows() -> Iterator[tuple[str, str, str]]:
    """(what, figure, goal) for the table."""
    inner, left = (f"{_bytes_waiting(how):.0f}" for how in ("inner", "left"))
    yield f"bytes per order that waits for its payment, beside the order, of {WAITING:,}", inner, "≤ 300"
    yield "the same in a left join", left, "≤ 300"
    seconds = statistics.median(_alone_at_once() for _ in range(3))
    yield f"left join, {AT_ONCE:,} without a partner at one watermark, scaled", f"{seconds:.2f} s", "≤ 0.3 s"


def _bytes_waiting(how: Any) -> float:
    """What a waiting order holds in memory, the order left out."""
    template = b'{"id":"o-%d","user_id":"u","amount":1.5,"ts":%d}'
    broker = pipelines.memory([template % (i, data.T0 + i) for i in range(WAITING)])
    payments = rxs.from_topic("payments", loops.Payment, timestamp="ts", until="end", finish=False).pipe(ops.key_by("order_id"))
    orders = _source("orders", loops.Order, out_of_orderness=FOR_EVER, finish=False).pipe(ops.key_by("id"))
    stream = orders.pipe(ops.interval_join(payments, within=300, how=how))

    decode = msgspec.json.Decoder(loops.Order).decode
    values = measure.traced(lambda: [decode(template % (i, data.T0 + i)) for i in range(WAITING)]) - 8 * WAITING
    return (measure.traced(lambda: pipelines.hold(stream, broker)) - values) / WAITING


def _alone_at_once() -> float:
    """CPU seconds from the watermark to the last of its results, on a machine on which W1 takes 300 ns."""
    template = b'{"id":"o-%d","user_id":"u","amount":1.5,"ts":%d}'
    records = [template % (i, data.T0 + i % 1000) for i in range(AT_ONCE)]
    payments = rxs.from_topic("payments", loops.Payment, timestamp="ts").pipe(ops.key_by("order_id"))
    orders = rxs.from_topic("orders", loops.Order, timestamp="ts").pipe(ops.key_by("id"))
    drive = rxs.testing.drive(orders.pipe(ops.interval_join(payments, within=300, how="left")))
    drive.feed(*records, source="orders")

    def come() -> None:
        for source in ("orders", "payments"):
            drive.watermark(data.T0 / 1000 + 400, source=source)

    took, _, _ = measure.clocked(come)
    if len(drive.values()) != AT_ONCE:
        raise AssertionError(f"{len(drive.values()):,} of {AT_ONCE:,} results")
    return took * measure.scale()
