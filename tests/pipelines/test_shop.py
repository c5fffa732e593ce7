"""The shop over real HTTP."""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

import rxstreams as rxs
from pipelines import analytics, shop
from pipelines.records import Minute, NewOrder, Order, Payment, complete
from rxstreams import operators as ops
from rxstreams.brokers import Broker
from rxstreams.brokers.contract import Record
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.brokers.sqlite import SqliteBroker
from rxstreams.errors import BrokerError, CommitUnknownError, StorageFullError
from tests.pipelines.conftest import Serve

FULL = {"id": "order-1", "userId": "user-1", "amount": 100, "timestamp": "2026-01-16T10:00:00Z"}


async def values(broker: Any, topic: str) -> list[Any]:
    """What is in a topic of one partition."""
    fetched = await broker.read(topic, 0, 0, max_records=100_000)
    return [msgspec.json.decode(value) for value in fetched.values]


@pytest.mark.asyncio
async def test_an_order_is_durable_when_it_is_acknowledged(serve: Serve, tmp_path: Path) -> None:
    """202 answers the full record, and another connection to the file reads it at once."""
    async with serve(SqliteBroker(tmp_path / "shop.db")) as client:
        answer = await client.post("/api/orders", json=FULL)
        assert (answer.status_code, answer.json()) == (202, FULL)
        other = SqliteBroker(tmp_path / "shop.db")
        await other.start()
        try:
            assert await values(other, "orders") == [FULL]
        finally:
            await other.stop()


@pytest.mark.asyncio
async def test_what_a_post_leaves_out_is_filled_in(serve: Serve) -> None:
    """An amount makes an order, and an order's id a payment; ids differ, and the answer is what the topic holds."""
    broker = MemoryBroker()
    async with serve(broker) as client:
        orders = [(await client.post("/api/orders", content='{"amount": 100}')).json() for _ in range(2)]
        payment = (await client.post("/api/payments", json={"orderId": "order-1", "paymentId": "pay-1"})).json()
        assert await values(broker, "orders") == orders
        assert await values(broker, "payments") == [payment]
    decoded = msgspec.convert(orders, list[Order])
    assert [(order.amount, order.user_id) for order in decoded] == [(100, "guest")] * 2
    assert len({order.id for order in decoded}) == 2
    paid = msgspec.convert(payment, Payment)
    assert (paid.order_id, paid.payment_id, paid.status) == ("order-1", "pay-1", "success")


BAD = [
    ("", None, "nothing"),
    ("{", None, "truncated"),
    ("[]", None, "object"),
    ("{}", "amount", "missing"),
    ('{"amount": "100"}', "amount", "str"),
    ('{"amount": true}', "amount", "bool"),
    ('{"amount": -0.01}', "amount", ">= 0"),
    ('{"amount": NaN}', None, "malformed"),
    ('{"amount": 1e999}', "amount", "out of range"),
    ('{"amount": 1%s}' % ("0" * 400), "amount", ""),
    ('{"amount": 1, "id": ""}', "id", "length >= 1"),
    ('{"amount": 1, "userId": "%s"}' % ("x" * 201), "userId", "length <= 200"),
    ('{"amount": 1, "timestamp": "2026-01-16T10:00:00"}', "timestamp", "timezone"),
    ('{"amount": 1, "timestamp": "yesterday"}', "timestamp", "RFC3339"),
    (b'{"amount": 1, "id": "\xff"}', None, "utf-8"),
    ('{"amount": 1, "note": %s' % ("[" * 60_000), None, ""),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("body", "field", "reason"), BAD)
async def test_a_bad_body_is_refused_with_field_and_reason(
    serve: Serve, body: str | bytes, field: str | None, reason: str
) -> None:
    """422 names the field and what is wrong with it; nothing is appended."""
    broker = MemoryBroker()
    async with serve(broker) as client:
        answer = await client.post("/api/orders", content=body)
        assert answer.status_code == 422
        assert answer.json()["field"] == field
        assert reason in answer.json()["reason"]
        assert await values(broker, "orders") == []


