"""The process that runs for long: ``flat.py URL MINUTES`` runs the app of ``worker.py`` over what it appends, and prints samples.

It is a process of its own, as what tests before it have left in memory would hide what it takes.
"""

import asyncio
import gc
import json
import os
import sys
import time
from typing import Any, NamedTuple

import msgspec

import rxstreams as rxs
from rxstreams.brokers import Broker, Record
from tests.crash.processes import event
from tests.kafka.worker import pipeline

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


async def appended(broker: Broker, until: float) -> int:
    """Append events, so many a second, until the time is up; how many."""
    seq = 0
    while time.monotonic() < until:
        events = [event("p", seq + i) for i in range(A_SECOND // 10)]
        await broker.append("in", [Record(msgspec.json.encode(one), b"p") for one in events])
        seq += len(events)
        await asyncio.sleep(0.1)
    return seq


async def main(url: str, minutes: float) -> None:
    """Run, and print a sample forty times; at the end the restarts that there were."""
    producing, broker = rxs.connect(url), rxs.connect(url)
    await producing.start()
    await broker.start()
    await producing.create_topic("in", 2)
    began = time.monotonic()
    until = began + minutes * 60
    appending = asyncio.ensure_future(appended(producing, until))
    streams: list[rxs.Stream[Any]] = pipeline(lambda _: True, until=None, ttl=600.0)
    async with rxs.start(*streams, app="everything", broker=broker) as running:
        while time.monotonic() < until:
            await asyncio.sleep(max(1.0, minutes * 60 / 40))
            print(json.dumps(taken(began, running.statistics.records)), flush=True)
        total = await appending
        async with asyncio.timeout(120):
            while running.statistics.records < total:  # noqa: ASYNC110  # a run has no event for it
                await asyncio.sleep(0.05)
        print(json.dumps(running.statistics.restarts))
    await broker.stop()
    await producing.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
