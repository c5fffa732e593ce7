"""A task gets its state back from Kafka: all of it, telling how far it is, and it is not ready before."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from structlog.testing import capture_logs

import rxstreams as rxs
from rxstreams import aggregates as agg, operators as ops
from rxstreams.brokers.kafka import KafkaBroker
from rxstreams.runtime import inputs, task as tasks

Tell = Callable[[str, object], None]
pytestmark = [pytest.mark.servers, pytest.mark.kafka, pytest.mark.asyncio]


def numbers(keys: int, more: int) -> Iterator[int]:
    """Each key once, and then keys at random, most of them out of a tenth that moves."""
    yield from range(keys)
    random = Random(20_261_127)
    tenth = keys // 10
    for i in range(more):
        yield (i * 7 // 10 + random.randrange(tenth)) % keys


@pytest.fixture(autouse=True)
def _small_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit after two batches, and have these stay small."""
    monkeypatch.setattr(tasks, "EPOCH_RECORDS", 2 * inputs.FIRST_BATCH)
    monkeypatch.setattr(inputs.Inputs, "adapt", lambda *_: None)


def counting(items: Iterator[int]) -> rxs.Stream[Any]:
    """The app."""
    stream = rxs.from_iterable(items, name="numbers")
    return stream.pipe(ops.key_by(lambda n: n), ops.aggregate(n=agg.count()), ops.to_view("counts"))


async def filled(broker: KafkaBroker, keys: int, commits: int) -> Counter[int]:
    """Count ``numbers``, with at least so many commits; how often each key is there."""
    more = max(0, commits * tasks.EPOCH_RECORDS - keys)
    async with rxs.start(counting(numbers(keys, more)), app="counts", broker=broker) as running:
        await running.wait()
    assert running.statistics.epochs >= commits, running.statistics
    return Counter(numbers(keys, more))


async def restored(broker: KafkaBroker) -> tuple[dict[Any, Any], float, list[Any]]:
    """The counts after a restart, the seconds that it took, and what was logged meanwhile."""
    began = time.monotonic()
    with capture_logs() as logs:
        async with rxs.start(counting(iter(())), app="counts", broker=broker) as running:
            took = time.monotonic() - began
            return {key: row.n for key, row in running.view("counts").items()}, took, logs


@pytest.mark.timeout(180)
async def test_a_hundred_thousand_keys_come_back(kafka: str, record_property: Tell) -> None:
    """Each with its count, after some hundred commits of deltas and snapshots."""
    await _come_back(kafka, record_property, keys=100_000, commits=400)


@pytest.mark.soak
async def test_a_million_keys_come_back_after_half_an_hour_of_commits(kafka: str, record_property: Tell) -> None:
    """18,000 commits, as half an hour has at ten a second."""
    await _come_back(kafka, record_property, keys=1_000_000, commits=18_000)


async def _come_back(kafka: str, told: Tell, *, keys: int, commits: int) -> None:
    broker = KafkaBroker(kafka)
    await broker.start()
    try:
        expected = await filled(broker, keys, commits)
    finally:
        await broker.stop()
    broker = KafkaBroker(kafka)
    await broker.start()
    try:
        found, took, _ = await restored(broker)
        (start,), (end,) = await broker.start_offsets("counts.state"), await broker.end_offsets("counts.state")
    finally:
        await broker.stop()
    told("told", f"{len(found):,} keys back in {took:.1f} s; the state's topic has the offsets {start:,} to {end:,}")
    assert found == expected


async def test_a_table_that_is_read_for_long_tells_how_far_it_is(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a second: how many records of how many, how fast, and how long it will take; meanwhile the run is starting."""
    broker = KafkaBroker(kafka)
    await broker.start()
    try:
        await filled(broker, 2_000, 20)
        read = broker._reader.read

        async def slowly(*args: Any) -> Any:
            await asyncio.sleep(0.6)
            return await read(*args[:3], 200, args[4])

        monkeypatch.setattr(broker._reader, "read", slowly)
        _, _, logs = await restored(broker)
    finally:
        await broker.stop()
    told = [log for log in logs if log["event"] == "reading a table"]
    assert len(told) >= 2
    assert told[0]["table"] == "counts.state"
    assert all(0 < before["records"] < after["records"] <= after["of"] for before, after in pairwise(told))
    assert all(log["seconds_left"] >= 0 and log["per_second"] > 0 for log in told)
    assert logs[-1]["event"].startswith("this app has finished"), "what it says once it is ready"
