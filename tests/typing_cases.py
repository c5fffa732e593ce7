"""Never run, only read by mypy and pyright: the types of elements flow through `pipe` (see test_typing.py)."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypedDict, assert_type

import msgspec
import reactivex
from reactivex import Observable, operators as rx

import rxstreams as rxs
from rxstreams import aggregates as agg, operators as ops
from rxstreams.feeds.http import from_ndjson, from_poll, from_sse, from_websocket
from rxstreams.state.keyed import Context
from rxstreams.stream import Operator
from rxstreams.watermarks import Late


class Order(msgspec.Struct):
    """A record."""

    id: str
    user_id: str
    amount: float


class Payment(TypedDict):
    """Another record."""

    order: str
    amount: float


orders = rxs.from_topic("orders", Order, timestamp=lambda order: 0, out_of_orderness=5.0)
payments = rxs.from_topic("payments", Payment)
amounts = orders.pipe(ops.map(lambda order: order.amount))


def sources(items: AsyncIterator[Order]) -> None:
    """A source's type is that of its values."""
    assert_type(orders, rxs.Stream[Order])
    assert_type(payments, rxs.Stream[Payment])
    assert_type(rxs.from_topic("anything"), rxs.Stream[Any])
    assert_type(rxs.from_topic("bytes", bytes, start="latest"), rxs.Stream[bytes])
    assert_type(from_sse("http://host/", Order, event="order", timestamp="at", timeout=5), rxs.Stream[Order])
    assert_type(from_ndjson(["http://host/"], Order, resume=lambda order: {"after": order.id}), rxs.Stream[Order])
    assert_type(from_websocket("ws://host/", Payment, send={"subscribe": 1}), rxs.Stream[Payment])
    assert_type(from_poll("http://host/", every=1, next=lambda page: page.headers.get("link")), rxs.Stream[Any])
    from_sse("http://host/", Order, timeuot=5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]  # no such option
    assert_type(rxs.from_topic("nested", list[int], until="end", finish=False), rxs.Stream[list[int]])
    assert_type(rxs.from_iterable([1, 2]), rxs.Stream[int])
    assert_type(rxs.from_async_iterable(items), rxs.Stream[Order])
    assert_type(rxs.from_async_iterable(lambda: items), rxs.Stream[Order])


def one_by_one() -> None:
    """Operators on single records."""
    assert_type(amounts, rxs.Stream[float])
    assert_type(orders.pipe(ops.filter(lambda order: order.amount > 0)), rxs.Stream[Order])
    assert_type(orders.pipe(ops.take(5)), rxs.Stream[Order])
    assert_type(orders.pipe(ops.distinct()), rxs.Stream[Order])
    assert_type(orders.pipe(ops.distinct(lambda order: order.id)), rxs.Stream[Order])
    assert_type(orders.pipe(ops.key_by("user_id")), rxs.Stream[Order])
    assert_type(orders.pipe(ops.key_by(lambda order: order.user_id)), rxs.Stream[Order])
    assert_type(payments.pipe(ops.map(lambda payment: payment["amount"])), rxs.Stream[float])


def letters(order: Order) -> list[str]:
    """Return several values of one."""
    return list(order.id)


def later(order: Order) -> Observable[bytes]:
    """Return an Observable of one."""
    return reactivex.of(order.id.encode())


def one_to_many() -> None:
    """flat_map takes what iterables and Observables hold out of them."""
    assert_type(orders.pipe(ops.flat_map(letters)), rxs.Stream[str])
    assert_type(orders.pipe(ops.flat_map(lambda order: [order.amount])), rxs.Stream[float])
    assert_type(orders.pipe(ops.flat_map(later)), rxs.Stream[bytes])
    assert_type(orders.pipe(ops.flat_map(reactivex.of(1))), rxs.Stream[int])


def add(total: float, amount: float) -> float:
    """Fold one value in."""
    return total + amount


