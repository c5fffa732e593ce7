"""Cases for the operators of one family (edges and calls): pictures, wrong arguments, random instances."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from rxstreams import Retry, Skip, Stream, operators as ops
from tests.vocabulary.values import Make, waiting, yielding

AWAITING = ("enrich", "filter_async", "flat_map_async", "map_async")
"""Operators that need a loop, so that the laws' harness, which has none, cannot drive them; see tests/flow/test_async_laws.py."""

NAMES: dict[str, Any] = {"asyncio": asyncio}

PICTURES: dict[str, list[str]] = {
    "bounded": [
        "orders   -|\n[ bounded(3) ]\nresult   -|",
        "orders   (1,2,3)--#\n[ bounded(2, 'latest') ]\nresult   (a,b,c)--#   a=1 b=2 c=3",
    ],
    "rate_limit": [
        "orders   -|\n[ rate_limit(1) ]\nresult   -|",
        "orders   -1--2--|\n[ rate_limit(1, per=2) ]\nresult   -a--b--|   a=1 b=2",
        "orders   -(1,2,3)-------|\n[ rate_limit(1, per=3) ]\nresult   -a--b--c-------|   a=1 b=2 c=3",
        "orders   (1,2,3)---#\n[ rate_limit(1, per=9) ]\nresult   (a)------b#   a=1 b=2",
        "orders   (1,2,3,4)---|\n[ rate_limit(1, 4, capacity=1, overflow='drop_oldest') ]\nresult   (a)-b-------|   a=1 b=4",
        "orders   (1,2,3,4)---|\n[ rate_limit(1, 4, capacity=1, overflow='drop_newest') ]\nresult   (a)-b-------|   a=1 b=2",
        "orders   (1,2,3,4)---|\n[ rate_limit(1, 4, capacity=2, overflow='latest') ]\nresult   (a)-b-------|   a=1 b=4",
        "orders   (1,2,3)---|\n[ rate_limit(1, 2, capacity=1, overflow='fail') ]\nresult   (a,#)   a=1",
    ],
    "map_async": [
        "orders   -|\n[ map_async(lambda x: asyncio.sleep(1, x)) ]\nresult   -|",
        "orders   -1-#\n[ map_async(lambda x: asyncio.sleep(9, x)) ]\nresult   ---#",
        "orders   (3,2)---|\n[ map_async(lambda x: asyncio.sleep(x, x), concurrency=1) ]\nresult   ---a-b--|   a=3 b=2",
        "orders   -9-|\n[ map_async(lambda x: asyncio.sleep(x, x), timeout=2) ]\nresult   ---#",
    ],
    "filter_async": [
        "orders   -2-3|\n[ filter_async(lambda x: asyncio.sleep(x, x > 2)) ]\nresult   ------(a,|)   a=3",
    ],
    "flat_map_async": [
        "orders   -2----0|\n[ flat_map_async(lambda x: asyncio.sleep(1, range(x))) ]\nresult   --(a,b)|   a=0 b=1",
    ],
    "enrich": [
        "orders   -5--5|\n[ enrich(lambda k: asyncio.sleep(1, k * 2), key=int) ]\nresult   --a-b|   a=(5,10) b=(5,10)",
    ],
}
"""Marble pictures by operator, beyond those in its docstring; each is run twice: subscribed to, and in a run."""


def _calls(make: Callable[..., Any], kind: str, first: str) -> list[tuple[Callable[[], Any], str]]:
    """What operators that call have in common."""
    return [
        (lambda: make(3), rf"{kind}\(function\): expected a coroutine function, got 3.*|{first}"),
        (lambda: make(waiting, concurrency=0), rf"{kind}\(concurrency\)"),
        (lambda: make(waiting, ordered="key"), rf"{kind}\(ordered\)"),
        (lambda: make(waiting, timeout=0), rf"{kind}\(timeout\)"),
        (lambda: make(waiting, retry="3"), rf"{kind}\(retry\)"),
        (lambda: make(waiting, retry=2, on_error=Retry(1)), rf"{kind}\(retry\): on_error="),
        (lambda: make(waiting, retry=Retry(1, then=Skip()), on_error=Skip()), rf"{kind}\(on_error\): Retry"),
        (lambda: make(waiting, capacity=0), rf"{kind}\(capacity\)"),
        (lambda: make(waiting, capacity=4, overflow="latest", concurrency=4), rf"{kind}\(capacity\): 'latest' drops"),
        (lambda: make(waiting, overflow="wait"), rf"{kind}\(overflow\)"),
        (lambda: make(waiting, on_error=3), rf"{kind}: on_error"),
        (lambda: make(waiting, name=3), rf"{kind}\(name\)"),
    ]


