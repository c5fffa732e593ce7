"""Patterns by definition, the slow way: all that a pattern may be as words, and all ways to find a word among a key's events."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from hypothesis import strategies as st

from rxstreams import Stream, operators as ops
from rxstreams.errors import ConfigError
from rxstreams.patterns import Pattern, Skips, no_skip, past_last, stage, to_first, to_last, to_next
from rxstreams.patterns.pattern import Absent, Stage
from tests.laws.harness import End, Event, Rec, lines

SECOND = 1000
ALWAYS = 2**40
"""Milliseconds; where there is no ``within``, it is this."""
LETTERS = "abcd"


class One(NamedTuple):
    """An event: its number in the order of arrival, its key, letter, a number that conditions may go by, and its time (ms)."""

    n: int
    key: str
    letter: str
    size: int
    time: int


class Need(NamedTuple):
    """What a word needs next: an event for a stage, so close, and none of ``kills`` up to it, nor of ``next_kills`` at once."""

    stage: Stage
    how: str | None
    kills: tuple[Stage, ...] = ()
    next_kills: tuple[Stage, ...] = ()


class Word(NamedTuple):
    """One way that a pattern may go, and what must not come after it."""

    needs: tuple[Need, ...]
    kills: tuple[Stage, ...] = ()


class Way(NamedTuple):
    """A match: the positions of its events with their stages, when it is complete (position, ms), and its end (ms)."""

    taken: tuple[tuple[int, str], ...]
    complete: tuple[int, int]
    end: int


# Words.


def words(pattern: Pattern, most: int) -> list[Word]:
    """All ways that a pattern may go with ``most`` events."""
    once = [Word((Need(pattern.stage, None),))] if pattern.stage is not None else list(_sequences(pattern, most))
    stop = () if pattern.stop is None else (Stage("stop", pattern.stop, None),)
    more = (pattern.stage,) if pattern.is_greedy and pattern.stage is not None else ()
    found: list[Word] = [Word((), more)] if pattern.is_optional else []
    several = [Word(())]
    for count in range(1, (most if pattern.most is None else min(pattern.most, most)) + 1):
        how = None if count == 1 else pattern.inner
        several = [
            _and(word, how, stop, (), again) for word in several for again in once if len(word.needs + again.needs) <= most
        ]
        if count >= pattern.least:
            leave = () if count == pattern.most else more
            found += [word._replace(kills=word.kills + leave) for word in several]
    return found


def _sequences(pattern: Pattern, most: int) -> Iterator[Word]:
    whole = [Word(())]
    for i, step in enumerate(pattern.steps):
        parts = words(step.pattern, most)
        whole = [
            _and(word, step.how if i else None, (), step.nots, part)
            for word in whole
            for part in parts
            if len(word.needs + part.needs) <= most
        ]
    yield from whole


def _and(word: Word, how: str | None, stop: tuple[Stage, ...], nots: Sequence[Absent], again: Word) -> Word:
    """A word, and another one."""
    if not again.needs:
        return Word(word.needs, word.kills + again.kills)
    first, *rest = again.needs
    never = tuple(one.stage for one in nots if one.how == "not_followed_by")
    not_next = tuple(one.stage for one in nots if one.how == "not_next")
    first = Need(first.stage, first.how or how, first.kills + word.kills + stop + never, first.next_kills + not_next)
    return Word((*word.needs, first, *rest), again.kills)


# Ways to find one.


def fits(one: One, stage: Stage, before: Mapping[str, Sequence[Any]]) -> bool:
    """Whether an event is what a stage needs."""
    value = record(one).value
    return (stage.where is None or bool(stage.where(value))) and (stage.given is None or bool(stage.given(value, before)))


def ways(pattern: Pattern, events: Sequence[One]) -> list[Way]:
    """All matches among one key's events, which are in order of time."""
    within = pattern.millis or ALWAYS
    found: dict[tuple[tuple[int, str], ...], Way] = {}
    for word in words(_without_end(pattern), len(events)):
        for taken in _placed(word.needs, events, within, ()):
            way = _complete(pattern, word, taken, events, within)
            if way is not None:
                found.setdefault(taken, way)
    return list(found.values())


