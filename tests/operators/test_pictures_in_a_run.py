"""Every marble picture once more, in a run on a memory broker: read in random pieces, crashed in the middle, and gone on with.

Where a result follows from the input alone, the run's values are those of the subscription, in their order. Where it depends on
how the sources interleave or on the clock, each result comes once.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from inspect import cleandoc
from typing import Any, NamedTuple

import looptime
import msgspec
import pytest
from reactivex.notification import OnError, OnNext

import rxstreams as rxs
from rxstreams import operators as ops
from rxstreams.brokers import Record
from rxstreams.brokers.contract import Fetched
from rxstreams.errors import RxStreamsError
from rxstreams.pictures.marbles import Marbles, pictures_of, read_picture
from tests.runtime.faulty import FaultyBroker
from tests.vocabulary.families import FAMILIES, operators_for, outcome_of

EPOCH = 200_000
"""Milliseconds since the epoch when a picture begins, as in a subscription under TestScheduler."""
SEEDS = 3
NOT_IN_A_RUN = {
    "group_by": "a run refuses it: its groups are Observables that come as values",
    "merge": "with max_concurrent, which a run refuses",
}
LOSSLESS = {"merge", "delay", "buffer_with_time", "buffer_with_time_or_count", "bounded"}
"""Of those that depend on interleaving or clock, what gives every value of its inputs."""


class Case(NamedTuple):
    """A picture of an operator."""

    name: str
    picture: str


def cases() -> Iterator[Case]:
    """Go through the pictures whose inputs do not fail: those of a run do not, their brokers do."""
    for name in ops.__all__:
        further = [p for family in FAMILIES for p in family.PICTURES.get(name, [])]
        for picture in (*map(cleandoc, pictures_of(getattr(ops, name).__doc__)), *further):
            refused = name in NOT_IN_A_RUN and (name != "merge" or "max_concurrent" in picture)
            fails = any(isinstance(what, OnError) for line in read_picture(picture).inputs.values() for _, what in line.events)
            if not refused and not fails:
                yield Case(name, picture)


CASES = list(cases())


class Crash(Exception):
    """The process is gone, as far as the run can tell."""


class Pieces(FaultyBroker):
    """A broker that hands out one to three records at a time, with pauses, and crashes twice at commits in the middle.

    On a loop of virtual time the pauses take none, and elsewhere a millisecond, so that there is time to commit.
    """

    def __init__(self, rng: random.Random, *, pauses: bool) -> None:
        super().__init__(self.commit_or_crash)
        self.rng, self.pauses = rng, pauses
        self.crashes = self.records = 0

    async def read(self, topic: str, partition: int, offset: int, /, *, max_records: int) -> Fetched:
        """Read little, and not at once."""
        await asyncio.sleep(self.rng.choice((0, 0.3, 0.6)) if self.pauses else 0.001)
        return await super().read(topic, partition, offset, max_records=self.rng.randint(1, 3) if offset else 1)

    async def commit_or_crash(self, n: int, make: Callable[[], Any]) -> None:
        """Crash before or right after the commit."""
        read = sum(self.commits[-1].offsets.values())
        crash = self.crashes < 2 and 0 < read < self.records and self.rng.random() < 0.7
        if not crash or self.rng.random() < 0.5:
            await make()
        if crash:
            self.crashes += 1
            raise Crash


class Came(NamedTuple):
    """What a run left: its results as text, the error that it ended with, and how often it crashed on the way."""

    values: list[str]
    error: Exception | None
    crashes: int


async def in_a_run(marbles: Marbles, rng: random.Random, *, pauses: bool) -> Came:
    """Run a picture's operator over topics, from crash to crash."""
    broker, loop = Pieces(rng, pauses=pauses), asyncio.get_running_loop()
    for topic, line in marbles.inputs.items():
        events = [(time, what.value) for time, what in line.events if isinstance(what, OnNext)]
        broker.records += len(events)
        await broker.create_topic(topic)
        for time, value in events:
            await broker.append(topic, [Record(msgspec.json.encode(value), None, EPOCH + int(time * marbles.unit * 1000))])
    error: Exception | None = None
    sources = {topic: rxs.from_topic(topic, until="end") for topic in marbles.inputs}
    stream = next(iter(sources.values())).pipe(*operators_for(marbles.operator, sources))
    out = stream.pipe(ops.to_topic("out", encode=lambda value: repr(value).encode()))
    for _ in range(4):
        try:
            interval = 0.001 if pauses else 1e-9  # after every push
            async with rxs.start(
                out, app="app", broker=broker, commit_interval=interval, clock=lambda: EPOCH + loop.time()
            ) as running:
                await running.wait()
            break
        except Crash:
            continue
        except RxStreamsError as raised:
            error = raised
            break
    end = (await broker.end_offsets("out"))[0] if "out" in await broker.topics() else 0
    values: list[str] = []
    while len(values) < end:
        values += [value.decode() for value in (await broker.read("out", 0, len(values), max_records=9)).values if value]
    return Came(values, error, broker.crashes)