def _by_field(function: Any, **options: Any) -> Any:
    return ops.enrich(function, key="id", **options)


ARGUMENTS: dict[str, list[tuple[Callable[[], Any], str]]] = {
    "bounded": [
        (lambda: ops.bounded(0), r"bounded\(capacity\)"),
        (lambda: ops.bounded(2, "wait"), r"bounded\(overflow\): expected one of 'block', "),
        (lambda: ops.bounded(2, resume_at=2), r"bounded\(resume_at\): expected less than the capacity of 2"),
        (lambda: ops.bounded(2, resume_at=-1), r"bounded\(resume_at\)"),
        (lambda: ops.bounded(2, on_full=3), r"bounded\(on_full\)"),
        (lambda: ops.bounded(2, name=3), r"bounded\(name\)"),
    ],
    "rate_limit": [
        (lambda: ops.rate_limit(0), r"rate_limit\(n\)"),
        (lambda: ops.rate_limit(1, per=0), r"rate_limit\(per\)"),
        (lambda: ops.rate_limit(1, capacity=0), r"rate_limit\(capacity\)"),
        (lambda: ops.rate_limit(1, overflow="wait"), r"rate_limit\(overflow\)"),
        (lambda: ops.rate_limit(1, scheduler=3), r"rate_limit\(scheduler\)"),
        (lambda: ops.rate_limit(1, name=3), r"rate_limit\(name\)"),
    ],
    "map_async": [
        *_calls(ops.map_async, "map_async", "function"),
        (lambda: ops.map_async(yielding), r"map_async\(function\): .*async generator function.*flat_map_async"),
    ],
    "filter_async": _calls(ops.filter_async, "filter_async", "predicate"),
    "flat_map_async": _calls(ops.flat_map_async, "flat_map_async", "function"),
    "enrich": [
        *_calls(_by_field, "enrich", "function"),
        (lambda: ops.enrich(waiting, key=3), r"enrich\(key\)"),
        (lambda: _by_field(waiting, ttl=0), r"enrich\(ttl\)"),
        (lambda: _by_field(waiting, negative_ttl=-1), r"enrich\(negative_ttl\)"),
        (lambda: _by_field(waiting, max_entries=0), r"enrich\(max_entries\)"),
        (lambda: _by_field(waiting, batch=0), r"enrich\(batch\)"),
    ],
}
"""Wrong arguments by operator, and what the message says."""

BUILD: dict[str, Callable[[], Any]] = {
    "bounded": lambda: ops.bounded(5, "drop_oldest"),
    "rate_limit": lambda: ops.rate_limit(5, per=1),
    "map_async": lambda: ops.map_async(waiting),
    "filter_async": lambda: ops.filter_async(waiting),
    "flat_map_async": lambda: ops.flat_map_async(yielding),
    "enrich": lambda: ops.enrich(waiting, key="id"),
}
"""Each operator with some right arguments."""

FLUENT: dict[str, tuple[Any, ...]] = {}
"""RxPY's Observable has none of them."""


def _bounded(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.bounded(rng.choice((1, 5, 500)), rng.choice(("block", "drop_oldest", "latest"))))


def _rate_limit(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.rate_limit(rng.choice((1, 5, 40)), per=rng.choice((0.5, 2.0)), capacity=10_000))


GENERATORS: dict[str, Make] = {"bounded": _bounded, "rate_limit": _rate_limit}
"""A random instance of each operator that needs no loop."""
