"""Cases for the operators of one family (a part of a stream, and neighbours): pictures, wrong arguments, random instances."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from rxstreams import Stream, operators as ops
from tests.vocabulary.values import Make, number, waiting

PICTURES: dict[str, list[str]] = {
    "take_while": [
        "orders   -|\n[ take_while(lambda x: x < 3) ]\nresult   -|",
        "orders   -1-2-|\n[ take_while(lambda x: x < 3) ]\nresult   -a-b-|   a=1 b=2",
        "orders   -1-3-2|\n[ take_while(lambda x: x < 3, inclusive=True) ]\nresult   -a-(b,|)   a=1 b=3",
        "orders   -3-1-|\n[ take_while(lambda x: x < 3) ]\nresult   -|",
        "orders   -1-0-|\n[ take_while(lambda x: 1 // x) ]\nresult   -a-#   a=1",
    ],
    "take_last": [
        "orders   -|\n[ take_last(2) ]\nresult   -|",
        "orders   -1-|\n[ take_last(2) ]\nresult   ---(a,|)   a=1",
        "orders   -1-2-3|\n[ take_last(0) ]\nresult   ------|",
        "orders   -1-2-#\n[ take_last(1) ]\nresult   -----#",
    ],
    "skip": [
        "orders   -|\n[ skip(2) ]\nresult   -|",
        "orders   -1-2-|\n[ skip(0) ]\nresult   -a-b-|   a=1 b=2",
        "orders   -1-2-|\n[ skip(9) ]\nresult   -----|",
        "orders   (1,2,3)4|\n[ skip(2) ]\nresult   (a)----b|   a=3 b=4",
        "orders   -1-2-#\n[ skip(1) ]\nresult   ---a-#   a=2",
    ],
    "skip_while": [
        "orders   -|\n[ skip_while(lambda x: x < 3) ]\nresult   -|",
        "orders   -1-2-|\n[ skip_while(lambda x: x < 3) ]\nresult   -----|",
        "orders   -3-1-|\n[ skip_while(lambda x: x < 3) ]\nresult   -a-b-|   a=3 b=1",
        "orders   -1-0-3|\n[ skip_while(lambda x: 1 // x) ]\nresult   ---#",
    ],
    "first": [
        "orders   -|\n[ first() ]\nresult   -#",
        "orders   -1-2-|\n[ first() ]\nresult   -(a,|)   a=1",
        "orders   -1-2-|\n[ first(lambda x: x > 5) ]\nresult   -----#",
        "orders   -0-1-|\n[ first(lambda x: 1 // x) ]\nresult   -#",
    ],
    "last": [
        "orders   -|\n[ last() ]\nresult   -#",
        "orders   -1-2-|\n[ last() ]\nresult   -----(a,|)   a=2",
        "orders   -1-2-|\n[ last(lambda x: x > 5) ]\nresult   -----#",
        "orders   -1-2-#\n[ last() ]\nresult   -----#",
    ],
    "pairwise": [
        "orders   -|\n[ pairwise() ]\nresult   -|",
        "orders   -1-|\n[ pairwise() ]\nresult   ---|",
        "orders   -1-1-2|\n[ pairwise() ]\nresult   ---a-b|   a=(1,1) b=(1,2)",
        "orders   -1-2-#\n[ pairwise() ]\nresult   ---a-#   a=(1,2)",
    ],
    "distinct_until_changed": [
        "orders   -|\n[ distinct_until_changed() ]\nresult   -|",
        "orders   -1-1-1|\n[ distinct_until_changed() ]\nresult   -a----|   a=1",
        "orders   -1-3-2|\n[ distinct_until_changed(lambda x: x % 2) ]\nresult   -a---b|   a=1 b=2",
        "orders   -1-2-4|\n[ distinct_until_changed(comparer=lambda a, b: b - a < 2) ]\nresult   -a---b|   a=1 b=4",
        "orders   -1-0-|\n[ distinct_until_changed(lambda x: 1 // x) ]\nresult   -a-#   a=1",
    ],
}
"""Marble pictures by operator, beyond those in its docstring; each is run twice: subscribed to, and in a run."""

ARGUMENTS: dict[str, list[tuple[Callable[[], Any], str]]] = {
    "take_while": [
        (lambda: ops.take_while(3), r"take_while\(predicate\)"),
        (lambda: ops.take_while(waiting), r"take_while\(predicate\).*coroutine function"),
        (lambda: ops.take_while(bool, 1), r"take_while\(inclusive\)"),
        (lambda: ops.take_while(bool, name=3), r"take_while\(name\)"),
        (lambda: ops.take_while(bool, on_error=3), r"take_while: on_error"),
    ],
    "take_last": [
        (lambda: ops.take_last("3"), r"take_last\(count\)"),
        (lambda: ops.take_last(-1), r"take_last\(count\)"),
        (lambda: ops.take_last(1, name=3), r"take_last\(name\)"),
    ],
    "skip": [(lambda: ops.skip(1.5), r"skip\(count\)"), (lambda: ops.skip(1, name=""), r"skip\(name\)")],
    "skip_while": [
        (lambda: ops.skip_while(None), r"skip_while\(predicate\)"),
        (lambda: ops.skip_while(bool, name=3), r"skip_while\(name\)"),
        (lambda: ops.skip_while(bool, on_error=3), r"skip_while: on_error"),
    ],
    "first": [
        (lambda: ops.first(3), r"first\(predicate\)"),
        (lambda: ops.first(name=3), r"first\(name\)"),
        (lambda: ops.first(on_error=3), r"first: on_error"),
    ],
    "last": [
        (lambda: ops.last(3), r"last\(predicate\)"),
        (lambda: ops.last(name=3), r"last\(name\)"),
        (lambda: ops.last(on_error=3), r"last: on_error"),
    ],
    "pairwise": [(lambda: ops.pairwise(name=3), r"pairwise\(name\)")],
    "distinct_until_changed": [
        (lambda: ops.distinct_until_changed(3), r"distinct_until_changed\(key_mapper\)"),
        (lambda: ops.distinct_until_changed(None, waiting), r"distinct_until_changed\(comparer\).*coroutine function"),
        (lambda: ops.distinct_until_changed(name=3), r"distinct_until_changed\(name\)"),
        (lambda: ops.distinct_until_changed(on_error=3), r"distinct_until_changed: on_error"),
    ],
}
"""Wrong arguments by operator, and what the message says."""

BUILD: dict[str, Callable[[], Any]] = {
    "take_while": lambda: ops.take_while(bool),
    "take_last": lambda: ops.take_last(1),
    "skip": lambda: ops.skip(1),
    "skip_while": lambda: ops.skip_while(bool),
    "first": ops.first,
    "last": ops.last,
    "pairwise": ops.pairwise,
    "distinct_until_changed": ops.distinct_until_changed,
}
"""Each operator with some right arguments."""

FLUENT: dict[str, tuple[Any, ...]] = {
    "take_while": (bool,),
    "take_last": (1,),
    "skip": (1,),
    "skip_while": (bool,),
    "first": (),
    "last": (),
    "pairwise": (),
    "distinct_until_changed": (),
}
"""Arguments of the fluent method that RxPY's Observable has by the operator's name, where it has one."""


def _take_while(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    m, inclusive = rng.choice((5, 60)), rng.random() < 0.5
    return s.pipe(ops.take_while(lambda x: number(x) % m != 3, inclusive))


def _take_last(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.take_last(rng.choice((0, 1, 7, 500))))


def _skip(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.skip(rng.choice((0, 1, 30, 500))))


def _skip_while(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    m = rng.choice((3, 25))
    return s.pipe(ops.skip_while(lambda x: number(x) % m))


def _first(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    m = rng.choice((1, 2, 9))
    return s.pipe(ops.start_with(0), ops.first(lambda x: number(x) % m == 0))


def _last(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    m = rng.choice((1, 2, 9))
    return s.pipe(ops.start_with(0), ops.last(lambda x: number(x) % m == 0))


def _pairwise(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.pairwise())


def _distinct_until_changed(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    m = rng.choice((2, 5))
    return s.pipe(
        rng.choice(
            (
                ops.distinct_until_changed(),
                ops.distinct_until_changed(lambda x: number(x) % m),
                ops.distinct_until_changed(number, lambda a, b: abs(a - b) < 4),
            )
        )
    )


GENERATORS: dict[str, Make] = {
    "take_while": _take_while,
    "take_last": _take_last,
    "skip": _skip,
    "skip_while": _skip_while,
    "first": _first,
    "last": _last,
    "pairwise": _pairwise,
    "distinct_until_changed": _distinct_until_changed,
}
"""A random instance of each operator."""
