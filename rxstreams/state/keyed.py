"""The contract of everything that remembers: a keyed operator, and the context in which it is called.

Running totals, windows, sessions, joins, dedup and patterns are written against it, and so may be users' own operators
(``ops.process``). It knows nothing of where it runs.

    class Quiet:                                   # tell when a key has been silent for a minute
        def open(self) -> list[int]:
            return [0]

        def process(self, state, key, value, time, ctx):
            ctx.clear_timer(state[0])
            state[0] = time + 60_000
            ctx.set_timer(state[0])

        def on_timer(self, state, key, time, ctx):
            ctx.emit((key, "silent"))
            ctx.forget()
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

__all__ = ["Context", "KeyedOperator"]

Key = TypeVar("Key", contravariant=True)
In = TypeVar("In", contravariant=True)
State = TypeVar("State")
Out = TypeVar("Out", covariant=True)
Kept = TypeVar("Kept", contravariant=True)
Outntra = TypeVar("Outntra", contravariant=True)


class Context(Protocol[Kept, Outntra]):
    """What a keyed operator may do while it is called. Everything concerns the key of that call, and holds until it returns."""

    @property
    def watermark(self) -> int:
        """The watermark (ms): no record with a lesser event time is expected any more. Within ``on_timer`` at least its time."""
        ...

    @property
    def clock(self) -> int:
        """Processing time: what the run's clock says (ms since the epoch). Results that depend on it are not repeatable."""
        ...

    def emit(self, value: Outntra, time: int | None = None) -> None:
        """Send a result on, with the same key.

        Args:
            value: The result. It must not be the state itself, nor share parts with it that change later.
            time: Its event time (ms). None is the time of the record, or of the timer, that is being handled. Never before the
                watermark: the executing operator holds the watermark back for results of timers that are still to fire.
        """
        ...

    def late(self, value: Any) -> None:
        """Put a record that came too late on the side stream ``late``, with how far it was behind the watermark."""
        ...

    def set_timer(self, time: int) -> None:
        """Have ``on_timer`` called once, as soon as the watermark reaches ``time`` (ms).

        A key has one timer per time; setting it again changes nothing. A time that the watermark has passed already fires after
        this call. Timers are saved with the state, and fire in order of time, then of the key's encoding.
        """
        ...

    def clear_timer(self, time: int) -> None:
        """Take a timer back. Nothing happens if there is none at ``time`` (ms)."""
        ...

    def set_clock_timer(self, time: int) -> None:
        """Have ``on_clock`` called once, as soon as the clock says ``time`` (ms), in processing time.

        The operator needs a method ``on_clock(state, key, time, ctx)``, which is as ``on_timer``; what it emits has the timer's
        time unless it says another. These timers are saved as well; one that came due while nothing ran fires at the restart.
        They do not fire at the end of the input.
        """
        ...

    def clear_clock_timer(self, time: int) -> None:
        """Take such a timer back."""
        ...

    def replace(self, state: Kept) -> None:
        """Keep ``state`` for the key instead of the object that was passed in; for states that are changed by replacing them.

        A state that is mutated in place (a list, a dict, an object) is kept without a word: every call makes its key dirty.
        """
        ...

    def forget(self) -> None:
        """Free the key's state and its timers of both kinds; the next record of the key begins with ``open()``.

        An operator must forget a key as soon as nothing can depend on it any more, so that an idle key costs nothing. What
        ``replace`` or ``set_timer`` do after it in the same call counts again.
        """
        ...


class KeyedOperator(Protocol[Key, In, State, Out]):
    """An operator that remembers something per key.

    It holds no memory of its own: whatever it knows of a key is in that key's state, which the run saves at each commit and
    gives back after a restart. A state must be of values that ``state.codec`` can keep; what it cannot keep fails at the record
    that made it. Calls come one at a time, in the order of the records; an exception leaves the record to the error policy.
    """

    def open(self) -> State:
        """A key's first state; called when a record comes for a key that has none."""
        ...

    def process(self, state: State, key: Key, value: In, time: int, ctx: Context[State, Out]) -> None:
        """Handle one record.

        Args:
            state: The key's state: change it in place, or keep another by ``ctx.replace``, or free it by ``ctx.forget``.
            key: The user's key.
            value: The record's value; shared with other branches of the graph, so it must not be changed.
            time: Its event time (ms). It may be behind ``ctx.watermark``: what to do with a late record is the operator's own.
            ctx: What may be done; not to be kept beyond the call.
        """
        ...

    def on_timer(self, state: State, key: Key, time: int, ctx: Context[State, Out]) -> None:
        """Handle a timer that has fallen due, with the state as it is now.

        Args:
            state: The key's state, as in ``process``; ``open()`` if it has been freed since (freeing clears its timers, so
                only where an operator sets a timer and keeps no state).
            key: The user's key.
            time: The time (ms) for which it was set, at most ``ctx.watermark``; it is not set any more.
            ctx: What may be done; not to be kept beyond the call.
        """
        ...
