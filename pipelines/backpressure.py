"""Demo 6, backpressure: a producer that is faster than its consumer, and a buffer of five events between them.

In: with ``--sample`` a hundred events in virtual time, ten a second, else the topic ``orders``. Out: a line for each event taken,
one a second, and one each time that the buffer is full; with ``--overflow POLICY`` a table at the end. Run it with
``python -m pipelines.backpressure --sample``, or with ``--live`` beside the shop:

    Processed: {id: 0}
    Backpressure! Pausing producer...
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Annotated, Any, Literal, get_args

import cyclopts
from reactivex import Observable

import rxstreams as rxs
from pipelines.records import SHOP, BrokerUrl, Order
from pipelines.sampling import Sample, quiet, show
from rxstreams import operators as ops
from rxstreams.testing import virtually

EVENTS = 100
Policy = Literal["block", "drop_oldest", "drop_newest", "latest", "fail"]
Live = Annotated[bool, cyclopts.Parameter(negative=(), help="follow the shop's orders, as without --sample, too")]


def build(events: Observable[Any], overflow: Policy, take: Callable[[Any], Any], on_full: Callable[[], Any]) -> rxs.Stream[Any]:
    """Events through a buffer, which is filled again when it is empty, to a consumer that takes one a second."""

    async def consume(event: Any) -> None:
        take(event)
        await asyncio.sleep(1)

    return events.pipe(ops.bounded(5, overflow, resume_at=0, on_full=on_full), ops.to_callable(consume, capacity=1))


async def produce() -> AsyncIterator[int]:
    """The events' ids."""
    for number in range(EVENTS):
        yield number
        await asyncio.sleep(0.1)


async def deliver(overflow: Policy, say: Callable[[str], Any] = str) -> str:
    """What a policy delivers and loses, as a row of the table."""
    taken: list[int] = []
    full = "Backpressure! Pausing producer..." if overflow == "block" else f"Backpressure! {overflow}..."

    def take(number: int) -> None:
        taken.append(number)
        say(f"Processed: {{id: {number}}}")

    stream = build(rxs.from_async_iterable(produce, name="events"), overflow, take, lambda: say(full))
    with suppress(rxs.RxStreamsError):  # the policy "fail" stops it
        async with rxs.start(stream, app="demo", broker="memory://") as running:
            await running.wait()
    return f"{overflow:<12} {len(taken):>9} {EVENTS - len(taken):>5} {asyncio.get_running_loop().time():>6.1f} s"


def main(*, sample: Sample = False, overflow: Policy | None = None, live: Live = False, broker: BrokerUrl = SHOP) -> None:
    """Show what a full buffer does to a producer."""
    if live or not (sample or overflow):
        said = lambda order: show(f"Processed: {order.id}"), lambda: show("Backpressure detected, pausing...")
        orders = rxs.from_topic("orders", Order, on_error=rxs.Skip())
        rxs.run(build(orders, overflow or "block", *said), app="slow", broker=broker)
        return
    quiet(logging.ERROR)  # what is dropped is in the table
    virtually(deliver(overflow or "block", show))
    if overflow:
        show("\n".join(["policy       delivered  lost     time", *(virtually(deliver(one)) for one in get_args(Policy))]))


if __name__ == "__main__":
    cyclopts.run(main)
