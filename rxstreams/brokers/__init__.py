"""Where records, state and positions live: the broker contract, and ``connect``, which finds a broker by its URL."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from rxstreams.brokers.contract import Broker, Commit, Fetched, Put, Record, Retention, TableRead, TaskHandle
from rxstreams.brokers.durations import retention_of
from rxstreams.errors import ConfigError

__all__ = ["Broker", "Commit", "Fetched", "Put", "Record", "Retention", "TableRead", "TaskHandle", "connect"]

_EXPECTED = "expected memory://, memory://name, sqlite:///relative.db, sqlite:////absolute.db or kafka://host:9092"


def connect(url: str) -> Broker:
    """The broker that ``url`` names, not yet started.

    Args:
        url: ``memory://`` (private), ``memory://name`` (shared in this process), ``sqlite:///relative.db``,
            ``sqlite:////absolute.db``, ``kafka://host:9092,host:9092``. SQLite and Kafka take ``?retention=7d`` (s, m, h, d) for
            topics that are created without one; Kafka also ``replication=3`` for these, ``create=no`` to have none created,
            ``compression_type=lz4`` for what is written, and ``transaction_timeout=60s``, after which it ends a transaction of
            which it hears nothing more. TLS and SASL need ``security_protocol``, ``sasl_mechanism``, ``ssl_cafile``,
            ``ssl_certfile``, ``ssl_keyfile``; these, the user and the password may also be in the environment, as
            ``RXSTREAMS_KAFKA_PASSWORD``.

    Raises:
        ConfigError: If the scheme, the path or an option is not known.
    """
    # What stands before the last @ may be a password, well-formed or not; no message shows it.
    shown = re.sub(r"(?i)(passw\w*=)[^&]*", r"\1…", re.sub(r"//.*@", "//…@", url))
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigError(f"broker {shown!r}: {error}; {_EXPECTED}") from None
    match parts.scheme:
        case "memory":
            return _memory(shown, parts)
        case "sqlite":
            return _sqlite(shown, parts)
        case "kafka":
            from rxstreams.brokers.kafka.urls import from_url

            return from_url(shown, parts)
        case "redis":
            raise ConfigError(f"broker {shown!r}: redis:// is not available yet; {_EXPECTED}")
    raise ConfigError(f"broker {shown!r}: unknown scheme; {_EXPECTED}")


def _memory(url: str, parts: SplitResult) -> Broker:
    from rxstreams.brokers.memory import MemoryBroker

    if parts.path or parts.query:
        raise ConfigError(f"broker {url!r}: a memory broker has a name and nothing else; {_EXPECTED}")
    return MemoryBroker(parts.netloc or None)


def _sqlite(url: str, parts: SplitResult) -> Broker:
    from rxstreams.brokers.sqlite import SqliteBroker

    path = unquote(parts.path[1:])
    if parts.netloc or not path or parts.fragment:
        raise ConfigError(f"broker {url!r}: names no file; {_EXPECTED}")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    retention = retention_of(url, options)
    if options:
        raise ConfigError(f"broker {url!r}: unknown option {', '.join(options)}; retention=7d is the only one")
    return SqliteBroker(path, retention=retention)
