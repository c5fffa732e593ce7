"""What the shop has sold so far, and in each of the last minutes, kept in views that any process can ask.

In: the topics ``orders`` and ``payments``; an order whose id came in the last hour is a duplicate and refused. Out: three
published views of the app ``analytics``, which the shop serves: ``analytics``, one row of totals; ``orders-per-minute``, a row
for each of the last minutes; and ``enriched``, the last orders with their payments. All is saved with every commit: after a
crash it goes on where the topics were read to.

Run it beside the shop: ``python -m pipelines.analytics [--broker URL]``, then ``curl -s http://127.0.0.1:8000/analytics``:

    {"totalOrders":1,"totalRevenue":100,"avgOrderValue":100.0,"successRate":null,"ordersPerMinute":[1],"duplicateOrders":0,"asOf":1}
    {"totalOrders":2,"totalRevenue":300,"avgOrderValue":150.0,"successRate":null,"ordersPerMinute":[2],"duplicateOrders":0,"asOf":2}
    {"totalOrders":3,"totalRevenue":450,"avgOrderValue":150.0,"successRate":null,"ordersPerMinute":[2,1],"duplicateOrders":0,"asOf":3}
    {"totalOrders":3,"totalRevenue":450,"avgOrderValue":150.0,"successRate":100.0,"ordersPerMinute":[2,1],"duplicateOrders":0,"asOf":4}
    {"totalOrders":3,"totalRevenue":450,"avgOrderValue":150.0,"successRate":50.0,"ordersPerMinute":[2,1],"duplicateOrders":0,"asOf":5}
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

import cyclopts
from reactivex import Observable

import rxstreams as rxs
from pipelines.records import SERVED_MINUTES, SHOP, Analytics, BrokerUrl, Enriched, Order, Payment
from rxstreams import aggregates as agg, operators as ops

REJECTED = rxs.DeadLetter("rejected")
REMEMBERED = 3600.0
"""Seconds for which an order's id is remembered."""
WITHIN = 300.0
"""Seconds that an order and its payment may be apart."""
SERVED_ENRICHED = 5
NONE_YET: list[Enriched] = []


class Event(NamedTuple):
    """What one record adds to the totals."""

    order: int = 0
    amount: float = 0
    payment: int = 0
    paid: int = 0
    duplicate: int = 0


def of_order(order: Order) -> Event:
    """An order counts with its amount."""
    return Event(order=1, amount=order.amount)


def of_payment(payment: Payment) -> Event:
    """A payment counts, and it is paid unless it failed."""
    return Event(payment=1, paid=int(payment.status != "failed"))


def of_duplicate(_: Order) -> Event:
    """An order that came again counts as such."""
    return Event(duplicate=1)


def row(totals: Any) -> Analytics:
    """The figures that are served, of the running sums."""
    return Analytics(
        total_orders=totals.orders,
        total_revenue=totals.revenue,
        avg_order_value=totals.revenue / totals.orders if totals.orders else 0.0,
        success_rate=100 * totals.paid / totals.payments if totals.payments else None,
        duplicate_orders=totals.duplicates,
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


def totals(orders: rxs.Stream[Order], payments: Observable[Payment]) -> rxs.Stream[Analytics]:
    """Orders and payments into one row of totals."""
    duplicates = orders.duplicates.pipe(ops.map(of_duplicate))
    events = orders.pipe(ops.map(of_order), ops.merge(payments.pipe(ops.map(of_payment)), duplicates))
    sums = ops.aggregate(
        orders=agg.sum("order"),
        revenue=agg.sum("amount"),
        payments=agg.sum("payment"),
        paid=agg.sum("paid"),
        duplicates=agg.sum("duplicate"),
    )
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


def with_payment(pair: tuple[Order, Payment]) -> Enriched:
    """An order with its payment."""
    return Enriched(id=pair[0].id, amount=pair[0].amount, payment_id=pair[1].payment_id)


def newest(last: list[Enriched], one: Enriched) -> list[Enriched]:
    """The last orders with their payments, the newest first."""
    return [one, *last[: SERVED_ENRICHED - 1]]


def enriched(orders: Observable[Order], payments: Observable[Payment]) -> rxs.Stream[list[Enriched]]:
    """Orders and the payments that did not fail into a row of the last pairs of them, whichever came first."""
    paid = payments.pipe(ops.filter(lambda payment: payment.status != "failed"), ops.key_by("order_id"))
    pairs = orders.pipe(ops.key_by("id"), ops.interval_join(paid, within=WITHIN), ops.map(with_payment))
    return pairs.pipe(ops.scan(newest, NONE_YET), ops.key_by(lambda _: None), ops.to_view("enriched", publish=True))


def build(orders: Observable[Order], payments: Observable[Payment]) -> tuple[rxs.Stream[Any], ...]:
    """Orders and payments into what is served of them: a row of totals, a row per minute, and the last orders with payments."""
    once = orders.pipe(ops.dedup("id", ttl=REMEMBERED))
    return totals(once, payments), per_minute(once), enriched(once, payments)


def main(*, broker: BrokerUrl = SHOP) -> None:
    """Keep the shop's figures until Ctrl-C; a record that cannot be read goes to the topic ``rejected``."""
    orders = rxs.from_topic("orders", Order, on_error=REJECTED)
    payments = rxs.from_topic("payments", Payment, on_error=REJECTED)
    rxs.run(*build(orders, payments), app="analytics", broker=broker)


if __name__ == "__main__":
    cyclopts.run(main)
