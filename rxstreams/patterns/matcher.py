"""One key's events through an automaton: what they complete, and what stays open."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

from rxstreams.errors import RxStreamsError
from rxstreams.patterns.automaton import Automaton, Wait
from rxstreams.patterns.partial import Chain, Link, Taken, each, first_after, join, linked, starts_of, ways
from rxstreams.patterns.skips import Skips

__all__ = ["Found", "Matcher", "Open", "TooManyPartialMatches"]

Found = tuple[int, int, dict[str, list[Any]]]
"""A match: the times (ms) of its first event and its end, and its events by stage."""
Complete = tuple[int, int, Found]
"""A match in its turn: the number of its first event, that of the last event with which it lets no match begin, and itself."""
_first = itemgetter(0)


class TooManyPartialMatches(RxStreamsError):
    """Raised when an event would make a key have more partial matches than ``limit``, or complete more than that at once."""


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
        swept: How many were when that was looked at last.
        waiting: The events that time has not passed, in order: their times, what holds for them, and themselves.
        awaited: The time (ms) at which the key is looked at again.
    """

    __slots__ = ("awaited", "complete", "ended", "number", "size", "skipped", "starts", "swept", "waiting", "waits")

    def __init__(self, waits: int) -> None:
        self.waits: list[Chain] = [None] * waits
        self.number = self.ended = self.skipped = 0
        self.starts: list[int] | None = None
        self.complete: list[Complete] | None = None
        self.size = self.swept = 0
        self.waiting: list[tuple[int, int, Any]] | None = None
        self.awaited: int | None = None

    @property
    def alive(self) -> bool:
        """Whether anything is open."""
        return self.complete is not None or any(chain is not None for chain in self.waits)


