"""Cases for the operators of one family (joins by key and time, deduplication): pictures, wrong arguments, random instances."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import reactivex

import rxstreams as rxs
from rxstreams import Stream, aggregates as agg, operators as ops
from tests.vocabulary.values import Make, number, waiting

PICTURES: dict[str, list[str]] = {
    "interval_join": [
        "orders     -|\npayments   ---1-|\n"
        "[ key_by(int), interval_join(payments.pipe(key_by(int)), within=2) ]\nresult     -----|",
        "orders     ---1-|\npayments   -1-----|\n"
        "[ key_by(int), interval_join(payments.pipe(key_by(int)), within=2) ]\nresult     ---a---|   a=(1,1)",
        "orders     ----1-|\npayments   -1-----|\n"
        "[ key_by(int), interval_join(payments.pipe(key_by(int)), within=2) ]\nresult     -------|",
        "orders     -1-1--|\npayments   --1-1-|\n[ key_by(int), interval_join(payments.pipe(key_by(int)), lower=0, upper=1) ]\n"
        "result     --a-b-|   a=(1,1) b=(1,1)",
        "orders     -1--4--|\npayments   --3---|\n"
        "[ key_by(bool), interval_join(payments.pipe(key_by(bool)), within=2, how='semi') ]\n"
        "result     --a-b--|   a=1 b=4",
        "orders     --2---|\npayments   -3--4-|\n"
        "[ key_by(bool), interval_join(payments.pipe(key_by(bool)), within=1, how='right') ]\n"
        "result     --a--b|   a=(2,3) b=(None,4)",
        "orders     -1----|\npayments   ---2--|\n"
        "[ key_by(int), interval_join(payments.pipe(key_by(int)), within=1, how='outer') ]\n"
        "result     --a-b-|   a=(1,None) b=(None,2)",
        "orders     --1-----|\npayments   -2--3---|\n"
        "[ key_by(bool), interval_join(payments.pipe(key_by(bool)), within=3, matches='last') ]\nresult     -----a--|   a=(1,3)",
        "orders     --1-----|\npayments   -2--3---|\n"
        "[ key_by(bool), interval_join(payments.pipe(key_by(bool)), within=3, matches='first') ]\nresult     --a-----|   a=(1,2)",
        "orders     -1-#\npayments   ---1-|\n"
        "[ key_by(int), interval_join(payments.pipe(key_by(int)), within=2) ]\nresult     ---#",
        "orders     -1--|\npayments   -0--|\n[ key_by(lambda x: 1 // x), interval_join(payments.pipe(key_by(int)), within=2) ]\n"
        "result     ----|",
    ],
    "as_of_join": [
        "trades   -|\nquotes   -5-|\n[ key_by(bool), as_of_join(quotes.pipe(key_by(bool))) ]\nresult   ---|",
        "trades   --1----2|\nquotes   -5-6----|\n[ key_by(bool), as_of_join(quotes.pipe(key_by(bool)), tolerance=2) ]\n"
        "result   --a----b|   a=(1,5) b=(2,None)",
        "trades   -1--2---|\nquotes   --5---6-|\n"
        "[ key_by(bool), as_of_join(quotes.pipe(key_by(bool)), direction='forward', tolerance=3) ]\n"
        "result   --a---b-|   a=(1,5) b=(2,6)",
        "trades   --1-----|\nquotes   -5-6----|\n"
        "[ key_by(bool), as_of_join(quotes.pipe(key_by(bool)), direction='nearest', tolerance=2) ]\nresult   ----a---|   a=(1,5)",
        "trades   -1--2-|\nquotes   --5---|\n[ key_by(bool), as_of_join(quotes.pipe(key_by(bool)), how='inner') ]\n"
        "result   ----a-|   a=(2,5)",
        "trades   -1-#\nquotes   ---5-|\n[ key_by(bool), as_of_join(quotes.pipe(key_by(bool))) ]\nresult   -a-#   a=(1,None)",
    ],
    "join_table": [
        "orders      -|\ncustomers   -5-|\n[ key_by(bool), join_table(rxs.table(customers.pipe(key_by(bool)))) ]\nresult      -|",
        "orders      -----1-2-|\ncustomers   -5----6--|\n[ key_by(bool), join_table(rxs.table(customers.pipe(key_by(bool)))) ]\n"
        "result      -----a-b-|   a=(1,5) b=(2,6)",
        "orders      -----1---2-|\ncustomers   -5-----6---|\n"
        "[ key_by(bool), join_table(rxs.table(customers.pipe(key_by(bool)), history=0), version='event_time') ]\n"
        "result      -----a---b-|   a=(1,5) b=(2,6)",
        "orders      -1---2-|\ncustomers   ---5---|\n"
        "[ key_by(bool), join_table(rxs.table(customers.pipe(key_by(bool)), history=0), how='left', version='event_time') ]\n"
        "result      -a---b-|   a=(1,None) b=(2,5)",
        "orders      -1-#\ncustomers   -----|\n"
        "[ key_by(bool), join_table(rxs.table(customers.pipe(key_by(bool)))) ]\nresult      ---#",
    ],
    "dedup": [
        "orders   -|\n[ dedup(ttl=5) ]\nresult   -|",
        "orders   -1-1----1-|\n[ dedup(ttl=5) ]\nresult   -a------b-|   a=1 b=1",
        "orders   -1-1-2-|\n[ key_by(lambda x: x % 2), dedup(ttl=5) ]\nresult   -a---b-|   a=1 b=2",
        "orders   -1-3-2-|\n[ dedup(lambda x: x % 2, ttl=5, keep=agg.sum()) ]\nresult   ------a(b,|)   a=4 b=2",
        "orders   -1-#\n[ dedup(ttl=5) ]\nresult   -a-#   a=1",
        "orders   -1-0-|\n[ dedup(lambda x: 1 // x, ttl=5) ]\nresult   -a-#   a=1",
    ],
}
"""Further pictures: one character is a second."""

_KEYED = lambda: rxs.from_iterable([1]).pipe(ops.key_by(bool))  # noqa: E731  # a value among values

ARGUMENTS: dict[str, list[tuple[Callable[[], Any], str]]] = {
    "interval_join": [
        (lambda: ops.interval_join(3, within=1), r"interval_join: expected an Observable as input 1, got 3"),
        (lambda: ops.interval_join(_KEYED()), r"interval_join: expected within=, or both lower= and upper="),
        (lambda: ops.interval_join(_KEYED(), lower=1), r"interval_join: expected within=, or both lower= and upper="),
        (
            lambda: ops.interval_join(_KEYED(), within=1, upper=1),
            r"interval_join: expected within=, or lower= and upper=, not both",
        ),
        (lambda: ops.interval_join(_KEYED(), within=-1), r"interval_join\(within\): expected at least 0.0"),
        (lambda: ops.interval_join(_KEYED(), within=float("nan")), r"interval_join\(within\)"),
        (lambda: ops.interval_join(_KEYED(), lower=2, upper=1), r"interval_join\(lower\): expected at most upper, 1 s, got 2"),
        (lambda: ops.interval_join(_KEYED(), lower="1", upper=1), r"interval_join\(lower\): expected seconds"),
        (lambda: ops.interval_join(_KEYED(), within=1, how="cross"), r"interval_join\(how\): expected 'inner', 'left'"),
        (lambda: ops.interval_join(_KEYED(), within=1, matches="any"), r"interval_join\(matches\): expected 'all', 'first'"),
        (
            lambda: ops.interval_join(_KEYED(), within=1, how="outer", matches="last"),
            r"interval_join\(matches\): 'last' chooses for",
        ),
        (lambda: ops.interval_join(_KEYED(), within=1, name=""), r"interval_join\(name\)"),
        (lambda: _KEYED().pipe(ops.interval_join(reactivex.of(1), within=1)), r"interval_join: input 1, Observable, has no keys"),
        (lambda: rxs.from_iterable([1]).pipe(ops.interval_join(_KEYED(), within=1)), r"interval_join: input 0, .*has no keys"),
    ],
    "as_of_join": [
        (lambda: ops.as_of_join(3), r"as_of_join: expected an Observable as input 1, got 3"),
        (
            lambda: ops.as_of_join(_KEYED(), direction="up"),
            r"as_of_join\(direction\): expected 'backward', 'forward' or 'nearest'",
        ),
        (lambda: ops.as_of_join(_KEYED(), direction="forward"), r"as_of_join\(tolerance\): 'forward' needs one"),
        (lambda: ops.as_of_join(_KEYED(), tolerance=-1), r"as_of_join\(tolerance\): expected at least 0.0"),
        (lambda: ops.as_of_join(_KEYED(), wait=None), r"as_of_join\(wait\): expected seconds"),
        (lambda: ops.as_of_join(_KEYED(), how="outer"), r"as_of_join\(how\): expected 'left' or 'inner', got 'outer'"),
        (lambda: ops.as_of_join(_KEYED(), name=3), r"as_of_join\(name\)"),
        (
            lambda: _KEYED().pipe(ops.as_of_join(rxs.from_iterable([1]))),
            r"as_of_join: input 1, .*has no keys to join by; put key_by",
        ),
    ],
    "join_table": [
        (lambda: ops.join_table(_KEYED()), r"join_table\(table\): expected rxstreams.table\(…\), got"),
        (lambda: ops.join_table(rxs.table(_KEYED()), how="right"), r"join_table\(how\): expected 'left' or 'inner', got 'right'"),
        (lambda: ops.join_table(rxs.table(_KEYED()), version="old"), r"join_table\(version\): expected 'latest' or 'event_time'"),
        (
            lambda: ops.join_table(rxs.table(_KEYED()), version="event_time"),
            r"join_table\(version\): 'event_time' needs a table with",
        ),
        (lambda: ops.join_table(rxs.table(_KEYED()), name=3), r"join_table\(name\)"),
        (lambda: rxs.from_iterable([1]).pipe(ops.join_table(rxs.table(_KEYED()))), r"join_table: input 0, .*has no keys"),
        (lambda: rxs.table(rxs.from_iterable([1])), r"table: the stream, .*has no keys to join by"),
        (lambda: rxs.table(_KEYED(), history=-1), r"table\(history\): expected at least 0.0"),
        (lambda: rxs.latest_by_key(a=_KEYED()), r"latest_by_key: expected at least two streams"),
        (lambda: rxs.latest_by_key(a=_KEYED(), b=reactivex.of(1)), r"latest_by_key: b, Observable, has no keys"),
        (lambda: rxs.latest_by_key(**{"a": _KEYED(), "class": _KEYED()}), r"latest_by_key\('class'\): .*identifier"),
        (lambda: rxs.latest_by_key(a=_KEYED(), b=_KEYED(), name=""), r"latest_by_key\(name\)"),
    ],
    "dedup": [
        (lambda: ops.dedup(3, ttl=1), r"dedup\(key\)"),
        (lambda: ops.dedup("", ttl=1), r"dedup\(key\)"),
        (lambda: ops.dedup(waiting, ttl=1), r"dedup\(key\).*coroutine function"),
        (lambda: ops.dedup(ttl=0), r"dedup\(ttl\): expected more than 0.0"),
        (lambda: ops.dedup(ttl=1, keep="all"), r"dedup\(keep\): expected 'first', 'last' or an aggregate such as agg.max"),
        (lambda: ops.dedup(ttl=1, clock="wall"), r"dedup\(clock\): expected 'event' or 'processing', got 'wall'"),
        (lambda: ops.dedup(ttl=1, capacity=15), r"dedup\(capacity\)"),
        (
            lambda: ops.dedup(ttl=1, keep="last", capacity=100),
            r"dedup\(capacity\): 'last' holds records, which must not be evicted",
        ),
        (lambda: ops.dedup(ttl=1, on_error="skip"), r"dedup: on_error"),
        (lambda: ops.dedup(ttl=1, name=""), r"dedup\(name\)"),
        (lambda: _KEYED().pipe(ops.dedup("id", ttl=1)), r"dedup\(key\): the stream has keys, and goes by these"),
    ],
}
"""Wrong arguments by operator, and what the message says."""

BUILD: dict[str, Callable[[], Any]] = {
    "interval_join": lambda: ops.interval_join(_KEYED(), within=1),
    "as_of_join": lambda: ops.as_of_join(_KEYED()),
    "join_table": lambda: ops.join_table(rxs.table(_KEYED())),
    "dedup": lambda: ops.dedup(ttl=1),
}
"""Each operator with some right arguments."""

FLUENT: dict[str, tuple[Any, ...]] = {}
"""Arguments of those that RxPY's Observable has as methods."""


