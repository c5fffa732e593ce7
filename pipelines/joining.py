"""Demo 4, joining streams: each order with its payment, whichever comes first, and after five minutes without.

In: the topics ``orders`` and ``payments``, by each record's ``timestamp``; one may come 5 s after a newer one. Out: a line when
an order and a payment of it have come, at most five minutes apart; and with ``--how left`` (the default) one for an order without
one, when time shows that none can come any more: five minutes of event time later.

Run it with ``python -m pipelines.joining`` beside the shop, with ``--sample`` over the example, or with ``--input FILE``, whose
lines are orders, and payments where they have an ``orderId``:

    Enriched: {id: order-1, amount: 100, paymentId: pay-1}
    Enriched: {id: order-3, amount: 75, paymentId: null}
"""

from __future__ import annotations

from typing import Any, Literal

import cyclopts
from reactivex import Observable

import rxstreams as rxs
from pipelines.records import SHOP, BrokerUrl, Order, Payment
from pipelines.sampling import Input, Sample, show, topics_from
from rxstreams import operators as ops

EXAMPLE: list[dict[str, Any]] = [
    {"id": "order-1", "amount": 100, "timestamp": "2026-01-16T10:00:00Z"},
    {"orderId": "order-1", "paymentId": "pay-1", "timestamp": "2026-01-16T10:00:30Z"},
    {"orderId": "order-2", "paymentId": "pay-2", "timestamp": "2026-01-16T10:01:00Z"},
    {"id": "order-2", "amount": 250.5, "timestamp": "2026-01-16T10:01:02Z"},
    {"id": "order-3", "amount": 75, "timestamp": "2026-01-16T10:02:00Z"},
    {"id": "order-4", "amount": 20, "timestamp": "2026-01-16T10:09:00Z"},
    {"orderId": "order-4", "paymentId": "pay-4", "timestamp": "2026-01-16T10:10:00Z"},
]
How = Literal["inner", "left"]
Enriched = rxs.Stream[tuple[Order, Payment | None]]


def build(orders: Observable[Order], payments: Observable[Payment], within: float = 300, how: How = "left") -> Enriched:
    """Orders, each with its payment; one that has failed is none."""
    paid = payments.pipe(ops.filter(lambda payment: payment.status != "failed"), ops.key_by("order_id"))
    return orders.pipe(ops.key_by("id"), ops.interval_join(paid, within=within, how=how))


def line(pair: tuple[Order, Payment | None]) -> str:
    """What is printed for an order and its payment."""
    order, payment = pair
    amount = f"{order.amount:.2f}".removesuffix(".00")
    return f"Enriched: {{id: {order.id}, amount: {amount}, paymentId: {'null' if payment is None else payment.payment_id}}}"


def main(*, sample: Sample = False, file: Input = None, broker: BrokerUrl = SHOP, within: float = 300, how: How = "left") -> None:
    """Print the shop's orders with their payments, until Ctrl-C; ``within`` is the seconds that they may be apart."""
    kinds, time = {"orders": Order, "payments": Payment}, {"timestamp": "timestamp", "out_of_orderness": 5}
    with topics_from(EXAMPLE, kinds, sample=sample, file=file, broker=broker, **time) as (topics, home):
        enriched = build(topics["orders"], topics["payments"], within, how)
        rxs.run(enriched.pipe(ops.map(line), ops.to_callable(show)), app="joining", broker=home)


if __name__ == "__main__":
    cyclopts.run(main)
