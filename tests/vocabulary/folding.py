"""Cases for the operators of one family (all records into one value): pictures, wrong arguments, random instances."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from rxstreams import Stream, operators as ops
from tests.vocabulary.values import Make, number, waiting

PICTURES: dict[str, list[str]] = {
    "count": [
        "orders   -|\n[ count() ]\nresult   -(a,|)   a=0",
        "orders   (1,2)-3|\n[ count() ]\nresult   -------(a,|)   a=3",
        "orders   -1-0-|\n[ count(lambda x: 1 // x) ]\nresult   ---#",
        "orders   -1-#\n[ count() ]\nresult   ---#",
    ],
    "sum": [
        "orders   -|\n[ sum() ]\nresult   -(a,|)   a=0",
        "orders   -1-2-|\n[ sum(lambda x: x * 0.5) ]\nresult   -----(a,|)   a=1.5",
        'orders   -1-b-|   b="x"\n[ sum() ]\nresult   ---#',
        "orders   -1-#\n[ sum() ]\nresult   ---#",
    ],
    "average": [
        "orders   -|\n[ average() ]\nresult   -#",
        "orders   -1-2-|\n[ average() ]\nresult   -----(a,|)   a=1.5",
        "orders   -1-2-|\n[ average(lambda x: x * 2) ]\nresult   -----(a,|)   a=3.0",
        'orders   -1-b-|   b="x"\n[ average() ]\nresult   ---#',
    ],
    "min": [
        "orders   -|\n[ min() ]\nresult   -#",
        "orders   -7-|\n[ min() ]\nresult   ---(a,|)   a=7",
        "orders   -3-1-4-2|\n[ min(lambda a, b: a % 3 - b % 3) ]\nresult   --------(a,|)   a=3",
        'orders   -1-b-|   b="x"\n[ min() ]\nresult   ---#',
    ],
    "max": [
        "orders   -|\n[ max() ]\nresult   -#",
        "orders   -7-|\n[ max() ]\nresult   ---(a,|)   a=7",
        "orders   -3-2-4-5|\n[ max(lambda a, b: a % 3 - b % 3) ]\nresult   --------(a,|)   a=2",
        "orders   -1-#\n[ max() ]\nresult   ---#",
    ],
    "to_list": [
        "orders   -|\n[ to_list() ]\nresult   -(a,|)   a=[]",
        "orders   -1-|\n[ to_list() ]\nresult   ---(a,|)   a=[1]",
        "orders   (1,2)-3|\n[ to_list() ]\nresult   -------(a,|)   a=[1,2,3]",
        "orders   -1-#\n[ to_list() ]\nresult   ---#",
    ],
}
"""Marble pictures by operator, beyond those in its docstring; each is run twice: subscribed to, and in a run."""


ARGUMENTS: dict[str, list[tuple[Callable[[], Any], str]]] = {
    "count": [
        (lambda: ops.count(3), r"count\(predicate\)"),
        (lambda: ops.count(waiting), r"count\(predicate\).*coroutine function"),
        (lambda: ops.count(name=3), r"count\(name\)"),
        (lambda: ops.count(on_error=3), r"count: on_error"),
    ],
    "sum": [
        (lambda: ops.sum(3), r"sum\(key_mapper\)"),
        (lambda: ops.sum(name=3), r"sum\(name\)"),
        (lambda: ops.sum(on_error=3), r"sum: on_error"),
    ],
    "average": [
        (lambda: ops.average(3), r"average\(key_mapper\)"),
        (lambda: ops.average(name=3), r"average\(name\)"),
        (lambda: ops.average(on_error=3), r"average: on_error"),
    ],
    "min": [
        (lambda: ops.min(3), r"min\(comparer\)"),
        (lambda: ops.min(name=3), r"min\(name\)"),
        (lambda: ops.min(on_error=3), r"min: on_error"),
    ],
    "max": [
        (lambda: ops.max(3), r"max\(comparer\)"),
        (lambda: ops.max(name=3), r"max\(name\)"),
        (lambda: ops.max(on_error=3), r"max: on_error"),
    ],
    "to_list": [(lambda: ops.to_list(name=3), r"to_list\(name\)")],
}
"""Wrong arguments by operator, and what the message says."""

BUILD: dict[str, Callable[[], Any]] = {
    "count": ops.count,
    "sum": ops.sum,
    "average": ops.average,
    "min": ops.min,
    "max": ops.max,
    "to_list": ops.to_list,
}
"""Each operator with some right arguments."""

FLUENT: dict[str, tuple[Any, ...]] = dict.fromkeys(BUILD, ())
"""Arguments of the fluent method that RxPY's Observable has by the operator's name, where it has one."""


def _count(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(rng.choice((ops.count(), ops.count(lambda x: number(x) % 3))))


def _sum(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(rng.choice((ops.sum(number), ops.sum(lambda x: number(x) / 10))))


def _average(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.start_with(3), ops.average(lambda x: number(x) / 10))


def _min(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.map(number), ops.start_with(3), rng.choice((ops.min(), ops.min(lambda a, b: a % 7 - b % 7))))


def _max(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.map(number), ops.start_with(3), rng.choice((ops.max(), ops.max(lambda a, b: a % 7 - b % 7))))


def _to_list(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.to_list())


GENERATORS: dict[str, Make] = {
    "count": _count,
    "sum": _sum,
    "average": _average,
    "min": _min,
    "max": _max,
    "to_list": _to_list,
}
"""A random instance of each operator."""
