"""``kill -9`` of a worker on a real Kafka, at every step of the protocol and at random: nothing is lost or doubled.

The app has running totals, windows, a join, dedup and a pattern. What it must come to is what the same app makes of the same
input in memory, where nobody kills it; and what of the input passes its filter, once and in order.
"""

import asyncio
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.crash.processes import ROOT, ended, started, until
from tests.crash.worker import COUNTER
from tests.kafka.conftest import emptied
from tests.kafka.outcomes import PARTS, expected, filled, on, outcome
from tests.kafka.worker import TOPICS
from tests.servers.kafka import KafkaServer

pytestmark = [pytest.mark.servers, pytest.mark.kafka, pytest.mark.timeout(480)]


class Size(NamedTuple):
    """How much of it."""

    records: int
    seeds: int
    """How often each step must be hit with records in flight."""
    at_random: int


QUICK, SOAK = Size(40_000, 2, 20), Size(1_000_000, 20, 200)
ACQUIRING = ("kafka.fenced", "acquire.opened", "acquire.restored")
"""Steps A1, A2 and A5 of the protocol."""
WORKING = (
    "epoch.polled",  # E0
    "epoch.pushed",  # E1
    "epoch.cut",
    "kafka.begun",  # E2
    "kafka.sending",  # E3
    "kafka.sent",  # E4
    "kafka.offsets",  # E5
    "kafka.ended",  # E6
    "epoch.committed",  # E7
    "epoch.promoted",  # E8
)


class Killing:
    """The app, which is begun again after every kill, and what is known of the kills."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.counter, self.log = url, folder / "seen", folder / "struck"
        self.where: Counter[str] = Counter()
        self.in_flight: Counter[str] = Counter()
        self.random = random.Random(20_261_126)

    def begin(self, *, delay: float = 0.0002, **environment: str) -> subprocess.Popen[str]:
        """Start it, its counter at 0."""
        self.counter.write_bytes(bytes(COUNTER.size))
        worker = Path(__file__).with_name("worker.py")
        process = subprocess.Popen(
            [sys.executable, str(worker), self.url, str(self.counter), str(delay)],
            cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    def seen(self) -> int:
        """How many records the last process has begun to work on."""
        return int(COUNTER.unpack(self.counter.read_bytes())[0])

    def note(self, step: str, process: subprocess.Popen[str]) -> None:
        """Count a kill; it hit records in flight if the process had begun on some."""
        ended(process, -9)
        self.where[step] += 1
        self.in_flight[step] += self.seen() > 0

    def at_step(self, step: str, hit: int) -> None:
        """Let it die at the ``hit``-th time that it comes to a step."""
        self.note(step, self.begin(RXSTREAMS_FAILPOINT=f"{step}:{hit}", RXSTREAMS_FAILPOINT_LOG=str(self.log)))

    def at_random(self) -> None:
        """Kill it at some time after it has begun on a record."""
        process = self.begin()
        until(self.seen)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(self.random.uniform(0.0, 0.3))
        process.kill()
        self.note("at random", process)

    def table(self) -> str:
        """Where the kills fell."""
        lines = [f"{step:18} {self.where[step]:5} {self.in_flight[step]:10}" for step in self.where]
        total = f"{'':18} {self.where.total():5} {self.in_flight.total():10}"
        return "\n".join(["step               kills  in flight", *lines, total])


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(QUICK, id="quick"),
        pytest.param(SOAK, id="soak", marks=[pytest.mark.soak, pytest.mark.timeout(0)]),
    ],
)
def size(request: pytest.FixtureRequest) -> Size:
    """How much of it."""
    return request.param  # type: ignore[no-any-return]  # one of them


@pytest.fixture(scope="module")
def killed(server: KafkaServer, tmp_path_factory: pytest.TempPathFactory, size: Size) -> dict[str, Any]:
    """What the app has come to after all the kills."""
    url = f"kafka://{server.address}?transaction_timeout=10s"

    asyncio.run(emptied(server.address))
    on(server.address, lambda broker: filled(broker, size.records))
    killing = Killing(url, tmp_path_factory.mktemp("kill9"))
    for step in ACQUIRING * size.seeds:
        killing.at_step(step, 1)
    for step in WORKING:
        hit = 1
        while killing.in_flight[step] < size.seeds:
            before = killing.in_flight[step]
            killing.at_step(step, hit)
            hit = hit % 10 + 1 if killing.in_flight[step] > before else hit + 2
    for _ in range(size.at_random):
        killing.at_random()
    ended(killing.begin(delay=0), within=600)
    assert killing.seen() > 0, "the input was exhausted before the last kill"
    assert Counter(killing.log.read_text().split()) == killing.where - Counter({"at random": size.at_random})
    told = f"{killing.table()}\nthe last run had {killing.seen():,} of {size.records:,} records left"
    return on(server.address, outcome) | {"told": told}


@pytest.fixture(scope="module")
def in_memory(size: Size) -> dict[str, Any]:
    """What it comes to where nobody kills it."""
    return expected(size.records)


def test_each_record_is_there_once_and_in_order(
    killed: dict[str, Any], size: Size, record_property: Callable[[str, object], None]
) -> None:
    """Of each partition every record that passes the filter."""
    record_property("told", killed["told"])
    passed = [seq for seq in range(size.records // 2) if seq % 10 != 3]
    assert killed["out"] == {part: [[part, seq] for seq in passed] for part in PARTS}


@pytest.mark.parametrize("what", [*TOPICS, "view", "committed"])
def test_all_of_it_is_as_if_nobody_had_killed_it(killed: dict[str, Any], in_memory: dict[str, Any], what: str) -> None:
    """Totals, windows, pairs, firsts, matches, the view and the offsets; of each key in the same order."""
    assert in_memory[what]
    assert killed[what] == in_memory[what]
