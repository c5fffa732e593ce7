"""What names a record to the world outside the broker: the same text in every attempt, so that duplicates can be told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rxstreams.batch import Batch
from rxstreams.state.keys import original
from rxstreams.stream import Node
from rxstreams.windows import Windowed

__all__ = ["Identities", "Namer"]

Namer = bool | Callable[[Any], object]
"""Whether records are named after where they come from, or what else names one."""


class Identities:
    """Names the records that come to a node.

    By itself after where a record comes from, ``{app}:{operator}:{source}:{partition}:{offset}:{n}``, n counting those that it
    made; or after its window, ``{app}:{operator}:{key}:{start}:{end}:{pane}:{n}``, n counting results of the same one in a row.
    What else a timer or an end has made has no name that would be the same after a crash, and fails; a run that has an operator
    before it whose results come when they can, or several that make windows, does not begin (see ``Graph``).

    Args:
        node: Whose records they are.
        namer: Names a value, instead.
    """

    def __init__(self, node: Node, namer: Namer) -> None:
        self.node, self.namer = node, namer
        self.last: Any = None
        self.sibling = 0

    def of(self, b: Batch) -> tuple[list[str], Batch]:
        """The names of a batch's records, and the batch without those that have none."""
        if callable(self.namer):
            names, b = self.node.each(self.namer, b)
            return [f"{self.prefix}:{name}" for name in names], b
        nothing: Sequence[Any] = [None] * len(b)
        pushed = self.node.host.origin()
        places = b.order if b.order is not None and pushed is not None else nothing
        return self.node.each(lambda value, place, key: self._name(pushed, place, value, key), b, places, b.keys or nothing)

    @property
    def prefix(self) -> str:
        """The app and the operator."""
        return f"{self.node.host.app}:{getattr(self.node, 'identity', '')}"

    def _name(self, pushed: Any, place: float | None, value: Any, key: Any) -> str:
        if place is not None and place % 1 < 0.5 and place < len(pushed[1].values):
            source, chunk = pushed
            came = f"{source}:{chunk.partition}:{chunk.offsets[int(place)]}"
        elif isinstance(value, Windowed):
            came = f"{original(key)!r}:{value.start}:{value.end}:{value.pane.number}"
        else:
            raise LookupError(
                "with_id=True: no single record and no window is behind this value, so it has no name that would be the same "
                "after a crash; give with_id= a field's name or a function that names it"
            )
        self.sibling = self.sibling + 1 if came == self.last else 0
        self.last = came
        return f"{self.prefix}:{came}:{self.sibling}"
