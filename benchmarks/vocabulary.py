"""The Rx vocabulary: what an operator costs a record in batches of 256, and how it compares with RxPY's."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from operator import add, not_
from typing import Any

import reactivex
from reactivex import Observable, operators as rx
from reactivex.subject import Subject

from benchmarks import measure
from rxstreams import operators as ops
from rxstreams.batch import Batch
from rxstreams.runtime.graph import Graph
from rxstreams.runtime.vertices import Vertex

BATCH = 256
BATCHES = 200
TURNS = 11

STATELESS: dict[str, Callable[[], Any]] = {
    "map": lambda: ops.map(abs),
    "map_indexed": lambda: ops.map_indexed(add),
    "filter": lambda: ops.filter(bool),
    "filter_indexed": lambda: ops.filter_indexed(add),
    "do_action": lambda: ops.do_action(abs),
    "take_while": lambda: ops.take_while(bool),
    "skip": lambda: ops.skip(1),
    "skip_while": lambda: ops.skip_while(not_),
    "start_with": lambda: ops.start_with(1),
    "share": ops.share,
    "merge": lambda: ops.merge(reactivex.never()),
    "pairwise": ops.pairwise,
    "distinct_until_changed": ops.distinct_until_changed,
}
"""Those that hold no more than a value, each with the cheapest function there is: what is measured is the operator."""


def rows() -> Iterator[tuple[str, str, str]]:
    """(what, figure, goal) for the table."""
    scale = measure.scale()
    costs = {name: scale * _microseconds(make) for name, make in STATELESS.items()}
    slowest = max(costs, key=costs.__getitem__)
    told = ", ".join(f"{name} {cost:.3f}" for name, cost in sorted(costs.items(), key=lambda one: one[1]))
    yield f"µs a record in batches of {BATCH}, scaled: {told}", f"at most {costs[slowest]:.3f} ({slowest})", "≤ 0.1"
    few, many = (_distinct(n) / n for n in (20_000, 200_000))
    yield "`distinct`: a record of 200,000 distinct ones ÷ one of 20,000", f"{many / few:.2f}", "linear: about 1"


def ratios(pairs: int) -> Iterator[measure.Ratio]:
    """Against RxPY, value for value."""
    values = list(range(1, 100_001))
    for name, theirs, ours in (
        ("pairwise", lambda: _rxpy_one(rx.pairwise(), values), lambda: _ours_one(ops.pairwise(), values)),
        ("zip", lambda: _rxpy_two(rx.zip, values), lambda: _ours_two(ops.zip, values)),
        (
            "with_latest_from",
            lambda: _rxpy_two(rx.with_latest_from, values),
            lambda: _ours_two(ops.with_latest_from, values),
        ),
    ):
        yield measure.compare(
            f"`{name}` against RxPY's", "≥ 10", theirs, ours, records=len(values), pairs=pairs,
        )  # fmt: skip
    few = values[:3000]
    yield measure.compare(
        "`distinct` of 3,000 against RxPY's, which is quadratic", "> 10", lambda: _rxpy_one(rx.distinct(), few),
        lambda: _ours_one(ops.distinct(), few), records=len(few), pairs=pairs,
    )  # fmt: skip


def _vertex(stream: Any) -> Vertex:
    """The stream's vertex, in a graph of nothing else."""
    return next(one for one in Graph([stream], clock=time.time).vertices if one.stream is stream)


def _microseconds(make: Callable[[], Any]) -> float:
    """Of CPU a record, the median of eleven turns."""
    values = [1 + i % 9 for i in range(BATCH)]
    taken = []
    for _ in range(TURNS):
        vertex = _vertex(reactivex.never().pipe(make()))
        vertex.node.start()
        take = vertex.node.batch
        began = time.process_time()
        for _ in range(BATCHES):
            take(Batch(values), 0)
        taken.append((time.process_time() - began) / (BATCH * BATCHES))
    return statistics.median(taken) * 1e6


def _distinct(n: int) -> float:
    """CPU seconds for ``n`` records that are all distinct."""
    cpu, _, _ = measure.clocked(lambda: _ours_one(ops.distinct(), range(n)))
    return cpu


def _batches(values: Sequence[int]) -> Iterator[Batch]:
    return (Batch(values[at : at + BATCH]) for at in range(0, len(values), BATCH))


def _drained(stream: Any) -> tuple[Vertex, deque[Any]]:
    """The stream's vertex at work, and the last of what comes out."""
    vertex, last = _vertex(stream), deque[Any](maxlen=1)
    vertex.node.emit = lambda b: last.extend(b.values)  # type: ignore[method-assign]  # as a vertex behind it would take it
    vertex.node.start()
    return vertex, last


def _ours_one(operator: Any, values: Sequence[int]) -> Any:
    vertex, last = _drained(reactivex.never().pipe(operator))
    for b in _batches(values):
        vertex.node.batch(b, 0)
    return last


def _ours_two(operator: Any, values: Sequence[int]) -> Any:
    """Batches of the one and of the other input in turns; the last result is of the last of both."""
    vertex, last = _drained(reactivex.never().pipe(operator(reactivex.never())))
    for b in _batches(values):
        vertex.node.batch(b, 1)
        vertex.node.batch(b, 0)
    return last


def _rxpy_one(operator: Any, values: Sequence[int]) -> Any:
    source, last = Subject[int](), deque[Any](maxlen=1)
    source.pipe(operator).subscribe(last.append)
    for value in values:
        source.on_next(value)
    return last


def _rxpy_two(operator: Callable[[Observable[int]], Any], values: Sequence[int]) -> Any:
    one, other, last = Subject[int](), Subject[int](), deque[Any](maxlen=1)
    one.pipe(operator(other)).subscribe(last.append)
    for at in range(0, len(values), BATCH):
        part = values[at : at + BATCH]
        for value in part:
            other.on_next(value)
        for value in part:
            one.on_next(value)
    return last
