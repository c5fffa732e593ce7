"""Demo 1, real-time counting: a counter and a sum that go on with every order, also after a restart.

In: the topic ``orders``. Out: a line per order, and the view ``analytics`` of the app ``counting``, printed at the end.

Run it with ``python -m pipelines.counting`` beside the shop, with ``--sample`` over the example, or with ``--input FILE``:

    Total orders: 0
    Total orders: 1
    Total orders: 2
    Total orders: 3
    { "totalOrders": 3, "totalRevenue": 450 }
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import cyclopts
from reactivex import Observable

import rxstreams as rxs
from pipelines.records import SHOP, BrokerUrl, Order
from pipelines.sampling import Input, Sample, orders_from, show
from rxstreams import aggregates as agg, operators as ops

EXAMPLE = (100, 200, 150)
APP = "counting"
NOTHING = {"totalOrders": 0, "totalRevenue": 0}


def build(orders: Observable[Order]) -> rxs.Stream[Any]:
    """Orders into rows of totalOrders and totalRevenue, one per order."""
    return orders.pipe(ops.aggregate(totalOrders=agg.count(), totalRevenue=agg.sum("amount")))


def line(total: int) -> str:
    """What is printed for each order."""
    return f"Total orders: {total}"


async def analytics(broker: str) -> dict[str, Any]:
    """The totals as of the last commit."""
    async with rxs.view(APP, "analytics", broker=broker) as view:
        row = await view.get(None, NOTHING)
    return {name: row[name] for name in NOTHING}


def main(*, sample: Sample = False, file: Input = None, broker: BrokerUrl = SHOP) -> None:
    """Count the shop's orders until Ctrl-C, and print the count with each."""
    with orders_from(EXAMPLE, Order, sample=sample, file=file, broker=broker) as (orders, home):
        show(line(asyncio.run(analytics(home))["totalOrders"]))
        rows = build(orders).pipe(ops.to_view("analytics", publish=True))
        rxs.run(rows.pipe(ops.map(lambda row: line(row.totalOrders)), ops.to_callable(show)), app=APP, broker=home)
        show(f"{{ {json.dumps(asyncio.run(analytics(home)))[1:-1]} }}")


if __name__ == "__main__":
    cyclopts.run(main)
