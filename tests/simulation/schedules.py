"""Schedules: one seed decides what comes when, which instances of the app live and die, and what goes wrong at every call.

``python -m tests.simulation.schedules SEED`` runs one, and prints what went wrong in it.
"""

import asyncio
import gc
import logging
import sys
import traceback
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from random import Random
from typing import Any, NamedTuple

import msgspec
import structlog

import rxstreams as rxs
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import BrokerError
from rxstreams.testing.brokers import Faults, Injected, Odds, SimulatedBroker
from tests.simulation.app import APP, BEGAN, INPUTS, RECORDS, How, Input, Outcome, folded, input_of, outcome, pipeline, state
from tests.simulation.history import History
from tests.simulation.processes import Process, simulated

ODDS = Odds()
FATES = ("dies", "dies", "is killed", "is stopped", "is succeeded", "is succeeded", "sleeps", "sleeps")
FATED = (2, 4)
"""How many instances (at least, at most) meet a fate before those that are left alone."""


class Worked(NamedTuple):
    """A schedule that has ended: how often what happened, and all of it in order."""

    counts: Counter[tuple[str, str]]
    ends: Counter[str]
    log: list[Injected]
    epochs: int
    wrong: list[str]

    def lines(self) -> list[str]:
        """What went wrong, in order; then what must not have happened."""
        told = [f"{one.time:12.6f}  {one.process:12}  {one.call:14}  {one.kind}" for one in self.log]
        return [*told, f"{self.epochs} epochs; instances {dict(self.ends)}", *self.wrong]


class Expected(NamedTuple):
    """What an input comes to in memory, where nothing goes wrong: state before the end, and what is there after it."""

    state: dict[Any, Any]
    outcome: Outcome


@cache
def expected(number: int, records: int = RECORDS) -> Expected:
    """What the ``number``-th input must come to."""
    given = input_of(number, records)

    async def main() -> Expected:
        broker, clock = MemoryBroker(), asyncio.get_running_loop().time
        await broker.create_topic("in", len(given.partitions))
        for records in given.partitions:
            await broker.append("in", records)
        ends = {("in", partition): end for partition, end in enumerate(await broker.end_offsets("in"))}
        async with rxs.start(*pipeline("on"), app=APP, broker=broker, clock=lambda: BEGAN / 1000 + clock()):
            async with asyncio.timeout(60):
                while await broker.committed(APP) != ends:  # noqa: ASYNC110  # a broker has no event for it
                    await asyncio.sleep(0.1)
        before = await state(broker)
        async with rxs.start(*pipeline("to the end"), app=APP, broker=broker, clock=lambda: BEGAN / 1000 + clock()) as running:
            await running.wait()
        return Expected(before, await outcome(broker))

    found = simulated(main())
    out, totals = folded(given)
    assert found.outcome.topics["out"] == out, "without any fault the engine's output is wrong"
    rows = {key: msgspec.json.decode(value) for key, value in found.outcome.view.items()}
    assert sorted((row["n"], row["total"]) for row in rows.values()) == sorted(totals.values()), "so are its totals"
    return found


class EndedEarlyError(Exception):
    """Raised when something is wrong, so that the rest need not be looked at."""


