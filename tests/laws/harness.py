"""Drives a graph as a run does, without a broker and on a clock of its own: cut anywhere, committed anywhere, crashed anywhere.

The input is one list of events. However it is cut into pushes, what comes out must be the same; so a test runs it with pushes
of one record, and again with others, and compares the outcomes.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from unittest.mock import patch

import msgspec

from rxstreams.brokers.contract import Broker, Record
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import Policy, Stop
from rxstreams.feeds.source import Chunk, Source, Stamping
from rxstreams.runtime.checkpoints import Checkpoints
from rxstreams.runtime.failures import Failure
from rxstreams.stream import Operation, Stream, source_stream
from rxstreams.testing.driver import Driver
from rxstreams.watermarks import bounded

EPOCH = 1_700_000_000.0


class Rec(NamedTuple):
    """A record of a source's partition."""

    source: str
    partition: int
    value: Any
    time: int


class End(NamedTuple):
    """A source ends."""

    source: str


class Tick(NamedTuple):
    """The clock goes on."""

    seconds: float


Event = Rec | End | Tick


@dataclass(frozen=True, eq=False)
class Lines:
    """A source's blueprint; the harness pushes its records."""

    id: str
    weakness: str | None = None
    live: bool = False
    finish: bool = True
    topic: str | None = None
    idle_after: float | None = None
    fetch: int = 1

    async def chunks(
        self, broker: Broker | None, positions: Mapping[int, int] | None, *, first: str | None, saved: Mapping[Any, Any]
    ) -> AsyncIterator[Chunk]:
        raise NotImplementedError
        yield


def lines(name: str = "a", *, out_of_orderness: float = 2.0, on_error: Policy | None = None) -> Stream[Any]:
    """A source of JSON lines, with the time that the record brings."""
    feed = Lines(name)
    decode = msgspec.json.Decoder().decode
    make = lambda: Source(feed, decode, Stamping(None, bounded(out_of_orderness), None), on_error)  # noqa: E731  # a value among values
    return source_stream(Operation("lines", make, {"name": name}, ends=feed, sides=("errors",)))


@dataclass
class Outcome:
    """All that a run leaves behind."""

    results: list[list[Any]] = field(default_factory=list)
    outputs: dict[str, list[Record]] = field(default_factory=dict)
    states: dict[str, dict[Any, Any]] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def values(self) -> list[list[Any]]:
        """The results' values alone."""
        return [[value for value, _, _ in one] for one in self.results]


class Drive(Driver):
    """A pipeline driven by a list of events.

    Args:
        streams: What to collect the results of.
        timed: Whether event times are asked for downstream.
        policy: The run's.
    """

    def __init__(self, *streams: Stream[Any], timed: bool = True, policy: Policy = Stop()) -> None:
        super().__init__(*streams, timed=timed, policy=policy, start=EPOCH)

    # Events.

    def feed(self, events: Sequence[Event], cuts: Iterable[int] | None = None, *, offset: int = 0) -> None:
        """Take events in; ``cuts`` are the indices before which a push ends (None: before each).

        Consecutive records of one partition are one push otherwise.
        """
        where = set(range(len(events)) if cuts is None else cuts)
        start = 0
        for i in range(1, len(events) + 1):
            if i == len(events) or i in where or not _belong_together(events[start], events[i]):
                self.take(events[start:i], offset + start)
                start = i

    def take(self, events: Sequence[Event], offset: int) -> None:
        """One push, or one other event."""
        first = events[0]
        if isinstance(first, Tick):
            self.clock.advance(first.seconds, self.go_on)
        elif first.source in self.sources:
            if isinstance(first, End):
                self.finish(first.source)
            else:
                self.push_records(first, [one for one in events if isinstance(one, Rec)], offset)
        self.go_on()

    def push_records(self, first: Rec, records: Sequence[Rec], offset: int) -> None:
        """Consecutive records of one partition."""
        raw = [one.value if isinstance(one.value, bytes) else msgspec.json.encode(one.value) for one in records]
        offsets = range(offset, offset + len(raw))
        times = [one.time for one in records]
        headers = [(("trace", str(at).encode()),) for at in offsets]
        chunk = Chunk(first.partition, raw, offsets, offset + len(raw), times, [b"k"] * len(raw), headers)
        self.push(first.source, chunk)

    def crash(self) -> None:
        """Forget what was not committed, and begin anew."""
        self.roll_back()

    def outcome(self) -> Outcome:
        """What there is now, after a commit."""
        self.commit()
        states = {store.identity: dict(store.states) for store in self.graph.stores}
        for vertex in self.graph.stateful:
            for space, held in (vertex.node.spaces.states if vertex.node.spaces is not None else {}).items():
                states[f"{vertex.identity}[{space}]"] = dict(held)
        closed = sorted(vertex.title for vertex in self.graph.vertices if vertex.closed)
        return Outcome([list(one) for one in self.results], dict(self.outputs), states, closed, sorted(self.lost))


