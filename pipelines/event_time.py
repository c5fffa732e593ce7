"""Demo 5, event time and processing time: when an order was made, when it was handled, and which minute it counts in.

In: the topic ``orders``; the watermark stays a minute behind the newest, so that one may come so much after it. Out: a line per
order with both times and their difference, the lag; a line per minute of event time when it closes; and one per order that comes
later than that, which is on the stream ``late``.

Run it with ``python -m pipelines.event_time`` beside the shop, with ``--sample`` over the example, or with ``--input FILE``.
Orders are handled as they are read; but the example's were at their ``handledAt``, which those of a file may have, too:

    order-1: event time 2026-01-16T10:00:00Z, processing time 2026-01-16T10:00:05Z, Lag: 5000ms
    Window [09:59:00-10:00:00Z]: 1 order, $200
    Late: order-4, 90 s behind the watermark
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import cyclopts
import msgspec
from reactivex import Observable

import rxstreams as rxs
from pipelines.records import SHOP, BrokerUrl, Order, Time
from pipelines.sampling import Input, Sample, orders_from, show
from rxstreams import aggregates as agg, operators as ops
from rxstreams.watermarks import Late

EXAMPLE = [
    {"id": "order-1", "timestamp": "2026-01-16T10:00:00Z", "amount": 100, "handledAt": "2026-01-16T10:00:05Z"},
    {"id": "order-2", "timestamp": "2026-01-16T09:59:00Z", "amount": 200, "handledAt": "2026-01-16T10:00:10Z"},
    {"id": "order-3", "timestamp": "2026-01-16T10:02:00Z", "amount": 300, "handledAt": "2026-01-16T10:02:01Z"},
    {"id": "order-4", "timestamp": "2026-01-16T09:59:30Z", "amount": 400, "handledAt": "2026-01-16T10:02:02Z"},
]
OUT_OF_ORDERNESS = 60.0


class Handled(Order, kw_only=True):
    """An order, and when it was handled: as it is read, unless the record says otherwise, which the shop's never do."""

    handled_at: Time = msgspec.field(default_factory=lambda: datetime.now(UTC))


def build(orders: Observable[Handled]) -> rxs.Stream[str]:
    """Orders into lines: of each order, of each minute that closes, and of each order that comes after that."""
    minutes = orders.pipe(ops.windowed(rxs.tumbling(60), orders=agg.count(), revenue=agg.sum("amount")))
    closed, late = minutes.pipe(ops.map(of_minute)), minutes.late.pipe(ops.map(of_late))
    return orders.pipe(ops.map(of_order), ops.merge(closed, late))


def of_order(order: Handled) -> str:
    """The line of an order."""
    event, processing = (f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" for time in (order.timestamp, order.handled_at))
    lag = (order.handled_at - order.timestamp) // timedelta(milliseconds=1)
    return f"{order.id}: event time {event}, processing time {processing}, Lag: {lag}ms"


def of_minute(window: rxs.Windowed) -> str:
    """The line of a minute."""
    start, end = (f"{datetime.fromtimestamp(time / 1000, UTC):%H:%M:%S}" for time in (window.start, window.end))
    revenue = f"{window.revenue:.2f}".removesuffix(".00")
    return f"Window [{start}-{end}Z]: {window.orders} order{'s' * (window.orders != 1)}, ${revenue}"


def of_late(late: Late[Handled]) -> str:
    """The line of an order that no window takes any more."""
    return f"Late: {late.record.id}, {late.by:g} s behind the watermark"


def main(*, sample: Sample = False, file: Input = None, broker: BrokerUrl = SHOP) -> None:
    """Print both times of the shop's orders, and what each minute comes to, until Ctrl-C."""
    time = {"timestamp": "timestamp", "out_of_orderness": OUT_OF_ORDERNESS}
    with orders_from(EXAMPLE, Handled, sample=sample, file=file, broker=broker, **time) as (orders, home):
        rxs.run(build(orders).pipe(ops.to_callable(show)), app="event-time", broker=home)


if __name__ == "__main__":
    cyclopts.run(main)