class Matcher:
    """Matches events of one key, in order of time.

    Args:
        automaton: What is looked for.
        skip: Which matches a match ends.
        limit: How many partial matches a key may have, counted by the events that they took last, and how many may be completed
            at once.

    Attributes:
        reports: Whether somebody wants to know of partial matches for which time ran out.
    """

    def __init__(self, automaton: Automaton, skip: Skips, limit: int) -> None:
        self.automaton, self.skip, self.limit = automaton, skip, limit
        self.within, self.places = automaton.within or 0, automaton.places
        self.skips = skip.kind != "no_skip"
        self.meet = self.meet_each if automaton.exact else self.meet_all
        self.waits = list(enumerate(automaton.waits))
        self.absences = [i for i, wait in self.waits if wait.place is None and wait.how == "followed_by"]
        self.reports = False

    # An event.

    def take(self, state: Open, value: Any, time: int, mask: int) -> list[Found]:
        """The matches that an event completes, or makes wait no longer.

        If it raises, which conditions may, nothing has changed: what is new stands beside what is there until all is known.
        """
        number, waits = state.number + 1, state.waits.copy()
        reached: dict[int, Chain] = {}
        done: Chain = None
        for i, wait in self.waits:
            chain = waits[i]
            if chain is not None:
                waits[i], met = self.meet(wait, chain, value, mask, number)
                if met is not None:
                    if wait.place is None:
                        done = join(done, met)
                    else:
                        reached[wait.place] = join(reached.get(wait.place), met)
        begun = self.begun(value, mask)
        taken = self.taken(value, time, number, reached, begun, state.ended)
        for one in taken:
            place = self.places[one.place]
            if place.final:
                done = join(done, one)
            for i in place.waits:
                waits[i] = linked(one, waits[i])
        size = state.size + len(taken)
        if size > self.limit:
            size = self.sweep(waits, state.ended)
            if size > self.limit:
                raise TooManyPartialMatches(self.too_many("partial matches", taken))
        alive = done is not None and done.last > state.ended
        several = self.all_ways(done, state.ended) if alive and not self.skip.one_each else []
        state.number, state.size, state.waits = number, size, waits
        if begun and self.within:
            if state.starts is None:
                state.starts = []
            state.starts += (number, time)
        if not self.skips:
            found = [self.found(way) for way in several]
        elif alive or state.complete is not None:
            found = self.in_turn(state, done if self.skip.one_each else None, several)
        else:
            found = []
        if size > 2 * state.swept + 64 and state.ended:
            state.size = state.swept = self.sweep(state.waits, state.ended)
        return found

    def begun(self, value: Any, mask: int) -> list[int]:
        """The places with which a match may begin with an event."""
        places = []
        for place, bit, given, kill, guards in self.automaton.starts:
            if mask & bit and not mask & kill and (given is None or given(value, {})):
                if not any(mask & guard.bit and guard.given(value, {}) for guard in guards):  # type: ignore[misc]  # a guard has one
                    places.append(place)
        return places

    def taken(
        self, value: Any, time: int, number: int, reached: dict[int, Chain], begun: list[int], ended: int
    ) -> list[Taken]:
        """An event at the places that it has reached; where partial matches are kept apart, once for each of them."""
        made = []
        for place in sorted({*reached, *begun}):
            before = reached.get(place)
            if before is not None and before.last <= ended:
                before = None
                if place not in begun:
                    continue
            if not self.automaton.exact:
                first, last = (number, number) if before is None else (before.first, before.last)
                made.append(Taken(place, value, time, number, before, first, number if place in begun else last))
                continue
            if place in begun:
                made.append(Taken(place, value, time, number, None, number, number))
            made += [Taken(place, value, time, number, one, one.first, one.last) for one in each(before) if one.last > ended]
        return made

    def meet_all(self, wait: Wait, chain: Chain, value: Any, mask: int, number: int) -> tuple[Chain, Chain]:
        """What of a chain waits on, and what has met what it waited for; all of it fares alike."""
        _, how, bit, _, kill, next_kill, _, _ = wait
        if mask & kill:
            return None, None
        if mask & next_kill:
            chain = _not_fresh(chain, number)
            if chain is None:
                return None, None
        if wait.place is None:
            return (chain, None) if how == "followed_by" else (None, chain)
        if how == "next":
            return None, chain if mask & bit else None
        if not mask & bit:
            return chain, None
        return chain if how == "followed_by_any" else None, chain

    def meet_each(self, wait: Wait, chain: Chain, value: Any, mask: int, number: int) -> tuple[Chain, Chain]:
        """The same where conditions depend on the events before, one by one."""
        place, how, bit, given, kill, next_kill, guards, next_guards = wait
        if mask & kill:
            return None, None
        left: Chain = None
        met: Chain = None
        for one in reversed(list(each(chain))):
            fresh = one.number == number - 1
            if fresh and mask & next_kill:
                continue
            of_next = next_guards if fresh else ()
            before = self.events(_way(one)) if given is not None or guards or of_next else {}
            if any(mask & guard.bit and guard.given(value, before) for guard in (*guards, *of_next)):  # type: ignore[misc]  # it has one
                continue
            fits = place is None or (mask & bit and (given is None or given(value, before)))
            if place is None and how == "followed_by":
                fits = False
            if fits:
                met = linked(one, met)
            if how == "followed_by_any" or (not fits and how == "followed_by"):
                left = linked(one, left)
        return left, met

    # What is complete.

    def all_ways(self, done: Chain, ended: int) -> list[list[Taken]]:
        """All matches that are complete now, by their first events."""
        several: list[list[Taken]] = []
        known = set[tuple[tuple[int, str], ...]]()
        for way in ways(done, ended):
            if self.automaton.twofold:
                stands = tuple((one.number, self.places[one.place].stage) for one in way)
                if stands in known:
                    continue
                known.add(stands)
            several.append(way)
            if len(several) > self.limit:
                raise TooManyPartialMatches(self.too_many("matches at once", way[-1:]))
        several.sort(key=lambda way: way[0].number)
        return several

    def in_turn(self, state: Open, done: Chain, several: list[list[Taken]], end: int | None = None) -> list[Found]:
        """What no open match that began earlier can keep from coming out any more.

        Args:
            state: The key's.
            done: The events with which matches are complete, of which there is one each for an event to begin with.
            several: Matches that are complete.
            end: When they are, if it is not with their last events.
        """
        found: list[Found] = []
        for way in several:
            self.add(state, way, end)
        for start in starts_of(done, state.ended):
            waiting = state.complete or []
            at = bisect_left(waiting, start, key=_first)
            if start > state.ended and (at == len(waiting) or waiting[at][0] != start):
                self.add(state, next(ways(done, state.ended, start)), end)
                found += self.settle(state)
        return found + self.settle(state)

    def add(self, state: Open, way: list[Taken], end: int | None) -> None:
        """A match is complete."""
        ends = self.skip.last_ended([(self.places[one.place].stage, one.number) for one in way])
        if state.complete is None:
            state.complete = []
        at = bisect_right(state.complete, way[0].number, key=_first)
        state.complete.insert(at, (way[0].number, ends, self.found(way, end)))

    def settle(self, state: Open) -> list[Found]:
        """Have matches come out in the order of their first events, each of which may end others, open ones and complete ones."""
        found: list[Found] = []
        while state.complete:
            start, ends, match = state.complete[0]
            if start > state.skipped:
                open_first = min((one for one in map(self.first_of(state), state.waits) if one is not None), default=start)
                if open_first < start:
                    break
                found.append(match)
                if ends > state.skipped:
                    state.skipped = ends
                    self.end(state, ends)
            del state.complete[0]
        state.complete = state.complete or None
        return found

    def first_of(self, state: Open) -> Any:
        """Tells the earliest first event of what is open in a chain."""
        return lambda chain: first_after(chain, state.ended)

    def end(self, state: Open, number: int) -> None:
        """No match may begin with event ``number``, or an earlier one, any more."""
        state.ended = max(state.ended, number)
        state.waits = [chain if chain is not None and chain.last > state.ended else None for chain in state.waits]

    def found(self, way: list[Taken], end: int | None = None) -> Found:
        """What a match is."""
        return way[0].time, way[-1].time if end is None else end, self.events(way)

    def events(self, way: list[Taken]) -> dict[str, list[Any]]:
        """The events, by stage."""
        events: dict[str, list[Any]] = {}
        for one in way:
            events.setdefault(self.places[one.place].stage, []).append(one.value)
        return events

    # Time.

    def due(self, state: Open) -> int | None:
        """The time (ms) by which something is over."""
        return None if state.starts is None else state.starts[1] + self.within

    def expire(self, state: Open, time: int) -> tuple[list[Found], list[Found]]:
        """What is complete because the time of some is over at ``time``, and the partial matches for which it ran out."""
        found: list[Found] = []
        run_out: list[Found] = []
        starts = state.starts or []
        while starts and starts[1] + self.within <= time:
            number, began = starts[:2]
            end = began + self.within - 1
            if number > state.ended:
                complete: Chain = None
                for i in self.absences:
                    complete = join(complete, state.waits[i])
                several = [way for way in ways(complete, state.ended, number)]
                if self.reports:
                    run_out += [self.found(way, end) for way in self.unfinished(state, complete, number)]
                self.end(state, number)
                if self.skips:
                    found += self.in_turn(state, None, several[:1] if self.skip.one_each else several, end)
                else:
                    found += [self.found(way, end) for way in several]
            del starts[:2]
        if not starts or not state.alive:
            state.starts = None
        return found, run_out

    def unfinished(self, state: Open, complete: Chain, number: int) -> Iterator[list[Taken]]:
        """The partial matches that began with event ``number`` and were not complete once."""
        apart = {id(one) for one in each(complete)}
        heads: Chain = None
        for chain in state.waits:
            heads = join(heads, chain)
        for one in each(heads):
            if id(one) not in apart and not self.places[one.place].final:
                yield from ways(one, state.ended, number)

    # Memory.

    def sweep(self, waits: list[Chain], ended: int) -> int:
        """Let go of what no match can have any more; say how many events are left."""
        whole: dict[int, Chain] = {}
        left, counted = list(waits), set[int]()
        for i, chain in enumerate(waits):
            waits[i] = _alive(chain, ended, whole)
        left = list(waits)
        while left:
            for one in each(left.pop()):
                if id(one) not in counted:
                    counted.add(id(one))
                    one.before = _alive(one.before, ended, whole)
                    left.append(one.before)
        return len(counted)

    def partial(self, state: Open) -> Iterator[Found]:
        """The partial matches that are open."""
        heads: Chain = None
        for chain in state.waits:
            heads = join(heads, chain)
        for way in ways(heads, state.ended):
            yield self.found(way)

    def too_many(self, what: str, taken: list[Taken]) -> str:
        """What to say of them."""
        stage = self.places[taken[0].place].stage
        remedy = "give the pattern within(…), stricter conditions or a skip strategy, or raise limit"
        return f"stage {stage!r}: more than {self.limit:,} {what}; {remedy}"


def _not_fresh(chain: Chain, number: int) -> Chain:
    """The events of a chain but those just before event ``number``."""
    while isinstance(chain, Link) and chain.one.number == number - 1:
        chain = chain.rest
    return None if isinstance(chain, Taken) and chain.number == number - 1 else chain


def _way(one: Taken) -> list[Taken]:
    """The events up to this one, where there is one way to it."""
    way = []
    at: Any = one
    while at is not None:
        way.append(at)
        at = at.before
    return way[::-1]


def _alive(chain: Chain, ended: int, whole: dict[int, Chain]) -> Chain:
    """The events of a chain that a match which begins after ``ended`` may have; what is shared stays so."""
    passed: list[Link] = []
    while isinstance(chain, Link) and id(chain) not in whole:
        passed.append(chain)
        chain = chain.rest
    rest = whole[id(chain)] if isinstance(chain, Link) else None if chain is None or chain.last <= ended else chain
    for link in reversed(passed):
        if rest is link.rest and link.one.last > ended:
            rest = link
        elif link.one.last > ended:
            rest = linked(link.one, rest)
        whole[id(link)] = rest
    return rest
