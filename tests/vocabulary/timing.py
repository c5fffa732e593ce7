"""Cases for the operators of one family (the clock): pictures, wrong arguments, random instances."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime
from typing import Any

import reactivex

from rxstreams import Stream, operators as ops
from tests.vocabulary.values import Make, number

PICTURES: dict[str, list[str]] = {
    "buffer_with_time_or_count": [
        "orders   --|\n[ buffer_with_time_or_count(4, 2) ]\nresult   --(a,|)   a=[]",
        "orders   (1,2,3)--|\n[ buffer_with_time_or_count(4, 3) ]\nresult   (a)-b---c(d,|)   a=[1,2,3] b=[] c=[] d=[]",
        "orders   -1---2#\n[ buffer_with_time_or_count(3, 5) ]\nresult   ---a--#   a=[1]",
    ],
    "sample": [
        "orders   -1-2-3--|\nclock    --x---x--x|   x=0\n[ sample(clock) ]\nresult   --a---b--|   a=1 b=3",
        "orders   -1-2-|\n[ sample(10) ]\nresult   ----------(a,|)   a=2",
        "orders   -1--#\n[ sample(3) ]\nresult   ---a#   a=1",
        "orders   -1---|\nclock    ---x---|   x=0\n[ sample(clock) ]\nresult   ---a---|   a=1",
    ],
    "debounce": [
        "orders   -|\n[ debounce(3) ]\nresult   -|",
        "orders   -1-2|\n[ debounce(3) ]\nresult   ----(a,|)   a=2",
        "orders   -1----2-#\n[ debounce(3) ]\nresult   ----a---#   a=1",
        "orders   -1-2-3---------|\n[ debounce(3) ]\nresult   --------a------|   a=3",
    ],
    "throttle_first": [
        "orders   -|\n[ throttle_first(3) ]\nresult   -|",
        "orders   -1-2-3-4-|\n[ throttle_first(4) ]\nresult   -a---b---|   a=1 b=3",
        "orders   -1-2-#\n[ throttle_first(9) ]\nresult   -a---#   a=1",
    ],
    "delay": [
        "orders   -|\n[ delay(3) ]\nresult   ----|",
        "orders   (1,2)--|\n[ delay(2) ]\nresult   --(a,b)--|   a=1 b=2",
        "orders   -1--2--#\n[ delay(4) ]\nresult   -----a-#   a=1",
        "orders   -1-2-|\n[ delay(0) ]\nresult   -a-b-|   a=1 b=2",
    ],
    "timeout": [
        "orders   -1-2-|\n[ timeout(4) ]\nresult   -a-b-|   a=1 b=2",
        "orders   -1--------2-|\n[ timeout(4) ]\nresult   -a---#   a=1",
        "orders   -1-#\n[ timeout(4) ]\nresult   -a-#   a=1",
        "orders   -|\nspare    -8-|\n[ timeout(4, spare) ]\nresult   -|",
        "orders   -1-------2-|\n[ timeout(4, from_iterable([8, 9])) ]\nresult   -a---(b,c,|)   a=1 b=8 c=9",
    ],
}
"""Marble pictures by operator, beyond those in its docstring; each is run twice: subscribed to, and in a run."""

ARGUMENTS: dict[str, list[tuple[Callable[[], Any], str]]] = {
    "buffer_with_time_or_count": [
        (lambda: ops.buffer_with_time_or_count(0, 2), r"buffer_with_time_or_count\(timespan\)"),
        (lambda: ops.buffer_with_time_or_count(1, 0), r"buffer_with_time_or_count\(count\)"),
        (lambda: ops.buffer_with_time_or_count(1, 1, 3), r"buffer_with_time_or_count\(scheduler\)"),
        (lambda: ops.buffer_with_time_or_count(1, 1, name=3), r"buffer_with_time_or_count\(name\)"),
    ],
    "sample": [
        (lambda: ops.sample("1"), r"sample\(sampler\)"),
        (lambda: ops.sample(-1), r"sample\(sampler\)"),
        (lambda: ops.sample(1, 3), r"sample\(scheduler\)"),
        (lambda: ops.sample(1, name=3), r"sample\(name\)"),
    ],
    "debounce": [
        (lambda: ops.debounce("1"), r"debounce\(duetime\)"),
        (lambda: ops.debounce(1, 3), r"debounce\(scheduler\)"),
        (lambda: ops.debounce(1, name=3), r"debounce\(name\)"),
    ],
    "throttle_first": [
        (lambda: ops.throttle_first(0), r"throttle_first\(window_duration\)"),
        (lambda: ops.throttle_first(1, 3), r"throttle_first\(scheduler\)"),
        (lambda: ops.throttle_first(1, name=3), r"throttle_first\(name\)"),
    ],
    "delay": [
        (lambda: ops.delay("1"), r"delay\(duetime\)"),
        (lambda: ops.delay(datetime(2026, 1, 1)), r"delay\(duetime\).*time zone"),  # noqa: DTZ001  # refused for that
        (lambda: ops.delay(1, 3), r"delay\(scheduler\)"),
        (lambda: ops.delay(1, name=3), r"delay\(name\)"),
    ],
    "timeout": [
        (lambda: ops.timeout(None), r"timeout\(duetime\)"),
        (lambda: ops.timeout(1, 3), r"timeout\(other\): expected an Observable or a future, got 3"),
        (lambda: ops.timeout(1, None, 3), r"timeout\(scheduler\)"),
        (lambda: ops.timeout(1, name=3), r"timeout\(name\)"),
    ],
}
"""Wrong arguments by operator, and what the message says."""

BUILD: dict[str, Callable[[], Any]] = {
    "buffer_with_time_or_count": lambda: ops.buffer_with_time_or_count(1, 2),
    "sample": lambda: ops.sample(1),
    "debounce": lambda: ops.debounce(1),
    "throttle_first": lambda: ops.throttle_first(1),
    "delay": lambda: ops.delay(1),
    "timeout": lambda: ops.timeout(1, reactivex.of(1)),
}
"""Each operator with some right arguments."""

FLUENT: dict[str, tuple[Any, ...]] = {
    "buffer_with_time_or_count": (1, 2),
    "sample": (1,),
    "debounce": (1,),
    "throttle_first": (1,),
    "delay": (1,),
    "timeout": (1,),
}
"""Arguments of the fluent method that RxPY's Observable has by the operator's name, where it has one."""


def _buffer_with_time_or_count(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.buffer_with_time_or_count(rng.choice((0.5, 2.0)), rng.choice((1, 3, 50))))


def _sample(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    m = rng.randrange(2, 9)
    sampler = s.pipe(ops.filter(lambda x: number(x) % m == 0))
    return s.pipe(rng.choice((ops.sample(0.7), ops.sample(2.0), ops.sample(sampler))))


def _debounce(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.debounce(rng.choice((0.3, 1.0, 4.0))))


def _throttle_first(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.throttle_first(rng.choice((0.3, 1.0, 4.0))))


def _delay(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.delay(rng.choice((0.0, 1.0, 2.5))))


def _timeout(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    return s.pipe(ops.timeout(rng.choice((0.6, 2.2, 50.0)), s.pipe(ops.map(lambda x: -number(x)))))


GENERATORS: dict[str, Make] = {
    "buffer_with_time_or_count": _buffer_with_time_or_count,
    "sample": _sample,
    "debounce": _debounce,
    "throttle_first": _throttle_first,
    "delay": _delay,
    "timeout": _timeout,
}
"""A random instance of each operator."""
