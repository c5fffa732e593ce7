"""What names a record to the world outside the broker: the same text in every attempt, so that duplicates can be told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rxstreams.batch import Batch
from rxstreams.state.keys import original
from rxstreams.stream import Node
from rxstreams.windows import Windowed

__all__ = ["Identities"]


class Identities:
    """Names the records that come to a node.

    After where the record comes from, ``{app}:{operator}:{source}:{partition}:{offset}:{n}``, n counting those that it made;
    after the window where a timer made it, ``{app}:{operator}:{key}:{start}:{end}:{pane}``. What else no single record made has
    a running number, saved with the node, ``{app}:{operator}:#{number}``: the same after a crash where the same comes again in
    the same order.

    Args:
        node: Gets the saved number under ``states["named"]``.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.last: tuple[str, int, int] | None = None
        self.sibling = 0

    def start(self) -> None:
        """Begin, with the node's state restored."""
        self.prefix = f"{self.node.host.app}:{getattr(self.node, 'identity', 'subscription')}"
        self.number: int = self.node.states.get("named", 0)

    def of(self, b: Batch) -> list[str]:
        """The names of a batch's records."""
        pushed = self.node.host.origin()
        places: Sequence[float | None] = b.order if b.order is not None and pushed is not None else [None] * len(b)
        keys = b.keys or [None] * len(b)
        return [
            f"{self.prefix}:{self._name(pushed, place, value, key)}"
            for place, value, key in zip(places, b.values, keys, strict=True)
        ]

    def _name(self, pushed: Any, place: float | None, value: Any, key: Any) -> str:
        if place is not None and place % 1 < 0.5 and place < len(pushed[1].values):
            source, chunk = pushed
            came = source, chunk.partition, chunk.offsets[int(place)]
            self.sibling = self.sibling + 1 if came == self.last else 0
            self.last = came
            return f"{source}:{chunk.partition}:{came[2]}:{self.sibling}"
        if isinstance(value, Windowed):
            return f"{original(key)!r}:{value.start}:{value.end}:{value.pane.number}"
        self.number += 1
        return f"#{self.number}"

    def cut(self) -> None:
        """Have the number saved that was given last."""
        if self.number != self.node.states.get("named", 0):
            self.node.states["named"] = self.number
            self.node.dirty.add("named")
