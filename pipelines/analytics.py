"""What the shop has sold so far, kept in a view that any process can ask.

In: the topics ``orders`` and ``payments``. Out: the published view ``analytics`` of the app ``analytics``, one row, which the
shop serves. The totals are saved with every commit: after a crash they go on where the topics were read to.

Run it beside the shop: ``python -m pipelines.analytics [--broker URL]``, then ``curl -s http://127.0.0.1:8000/analytics``:

    {"totalOrders":1,"totalRevenue":100,"avgOrderValue":100.0,"successRate":null,"asOf":1}
    {"totalOrders":2,"totalRevenue":300,"avgOrderValue":150.0,"successRate":null,"asOf":2}
    {"totalOrders":3,"totalRevenue":450,"avgOrderValue":150.0,"successRate":null,"asOf":3}
    {"totalOrders":3,"totalRevenue":450,"avgOrderValue":150.0,"successRate":100.0,"asOf":4}
    {"totalOrders":3,"totalRevenue":450,"avgOrderValue":150.0,"successRate":50.0,"asOf":5}
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cyclopts
from reactivex import Observable

import rxstreams as rxs
from pipelines.records import SHOP, Analytics, BrokerUrl, Order, Payment
from rxstreams import aggregates as agg, operators as ops

REJECTED = rxs.DeadLetter("rejected")


class Event(NamedTuple):
    """What one record adds to the totals."""

    order: int = 0
    amount: float = 0
    payment: int = 0
    paid: int = 0


def of_order(order: Order) -> Event:
    """An order counts with its amount."""
    return Event(order=1, amount=order.amount)


def of_payment(payment: Payment) -> Event:
    """A payment counts, and it is paid unless it failed."""
    return Event(payment=1, paid=int(payment.status != "failed"))


def row(totals: Any) -> Analytics:
    """The figures that are served, of the running sums."""
    return Analytics(
        total_orders=totals.orders,
        total_revenue=totals.revenue,
        avg_order_value=totals.revenue / totals.orders if totals.orders else 0.0,
        success_rate=100 * totals.paid / totals.payments if totals.payments else None,
    )


def build(orders: Observable[Order], payments: Observable[Payment]) -> tuple[rxs.Stream[Analytics]]:
    """Orders and payments into one row of totals."""
    events = orders.pipe(ops.map(of_order), ops.merge(payments.pipe(ops.map(of_payment))))
    sums = ops.aggregate(orders=agg.sum("order"), revenue=agg.sum("amount"), payments=agg.sum("payment"), paid=agg.sum("paid"))
    return (events.pipe(sums, ops.map(row), ops.to_view("analytics", publish=True)),)


def main(*, broker: BrokerUrl = SHOP) -> None:
    """Keep the shop's totals until Ctrl-C; a record that cannot be read goes to the topic ``rejected``."""
    orders = rxs.from_topic("orders", Order, on_error=REJECTED)
    payments = rxs.from_topic("payments", Payment, on_error=REJECTED)
    rxs.run(*build(orders, payments), app="analytics", broker=broker)


if __name__ == "__main__":
    cyclopts.run(main)
