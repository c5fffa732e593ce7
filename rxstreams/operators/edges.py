"""Bounded edges: where records wait, how many may, and what becomes of the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Sequence
from heapq import heappop, heappush
from itertools import islice, repeat, takewhile
from typing import Any, Final, Literal

from rxstreams.batch import Batch
from rxstreams.errors import ConfigError
from rxstreams.operators.arguments import check_count, check_savable
from rxstreams.operators.holding import Holding
from rxstreams.state.keys import internal, original
from rxstreams.stream import LOST, UNBOUNDED, Pace
from rxstreams.watermarks import END

__all__ = ["Edge", "Held", "Overflow", "check_edge"]

Overflow = Literal["block", "drop_oldest", "drop_newest", "latest", "fail"]
"""What becomes of a record for which an edge has no room.

``block``: it does not come, as nobody asks the source for it. ``drop_oldest`` and ``drop_newest`` let go of the record that has
waited longest, or of the new one; ``latest`` of all that wait. ``fail``: it fails, and meets the policy for failing records.
"""
OVERFLOWS: Final = ("block", "drop_oldest", "drop_newest", "latest", "fail")


def check_edge(where: str, capacity: Any, overflow: Any, *, busy: int = 0) -> None:
    """See that these are a capacity and a policy; ``busy`` is how many of what the edge holds cannot be dropped.

    Raises:
        ConfigError: If not.
    """
    check_count(f"{where}(capacity)", capacity, least=1)
    if overflow not in OVERFLOWS:
        raise ConfigError(f"{where}(overflow): expected one of {', '.join(map(repr, OVERFLOWS))}, got {overflow!r}")
    if overflow in ("drop_oldest", "latest") and capacity <= busy:
        raise ConfigError(
            f"{where}(capacity): {overflow!r} drops what waits, and of {capacity} all may be called at once "
            f"(concurrency={busy}); expected at least {busy + 1}"
        )


WAITING, BEGUN, DONE, GONE = range(4)


class Held:
    """A record that waits.

    Attributes:
        number: Counts the edge's records.
        value, time, key: The record; ``key`` is internal.
        place: Its order number in the push that brought it, and
        origin: that push, for the messages of failures; None after a restart.
        stage: Whether it waits, somebody has begun with it, so that it cannot be dropped, ``outcome`` is there, or it was dropped
            while it stood in a queue.
        ident: What names it to the outside, in all attempts, where that is asked for.
    """

    __slots__ = ("ident", "key", "number", "origin", "outcome", "place", "stage", "time", "value")
    outcome: Any
    ident: str | None

    def __init__(self, number: int, value: Any, time: int | None, key: Hashable, place: float | None, origin: Any) -> None:
        self.number, self.value, self.time, self.key = number, value, time, key
        self.place, self.origin = place, origin
        self.stage = WAITING

    def alone(self) -> Batch:
        """It, as a batch of one, as it came."""
        place = None if self.place is None else (self.place,)
        return Batch((self.value,), None if self.time is None else (self.time,), None, place)


class Edge(Holding):
    """A node in which records wait until they are let go; what waits at a commit is saved, an entry each, under its number.

    Most come and go between two commits, so they are put into ``states`` right before one. The watermark stays behind what
    waits. A full edge asks for more only when no more than ``resume_at`` wait, so that it gets many at once.

    Args:
        capacity: How many may wait; what one record or timer makes above comes on top.
        overflow: What becomes of a record when it is full.
        resume_at: How few must wait before a full edge asks for more.
        on_full: Called each time that it becomes full.
    """

    locked = True
    absorbs = True
    gives_when_it_can = True
    fans_out = True

    def __init__(
        self, capacity: int, overflow: Overflow, resume_at: int | None = None, on_full: Callable[[], Any] | None = None
    ) -> None:
        super().__init__()
        self.capacity, self.overflow = capacity, overflow
        self.resume_at = capacity // 2 if resume_at is None else resume_at
        self.on_full = on_full
        self.held: dict[int, Held] = {}
        self.times: list[tuple[int, int]] = []
        self.next = self.most = self.pauses = self.dropped = 0
        self.full = self.ended = self.heeded = False
        self.savable: set[type] = set()
        self.emptied = asyncio.Event()
        self.emptied.set()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.draining: asyncio.Task[None] | None = None

    def start(self) -> None:
        super().start()
        try:
            self.loop = asyncio.get_running_loop()
        except RuntimeError:
            self.loop = None
        numbers = sorted(one for one in self.states if isinstance(one, int))
        self.next = numbers[-1] + 1 if numbers else 0
        self.hold([self.restored(number, *self.states[number]) for number in numbers])
        self.note()

    def restored(self, number: int, value: Any, time: int | None, key: Any) -> Held:
        """A record that waited at the last commit."""
        return Held(number, value, time, internal(key) if self.host.keyed else None, None, None)

    def saved(self, one: Held) -> tuple[Any, ...]:
        """What ``restored`` is given of it."""
        return one.value, one.time, original(one.key) if self.host.keyed else None

    @property
    def backlog(self) -> int:
        return len(self.held)

    def room(self, port: int = 0) -> int:
        if self.overflow != "block":
            return UNBOUNDED
        return 0 if self.full else self.capacity - len(self.held)

    def paced(self, beyond: Pace | None) -> Pace | None:
        return Gate(self, None if self.absorbs else beyond) if self.overflow == "block" else None

    def free(self) -> int:
        """How many may go out now."""
        beyond = self.host.beyond
        if beyond is None:
            return self.host.room()
        return 0 if beyond.full else 1

    # What comes.

    def take(self, b: Batch, start: int = 0) -> None:
        """Have the records of a batch wait, from ``start`` on, as far as the policy lets them."""
        ones = self.records(b.cut(start) if start else b)
        excess = len(self.held) + len(ones) - self.capacity
        if excess <= 0 or self.trusts:
            self.hold(ones)
        elif self.overflow in ("block", "fail"):
            self.hold(ones[: max(0, len(ones) - excess)])
            self.note()
            self.overflows(ones[max(0, len(ones) - excess) :])
        else:
            self.choose(ones, excess)
        self.note()

    def choose(self, ones: list[Held], excess: int) -> None:
        """Let go of what the policy says, so that the others of ``ones`` may wait."""
        waiting = [] if self.overflow == "drop_newest" else [one for one in self.held.values() if one.stage == WAITING]
        places = self.capacity - len(self.held) + len(waiting)
        pool = waiting + ones
        if self.overflow == "drop_newest":
            going = ones[places:]
        elif self.overflow == "drop_oldest":
            going = pool[:excess]
        else:
            # All that wait give way each time that there is no place for the next.
            kept = 0 if places == 0 else (len(pool) - 1) % places + 1 if len(pool) > places else len(pool)
            going = pool[: len(pool) - kept]
        for one in going:
            one.stage = GONE
        self.let_go(one for one in going if one.number in self.held)
        self.purge()
        self.hold([one for one in ones if one.stage != GONE])
        self.dropped += len(going)
        self.host.aside("dropped", self.batch_of(going))

    def purge(self) -> None:
        """Forget what is ``GONE``."""

    def records(self, b: Batch) -> list[Held]:
        """The records of a batch, one by one; in a run they must be savable."""
        for kind in (set(map(type, b.values)) - self.savable) if self.host.durable else ():
            check_savable(self, next(value for value in b.values if type(value) is kind))
            self.savable.add(kind)
        first, origin = self.next, repeat(self.host.origin())
        self.next += len(b)
        columns = [column or repeat(None) for column in (b.times, b.keys, b.order)]
        return list(map(Held, range(first, self.next), b.values, *columns, origin))

    @property
    def trusts(self) -> bool:
        """Whether those above ask for room before they emit, so that what comes beyond it is what one record has made."""
        return self.overflow == "block" and (self.heeded or self.host.durable)

    def hold(self, ones: Sequence[Held]) -> None:
        """Have records wait from now on."""
        self.held.update(zip([one.number for one in ones], ones, strict=True))
        if self.host.wants_time:
            for one in ones:
                heappush(self.times, (one.time or 0, one.number))

    def overflows(self, ones: Iterable[Held]) -> None:
        """Records fail because there is no room for them."""
        why = "" if self.overflow == "fail" else ", and this kind of source cannot be slowed: choose what to drop (overflow=…)"
        for one in ones:
            error = BufferError(f"{self.capacity} records wait already (capacity={self.capacity}){why}")
            self.host.failed(error, one.alone(), 0, None)

    # What goes.

    def let_go(self, ones: Iterable[Held]) -> None:
        """Records do not wait any more, in memory and in the next commit."""
        for one in ones:
            del self.held[one.number]
            if self.states.pop(one.number, LOST) is not LOST:
                self.dirty.add(one.number)

    def batch_of(self, ones: Sequence[Held], values: Sequence[Any] | None = None) -> Batch:
        """Records that waited as a batch of now, or other values with their times and keys."""
        keys = [one.key for one in ones] if self.host.keyed else None
        times = [one.time or 0 for one in ones]
        b = self.host.fresh([one.value for one in ones] if values is None else values, times, keys)
        return b.marked(b.marks and [self.told] * len(b))

    def settle(self) -> None:
        """After records have gone: pass time on, and the end when nothing waits."""
        self.tell_anew()
        if self.ended and not self.held:
            self.finish()

    def note(self) -> None:
        """Say when the edge becomes full, and when it asks for more again."""
        waiting = len(self.held)
        self.most = max(self.most, waiting)
        if not self.full and waiting >= self.capacity:
            self.full = True
            self.pauses += 1
            self.emptied.clear()
            self.host.pressure(full=True)
            if self.on_full is not None:
                try:
                    self.on_full()
                except Exception as error:
                    self.fail(error)
        elif self.full and waiting <= self.resume_at:
            self.full = False
            self.emptied.set()
            self.host.pressure(full=False)
        if not self.full:
            self.host.made_room()

    def least(self) -> int:
        times = self.times
        while times and times[0][1] not in self.held:
            heappop(times)
        return times[0][0] if times else END

    # In a subscription what waits goes on when those below have room; a run looks by itself.

    def drain(self) -> None:
        """See to it that what has its turn goes on when it can."""
        if self.host.beyond is not None and self.loop is not None:
            self.loop.call_soon_threadsafe(self._begin_draining)

    def has_turn(self) -> bool:
        """Whether something could go out if there were room."""
        return bool(self.held)

    def _begin_draining(self) -> None:
        if self.has_turn() and (self.draining is None or self.draining.done()):
            assert self.loop is not None
            self.draining = self.loop.create_task(self._drain())

    async def _drain(self) -> None:
        beyond = self.host.beyond
        assert beyond is not None
        while self.has_turn():
            await beyond.room()
            self.host.post(self.give_more, None)

    def cut(self) -> None:
        for number in self.held.keys() - self.states.keys():
            self.states[number] = self.saved(self.held[number])
            self.dirty.add(number)

    def end(self, port: int, at: float | None = None) -> None:
        self.ended = True
        if not self.held:
            self.finish(at)

    @property
    def moving(self) -> bool:
        """Whether something waits that goes on by itself, when a call ends or its time comes."""
        return False

    @property
    def patient(self) -> bool:
        """Whether what it waits for comes by itself, however long that takes."""
        return False

    def close(self) -> None:
        if self.draining is not None:
            self.draining.cancel()


class Gate:
    """In a subscription: what a source heeds before it emits on."""

    def __init__(self, edge: Edge, beyond: Pace | None) -> None:
        self.edge, self.beyond = edge, beyond

    @property
    def full(self) -> bool:
        """Whether there is no room, here or, where the edge passes on what it holds, further down."""
        self.edge.heeded = True  # who asks before each record may come with all that the record makes
        return self.edge.room() <= 0 or (self.beyond is not None and self.beyond.full)

    async def room(self) -> None:
        """Return when there is room again."""
        while self.full:
            if self.edge.room() > 0 and self.beyond is not None:
                await self.beyond.room()
            else:
                await self.edge.emptied.wait()


def first(ones: Iterable[Held], most: int) -> list[Held]:
    """The first of these that are done, without a gap, ``most`` of them at most."""
    return list(takewhile(_is_done, islice(ones, most)))


def _is_done(one: Held) -> bool:
    return one.stage == DONE
