"""What aiokafka's errors mean here: what is missing, full, fenced, refused, or not known."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from aiokafka import errors
from aiokafka.conn import create_conn
from aiokafka.protocol.metadata import MetadataRequest

from rxstreams.brokers.kafka.security import PROTOCOLS
from rxstreams.errors import AuthorizationError, BrokerError, CommitUnknownError, StorageFullError

__all__ = [
    "AWAY",
    "FENCED",
    "FORBIDDEN",
    "PATIENCE",
    "UNKNOWN",
    "cap_loggers",
    "closed",
    "patiently",
    "said",
    "unknown",
    "why_not",
]

A = TypeVar("A")

FENCED = (errors.ProducerFenced, errors.InvalidProducerEpoch, errors.InvalidProducerIdMapping)
"""Another instance has the transactional id."""
UNKNOWN = (
    errors.KafkaTimeoutError,
    errors.RequestTimedOutError,
    errors.KafkaConnectionError,
    errors.NodeNotReadyError,
    errors.CoordinatorNotAvailableError,
    errors.NotCoordinatorError,
    OSError,
)
"""Whether it was done, cannot be known."""


FORBIDDEN = (
    errors.TopicAuthorizationFailedError,
    errors.GroupAuthorizationFailedError,
    errors.ClusterAuthorizationFailedError,
    errors.TransactionalIdAuthorizationFailed,
)
AWAY = (errors.KafkaConnectionError, errors.NodeNotReadyError, errors.RequestTimedOutError, OSError)
"""A broker cannot be reached, or not now."""
PATIENCE = 30.0
"""Seconds for which it is tried to reach."""
_CLOSING = 2.0
"""Seconds that a client may take to close; it may wait for ever for brokers that have gone."""
_PAUSES = 0.05, 1.0
"""Seconds between two tries, at first and at most."""


async def patiently(ask: Callable[[], Awaitable[A]]) -> A:
    """What is asked for, asked again for a while where brokers are away; for what may be done twice."""
    loop = asyncio.get_running_loop()
    until, (pause, most) = loop.time() + PATIENCE, _PAUSES
    while True:
        try:
            return await ask()
        except AWAY:
            if loop.time() > until:
                raise
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # so that not all come at once
        pause = min(2 * pause, most)


async def closed(closing: Coroutine[Any, Any, None]) -> None:
    """Wait for a client to close, or give up on that, whatever it raises.

    It gets a task of its own: aiokafka lets out that its own tasks were cancelled, which is not to look as if ours were.
    """
    task = asyncio.ensure_future(closing)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        await asyncio.wait([task], timeout=_CLOSING)
    finally:
        task.cancel()


@contextmanager
def said(where: str) -> Iterator[None]:
    """Raise what aiokafka raises as an error of ours, saying where it was.

    Raises:
        StorageFullError: If the broker has no room.
        AuthorizationError: If the user may not do it.
        BrokerError: For anything else that the broker said.
    """
    try:
        yield
    except errors.KafkaStorageError as error:
        raise StorageFullError(f"{where}: {error!r}; the broker cannot write to its disk") from error
    except FORBIDDEN as error:
        raise AuthorizationError(f"{where}: {error!r}; docs/kafka.md lists what an app's user must be allowed to do") from error
    except (errors.KafkaError, OSError) as error:  # a TimeoutError is an OSError
        raise BrokerError(f"{where}: {error!r}") from error


async def why_not(hosts: Iterable[tuple[str, int, Any]], options: Mapping[str, Any]) -> str:
    """Why none of these servers can be used, and what to do; the client itself tells its log only."""
    how = {name: value for name, value in options.items() if name not in ("bootstrap_servers", "request_timeout_ms")}
    told = [f"{host}:{port} {await _why_not(host, port, how)}" for host, port, _ in hosts]
    return f"cannot connect ({how['security_protocol']}): {'; '.join(told)}"


async def _why_not(host: str, port: int, how: Mapping[str, Any]) -> str:
    other = f"perhaps it expects another security_protocol ({', '.join(PROTOCOLS)}) or a certificate (ssl_certfile)"
    try:
        one = await create_conn(host, port, request_timeout_ms=5_000, **how)
        try:
            await one.send(MetadataRequest([]))
        finally:
            one.close()
    except ssl.SSLCertVerificationError as error:
        return f"has a certificate that is not trusted ({error.verify_message}); ssl_cafile names who vouches for it"
    except errors.UnsupportedSaslMechanismError as error:
        return f"does not take this sasl_mechanism: {error}"
    except (errors.AuthenticationFailedError, errors.SaslAuthenticationFailed):
        return "refused the user or the password"
    except (ssl.SSLError, TimeoutError, ConnectionResetError, ConnectionAbortedError, errors.KafkaConnectionError) as error:
        return f"ends the connection, or does not answer ({error!r}); {other}"
    except errors.IllegalSaslStateError:
        return f"asks nobody for a user; {other}"
    except OSError as error:
        return f"cannot be reached ({error})"
    except errors.KafkaError as error:
        return f"answered {error!r}"
    return "answers now"


def cap_loggers() -> None:
    """Keep the client's loggers from DEBUG, whatever their level is: there they write whole requests, passwords too."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "aiokafka":
            logging.getLogger(name).addFilter(_above_debug)


def _above_debug(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.INFO


def unknown(where: str, why: str) -> CommitUnknownError:
    """Whether a commit took place cannot be known."""
    return CommitUnknownError(f"{where}: the commit's outcome is unknown: {why}; open the task anew")
