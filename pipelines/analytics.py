"""What the shop has sold so far, and in each of the last minutes, kept in views that any process can ask.

In: the topics ``orders`` and ``payments``. Out: two published views of the app ``analytics``, which the shop serves as one:
``analytics``, one row of totals, and ``orders-per-minute``, a row for each of the last minutes. All is saved with every commit:
after a crash it goes on where the topics were read to.

Run it beside the shop: ``python -m pipelines.analytics [--broker URL]``, then ``curl -s http://127.0.0.1:8000/analytics``:

    {"totalOrders":1,"totalRevenue":100,"avgOrderValue":100.0,"successRate":null,"ordersPerMinute":[1],"asOf":1}
    {"totalOrders":2,"totalRevenue":300,"avgOrderValue":150.0,"successRate":null,"ordersPerMinute":[2],"asOf":2}
    {"totalOrders":3,"totalRevenue":450,"avgOrderValue":150.0,"successRate":null,"ordersPerMinute":[2,1],"asOf":3}
    {"totalOrders":3,"totalRevenue":450,"avgOrderValue":150.0,"successRate":100.0,"ordersPerMinute":[2,1],"asOf":4}
    {"totalOrders":3,"totalRevenue":450,"avgOrderValue":150.0,"successRate":50.0,"ordersPerMinute":[2,1],"asOf":5}
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

import cyclopts
from reactivex import Observable

import rxstreams as rxs
from pipelines.records import SERVED_MINUTES, SHOP, Analytics, BrokerUrl, Order, Payment
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


def made_at(order: Order) -> datetime:
    """When an order was made. One whose clock is ahead counts as of now, or it would close the minutes of all the others."""
    return min(order.timestamp, datetime.now(UTC))


def has_news(minute: rxs.Windowed) -> bool:
    """Whether a result came with an order. The one that comes when a minute closes repeats the last; and if it is an order an
    hour later that closes it, the slot is that order's by then.
    """
    return minute.pane.timing != rxs.windows.ON_TIME


def slot(minute: rxs.Windowed) -> int:
    """The minute of the hour: a published view never shrinks, and so it has 60 rows at most, each of the latest such minute."""
    return minute.start // 60_000 % 60


def totals(orders: Observable[Order], payments: Observable[Payment]) -> rxs.Stream[Analytics]:
    """Orders and payments into one row of totals."""
    events = orders.pipe(ops.map(of_order), ops.merge(payments.pipe(ops.map(of_payment))))
    sums = ops.aggregate(orders=agg.sum("order"), revenue=agg.sum("amount"), payments=agg.sum("payment"), paid=agg.sum("paid"))
    return events.pipe(sums, ops.map(row), ops.to_view("analytics", publish=True))


def per_minute(orders: Observable[Order]) -> rxs.Stream[rxs.Windowed]:
    """Orders into a row for each minute, which changes with each order, also with one that is late as long as it is served."""
    return orders.pipe(
        ops.event_time(made_at, out_of_orderness=5),
        ops.windowed(rxs.tumbling(60), emit=rxs.windows.on_update, lateness=60 * SERVED_MINUTES, orders=agg.count()),
        ops.filter(has_news),
        ops.key_by(slot),
        ops.to_view("orders-per-minute", publish=True),
    )


def build(orders: Observable[Order], payments: Observable[Payment]) -> tuple[rxs.Stream[Analytics], rxs.Stream[rxs.Windowed]]:
    """Orders and payments into what is served of them: a row of totals, and a row per minute."""
    return totals(orders, payments), per_minute(orders)


def main(*, broker: BrokerUrl = SHOP) -> None:
    """Keep the shop's figures until Ctrl-C; a record that cannot be read goes to the topic ``rejected``."""
    orders = rxs.from_topic("orders", Order, on_error=REJECTED)
    payments = rxs.from_topic("payments", Payment, on_error=REJECTED)
    rxs.run(*build(orders, payments), app="analytics", broker=broker)


if __name__ == "__main__":
    cyclopts.run(main)
