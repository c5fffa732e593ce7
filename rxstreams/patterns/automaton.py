"""A pattern as an automaton: for each event that a match may have, after which others it may come, and what must not be between.

Each place of the pattern is a state, and stands for the event that was taken last (Glushkov's construction: there are no moves
without an event). What may come next, and what ends the waiting for it, depends on the place alone. So all partial matches at
one place are one thing to wait for, however many there are.

Source: Agrawal et al., "Efficient Pattern Matching over Event Streams", SIGMOD 2008 (the automaton, and what is shared);
Glushkov, "The abstract theory of automata", 1961.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from rxstreams.errors import ConfigError
from rxstreams.patterns.pattern import Absent, Contiguity, Given, Pattern, Stage, Where

__all__ = ["Automaton", "Condition", "Place", "Start", "Wait"]


class Condition(NamedTuple):
    """What an event must be like, as a bit of the mask of what holds for it, and what must hold given the events before it."""

    bit: int
    given: Given | None


class Wait(NamedTuple):
    """What partial matches wait for.

    Attributes:
        place: Where they are when it comes. None: with the next event that is not ``next_kill`` (``next``), or when time is over
            (``followed_by``), they are complete.
        how: How close it must follow.
        bit: What must hold for it.
        given: What must hold for it, given the events before.
        kill: Bits of which each ends the waiting; then the event is not taken.
        next_kill: The same of the very next event only.
        guards: Further conditions that end the waiting, given the events before.
        next_guards: The same of the very next event only.
    """

    place: int | None
    how: Contiguity
    bit: int
    given: Given | None
    kill: int
    next_kill: int
    guards: tuple[Condition, ...]
    next_guards: tuple[Condition, ...]


class Start(NamedTuple):
    """A place where a match may begin, with an event for which ``bit`` and ``given`` hold, and nothing that prevents it."""

    place: int
    bit: int
    given: Given | None
    kill: int
    guards: tuple[Condition, ...]


class Place(NamedTuple):
    """A place of the pattern.

    Attributes:
        stage: Its stage's name.
        waits: What is waited for after it, by number.
        final: Whether a match is complete with it.
    """

    stage: str
    waits: tuple[int, ...]
    final: bool


class _End(NamedTuple):
    """Where a part may end: a place, and the conditions that must not hold of what follows, of the next event, too."""

    place: int
    kills: frozenset[Condition] = frozenset()
    next_kills: frozenset[Condition] = frozenset()


class _Begin(NamedTuple):
    """Where a part may begin, what must not hold until then, and how close it must follow; None is as the part must."""

    place: int
    kills: frozenset[Condition] = frozenset()
    how: Contiguity | None = None


class _Part(NamedTuple):
    """A part of a pattern; ``empty`` has what must not hold if it is left out, and is None where it must not be."""

    begins: list[_Begin]
    ends: list[_End]
    empty: frozenset[Condition] | None


_NONE: frozenset[Condition] = frozenset()


class Automaton:
    """What a pattern waits for.

    Args:
        pattern: The pattern.

    Attributes:
        places: Its places, in order.
        waits: All that is waited for.
        starts: Where matches may begin.
        conditions: The functions of an event; the bit of number i is 1 << i.
        labels: What each is called: a stage that has it, or ``until``.
        always: The bits that hold for every event.
        exact: Whether a condition depends on the events before, so that each partial match is kept apart.
        sensitive: Whether an event matters for which no condition holds, because it comes between others.
        twofold: Whether one match may be found in two ways.
        within: The whole takes less than so long (ms); None for no bound.

    Raises:
        ConfigError: If there is nothing to be waited for, or no end of waiting.
    """

    def __init__(self, pattern: Pattern) -> None:
        self.within = pattern.millis
        self.conditions: list[Where] = []
        self.labels: list[str] = []
        self.always = 0
        self._bits: dict[Where | None, int] = {}
        self._stages: list[tuple[Stage, Condition]] = []
        self._edges: list[dict[tuple[Any, ...], None]] = []
        if pattern.is_empty:
            raise ConfigError(f"{pattern!r}: all of it may be left out; expected a pattern that has an event in any case")
        if any(one.how == "not_followed_by" for one in pattern.nots) and pattern.millis is None:
            raise ConfigError(f"{pattern!r}: it ends with what must not follow, but until when? Say within(seconds)")
        whole = self._part(pattern)
        finals = self._end(pattern.nots, whole.ends)
        numbers: dict[tuple[Any, ...], int] = {}
        outs = [tuple(numbers.setdefault(edge, len(numbers)) for edge in edges) for edges in self._edges]
        self.waits = [self._wait(*edge) for edge in numbers]
        self.places = [
            Place(stage.name, out, place in finals)
            for place, ((stage, _), out) in enumerate(zip(self._stages, outs, strict=True))
        ]
        self.starts = [self._start(begin) for begin in whole.begins]
        self.exact = any(condition.given is not None for _, condition in self._stages) or any(
            wait.guards or wait.next_guards for wait in self.waits
        )
        self.sensitive = any(wait.how == "next" or wait.next_kill for wait in self.waits)
        self.twofold = _has_repeated_sequence(pattern)

    # Conditions.

    def _bit(self, function: Where | None, name: str) -> int:
        if function not in self._bits:
            self._bits[function] = bit = 1 << len(self.conditions)
            self.conditions.append(function or _anything)
            self.labels.append(name)
            if function is None:
                self.always |= bit
        return self._bits[function]

    def _condition(self, stage: Stage) -> Condition:
        return Condition(self._bit(stage.where, stage.name), stage.given)

    # Parts.

    def _part(self, pattern: Pattern) -> _Part:
        stop = _NONE if pattern.stop is None else frozenset({Condition(self._bit(pattern.stop, "until"), None)})
        copies = [self._once(pattern) for _ in range(pattern.least if pattern.most is None else pattern.most)]
        copies = [one._replace(begins=[begin._replace(kills=begin.kills | stop) for begin in one.begins]) for one in copies]
        for one, again in pairwise([*copies, copies[-1]] if pattern.most is None else copies):
            self._connect(one.ends, pattern.inner, (), again.begins)
        more = frozenset({self._stages[copies[-1].begins[0].place][1]}) if pattern.is_greedy else _NONE
        ends = []
        for i, one in enumerate(copies[pattern.least - 1 :], pattern.least):
            leave = _NONE if i == pattern.most else more
            ends += [end._replace(kills=end.kills | leave) for end in one.ends]
        return _Part(copies[0].begins, ends, more if pattern.is_optional else copies[0].empty)

    def _once(self, pattern: Pattern) -> _Part:
        if pattern.stage is not None:
            self._stages.append((pattern.stage, self._condition(pattern.stage)))
            self._edges.append({})
            place = len(self._stages) - 1
            return _Part([_Begin(place)], [_End(place)], None)
        begins: list[_Begin] = []
        ends: list[_End] = []
        left_out: frozenset[Condition] | None = _NONE
        for i, step in enumerate(pattern.steps):
            part = self._part(step.pattern)
            self._connect(ends, step.how, step.nots, part.begins)
            if left_out is not None:
                how = None if i == 0 else step.how
                begins += [_Begin(one.place, one.kills | left_out, one.how or how) for one in part.begins]
            passed = [] if part.empty is None else [self._without(end, step.nots, part.empty) for end in ends]
            left_out = None if left_out is None or part.empty is None else left_out | part.empty
            ends = passed + part.ends
        return _Part(begins, ends, left_out)

    def _without(self, end: _End, nots: Sequence[Absent], empty: frozenset[Condition]) -> _End:
        """An end, after which a part was left out."""
        never, not_next = self._absent(nots)
        return _End(end.place, end.kills | empty | never, end.next_kills | not_next)

    def _absent(self, nots: Sequence[Absent]) -> tuple[frozenset[Condition], frozenset[Condition]]:
        conditions = {
            how: {self._condition(one.stage) for one in nots if one.how == how} for how in ("not_followed_by", "not_next")
        }
        return frozenset(conditions["not_followed_by"]), frozenset(conditions["not_next"])

    def _connect(self, ends: Sequence[_End], how: Contiguity, nots: Sequence[Absent], begins: Sequence[_Begin]) -> None:
        never, not_next = self._absent(nots)
        for end in ends:
            for begin in begins:
                edge = (begin.place, begin.how or how, end.kills | begin.kills | never, end.next_kills | not_next)
                self._edges[end.place][edge] = None

    def _end(self, nots: Sequence[Absent], ends: Sequence[_End]) -> set[int]:
        """The places with which a match is complete; if something must not follow, there is more to wait for."""
        if not nots:
            return {end.place for end in ends}
        never, not_next = self._absent(nots)
        how = "followed_by" if never else "next"
        for end in ends:
            self._edges[end.place][None, how, end.kills | never, end.next_kills | not_next] = None
        return set()

    # What it is in the end.

    def _wait(self, place: int | None, how: Contiguity, kills: frozenset[Condition], next_kills: frozenset[Condition]) -> Wait:
        wanted = Condition(0, None) if place is None else self._stages[place][1]
        return Wait(place, how, wanted.bit, wanted.given, _bits(kills), _bits(next_kills), _guards(kills), _guards(next_kills))

    def _start(self, begin: _Begin) -> Start:
        wanted = self._stages[begin.place][1]
        return Start(begin.place, wanted.bit, wanted.given, _bits(begin.kills), _guards(begin.kills))


def _bits(conditions: frozenset[Condition]) -> int:
    return sum({one.bit for one in conditions if one.given is None})


def _guards(conditions: frozenset[Condition]) -> tuple[Condition, ...]:
    return tuple(sorted((one for one in conditions if one.given is not None), key=lambda one: one.bit))


def _has_repeated_sequence(pattern: Pattern) -> bool:
    """Whether one match may be found in two ways, because repetitions are within repetitions."""
    inner = any(_has_repeated_sequence(step.pattern) for step in pattern.steps)
    return inner or (pattern.stage is None and pattern.is_repeated)


def _anything(value: Any) -> bool:
    return True
