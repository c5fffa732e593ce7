"""The processes that the crash tests start, kill, fence and load: ``worker.py JOB URL …`` does one job on a SQLite file."""

import asyncio
import json
import mmap
import struct
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

import rxstreams as rxs
from rxstreams import aggregates as agg, operators as ops
from rxstreams.brokers import Commit, Record
from rxstreams.brokers.sqlite import SqliteBroker, SqliteTask

GAP = 50_000
"""Milliseconds of event time after which a user's session is over."""
COUNTER = struct.Struct("<q")


class Event(msgspec.Struct):
    """An input record: the ``seq``-th of ``part``, at ``at`` seconds."""

    part: str
    seq: int
    user: str
    amount: int
    at: int


class Sessions:
    """Count a user's records up to a pause of ``GAP`` ms, whatever the watermark says meanwhile."""

    def open(self) -> list[int]:
        """No record yet: [records, first, last]."""
        return [0, 0, 0]

    def process(self, state: list[int], key: str, event: Event, time: int, ctx: Any) -> None:
        """Begin or prolong the session."""
        if state[0] and time >= state[2] + GAP:
            self.tell(state, key, ctx)
        if not state[0]:
            state[1] = time
        ctx.clear_timer(state[2] + GAP)
        state[0], state[2] = state[0] + 1, time
        ctx.set_timer(time + GAP)

    def on_timer(self, state: list[int], key: str, time: int, ctx: Any) -> None:
        """The pause was long enough."""
        self.tell(state, key, ctx)
        ctx.forget()

    def tell(self, state: list[int], key: str, ctx: Any) -> None:
        """Emit the session, and be without one."""
        ctx.emit((key, state[0], state[1], state[2]))
        state[0] = 0


def counted(path: str, delay: float) -> Callable[[Event], bool]:
    """A predicate that counts in a shared file what it has seen, so that a test can tell how far a killed process was.

    It takes ``delay`` seconds for each record: a slow pipeline has more epochs in as many records.
    """
    with Path(path).open("r+b") as file:
        shared = mmap.mmap(file.fileno(), COUNTER.size)
    seen = 0

    def keep(event: Event) -> bool:
        nonlocal seen
        seen += 1
        COUNTER.pack_into(shared, 0, seen)
        if delay:
            time.sleep(delay)
        return event.seq % 10 != 3

    return keep


def pipeline(progress: str, delay: float) -> list[rxs.Stream[Any]]:
    """One of everything, over the topic ``in``."""
    events = rxs.from_topic("in", Event, timestamp="at", until="end")
    kept = events.pipe(ops.filter(counted(progress, delay)))
    out = kept.pipe(ops.map(lambda e: [e.part, e.seq]), ops.to_topic("out"))
    totals = kept.pipe(
        ops.key_by("user"),
        ops.aggregate(n=agg.count(), total=agg.sum("amount"), least=agg.min("amount"), most=agg.max("amount")),
        ops.to_view("totals", publish=True),
    )
    digests = kept.pipe(ops.scan(lambda digest, e: (digest * 31 + e.amount) % 1_000_003, 7), ops.to_topic("digests"))
    users = kept.pipe(ops.distinct(lambda e: e.user), ops.map(lambda e: e.user), ops.to_topic("users"))
    sevens = kept.pipe(ops.map(lambda e: e.amount), ops.buffer_with_count(7), ops.to_topic("sevens"))
    sessions = kept.pipe(ops.key_by("user"), ops.process(Sessions()), ops.to_topic("sessions", key=lambda _: None))
    even = kept.pipe(ops.filter(lambda e: e.seq % 2 == 0), ops.map(lambda e: ["even", e.part, e.seq]))
    diamond = kept.pipe(ops.map(lambda e: ["each", e.part, e.seq]), ops.merge(even), ops.to_topic("diamond"))
    return [out, totals, digests, users, sevens, sessions, diamond]


def everything(url: str, progress: str, delay: str) -> None:
    """Run the pipeline of everything to the end of ``in``."""
    rxs.run(*pipeline(progress, float(delay)), app="everything", broker=url, commit_interval=0.01)


def follow(url: str, delay: str) -> None:
    """Copy ``in`` to ``out`` for ever, and take ``delay`` seconds for each record."""
    pause = float(delay)
    copied = rxs.from_topic("in", Event).pipe(
        ops.to_callable(lambda e: time.sleep(pause)), ops.map(lambda e: [e.part, e.seq]), ops.to_topic("out")
    )
    totals = rxs.from_topic("in", Event).pipe(
        ops.key_by("user"), ops.aggregate(n=agg.count()), ops.to_view("totals", publish=True)
    )
    rxs.run(copied, totals, app="follow", broker=url, commit_interval=0.02)


def stuck(url: str) -> None:
    """Get stuck at a record, in a plain function that never returns."""

    def forever(event: Event) -> None:
        if event.seq == 2_500:
            print("stuck", flush=True)
            time.sleep(3600)

    rxs.run(rxs.from_topic("in", Event).pipe(ops.to_callable(forever)), app="stuck", broker=url)


