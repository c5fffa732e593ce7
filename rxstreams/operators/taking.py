"""The first or the last of a stream: take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import reactivex
from reactivex import Observable
from reactivex.internal.utils import NotSet

from rxstreams.batch import Batch
from rxstreams.operators.arguments import check_count, check_name
from rxstreams.state.codec import TAGGED
from rxstreams.stream import Node, Operation, Stream, operator

__all__ = ["take"]

A = TypeVar("A", bound=Any)
B = TypeVar("B")

_UNSET: Any = NotSet


def take(count: int, *, name: str | None = None) -> Callable[[Observable[A]], Stream[A]]:
    """Let the first ``count`` values through, then end.

        orders   -1--2--3--4-|
                 [ take(2) ]
        result   -a--(b,|)           a=1 b=2

    Shape: A → A, ``count`` at most, in order; times and keys stay.
    Holds: how many have passed; saved in a run, so a restart does not begin anew.
    Ends: right after the last value; a run whose every branch has ended this way records that it is complete.

    Raises:
        ArgumentOutOfRangeException: If ``count`` is negative.

    Source: Rx ``take`` (RxPY ``operators.take``).
    """
    if isinstance(count, int) and count < 0:
        raise reactivex.internal.ArgumentOutOfRangeException()
    check_count("take(count)", count, least=0)
    check_name("take(name)", name)
    build = operator(Operation("take", lambda: Take(count), {"count": count}, name, defines=("count",), stateful=True))
    return build if count else lambda source: build(reactivex.empty())


class Take(Node):
    codec = TAGGED

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def start(self) -> None:
        if self.states.get(None, 0) >= self.count > 0:
            self.finish()

    def batch(self, b: Batch, port: int) -> None:
        taken = self.states.get(None, 0)
        if taken >= self.count:
            return
        b = b.cut(0, self.count - taken)
        self.states[None] = taken = taken + len(b)
        self.dirty.add(None)
        self.emit(b)
        if taken == self.count:
            self.finish(b.order[-1] if b.order else None)
