"""The contract of keyed operators is one that a plain class can meet."""

from __future__ import annotations

from typing import Any

from rxstreams.state.keyed import Context, KeyedOperator
from rxstreams.state.timers import Timers


class Quiet:
    """The example of the module's docstring."""

    def open(self) -> list[int]:
        """The time of the pending timer."""
        return [0]

    def process(self, state: list[int], key: str, value: int, time: int, ctx: Context[list[int], tuple[str, str]]) -> None:
        """Move the timer."""
        ctx.clear_timer(state[0])
        state[0] = time + 60_000
        ctx.set_timer(state[0])

    def on_timer(self, state: list[int], key: str, time: int, ctx: Context[list[int], tuple[str, str]]) -> None:
        """Tell, and free the key."""
        ctx.emit((key, "silent"))
        ctx.forget()


class Calls:
    """A context that does what it is told, for one key."""

    def __init__(self) -> None:
        self.watermark = -1
        self.timers = Timers()
        self.emitted: list[Any] = []
        self.states: dict[str, Any] = {}

    def emit(self, value: Any, time: int | None = None) -> None:
        """Keep the result."""
        self.emitted.append((value, time))

    def set_timer(self, time: int) -> None:
        """Set it."""
        self.timers.set("a", time)

    def clear_timer(self, time: int) -> None:
        """Clear it."""
        self.timers.clear("a", time)

    clock = 0

    def late(self, value: Any) -> None:
        """Nothing is late here."""

    def set_clock_timer(self, time: int) -> None:
        """No clock."""

    def clear_clock_timer(self, time: int) -> None:
        """No clock."""

    def replace(self, state: Any) -> None:
        """Keep the state."""
        self.states["a"] = state

    def forget(self) -> None:
        """Free the state and its timers."""
        self.states.pop("a", None)
        self.timers.forget("a")


def test_a_key_that_falls_silent_is_told_and_freed() -> None:
    """Timers move with each record; the last one fires once."""
    operator: KeyedOperator[str, int, list[int], tuple[str, str]] = Quiet()
    calls = Calls()
    context: Context[list[int], tuple[str, str]] = calls
    for time in (0, 30_000):
        operator.process(calls.states.setdefault("a", operator.open()), "a", 1, time, context)
    calls.watermark = 100_000
    for time, key in calls.timers.due(100_000):
        operator.on_timer(calls.states[str(key)], str(key), time, context)
    assert (calls.emitted, calls.states, len(calls.timers)) == ([(("a", "silent"), None)], {}, 0)