async def filled(topics: Mapping[str, Sequence[bytes]], partitions: int) -> Broker:
    """A memory broker with these records."""
    broker = MemoryBroker()
    await broker.start()
    for topic, lines_of_it in topics.items():
        await broker.create_topic(topic, partitions)
        for at in range(0, len(lines_of_it), 5000):
            await broker.append(topic, list(map(Record, lines_of_it[at : at + 5000])))
    await broker.stop()
    return broker


def _belong_together(one: Event, other: Event) -> bool:
    return isinstance(one, Rec) and isinstance(other, Rec) and one[:2] == other[:2]


def run(
    events: Sequence[Event], *streams: Stream[Any], cuts: Iterable[int] | None = None, timed: bool = True, policy: Policy = Stop()
) -> Outcome:
    """The outcome of a run that is cut like this (None: pushes of one)."""
    drive = Drive(*streams, timed=timed, policy=policy)
    drive.feed(events, cuts)
    return drive.outcome()


def run_with_crashes(
    events: Sequence[Event], *streams: Stream[Any], rng: random.Random, timed: bool = True, policy: Policy = Stop()
) -> Outcome:
    """The same with random cuts, commits and crashes; after a crash the input is read again, cut in other places.

    Half of the runs save what changed alone, as they do where a key group holds much more than that.
    """
    with deltas_alone() if rng.random() < 0.5 else nullcontext():
        return _crashing(Drive(*streams, timed=timed, policy=policy), events, rng)


@contextmanager
def deltas_alone() -> Iterator[None]:
    """While it lasts, no key group is written whole because most of it changed."""
    covers = Checkpoints._covers

    def seldom(self: Checkpoints, group: int, change: Any) -> bool:
        return group not in self._groups and covers(self, group, change)

    with patch.object(Checkpoints, "_covers", seldom):
        yield


def _crashing(drive: Drive, events: Sequence[Event], rng: random.Random) -> Outcome:
    done = committed = 0
    clock = drive.clock.now
    crashes = 3
    while done < len(events):
        n = rng.randint(1, max(2, len(events) // 4))
        drive.feed(events[done : done + n], random_cuts(rng, n), offset=done)
        done = min(done + n, len(events))
        if rng.random() < 0.5:
            drive.commit()
            committed, clock = done, drive.clock.now
        if crashes and rng.random() < 0.5:
            crashes -= 1
            drive.clock.now = clock
            drive.crash()
            done = committed
    return drive.outcome()


def random_cuts(rng: random.Random, n: int) -> list[int]:
    """Some indices below ``n``: few, or many."""
    return sorted(rng.sample(range(n), rng.randint(0, min(n, rng.choice((2, 8, n))))))


def random_events(
    rng: random.Random, n: int, *, sources: Sequence[str] = ("a",), partitions: int = 1, ticks: bool = False, most: int = 20
) -> list[Event]:
    """Records in runs of one partition, their times roughly ascending, sometimes a pause, then the ends."""
    events: list[Event] = []
    now = 0
    while len(events) < n:
        source, partition = rng.choice(sources), rng.randrange(partitions)
        for _ in range(rng.randint(1, 12)):
            now += rng.choice((0, 100, 400, 1500))
            events.append(Rec(source, partition, rng.randrange(most), max(0, now - rng.choice((0, 0, 900, 2500)))))
        if ticks and rng.random() < 0.3:
            events.append(Tick(rng.choice((0.5, 1.0, 3.0))))
    ends: list[Event] = [End(source) for source in sources]
    rng.shuffle(ends)
    return [*events, *ends]


__all__ = [
    "Drive",
    "End",
    "Event",
    "Failure",
    "Outcome",
    "Rec",
    "Tick",
    "filled",
    "lines",
    "random_cuts",
    "random_events",
    "run",
    "run_with_crashes",
]
