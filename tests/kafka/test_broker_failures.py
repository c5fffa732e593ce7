"""What a broker's failures do to an app: it goes on where it was, and each output is there once."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.processes import ended, reap, until
from tests.kafka.test_fencing import RECORDS, Topics
from tests.servers.kafka import KafkaServer, running

pytestmark = [pytest.mark.servers, pytest.mark.kafka, pytest.mark.timeout(180)]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[KafkaServer]:
    """A broker of the test's own."""
    with running(tmp_path / "kafka") as one:
        yield one
    reap()


def killed(broker: KafkaServer) -> None:
    """Kill it, and start it again after a while."""
    broker.kill()
    time.sleep(2)
    broker.start()


def restarted(broker: KafkaServer) -> None:
    """Stop it in order, and start it again."""
    broker.stop()
    broker.start()


def frozen(broker: KafkaServer) -> None:
    """Freeze it for a while."""
    broker.send_signal(signal.SIGSTOP)
    time.sleep(5)
    broker.send_signal(signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.parametrize("fails", [killed, restarted, frozen])
def test_an_app_goes_on_when_the_broker_is_back(broker: KafkaServer, fails: Callable[[KafkaServer], None]) -> None:
    """In the same process."""
    topics = Topics(broker.address)
    topics.fill()
    app = topics.begin(0.001)
    until(topics.committed)
    fails(broker)
    assert topics.committed() < RECORDS, "there was nothing left to do"
    assert app.poll() is None
    until(lambda: topics.committed() == RECORDS, within=120)
    app.send_signal(signal.SIGTERM)
    ended(app)
    topics.whole()