def put(found: list[str], order: Order) -> list[str]:
    """Fold one value of another type in."""
    return [*found, order.id]


def many_to_one() -> None:
    """Folds have the type of what they fold into; buffers are lists."""
    empty: list[str] = []
    assert_type(amounts.pipe(ops.scan(add)), rxs.Stream[float])
    assert_type(amounts.pipe(ops.reduce(add, 0.0)), rxs.Stream[float])
    assert_type(orders.pipe(ops.scan(put, empty)), rxs.Stream[list[str]])
    assert_type(orders.pipe(ops.scan(lambda total, order: total + order.amount, 0.0)), rxs.Stream[float])
    assert_type(orders.pipe(ops.reduce(lambda total, order: total + order.amount, 0.0)), rxs.Stream[float])
    assert_type(orders.pipe(ops.buffer_with_count(10)), rxs.Stream[list[Order]])
    assert_type(orders.pipe(ops.buffer_with_time(1.0)), rxs.Stream[list[Order]])
    assert_type(orders.pipe(ops.aggregate(n=agg.count(), total=agg.sum("amount"))), rxs.Stream[Any])


def parts() -> None:
    """A part of a stream has its type; neighbours are pairs."""
    assert_type(orders.pipe(ops.take_while(lambda order: order.amount > 0)), rxs.Stream[Order])
    assert_type(orders.pipe(ops.skip_while(lambda order: order.amount > 0)), rxs.Stream[Order])
    assert_type(orders.pipe(ops.skip(1)), rxs.Stream[Order])
    assert_type(orders.pipe(ops.take_last(3)), rxs.Stream[Order])
    assert_type(orders.pipe(ops.first(lambda order: order.amount > 0)), rxs.Stream[Order])
    assert_type(orders.pipe(ops.last()), rxs.Stream[Order])
    assert_type(orders.pipe(ops.pairwise()), rxs.Stream[tuple[Order, Order]])
    assert_type(orders.pipe(ops.distinct_until_changed(lambda order: order.id)), rxs.Stream[Order])
    assert_type(orders.pipe(ops.do_action(note)), rxs.Stream[Order])
    assert_type(orders.pipe(ops.map_indexed(lambda order, i: order.amount * i)), rxs.Stream[float])
    assert_type(orders.pipe(ops.filter_indexed(lambda order, i: i > 3)), rxs.Stream[Order])
    assert_type(orders.pipe(ops.debounce(1.0)), rxs.Stream[Order])
    assert_type(orders.pipe(ops.delay(1.0)), rxs.Stream[Order])
    assert_type(orders.pipe(ops.share()), rxs.Stream[Order])


def windows() -> None:
    """Windows give results with a key and bounds, and late records."""
    counts = orders.pipe(ops.key_by("id"), ops.windowed(rxs.tumbling(60), n=agg.count()))
    assert_type(counts, rxs.Stream[rxs.Windowed])
    assert_type(counts.late, rxs.Stream[Late[Any]])
    assert_type(counts.pipe(ops.map(lambda row: row.start)), rxs.Stream[int])
    assert_type(orders.pipe(ops.filter(lambda order: order.amount > 0), ops.event_time("at")), rxs.Stream[Order])
    assert_type(orders.pipe(ops.event_time(lambda order: order.amount)), rxs.Stream[Order])


def paid(pair: tuple[Order, Payment]) -> float:
    """What was paid of an order."""
    return pair[1]["amount"] / pair[0].amount


