"""Spaces: keyed state in layers that are freed as a whole, such as a window's, or a span of time's.

What lives by time dies by time: when a window has closed, all its keys' states go at once. So they stand in a dict of their own,
and neither memory nor the saved table is asked to delete them one by one. (Flink calls this a state's namespace.)
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable, Iterator
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar

__all__ = ["Change", "Spaces", "Touched"]

KNOWN = -1
"""The ordinal of a key that its space had at the last commit."""


class Change(NamedTuple):
    """What is new in a space since the last commit."""

    space: int
    keys: list[Hashable]
    states: list[Any]
    ordinals: array[int]
    """How many keys the space had before each of these came, or KNOWN."""


class Touched(dict[Hashable, Any]):
    """The keys of an older space whose states changed since the last commit; what is put here is put into the space too."""

    __slots__ = ("base",)

    def __init__(self, base: dict[Hashable, Any]) -> None:
        super().__init__()
        self.base = base

    def __setitem__(self, key: Hashable, state: Any) -> None:
        super().__setitem__(key, state)
        self.base[key] = state


State = TypeVar("State")


class Spaces(Generic[State]):
    """The states of one operator: by space, an integer, then by key in the order in which the keys came.

    A record's space is looked for in ``touched``, which a commit empties, and then its key in what is found there. A space that
    is new since the last commit is there itself, all of it unsaved; of an older one there is a ``Touched``. So noting what
    changed costs a record nothing but its first touch of an older space's key.

    Keys are never taken out of a space; the space is dropped as a whole.
    """

    __slots__ = ("dropped", "saved", "states", "touched")

    def __init__(self) -> None:
        self.states: dict[int, dict[Hashable, State]] = {}
        self.touched: dict[int, dict[Hashable, State]] = {}
        self.saved: dict[int, int] = {}
        self.dropped: list[int] = []

    def __len__(self) -> int:
        """How many states there are, in all spaces."""
        return sum(map(len, self.states.values()))

    def open(self, space: int) -> dict[Hashable, State]:
        """Where to look for a key that is to change, and to put its state after: the space itself, or a ``Touched`` of it."""
        found = self.touched.get(space)
        if found is None:
            whole = self.states.get(space)
            if whole is None:
                whole = found = self.states[space] = {}
            found = self.touched[space] = whole if found is whole else Touched(whole)
        return found

    def drop(self, space: int) -> dict[Hashable, State]:
        """Free a space; return what was in it."""
        self.touched.pop(space, None)
        if self.saved.pop(space, None) is not None:
            self.dropped.append(space)
        return self.states.pop(space, {})

    def take_dropped(self) -> list[int]:
        """The saved spaces that were freed since the last commit, which now follows."""
        dropped, self.dropped = self.dropped, []
        return dropped

    def take_changes(self) -> Iterator[Change]:
        """What changed since the last commit, which now follows."""
        touched = dict(self.touched)
        self.touched.clear()  # this very dict is known to those who look into it with each record
        for space, changed in touched.items():
            before, whole = self.saved.get(space), self.states[space]
            self.saved[space] = len(whole)
            if before is None:
                yield Change(space, list(whole), list(whole.values()), array("q", range(len(whole))))
                continue
            # Keys come at a dict's end, and none is ever taken out, so the new ones are the last.
            new = list(islice(whole, before, None))
            known = changed.keys() - set(new) if new else changed
            keys = [*known, *new]
            ordinals = array("q", [KNOWN] * len(known))
            ordinals.extend(range(before, before + len(new)))
            yield Change(space, keys, [whole[key] for key in keys], ordinals)

    def restore(self, space: int, entries: Iterable[tuple[int, Hashable, State]]) -> None:
        """Give a space back what was saved of it: (ordinal, key, state), in any order."""
        ordered = sorted(entries, key=lambda entry: entry[0])
        self.states[space] = {key: state for _, key, state in ordered}
        self.saved[space] = len(ordered)
