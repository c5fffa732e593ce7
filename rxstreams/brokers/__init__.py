"""Where records, state and positions live: the broker contract, and ``connect``, which finds a broker by its URL."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from rxstreams.brokers.contract import Broker, Commit, Fetched, Put, Record, Retention, TableRead, TaskHandle
from rxstreams.errors import ConfigError

__all__ = ["Broker", "Commit", "Fetched", "Put", "Record", "Retention", "TableRead", "TaskHandle", "connect"]

_EXPECTED = "expected memory://, memory://name, sqlite:///relative.db or sqlite:////absolute.db"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def connect(url: str) -> Broker:
    """The broker that ``url`` names, not yet started.

    Args:
        url: ``memory://`` (private), ``memory://name`` (shared in this process), ``sqlite:///relative.db``,
            ``sqlite:////absolute.db``; SQLite takes ``?retention=7d`` (s, m, h, d) for topics that are created without one.

    Raises:
        ConfigError: If the scheme, the path or an option is not known.
    """
    parts = urlsplit(url)
    match parts.scheme:
        case "memory":
            return _memory(url, parts)
        case "sqlite":
            return _sqlite(url, parts)
        case "kafka" | "redis":
            raise ConfigError(f"broker {url!r}: {parts.scheme}:// is not available yet; {_EXPECTED}")
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
    retention = options.pop("retention", None)
    if options:
        raise ConfigError(f"broker {url!r}: unknown option {', '.join(options)}; retention=7d is the only one")
    return SqliteBroker(path, retention=None if retention is None else _retention(url, retention))


def _retention(url: str, text: str) -> Retention:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not found:
        raise ConfigError(f"broker {url!r}: retention={text!r} is no duration; expected a number and s, m, h or d, as in 7d")
    return Retention(max_age=float(found[1]) * _SECONDS[found[2]])
