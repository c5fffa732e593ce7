"""The shop's records, as they stand in its topics and on the wire (camelCase JSON), and what is served about them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from uuid import NAMESPACE_URL, uuid4, uuid5

import cyclopts
import msgspec
from msgspec import Meta

import rxstreams as rxs

__all__ = [
    "Amount",
    "Analytics",
    "BrokerUrl",
    "Enriched",
    "Id",
    "Minute",
    "NewOrder",
    "NewPayment",
    "Order",
    "Payment",
    "Standing",
    "Time",
    "Unblock",
    "complete",
]

SHOP = "sqlite:///shop.db"
"""Where the shop keeps its topics unless it is told otherwise."""
SERVED_MINUTES = 10
"""How many minutes ``GET /analytics`` looks back."""

BrokerUrl = Annotated[str, cyclopts.Parameter(env_var="RXSTREAMS_BROKER", help="the broker's URL")]
Id = Annotated[str, Meta(min_length=1, max_length=200)]
Amount = Annotated[int, Meta(ge=0, le=10**15)] | Annotated[float, Meta(ge=0, le=1e15)]
Time = Annotated[datetime, Meta(tz=True)]


class Order(msgspec.Struct, rename="camel", kw_only=True):
    """A record of the topic ``orders``."""

    id: Id
    user_id: Id
    amount: Amount
    timestamp: Time


class Payment(msgspec.Struct, rename="camel", kw_only=True):
    """A record of the topic ``payments``; it has failed if its status is ``failed``."""

    order_id: Id
    payment_id: Id
    status: Id
    user_id: Id
    timestamp: Time


def _now() -> datetime:
    return datetime.now(UTC)


class NewOrder(Order, kw_only=True):
    """An order as it is posted: only the amount is needed."""

    id: Id = ""
    user_id: Id = "guest"
    timestamp: Time = msgspec.field(default_factory=_now)


class NewPayment(Payment, kw_only=True):
    """A payment as it is posted: only the order's id is needed."""

    payment_id: Id = ""
    status: Id = "success"
    user_id: Id = "guest"
    timestamp: Time = msgspec.field(default_factory=_now)


Post = NewOrder | NewPayment


def complete(post: Post, key: str | None = None) -> Post:
    """Give a post the id that it may lack: one that follows from its idempotency key, or a random one."""
    if isinstance(post, NewOrder):
        post.id = post.id or f"order-{_hex(key)}"
    else:
        post.payment_id = post.payment_id or f"pay-{_hex(key)}"
    return post


def _hex(key: str | None) -> str:
    return uuid4().hex if key is None else uuid5(NAMESPACE_URL, f"rxstreams:shop:{key}").hex


class Enriched(msgspec.Struct, rename="camel", kw_only=True):
    """An order with its payment, as ``GET /enriched`` serves the latest."""

    id: Id
    amount: Amount
    payment_id: Id


class Unblock(msgspec.Struct, rename="camel", kw_only=True):
    """A record of the topic ``unblocks``: an operator lets a user pay again."""

    user_id: Id


class Standing(msgspec.Struct, rename="camel", kw_only=True):
    """A row of the view ``blocked``: whether a user's payments are refused."""

    user_id: Id
    blocked: bool


class Minute(rxs.Windowed, frozen=True):
    """A row of the view ``orders-per-minute``."""

    orders: int


class Analytics(msgspec.Struct, rename="camel", kw_only=True):
    """What ``GET /analytics`` serves: all orders and payments so far, as of a commit of the analytics app."""

    total_orders: int = 0
    total_revenue: int | float = 0
    avg_order_value: float = 0
    success_rate: float | None = None
    """Payments that have not failed, in percent of all; None before the first payment."""
    orders_per_minute: list[int] = []
    """Orders by the minute of their timestamp: of the last ten minutes those from the first to the last with an order."""
    duplicate_orders: int = 0
    """Orders that came again within an hour, with an id that had been there; they are counted here, and nowhere else."""
    as_of: int = 0
    """Grows with every commit that changed something."""