def joins() -> None:
    """Joins make pairs, with None where one may be missing; duplicates are of the stream's type."""
    left, right = orders.pipe(ops.key_by("id")), payments.pipe(ops.key_by(lambda payment: payment["order"]))
    assert_type(left.pipe(ops.interval_join(right, within=300)), rxs.Stream[tuple[Order, Payment]])
    assert_type(left.pipe(ops.interval_join(right, within=300, how="left")), rxs.Stream[tuple[Order, Payment | None]])
    assert_type(left.pipe(ops.interval_join(right, lower=0, upper=3, how="right")), rxs.Stream[tuple[Order | None, Payment]])
    assert_type(left.pipe(ops.interval_join(right, within=3, how="outer")), rxs.Stream[tuple[Order | None, Payment | None]])
    assert_type(left.pipe(ops.interval_join(right, within=3, how="anti")), rxs.Stream[Order])
    assert_type(left.pipe(ops.as_of_join(right)), rxs.Stream[tuple[Order, Payment | None]])
    assert_type(left.pipe(ops.as_of_join(right, how="inner")), rxs.Stream[tuple[Order, Payment]])
    assert_type(left.pipe(ops.join_table(rxs.table(right))), rxs.Stream[tuple[Order, Payment]])
    assert_type(left.pipe(ops.join_table(rxs.table(right), how="left")), rxs.Stream[tuple[Order, Payment | None]])
    assert_type(left.pipe(ops.interval_join(right, within=3), ops.map(paid)), rxs.Stream[float])
    assert_type(rxs.latest_by_key(a=left, b=right), rxs.Stream[Any])
    once = orders.pipe(ops.dedup("id", ttl=60))
    assert_type(once, rxs.Stream[Order])
    assert_type(once.duplicates, rxs.Stream[Order])
    assert_type(orders.pipe(ops.dedup(lambda order: order.id, ttl=60, keep="last")), rxs.Stream[Order])
    assert_type(orders.pipe(ops.dedup("id", ttl=60, keep=agg.max("amount"))), rxs.Stream[Any])


def totals() -> None:
    """What all records come to."""
    assert_type(orders.pipe(ops.count()), rxs.Stream[int])
    assert_type(orders.pipe(ops.average(lambda order: order.amount)), rxs.Stream[float])
    assert_type(amounts.pipe(ops.max()), rxs.Stream[float])
    assert_type(orders.pipe(ops.to_list()), rxs.Stream[list[Order]])
    assert_type(orders.pipe(ops.buffer_with_time_or_count(1.0, 10)), rxs.Stream[list[Order]])


def several() -> None:
    """Streams that are combined make tuples; merged ones are of one type."""
    assert_type(orders.pipe(ops.combine_latest(payments)), rxs.Stream[tuple[Order, Payment]])
    assert_type(orders.pipe(ops.combine_latest(payments, amounts)), rxs.Stream[tuple[Order, Payment, float]])
    assert_type(orders.pipe(ops.merge(orders)), rxs.Stream[Order])
    assert_type(orders.pipe(ops.concat(orders)), rxs.Stream[Order])
    assert_type(orders.pipe(ops.zip(payments)), rxs.Stream[tuple[Order, Payment]])
    assert_type(orders.pipe(ops.with_latest_from(payments, amounts)), rxs.Stream[tuple[Order, Payment, float]])
    assert_type(orders.pipe(ops.partition(lambda order: order.amount > 0)), list[rxs.Stream[Order]])
    assert_type(amounts.pipe(ops.merge(reactivex.of(1.0), amounts)), rxs.Stream[float])


def note(order: Order) -> None:
    """Do something with a record."""


async def send(order: Order) -> None:
    """Send a record."""


def encoded(order: Order) -> bytes:
    """Return a record's bytes."""
    return order.id.encode()


def sinks(function: Callable[[Order], Awaitable[int]]) -> None:
    """Sinks pass values on."""
    assert_type(orders.pipe(ops.to_topic("copies")), rxs.Stream[Order])
    assert_type(orders.pipe(ops.to_topic("copies", key=lambda order: order.id, encode=encoded)), rxs.Stream[Order])
    assert_type(orders.pipe(ops.to_view("latest", publish=True)), rxs.Stream[Order])
    assert_type(orders.pipe(ops.to_callable(note)), rxs.Stream[Order])
    assert_type(orders.pipe(ops.to_callable(send)), rxs.Stream[Order])
    assert_type(orders.pipe(ops.to_callable(function)), rxs.Stream[Order])


