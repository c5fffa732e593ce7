"""State that stands apart from a node's own, and how it is freed by time."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

from rxstreams.state.codec import TAGGED, StateCodec
from rxstreams.stream import Node
from rxstreams.stream.loops import Loop
from rxstreams.watermarks import END

if TYPE_CHECKING:
    from rxstreams.operators.stepping import Code

__all__ = ["PARTS", "Aged", "Steps", "Store"]

PARTS = 16
"""In how many steps what is kept is freed; so it is kept for a sixteenth longer at most."""


class Store:
    """A part of a node's state, saved beside its own.

    Args:
        node: Whose it is.
        name: Which part.
    """

    codec: StateCodec = TAGGED
    spaces = None

    def __init__(self, node: Node, name: str) -> None:
        self.node, self.name = node, name
        self.states: dict[Any, Any] = {}
        self.dirty: set[Any] = set()

    @property
    def identity(self) -> str:
        """What it is saved under."""
        return f"{self.node.identity}/{self.name}"  # type: ignore[attr-defined]  # every stateful node of a run has one

    def start(self) -> None:
        """Begin, with what was saved."""

    def settle(self) -> None:
        """A commit follows."""


class Steps(dict[int, Any]):
    """What is gathered by time, in steps of it. They stand in order, so that those which are over are found without the others.

    Args:
        width: Milliseconds.
        make: Makes what a step has when it is first asked for.
    """

    def __init__(self, width: int, make: Callable[[], Any]) -> None:
        super().__init__()
        self.width, self.make = width, make
        self.order: list[int] = []

    def __missing__(self, step: int) -> Any:
        """The step begins."""
        self[step] = made = self.make()
        insort(self.order, step)
        return made

    def of(self, time: int) -> Any:
        """What the step of a time has."""
        return self[time // self.width]

    def due(self, after: int) -> int:
        """So many milliseconds after the end of the first step; END where there is none."""
        return (self.order[0] + 1) * self.width + after if self.order else END

    def over(self, time: int) -> list[int]:
        """The steps that end by a time, in order."""
        return self.order[: bisect_left(self.order, time // self.width)]

    def between(self, first: int, stop: int) -> list[int]:
        """The steps from ``first`` up to before ``stop``, in order."""
        return self.order[bisect_left(self.order, first) : bisect_left(self.order, stop)]

    def since(self, first: int) -> int | None:
        """The first step from ``first`` on."""
        at = bisect_left(self.order, first)
        return self.order[at] if at < len(self.order) else None

    def take(self, step: int) -> Any:
        """Take a step out; return what it had."""
        del self.order[bisect_left(self.order, step)]
        return self.pop(step)

    def clear(self) -> None:
        super().clear()
        self.order.clear()


class Aged(Store):
    """States of keys that go when the watermark has passed their time by more than ``keep``.

    Keys are gathered by time, in steps of a sixteenth of how long they are kept; so no key is looked at before it may go, all of
    a step go at once, and what came and went between two commits costs these nothing.

    Args:
        node: Whose it is.
        name: Which part.
        keep: Milliseconds.
        width: Milliseconds of a step; None is a sixteenth of ``keep``.

    Attributes:
        ages: By step, the keys whose state has something of it, each as often as it has.
        several: The keys whose state is of more than one record, or step; they are looked at one by one when a step goes.
    """

    def __init__(self, node: Node, name: str, keep: int, width: int | None = None) -> None:
        super().__init__(node, name)
        self.keep = keep
        self.width = width or max(1, abs(keep) // PARTS)
        self.ages = Steps(self.width, list)
        self.several: set[Hashable] = set()
        self.saved: dict[int, int] = {}
        """By step, how many of its keys the last commit has seen; the others have no saved state to delete."""

    def times_of(self, key: Hashable) -> Sequence[int]:
        """The times of what a key's state is of."""
        raise NotImplementedError

    def forget(self, key: Hashable, age: int) -> None:
        """Forget what a key of ``several`` has of a step; the last of it takes the key out of there."""
        raise NotImplementedError

    def __len__(self) -> int:
        """How many records are kept."""
        return sum(map(len, self.ages.values()))

    def start(self) -> None:
        for key in self.states:
            times = self.times_of(key)
            for time in times:
                self.ages.of(time).append(key)
            if len(times) > 1:
                self.several.add(key)
        self.saved = {age: len(keys) for age, keys in self.ages.items()}

    def aging(self, loop: Loop, code: Code, key: str = "key", time: str = "time", then: str | None = None) -> list[str]:
        """The statements for a key that has something of a time now; the expressions for these.

        The loop remembers the step that it adds to, in variables of this store's own, as others may be in the same loop.

        Args:
            loop: The loop.
            code: How it says things.
            key: The expression for the key.
            time: The expression for the time.
            then: A statement that may take the step away, to follow.
        """
        step = loop.bind(self.ages.of)
        begin, end, aged = f"begin{step}", f"end{step}", f"aged{step}"
        loop.before.append(f"{begin} = {end} = 0")
        return [
            f"if not {begin} <= {time} < {end}:",
            f"    {begin} = {time} - {time} % {self.width}",
            f"    {end} = {begin} + {self.width}",
            f"    {aged} = {step}({time})",
            f"    due = {code.due}",
            f"{aged}.append({key})",
            *([] if then is None else [f"{then}; {begin} = {end} = 0"]),
        ]

    @property
    def next_time(self) -> int:
        """The watermark at which something goes."""
        return self.ages.due(self.keep)

    def expire(self, mark: int) -> None:
        """Forget what the watermark ``mark`` has passed."""
        gone = self.ages.over(mark - self.keep)  # in order, as a state of several steps may go with the last of them
        if len(gone) == len(self.ages):
            self.clear()
            return
        for age in gone:
            keys, saved = self.ages.take(age), self.saved.pop(age, 0)
            self.dirty.update(keys[:saved])
            others = self.several.intersection(keys) if self.several else ()
            if others:
                keys = [key for key in keys if key not in others]
            deque(map(self.states.pop, keys), maxlen=0)
            for key in others:
                self.forget(key, age)
                self.dirty.add(key)

    def clear(self) -> None:
        """Forget everything, which is quicker than one by one."""
        for age, keys in self.ages.items():
            self.dirty.update(keys[: self.saved.get(age, 0)])
        self.dirty.update(self.several)
        for held in (self.ages, self.saved, self.several, self.states):
            held.clear()

    def settle(self) -> None:
        for age, keys in self.ages.items():
            before = self.saved.get(age, 0)
            if before < len(keys):
                self.dirty.update(keys[before:])
                self.saved[age] = len(keys)
