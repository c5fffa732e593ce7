"""What operators share that hold records back: how these are kept and let go, and how the watermark waits for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from rxstreams.batch import Batch
from rxstreams.operators.arguments import check_savable
from rxstreams.state.codec import TAGGED
from rxstreams.state.keys import internal, original
from rxstreams.stream import Node
from rxstreams.watermarks import END, START

__all__ = ["Holding", "Kept", "keep", "least_time", "release"]


class Kept(NamedTuple):
    """A record that is held back, as it is saved."""

    value: Any
    time: int | None
    key: Any


def keep(node: Node, b: Batch, i: int) -> Kept:
    """Record ``i`` of a batch, for a node's state; in a run it must be savable."""
    check_savable(node, b.values[i])
    return Kept(b.values[i], b.times[i] if b.times else None, original(b.keys[i]) if b.keys else None)


def release(node: Node, kept: Sequence[Sequence[Any]], mark: int = START) -> Batch:
    """Records that were held back, as a batch of now; ``mark`` is the watermark that stands before them."""
    keys = [internal(key) for _, _, key in kept] if node.host.keyed else None
    b = node.host.fresh([value for value, _, _ in kept], [time or 0 for _, time, _ in kept], keys)
    return b.marked(b.marks and [mark] * len(kept))


class Holding(Node):
    """A node whose held records hold the watermark; ``states["told"]`` is one that was passed on and would not be now."""

    codec = TAGGED
    holds_time = True

    def __init__(self) -> None:
        super().__init__()
        self.mark = START

    def start(self) -> None:
        self.told = self.states.get("told", START)

    def least(self) -> int:
        """The least time of what is held."""
        raise NotImplementedError

    def put(self, state: str, value: Any) -> None:
        """Change a state of this name."""
        self.states[state] = value
        self.dirty.add(state)

    def drop(self, state: str) -> None:
        """Delete a state of this name, if it is there."""
        if state in self.states:
            del self.states[state]
            self.dirty.add(state)

    def watermark(self, mark: int, port: int) -> None:
        """What is held has a time, and the watermark must not pass it."""
        self.mark = mark
        limit = min(mark, self.least())
        if limit >= self.told:
            self.told = limit
            self.drop("told")
        elif self.states.get("told") != self.told:
            self.put("told", self.told)  # a late record came; what was told already must be known after a restart
        self.forward(self.told)

    def tell_anew(self) -> None:
        """Say how far time has come, as what is held has changed."""
        if self.mark > START:
            self.watermark(self.mark, 0)


def least_time(times: Sequence[int | None]) -> int:
    """The least of these times; END if there are none."""
    return min((time for time in times if time is not None), default=END)
