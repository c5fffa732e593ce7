"""A broker beyond a bad network, in virtual time: every await of every call takes time, and may go wrong, as a seed decides.

What can go wrong, by name:

    refused          the call fails before anything was done
    gone             the connection is gone for a while: calls wait for it, or fail
    late             the answer takes seconds
    lost before      a commit did not take place, and nobody can tell
    lost after       it did (or the task was opened, the topic or table made), and the answer is lost
    lost on the way  a commit takes place later than its caller has given up, unless the task was opened meanwhile
    short            a read returns fewer records than are there
    gap              a read ends at a gap, or returns nothing but the way over it
    early            a wait returns although nothing came

Besides, a process may die at any await, or sleep while others go on.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import Final, Literal, NamedTuple, TypeVar

import msgspec

from rxstreams.brokers.contract import Broker, Commit, Fetched, Record, Retention, TableRead, TaskHandle
from rxstreams.errors import BrokerError, CommitUnknownError, FencedError

__all__ = ["CALLS", "Faults", "Injected", "Kind", "Odds", "SimulatedBroker", "SimulatedTask"]

T = TypeVar("T")
Kind = Literal["refused", "gone", "late", "lost before", "lost after", "lost on the way", "short", "gap", "early"]

_ANY: tuple[Kind, ...] = ("refused", "gone", "late")
CALLS: Final[Mapping[str, tuple[Kind, ...]]] = {
    **dict.fromkeys(("start", "topics", "append", "start_offsets", "end_offsets"), _ANY),
    **dict.fromkeys(("offsets_at", "record_limit", "read_table", "committed", "apps"), _ANY),
    **dict.fromkeys(("create_topic", "create_table", "open"), (*_ANY, "lost after")),
    "commit": (*_ANY, "lost before", "lost after", "lost on the way"),
    "read": (*_ANY, "short", "gap"),
    "wait": (*_ANY, "early"),
    "close": ("late",),
    "stop": ("late",),
}
"""What can go wrong with each call. An append is never lost: producers are idempotent, and try again until they know."""

_WEIGHTS = {"start": 4.0, "stop": 4.0, "create_topic": 0.25, "create_table": 0.5, "record_limit": 0.25}
"""How much likelier faults are at what a process calls only once, or a dozen times in a row."""


class Odds(msgspec.Struct, frozen=True):
    """How often a call meets each kind of fault, and how long things take in seconds (at least, at most)."""

    refused: float = 0.008
    gone: float = 0.006
    late: float = 0.008
    lost: float = 0.025
    """Each of the three ways in which a commit's answer is lost; other calls' answers are lost as often as they are refused."""
    short: float = 0.7
    gap: float = 0.2
    early: float = 0.1
    most_records: int = 400
    """Of a short read."""
    latency: tuple[float, float] = (0.000_5, 0.004)
    fetching: tuple[float, float] = (0.002, 0.03)
    """The latency of a read."""
    late_by: tuple[float, float] = (0.1, 12.0)
    gone_for: tuple[float, float] = (0.02, 6.0)
    landing: tuple[float, float] = (0.01, 2.0)
    """Until a commit takes place whose answer was lost on the way."""

    def of(self, kind: Kind, call: str) -> float:
        """How often a call that can meet it does."""
        if kind.startswith("lost"):
            return self.lost if call == "commit" else self.refused * _WEIGHTS.get(call, 1.0)
        odds: float = getattr(self, kind)
        return odds * _WEIGHTS.get(call, 1.0)


class Injected(NamedTuple):
    """A fault that happened: when, to whom, at which call."""

    time: float
    process: str
    call: str
    kind: str


class Faults:
    """What goes wrong in one simulation: drawn from a seed, counted by (kind, call), and logged in order.

    Attributes:
        counts: How often each kind happened at each call.
        log: The same, one by one; the same seed gives the same log.
        on_the_way: Commits that may still take place although nobody waits for them.
    """

    def __init__(self, seed: int, odds: Odds = Odds()) -> None:
        self.seed, self.odds = seed, odds
        self.counts: Counter[tuple[str, str]] = Counter()
        self.log: list[Injected] = []
        self.on_the_way: set[asyncio.Task[None]] = set()

    def note(self, process: str, call: str, kind: str) -> None:
        """A fault happened."""
        self.counts[kind, call] += 1
        self.log.append(Injected(asyncio.get_running_loop().time(), process, call, kind))

    async def landed(self) -> None:
        """Return when no commit is on its way any more."""
        while self.on_the_way:
            await asyncio.wait(self.on_the_way)


class SimulatedBroker:
    """One process's connection to a broker, which others may share.

    Attributes:
        died: Set when the process has died at an await; from then on no call does anything, and its tasks are to be cancelled.
        asleep: Set when it has fallen asleep.
        fenced: How often it was told that a newer instance has taken over.

    Args:
        broker: Where everything is, started; one that answers at once, such as the memory broker.
        faults: What goes wrong.
        process: Its name in the log; processes of different names draw different faults.
    """

    def __init__(self, broker: Broker, faults: Faults, process: str = "process") -> None:
        self.url = f"simulated+{broker.url}"
        self.faults, self.process = faults, process
        self.asleep, self.died = asyncio.Event(), asyncio.Event()
        self.fenced = 0
        self.random = Random(f"{faults.seed} {process}")
        self._broker = broker
        self._thresholds = {call: _thresholds(call, faults.odds) for call in CALLS}
        self._gone_until = self._asleep_until = 0.0
        self._awaits = self._fatal = 0
        self._sleep = 0, 0.0

    # What befalls the process.

    def die_at(self, awaits: int) -> None:
        """Let the process die at this await of its calls, counted from now on."""
        self._fatal = self._awaits + awaits

    def kill(self) -> None:
        """Let the process die now: no call of it does anything from here on."""
        self.faults.note(self.process, "process", "killed")
        self.died.set()

    def sleep_at(self, awaits: int, seconds: float) -> None:
        """Let the process fall asleep at this await, as with SIGSTOP: its calls neither begin nor return meanwhile."""
        self._sleep = self._awaits + awaits, seconds

    # What befalls a call.

    async def _pass(self, call: str, between: tuple[float, float] | None = None) -> None:
        """One await: it takes a while, and the process may die or sleep in it."""
        loop = asyncio.get_running_loop()
        if self.died.is_set():
            raise asyncio.CancelledError
        self._awaits += 1
        if self._awaits == self._sleep[0]:
            self.faults.note(self.process, call, "asleep")
            self._asleep_until = loop.time() + self._sleep[1]
            self.asleep.set()
        if self._awaits == self._fatal:
            self.faults.note(self.process, call, "dies")
            self.died.set()
            await loop.create_future()  # until who simulates the process cancels it
        await asyncio.sleep(self._drawn(between or self.faults.odds.latency))
        while (left := self._asleep_until - loop.time()) > 0:  # noqa: ASYNC110  # it may fall asleep again meanwhile
            await asyncio.sleep(left)
        if self.died.is_set():
            raise asyncio.CancelledError

    def _drawn(self, between: tuple[float, float]) -> float:
        """A time between two, of which short ones are as likely as long ones."""
        least, most = between
        return least * math.pow(most / least, self.random.random())

    async def _reach(self, call: str) -> Kind | None:
        """Be on the way to the broker; return what is to go wrong with this call from there on.

        Raises:
            BrokerError: If it went wrong already, and nothing was done.
        """
        odds = self.faults.odds
        await self._pass(call, odds.fetching if call == "read" else odds.latency)
        dice, now = self.random.random(), asyncio.get_running_loop().time()
        kind = next((kind for threshold, kind in self._thresholds[call] if dice < threshold), None)
        if kind == "gone":
            self._gone_until = now + self._drawn(odds.gone_for)
        if now < self._gone_until and "gone" in CALLS[call]:
            self.faults.note(self.process, call, "gone")
            if self.random.random() < 0.5:
                raise BrokerError(f"{self.url}: {call}: simulated: the connection is gone")
            await self._pass(call, (self._gone_until - now, self._gone_until - now))
            return None
        if kind == "refused":
            self.faults.note(self.process, call, kind)
            raise BrokerError(f"{self.url}: {call}: simulated: refused")
        return kind

    async def _answer(self, call: str, kind: Kind | None) -> None:
        """Be on the way back."""
        if kind == "late":
            self.faults.note(self.process, call, kind)
            await self._pass(call, self.faults.odds.late_by)
        else:
            await self._pass(call)

    async def _read(self, call: str, do: Callable[[], Awaitable[T]]) -> T:
        """A call that changes nothing: unless its answer is late, all of its time may be before it."""
        kind = await self._reach(call)
        answer = await do()
        if kind == "late":
            await self._answer(call, kind)
        return answer

    async def _write(self, call: str, do: Callable[[], Awaitable[T]]) -> T:
        """A call that changes something: it can go wrong before and after."""
        kind = await self._reach(call)
        answer = await do()
        await self._answer(call, kind)
        if kind == "lost after":
            self.faults.note(self.process, call, kind)
            raise BrokerError(f"{self.url}: {call}: simulated: done, and the answer was lost")
        return answer

    # The contract.

    async def start(self) -> None:
        await self._read("start", _nothing)

    async def stop(self) -> None:
        await self._read("stop", _nothing)

    async def create_topic(self, topic: str, partitions: int = 1, retention: Retention | None = None) -> None:
        await self._write("create_topic", lambda: self._broker.create_topic(topic, partitions, retention))

    async def create_table(self, table: str) -> None:
        await self._write("create_table", lambda: self._broker.create_table(table))

    async def topics(self) -> dict[str, int]:
        return await self._read("topics", self._broker.topics)

    async def append(self, topic: str, records: Sequence[Record], /) -> list[tuple[int, int]]:
        return await self._write("append", lambda: self._broker.append(topic, records))

    async def read(self, topic: str, partition: int, offset: int, /, *, max_records: int, max_bytes: int = 8_000_000) -> Fetched:
        kind = await self._reach("read")
        most = min(max_records, self.random.randint(1, self.faults.odds.most_records)) if kind == "short" else max_records
        got = await self._broker.read(topic, partition, offset, max_records=most, max_bytes=max_bytes)
        if kind == "short" and len(got.offsets) == most < max_records:
            self.faults.note(self.process, "read", kind)
        elif kind == "gap":
            got = self._at_gap(got, offset)
        elif kind == "late":
            await self._answer("read", kind)
        return got

    def _at_gap(self, got: Fetched, asked: int) -> Fetched:
        """What was read, but for what is behind its first gap."""
        if not got.offsets:
            return got
        if got.offsets[0] > asked:
            short = Fetched(got.topic, got.partition, (), (), None, (), None, got.offsets[0])
        elif got.next_offset > got.offsets[-1] + 1:
            short = msgspec.structs.replace(got, next_offset=got.offsets[-1] + 1)
        else:
            return got
        self.faults.note(self.process, "read", "gap")
        return short

    async def wait(self, positions: Mapping[tuple[str, int], int], /, *, timeout: float) -> None:
        kind = await self._reach("wait")
        if kind == "early":
            self.faults.note(self.process, "wait", kind)
            return
        await self._broker.wait(positions, timeout=timeout)
        if kind == "late":
            await self._answer("wait", kind)

    async def start_offsets(self, topic: str, /) -> list[int]:
        return await self._read("start_offsets", lambda: self._broker.start_offsets(topic))

    async def end_offsets(self, topic: str, /) -> list[int]:
        return await self._read("end_offsets", lambda: self._broker.end_offsets(topic))

    async def offsets_at(self, topic: str, timestamp: int, /) -> list[int]:
        return await self._read("offsets_at", lambda: self._broker.offsets_at(topic, timestamp))

    async def record_limit(self, topic: str, /) -> int | None:
        return await self._read("record_limit", lambda: self._broker.record_limit(topic))

    async def read_table(self, table: str, /, *, after: int = 0) -> TableRead:
        return await self._read("read_table", lambda: self._broker.read_table(table, after=after))

    async def committed(self, app: str, /) -> dict[tuple[str, int], int]:
        return await self._read("committed", lambda: self._broker.committed(app))

    async def apps(self) -> list[str]:
        return await self._read("apps", self._broker.apps)

    async def open(self, app: str, task: str, /, *, instance: str) -> SimulatedTask:
        named = f"{instance} ({self.process})"
        return SimulatedTask(self, await self._write("open", lambda: self._broker.open(app, task, instance=named)))


class SimulatedTask:
    """A task's handle beyond the network."""

    def __init__(self, broker: SimulatedBroker, handle: TaskHandle) -> None:
        self._broker, self._handle = broker, handle
        self._closed = False

    async def commit(self, commit: Commit, /) -> None:
        broker, faults = self._broker, self._broker.faults
        if broker.died.is_set():
            raise asyncio.CancelledError
        if self._closed:
            raise BrokerError(f"{broker.url}: commit: this handle was closed; open the task again")
        try:
            kind = await broker._reach("commit")
        except asyncio.CancelledError:
            if broker.random.random() < 0.5:  # who gives up does not know whether the request had left
                self._land(commit)
            raise
        if kind == "lost before":
            faults.note(broker.process, "commit", kind)
        elif kind == "lost on the way":
            self._land(commit)
        else:
            await self._make(commit)
        await broker._answer("commit", kind)
        if kind in ("lost before", "lost after", "lost on the way"):
            if kind == "lost after":
                faults.note(broker.process, "commit", kind)
            raise CommitUnknownError(f"{broker.url}: commit: simulated: the answer was lost")

    async def close(self) -> None:
        # The broker hears nothing of it: a commit that is on its way may still take place.
        self._closed = True
        if not self._broker.died.is_set():
            await self._broker._read("close", _nothing)

    async def _make(self, commit: Commit) -> None:
        try:
            await self._handle.commit(commit)
        except FencedError:
            self._broker.fenced += 1
            self._broker.faults.note(self._broker.process, "commit", "fenced")
            raise

    def _land(self, commit: Commit) -> None:
        """Let a commit take place later, if the task is not opened before."""
        on_the_way = self._broker.faults.on_the_way
        self._broker.faults.note(self._broker.process, "commit", "lost on the way")
        # In a context of its own: it is no longer the process's, and does not die with it.
        landing = asyncio.get_running_loop().create_task(self._landing(commit), context=contextvars.Context())
        on_the_way.add(landing)
        landing.add_done_callback(on_the_way.discard)

    async def _landing(self, commit: Commit) -> None:
        broker, faults = self._broker, self._broker.faults
        await asyncio.sleep(broker._drawn(faults.odds.landing))
        try:
            await self._handle.commit(commit)
        except FencedError:
            faults.note(broker.process, "commit", "fenced on the way")
        else:
            faults.note(broker.process, "commit", "landed")


def _thresholds(call: str, odds: Odds) -> list[tuple[float, Kind]]:
    """What a number between 0 and 1 means for a call: the first kind whose threshold it is below."""
    thresholds: list[tuple[float, Kind]] = []
    for kind in CALLS[call]:
        thresholds.append(((thresholds[-1][0] if thresholds else 0.0) + odds.of(kind, call), kind))
    return thresholds


async def _nothing() -> None:
    """What the broker does for a call that concerns the connection alone."""
