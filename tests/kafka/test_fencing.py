"""Two instances at once on Kafka, one of which may have been asleep: the newer goes on, and each output is there once."""

import asyncio
import json
import signal
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from rxstreams.brokers import Commit, Record
from rxstreams.brokers.kafka import KafkaBroker
from rxstreams.errors import CommitUnknownError
from rxstreams.runtime import EXIT_FENCED
from tests.crash.processes import ended, event, numbered, start, until
from tests.kafka.outcomes import on, values
from tests.servers.kafka import running

pytestmark = [pytest.mark.servers, pytest.mark.kafka, pytest.mark.timeout(180)]

RECORDS = 4_000


class Topics:
    """The topics of the follower, from outside.

    Args:
        address: The broker's.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def fill(self) -> None:
        """Put the input there."""
        events = [event("p", seq) for seq in range(RECORDS)]
        on(self.address, lambda broker: broker.append("in", [Record(msgspec.json.encode(one)) for one in events]))

    def committed(self) -> int:
        """How many records the follower has committed."""
        found = on(self.address, lambda broker: broker.committed("follow"))
        return sum(found.values())

    def whole(self) -> None:
        """Every input's output is there once, and in order."""
        found = on(self.address, lambda broker: values(broker, "out"))
        assert numbered([msgspec.json.decode(value or b"") for value in found]) == {"p": list(range(RECORDS))}

    def begin(self, delay: float) -> subprocess.Popen[str]:
        """Start a follower."""
        return start("follow", f"kafka://{self.address}?transaction_timeout=10s", delay)


@pytest.fixture
def topics(kafka: str) -> Topics:
    """With the input."""
    one = Topics(kafka)
    one.fill()
    return one


def fenced(process: subprocess.Popen[str], newer: subprocess.Popen[str]) -> None:
    """It has ended with its own status, and a message that names both."""
    _, errors = ended(process, EXIT_FENCED)
    said = [json.loads(line) for line in errors.splitlines() if line.startswith("{")][-1]
    assert said["event"] == "fenced"
    assert all(f"process {one.pid} on" in said["error"] for one in (process, newer))


def test_the_newer_of_two_instances_goes_on(topics: Topics) -> None:
    """The older ends; the newer does the rest."""
    older = topics.begin(0.002)
    until(topics.committed)
    newer = topics.begin(0.0002)
    fenced(older, newer)
    until(lambda: topics.committed() == RECORDS)
    newer.send_signal(signal.SIGTERM)
    ended(newer)
    topics.whole()


def test_of_two_that_start_at_once_one_goes_on(topics: Topics) -> None:
    """Whichever came second."""
    both = [topics.begin(0.0005) for _ in range(2)]
    until(lambda: any(one.poll() is not None for one in both), within=60)
    first, second = sorted(both, key=lambda one: one.poll() is None)
    fenced(first, second)
    until(lambda: topics.committed() == RECORDS)
    second.send_signal(signal.SIGTERM)
    ended(second)
    topics.whole()


@pytest.mark.slow
def test_one_that_slept_past_its_transaction_s_time_is_fenced_when_it_wakes(topics: Topics) -> None:
    """Another has taken over meanwhile, and done the rest; the sleeper adds nothing."""
    sleeper = topics.begin(0.002)
    until(topics.committed)
    sleeper.send_signal(signal.SIGSTOP)
    time.sleep(12)  # its transaction may be open; Kafka ends it after ten seconds
    newer = topics.begin(0.0002)
    until(lambda: topics.committed() == RECORDS, within=60)
    sleeper.send_signal(signal.SIGCONT)
    fenced(sleeper, newer)
    newer.send_signal(signal.SIGTERM)
    ended(newer)
    topics.whole()


@pytest.mark.asyncio
async def test_an_id_that_the_broker_has_forgotten_is_not_another_instance(tmp_path: Path) -> None:
    """Nobody else has the task: so the handle is in doubt, and whoever opens the task anew goes on."""
    forgets = "transactional.id.expiration.ms=2000\ntransaction.remove.expired.transaction.cleanup.interval.ms=500\n"
    with running(tmp_path, settings=forgets) as server:
        broker = KafkaBroker(server.address)
        await broker.start()
        handle = await broker.open("app", "0", instance="the only one")
        await handle.commit(Commit({"out": [Record(b"0")]}))
        await asyncio.sleep(6)
        with pytest.raises(CommitUnknownError, match="the broker has ended its transaction, or forgotten its id"):
            await handle.commit(Commit({"out": [Record(b"1")]}))
        handle = await broker.open("app", "0", instance="the only one")
        await handle.commit(Commit({"out": [Record(b"2")]}))
        assert await values(broker, "out") == [b"0", b"2"]
        await broker.stop()
