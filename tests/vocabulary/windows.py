"""Cases for the operators of one family (windows of event time): pictures, wrong arguments, random instances."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import rxstreams as rxs
from rxstreams import Stream, aggregates as agg, operators as ops, windows
from tests.vocabulary.values import Make, number

_COUNT = {"n": agg.count()}
_UNMERGED = agg.of(int, max, None)

PICTURES: dict[str, list[str]] = {
    "windowed": [
        "orders   -|\n[ windowed(rxs.tumbling(5), n=agg.count()) ]\nresult   -|",
        "orders   -1-2-#\n[ windowed(rxs.tumbling(5), n=agg.count()) ]\nresult   -----#",
        "orders   -1---2-|\n[ windowed(rxs.tumbling(5), n=agg.count()) ]\nresult   -----a-(b,|)   a=(n=1) b=(n=1)",
        "orders   -1---2-|\n[ windowed(rxs.tumbling(5, offset=2), n=agg.count()) ]\nresult   --a----(b,|)   a=(n=1) b=(n=1)",
        "orders   -1-2-|\n[ windowed(rxs.tumbling(10), emit=windows.on_update, t=agg.sum()) ]\n"
        "result   -a-b-(c,|)   a=(t=1) b=(t=3) c=(t=3)",
        "orders   -1-2-3-|\n[ windowed(rxs.tumbling(10), emit=windows.after(2), panes='discarding', t=agg.sum()) ]\n"
        "result   ---a---(b,|)   a=(t=3) b=(t=3)",
        "orders   -1--2----|\n[ windowed(rxs.session(3), n=agg.count()) ]\nresult   ----a--b-|   a=(n=1) b=(n=1)",
        "orders   -1-1-1-1-1-1-|\n[ windowed(rxs.session(3, max=5), n=agg.count()) ]\n"
        "result   -----a----b--(c,|)   a=(n=2) b=(n=3) c=(n=1)",
        "orders   -1-2-3-4-|\n[ windowed(rxs.counting(3, every=2), t=agg.sum()) ]\nresult   -----a---(b,|)   a=(t=6) b=(t=7)",
        "orders   -0-1-|\n[ windowed(rxs.tumbling(5), t=agg.sum(lambda x: 1 // x)) ]\nresult   -#",
    ],
}
"""Further pictures; ``one character`` is a second, and windows stand at multiples of their size after the subscription."""

ARGUMENTS: dict[str, list[tuple[Callable[[], Any], str]]] = {
    "windowed": [
        (lambda: ops.windowed(60, n=agg.count()), r"windowed\(over\): expected windows such as rxstreams.tumbling\(60\), got 60"),
        (lambda: ops.windowed(rxs.tumbling(60)), r"windowed: expected at least one aggregate"),
        (lambda: ops.windowed(rxs.tumbling(60), start=agg.count()), r"windowed: the result has a field 'start' already"),
        (lambda: ops.windowed(rxs.tumbling(60), n=3), r"windowed\(n\): expected an aggregate"),
        (
            lambda: ops.windowed(rxs.tumbling(60), emit="on_close", n=agg.count()),
            r"windowed\(emit\): expected on_close, on_update",
        ),
        (lambda: ops.windowed(rxs.tumbling(60), lateness=-1, n=agg.count()), r"windowed\(lateness\): expected at least 0.0"),
        (lambda: ops.windowed(rxs.tumbling(60), panes="both", n=agg.count()), r"windowed\(panes\): expected 'accumulating' or"),
        (lambda: ops.windowed(rxs.tumbling(60), name="", n=agg.count()), r"windowed\(name\)"),
        (lambda: ops.windowed(rxs.tumbling(60), on_error="skip", n=agg.count()), r"windowed: on_error"),
        (lambda: ops.windowed(rxs.hopping(60, 10), m=_UNMERGED), r"windowed\(m\): hopping\(60, 10\) merges .* has no merge"),
        (lambda: ops.windowed(rxs.session(60), m=_UNMERGED), r"windowed\(m\): session\(60\) merges .* has no merge"),
        (lambda: ops.windowed(rxs.sliding(60), m=_UNMERGED), r"windowed\(m\): sliding\(60\) merges .* has no merge"),
        (lambda: ops.windowed(rxs.sliding(60), lateness=1, n=agg.count()), r"windowed\(lateness\): sliding\(60\) keeps nothing"),
        (lambda: ops.windowed(rxs.sliding(60), panes="discarding", n=agg.count()), r"windowed\(panes\): sliding\(60\)"),
        (lambda: ops.windowed(rxs.sliding(60), emit=windows.on_update, n=agg.count()), r"windowed\(emit\): sliding\(60\)"),
        (lambda: ops.windowed(rxs.counting(6), emit=windows.every(1), n=agg.count()), r"windowed\(emit\): counting\(6\) goes by"),
        (lambda: rxs.tumbling(0), r"tumbling\(size\): expected more than 0.0 seconds"),
        (lambda: rxs.tumbling(0.0001), r"tumbling\(size\): expected at least a millisecond"),
        (lambda: rxs.tumbling(60, offset=60), r"tumbling\(offset\): expected less than the size, 60 s, got 60"),
        (lambda: rxs.tumbling(60, offset=-61), r"tumbling\(offset\): expected less than the size, 60 s, got -61"),
        (lambda: rxs.hopping(60, 61), r"hopping\(every\): expected at most the size, 60 s, or records would be in no window"),
        (lambda: rxs.hopping(60, 0), r"hopping\(every\): expected more than 0.0"),
        (lambda: rxs.session(-1), r"session\(gap\)"),
        (lambda: rxs.session(60, max=59), r"session\(max\): expected at least the gap, 60 s, got 59"),
        (lambda: rxs.sliding("60"), r"sliding\(size\): expected seconds"),
        (lambda: rxs.counting(0), r"counting\(n\): expected a positive integer, got 0"),
        (lambda: rxs.counting(3, every=True), r"counting\(every\): expected a positive integer, got True"),
        (lambda: rxs.counting(3, every=4), r"counting\(every\): expected at most n, 3"),
        (lambda: rxs.calendar("year", tz="UTC"), r"calendar\(unit\): expected 'day', 'week' or 'month', got 'year'"),
        (lambda: rxs.calendar("day", tz="Mars/Phobos"), r"calendar\(tz\): 'Mars/Phobos' is no place"),
        (lambda: rxs.calendar("day", tz=7), r"calendar\(tz\): expected a name such as 'Europe/Berlin' or a tzinfo, got 7"),
        (lambda: windows.every(0), r"every\(interval\)"),
        (lambda: windows.after(0), r"after\(records\): expected a positive integer, got 0"),
    ],
}
"""Wrong arguments by operator, and what the message says."""

BUILD: dict[str, Callable[[], Any]] = {"windowed": lambda: ops.windowed(rxs.tumbling(60), n=agg.count())}
"""Each operator with some right arguments."""

FLUENT: dict[str, tuple[Any, ...]] = {}
"""Arguments of those that RxPY's Observable has as methods."""