@pytest.mark.asyncio
async def test_an_oversized_body_is_refused_whether_its_length_is_told_or_not(serve: Serve) -> None:
    """413 beyond 64 KiB; the longest allowed body passes, and the connection is good for the next post."""
    broker = MemoryBroker()

    async def chunks(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b" " * 1024

    async with serve(broker) as client:
        longest = b'{"amount": 1}'.ljust(65_536)
        assert (await client.post("/api/orders", content=longest + b" ")).status_code == 413
        assert (await client.post("/api/orders", content=chunks(65))).status_code == 413
        assert (await client.post("/api/orders", content=chunks(2000))).status_code == 413
        assert (await client.post("/api/orders", content=longest)).status_code == 202
        assert len(await values(broker, "orders")) == 1


@pytest.mark.asyncio
async def test_an_idempotency_key_makes_one_record_however_often_it_is_posted(serve: Serve, tmp_path: Path) -> None:
    """The same key gets the same answer: at once, at the same time, and after a restart; another key another record."""
    async with serve(SqliteBroker(tmp_path / "shop.db")) as client:
        post = lambda key: client.post("/api/orders", json={"amount": 1}, headers={"Idempotency-Key": key})  # noqa: E731
        answers = [answer.content for answer in await asyncio.gather(*(post("a") for _ in range(10)))]
        answers.append((await post("a")).content)
        other = (await post("b")).content
    again = SqliteBroker(tmp_path / "shop.db")
    async with serve(again) as client:
        answers.append((await client.post("/api/orders", json={"amount": 1}, headers={"Idempotency-Key": "a"})).content)
        assert len(set(answers)) == 1
        assert other != answers[0]
        assert len(await values(again, "orders")) == 2


class Failing(MemoryBroker):
    """A broker whose appends fail as told."""

    problem: BrokerError | None = None

    async def append(self, topic: str, records: Sequence[Record], /) -> list[tuple[int, int]]:
        """Append, and fail if so told; where the outcome is unknown, both."""
        problem = self.problem
        if isinstance(problem, CommitUnknownError) or problem is None:
            placed = await super().append(topic, records)
            if problem is None:
                return placed
        raise problem


@pytest.mark.asyncio
async def test_a_broker_that_cannot_append_is_told_with_a_time_to_retry(serve: Serve) -> None:
    """503 with Retry-After and the reason while the disk is full; then 202 again, also for the key that had failed."""
    broker = Failing()
    async with serve(broker) as client:
        post = lambda: client.post("/api/orders", json=FULL, headers={"Idempotency-Key": "a"})  # noqa: E731
        broker.problem = StorageFullError("the disk is full")
        refused = await post()
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert refused.json() == {"field": None, "reason": "the disk is full"}
        broker.problem = None
        assert (await post()).status_code == 202
        assert len(await values(broker, "orders")) == 1


@pytest.mark.asyncio
async def test_a_retry_finds_the_record_of_an_append_whose_outcome_was_unknown(serve: Serve) -> None:
    """Where the record is there although its append failed, the same key gets it as the answer, and no second one."""
    broker = Failing()
    async with serve(broker) as client:
        post = lambda: client.post("/api/orders", json={"amount": 1}, headers={"Idempotency-Key": "a"})  # noqa: E731
        broker.problem = CommitUnknownError("the answer was lost")
        assert (await post()).status_code == 503
        broker.problem = None
        assert [(await post()).json()] == await values(broker, "orders")


@pytest.mark.asyncio
async def test_posts_that_come_together_share_commits(serve: Serve, tmp_path: Path) -> None:
    """Two hundred posts of 50 clients take a fraction of as many transactions, and each is there once."""
    broker = SqliteBroker(tmp_path / "shop.db")
    async with serve(broker) as client:
        before = broker.transactions
        ids = [f"order-{i}" for i in range(200)]
        limit = asyncio.Semaphore(50)

        async def post(identity: str) -> int:
            async with limit:
                return int((await client.post("/api/orders", json={"id": identity, "amount": 1})).status_code)

        assert await asyncio.gather(*map(post, ids)) == [202] * 200
        assert broker.transactions - before < 100
        assert sorted(order["id"] for order in await values(broker, "orders")) == sorted(ids)


async def analysed(client: httpx2.AsyncClient, broker: Broker) -> Any:
    """What the shop serves when the analytics pipeline has taken in everything."""
    streams = analytics.build(rxs.from_topic("orders", Order), rxs.from_topic("payments", Payment))
    async with rxs.start(*streams, app="analytics", broker=broker):
        deadline = time.monotonic() + 20
        while (await client.get("/healthz")).json()["analyticsLag"]:
            assert time.monotonic() < deadline
        return (await client.get("/analytics")).json()


@pytest.mark.asyncio
async def test_analytics_serves_zeros_and_then_the_totals(serve: Serve) -> None:
    """Before the first order there are zeros; afterwards the totals as of the analytics app's last commit."""
    broker = MemoryBroker()
    async with serve(broker) as client:
        nothing = {
            "totalOrders": 0,
            "totalRevenue": 0,
            "avgOrderValue": 0,
            "successRate": None,
            "ordersPerMinute": [],
            "asOf": 0,
            "duplicateOrders": 0,
        }
        assert (await client.get("/analytics")).json() == nothing
        for amount in (100, 200, 150):
            await client.post("/api/orders", json={"amount": amount})
        for status in ("success", "failed", "success", "success"):
            await client.post("/api/payments", json={"orderId": "order-1", "status": status})
        assert (await client.get("/healthz")).json() == {"status": "ok", "analyticsLag": 7}
        served = await analysed(client, broker)
        assert served.pop("asOf") > 0
        assert sum(served.pop("ordersPerMinute")) == 3  # in one minute, or in two if one has just begun
        assert served == {
            "totalOrders": 3,
            "totalRevenue": 450,
            "avgOrderValue": 150.0,
            "successRate": 75.0,
            "duplicateOrders": 0,
        }


@pytest.mark.asyncio
async def test_posts_are_refused_while_analytics_is_too_far_behind(serve: Serve) -> None:
    """429 says when to try again, and nothing is appended; what was acknowledged is still answered, other topics are taken in,
    health says so; and when analytics has caught up, orders are taken in again.
    """
    broker = MemoryBroker()
    async with serve(broker, max_backlog=3) as client:
        post = lambda key: client.post("/api/orders", json={"amount": 1}, headers={"Idempotency-Key": key})  # noqa: E731
        first = (await post("0")).content
        assert [(await post(str(i))).status_code for i in (1, 2, 3)] == [202, 202, 429]
        refused = await post("3")
        seconds = int(refused.headers["Retry-After"])
        assert 1 <= seconds <= 60
        assert refused.json() == {"field": None, "reason": f"analytics is behind with orders; try again in {seconds} s"}
        again = await post("0")
        assert (again.status_code, again.content) == (202, first)
        assert (await client.post("/api/payments", json={"orderId": "order-1"})).status_code == 202
        assert (await client.get("/healthz")).json() == {"status": "behind", "analyticsLag": 4}
        assert len(await values(broker, "orders")) == 3
        assert (await analysed(client, broker))["totalOrders"] == 3
        deadline = time.monotonic() + 20
        while (await post("3")).status_code == 429:
            assert time.monotonic() < deadline
        assert (await client.get("/healthz")).json() == {"status": "ok", "analyticsLag": 1}
        assert len(await values(broker, "orders")) == 4


@pytest.mark.asyncio
async def test_an_order_that_comes_again_is_refused_and_those_that_were_paid_are_served(serve: Serve) -> None:
    """It counts once in the totals and once in its minute; whether order or payment comes first, they are served as a pair."""
    broker = MemoryBroker()
    async with serve(broker) as client:
        assert (await client.get("/enriched")).json() == []
        for order, payment in (("order-1", "pay-1"), ("order-2", None), ("order-3", "pay-3")):
            if order == "order-3":
                await client.post("/api/payments", json={"orderId": order, "paymentId": payment})
            for _ in range(2):
                await client.post("/api/orders", json={"id": order, "amount": 100})
            await client.post("/api/payments", json={"orderId": order, "status": "failed"})
            if order == "order-1":
                await client.post("/api/payments", json={"orderId": order, "paymentId": payment})
        served = await analysed(client, broker)
        assert (served["totalOrders"], served["totalRevenue"], served["duplicateOrders"]) == (3, 300, 3)
        assert sum(served["ordersPerMinute"]) == 3
        pairs = (await client.get("/enriched")).json()
    assert sorted(pairs, key=lambda pair: pair["id"]) == [
        {"id": "order-1", "amount": 100, "paymentId": "pay-1"},
        {"id": "order-3", "amount": 100, "paymentId": "pay-3"},
    ]


@pytest.mark.asyncio
async def test_orders_per_minute_go_by_the_orders_own_time(serve: Serve) -> None:
    """Each order counts in the minute of its timestamp, also when it is late; a minute without orders between two is 0, and one
    that began more than ten minutes ago is left out.
    """
    broker, now = MemoryBroker(), datetime.now(UTC)
    async with serve(broker) as client:
        for minutes_ago in (1, 3, 1, 5, 30, 3, 1):
            made = now - timedelta(minutes=minutes_ago)
            await client.post("/api/orders", json={"amount": 1, "timestamp": made.isoformat()})
        served = await analysed(client, broker)
    assert (served["totalOrders"], served["ordersPerMinute"]) == (7, [1, 0, 2, 0, 3])


@pytest.mark.asyncio
async def test_an_order_whose_clock_is_ahead_does_not_close_the_minutes_of_others(serve: Serve) -> None:
    """It counts as of now, and so do the orders after it."""
    broker = MemoryBroker()
    async with serve(broker) as client:
        await client.post("/api/orders", json={"amount": 1, "timestamp": "2199-01-16T10:00:00Z"})
        await client.post("/api/orders", json={"amount": 1})
        served = await analysed(client, broker)
    assert (served["totalOrders"], sum(served["ordersPerMinute"])) == (2, 2)


async def minutes_of(*times: datetime) -> dict[int, tuple[float, int]]:
    """The rows of the view of minutes, after an order at each of these times, and before the last minutes close."""
    broker, orders = MemoryBroker(), [complete(NewOrder(amount=1, timestamp=made)) for made in times]
    async with rxs.start(rxs.from_iterable(orders).pipe(ops.to_topic("orders")), app="till", broker=broker) as till:
        await till.wait()
    so_far = rxs.from_topic("orders", Order, until="end", finish=False)
    async with rxs.start(*analytics.build(so_far, rxs.from_iterable([])), app="analytics", broker=broker) as running:
        await running.wait()
    async with rxs.view("analytics", "orders-per-minute", Minute, broker=broker) as view:
        return {slot: (minute.start / 1000, minute.orders) for slot, minute in await view.items()}


@pytest.mark.asyncio
async def test_the_view_of_minutes_has_a_row_for_each_minute_of_an_hour_at_most() -> None:
    """After hours of orders it has those of the last hour."""
    times = [datetime(2026, 1, 16, 10, 5, tzinfo=UTC) + timedelta(minutes=minute) for minute in range(150)]
    assert await minutes_of(*times) == {made.minute: (made.timestamp(), 1) for made in times[-60:]}


@pytest.mark.asyncio
async def test_a_minute_that_closes_after_a_pause_does_not_replace_the_one_an_hour_later() -> None:
    """The next order closes it; the row that they share is the new minute's, and a still older order changes nothing."""
    first = datetime(2026, 1, 16, 10, 5, tzinfo=UTC)
    later = first + timedelta(hours=1)
    assert await minutes_of(first, first, later, first) == {5: (later.timestamp(), 1)}


def test_per_minute_serves_what_began_within_the_last_ten_minutes() -> None:
    """From the first minute with an order to the last, with zeros between; nothing older, and nothing that is yet to come."""

    def of(orders: dict[int, int], now: float) -> list[int]:
        pane = rxs.windows.Pane()
        return shop.per_minute([Minute(None, at * 60_000, at * 60_000 + 60_000, pane, n) for at, n in orders.items()], now)

    assert of({}, 0.0) == []
    assert of({103: 5, 100: 2, 101: 3}, 103 * 60) == [2, 3, 0, 5]
    assert of({100: 2, 103: 5}, 110 * 60 - 0.001) == [2, 0, 0, 5]
    assert of({100: 2, 103: 5}, 110 * 60) == [5]
    assert of({100: 2, 103: 5}, 113 * 60) == []
    assert of({100: 2, 103: 5, 10**6: 7}, 103 * 60) == [2, 0, 0, 5]


@pytest.mark.asyncio
async def test_the_page_of_docs_names_the_routes(serve: Serve) -> None:
    """A newcomer finds every route, with the least body that it takes, at /docs."""
    async with serve(MemoryBroker()) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    assert sorted(paths) == ["/analytics", "/api/orders", "/api/payments", "/api/unblocks", "/blocked", "/enriched", "/healthz"]
    body = paths["/api/orders"]["post"]["requestBody"]["content"]["application/json"]
    assert body == {"example": {"amount": 100}}


class Away(MemoryBroker):
    """A broker that at some time cannot be reached any more."""

    away = False

    async def end_offsets(self, topic: str, /) -> list[int]:
        if self.away:
            raise BrokerError("broker memory://: nobody listens there")
        return await super().end_offsets(topic)


@pytest.mark.asyncio
async def test_health_says_why_when_the_broker_is_away(serve: Serve) -> None:
    """So that a supervisor sees it, and whoever looks."""
    broker = Away()
    async with serve(broker) as client:
        assert (await client.get("/healthz")).status_code == 200
        broker.away = True
        answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()) == (
        503,
        {"status": "no broker", "why": "broker memory://: nobody listens there"},
    )


def test_the_shop_binds_to_loopback_unless_told_otherwise() -> None:
    """Nobody else on the network can post by default."""
    assert inspect.signature(shop.main).parameters["host"].default == "127.0.0.1"
