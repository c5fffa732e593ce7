"""Cases for the operators of one family (one record in, some records out): pictures, wrong arguments, random instances."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from rxstreams import Stream, operators as ops
from tests.vocabulary.values import Make, number, waiting

PICTURES: dict[str, list[str]] = {
    "map_indexed": [
        "orders   -|\n[ map_indexed(lambda x, i: i) ]\nresult   -|",
        "orders   (1,2)-3|\n[ map_indexed(lambda x, i: x + i) ]\nresult   (a,b)-c|   a=1 b=3 c=5",
        "orders   -1-0-1-|\n[ map_indexed(lambda x, i: 1 // x) ]\nresult   -a-#   a=1",
        "orders   -1-2-#\n[ map_indexed(None) ]\nresult   -a-b-#   a=1 b=2",
    ],
    "filter_indexed": [
        "orders   -|\n[ filter_indexed(lambda x, i: True) ]\nresult   -|",
        "orders   -1-2-3-|\n[ filter_indexed(None) ]\nresult   -a-b-c-|   a=1 b=2 c=3",
        "orders   -1-2-3-|\n[ filter_indexed(lambda x, i: i) ]\nresult   ---a-b-|   a=2 b=3",
        "orders   -1-2-#\n[ filter_indexed(lambda x, i: i > 5) ]\nresult   -----#",
    ],
    "do_action": [
        "orders   -|\n[ do_action(print) ]\nresult   -|",
        "orders   -1-2-|\n[ do_action() ]\nresult   -a-b-|   a=1 b=2",
        "orders   -1-0-2|\n[ do_action(lambda x: 1 // x) ]\nresult   -a-#   a=1",
        "orders   -1-#\n[ do_action(None, lambda e: e) ]\nresult   -a-#   a=1",
    ],
}
"""Marble pictures by operator, beyond those in its docstring; each is run twice: subscribed to, and in a run."""

PICTURES["event_time"] = [
    "orders   -|\n[ event_time(lambda x: x) ]\nresult   -|",
    "orders   -3-1-2-|\n[ event_time(lambda x: x, out_of_orderness=5.0) ]\nresult   -a-b-c-|   a=3 b=1 c=2",
    'orders   -a-|   a={"at": "2026-01-16T10:00:00Z"}\n[ event_time("at") ]\nresult   -a-|   a={"at": "2026-01-16T10:00:00Z"}',
]

ARGUMENTS: dict[str, list[tuple[Callable[[], Any], str]]] = {
    "map_indexed": [
        (lambda: ops.map_indexed(3), r"map_indexed\(mapper_indexed\)"),
        (lambda: ops.map_indexed(waiting), r"map_indexed\(mapper_indexed\).*coroutine function"),
        (lambda: ops.map_indexed(name=3), r"map_indexed\(name\)"),
        (lambda: ops.map_indexed(on_error=3), r"map_indexed: on_error"),
    ],
    "filter_indexed": [
        (lambda: ops.filter_indexed("x"), r"filter_indexed\(predicate_indexed\)"),
        (lambda: ops.filter_indexed(name=""), r"filter_indexed\(name\)"),
        (lambda: ops.filter_indexed(on_error="skip"), r"filter_indexed: on_error"),
    ],
    "event_time": [
        (lambda: ops.event_time(3), r"event_time\(timestamp\)"),
        (lambda: ops.event_time(""), r"event_time\(timestamp\)"),
        (lambda: ops.event_time(waiting), r"event_time\(timestamp\).*coroutine function"),
        (lambda: ops.event_time("at", out_of_orderness=-1), r"event_time\(out_of_orderness\)"),
        (lambda: ops.event_time("at", watermarks=3), r"event_time\(watermarks\)"),
        (lambda: ops.event_time("at", advance_when_idle=None), r"event_time\(advance_when_idle\)"),
        (lambda: ops.event_time("at", name=3), r"event_time\(name\)"),
        (lambda: ops.event_time("at", on_error=3), r"event_time: on_error"),
    ],
    "do_action": [
        (lambda: ops.do_action(3), r"do_action\(on_next\)"),
        (lambda: ops.do_action(waiting), r"do_action\(on_next\).*coroutine function"),
        (lambda: ops.do_action(None, 3), r"do_action\(on_error\)"),
        (lambda: ops.do_action(None, None, "x"), r"do_action\(on_completed\)"),
    ],
}
"""Wrong arguments by operator, and what the message says."""

BUILD: dict[str, Callable[[], Any]] = {
    "map_indexed": ops.map_indexed,
    "filter_indexed": ops.filter_indexed,
    "do_action": ops.do_action,
    "event_time": lambda: ops.event_time("at"),
}
"""Each operator with some right arguments."""

FLUENT: dict[str, tuple[Any, ...]] = {"map_indexed": (), "filter_indexed": (), "do_action": ()}
"""Arguments of the fluent method that RxPY's Observable has by the operator's name, where it has one."""


def _map_indexed(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.map_indexed(lambda x, i: number(x) * 2 + i % 7))


def _filter_indexed(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    m = rng.randrange(2, 5)
    return s.pipe(ops.filter_indexed(lambda x, i: (number(x) + i) % m))


def _do_action(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.do_action(number))


def _event_time(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    step, late = rng.choice((40, 700)), rng.choice((0.0, 1.0, 5.0))
    return s.pipe(ops.event_time(lambda x: 10**12 + step * (abs(number(x)) % 50), out_of_orderness=late))


GENERATORS: dict[str, Make] = {
    "map_indexed": _map_indexed,
    "filter_indexed": _filter_indexed,
    "do_action": _do_action,
    "event_time": _event_time,
}
"""A random instance of each operator."""
