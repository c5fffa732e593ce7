"""Demo 2, windowing: orders and revenue of each minute, and of each 60 seconds that begin every 10 seconds.

In: the topic ``orders``, by each order's ``timestamp``; one may come 5 s after a newer one. Out: a line per window as it closes,
the last one when no order has come for 10 s and time goes on with the clock.

Run it with ``python -m pipelines.windowing`` beside the shop, with ``--sample`` over the example, or with ``--input FILE``. The
shop's windows are told by the clock, in UTC; the others at the end, in seconds since the first one began:

    Window [10:00:00-10:01:00Z]: 12 orders, $1284.50
    Window [0-60s]: 30 orders, $3000
    Hopping [-50-10s]: 5 orders, $500
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

import cyclopts
from reactivex import Observable

import rxstreams as rxs
from pipelines.records import SHOP, BrokerUrl, Order
from pipelines.sampling import Input, Sample, orders_from, show
from rxstreams import aggregates as agg, operators as ops

EXAMPLE = [{"amount": 100, "timestamp": f"2026-01-16T10:0{at // 60}:{at % 60:02}Z"} for at in range(0, 120, 2)]
Results = rxs.Stream[rxs.Windowed]


def build(orders: Observable[Order], size: float = 60, every: float = 10) -> tuple[Results, Results]:
    """Orders into what each tumbling window comes to, and each hopping one."""
    cut = partial(ops.windowed, orders=agg.count(), revenue=agg.sum("amount"))
    return orders.pipe(cut(rxs.tumbling(size))), orders.pipe(cut(rxs.hopping(size, every)))


def line(kind: str, span: str, window: rxs.Windowed) -> str:
    """What is printed for a window."""
    revenue = f"{window.revenue:.2f}".removesuffix(".00")
    return f"{kind} [{span}]: {window.orders} order{'s' * (window.orders != 1)}, ${revenue}"


def by_clock(kind: str, window: rxs.Windowed) -> str:
    """The line of a window by the clock."""
    start, end = (f"{datetime.fromtimestamp(at / 1000, UTC):%H:%M:%S}" for at in (window.start, window.end))
    return line(kind, f"{start}-{end}Z", window)


def report(results: tuple[list[rxs.Windowed], list[rxs.Windowed]]) -> Iterator[str]:
    """The lines of all windows, in seconds since the first tumbling one began."""
    for kind, windows in zip(("Window", "Hopping"), results):
        for window in windows:
            start, end = (f"{(at - results[0][0].start) / 1000:.15g}" for at in (window.start, window.end))
            yield line(kind, f"{start}-{end}s", window)


def main(
    *,
    sample: Sample = False,
    file: Input = None,
    broker: BrokerUrl = SHOP,
    size: float = 60,
    every: float = 10,
    out_of_orderness: float = 5,
    idle_after: float = 10,
) -> None:
    """Print what each window of the shop's orders comes to, as it closes, until Ctrl-C; all times are seconds."""
    time = {"out_of_orderness": out_of_orderness, "idle_after": idle_after}
    with orders_from(EXAMPLE, Order, sample=sample, file=file, broker=broker, timestamp="timestamp", **time) as (orders, home):
        tumbling, hopping = build(orders, size, every)
        hops = hopping.pipe(ops.map(partial(by_clock, "Hopping")))
        lines = tumbling.pipe(ops.map(partial(by_clock, "Window")), ops.merge(hops))
        if sample or file:
            lines = tumbling.pipe(ops.to_list(), ops.zip(hopping.pipe(ops.to_list())), ops.flat_map(report))
        rxs.run(lines.pipe(ops.to_callable(show)), app="windowing", broker=home)


if __name__ == "__main__":
    cyclopts.run(main)
