"""Partial matches: which events were taken, shared between all that have them in common.

A match is read backwards, from its last event: each event that was taken knows which may be before it. So an event stands once
for each place that it was taken for, whatever the number of partial matches that have it.

Source: the shared buffer of Agrawal et al. (SIGMOD 2008). Theirs has versions on its pointers, to tell apart the runs that took
different ways to one event; here none are needed, because what may follow depends on the place alone, and where it does not
(``given``), each partial match has events of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

__all__ = [
    "BOUND",
    "Chain",
    "Complete",
    "Found",
    "Link",
    "Open",
    "Taken",
    "each",
    "events_of",
    "first_after",
    "join",
    "linked",
    "only_way",
    "starts_of",
    "sweep",
    "ways",
]


class Taken(msgspec.Struct):
    """An event, taken for a place of the pattern.

    Attributes:
        place: Of the automaton.
        value: The event.
        time: Its event time (ms).
        number: Which of the key's events it is.
        before: What may be before it in a match.
        first: The number of the first event of some match that has it, or less, if the earliest of these have ended.
        last: That of the latest one; its own if it may be the first itself.
    """

    place: int
    value: Any
    time: int
    number: int
    before: Chain
    first: int
    last: int


class Link(msgspec.Struct, eq=False):
    """One of several events that are alike for what follows, and those that came before it.

    Attributes:
        one: The event.
        rest: The others.
        first: The least ``first`` of all of them, or less; how much less depends on when somebody looked, so it is not compared.
        last: The greatest ``last``.
    """

    one: Taken
    rest: Link | Taken
    first: int
    last: int

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Link) and (self.one, self.rest, self.last) == (other.one, other.rest, other.last)


Chain = Link | Taken | None
"""Events that are alike for what follows, the latest first."""


Found = tuple[int, int, dict[str, list[Any]]]
"""A match: the times (ms) of its first event and its end, and its events by stage."""
Complete = tuple[int, int, Found]
"""A match in its turn: the number of its first event, that of the last event with which it lets no match begin, and itself."""
BOUND = 64
"""So few events are let be, though they are over."""


class Open:
    """What a key has open.

    Attributes:
        waits: By what is waited for, the partial matches that wait, by the event that they took last.
        number: That of the last event.
        ended: That of the last event with which no match may begin any more.
        skipped: The same, if a match has ended it, and not time.
        starts: Where there is ``within``, the numbers and times of the events with which one may have begun, in turns.
        complete: Matches that wait until none that began before them is open.
        size: How many events are taken, at most.
        bound: How many there may be before what is over is let go of.
        awaited: The time (ms) at which the key is looked at again.
    """

    __slots__ = ("awaited", "bound", "complete", "ended", "number", "size", "skipped", "starts", "waits")

    def __init__(self, waits: int) -> None:
        self.waits: tuple[Chain, ...] = (None,) * waits
        self.number = self.ended = self.skipped = self.size = 0
        self.bound = BOUND
        self.starts: list[int] | None = None
        self.complete: list[Complete] | None = None
        self.awaited: int | None = None

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Open) and all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def clear(self) -> None:
        """Nothing is open any more."""
        self.waits = (None,) * len(self.waits)
        self.number = self.ended = self.skipped = self.size = 0
        self.bound = BOUND
        self.starts = self.complete = None

    @property
    def alive(self) -> bool:
        """Whether anything is open."""
        for chain in self.waits:
            if chain is not None:
                return True
        return self.complete is not None


def linked(one: Taken, rest: Chain) -> Link | Taken:
    """An event before others, none of which came later."""
    if rest is None:
        return one
    return Link(one, rest, min(one.first, rest.first), max(one.last, rest.last))


def each(chain: Chain) -> Iterator[Taken]:
    """The events, the latest first."""
    while chain.__class__ is Link:
        yield chain.one
        chain = chain.rest
    if chain is not None:
        yield chain  # type: ignore[misc]  # no link


def join(*chains: Chain) -> Chain:
    """The events of several chains, each once."""
    some = [chain for chain in chains if chain is not None]
    if len(some) < 2:
        return some[0] if some else None
    ones = {id(one): one for chain in some for one in each(chain)}
    joined: Chain = None
    for one in sorted(ones.values(), key=lambda one: one.number):
        joined = linked(one, joined)
    return joined


def first_after(chain: Chain, ended: int) -> int | None:
    """The number of the earliest event after ``ended`` that a match with one of these events may begin with.

    What is found is written down, so that it need not be looked for again: numbers up to ``ended`` must not count any more.
    """
    if chain is None or chain.last <= ended:
        return None
    waiting: list[Link | Taken] = [chain]
    while waiting:
        at = waiting[-1]
        if at.first <= ended:
            parts = [at.one, at.rest] if isinstance(at, Link) else [] if at.before is None else [at.before]
            alive = [part for part in parts if part.last > ended]
            unknown = [part for part in alive if part.first <= ended]
            if unknown:
                waiting += unknown
                continue
            own = [at.number] if isinstance(at, Taken) and at.last == at.number else []
            at.first = min([*own, *(part.first for part in alive)])
        waiting.pop()
    return chain.first


def starts_of(chain: Chain, ended: int) -> list[int]:
    """The numbers of all events after ``ended`` that a match with one of these may begin with, in order."""
    seen, found, waiting = set[int](), set[int](), [chain]
    while waiting:
        at = waiting.pop()
        if at is None or at.last <= ended or id(at) in seen:
            continue
        seen.add(id(at))
        if isinstance(at, Link):
            waiting += (at.one, at.rest)
        else:
            waiting.append(at.before)
            if at.last == at.number:
                found.add(at.number)
    return sorted(found)


def ways(chain: Chain, ended: int, start: int | None = None) -> Iterator[list[Taken]]:
    """Each way back from one of these events to the first of a match after ``ended``, or to ``start``: the events in order.

    Those whose events are later come first, as seen from the end: ``a b1 b2 c`` before ``a b1 c``, and that before ``a b2 c``.

    Args:
        chain: The events.
        ended: The number of the last event with which no match may begin.
        start: If given, the number of the first event.
    """
    able = None if start is None else _with(chain, start)
    trail: list[Taken] = []
    choices: list[Iterator[Taken | None]] = [iter(each(chain))]
    while choices:
        one = next(choices[-1], _END)
        if one is _END:
            choices.pop()
            if trail:
                trail.pop()
        elif one is None:
            yield trail[::-1]
        elif one.last > ended if able is None else id(one) in able:
            trail.append(one)
            choices.append(_before(one, start))


_END: Any = object()


def _with(chain: Chain, start: int) -> set[int]:
    """The identities of the events that a match which begins with event ``start`` may have; of links, too."""
    able, seen, waiting = set[int](), set[int](), [chain]
    while waiting:
        at = waiting[-1]
        if at is None or at.last < start or at.first > start or id(at) in able:
            waiting.pop()
            continue
        parts = [at.one, at.rest] if isinstance(at, Link) else [at.before]
        if id(at) not in seen:
            seen.add(id(at))
            waiting += parts
            continue
        waiting.pop()
        if any(id(part) in able for part in parts) or (isinstance(at, Taken) and at.number == start == at.last):
            able.add(id(at))
    return able


def _before(one: Taken, start: int | None) -> Iterator[Taken | None]:
    """What may be before an event, and None last if nothing need be."""
    yield from each(one.before)
    if one.last == one.number and start in (None, one.number):
        yield None


def only_way(chain: Link | Taken, ended: int) -> list[Taken] | None:
    """The way back from an event, if it is clear that there is one only."""
    way = []
    at: Chain = chain
    while at is not None:
        if isinstance(at, Link) or (at.last == at.number and at.before is not None):
            return None
        way.append(at)
        at = at.before
    way.reverse()
    return way if way[0].number > ended else None


def events_of(way: Iterable[Taken], stages: Sequence[str]) -> dict[str, list[Any]]:
    """The events, by stage; ``stages`` has the places' names."""
    events: dict[str, list[Any]] = {}
    for one in way:
        stage = stages[one.place]
        if stage in events:
            events[stage].append(one.value)
        else:
            events[stage] = [one.value]
    return events


