"""Timers against a list of them, and what they hold."""

from __future__ import annotations

import sys
from typing import Any

from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rxstreams.state.keys import encode_key, internal
from rxstreams.state.timers import NEVER, Timers

KEYS = st.sampled_from([internal(key) for key in ("a", "b", 1, True, None, ("a", 1), b"a")])
TIMES = st.integers(-5, 20)


class AgainstAList(RuleBasedStateMachine):
    """Whatever is set and cleared, what is due is what a plain set of pairs says, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.timers = Timers()
        self.model: set[tuple[int, Any]] = set()

    def ordered(self, watermark: int) -> list[tuple[int, Any]]:
        """What is due, by the list."""
        return sorted((pair for pair in self.model if pair[0] <= watermark), key=lambda pair: (pair[0], encode_key(pair[1])))

    @rule(key=KEYS, time=TIMES)
    def set(self, key: Any, time: int) -> None:
        """Set one."""
        self.timers.set(key, time)
        self.model.add((time, key))

    @rule(key=KEYS, time=TIMES)
    def clear(self, key: Any, time: int) -> None:
        """Clear one."""
        self.timers.clear(key, time)
        self.model.discard((time, key))

    @rule(key=KEYS)
    def forget(self, key: Any) -> None:
        """Free the state and its timers."""
        self.timers.forget(key)
        self.model = {pair for pair in self.model if pair[1] != key}

    @rule(watermark=TIMES)
    def fire(self, watermark: int) -> None:
        """All that is due."""
        expected = self.ordered(watermark)
        assert list(self.timers.due(watermark)) == expected
        self.model -= {*expected}

    @rule(watermark=TIMES, data=st.data())
    def fire_and_change(self, watermark: int, data: st.DataObject) -> None:
        """Each of them sets and clears others; the next is always the least that is left. The iterator may be left midway."""
        fired = self.timers.due(watermark)
        for _ in range(data.draw(st.integers(1, 4))):
            expected = self.ordered(watermark)[:1]
            assert [pair for pair in [next(fired, None)] if pair] == expected
            self.model -= {*expected}
            if not expected:
                break
            self.set(data.draw(KEYS), data.draw(TIMES))
            self.clear(data.draw(KEYS), data.draw(TIMES))

    @rule()
    def save_and_restore(self) -> None:
        """What is saved per key is all there is."""
        saved = {key: self.timers.of(key) for _, key in self.model}
        self.timers = Timers()
        for key, times in saved.items():
            self.timers.restore(key, times)

    @invariant()
    def agrees(self) -> None:
        """Counts, next and times per key."""
        assert len(self.timers) == len(self.model)
        assert self.timers.next == min((time for time, _ in self.model), default=NEVER)
        for key in {key for _, key in self.model}:
            assert self.timers.of(key) == tuple(sorted(time for time, other in self.model if other == key))


AgainstAList.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestAgainstAList = AgainstAList.TestCase


@given(st.lists(st.tuples(KEYS, TIMES), max_size=30), st.randoms())
def test_order_does_not_depend_on_the_order_of_setting(pairs: list[tuple[Any, int]], random: Any) -> None:
    """Time, then the key's encoding: so neither batches nor a restore can be seen in it."""
    one, other = Timers(), Timers()
    for key, time in pairs:
        one.set(key, time)
    random.shuffle(pairs)
    for key, time in pairs:
        other.set(key, time)
    assert list(one.due(NEVER)) == list(other.due(NEVER))


def test_a_timer_that_is_set_while_due_ones_fire_comes_in_its_place() -> None:
    """Also one that lies before what fires now."""
    timers = Timers()
    for key in "abc":
        timers.set(key, 10)
    fired = []
    for time, key in timers.due(20):
        fired.append((time, key))
        if key == "a" and time == 10:
            timers.set("z", 5)
            timers.set("y", 20)
            timers.clear("b", 10)
            timers.set("x", 21)
    assert fired == [(10, "a"), (5, "z"), (10, "c"), (20, "y")]
    assert timers.next == 21


def test_cleared_timers_are_freed() -> None:
    """Moving a timer 100,000 times leaves nothing behind."""
    timers = Timers()
    timers.set("idle", NEVER - 1)
    for time in range(100_000):
        timers.set("a", time)
        timers.clear("a", time - 1)
    assert len(timers._heap) < 50
    timers.forget("a")
    timers.clear("idle", NEVER - 1)
    assert (len(timers), timers.next, timers._at, timers._of, timers._heap) == (0, NEVER, {}, {}, [])
    assert sys.getsizeof(timers._heap) < 1000
