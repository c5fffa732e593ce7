"""An app that runs for long takes no more memory, files, sockets and tasks than at first."""

import asyncio
import gc
import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest

import rxstreams as rxs
from rxstreams.brokers import Record
from rxstreams.brokers.kafka import KafkaBroker
from tests.crash.processes import event
from tests.kafka.worker import pipeline

pytestmark = [pytest.mark.servers, pytest.mark.kafka, pytest.mark.soak, pytest.mark.timeout(0), pytest.mark.asyncio]

MINUTES = float(os.environ.get("RXSTREAMS_SOAK_MINUTES", "30"))
A_SECOND = 1_000


class Sample(NamedTuple):
    """What the process has at a time."""

    minute: float
    megabytes: float
    files: int
    sockets: int
    tasks: int
    records: int


def taken(began: float, records: int) -> Sample:
    """A sample."""
    gc.collect()
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    files = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
    sockets = sum(name.startswith("socket:") for name in files)
    megabytes = round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
    minute = round((time.monotonic() - began) / 60, 1)
    return Sample(minute, megabytes, len(files) - sockets, sockets, len(asyncio.all_tasks()), records)


async def appended(broker: KafkaBroker, until: float) -> int:
    """Append events, so many a second, until the time is up; how many."""
    seq = 0
    while time.monotonic() < until:
        events = [event("p", seq + i) for i in range(A_SECOND // 10)]
        await broker.append("in", [Record(msgspec.json.encode(one), b"p") for one in events])
        seq += len(events)
        await asyncio.sleep(0.1)
    return seq


async def test_half_an_hour_is_as_the_first_minutes(kafka: str, record_property: Callable[[str, object], None]) -> None:
    """Running totals, windows, a join, dedup, a pattern and a view, over what comes; users of before come again."""
    producing, broker = KafkaBroker(kafka), KafkaBroker(kafka)
    await producing.start()
    await broker.start()
    await producing.create_topic("in", 2)
    began = time.monotonic()
    until = began + MINUTES * 60
    samples: list[Sample] = []
    try:
        appending = asyncio.ensure_future(appended(producing, until))
        streams: list[rxs.Stream[Any]] = pipeline(lambda _: True, until=None, ttl=600.0)
        async with rxs.start(*streams, app="everything", broker=broker) as running:
            while time.monotonic() < until:
                await asyncio.sleep(max(1.0, MINUTES * 60 / 40))
                samples.append(taken(began, running.statistics.records))
            total = await appending
            async with asyncio.timeout(120):
                while running.statistics.records < total:  # noqa: ASYNC110  # a run has no event for it
                    await asyncio.sleep(0.05)
        assert running.statistics.restarts == 0
    finally:
        await broker.stop()
        await producing.stop()
    record_property("told", "\n".join(map(str, samples)))
    third = len(samples) // 3
    before, after = samples[third : 2 * third], samples[2 * third :]
    assert max(one.files for one in after) <= max(one.files for one in before)
    assert max(one.sockets for one in after) <= max(one.sockets for one in before)
    assert min(one.tasks for one in after) <= min(one.tasks for one in before)  # at times more are under way
    assert min(one.megabytes for one in after) <= max(one.megabytes for one in before) * 1.02
