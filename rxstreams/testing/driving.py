"""A pipeline driven by hand: records, watermarks, idleness, the clock, commits and crashes, in virtual time, without a broker.

It is the run's own graph that is driven, with its own state and checkpoints. Only what a run does on an event loop is left out:
reading sources, and operators that wait (``to_callable`` with a coroutine function); for those there is ``virtually``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from rxstreams.brokers.contract import Record
from rxstreams.errors import ConfigError, Policy, Stop
from rxstreams.feeds.source import Chunk
from rxstreams.operators.stores import Store
from rxstreams.state.keys import original
from rxstreams.stream import Stream
from rxstreams.testing.driver import Driver
from rxstreams.watermarks import to_millis

__all__ = ["Drive", "drive"]

Moment = datetime | str | float
"""An event time: an aware datetime, an ISO 8601 text with an offset, or epoch seconds or milliseconds."""


class Drive(Driver):
    """A pipeline driven by hand; see ``drive``.

    Attributes:
        topics: What was committed to topics, as ``Record``s by topic: ``outputs``.
        views: What was committed to views: the latest value by key, by view.
    """

    def __init__(self, *streams: Stream[Any], policy: Policy = Stop(), start: float | None = None) -> None:
        self._clock_follows = start is None
        self._since: list[Callable[[], None]] = []
        self._offsets: dict[tuple[str, int], int] = {}
        self._taken: dict[int, int] = {}
        self._committed_offsets: dict[tuple[str, int], int] = {}
        super().__init__(*streams, policy=policy, start=start or 0.0)

    # What goes in.

    def feed(
        self,
        *values: Any,
        source: Stream[Any] | str | None = None,
        partition: int = 0,
        at: Moment | Sequence[Moment] | None = None,
    ) -> None:
        """Have records come, one by one.

        Args:
            values: What a source of topics decodes: bytes as they are, anything else as its JSON; or the items of an iterable.
            source: The source, or its topic's name; not needed where there is one.
            partition: Which of its partitions they come from.
            at: The records' timestamps, one for all or one each; None is the clock's. (A source that reads the time from the
                value does that.)

        Raises:
            ConfigError: If there is no such source.
        """
        identity = self._identity(source)
        stamps = at if isinstance(at, Sequence) and not isinstance(at, str) else [at] * len(values)
        if len(stamps) != len(values):
            raise ConfigError(f"feed(at): expected a time for each of the {len(values)} values, got {len(stamps)}")
        for value, stamp in zip(values, stamps, strict=True):
            self._do(partial(self._push_one, identity, partition, value, self._millis(stamp)))

    def _push_one(self, identity: str, partition: int, value: Any, stamp: int) -> None:
        raw = value
        if self.source(identity).decode is not None and not isinstance(value, bytes):
            raw = msgspec.json.encode(value)
        if self._clock_follows:
            self._let_clock_come_to(identity, raw, stamp)
        offset = self._offsets.get((identity, partition), 0)
        self._offsets[identity, partition] = offset + 1
        self.push(identity, Chunk(partition, [raw], [offset], offset + 1, [stamp], [None], [()]))

    def _let_clock_come_to(self, identity: str, raw: Any, stamp: int) -> None:
        """A record is not handled before the time that it has; one whose time cannot be read fails soon enough."""
        source = self.source(identity)
        with suppress(Exception):
            if source.read_time is not None:
                stamp = source.read_time(raw if source.decode is None else source.decode(raw))
            if stamp > self.clock.now * 1000:
                self.advance(stamp / 1000 - self.clock.now)

    def watermark(self, time: Moment, *, source: Stream[Any] | str | None = None) -> None:
        """Move a source's watermark by hand; it never goes back.

        Args:
            time: No record before it is expected any more.
            source: The source, or its topic's name; not needed where there is one.
        """
        identity, mark = self._identity(source), self._millis(time)

        def move() -> None:
            self.source(identity).times.raise_to(mark)
            self.graph.carry_out(lambda: self.sources[identity].forward(self.source(identity).times.now))
            self.go_on()

        self._do(move)

    def idle(self, partition: int = 0, *, all_partitions: bool = False, source: Stream[Any] | str | None = None) -> None:
        """Set a partition aside, which was asked and had nothing; or say that this is so of all of them."""
        identity = self._identity(source)
        news = Chunk(partition, (), (), 0, news="all idle" if all_partitions else "idle")
        self._do(partial(self.push, identity, news))

    def end(self, source: Stream[Any] | str | None = None) -> None:
        """End a source; without one, all of them."""
        for identity in self.sources if source is None else [self._identity(source)]:
            self._do(partial(self.finish, identity))

    def advance(self, seconds: float) -> None:
        """Let the clock go on; what is due by it happens on the way."""
        self.clock.advance(seconds, self.go_on)
        self.go_on()

    # Commits and crashes.

    def commit(self) -> None:
        """Commit: what was fed so far has been taken in for good."""
        super().commit()
        self._since.clear()
        self._committed_offsets = dict(self._offsets)

    def crash(self) -> None:
        """End without a word, and start again: from the last commit, with all that was fed since then fed once more."""
        self._offsets = dict(self._committed_offsets)
        self.roll_back()
        for action in list(self._since):
            action()

    def restart(self) -> None:
        """Stop after a commit, and start again."""
        self.commit()
        self.crash()

    # What comes out.

    def values(self, stream: Stream[Any] | None = None) -> list[Any]:
        """All values that came out of a stream so far; without one, of the first."""
        return [value for value, _, _ in self.results[self._index(stream)]]

    def new(self, stream: Stream[Any] | None = None) -> list[Any]:
        """The values that came out since the last call; what a crash takes back and brings again is not new."""
        index = self._index(stream)
        values = self.values(stream)[self._taken.get(index, 0) :]
        self._taken[index] = self._taken.get(index, 0) + len(values)
        return values

    @property
    def topics(self) -> dict[str, list[Record]]:
        """What was committed to topics."""
        return self.outputs

    def state(self, operator: str) -> dict[Any, Any]:
        """What an operator keeps, by the user's key; of windows by (window or pane, key), of joins and dedup by (part, key).

        Args:
            operator: Its name, or how its title begins: ``"aggregate"``.

        Raises:
            ConfigError: If there is no such operator, or none that keeps anything.
        """
        for vertex in self.graph.stateful:
            if operator in (vertex.identity, vertex.stream and vertex.stream.operation.name) or vertex.title.startswith(operator):
                held = {original(key): state for key, state in vertex.node.states.items()}
                spaces = vertex.node.spaces.states if vertex.node.spaces is not None else {}
                apart = [store for store in vertex.node.stores() if isinstance(store, Store)]
                held |= {(store.name, original(key)): one for store in apart for key, one in store.states.items()}
                return held | {(space, original(key)): one for space, keys in spaces.items() for key, one in keys.items()}
        known = ", ".join(vertex.title for vertex in self.graph.stateful) or "none"
        raise ConfigError(f"state({operator!r}): no such operator; those that keep something: {known}")

    # Inside.

    def _do(self, action: Callable[[], None]) -> None:
        self._since.append(action)
        action()

    def _millis(self, time: Moment | None) -> int:
        return round(self.clock.now * 1000) if time is None else to_millis(time)

    def _identity(self, source: Stream[Any] | str | None) -> str:
        if source is None:
            if len(self.sources) == 1:
                return next(iter(self.sources))
        elif isinstance(source, str):
            for identity in (source, f"topic:{source}"):
                if identity in self.sources:
                    return identity
        else:
            for identity, vertex in self.sources.items():
                if vertex.stream is source:
                    return identity
        raise ConfigError(f"source: expected one of {', '.join(self.sources)}, got {source!r}")

    def _index(self, stream: Stream[Any] | None) -> int:
        if stream is None:
            return 0
        for index, one in enumerate(self.watched):
            if one is stream:
                return index
        raise ConfigError(f"{stream!r} is not driven; pass it to drive(…)")


def drive(*streams: Stream[Any], on_error: Policy = Stop(), start: Moment | None = None) -> Drive:
    """Drive a pipeline by hand, as a run would: feed it records, move its watermark and the clock, commit, crash, look.

        counts = rxs.from_topic("orders", Order, timestamp="at").pipe(
            ops.key_by("user"), ops.windowed(rxs.tumbling(60), n=agg.count())
        )
        drive = testing.drive(counts, counts.late)
        drive.feed(Order("ann", "2026-01-16T10:00:05Z"))
        drive.watermark("2026-01-16T10:01:00Z")
        assert [(row.key, row.n) for row in drive.new()] == [("ann", 1)]
        drive.crash()                         # what was fed since the last commit is fed again
        assert drive.values(counts.late) == []

    Nothing sleeps, and there is no event loop. Each value goes through on its own.

    Args:
        streams: What is looked at: results, side streams, sinks.
        on_error: What happens to failing records where an operator does not say.
        start: Where the clock begins; it passes by ``advance`` only then. None begins at 1970, and the clock goes on by itself
            so far that no record comes before the time that it has.

    Raises:
        ConfigError: If there is nothing to drive.
        GraphError: If an operator needs an event loop, such as ``to_callable`` with a coroutine function.
    """
    if not streams:
        raise ConfigError("drive: expected at least one stream")
    return Drive(*streams, policy=on_error, start=None if start is None else to_millis(start) / 1000)
