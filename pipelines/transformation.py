"""Demo 7, filtering and transformation: filter, map, reduce; the orders above $1000, in Vietnamese dong.

In: the topic ``orders``. Out: a line per high-value order with the total so far, which is saved with every commit. Over input
that ends, only the last line is left: a fold that is printed as it grows is a scan, its last value is the reduce.

Run it with ``python -m pipelines.transformation`` beside the shop, with ``--sample`` over the example (it prints the second of
these), or with ``--input FILE``:

    Total high-value orders (VND): 36,000,000
    Total high-value orders (VND): 84,000,000
    Total high-value orders (VND): 108,024,000
    Total high-value orders (VND): 156,024,000
    Total high-value orders (VND): 228,024,000
"""

from __future__ import annotations

from operator import add, attrgetter

import cyclopts
from reactivex import Observable

import rxstreams as rxs
from pipelines.records import SHOP, BrokerUrl, Order
from pipelines.sampling import Input, Sample, orders_from, show
from rxstreams import operators as ops

EXAMPLE = (500, 1500, 800, 2000)
HIGH_VALUE = 1000
VND_PER_USD = 24_000


def build(orders: Observable[Order]) -> rxs.Stream[float]:
    """Orders into the total of the high-value ones in VND, one per high-value order."""
    return orders.pipe(
        ops.map(attrgetter("amount")),
        ops.filter(lambda usd: usd > HIGH_VALUE),
        ops.map(lambda usd: usd * VND_PER_USD),
        ops.scan(add, 0),
    )


def line(total: float) -> str:
    """What is printed for a total."""
    return f"Total high-value orders (VND): {total:,.0f}"


def main(*, sample: Sample = False, file: Input = None, broker: BrokerUrl = SHOP) -> None:
    """Add up the shop's high-value orders in VND until Ctrl-C, and print the total with each."""
    with orders_from(EXAMPLE, Order, sample=sample, file=file, broker=broker) as (orders, home):
        totals = build(orders)
        if sample or file:
            totals = totals.pipe(ops.reduce(lambda _, total: total, 0))
        rxs.run(totals.pipe(ops.map(line), ops.to_callable(show)), app="transformation", broker=home)


if __name__ == "__main__":
    cyclopts.run(main)
