"""Where a demo's orders come from: the shop's topic, or, to try it out, an example or a file that is run through in memory."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import cyclopts
import msgspec
import structlog
from cyclopts.types import ExistingFile

import rxstreams as rxs
from pipelines.records import NewOrder, Order, Time, complete
from rxstreams import operators as ops

__all__ = ["Input", "Sample", "orders_from", "show"]

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
    """The orders to run over, and the broker to run on: the shop's own topic, or a file's or the example's orders in memory.

    Args:
        example: The example's orders: amounts, or the fields that are given of each.
        kind: What an order is read as.
        sample: Whether to run over the example.
        file: The file to run over.
        broker: Where the shop's topic is.
        reading: How else the topic is read: what ``from_topic`` takes, such as ``timestamp``.

    Raises:
        SystemExit: At the end, with status 1, if some lines of the file were no orders; they were reported and left out.
    """
    if not sample and file is None:
        yield rxs.from_topic("orders", kind, on_error=rxs.Skip(), **reading), broker
        return
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    lines = [post(order) for order in example] if file is None else file.read_bytes().splitlines()
    found = [read(line, f"{file}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    posts = [order for order in found if order is not None]
    rxs.run(rxs.from_iterable(posts).pipe(ops.to_topic("orders")), app="sample", broker=IN_MEMORY)
    yield rxs.from_topic("orders", kind, until="end", **reading), IN_MEMORY
    if len(posts) < len(found):
        raise SystemExit(1)


def post(order: float | Mapping[str, Any]) -> bytes:
    """An order of the example as a line."""
    return msgspec.json.encode(order if isinstance(order, Mapping) else {"amount": order})


def read(line: bytes, where: str) -> Order | None:
    """The order on a line; None if there is none, which is reported."""
    try:
        order = complete(msgspec.json.decode(line, type=Line))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        print(f'{where}: expected an order such as {{"amount": 100}}; got {line[:80]!r}: {error}', file=sys.stderr)
        return None
    assert isinstance(order, Line)
    return order


def show(line: object) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)