def keyed(rng: random.Random, s: Stream[Any], m: int) -> Stream[Any]:
    """A part of a stream, with integers as keys."""
    n = rng.randrange(2, 5)
    return s.pipe(ops.filter(lambda x: number(x) % n), ops.key_by(lambda x: number(x) % m))


def interval_join(rng: random.Random, s: Stream[Any], *others: Stream[Any]) -> Stream[Any]:
    """A join with another stream, or with a part of itself."""
    m = rng.choice((1, 4, 20))
    bounds: dict[str, Any] = rng.choice(
        ({"within": 0.7}, {"within": 3}, {"lower": 0, "upper": 1}, {"lower": -2, "upper": -0.5}, {"lower": 0.3, "upper": 2})
    )
    how: Any = rng.choice(("inner", "left", "right", "outer", "semi", "anti"))
    matches: Any = rng.choice(("all", "first", "last")) if how in ("inner", "left") else "all"
    right = keyed(rng, others[0] if others else s, m)
    return keyed(rng, s, m).pipe(ops.interval_join(right, **bounds, how=how, matches=matches), ops.map(number))


def as_of_join(rng: random.Random, s: Stream[Any], *others: Stream[Any]) -> Stream[Any]:
    """The same, one for each."""
    m = rng.choice((1, 4, 20))
    direction: Any = rng.choice(("backward", "forward", "nearest"))
    tolerance = rng.choice((0.5, 2, None) if direction == "backward" else (0.5, 2))
    right = keyed(rng, others[0] if others else s, m)
    how: Any = rng.choice(("left", "inner"))
    return keyed(rng, s, m).pipe(
        ops.as_of_join(right, direction=direction, tolerance=tolerance, wait=rng.choice((0, 0.8)), how=how), ops.map(number)
    )