class Schedule:
    """What one seed decides."""

    def __init__(self, seed: int, *, odds: Odds = ODDS, records: int = RECORDS) -> None:
        self.seed = seed
        self.dice = Random(f"schedule {seed}")
        self.given: Input = input_of(seed % INPUTS, records)
        self.expected = expected(seed % INPUTS, records)
        self.store = History()
        self.faults = Faults(seed, odds)
        self.commit_interval = self.dice.choice((0.01, 0.02, 0.05))
        self.ends: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.instances = 0
        self.appended = self.observing = False

    async def run(self) -> None:
        """Go through it."""
        left = [self.dice.randrange(len(records)) for records in self.given.partitions]
        await self.fill(left)
        outside = [asyncio.ensure_future(self.produce(left)), asyncio.ensure_future(self.observe())]
        for _ in range(self.dice.randint(*FATED)):
            await self.meet_fate()
        await self.come_to_end(*outside)

    async def fill(self, left: list[int]) -> None:
        """Append the input, but for what is left of each partition."""
        await self.store.create_topic("in", len(self.given.partitions))
        for records, rest in zip(self.given.partitions, left):
            await self.store.append("in", records[: len(records) - rest])
        self.appended = not any(left)

    async def come_to_end(self, *outside: asyncio.Future[None]) -> None:
        """Let the app work all of the input off and finish; then look at everything."""
        await self.work_off()
        self.wrong += _differences("state", await state(self.store), self.expected.state)
        await self.finish()
        self.observing = False
        await asyncio.gather(*outside)
        await self.faults.landed()
        await self.check_end()

    # The world outside.

    async def produce(self, left: list[int]) -> None:
        """Append what is left of each partition, in pieces, from a process of its own."""
        broker = SimulatedBroker(self.store, self.faults, "producer")
        while some := [partition for partition, rest in enumerate(left) if rest]:
            partition = self.dice.choice(some)
            records = self.given.partitions[partition]
            piece = records[len(records) - left[partition] :][: self.dice.randint(1, 400)]
            await insisting(lambda piece=piece: broker.append("in", piece))
            left[partition] -= len(piece)
            await asyncio.sleep(self.dice.uniform(0.0, 0.1))
        self.appended = True

    async def observe(self) -> None:
        """Look from outside, as a dashboard does: totals never fall, nor do committed offsets."""
        broker = SimulatedBroker(self.store, self.faults, "observer")
        view = rxs.view(APP, "totals", broker=broker)
        totals: dict[Any, int] = {}
        committed: dict[tuple[str, int], int] = {}
        self.observing = True
        while self.observing:
            with suppress(BrokerError):
                for key, row in await view.refresh():
                    if row["n"] < totals.get(key, 0):
                        self.wrong.append(f"the published total of {key!r} fell from {totals[key]} to {row['n']}")
                    totals[key] = row["n"]
                after = await broker.committed(APP)
                if any(after.get(one, 0) < before for one, before in committed.items()):
                    self.wrong.append(f"committed offsets went back from {committed} to {after}")
                committed = after
                ends = await broker.end_offsets("in")
                if await broker.offsets_at("in", 2**62) < ends or any(ends[p] < offset for (_, p), offset in after.items()):
                    self.wrong.append(f"{after} was committed, and the topic ends at {ends}")
                if not set(await broker.apps()) <= {APP}:
                    self.wrong.append("an app is registered that was never started")
            await asyncio.sleep(self.dice.uniform(0.2, 2.0))
        await broker.stop()

    # Lives and deaths.

    def begin(self, how: How = "on") -> Process:
        """Start one more instance."""
        self.instances += 1
        broker = SimulatedBroker(self.store, self.faults, f"instance {self.instances}")
        return Process(self.store, broker, how, commit_interval=self.commit_interval)

    async def gone(self, process: Process) -> str:
        """Return when an instance has ended, and take in what it says of itself."""
        end = await process.over
        self.ends[end] += 1
        self.ends["restarted inside"] += process.restarts
        self.wrong += process.wrong
        if process.late:
            self.wrong.append(f"{process.broker.process} thinks that {process.late} records came too late")
        if self.wrong or self.store.wrong:
            raise EndedEarlyError
        return end

    async def meet_fate(self) -> None:
        """Start an instance, and let something happen to it: at an await of its calls, or at some time, often while it begins."""
        process = self.begin(self.dice.choice(("on", "on", "to the present end")))
        fate, early = self.dice.choice(FATES), self.dice.random() < 0.5
        if fate == "dies":
            process.broker.die_at(self.dice.randint(1, 20 if early else 200))
            await process.over
        elif fate == "sleeps":
            process.broker.sleep_at(self.dice.randint(1, 6 if early else 60), self.dice.uniform(0.2, 12.0))
            asleep = asyncio.ensure_future(process.broker.asleep.wait())
            await asyncio.wait([process.over, asleep], timeout=5.0, return_when=asyncio.FIRST_COMPLETED)
            asleep.cancel()
        else:
            await asyncio.wait([process.over], timeout=0.01 * 200 ** self.dice.random())
        if process.end is None and fate in ("sleeps", "is succeeded"):
            await self.one_left(process, self.begin())
            return
        if process.end is None:
            self.send(process, fate)
        await self.gone(process)

    def send(self, process: Process, fate: str) -> None:
        """Send it a signal: SIGKILL, or SIGTERM."""
        if fate == "is killed":
            process.broker.kill()
        else:
            process.stop()

    async def one_left(self, older: Process, newer: Process, *, works_on: float = 0.0) -> None:
        """Return when only one of two is left, which works on for some seconds, and gets a signal. It may be either: the older
        opens the task again if it was in doubt about a commit.
        """
        await asyncio.wait([older.over, newer.over], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(works_on)
        for one in (older, newer):
            if one.end is None:
                self.send(one, self.dice.choice(("is killed", "is stopped")))
        await self.gone(older)
        await self.gone(newer)

    async def work_off(self) -> None:
        """Let instances work, each begun when the last has failed, until all input is committed."""
        process = self.begin()
        while not (self.appended and self.store.offsets == await self.input_ends()):
            if process.end is not None:
                await self.gone(process)
                process = self.begin()
            await asyncio.sleep(0.1)
        process.stop()
        await self.gone(process)

    async def finish(self) -> None:
        """Let instances work that know where the input ends, until one has finished; the first may die at that."""
        process = self.begin("to the end")
        process.broker.die_at(self.dice.randint(1, 100))
        await self.gone(process)
        while True:
            process = self.begin("to the end")
            if await self.gone(process) == "finished":
                break
        self.wrong += _differences("the last instance's view", process.view(), self.expected.outcome.view)

    # What must be so in the end.

    async def input_ends(self) -> dict[tuple[str, int], int]:
        """Where the input ends."""
        return {("in", partition): end for partition, end in enumerate(await self.store.end_offsets("in"))}

    async def check_end(self) -> None:
        """Compare what is there with what must be there."""
        found = await outcome(self.store)
        for topic, values in self.expected.outcome.topics.items():
            self.wrong += _differences(f"topic {topic}", found.topics[topic], values)
        self.wrong += _differences("the published view", found.view, self.expected.outcome.view)
        self.wrong += _differences("committed offsets", await self.store.committed(APP), await self.input_ends())
        left = asyncio.all_tasks() - {asyncio.current_task()}
        self.wrong += [f"a task is left: {task.get_coro()}" for task in left]


def _differences(what: str, found: dict[Any, Any], wanted: dict[Any, Any]) -> list[str]:
    """Where two dicts differ; the first of it."""
    if found == wanted:
        return []
    key = next(key for key in (*wanted, *found) if found.get(key) != wanted.get(key))
    mine, right = found.get(key), wanted.get(key)
    if isinstance(mine, list) and isinstance(right, list):
        at = next((i for i, (one, other) in enumerate(zip(mine, right)) if one != other), min(len(mine), len(right)))
        return [f"{what}: of {key!r} expected {len(right)} values, got {len(mine)}; from number {at} on {right[at:at + 3]}, "
                f"got {mine[at:at + 3]}"]  # fmt: skip
    return [f"{what}: expected {key!r} to be {right!r}, got {mine!r}"]


async def insisting(call: Any) -> None:
    """Try until it succeeds."""
    while True:
        try:
            await call()
            return
        except BrokerError:
            await asyncio.sleep(0.05)


@contextmanager
def hushed() -> Iterator[None]:
    """Without the warnings of restarts, which are meant here; and with as many collections of garbage as a run has."""
    config, thresholds = structlog.get_config(), gc.get_threshold()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    gc.set_threshold(50_000, 20, 100)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        structlog.configure(**config)


def worked(seed: int) -> Worked:
    """Run the schedule of a seed; what was wrong is in what it returns."""
    schedule = Schedule(seed)
    return told(schedule, schedule.run())


def told(schedule: Schedule, work: Coroutine[Any, Any, None]) -> Worked:
    """Run a schedule, or a part of it, within ten virtual minutes."""

    async def bounded() -> None:
        async with asyncio.timeout(600):
            await work

    try:
        simulated(bounded())
    except EndedEarlyError:
        pass
    except Exception as error:
        schedule.wrong.append(f"it ended with {error!r}\n{''.join(traceback.format_exception(error))}")
    wrong = schedule.wrong + schedule.store.wrong
    return Worked(schedule.faults.counts, schedule.ends, schedule.faults.log, schedule.store.epoch, wrong)


if __name__ == "__main__":
    with hushed():
        done = worked(int(sys.argv[1]))
    print(*done.lines(), sep="\n")
