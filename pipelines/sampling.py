"""Where a demo's records come from: the shop's topics, or, to try it out, an example or a file that is run through in memory."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import cyclopts
import msgspec
import structlog
from cyclopts.types import ExistingFile

import rxstreams as rxs
from pipelines.records import Id, NewOrder, NewPayment, Order, Payment, Time, complete
from rxstreams import operators as ops

__all__ = ["IN_MEMORY", "Input", "Sample", "orders_from", "quiet", "show", "topics_from"]

Sample = Annotated[bool, cyclopts.Parameter(negative=(), help="run over the example instead of the shop's topic, in memory")]
Input = Annotated[
    ExistingFile | None,
    cyclopts.Parameter(
        name="--input", help='run over this file instead, in memory: a JSON order a line, of which {"amount": 100} is enough'
    ),
]
IN_MEMORY = "memory://sample"
Kind = TypeVar("Kind", bound=Order)


class Line(NewOrder, kw_only=True):
    """An order of an example or a file, which may also say when it was handled."""

    handled_at: Time | msgspec.UnsetType = msgspec.UNSET


class PaymentLine(NewPayment, kw_only=True):
    """A payment of an example or a file where there are no orders."""

    order_id: Id = "unknown"


WANTED = {"orders": 'an order such as {"amount": 100}', "payments": 'a payment such as {"orderId": "order-1"}'}


@contextmanager
def orders_from(
    example: Iterable[float | Mapping[str, Any]],
    kind: type[Kind],
    *,
    sample: bool,
    file: Path | None,
    broker: str,
    **reading: Any,
) -> Iterator[tuple[rxs.Stream[Kind], str]]:
    """The orders to run over, read as ``kind``, and the broker to run on; see ``topics_from``."""
    with topics_from(example, {"orders": kind}, sample=sample, file=file, broker=broker, **reading) as (topics, home):
        yield topics["orders"], home


@contextmanager
def topics_from(
    example: Iterable[float | Mapping[str, Any]],
    kinds: Mapping[str, type[Any]],
    *,
    sample: bool,
    file: Path | None,
    broker: str,
    **reading: Any,
) -> Iterator[tuple[dict[str, rxs.Stream[Any]], str]]:
    """The topics to run over, and the broker to run on: the shop's own, or a file's or the example's records in memory.

    Args:
        example: The example's records: orders' amounts, or the fields that are given of each order and payment.
        kinds: The topics, and what their records are read as; of orders and payments, those with an ``orderId`` are payments.
        sample: Whether to run over the example.
        file: The file to run over.
        broker: Where the shop's topics are.
        reading: How else the topics are read: what ``from_topic`` takes, such as ``timestamp``.

    Raises:
        SystemExit: At the end, with status 1, if some lines of the file were no records; they were reported and left out.
    """
    if not sample and file is None:
        yield {topic: rxs.from_topic(topic, kind, on_error=rxs.Skip(), **reading) for topic, kind in kinds.items()}, broker
        return
    quiet()
    lines = [post(order) for order in example] if file is None else file.read_bytes().splitlines()
    found = [read(line, f"{file}:{number}", kinds) for number, line in enumerate(lines, 1) if line.strip()]
    for topic in kinds:
        posts = [one for one in found if isinstance(one, Payment if topic == "payments" else Order)]
        rxs.run(rxs.from_iterable(posts).pipe(ops.to_topic(topic)), app=f"sample-{topic}", broker=IN_MEMORY)
    yield {topic: rxs.from_topic(topic, kind, until="end", **reading) for topic, kind in kinds.items()}, IN_MEMORY
    if None in found:
        raise SystemExit(1)


def quiet(level: int = logging.WARNING) -> None:
    """Have the log say what goes wrong, and no more."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def post(order: float | Mapping[str, Any]) -> bytes:
    """An order of the example as a line."""
    return msgspec.json.encode(order if isinstance(order, Mapping) else {"amount": order})


def read(line: bytes, where: str, topics: Collection[str] = ("orders",)) -> Order | Payment | None:
    """The order or payment on a line, whichever there are; None if there is none, which is reported."""
    try:
        fields = msgspec.json.decode(line)
        of_order = "orders" in topics and not ("payments" in topics and isinstance(fields, dict) and "orderId" in fields)
        kind: type[NewOrder | NewPayment] = Line if of_order else NewPayment if "orders" in topics else PaymentLine
        return complete(msgspec.json.decode(line, type=kind))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        wanted = " or ".join(WANTED[topic] for topic in topics)
        print(f"{where}: expected {wanted}; got {line[:80]!r}: {error}", file=sys.stderr)
        return None


def show(line: object) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)
