"""Brokers are found by their URL."""

import pytest

from rxstreams.brokers import connect
from rxstreams.brokers.kafka import KafkaBroker
from rxstreams.brokers.kafka.security import Security, from_options
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
        ("kafka://one?compression_type=zip", "compression_type='zip'; expected one of none, gzip,"),
        ("kafka://one?create=maybe", "expected yes or no"),
        ("kafka://one?security_protocol=TLS", "security_protocol='TLS'; expected one of PLAINTEXT, SSL,"),
        ("kafka://one?security_protocol=SASL_SSL", "there is no username; set RXSTREAMS_KAFKA_USERNAME"),
        ("kafka://ann@one", "there is no password; set RXSTREAMS_KAFKA_PASSWORD"),
        ("kafka://ann:pw@one?sasl_mechanism=GSSAPI", "sasl_mechanism='GSSAPI'; expected one of PLAIN, SCRAM-SHA-256,"),
        ("kafka://ann:pw@one?security_protocol=SSL", "a username, and security_protocol=SSL"),
        ("kafka://one?security_protocol=PLAINTEXT&ssl_cafile=ca.pem", "no use for them"),
        ("kafka://one?ssl_cafile=nowhere.pem", "cannot use ssl_cafile=nowhere.pem: .*No such file"),
        ("kafka://ann:pw@one?security_protocol=SASL_PLAINTEXT&sasl_mechanism=PLAIN", "the password in the clear. Use SASL_SSL"),
        ("kafka://[one", "Invalid IPv6"),
        ("kafka://one?username=ann&password=secret", "username=ann&password=…': unknown option username, password"),
        ("kafka://:pw@one", "a password, and no username"),
        ("kafka://one?ssl_cafile=a&ssl_keyfile=b", "no ssl_certfile"),
        ("kafka://ann:p@w@one/x?y", "names no server, or more"),
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


@pytest.mark.parametrize(
    "url",
    [
        "kafka://ann:se/cr@et@one?acks=1",
        "kafka://ann:secret@one?acks=1",
        "kafka://ann:secret@one/orders",
        "kafka://ann:secret@[one",
        "kafka://ann:se?cret@one",
        "kafka://ann:se/?replication=secret@one",
        "kafka://ann:x#secret@one",
        "redis://ann:secret@one",
        "postgres://ann:secret@one",
    ],
)
def test_a_password_is_in_no_message(url: str) -> None:
    """Nor is the user, however the URL is wrong."""
    with pytest.raises(ConfigError) as caught:
        connect(url)
    assert "…" in str(caught.value)
    assert not any(part in str(caught.value) for part in ("secret", "se/", "ann"))


def test_kafka_s_security_is_read_from_url_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL goes first; with a user and no more, it is TLS and SCRAM; a repr shows no secret."""
    url = Security(username="ann", password="s/cret", sasl_mechanism="PLAIN")
    assert from_options({"sasl_mechanism": "PLAIN"}, {"RXSTREAMS_KAFKA_PASSWORD": "other"}, "ann", "s/cret") == url
    environ = {"RXSTREAMS_KAFKA_USERNAME": "ann", "RXSTREAMS_KAFKA_PASSWORD": "pw", "RXSTREAMS_KAFKA_SSL_KEY_PASSWORD": "key"}
    found = from_options({}, environ | {"RXSTREAMS_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}, "", "")
    assert found == Security("SASL_PLAINTEXT", "SCRAM-SHA-512", "ann", "pw", ssl_key_password="key")
    assert "pw" not in repr(found)
    assert "key'" not in repr(found)
    assert found.options().keys() == {"security_protocol", "sasl_mechanism", "sasl_plain_username", "sasl_plain_password"}
    monkeypatch.setenv("RXSTREAMS_KAFKA_PASSWORD", "pw")
    broker = connect("kafka://ann%40home@one")
    assert isinstance(broker, KafkaBroker)
    assert broker._options["sasl_plain_username"] == "ann@home"
    assert broker._options["security_protocol"] == "SASL_SSL"
    assert "ann" not in broker.url
