"""Cases for the operators of one family (several streams into one, one into several): pictures, arguments, instances."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import reactivex

from rxstreams import Stream, operators as ops
from tests.vocabulary.values import Make, number, waiting

PICTURES: dict[str, list[str]] = {
    "with_latest_from": [
        "orders   -|\nrates    -5-|\n[ with_latest_from(rates) ]\nresult   -|",
        "orders   -1-2-|\nrates    -|\n[ with_latest_from(rates) ]\nresult   -----|",
        "orders   ---1-2-|\nrates    -5-|\n[ with_latest_from(rates) ]\nresult   ---a-b-|   a=(1,5) b=(2,5)",
        "orders   ---1-2-|\nrates    -5--#\n[ with_latest_from(rates) ]\nresult   ---a#   a=(1,5)",
    ],
    "zip": [
        "orders   -|\nlabels   -7-|\n[ zip(labels) ]\nresult   -|",
        "orders   -1-2-|\nlabels   ----7--8|\n[ zip(labels) ]\nresult   ----a--(b,|)   a=(1,7) b=(2,8)",
        "orders   -1-2-3-|\nlabels   ----7-|\n[ zip(labels) ]\nresult   ----a-|   a=(1,7)",
        "orders   -1-2-|\nlabels   --7#\n[ zip(labels) ]\nresult   --a#   a=(1,7)",
        "orders   -1-2-|\n[ zip() ]\nresult   -a-b-|   a=(1,) b=(2,)",
    ],
    "concat": [
        "orders   -|\nmore     --3|\n[ concat(more) ]\nresult   ---a|   a=3",
        "orders   -1-|\nmore     -3-|\n[ concat(more) ]\nresult   -a--b-|   a=1 b=3",
        "orders   -1-|\n[ concat() ]\nresult   -a-|   a=1",
        "orders   -1-#\nmore     -3-|\n[ concat(more) ]\nresult   -a-#   a=1",
    ],
    "start_with": [
        "orders   ---|\n[ start_with(8) ]\nresult   (a)|   a=8",
        "orders   -1-|\n[ start_with() ]\nresult   -a-|   a=1",
        "orders   ---1-#\n[ start_with(7) ]\nresult   (a)b-#   a=7 b=1",
    ],
    "share": [
        "orders   -|\n[ share() ]\nresult   -|",
        "orders   -1-2-|\n[ share(), lambda s: s.pipe(zip(s)) ]\nresult   -a-b-|   a=(1,1) b=(2,2)",
        "orders   -1-#\n[ share() ]\nresult   -a-#   a=1",
    ],
    "partition": [
        "orders   -|\n[ partition(lambda x: x > 2), lambda both: both[0] ]\nresult   -|",
        "orders   -1-3-|\n[ partition(lambda x: x > 2), lambda both: both[0] ]\nresult   ---a-|   a=3",
        "orders   -1-0-|\n[ partition(lambda x: 1 // x), lambda both: both[0] ]\nresult   -a-#   a=1",
    ],
    "group_by": [
        "orders   -|\n[ group_by(lambda x: x) ]\nresult   -|",
        "orders   -1-2-1|\n[ group_by(lambda x: x), map(lambda group: group.key) ]\nresult   -a-b--|   a=1 b=2",
        "orders   -1-2-3|\n[ group_by(lambda x: x % 2, lambda x: x * 10), flat_map(lambda group: group) ]\n"
        "result   -a-b-c|   a=10 b=20 c=30",
        "orders   -1-0-|\n[ group_by(lambda x: 1 // x), map(lambda group: group.key) ]\nresult   -a-#   a=1",
    ],
}
"""Marble pictures by operator, beyond those in its docstring; each is run twice: subscribed to, and in a run."""

ARGUMENTS: dict[str, list[tuple[Callable[[], Any], str]]] = {
    "with_latest_from": [
        (lambda: ops.with_latest_from(3), r"with_latest_from: expected an Observable as input 1, got 3"),
        (lambda: ops.with_latest_from(name=3), r"with_latest_from\(name\)"),
    ],
    "zip": [
        (lambda: ops.zip([1]), r"zip: expected an Observable as input 1, got \[1\]"),
        (lambda: ops.zip(capacity=0), r"zip\(capacity\)"),
        (lambda: ops.zip(name=3), r"zip\(name\)"),
    ],
    "concat": [
        (lambda: ops.concat(3), r"concat: expected an Observable as input 1, got 3"),
        (lambda: ops.concat(name=3), r"concat\(name\)"),
    ],
    "start_with": [(lambda: ops.start_with(1, name=3), r"start_with\(name\)")],
    "share": [],
    "partition": [
        (lambda: ops.partition(3), r"partition\(predicate\)"),
        (lambda: ops.partition(waiting), r"partition\(predicate\).*coroutine function"),
        (lambda: ops.partition(bool, on_error=3), r"partition: on_error"),
    ],
    "group_by": [
        (lambda: ops.group_by(3), r"group_by\(key_mapper\)"),
        (lambda: ops.group_by(bool, 3), r"group_by\(element_mapper\)"),
        (lambda: ops.group_by(bool, bool, 3), r"group_by\(subject_mapper\)"),
    ],
}
"""Wrong arguments by operator, and what the message says."""

BUILD: dict[str, Callable[[], Any]] = {
    "with_latest_from": lambda: ops.with_latest_from(reactivex.of(1)),
    "zip": lambda: ops.zip(reactivex.of(1)),
    "concat": lambda: ops.concat(reactivex.of(1)),
    "start_with": lambda: ops.start_with(1),
    "share": ops.share,
    "partition": lambda: ops.partition(bool),
    "group_by": lambda: ops.group_by(bool),
}
"""Each operator with some right arguments."""

FLUENT: dict[str, tuple[Any, ...]] = {
    "with_latest_from": (reactivex.of(1),),
    "zip": (reactivex.of(1),),
    "concat": (reactivex.of(1),),
    "start_with": (1,),
    "share": (),
    "partition": (bool,),
    "group_by": (bool,),
}
"""Arguments of the fluent method that RxPY's Observable has by the operator's name, where it has one."""


def _some(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    m = rng.randrange(2, 4)
    return s.pipe(ops.filter(lambda x: number(x) % m))


def _with_latest_from(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.with_latest_from(_some(rng, s), *([_some(rng, s)] if rng.random() < 0.3 else [])))


def _zip(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.zip(_some(rng, s), *([_some(rng, s)] if rng.random() < 0.3 else [])))


def _concat(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.take(rng.choice((0, 5, 60))), ops.concat(_some(rng, s), *([s] if rng.random() < 0.3 else [])))


def _start_with(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.start_with(*range(rng.randrange(3))))


def _share(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.share())


def _partition(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    some, others = s.pipe(ops.partition(lambda x: number(x) % 3 == 0))
    return some.pipe(ops.merge(others.pipe(ops.map(lambda x: -number(x)))))


GENERATORS: dict[str, Make] = {
    "with_latest_from": _with_latest_from,
    "zip": _zip,
    "concat": _concat,
    "start_with": _start_with,
    "share": _share,
    "partition": _partition,
}
"""A random instance of each operator; ``group_by`` works in a subscription only."""
