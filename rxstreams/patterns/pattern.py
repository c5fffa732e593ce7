"""Patterns as values: stages, put one after the other, repeated, left out, within some time."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal, NamedTuple

from rxstreams.errors import ConfigError, seconds

__all__ = ["Absent", "Contiguity", "Pattern", "Stage", "Step", "stage"]

Where = Callable[[Any], Any]
Given = Callable[[Any, Mapping[str, Sequence[Any]]], Any]
Contiguity = Literal["next", "followed_by", "followed_by_any"]
"""Whether an event must come right after the one before it in the match, be the first one that fits, or be any that fits."""
MOST = 1000
"""How often a pattern may be repeated by number; each time has a place of its own in the automaton."""


@dataclass(frozen=True, eq=False)
class Stage:
    """What an event must be like.

    Attributes:
        name: What it is called in a match.
        where: A condition on the event; None takes every event.
        given: A further one on the event and the events before it in the match, by stage.
    """

    name: str
    where: Where | None
    given: Given | None


class Absent(NamedTuple):
    """A stage that must not come: right after the event before it (``next``), or before the event after it."""

    how: Literal["not_next", "not_followed_by"]
    stage: Stage


class Step(NamedTuple):
    """A part of a sequence: how close it follows the one before, and what must not come between."""

    how: Contiguity
    nots: tuple[Absent, ...]
    pattern: Pattern


def stage(name: str, where: Where | None = None, *, given: Given | None = None) -> Pattern:
    """A pattern of one event.

    Args:
        name: What it is called in a match; no two stages of a pattern have one name.
        where: A function of the event; None takes every event.
        given: A function of the event and of those before it in the match, a mapping of the stages' names to lists; asked where
            ``where`` holds. Patterns that have one keep each partial match apart, which costs time and memory for each.

    Raises:
        ConfigError: If an argument is wrong.
    """
    if not isinstance(name, str) or not name:
        raise ConfigError(f"stage(name): expected a name, got {name!r}")
    for label, function in (("where", where), ("given", given)):
        if function is not None:
            _check_function(f"stage({name!r}, {label})", function)
    return Pattern(Stage(name, where, given))


def _check_function(where: str, function: Any) -> None:
    if not callable(function):
        raise ConfigError(f"{where}: expected a function of the event, got {function!r}")
    if inspect.iscoroutinefunction(function):
        raise ConfigError(f"{where}: a coroutine function has no answer before it is awaited; expected a function")


@dataclass(frozen=True, eq=False, repr=False)
class Pattern:
    """Which events, in which order, make a match: made by ``stage``, and from there by these methods, which make new ones.

    What a method says is of all of the pattern that it is called on: ``a.followed_by(b).times(2)`` is *a b a b*,
    ``a.followed_by(b.times(2))`` is *a b b*.

    Attributes:
        stage: Of a pattern of one event, what it must be like.
        steps: Of a sequence, its parts.
        nots: What must not follow at the end.
        least: How often it comes, at least.
        most: And at most; None is as often as there are events.
        inner: How close one time follows the one before.
        stop: What ends the repetition.
        is_greedy: Whether it goes on as long as it can.
        is_optional: Whether it may be left out.
        millis: The time between the first event and the last is less than this (ms).

    Source: Flink's CEP library; docs/patterns.md has its examples, and says where it differs.
    """

    stage: Stage | None = None
    steps: tuple[Step, ...] = ()
    nots: tuple[Absent, ...] = ()
    least: int = 1
    most: int | None = 1
    inner: Contiguity = "followed_by"
    stop: Where | None = None
    is_greedy: bool = False
    is_optional: bool = False
    millis: int | None = None

    # One after the other.

    def next(self, other: Pattern) -> Pattern:
        """Then ``other``, right after it: no event of the key comes between."""
        return self._then("next", other)

    def followed_by(self, other: Pattern) -> Pattern:
        """Then ``other``: the first event that fits; what comes between and does not fit is passed over."""
        return self._then("followed_by", other)

    def followed_by_any(self, other: Pattern) -> Pattern:
        """Then ``other``: any event that fits, the first as well as those after it."""
        return self._then("followed_by_any", other)

    def not_next(self, other: Pattern) -> Pattern:
        """The next event of the key is not ``other``. At the end of a pattern, it is complete with an event that is not."""
        return self._without("not_next", other)

    def not_followed_by(self, other: Pattern) -> Pattern:
        """No ``other`` comes before what follows. At the end of a pattern, none comes ``within`` its time, which must be given;
        so it is complete when that is over.
        """
        return self._without("not_followed_by", other)

    # How often.

    def times(self, least: int, most: int | None = None) -> Pattern:
        """It comes ``least`` times, or from ``least`` to ``most`` times."""
        where = f"{self!r}.times"
        for label, value in (("least", least), ("most", least if most is None else most)):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
                raise ConfigError(f"{where}({label}): expected an integer from 1 to {MOST}, got {value!r}; for none, optional()")
        if most is not None and most < least:
            raise ConfigError(f"{where}: expected most ≥ least, got {least} and {most}")
        return self._repeated(where, least, least if most is None else most)

    def one_or_more(self) -> Pattern:
        """It comes once or more often."""
        return self._repeated(f"{self!r}.one_or_more", 1, None)

    def times_or_more(self, least: int) -> Pattern:
        """It comes ``least`` times or more often."""
        return replace(self.times(least), most=None)

    def optional(self) -> Pattern:
        """It comes so often, or not at all."""
        self._check_whole("optional")
        if self.is_empty:
            raise ConfigError(f"{self!r}.optional: it may be left out already")
        return replace(self, is_optional=True)

    def greedy(self) -> Pattern:
        """It goes on as long as it can: an event that fits once more is not taken by what follows."""
        if not self.is_repeated or self.least == self.most:
            raise ConfigError(f"{self!r}.greedy: expected a pattern that may come more or less often, such as one_or_more()")
        if self.stage is None:
            raise ConfigError(
                f"{self!r}.greedy: expected a repeated stage; what a repeated sequence could go on with is not one event"
            )
        return replace(self, is_greedy=True)

    def consecutive(self) -> Pattern:
        """From one time to the next, no event of the key comes between."""
        return self._inner("consecutive", "next")

    def combinations(self) -> Pattern:
        """From one time to the next, events that fit may be passed over, too."""
        return self._inner("combinations", "followed_by_any")

    def until(self, stop: Where) -> Pattern:
        """It is not repeated, nor waited for, after an event for which ``stop`` holds; such an event is not taken by it."""
        if self.most is not None:
            raise ConfigError(f"{self!r}.until: expected a pattern without a bound, as one_or_more() makes it")
        _check_function(f"{self!r}.until(stop)", stop)
        return replace(self, stop=stop)

    # When.

    def within(self, time: float | timedelta) -> Pattern:
        """The whole of it takes less than so many seconds, from its first event to its last; said of a pattern at its end."""
        self._check_whole("within", ends=True)
        millis = round(seconds(f"{self!r}.within", time, allow_least=False) * 1000)
        if not millis:
            raise ConfigError(f"{self!r}.within: expected at least a millisecond, got {time!r}")
        return replace(self, millis=millis)

    # What it is.

    @property
    def is_repeated(self) -> bool:
        """Whether it was said how often it comes."""
        return (self.least, self.most) != (1, 1)

    @property
    def is_empty(self) -> bool:
        """Whether it may have no event."""
        return self.is_optional or (self.stage is None and all(step.pattern.is_empty for step in self.steps))

    @property
    def stages(self) -> Iterator[Stage]:
        """All its stages, with those that must not come, in order."""
        if self.stage is not None:
            yield self.stage
        for step in self.steps:
            yield from (one.stage for one in step.nots)
            yield from step.pattern.stages
        yield from (one.stage for one in self.nots)

    def __repr__(self) -> str:
        text = self.stage.name if self.stage is not None else ""
        for i, step in enumerate(self.steps):
            text += "".join(f".{one.how}({one.stage.name})" for one in step.nots)
            text += f".{step.how}({step.pattern!r})" if i else repr(step.pattern)
        text += "".join(f".{one.how}({one.stage.name})" for one in self.nots)
        if self.is_repeated:
            several = f".times({self.least}{'' if self.most == self.least else f', {self.most}'})"
            some = ".one_or_more()" if self.least == 1 else f".times_or_more({self.least})"
            text = (text if self.stage is not None else f"({text})") + (some if self.most is None else several)
        inner = {"next": ".consecutive()", "followed_by_any": ".combinations()", "followed_by": ""}[self.inner]
        text += inner + (".until(…)" if self.stop else "") + (".greedy()" if self.is_greedy else "")
        if self.is_optional:
            text = (text if self.stage is not None or self.is_repeated else f"({text})") + ".optional()"
        return text + (f".within({self.millis / 1000:g})" if self.millis is not None else "")

    # Making others.

    def _then(self, how: Contiguity, other: Pattern) -> Pattern:
        self._check_whole(how, ends=True)
        _check_pattern(f"{self!r}.{how}", other)
        known = {one.name for one in self.stages}
        for one in other.stages:
            if one.name in known:
                raise ConfigError(f"{self!r}.{how}: two stages have the name {one.name!r}; each needs its own")
        if self.nots and other.is_empty:
            raise ConfigError(f"{self!r}.{how}: {other!r} may be left out, so that there is no end to what must not come")
        steps, nots = self._sequence, self.nots
        if other.nots:
            return Pattern(steps=(*steps, Step(how, nots, replace(other, nots=()))), nots=other.nots)
        return Pattern(steps=(*steps, Step(how, nots, other)))

    def _without(self, how: Literal["not_next", "not_followed_by"], other: Pattern) -> Pattern:
        self._check_whole(how, ends=True)
        _check_pattern(f"{self!r}.{how}", other)
        if other.stage is None or other.is_repeated or other.is_optional:
            raise ConfigError(f"{self!r}.{how}: expected one stage, got {other!r}")
        if other.stage.name in {one.name for one in self.stages}:
            raise ConfigError(f"{self!r}.{how}: two stages have the name {other.stage.name!r}; each needs its own")
        if self._sequence[-1].pattern.is_empty:
            raise ConfigError(
                f"{self!r}.{how}: {self._sequence[-1].pattern!r} may be left out, so that it is not sure from when on"
            )
        return Pattern(steps=self._sequence, nots=(*self.nots, Absent(how, other.stage)))

    @property
    def _sequence(self) -> tuple[Step, ...]:
        """It, as the beginning of a longer sequence."""
        whole = self.stage is None and not (self.is_repeated or self.is_optional)
        return self.steps if whole else (Step("followed_by", (), self),)

    def _repeated(self, where: str, least: int, most: int | None) -> Pattern:
        self._check_whole(where.rsplit(".", 1)[1])
        if self.is_repeated or self.is_optional:
            raise ConfigError(f"{where}: it was said already how often it comes")
        if self.is_empty:
            raise ConfigError(f"{where}: all of it may be left out, so that there is no telling how often it comes")
        return replace(self, least=least, most=most)

    def _inner(self, method: str, how: Contiguity) -> Pattern:
        if not self.is_repeated or self.most == 1:
            raise ConfigError(f"{self!r}.{method}: expected a pattern that comes several times, such as one_or_more()")
        if self.inner != "followed_by":
            raise ConfigError(f"{self!r}.{method}: it is consecutive, or in combinations, not both")
        return replace(self, inner=how)

    def _check_whole(self, method: str, *, ends: bool = False) -> None:
        """See that nothing was said of it that is of the whole pattern, or (without ``ends``) of its end."""
        if self.millis is not None:
            raise ConfigError(f"{self!r}.{method}: within() is of the whole pattern; say it last, and once")
        if self.nots and not ends:
            raise ConfigError(f"{self!r}.{method}: it ends with what must not follow; expected a pattern that ends with an event")


def _check_pattern(where: str, other: Any) -> None:
    if not isinstance(other, Pattern):
        raise ConfigError(f"{where}: expected a pattern, as stage('name', condition) makes one, got {other!r}")
    if other.millis is not None:
        raise ConfigError(f"{where}: within() is of the whole pattern; say it last, and once")