def _without_end(pattern: Pattern) -> Pattern:
    return Pattern(steps=pattern.steps) if pattern.nots else pattern


Taken = tuple[tuple[int, str], ...]


def _placed(needs: Sequence[Need], events: Sequence[One], within: int, taken: Taken) -> Iterator[Taken]:
    """All ways to put the needs, one after the other, behind what is taken."""
    if not needs:
        yield taken
        return
    for at in range(taken[-1][0] + 1 if taken else 0, len(events)):
        if can_take(needs[0], events, within, taken, at):
            yield from _placed(needs[1:], events, within, (*taken, (at, needs[0].stage.name)))


def can_take(need: Need, events: Sequence[One], within: int, taken: Taken, at: int) -> bool:
    """Whether what is needed next may be the event ``at``."""
    before = so_far(taken, events)
    if not fits(events[at], need.stage, before):
        return False
    if not taken:
        return not any(fits(events[at], kill, before) for kill in need.kills)
    return (
        events[at].time - events[taken[0][0]].time < within
        and waits(need, events, taken, at)
        and (
            not any(fits(events[at], kill, before) for kill in need.kills)
            and not (at == taken[-1][0] + 1 and any(fits(events[at], kill, before) for kill in need.next_kills))
        )
    )


def waits(need: Need, events: Sequence[One], taken: Taken, until: int) -> bool:
    """Whether what is needed next is still waited for before the event ``until``."""
    before, last = so_far(taken, events), taken[-1][0]
    for at in range(last + 1, until):
        if need.how == "next" or any(fits(events[at], kill, before) for kill in need.kills):
            return False
        if at == last + 1 and any(fits(events[at], kill, before) for kill in need.next_kills):
            return False
        if need.how == "followed_by" and fits(events[at], need.stage, before):
            return False
    return True


def so_far(taken: Taken, events: Sequence[One]) -> dict[str, list[Any]]:
    """The events that were taken, by stage."""
    before: dict[str, list[Any]] = {}
    for at, name in taken:
        before.setdefault(name, []).append(record(events[at]).value)
    return before


def _complete(pattern: Pattern, word: Word, taken: Taken, events: Sequence[One], within: int) -> Way | None:
    """When a match is complete, if it is."""
    last, began = taken[-1][0], events[taken[0][0]].time
    if not pattern.nots:
        return Way(taken, (last, events[last].time), events[last].time)
    end, over = last_need(pattern, word), sum(one.time < began + within for one in events)
    if end.how == "followed_by":
        return Way(taken, (over, began + within), began + within - 1) if waits(end, events, taken, over) else None
    then = last + 1
    return (
        Way(taken, (then, events[then].time), events[last].time) if then < over and waits(end, events, taken, then + 1) else None
    )


NOTHING = Stage("nothing", lambda _: False, None)


def last_need(pattern: Pattern, word: Word) -> Need:
    """What a pattern waits for at its end that must not come."""
    never = tuple(one.stage for one in pattern.nots if one.how == "not_followed_by")
    not_next = tuple(one.stage for one in pattern.nots if one.how == "not_next")
    if never:
        return Need(NOTHING, "followed_by", word.kills + never, not_next)
    return Need(NOTHING, "at once", word.kills, not_next)


# All of them, and those that skipping leaves.


def left(found: Sequence[Way], skip: Skips) -> list[Way]:
    """Those that skipping leaves, by their first events, of one in the order in which they are complete."""
    kept: list[Way] = []
    ended = -1
    for way in sorted(found, key=lambda way: (way.taken[0][0], way.complete, [(-at) for at, _ in reversed(way.taken)])):
        if way.taken[0][0] > ended:
            kept.append(way)
            if skip.kind != "no_skip":
                # The numbers of a skip strategy begin at 1.
                ended = max(ended, skip.last_ended([(name, at + 1) for at, name in way.taken]) - 1)
    return kept


