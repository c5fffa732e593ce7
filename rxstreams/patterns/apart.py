"""An automaton's step where a condition depends on the events before it: each partial match fares by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rxstreams.patterns.automaton import Automaton, Condition, Wait
from rxstreams.patterns.partial import Chain, Taken, each, events_of, join, linked, only_way

__all__ = ["advancing_each"]


Advance = Callable[[tuple[Chain, ...], Any, int, int, int, int], tuple[tuple[Chain, ...], Chain, bool, int]]
"""Of what waits, an event, its time and number, that of the last one with which no match may begin, and what holds: what waits
then, with which events matches are complete, whether one has begun, and how many events were taken."""


def advancing_each(automaton: Automaton) -> Advance:
    """The step of an automaton that is ``exact``; each event that is taken has one event before it."""
    places, stages = automaton.places, [place.stage for place in automaton.places]

    def advance(
        before: tuple[Chain, ...], value: Any, time: int, number: int, ended: int, holds: int
    ) -> tuple[tuple[Chain, ...], Chain, bool, int]:
        waits, made = list(before), 0
        reached: dict[int, Chain] = {}
        done: Chain = None
        for i, wait in enumerate(automaton.waits):
            waits[i], met = meet(wait, waits[i], value, holds, number, ended)
            if met is not None and wait.place is None:
                done = join(done, met)
            elif met is not None:
                reached[wait.place] = join(reached.get(wait.place), met)  # type: ignore[arg-type,index]  # not None
        begun = [start.place for start in automaton.starts if holds & start.bit and not holds & start.kill
                 and (start.given is None or start.given(value, {})) and not any_of(start.guards, holds, value, {})]  # fmt: skip
        for place in sorted({*reached, *begun}):
            ones = [Taken(place, value, time, number, one, one.first, one.last) for one in each(reached.get(place))]
            if place in begun:
                ones.append(Taken(place, value, time, number, None, number, number))
            for one in ones:
                made += bool(places[place].waits)
                if places[place].final:
                    done = join(done, one)
                for i in places[place].waits:
                    waits[i] = linked(one, waits[i])
        return tuple(waits), done, bool(begun), made

    def meet(wait: Wait, chain: Chain, value: Any, holds: int, number: int, ended: int) -> tuple[Chain, Chain]:
        """What of a chain waits on, and what has met what it waited for."""
        left: Chain = None
        met: Chain = None
        for one in reversed(list(each(chain))):
            fresh = one.number == number - 1
            if one.last <= ended or holds & wait.kill or (fresh and holds & wait.next_kill):
                continue
            guards = (*wait.guards, *(wait.next_guards if fresh else ()))
            before = events_of(only_way(one, ended) or (), stages) if guards or wait.given is not None else {}
            if any_of(guards, holds, value, before):
                continue
            if wait.place is None:
                fits = wait.how == "next"
            else:
                fits = bool(holds & wait.bit and (wait.given is None or wait.given(value, before)))
            if fits:
                met = linked(one, met)
            if wait.how == "followed_by_any" or (wait.how == "followed_by" and not fits):
                left = linked(one, left)
        return left, met

    return advance


def any_of(guards: tuple[Condition, ...], holds: int, value: Any, before: dict[str, list[Any]]) -> bool:
    """Whether one of these holds, given the events before."""
    return any(holds & guard.bit and guard.given(value, before) for guard in guards)  # type: ignore[misc]  # a guard has one
