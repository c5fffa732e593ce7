"""Brokers are found by their URL."""

import pytest

from rxstreams.brokers import connect
from rxstreams.brokers.kafka import KafkaBroker
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.brokers.sqlite import SqliteBroker
from rxstreams.errors import (
    ConfigError,
    RxStreamsError,
)


@pytest.mark.parametrize(
    ("url", "kind", "where"),
    [
        ("memory://", MemoryBroker, "memory://"),
        ("memory://notes", MemoryBroker, "memory://notes"),
        ("sqlite:///shop.db", SqliteBroker, "sqlite:///shop.db"),
        ("sqlite:////data/my%20shop.db?retention=7d", SqliteBroker, "sqlite:////data/my shop.db"),
        ("kafka://localhost", KafkaBroker, "kafka://localhost:9092"),
        ("kafka://one:9092,two:9093?replication=3&transaction_timeout=10s", KafkaBroker, "kafka://one:9092,two:9093"),
    ],
)
def test_connect_finds_a_broker_by_its_url(url: str, kind: type, where: str) -> None:
    """The scheme chooses the broker; nothing is opened yet."""
    broker = connect(url)
    assert (type(broker), broker.url) == (kind, where)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("kafka://", "names no server"),
        ("kafka://one:9092/orders", "names no server, or more than that"),
        ("kafka://one?replication=many", "expected a number of copies"),
        ("kafka://one?transaction_timeout=60", "is no duration"),
        ("kafka://one?acks=1", "unknown option acks"),
        ("kafka://ann:secret@one", "kafka://…@one.*not available yet"),
        ("redis://localhost", "not available yet"),
        ("postgres://localhost", "expected memory://"),
        ("shop.db", "unknown scheme"),
        ("sqlite://shop.db", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:///a.db?retention=week", "7d"),
        ("sqlite:///a.db?mode=ro", "unknown option mode"),
        ("memory://a?retention=7d", "nothing else"),
    ],
)
def test_connect_refuses_what_it_does_not_know(url: str, message: str) -> None:
    """A wrong URL fails with the forms that exist."""
    with pytest.raises(ConfigError, match=message) as caught:
        connect(url)
    assert isinstance(caught.value, RxStreamsError)
