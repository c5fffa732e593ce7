"""One key's events through an automaton: what they complete, and what stays open."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from operator import itemgetter

from rxstreams.errors import RxStreamsError
from rxstreams.patterns.automaton import Automaton
from rxstreams.patterns.compiled import stepping
from rxstreams.patterns.partial import (
    BOUND,
    Chain,
    Found,
    Open,
    Taken,
    each,
    events_of,
    first_after,
    join,
    only_way,
    starts_of,
    sweep,
    ways,
)
from rxstreams.patterns.skips import Skips

__all__ = ["Matcher", "TooManyPartialMatches"]

_first = itemgetter(0)


class TooManyPartialMatches(RxStreamsError):
    """Raised when an event would make a key have more partial matches than ``limit``, or complete more than that at once."""


class Matcher:
    """Matches events of one key, in order of time.

    Args:
        automaton: What is looked for.
        skip: Which matches a match ends.
        limit: How many partial matches a key may have, counted by the events that they took last, and how many may be completed
            at once.

    Attributes:
        take: Takes in an event; see ``stepping``.
        reports: Whether somebody wants to know of partial matches for which time ran out.
        silent: Whether nothing comes out when time is over, but perhaps a match that waits for its turn.
    """

    def __init__(self, automaton: Automaton, skip: Skips, limit: int) -> None:
        self.automaton, self.skip, self.limit = automaton, skip, limit
        self.within, self.stages = automaton.within or 0, [place.stage for place in automaton.places]
        self.places = automaton.places
        self.skips, self.one_each, self.past_last = skip.kind != "no_skip", skip.one_each, skip.kind == "past_last"
        self.take = stepping(automaton, limit, self.pass_over, self.make_room, self.completed)
        self.absences = [i for i, wait in enumerate(automaton.waits) if wait.place is None and wait.how == "followed_by"]
        self.reports, self.silent = False, not self.absences

    def report(self) -> None:
        """Somebody wants to know of partial matches for which time runs out."""
        self.reports, self.silent = True, False

    # An event.

    def completed(self, state: Open, done: Chain, before: tuple[Chain, ...], made: int, holds: int) -> Sequence[Found]:
        """The matches that an event completes, or makes wait no longer.

        Args:
            state: The key's, with the event.
            done: The events with which matches are complete.
            before: What waited before the event.
            made: How many events were taken for it.
            holds: The bits of the conditions that hold for it.
        """
        if state.size > self.limit:
            self.undo(state, before, made)
            raise TooManyPartialMatches(self.too_many("partial matches", holds))
        if done is not None and done.last <= state.ended:
            done = None
        if done is None and state.complete is None:
            return ()
        if self.one_each:
            only = only_way(done, state.ended) if done is not None and state.complete is None else None
            if only is not None and not self.is_open_before(state, only[0].number):
                return self.come_out(state, only)  # the common case of what follows
            return self.in_turn(state, done, ())
        try:
            several = self.all_ways(done, state.ended, holds)
        except TooManyPartialMatches:
            self.undo(state, before, made)
            raise
        return self.in_turn(state, None, several) if self.skips else [self.found(way) for way in several]

    def undo(self, state: Open, before: tuple[Chain, ...], made: int) -> None:
        """An event has not come."""
        state.waits = before
        state.number -= 1
        state.size -= made
        if state.starts and state.starts[-2] > state.number:
            del state.starts[-2:]
            state.starts = state.starts or None

    def make_room(self, state: Open) -> int:
        """Let go of what is over; how many events are left."""
        if state.ended:
            state.waits, state.size = sweep(state.waits, state.ended)
        state.bound = 2 * state.size + BOUND
        return state.size

    def come_out(self, state: Open, way: list[Taken]) -> Sequence[Found]:
        """A match comes out, and nothing waits for it."""
        if self.past_last and way[-1].number == state.number:
            state.clear()
        else:
            state.skipped = way[-1 if self.past_last else 0].number
            self.end(state, state.skipped)
        return (self.found(way),)

    # What is complete.

    def all_ways(self, done: Chain, ended: int, holds: int) -> list[list[Taken]]:
        """All matches that are complete now, by their first events."""
        several: list[list[Taken]] = []
        known = set[tuple[tuple[int, str], ...]]()
        for way in ways(done, ended):
            if self.automaton.twofold:
                stands = tuple((one.number, self.stages[one.place]) for one in way)
                if stands in known:
                    continue
                known.add(stands)
            several.append(way)
            if len(several) > self.limit:
                raise TooManyPartialMatches(self.too_many("matches at once", holds))
        several.sort(key=lambda way: way[0].number)
        return several

    def in_turn(self, state: Open, done: Chain, several: Sequence[list[Taken]], end: int | None = None) -> list[Found]:
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
        ends = self.skip.last_ended([(self.stages[one.place], one.number) for one in way])
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
        state.waits = tuple(chain if chain is not None and chain.last > state.ended else None for chain in state.waits)

    def found(self, way: list[Taken], end: int | None = None) -> Found:
        """What a match is."""
        return way[0].time, way[-1].time if end is None else end, events_of(way, self.stages)

    # Time.

    def due(self, state: Open) -> int | None:
        """The time (ms) by which something is over; if nobody hears of that, by which everything is."""
        if state.starts is None:
            return None
        return state.starts[-1 if self.silent and state.complete is None else 1] + self.within

    def pass_over(self, state: Open, time: int) -> None:
        """Let no match have what began too long before ``time``; if somebody heard of that, it would have been done by now."""
        starts = state.starts or []
        over = bisect_right(starts[1::2], time - self.within)
        state.ended = max(state.ended, starts[2 * over - 2])
        del starts[: 2 * over]
        if not starts:
            state.clear()

    def expire(self, state: Open, time: int) -> tuple[list[Found], list[Found]]:
        """What is complete because the time of some is over at ``time``, and the partial matches for which it ran out."""
        found: list[Found] = []
        run_out: list[Found] = []
        starts = state.starts or []
        while starts and starts[1] + self.within <= time:
            number, began = starts[:2]
            end = began + self.within - 1
            if number > state.ended:
                complete = join(*(state.waits[i] for i in self.absences))
                several = list(ways(complete, state.ended, number))
                if self.reports:
                    run_out += [self.found(way, end) for way in self.unfinished(state, complete, number)]
                self.end(state, number)
                if self.skips:
                    found += self.in_turn(state, None, several[:1] if self.one_each else several, end)
                else:
                    found += [self.found(way, end) for way in several]
            del starts[:2]
        if not starts or not state.alive:
            state.starts = None
        return found, run_out

    def unfinished(self, state: Open, complete: Chain, number: int) -> Iterator[list[Taken]]:
        """The partial matches that began with event ``number``, but those that are complete and could only go on."""
        apart = {id(one) for one in each(complete)}
        for one in each(join(*state.waits)):
            if id(one) not in apart and not self.places[one.place].final:
                yield from ways(one, state.ended, number)

    # Memory.

    def partial(self, state: Open) -> Iterator[Found]:
        """The partial matches that are open."""
        for way in sorted(ways(join(*state.waits), state.ended), key=lambda way: way[0].number):
            yield self.found(way)

    def too_many(self, what: str, holds: int) -> str:
        """What to say of them."""
        stages = {wait.place for wait in self.automaton.waits if wait.place is not None and wait.bit & holds}
        stages |= {start.place for start in self.automaton.starts if start.bit & holds}
        names = ", ".join(dict.fromkeys(repr(self.places[place].stage) for place in sorted(stages)))
        remedy = "give the pattern within(…), stricter conditions or a skip strategy, or raise limit"
        return f"at stage {names}: more than {self.limit:,} {what}; {remedy}"
