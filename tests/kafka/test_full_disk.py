"""A broker whose disk is full: what is committed stays, and once there is room again all of it is there, once.

A limit on the size of its files does to a broker what a full disk does: writing fails, Kafka takes the folder out of service, and
as it has no other it ends. The limit needs no privileges, unlike a small file system.
"""

import json
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.processes import ended, reap, until
from tests.kafka.outcomes import expected, filled, on, outcome
from tests.kafka.test_kill9 import Killing
from tests.servers.kafka import KafkaServer, running

pytestmark = [pytest.mark.servers, pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]

RECORDS = 4_000
ROOM = 20_000
"""Bytes that the greatest of the broker's files may still grow by."""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[KafkaServer]:
    """A broker of the test's own, with the input."""
    with running(tmp_path / "kafka") as one:
        on(one.address, lambda broker: filled(broker, RECORDS))
        yield one
    reap()


def begun(broker: KafkaServer, folder: Path) -> subprocess.Popen[str]:
    """An app that has committed something, and has much to do."""
    app = Killing(f"kafka://{broker.address}?transaction_timeout=30s", folder).begin(delay=0.002)
    until(lambda: on(broker.address, lambda one: one.committed("everything")))
    return app


def fill_up(broker: KafkaServer) -> None:
    """Let the broker's files grow by no more than a little, and wait until it has ended of that."""
    greatest = max(file.stat().st_size for file in (broker.folder / "data").rglob("*.log"))
    assert broker.process is not None
    resource.prlimit(broker.process.pid, resource.RLIMIT_FSIZE, (greatest + ROOM, resource.RLIM_INFINITY))
    assert broker.process.wait(30) == 1
    assert "File too large" in (broker.folder / "kafka.log").read_text()


def test_an_app_goes_on_when_there_is_room_again(broker: KafkaServer, tmp_path: Path) -> None:
    """In the same process."""
    app = begun(broker, tmp_path)
    fill_up(broker)
    broker.start()
    assert app.poll() is None
    ended(app, within=60)
    assert on(broker.address, outcome) == expected(RECORDS)


def test_an_app_that_is_stopped_meanwhile_ends_and_the_next_one_does_the_rest(broker: KafkaServer, tmp_path: Path) -> None:
    """It cannot finish its epoch, and drops it."""
    app = begun(broker, tmp_path)
    fill_up(broker)
    app.send_signal(signal.SIGTERM)
    ended(app, within=20)
    broker.start()
    ended(Killing(f"kafka://{broker.address}", tmp_path).begin(delay=0), within=60)
    assert on(broker.address, outcome) == expected(RECORDS)


@pytest.mark.soak
def test_an_app_fails_by_name_when_there_is_no_room_for_minutes(broker: KafkaServer, tmp_path: Path) -> None:
    """After it has begun anew five times in vain; the next one does the rest."""
    app = begun(broker, tmp_path)
    fill_up(broker)
    _, log = ended(app, 1, within=240)
    told = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert [line["event"] for line in told] == ["running", *["beginning anew from the broker"] * 5, "the run failed"]
    assert told[-1]["kind"] == "BrokerError"
    assert broker.address in told[-1]["error"]
    broker.start()
    ended(Killing(f"kafka://{broker.address}", tmp_path).begin(delay=0), within=60)
    assert on(broker.address, outcome) == expected(RECORDS)