def bounded(url: str, finish: str) -> None:
    """Buffer what is in ``in`` now; ``finish`` is 1 if that is all that will ever come, 0 if the run only stops there."""
    events = rxs.from_topic("in", Event, until="end", finish=finish == "1")
    sevens = events.pipe(ops.map(lambda e: e.seq), ops.buffer_with_count(7), ops.to_topic("sevens"))
    rxs.run(sevens, app="bounded", broker=url)


class Clock:
    """When a process last wrote, the longest that a write took, and the longest pause between two."""

    def __init__(self) -> None:
        self.last = time.monotonic()
        self.writes, self.longest, self.pause = 0, 0.0, 0.0

    def wrote(self, began: float) -> None:
        """A write that began then is durable now."""
        now = time.monotonic()
        self.writes += 1
        self.longest, self.pause = max(self.longest, now - began), max(self.pause, now - self.last)
        self.last = now

    def told(self, **more: Any) -> None:
        """Print the figures, as the process's last words."""
        print(json.dumps({"writes": self.writes, "longest": self.longest, "pause": self.pause, **more}))


class TimedBroker(SqliteBroker):
    """An SQLite broker whose tasks' commits are timed."""

    async def open(self, app: str, task: str, /, *, instance: str) -> SqliteTask:
        """Open a task whose commits the clock sees."""
        handle = await super().open(app, task, instance=instance)
        self.times = Clock()
        commit = handle.commit

        async def timed(change: Commit, /) -> None:
            began = time.monotonic()
            await commit(change)
            self.times.wrote(began)

        handle.commit = timed  # type: ignore[method-assign]
        return handle


def shop(path: str, seconds: str) -> None:
    """Append orders, 32 posts at a time as concurrent clients do, until the time is up."""

    async def main() -> None:
        broker = SqliteBroker(path)
        await broker.start()
        clock, until, acknowledged = Clock(), time.monotonic() + float(seconds), 0

        async def client(number: int) -> None:
            nonlocal acknowledged
            turn = 0
            while time.monotonic() < until:
                event = Event(f"c{number}", turn, f"user-{(number * 7 + turn) % 500}", turn % 90 + 10, turn)
                began = time.monotonic()
                await broker.append("in", [Record(msgspec.json.encode(event), event.user.encode())])
                clock.wrote(began)
                acknowledged += 1
                turn += 1
                await asyncio.sleep(0.002)

        await asyncio.gather(*(client(number) for number in range(32)))
        await broker.append("in", [Record(msgspec.json.encode(Event("end", 0, f"end-{i}", 0, 0)), b"%d" % i) for i in range(64)])
        await broker.stop()
        clock.told(acknowledged=acknowledged)

    asyncio.run(main())


def consume(path: str, app: str) -> None:
    """Keep totals of ``in`` and copy its records to ``{app}.out`` until every ``end`` record has come."""

    async def main() -> None:
        broker = TimedBroker(Path(path))
        await broker.start()
        events = rxs.from_topic("in", Event)
        orders = events.pipe(ops.filter(lambda e: e.part != "end"))
        totals = orders.pipe(ops.aggregate(n=agg.count(), total=agg.sum("amount")), ops.to_view("all", publish=True))
        users = orders.pipe(ops.key_by("user"), ops.aggregate(n=agg.count()), ops.to_view("users", publish=True))
        copied = orders.pipe(ops.map(lambda e: [e.part, e.seq]), ops.to_topic(f"{app}.out"))
        ends = events.pipe(ops.filter(lambda e: e.part == "end"), ops.scan(lambda n, e: n + 1, 0), ops.to_view("ends"))
        async with rxs.start(totals, users, copied, ends, app=app, broker=broker, commit_interval=0.1) as running:
            view = running.view("ends")
            while view.get(None, 0) < 64:  # noqa: ASYNC110  # a view has no event to wait for
                await asyncio.sleep(0.05)
            seen, restarts = running.statistics.records, running.statistics.restarts
        await broker.stop()
        broker.times.told(records=seen, restarts=restarts)

    asyncio.run(main())


def watch(path: str, app: str, seconds: str) -> None:
    """Poll a published view: totals never fall, and a row's fields always belong together."""

    async def main() -> None:
        clock, polls, totals = Clock(), 0, [0]
        until = time.monotonic() + float(seconds)
        async with rxs.view(app, "all", broker=f"sqlite:///{path}") as view:
            while time.monotonic() < until:
                began = time.monotonic()
                row = await view.get(None)
                clock.wrote(began)
                if row is not None:
                    totals.append(row["n"])
                polls += 1
                await asyncio.sleep(0.01)
        clock.told(falls=sum(after < before for before, after in pairwise(totals)), last=totals[-1])

    asyncio.run(main())


JOBS: dict[str, Callable[..., None]] = {job.__name__: job for job in (everything, follow, stuck, bounded, shop, consume, watch)}

if __name__ == "__main__":
    JOBS[sys.argv[1]](*sys.argv[2:])
