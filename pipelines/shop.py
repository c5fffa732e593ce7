"""The shop: takes orders and payments over HTTP, and serves what the analytics pipeline makes of them.

In: ``POST /api/orders`` and ``POST /api/payments``. Out: the topics ``orders`` and ``payments``; a 202 means that the record is
durable. What a body leaves out is filled in; an ``Idempotency-Key`` makes retries safe (see ``rxstreams.web.Intake``).

Where the analytics pipeline is too far behind, posts are answered with 429 and the seconds after which to try again.

Run it with ``python -m pipelines.shop [--host 127.0.0.1] [--port 8000] [--broker URL] [--max-backlog 100000]``, and ``python -m
pipelines.analytics`` beside it:

    $ curl -s localhost:8000/api/orders -d '{"amount": 100}'
    {"id":"order-0fc3e1…","userId":"guest","amount":100,"timestamp":"2026-01-16T10:00:00Z"}
    $ curl -s localhost:8000/api/payments -d '{"orderId": "order-1", "paymentId": "pay-1"}'
    {"orderId":"order-1","paymentId":"pay-1","status":"success","userId":"guest","timestamp":"2026-01-16T10:00:01Z"}
    $ curl -s localhost:8000/analytics
    {"totalOrders":1,"totalRevenue":100,"avgOrderValue":100.0,"successRate":100.0,"ordersPerMinute":[1],"duplicateOrders":0,"asOf":2}
    $ curl -s localhost:8000/enriched
    [{"id":"order-1","amount":100,"paymentId":"pay-1"}]

With ``python -m pipelines.fraud`` beside it, payments of a user whom that has blocked are answered with 403, until an operator
lets the user pay again:

    $ curl -s localhost:8000/blocked
    ["user-1"]
    $ curl -s localhost:8000/api/unblocks -d '{"userId": "user-1"}'
    {"userId":"user-1"}
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute

import rxstreams as rxs
from pipelines.records import (
    SERVED_MINUTES,
    SHOP,
    Analytics,
    BrokerUrl,
    Enriched,
    Minute,
    NewOrder,
    NewPayment,
    Payment,
    Standing,
    Unblock,
    complete,
)
from rxstreams.web import Backlog, Intake, serve

if TYPE_CHECKING:
    from rxstreams.brokers import Broker

APP, FRAUD = "analytics", "fraud"
TOPICS = ("orders", "payments")
MAX_BACKLOG = 100_000
"""Orders, and payments, that may wait for the analytics pipeline: seconds of its work, and some 20 MB."""


def create_app(broker: Broker, max_backlog: int = MAX_BACKLOG) -> FastAPI:
    """The shop's routes on a broker, which the application starts and stops."""
    backlogs = {topic: Backlog(APP, max_records=max_backlog) for topic in TOPICS}
    orders = Intake("orders", NewOrder, key=lambda order: order.id, complete=complete, backlog=backlogs["orders"])
    blocked = rxs.view(FRAUD, "blocked", Standing, broker=broker)

    async def refused(payment: Payment) -> str | None:
        standing = await blocked.get(payment.user_id)
        return f"{payment.user_id} is blocked: three payments failed within 5 min" if standing and standing.blocked else None

    payments = Intake(
        "payments",
        NewPayment,
        key=lambda payment: payment.order_id,
        complete=complete,
        refuse=refused,
        backlog=backlogs["payments"],
    )
    unblocks = Intake("unblocks", Unblock, key=lambda unblock: unblock.user_id, complete=lambda unblock, _: unblock)
    totals = rxs.view(APP, "analytics", Analytics, broker=broker)
    minutes = rxs.view(APP, "orders-per-minute", Minute, broker=broker)
    enriched = rxs.view(APP, "enriched", list[Enriched], broker=broker)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await broker.start()
        try:
            await orders.start(broker)
            await payments.start(broker)
            await unblocks.start(broker)
            yield
        finally:
            await broker.stop()

    app = FastAPI(title="Shop", lifespan=lifespan)

    @app.get("/analytics", response_model=None)
    async def analytics() -> Response:
        """The totals and the last minutes, as of the analytics pipeline's last commit."""
        row = await totals.get(None) or Analytics()
        counts = per_minute([minute for _, minute in await minutes.items()], time.time())
        return _json(msgspec.structs.replace(row, orders_per_minute=counts, as_of=totals.as_of))

    @app.get("/enriched", response_model=None)
    async def last_enriched() -> Response:
        """The last orders whose payment has come, too, each with it; the newest first."""
        return _json(await enriched.get(None) or [])

    @app.get("/blocked", response_model=None)
    async def who_is_blocked() -> Response:
        """The users whose payments are refused."""
        return _json([user for user, standing in await blocked.items() if standing.blocked])

    @app.get("/healthz", response_model=None)
    async def healthz() -> Response:
        """Whether the shop works, else why not; how many records the analytics pipeline has not taken in yet, and whether that is
        so many that posts are refused.
        """
        try:
            lag = sum([await backlog.unread() for backlog in backlogs.values()])
            return _json({"status": "behind" if any(one.full for one in backlogs.values()) else "ok", "analyticsLag": lag})
        except rxs.BrokerError as error:
            return _json({"status": "no broker", "why": str(error)}, status=503)

    app.router.route_class = Direct
    app.post("/api/orders", status_code=202, name="orders", openapi_extra=_body({"amount": 100}))(orders.post)
    app.post("/api/payments", status_code=202, name="payments", openapi_extra=_body({"orderId": "order-1"}))(payments.post)
    app.post("/api/unblocks", status_code=202, name="unblocks", openapi_extra=_body({"userId": "user-1"}))(unblocks.post)
    return app


def per_minute(minutes: Iterable[Minute], now: float) -> list[int]:
    """How many orders each of the last minutes has, from the first that has any to the last."""
    begun = (now - SERVED_MINUTES * 60) * 1000, now * 1000
    orders = {minute.start // 60_000: minute.orders for minute in minutes if begun[0] < minute.start <= begun[1]}
    return [orders.get(minute, 0) for minute in range(min(orders), max(orders) + 1)] if orders else []


class Direct(APIRoute):
    """A route whose function answers the request itself, with nothing in between: half the time of FastAPI's own way."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The function itself."""
        return self.endpoint


def _body(example: dict[str, Any]) -> dict[str, Any]:
    """What the page of docs tells about a body: the least that is needed."""
    return {"requestBody": {"required": True, "content": {"application/json": {"example": example}}}}


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


MaxBacklog = Annotated[int, cyclopts.Parameter(validator=cyclopts.validators.Number(gte=1))]


def main(*, host: str = "127.0.0.1", port: int = 8000, broker: BrokerUrl = SHOP, max_backlog: MaxBacklog = MAX_BACKLOG) -> None:
    """Serve the shop until Ctrl-C.

    Args:
        max_backlog: How many orders, and how many payments, may wait for the analytics pipeline; more are answered with 429.
    """
    serve(create_app(rxs.connect(broker), max_backlog), host=host, port=port)


if __name__ == "__main__":
    cyclopts.run(main)