def sweep(waits: Iterable[Chain], ended: int) -> tuple[tuple[Chain, ...], int]:
    """What is left of this without what no match that begins after ``ended`` can have, and how many events that is."""
    whole: dict[int, tuple[Link, Chain]] = {}
    counted = set[int]()
    alive = tuple(_alive(chain, ended, whole) for chain in waits)
    left = list(alive)
    while left:
        for one in each(left.pop()):
            if id(one) not in counted:
                counted.add(id(one))
                one.before = _alive(one.before, ended, whole)
                left.append(one.before)
    return alive, len(counted)


def _alive(chain: Chain, ended: int, whole: dict[int, tuple[Link, Chain]]) -> Chain:
    """The events of a chain that a match which begins after ``ended`` may have; what is shared stays so.

    ``whole`` has the links by their identity, which holds only as long as they are there.
    """
    passed: list[Link] = []
    while isinstance(chain, Link) and id(chain) not in whole:
        passed.append(chain)
        chain = chain.rest
    rest = whole[id(chain)][1] if isinstance(chain, Link) else None if chain is None or chain.last <= ended else chain
    for link in reversed(passed):
        if link.one.last > ended:
            rest = link if rest is link.rest else linked(link.one, rest)
        whole[id(link)] = link, rest
    return rest
