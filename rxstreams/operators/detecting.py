"""Patterns of events in a stream: detect."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from heapq import heappop, heappush
from operator import itemgetter
from typing import Any, TypeVar

from reactivex import Observable

from rxstreams.batch import Batch
from rxstreams.errors import ConfigError, Policy, check_policy
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
_time = itemgetter(0)


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


class Agenda:
    """Keys that something is to be done for, by when.

    Attributes:
        keys: By time, in no order, and perhaps more than once.
        times: A heap of the times.
    """

    def __init__(self) -> None:
        self.keys: dict[int, list[Hashable]] = {}
        self.times: list[int] = []

    def __len__(self) -> int:
        return sum(map(len, self.keys.values()))

    def add(self, time: int, key: Hashable) -> None:
        """Something is to be done for a key."""
        keys = self.keys.get(time)
        if keys is None:
            self.keys[time] = [key]
            heappush(self.times, time)
        else:
            keys.append(key)

    def take(self) -> Sequence[Hashable]:
        """The keys of the first time, each once, in the order of their encodings."""
        keys = self.keys.pop(heappop(self.times))
        return keys if len(keys) == 1 else sorted(set(keys), key=ordered)


class Detecting(Stepping):
    """``states`` has what each key has open.

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
        self.events, self.timers = Agenda(), Agenda()
        """By what time keys have events waiting, and when their partial matches are looked at."""
        self.step = 1
        self.asides["timed_out"] = Batch([], [], [], [], [])
        self.youngest: Any = None
        self.kinds: set[type] = set()

    def start(self) -> None:
        super().start()
        if self.host.reads("timed_out"):
            self.matcher.report()
        self.step = max(1, self.matcher.within // PARTS) if self.matcher.silent else 1
        for key, state in self.states.items():
            for time, _, _ in state.waiting or ():
                self.events.add(time, key)
            if state.awaited is not None:
                self.timers.add(state.awaited, key)
            if state.alive:
                self.look_again(key, state)

    @property
    def next_time(self) -> int:
        if self.fused:
            return END
        events, timers = self.events.times, self.timers.times
        return min(events[0] + 1 if events else END, timers[0] if timers else END)

    @property
    def pending(self) -> int:
        return len(self.events) + len(self.timers)

    # Records.

    def lines(self, loop: Loop, code: Code, port: int) -> Sequence[str]:
        automaton, (find_out, mark) = self.automaton, code.passed
        conditions = {
            1 << i: f"{loop.bind(condition)}(value)"
            for i, condition in enumerate(automaton.conditions)
            if not 1 << i & automaton.always
        }
        keep = [f"{loop.bind(self.keep)}(value, key, time, holds)"]
        if code.alone:
            keep.append(f"if {loop.bind(self.events.times)}[0] == time: due = {code.due}")
        lines = [f"holds = {automaton.always}", *(f"if {condition}: holds |= {bit}" for bit, condition in conditions.items())]
        # Where nothing must be next to something, an event for which no condition holds makes no difference to anybody.
        every = automaton.sensitive or automaton.always
        lines += keep if every else ["if holds:", *(f"    {line}" for line in keep)]
        late = [f"if time < {code.now}:", *(f"    {line}" for line in find_out), f"    if time < {mark}: {code.behind}; continue"]
        return [*late, *lines]

    def keep(self, value: Any, key: Hashable, time: int, holds: int) -> None:
        """An event waits for the watermark to pass it."""
        state = self.states.get(key)
        if state is None:
            state = self.states[key] = Open(len(self.automaton.waits))
        if state.waiting is None:
            state.waiting = [(time, holds, value)]
        elif state.waiting[-1][0] <= time:
            state.waiting.append((time, holds, value))
        else:
            insort(state.waiting, (time, holds, value), key=_time)
        self.events.add(time, key)
        self.dirty.add(key)
        self.youngest = value

    # Time.

    def reach(self, mark: int) -> None:
        events, timers = self.events.times, self.timers.times
        while events or timers:
            event = events[0] + 1 if events else END
            timer = timers[0] if timers else END
            if event <= timer:
                if event > mark:
                    break
                for key in self.events.take():
                    self.take(key, event, mark)
            elif timer > mark:
                break
            else:
                for key in self.timers.take():
                    self.expire(key, timer, mark)
        if mark == END:
            self.finish_turns()

    def finish_turns(self) -> None:
        """No event comes any more: matches that wait for open ones which began before them need not wait."""
        for key in sorted([key for key, state in self.states.items() if state.complete], key=ordered):
            state = self.states[key]
            found = self.matcher.settle(state, over=True)
            self.put(self.matches(key, found), [key] * len(found), max(end for _, end, _ in found), END, END)
            self.look_again(key, state)

    def take(self, key: Hashable, due: int, mark: int) -> None:
        """Take in a key's events that the watermark ``due`` passes."""
        state = self.states[key]
        events, state.waiting = state.waiting, None
        if len(events) > 1:
            passed = bisect_right(events, due - 1, key=_time)
            if passed < len(events):  # the rest stays where it is: it may be much more
                events, state.waiting = events[:passed], events
                del state.waiting[:passed]
        take = self.matcher.take
        self.dirty.add(key)
        for time, holds, value in events:
            try:
                found = take(state, value, time, holds)
            except Exception as error:
                again = partial(take, state, value, time, holds)
                found = self.failed(error, key, value, time, due, mark, again)
            if found:
                self.put(self.matches(key, found), [key] * len(found), time, due, mark)
        if state.awaited is None or state.complete is not None:
            self.look_again(key, state)

    def failed(
        self, error: Exception, key: Hashable, value: Any, time: int, due: int, mark: int, again: Callable[[], Sequence[Found]]
    ) -> Sequence[Found]:
        """The policy decides about an event."""
        if isinstance(error, TooManyPartialMatches):
            error = TooManyPartialMatches(f"key {original(key)!r}, {error}")
        moment = self.host.moment(due, mark)
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
            if state.starts is not None and state.starts[-1] + self.matcher.within <= due:
                state.clear()
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
        self.dirty.add(key)
        if not state.alive:
            state.clear()  # also where an event waits: what is left must not depend on whether it has come yet
            if state.waiting is None:
                del self.states[key]
            return
        due = self.matcher.due(state)
        if due is not None:
            step = self.step if state.complete is None else 1  # a match that waits comes out just when its turn is
            due = -(-due // step) * step
            if state.awaited is None or due < state.awaited:
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
        if type(self.youngest) not in self.kinds:
            self.kinds.add(type(self.youngest))
            check_savable(self, self.youngest)
