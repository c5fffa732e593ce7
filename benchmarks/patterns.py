"""Patterns: against a hand-written loop, what is passed over, long repetitions, and what a partial match holds."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import msgspec

import rxstreams as rxs
from benchmarks import data, loops, measure, pipelines
from rxstreams import Stream, operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.patterns import past_last, stage

OPEN = 100_000
LONG = (5_000, 10_000)

failed = stage("failed", lambda payment: payment.status == "failed")
paid = stage("paid", lambda payment: payment.status == "success")


def ratios(pairs: int) -> Iterator[measure.Ratio]:
    """The workload against its loop."""
    payments = data.payments(500_000)
    broker = pipelines.filled(MemoryBroker(), payments, "payments")
    three = failed.times(3).within(300)
    ends = ops.map(lambda match: (match.key, match.end))
    found = lambda: pipelines.collected(broker, _by_user().pipe(ops.detect(three, skip=past_last), ends))  # noqa: E731  # a value among values
    name = f"W7 three failures in 5 min, {len(payments):,} payments"
    yield measure.compare(name, "≥ 0.4", lambda: loops.w7(payments), found, records=len(payments), pairs=pairs)


def _by_user(out_of_orderness: float = 10.0, **options: Any) -> Stream[Any]:
    source = rxs.from_topic("payments", loops.Payment, timestamp="ts", until="end", out_of_orderness=out_of_orderness, **options)
    return source.pipe(ops.key_by("user_id"))


def rows() -> Iterator[tuple[str, str, str]]:
    """(what, figure, goal) for the table."""
    yield "an event that matches no stage, scaled", f"{statistics.median(_passed_over() for _ in range(5)):.2f} µs", "≤ 0.25 µs"
    for what, then in (("", None), (", then another stage", paid)):
        times = {n: statistics.median(_long(n, then) for _ in range(5)) for n in LONG}
        few, many = LONG
        name = f"one_or_more().greedy(), past_last{what}: {many:,} events of a key ÷ {few:,}"
        yield name, f"{times[many] / times[few]:.2f}", "≤ 2.5"
    yield f"bytes per partial match of three stages, of {OPEN:,}, beside the events", f"{_bytes_open():.0f}", "≤ 500"


def _passed_over() -> float:
    """CPU µs that such an event costs more than without the operator, on a machine on which W1 takes 300 ns."""
    template = b'{"order_id":"o-%d","payment_id":"p","user_id":"u-%d","status":"success","ts":%d}'
    broker = pipelines.filled(MemoryBroker(), [template % (i, i % 1000, data.T0 + i) for i in range(200_000)], "payments")
    without, _, _ = measure.clocked(lambda: pipelines.collected(broker, _by_user().pipe(ops.filter(lambda _: False))))
    took, _, _ = measure.clocked(lambda: pipelines.collected(broker, _by_user().pipe(ops.detect(failed.times(3).within(300)))))
    return (took - without) / 200_000 * 1e6 * measure.scale()


def _long(n: int, then: Any) -> float:
    """CPU seconds of a repetition of so many events."""
    pattern = failed.one_or_more().greedy() if then is None else failed.one_or_more().greedy().followed_by(then)
    template = b'{"order_id":"o-%d","payment_id":"p","user_id":"u","status":"%s","ts":%d}'
    last = [template % (n, b"success", data.T0 + n)]
    records = [template % (i, b"failed", data.T0 + i) for i in range(n)] + last
    broker = pipelines.filled(MemoryBroker(), records, "payments")
    took, _, found = measure.clocked(lambda: pipelines.collected(broker, _by_user().pipe(ops.detect(pattern, skip=past_last))))
    if len(found) != (n if then is None else 1):
        raise AssertionError(f"{len(found)} matches")
    return took


def _bytes_open() -> float:
    """What a partial match of a key of its own holds in memory, the events left out."""
    template = b'{"order_id":"o","payment_id":"p","user_id":"u-%d","status":"failed","ts":%d}'
    records = [template % (i % OPEN, data.T0 + i // OPEN) for i in range(3 * OPEN)]
    broker = pipelines.filled(MemoryBroker(), [*records, template % (OPEN, data.T0 + 60_000)], "payments")
    stream = _by_user(finish=False).pipe(ops.detect(failed.times(4).within(300)))
    decode = msgspec.json.Decoder(loops.Payment).decode
    values = measure.traced(lambda: [decode(value) for value in records]) - 8 * len(records)
    return (measure.traced(lambda: pipelines.hold(stream, broker)) - values) / OPEN