class Total:
    """A keyed operator of a user."""

    def open(self) -> list[float]:
        """Return the first state."""
        return [0.0]

    def process(self, state: list[float], key: str, value: Order, time: int, ctx: Context[list[float], bytes]) -> None:
        """Handle a record."""
        state[0] += value.amount
        assert_type(ctx.watermark, int)
        ctx.emit(value.id.encode())
        ctx.replace([0.0])

    def on_timer(self, state: list[float], key: str, time: int, ctx: Context[list[float], bytes]) -> None:
        """Handle a timer."""


def keyed() -> None:
    """A keyed operator's results have the type that it emits."""
    operator: rxs.KeyedOperator[str, Order, list[float], bytes] = Total()
    assert_type(orders.pipe(ops.key_by("user_id"), ops.process(operator)), rxs.Stream[bytes])
    assert_type(orders.pipe(ops.key_by("user_id"), ops.process(Total())), rxs.Stream[bytes])


def pair_of(order: Order) -> tuple[str, float]:
    """Return two fields."""
    return order.user_id, order.amount


def long() -> None:
    """Types flow through a long pipe."""
    assert_type(
        orders.pipe(
            ops.filter(lambda order: order.amount > 0),
            ops.map(pair_of),
            ops.key_by(lambda pair: pair[0]),
            ops.distinct(),
            ops.map(lambda pair: pair[1]),
            ops.scan(add, 0.0),
            ops.buffer_with_count(2),
        ),
        rxs.Stream[list[float]],
    )
    assert_type(
        orders.pipe(ops.filter(lambda order: order.amount > 0), ops.key_by("user_id"), ops.to_topic("paid")),
        rxs.Stream[Order],
    )
    assert_type(orders.pipe(ops.key_by("user_id"), ops.distinct(), ops.take(3), ops.map(encoded)), rxs.Stream[bytes])


def lambdas() -> None:
    """A lambda anywhere in a pipe knows what comes in."""
    assert_type(
        orders.pipe(
            ops.filter(lambda order: order.amount > 0),
            ops.key_by(lambda order: order.user_id),
            ops.filter(lambda order: order.id != ""),
            ops.take(9),
            ops.distinct(lambda order: order.id),
            ops.take(8),
            ops.key_by("id"),
            ops.to_topic("copies"),
        ),
        rxs.Stream[Order],
    )


def difference(pair: tuple[float, float]) -> float:
    """Return how much a value grew."""
    return pair[1] - pair[0]


def foreign() -> None:
    """RxPY's operators go into the same pipe: after them it is an Observable, after one of ours a Stream again."""
    assert_type(orders.pipe(ops.map(encoded), rx.debounce(1.0)), Observable[bytes])
    assert_type(orders.pipe(rx.map(encoded), ops.filter(lambda data: data != b"")), rxs.Stream[bytes])
    assert_type(amounts.pipe(rx.pairwise(), ops.map(difference)), rxs.Stream[float])
    assert_type(orders.pipe(ops.key_by("id"), rx.delay(1.0), ops.key_by("id"), ops.to_view("late")), rxs.Stream[Order])
    assert_type(reactivex.of(1, 2).pipe(ops.map(str), ops.take(1)), rxs.Stream[str])


def own(source: Observable[Order]) -> rxs.Stream[bytes]:
    """Make an operator of operators."""
    return source.pipe(ops.filter(lambda order: order.amount > 0), ops.map(encoded))


def operators() -> None:
    """A function of a user is an operator like ours."""
    operator: Operator[Order, bytes] = own
    assert_type(orders.pipe(operator), rxs.Stream[bytes])
    assert_type(orders.pipe(own, ops.take(1)), rxs.Stream[bytes])


async def pulled() -> None:
    """`async for` gives the elements."""
    async for order in orders:
        assert_type(order, Order)
