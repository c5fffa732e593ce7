"""Patterns of events in a stream: detect."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from reactivex import Observable

from rxstreams.batch import Batch
from rxstreams.errors import ConfigError, Policy, check_policy
from rxstreams.operators.agendas import Agenda, Waiting
from rxstreams.operators.arguments import check_count, check_name, check_savable
from rxstreams.operators.stepping import Code, Stepping, add
from rxstreams.operators.stores import PARTS
from rxstreams.patterns.automaton import Automaton
from rxstreams.patterns.matcher import Matcher, TooManyPartialMatches
from rxstreams.patterns.partial import Found, Open
from rxstreams.patterns.pattern import Pattern
from rxstreams.patterns.results import Match
from rxstreams.patterns.saving import packed, unpacked
from rxstreams.patterns.skips import Skips, no_skip
from rxstreams.state.codec import StateCodec, pack
from rxstreams.state.keys import ordered, original
from rxstreams.stream import LOST, Operation, Stream, operator
from rxstreams.stream.loops import Loop
from rxstreams.watermarks import END

__all__ = ["Detecting", "detect"]

A = TypeVar("A", bound=Any)


def detect(
    pattern: Pattern,
    *,
    skip: Skips = no_skip,
    limit: int = 100_000,
    on_error: Policy | None = None,
    name: str | None = None,
) -> Callable[[Observable[A]], Stream[Match]]:
    """Find the events that fit a pattern, per key and in order of event time.

        orders   -1-3-2---|
                 [ detect(stage('odd', lambda x: x % 2).next(stage('two', lambda x: x == 2))), map(lambda match: match.events) ]
        result   -----a---|      a={'odd': [3], 'two': [2]}

    Shape: A → ``Match``, with the key, the events by stage, and the times of the first and the last one. Matches that come at one
    event are in the order of their first events. A record that comes behind the watermark is on the side stream ``late``;
    partial matches whose time is over are on ``timed_out``, as matches with the events that they have.
    Time: that of the event which completes it; where it is the absence of one, the last millisecond of ``within``.
    Holds: the events that the watermark has not passed, and those of partial matches, once each for every place of the pattern
    that took it; saved in a run.
    Bounded by: ``within``: what has no time left is freed; and ``limit``.
    Ends: with its input; then time is over, and what waits for an absence is complete.
    Names: RxJS —, RxPY —, Kafka Streams —; Flink's CEP library, ``MATCH_RECOGNIZE`` in SQL

    Events wait until the watermark has passed them, and are taken in order of time then, of one time as they came. So a match
    does not depend on the order of arrival within ``out_of_orderness``. Of a stream without keys all events are of one key.

    Args:
        pattern: What to look for; see ``rxstreams.patterns.stage``.
        skip: Which matches a match ends: ``no_skip``, ``to_next``, ``past_last``, ``to_first(stage)``, ``to_last(stage)`` of
            ``rxstreams.patterns``.
        limit: How many events of a key may be in partial matches, counted for each place of the pattern, and how many matches may
            be completed by one event. An event that would make more meets ``on_error``.
        on_error: What happens to an event for which a condition raises; None is the run's policy.
        name: The operator's identity for saved state.

    Raises:
        ConfigError: If an argument is wrong, or the pattern can never be complete.

    Source: docs/patterns.md has Flink's documented examples, and says where this differs.
    """
    where = "detect"
    if not isinstance(pattern, Pattern):
        raise ConfigError(
            f"{where}(pattern): expected a pattern, as rxstreams.patterns.stage('name', condition) makes one, got {pattern!r}"
        )
    if not isinstance(skip, Skips):
        raise ConfigError(
            f"{where}(skip): expected no_skip, to_next, past_last, to_first(…) or to_last(…) of rxstreams.patterns, got {skip!r}"
        )
    automaton = Automaton(pattern)
    names = list(dict.fromkeys(place.stage for place in automaton.places))
    if skip.stage is not None and skip.stage not in names:
        raise ConfigError(f"{where}(skip): {skip!r}, but the pattern's events are of {', '.join(map(repr, names))}")
    check_count(f"{where}(limit)", limit, least=1)
    check_policy(where, on_error, waits=False)
    check_name(f"{where}(name)", name)
    parameters = {"pattern": pattern, "skip": None if skip == no_skip else skip}
    make = lambda: Detecting(automaton, skip, limit, on_error)  # noqa: E731  # a value among values
    sides = ("errors", "late", "timed_out")
    return operator(Operation(where, make, parameters, name, defines=("pattern", "skip"), stateful=True, sides=sides))


def _pack(state: Open) -> Any:
    return pack(packed(state))


class Detecting(Stepping):
    """``states`` has what each key has open, and a part of its own the events that wait.

    An event waits until the watermark has passed it. What is due is done in order of time: events of time *t* when the watermark
    is *t* + 1, before the partial matches whose time is over then, as these may still have taken them; of one time in the order
    of the keys' encodings.

    In a source's loop it is done after each push, in the same order: nobody needs to know then between which records it was.

    If nobody hears of it when time is over, partial matches need not be looked at then: an event finds out itself that they
    are over, and they are freed in steps of a sixteenth of ``within``, many keys at once.
    """

    codec = StateCodec(_pack, unpacked)

    def __init__(self, automaton: Automaton, skip: Skips, limit: int, on_error: Policy | None) -> None:
        super().__init__()
        self.automaton, self.on_error = automaton, on_error
        self.matcher = Matcher(automaton, skip, limit)
        self.waiting, self.timers = Waiting(self), Agenda()
        """The events, and when keys' partial matches are looked at."""
        self.parts = (self.waiting,)
        self.step = 1
        self.asides["timed_out"] = Batch([], [], [], [], [])
        self.kinds: set[type] = set()

    def start(self) -> None:
        super().start()
        if self.host.reads("timed_out"):
            self.matcher.report()
        self.step = max(1, self.matcher.within // PARTS) if self.matcher.silent else 1
        for key, state in self.states.items():
            if state.awaited is not None:
                self.timers.add(state.awaited, key)
            if state.alive:
                self.look_again(key, state)

    @property
    def next_time(self) -> int:
        if self.fused:
            return END
        return min(self.waiting.next_time, self.timers.times[0] if self.timers.times else END)

    @property
    def pending(self) -> int:
        return len(self.waiting.heap) + len(self.timers)

    # Records.

    def lines(self, loop: Loop, code: Code, port: int) -> Sequence[str]:
        automaton, (find_out, mark) = self.automaton, code.passed
        conditions = {
            1 << i: f"{loop.bind(condition)}(value)"
            for i, condition in enumerate(automaton.conditions)
            if not 1 << i & automaton.always
        }
        keep = self.waiting.adding(loop)
        if code.alone:
            keep.append(f"if time < due: due = {code.due}")
        lines = [f"holds = {automaton.always}", *(f"if {condition}: holds |= {bit}" for bit, condition in conditions.items())]
        # Where nothing must be next to something, an event for which no condition holds makes no difference to anybody.
        every = automaton.sensitive or automaton.always
        lines += keep if every else ["if holds:", *(f"    {line}" for line in keep)]
        late = [f"if time < {code.now}:", *(f"    {line}" for line in find_out), f"    if time < {mark}: {code.behind}; continue"]
        return [*late, *lines]

    # Time.

    def reach(self, mark: int) -> None:
        states, timers, dirty, take = self.states, self.timers.times, self.dirty, self.matcher.take
        for time, key, holds, value in self.waiting.taken(mark):
            if timers and timers[0] <= time:
                self.look(time, mark)
            state = states.get(key)
            if state is None:
                state = states[key] = Open(len(self.automaton.waits))
            dirty.add(key)
            try:
                found = take(state, value, time, holds)
            except Exception as error:
                found = self.failed(error, partial(take, state, value, time, holds), value, key, time, mark)
            if found:
                self.put(self.matches(key, found), [key] * len(found), time, time + 1, mark)
            if state.awaited is None or state.complete is not None:
                self.look_again(key, state)
        self.look(mark, mark)
        if mark == END:
            self.finish_turns()

    def look(self, until: int, mark: int) -> None:
        """Look at the keys of which something may be over by then."""
        times = self.timers.times
        while times and times[0] <= until:
            due = times[0]
            for key in self.timers.take():
                self.expire(key, due, mark)

    def finish_turns(self) -> None:
        """No event comes any more: matches that wait for open ones which began before them need not wait."""
        for key in sorted([key for key, state in self.states.items() if state.complete], key=ordered):
            state = self.states[key]
            self.dirty.add(key)
            found = self.matcher.settle(state, over=True)
            self.put(self.matches(key, found), [key] * len(found), max(end for _, end, _ in found), END, END)
            self.look_again(key, state)

    def failed(
        self, error: Exception, again: Callable[[], Sequence[Found]], value: Any, key: Hashable, time: int, mark: int
    ) -> Sequence[Found]:
        """The policy decides about an event."""
        if isinstance(error, TooManyPartialMatches):
            error = TooManyPartialMatches(f"key {original(key)!r}, {error}")
        moment = self.host.moment(time + 1, mark)
        about = Batch((value,), (time,), (key,), (moment.order,), (moment.before,))
        answer = self.host.failed(error, about, 0, again)
        return [] if answer is LOST else answer

    def expire(self, key: Hashable, due: int, mark: int) -> None:
        """Look at a key of which something may be over when the watermark is ``due``."""
        state = self.states.get(key)
        if state is None or state.awaited != due:
            return  # of a state that has gone
        self.dirty.add(key)
        state.awaited = None
        if self.matcher.silent and state.complete is None:
            if state.starts is None or state.starts[-1] + self.matcher.within <= due:
                del self.states[key]
            else:
                self.look_again(key, state)
            return
        found, run_out = self.matcher.expire(state, due)
        if found:
            self.put(self.matches(key, found), [key] * len(found), due - 1, due, mark)
        if run_out:
            moment = self.host.moment(due, mark)
            add(self.asides["timed_out"], self.matches(key, run_out), [key] * len(run_out), due - 1, moment.order, moment.before)
        self.look_again(key, state)

    def look_again(self, key: Hashable, state: Open) -> None:
        """See to it that a key is looked at when something of it is over; forget it if nothing is left."""
        if not state.alive:
            self.dirty.add(key)
            del self.states[key]
            return
        due = self.matcher.due(state)
        if due is not None:
            step = self.step if state.complete is None else 1  # a match that waits comes out just when its turn is
            due = -(-due // step) * step
            if state.awaited is None or due < state.awaited:
                self.dirty.add(key)
                state.awaited = due
                self.timers.add(due, key)

    # Results.

    def matches(self, key: Hashable, found: Sequence[Found]) -> list[Match]:
        """The results."""
        user = key if key.__class__ is str else original(key)
        return [Match(user, start, end, events) for start, end, events in found]

    def open_of(self, key: Hashable) -> Iterator[Match]:
        """The partial matches of a key."""
        state = self.states.get(key)
        if state is not None:
            yield from self.matches(key, list(self.matcher.partial(state)))

    def check_kept(self) -> None:
        # A look at one event of a kind.
        for place in self.waiting.heap[-1:]:
            *_, value = self.waiting.states[place]
            if type(value) not in self.kinds:
                self.kinds.add(type(value))
                check_savable(self, value)