def unfinished(pattern: Pattern, events: Sequence[One]) -> set[tuple[int, Taken]]:
    """The partial matches for which time runs out, each with when; those that are complete, but for what may follow, are none.

    One that came out because the next event was not what it must not be, and that could go on, is one.
    """
    within, found = pattern.millis or ALWAYS, set[tuple[int, Taken]]()
    until_next = bool(pattern.nots) and all(one.how == "not_next" for one in pattern.nots)
    finished = set[Taken]() if until_next else {way.taken for way in ways(pattern, events)}
    whole = _without_end(pattern)
    for word in words(whole, len(events) + 6):
        for many in range(1, len(word.needs) + 1):
            need = word.needs[many] if many < len(word.needs) else last_need(pattern, word) if pattern.nots else None
            if need is None:
                continue
            for taken in _placed(word.needs[:many], events, within, ()):
                over = events[taken[0][0]].time + within
                until = sum(one.time < over for one in events)
                how = need._replace(how="next") if need.how == "at once" else need
                if waits(how, events, taken, until) and taken not in finished:
                    found.add((over, taken))
    return found


# Patterns and events at random.


def record(one: One) -> Rec:
    """What comes of it."""
    return Rec("a", 0, {"key": one.key, "letter": one.letter, "size": one.size, "n": one.n}, one.time)


def _is(letters: str) -> Any:
    return lambda value: value["letter"] in letters


CONDITIONS = {letters: _is(letters) for letters in ("a", "b", "c", "d", "ab", "bc", "abc", "abcd")}


def _greater(value: Any, before: Mapping[str, Sequence[Any]]) -> bool:
    """Greater than all before it."""
    return all(value["size"] > one["size"] for several in before.values() for one in several)


def _not_too_many(value: Any, before: Mapping[str, Sequence[Any]]) -> bool:
    """All of them together are not more than 5."""
    return value["size"] + sum(one["size"] for several in before.values() for one in several) <= 5


class Builder:
    """Makes patterns at random: one method after the other, as far as they are allowed."""

    def __init__(self, rng: random.Random, *, exact: bool) -> None:
        self.rng, self.exact, self.names = rng, exact, 0

    def stage(self) -> Pattern:
        self.names += 1
        given = self.rng.choice((None, None, _greater, _not_too_many)) if self.exact else None
        letters = self.rng.choice(("a", "b", "c", "a", "b", "ab", "bc", "abcd"))
        where = None if letters == "abcd" and self.rng.random() < 0.5 else CONDITIONS[letters]
        return stage(f"s{self.names}", where, given=given)

    def pattern(self, depth: int) -> Pattern:
        rng = self.rng
        made = self.stage() if depth == 0 or rng.random() < 0.3 else self.sequence(depth - 1)
        for quantify in (_times, _inner, _greedy, _until, _optional):
            made = self.tried(made, lambda one, quantify=quantify: quantify(rng, one))
        return made

    def sequence(self, depth: int) -> Pattern:
        made = self.pattern(depth)
        for _ in range(self.rng.randint(1, 2)):
            if self.rng.random() < 0.25:
                made = self.tried(made, lambda one: getattr(one, self.rng.choice(("not_next", "not_followed_by")))(self.stage()))
            how = self.rng.choice(("next", "followed_by", "followed_by", "followed_by_any"))
            made = self.tried(made, lambda one, how=how: getattr(one, how)(self.pattern(depth)))
        return made

    def whole(self, depths: Sequence[int] = (0, 1, 1, 2)) -> Pattern:
        """A pattern that can be looked for."""
        while True:
            made = self.pattern(self.rng.choice(depths))
            if self.rng.random() < 0.25:
                made = self.tried(made, lambda one: getattr(one, self.rng.choice(("not_next", "not_followed_by")))(self.stage()))
            if self.rng.random() < 0.7:
                made = self.tried(made, lambda one: one.within(self.rng.choice((2, 3, 5, 20))))
            try:
                ops.detect(made)
                return made
            except ConfigError:
                self.names = 0

    @staticmethod
    def tried(made: Pattern, method: Any) -> Pattern:
        try:
            return method(made)
        except ConfigError:
            return made


