"""One key's events through an automaton: what they complete, and what stays open."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

from rxstreams.errors import RxStreamsError
from rxstreams.patterns.apart import advancing_each
from rxstreams.patterns.automaton import Automaton
from rxstreams.patterns.compiled import advancing
from rxstreams.patterns.partial import Chain, Taken, each, events_of, first_after, join, only_way, starts_of, sweep, ways
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
        for chain in self.waits:
            if chain is not None:
                return True
        return self.complete is not None


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
        self.advance = (advancing_each if automaton.exact else advancing)(automaton)
        self.absences = [i for i, wait in enumerate(automaton.waits) if wait.place is None and wait.how == "followed_by"]
        self.reports = False

    # An event.

    def take(self, state: Open, value: Any, time: int, holds: int) -> Sequence[Found]:
        """The matches that an event completes, or makes wait no longer.

        If it raises, which conditions may, nothing has changed: what is new stands beside what is there until all is known.

        Args:
            state: The key's.
            value: The event.
            time: When it was (ms).
            holds: The bits of the conditions that hold for it.
        """
        number = state.number + 1
        waits, done, made, begun = self.advance(state.waits, value, time, holds, number, state.ended)
        size = state.size + made
        if size > self.limit:
            size = sweep(waits, state.ended)
            if size > self.limit:
                raise TooManyPartialMatches(self.too_many("partial matches", holds))
        if done is not None and done.last <= state.ended:
            done = None
        several = [] if done is None or self.skip.one_each else self.all_ways(done, state.ended, holds)
        state.number, state.size, state.waits = number, size, waits
        if begun and self.within:
            if state.starts is None:
                state.starts = [number, time]
            else:
                state.starts += (number, time)
        found: Sequence[Found] = ()
        if self.skips:
            if done is not None or state.complete is not None:
                found = self.in_turn(state, done if self.skip.one_each else None, several)
        elif several:
            found = [self.found(way) for way in several]
        if size > 2 * state.swept + 64 and state.ended:
            state.size = state.swept = sweep(state.waits, state.ended)
        return found

    # What is complete.

    def all_ways(self, done: Chain, ended: int, holds: int) -> list[list[Taken]]:
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
                raise TooManyPartialMatches(self.too_many("matches at once", holds))
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
        if done is not None:
            only = only_way(done, state.ended)
            for start in (only[0].number,) if only else starts_of(done, state.ended):
                if start > state.ended and not self.is_complete(state, start):
                    self.add(state, only or next(ways(done, state.ended, start)), end)
                    found += self.settle(state)
        return found + self.settle(state) if state.complete else found

    def is_complete(self, state: Open, start: int) -> bool:
        """Whether a match that begins with this event waits to come out."""
        waiting = state.complete or []
        at = bisect_left(waiting, start, key=_first)
        return at < len(waiting) and waiting[at][0] == start

    def add(self, state: Open, way: list[Taken], end: int | None) -> None:
        """A match is complete."""
        ends = self.skip.last_ended([(self.places[one.place].stage, one.number) for one in way])
        if state.complete is None:
            state.complete = []
        at = bisect_right(state.complete, way[0].number, key=_first)
        state.complete.insert(at, (way[0].number, ends, self.found(way, end)))

    def settle(self, state: Open, *, over: bool = False) -> list[Found]:
        """Have matches come out in the order of their first events, each of which may end others, open ones and complete ones.

        Args:
            state: The key's.
            over: Whether no event comes any more.
        """
        found: list[Found] = []
        while state.complete:
            start, ends, match = state.complete[0]
            if start > state.skipped:
                if not over and self.is_open_before(state, start):
                    break
                found.append(match)
                if ends > state.skipped:
                    state.skipped = ends
                    self.end(state, ends)
            del state.complete[0]
        state.complete = state.complete or None
        return found

    def is_open_before(self, state: Open, start: int) -> bool:
        """Whether a partial match is open that began before this event."""
        for chain in state.waits:
            if chain is not None and chain.last > state.ended:
                first = chain.first if chain.first > state.ended else first_after(chain, state.ended)
                if first is not None and first < start:
                    return True
        return False

    def end(self, state: Open, number: int) -> None:
        """No match may begin with event ``number``, or an earlier one, any more."""
        state.ended = max(state.ended, number)
        state.waits = [chain if chain is not None and chain.last > state.ended else None for chain in state.waits]

    def found(self, way: list[Taken], end: int | None = None) -> Found:
        """What a match is."""
        return way[0].time, way[-1].time if end is None else end, events_of(way, self.places)

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

    def partial(self, state: Open) -> Iterator[Found]:
        """The partial matches that are open."""
        heads: Chain = None
        for chain in state.waits:
            heads = join(heads, chain)
        for way in ways(heads, state.ended):
            yield self.found(way)

    def too_many(self, what: str, holds: int) -> str:
        """What to say of them."""
        stages = {wait.place for wait in self.automaton.waits if wait.place is not None and wait.bit & holds}
        stages |= {start.place for start in self.automaton.starts if start.bit & holds}
        names = ", ".join(dict.fromkeys(repr(self.places[place].stage) for place in sorted(stages)))
        remedy = "give the pattern within(…), stricter conditions or a skip strategy, or raise limit"
        return f"at stage {names}: more than {self.limit:,} {what}; {remedy}"
