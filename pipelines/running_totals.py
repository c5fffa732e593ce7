"""Demo 3, running totals: revenue, average, least and greatest order, updated by each order and kept for ever.

In: the topic ``orders``. Out: a line per order, and the published view ``totals`` of the app ``running-totals``. The state is
saved with every commit, so a restart goes on from there.

Run it with ``python -m pipelines.running_totals`` beside the shop, with ``--sample`` over the example, or with ``--input FILE``;
after the example's three orders, the shop's next would print the last two of these:

    Running Total: 100, Avg: 100
    Running Total: 600, Avg: 300
    Running Total: 800, Avg: 267
    Running Total: 1000, Avg: 250
    Running Total: 1049.50, Avg: 210
"""

from __future__ import annotations

from math import floor
from typing import Any

import cyclopts
from reactivex import Observable

import rxstreams as rxs
from pipelines.records import SHOP, BrokerUrl, Order
from pipelines.sampling import Input, Sample, orders_from, show
from rxstreams import aggregates as agg, operators as ops

EXAMPLE = (100, 500, 200)


def build(orders: Observable[Order]) -> rxs.Stream[Any]:
    """Orders into rows of total, average, least and greatest, one per order."""
    return orders.pipe(
        ops.aggregate(total=agg.sum("amount"), average=agg.mean("amount"), least=agg.min("amount"), greatest=agg.max("amount"))
    )


def line(row: Any) -> str:
    """What is printed for each order: the total to the cent, the average rounded to the unit, halves up."""
    return f"Running Total: {f'{row.total:.2f}'.removesuffix('.00')}, Avg: {floor(row.average + 0.5)}"


def main(*, sample: Sample = False, file: Input = None, broker: BrokerUrl = SHOP) -> None:
    """Keep the running totals of the shop's orders until Ctrl-C, and print them with each."""
    with orders_from(EXAMPLE, Order, sample=sample, file=file, broker=broker) as (orders, home):
        rows = build(orders).pipe(ops.to_view("totals", publish=True))
        rxs.run(rows.pipe(ops.map(line), ops.to_callable(show)), app="running-totals", broker=home)


if __name__ == "__main__":
    cyclopts.run(main)
