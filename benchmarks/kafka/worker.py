"""K2 as a pipeline: ``python -m benchmarks.kafka.worker batches|client BOOTSTRAP IN OUT``."""

from __future__ import annotations

import sys

import msgspec

import rxstreams as rxs
from rxstreams import aggregates as agg, operators as ops
from rxstreams.brokers.kafka import batches

DISORDER = 2.0


class Order(msgspec.Struct, gc=False):
    """What is read of an order."""

    user_id: str
    amount: float
    timestamp: int


class Total(msgspec.Struct):
    """What is written of a window."""

    user_id: str
    start: int
    count: int
    revenue: float


def pipeline(source: str, sink: str) -> rxs.Stream[Total]:
    """Count and sum per user and minute, topic to topic."""
    return rxs.from_topic(source, Order, timestamp="timestamp", out_of_orderness=DISORDER, until="end", finish=False).pipe(
        ops.key_by("user_id"),
        ops.windowed(rxs.tumbling(60), count=agg.count(), revenue=agg.sum("amount")),
        ops.map(lambda window: Total(window.key, window.start, window.count, round(window.revenue, 2))),
        ops.to_topic(sink),
    )


def main(way: str, bootstrap: str, source: str, sink: str) -> None:
    """Run it to the end of the topic; ``client`` reads by the client's public way."""
    if way == "client":
        batches.TESTED = ()
    rxs.run(pipeline(source, sink), app=f"rxstreams-{sink}", broker=f"kafka://{bootstrap}", commit_interval=0.1)


if __name__ == "__main__":
    main(*sys.argv[1:5])
