"""A broker on Kafka of its URL and the environment."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qsl, unquote

from rxstreams.brokers.durations import duration, retention_of
from rxstreams.brokers.kafka.security import from_options
from rxstreams.errors import ConfigError

if TYPE_CHECKING:
    from rxstreams.brokers.kafka import KafkaBroker

__all__ = ["from_url"]

_KNOWN = (
    "replication=3, retention=7d, transaction_timeout=60s, compression_type=lz4, create=no; security_protocol, sasl_mechanism, "
    "ssl_cafile, ssl_certfile, ssl_keyfile and allow_plaintext_password"
)


def from_url(shown: str, parts: SplitResult) -> KafkaBroker:
    """The broker that a URL names.

    Args:
        shown: The URL as messages may show it.
        parts: Of the URL itself.

    Raises:
        ConfigError: If something of it is not known.
    """
    from rxstreams.brokers.kafka import KafkaBroker

    if any("@" in part for part in (parts.path, parts.query, parts.fragment)):
        raise ConfigError("broker 'kafka://…': / ? and # in a user's name or password must be escaped, as %2F %3F %23")
    login, _, hosts = parts.netloc.rpartition("@")
    servers = [server if re.search(r":\d+$", server) else f"{server}:9092" for server in hosts.split(",") if server]
    if not servers or parts.path.strip("/") or parts.fragment:
        raise ConfigError(f"broker {shown!r}: names no server, or more than that; expected kafka://host:9092")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    codec = options.pop("compression_type", "none")
    replication, create = options.pop("replication", None), options.pop("create", "yes")
    timeout = duration(shown, "transaction_timeout", options.pop("transaction_timeout", "60s"))
    retention = retention_of(shown, options)
    username, _, password = login.partition(":")
    security = from_options(options, os.environ, unquote(username), unquote(password))
    if options:
        raise ConfigError(f"broker {shown!r}: unknown option {', '.join(options)}; there are {_KNOWN}")
    if replication is not None and not re.fullmatch(r"[1-9]\d*", replication):
        raise ConfigError(f"broker {shown!r}: replication={replication!r}; expected a number of copies, as in 3")
    if create not in ("yes", "no"):
        raise ConfigError(f"broker {shown!r}: create={create!r}; expected yes or no")
    return KafkaBroker(
        ",".join(servers),
        replication=None if replication is None else int(replication),
        retention=retention,
        transaction_timeout=timeout,
        compression_type=codec,
        create=create == "yes",
        security=security,
    )