def _times(rng: random.Random, one: Pattern) -> Pattern:
    least = rng.randint(1, 2)
    choices = [
        one,
        one,
        one.times(least),
        one.times(least, least + rng.randint(0, 1)),
        one.one_or_more(),
        one.times_or_more(least),
    ]
    return rng.choice(choices)


def _inner(rng: random.Random, one: Pattern) -> Pattern:
    return rng.choice((lambda: one, one.consecutive, one.combinations))()


def _greedy(rng: random.Random, one: Pattern) -> Pattern:
    return rng.choice((lambda: one, one.greedy))()


def _until(rng: random.Random, one: Pattern) -> Pattern:
    return rng.choice((lambda: one, lambda: one.until(CONDITIONS[rng.choice("abcd")])))()


def _optional(rng: random.Random, one: Pattern) -> Pattern:
    return rng.choice((lambda: one, lambda: one, one.optional))()


def skips_of(rng: random.Random, pattern: Pattern) -> Skips:
    """A skip strategy that a pattern may have."""
    names = sorted({need.stage.name for word in words(_without_end(pattern), 4) for need in word.needs})
    name = rng.choice(names or ["s1"])
    choices: tuple[Skips, ...] = (no_skip, no_skip, to_next, past_last, to_first(name), to_last(name))
    return rng.choice(choices)


def is_twofold(pattern: Pattern) -> bool:
    """Whether one match may be found in two ways; which of those that begin and end alike is the first, is not said then."""
    return any(is_twofold(step.pattern) for step in pattern.steps) or (pattern.stage is None and pattern.is_repeated)


@st.composite
def some_events(draw: st.DrawFn, *, most: int = 7, keys: Sequence[str] = ("k", "l")) -> list[One]:
    """Events in order of time, seconds or nothing apart."""
    one = st.tuples(st.sampled_from(keys), st.sampled_from("aabbccd"), st.integers(0, 4), st.sampled_from((0, 1, 1, 1, 2)))
    many = draw(st.lists(one, max_size=most))
    events, now = [], 1_000_000
    for n, (key, letter, size, gap) in enumerate(many):
        now += gap * SECOND
        events.append(One(n, key, letter, size, now))
    return events


def arriving(events: Sequence[One], rng: random.Random, delay: int) -> list[One]:
    """The same in another order of arrival, each up to ``delay`` late; those of one time stay as they were."""
    waits = {time: rng.randint(0, delay) for time in {one.time for one in events}}
    return sorted(events, key=lambda one: (one.time + waits[one.time], one.time, one.n))


def detected(pattern: Pattern, skip: Skips = no_skip, *, delay: float = 0.0, **options: Any) -> Stream[Any]:
    """The operator over these events."""
    return lines("a", out_of_orderness=delay).pipe(ops.key_by("key"), ops.detect(pattern, skip=skip, **options))


def came(events: Sequence[One]) -> list[Event]:
    """The events, and the end."""
    return [*map(record, events), End("a")]


Told = tuple[str, int, int, dict[str, list[int]]]
"""A match: its key, start and end, and its events' numbers by stage."""


def told(match: Any) -> Told:
    """What a result says."""
    return match.key, match.start, match.end, {name: [one["n"] for one in several] for name, several in match.events.items()}


def expected(pattern: Pattern, skip: Skips, events: Sequence[One]) -> list[Told]:
    """What there is to find."""
    found = []
    for key in sorted({one.key for one in events}):
        mine = [one for one in events if one.key == key]
        for way in left(ways(pattern, mine), skip):
            found.append(as_told(way.taken, mine, way.end))
    return found


def as_told(taken: Taken, mine: Sequence[One], end: int) -> Told:
    """A match in the words of a result."""
    events: dict[str, list[int]] = {}
    for at, name in taken:
        events.setdefault(name, []).append(mine[at].n)
    return mine[0].key, mine[taken[0][0]].time, end, events


def in_some_order(found: Sequence[Told]) -> list[str]:
    """To be compared, whichever came first."""
    return sorted(map(repr, found))


def ascending(numbers: Sequence[int]) -> bool:
    """Whether each is at least as great as the one before it."""
    return all(a <= b for a, b in pairwise(numbers))
