"""Patterns: against a hand-written loop, what is passed over, long repetitions, and what a partial match holds."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from itertools import count
from typing import Any

import msgspec

import rxstreams as rxs
from benchmarks import data, loops, measure, pipelines
from rxstreams import Stream, operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.brokers.sqlite import SqliteBroker
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
    for each, goal in ((10, "≤ 500"), (1, "–")):
        what = f"bytes per partial match of three stages, beside the events: {OPEN:,}, {each} of a key"
        yield what, f"{_bytes_open(each):.0f}", goal


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


def _bytes_open(each: int) -> float:
    """What a partial match holds in memory where a key has so many, without the events; the state table is in a file."""
    keys = OPEN // each
    template = b'{"order_id":"o","payment_id":"p","user_id":"u-%d","status":"%s","ts":%d}'
    times = count(data.T0)
    records = [template % (key, status, next(times)) for _ in range(each) for key in range(keys) for status in (b"a", b"b", b"c")]
    a, b, c, d = (stage(status, lambda payment, status=status: payment.status == status) for status in "abcd")
    stream = _by_user(finish=False).pipe(ops.detect(a.followed_by(b).followed_by(c).followed_by(d).within(3600)))
    decode = msgspec.json.Decoder(loops.Payment).decode
    values = measure.traced(lambda: [decode(value) for value in records]) - 8 * len(records)
    with tempfile.TemporaryDirectory() as folder:
        broker = pipelines.filled(
            SqliteBroker(f"{folder}/bench.db"), [*records, template % (keys, b"d", next(times) + 60_000)], "payments"
        )
        return (measure.traced(lambda: pipelines.hold(stream, broker)) - values) / OPEN
