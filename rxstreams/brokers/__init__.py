"""Where records, state and positions live: the broker contract, and ``connect``, which finds a broker by its URL."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from rxstreams.brokers.contract import Broker, Commit, Fetched, Put, Record, Retention, TableRead, TaskHandle
from rxstreams.errors import ConfigError

__all__ = ["Broker", "Commit", "Fetched", "Put", "Record", "Retention", "TableRead", "TaskHandle", "connect"]

_EXPECTED = "expected memory://, memory://name, sqlite:///relative.db, sqlite:////absolute.db or kafka://host:9092"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def connect(url: str) -> Broker:
    """The broker that ``url`` names, not yet started.

    Args:
        url: ``memory://`` (private), ``memory://name`` (shared in this process), ``sqlite:///relative.db``,
            ``sqlite:////absolute.db``, ``kafka://host:9092,host:9092``. SQLite and Kafka take ``?retention=7d`` (s, m, h, d) for
            topics that are created without one; Kafka also ``replication=3`` for these, and ``transaction_timeout=60s``, after
            which it ends a transaction of which it hears nothing more.

    Raises:
        ConfigError: If the scheme, the path or an option is not known.
    """
    parts = urlsplit(url)
    match parts.scheme:
        case "memory":
            return _memory(url, parts)
        case "sqlite":
            return _sqlite(url, parts)
        case "kafka":
            return _kafka(url, parts)
        case "redis":
            raise ConfigError(f"broker {url!r}: redis:// is not available yet; {_EXPECTED}")
    raise ConfigError(f"broker {url!r}: unknown scheme; {_EXPECTED}")


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
    retention = _retention(url, options)
    if options:
        raise ConfigError(f"broker {url!r}: unknown option {', '.join(options)}; retention=7d is the only one")
    return SqliteBroker(path, retention=retention)


def _kafka(url: str, parts: SplitResult) -> Broker:
    from rxstreams.brokers.kafka import KafkaBroker

    if "@" in parts.netloc:
        raise ConfigError(f"broker 'kafka://…@{parts.netloc.rpartition('@')[2]}': users, passwords and TLS are not available yet")
    servers = [server if re.search(r":\d+$", server) else f"{server}:9092" for server in parts.netloc.split(",") if server]
    if not servers or parts.path.strip("/") or parts.fragment:
        raise ConfigError(f"broker {url!r}: names no server, or more than that; {_EXPECTED}")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    replication, timeout = options.pop("replication", None), options.pop("transaction_timeout", "60s")
    retention = _retention(url, options)
    if options:
        known = "replication=3, retention=7d and transaction_timeout=60s"
        raise ConfigError(f"broker {url!r}: unknown option {', '.join(options)}; there are {known}")
    if replication is not None and not re.fullmatch(r"[1-9]\d*", replication):
        raise ConfigError(f"broker {url!r}: replication={replication!r}; expected a number of copies, as in 3")
    seconds = _duration(url, "transaction_timeout", timeout)
    copies = None if replication is None else int(replication)
    return KafkaBroker(",".join(servers), replication=copies, retention=retention, transaction_timeout=seconds)


def _retention(url: str, options: dict[str, str]) -> Retention | None:
    """That of topics that are created without one; it is taken out of the options."""
    text = options.pop("retention", None)
    return None if text is None else Retention(max_age=_duration(url, "retention", text))


def _duration(url: str, option: str, text: str) -> float:
    """Seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not found:
        raise ConfigError(f"broker {url!r}: {option}={text!r} is no duration; expected a number and s, m, h or d, as in 7d")
    return float(found[1]) * _SECONDS[found[2]]
