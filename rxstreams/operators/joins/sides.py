"""What a join remembers of one of its inputs: each key's records, until no partner can come for them any more."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import msgspec

from rxstreams.operators.arguments import check_savable
from rxstreams.operators.stepping import Code
from rxstreams.operators.stores import Aged, Store
from rxstreams.state.codec import StateCodec, pack
from rxstreams.state.keys import original
from rxstreams.stream import Node
from rxstreams.stream.loops import Loop

__all__ = ["Entry", "Inspector", "KeyKinds", "Side", "pack_entries"]


class Entry(msgspec.Struct, gc=False):  # there is one per record, so the collector should not look at it
    """A record that is kept.

    Attributes:
        time: Its event time.
        met: Where that matters, 1 once it has had a partner, 2 once it has come out alone.
    """

    time: int
    value: Any
    met: int = 0


def each(held: Any) -> list[Entry]:
    """A key's entries, of what is held for it: one, or a list of several."""
    return held if held.__class__ is list else [held]


def pack_entries(held: Any) -> Any:
    """What is saved of a key's entries."""
    return pack([[one.time, one.value, one.met] for one in each(held)])


def _unpack_entries(packed: Any) -> Any:
    entries = [Entry(*parts) for parts in packed]
    return entries if len(entries) > 1 else entries[0]


class Side(Aged):
    """The records of one input, by key: an entry, or a list of several."""

    codec = StateCodec(pack_entries, _unpack_entries)

    def times_of(self, key: Hashable) -> Sequence[int]:
        return [entry.time for entry in each(self.states[key])]

    def keeping(self, loop: Loop, code: Code) -> list[str]:
        """The statements that keep ``entry``."""
        return [
            f"held = {loop.bind(self.states.setdefault)}(key, entry)",
            f"if held is not entry: {loop.bind(self.add)}(key, held, entry)",
            *self.aging(loop, code),
        ]

    def add(self, key: Hashable, held: Any, entry: Entry) -> None:
        """Keep an entry beside what is ``held`` for its key."""
        if held.__class__ is list:
            held.append(entry)
        else:
            self.states[key] = [held, entry]
            self.several.add(key)
        self.dirty.add(key)

    def forget(self, key: Hashable, age: int) -> None:
        left = [entry for entry in self.states[key] if entry.time // self.width != age]
        if left:
            self.states[key] = left if len(left) > 1 else left[0]
        else:
            del self.states[key]
        if len(left) < 2:
            self.several.remove(key)


class KeyKinds:
    """Fails a join whose keys are of two types, which are never equal.

    Args:
        node: The join.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.seen: dict[str, Any] = {}

    def look(self, which: str, key: Hashable) -> None:
        """Look at a key of an input, if it is the first."""
        if which in self.seen:
            return
        self.seen[which] = mine = original(key)
        for other, theirs in self.seen.items():
            if type(theirs) is not type(mine):
                raised = f"{other} has keys such as {theirs!r}, {which} such as {mine!r}, which are never equal"
                self.node.fail(TypeError(f"{raised}; have each key_by give the same type"))


class Inspector:
    """Fails a join whose records cannot be saved, or whose keys are of two types.

    After each push it looks at one record of each side that came lately, as a stream's values are of a kind.
    """

    def __init__(self, node: Node, left: Store, right: Store) -> None:
        self.node, self.sides = node, (left, right)
        self.kinds: set[type] = set()
        self.keys = KeyKinds(node)

    def look(self) -> None:
        """Look at what is kept now."""
        for side in self.sides:
            if side.states:
                self.look_at(side)

    def look_at(self, side: Store) -> None:
        """Look at one side's youngest key."""
        value = each(next(reversed(side.states.values())))[-1].value
        if type(value) not in self.kinds:
            check_savable(self.node, value)
            self.kinds.add(type(value))
        self.keys.look(f"the {side.name} stream", next(reversed(side.states)))