def _windowed(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    some = {
        "n": agg.count(),
        "total": agg.sum(number),
        "mean": agg.mean(number),
        "least": agg.min(number),
        "kinds": agg.distinct_count(lambda x: number(x) % 17),
        "some": agg.collect(number, max=5),
        "own": agg.of(str, lambda text, x: f"{text}{x},", lambda a, b: a + b, field=number),  # it tells the order
    }
    chosen = {name: some[name] for name in rng.sample(sorted(some), rng.randint(1, 4))}
    over: Any = rng.choice(
        (
            rxs.tumbling(3),
            rxs.tumbling(0.7, offset=0.2),
            rxs.hopping(4, 1.5),
            rxs.hopping(6, 2, offset=1),
            rxs.session(1.2),
            rxs.session(0.9, max=4),
            rxs.sliding(2.5),
            rxs.counting(3),
            rxs.counting(5, every=2),
            rxs.calendar("day", tz="Europe/Berlin"),
        )
    )
    how: dict[str, Any] = {}
    if not isinstance(over, windows.Sliding):
        emits = [windows.on_close, windows.on_close, windows.on_update, windows.after(2)]
        if not isinstance(over, windows.Counting):
            how = {"lateness": rng.choice((0, 0, 1.5)), "panes": rng.choice(("accumulating", "discarding"))}
            emits.append(windows.every(0.8))
        how["emit"] = rng.choice(emits)
    return s.pipe(ops.windowed(over, **how, **chosen))


GENERATORS: dict[str, Make] = {"windowed": _windowed}
"""A random instance of each operator."""