def join_table(rng: random.Random, s: Stream[Any], *others: Stream[Any]) -> Stream[Any]:
    """A table of another stream, or of a part of itself, with deletions."""
    m = rng.choice((1, 4, 20))
    version: Any = rng.choice(("latest", "event_time"))
    updates = keyed(rng, others[0] if others else s, m).pipe(ops.map(lambda x: number(x) if number(x) % 5 else None))
    table = rxs.table(updates, history=rng.choice((0, 1.5)))
    how: Any = rng.choice(("left", "inner"))
    return keyed(rng, s, m).pipe(ops.join_table(table, how=how, version=version), ops.map(number))


def _dedup(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    m = rng.choice((3, 50))
    keep: Any = rng.choice(("first", "first", "last", agg.sum(number), agg.collect(number, max=4)))
    given = rng.choice((None, lambda x: number(x) % m, lambda x: (number(x) % m, None)))
    capacity = rng.choice((None, None, 16)) if keep == "first" else None
    key = None if s.keyed else given if given is not None else number
    return s.pipe(ops.dedup(key, ttl=rng.choice((0.4, 2, 60)), keep=keep, capacity=capacity))


GENERATORS: dict[str, Make] = {
    "interval_join": interval_join,
    "as_of_join": as_of_join,
    "join_table": join_table,
    "dedup": _dedup,
}
"""A random instance of each operator."""
