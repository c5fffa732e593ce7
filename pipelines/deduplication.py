"""Demo 8, deduplication: each order once, however often it is sent within an hour.

In: the topic ``orders``, by each order's ``timestamp``. Out: a line per order that is new, and one per order whose id came in the
hour before; after that it is forgotten, so that memory does not grow for ever. The ids are saved with each commit: what was sent
before a crash and is sent again after it is a duplicate still.

Run it with ``python -m pipelines.deduplication`` beside the shop, with ``--sample`` over the example, or with ``--input FILE``:

    Processing order-123
    Duplicate detected: order-123
    Processing order-456
"""

from __future__ import annotations

import cyclopts
from reactivex import Observable

import rxstreams as rxs
from pipelines.records import SHOP, BrokerUrl, Order
from pipelines.sampling import Input, Sample, orders_from, show
from rxstreams import operators as ops
from rxstreams.watermarks import Late

EXAMPLE = [
    {"id": "order-123", "amount": 100, "timestamp": "2026-01-16T10:00:00Z"},
    {"id": "order-123", "amount": 100, "timestamp": "2026-01-16T10:00:05Z"},
    {"id": "order-456", "amount": 100, "timestamp": "2026-01-16T10:00:10Z"},
    {"id": "order-123", "amount": 100, "timestamp": "2026-01-16T11:00:00Z"},
]


def build(orders: Observable[Order], ttl: float = 3600) -> rxs.Stream[str]:
    """Orders into lines: of each that is new, of each that is not, and of each that comes too late to tell."""
    once = orders.pipe(ops.dedup("id", ttl=ttl))
    return once.pipe(ops.map(processing), ops.merge(once.duplicates.pipe(ops.map(duplicate)), once.late.pipe(ops.map(too_late))))


def processing(order: Order) -> str:
    """The line of an order that is new; here a service would do its work."""
    return f"Processing {order.id}"


def duplicate(order: Order) -> str:
    """The line of an order that was there already."""
    return f"Duplicate detected: {order.id}"


def too_late(late: Late[Order]) -> str:
    """The line of an order that is so old that its id may be forgotten."""
    return f"Too late to tell: {late.record.id}, {late.by:g} s behind the watermark"


def main(*, sample: Sample = False, file: Input = None, broker: BrokerUrl = SHOP, ttl: float = 3600) -> None:
    """Tell new orders of the shop from duplicates, until Ctrl-C; ``ttl`` is the seconds for which an id is remembered."""
    with orders_from(EXAMPLE, Order, sample=sample, file=file, broker=broker, timestamp="timestamp") as (orders, home):
        rxs.run(build(orders, ttl).pipe(ops.to_callable(show)), app="deduplication", broker=home)


if __name__ == "__main__":
    cyclopts.run(main)