def dependence(case: Case) -> str | None:
    """What the operator's result depends on beside its input, with the arguments that it has in the picture."""
    marbles = read_picture(case.picture)
    sources = {topic: rxs.from_topic(topic) for topic in marbles.inputs}
    stream: Any = next(iter(sources.values())).pipe(*operators_for(marbles.operator, sources))
    while stream.operation.kind not in (case.name, "from_topic"):
        stream = stream.inputs[0]
    depends_on: str | None = stream.operation.depends_on
    return depends_on


def run(case: Case, seed: int) -> Came:
    """Run a picture; what depends on the clock on a loop whose time is not waited for."""
    clocked = dependence(case) == "clock"
    work = in_a_run(read_picture(case.picture), random.Random(f"{case.picture}{seed}"), pauses=clocked)
    with asyncio.Runner(loop_factory=(lambda: looptime.new_event_loop(start=0)) if clocked else None) as runner:
        return runner.run(work)


@pytest.mark.parametrize("case", CASES, ids=[f"{case.name}-{i}" for i, case in enumerate(CASES)])
def test_a_picture_holds_in_a_run_that_crashes(case: Case) -> None:
    """The run's results are the subscription's, or each comes once, whatever the pieces and crashes."""
    marbles, outcome = read_picture(case.picture), outcome_of(case.picture)
    depends_on = dependence(case)
    expected = [repr(what.value) for _, what in outcome.actual if isinstance(what, OnNext)]
    fails = isinstance(outcome.actual[-1][1], OnError) if outcome.actual else False
    given = [repr(what.value) for line in marbles.inputs.values() for _, what in line.events if isinstance(what, OnNext)]
    for seed in range(SEEDS):
        came = run(case, seed)
        if depends_on is None:
            assert came.values == expected if not fails else came.values == expected[: len(came.values)]
            assert (came.error is not None) == fails, came.error
            continue
        parts = Counter(part for value in came.values for part in _parts(value))
        assert came.error is None or fails
        if case.name in LOSSLESS:
            assert parts == Counter(given)
        else:
            assert parts.keys() <= {*given, *(part for value in expected for part in _parts(value))}
            assert len(came.values) <= len(given) + len(expected)
        if len(set(given)) == len(given):
            assert [value for value, n in Counter(came.values).items() if n > 1 and value != "[]"] == []


def _parts(value: str) -> list[str]:
    """What a list or tuple is made of; of another value itself."""
    found = eval(value)
    return list(map(repr, found)) if isinstance(found, list | tuple) else [value]


def test_the_runs_crash_in_the_middle() -> None:
    """Of the runs of pictures with three records or more, more than half crash between two of them, a fifth twice."""
    crashes = [
        run(case, seed).crashes
        for case in CASES
        if not isinstance((outcome_of(case.picture).actual or [(0, None)])[-1][1], OnError)
        and sum(isinstance(what, OnNext) for line in read_picture(case.picture).inputs.values() for _, what in line.events) > 2
        for seed in range(SEEDS)
    ]
    assert len(crashes) > 100
    assert sum(n > 0 for n in crashes) > 0.5 * len(crashes)
    assert sum(n > 1 for n in crashes) > 0.2 * len(crashes)
