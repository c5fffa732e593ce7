"""What aiokafka's errors mean here: what is missing, full, fenced, refused, or not known."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from aiokafka import errors

from rxstreams.errors import BrokerError, CommitUnknownError, StorageFullError

__all__ = ["FENCED", "UNKNOWN", "patiently", "said", "unknown"]

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
    errors.NetworkException if hasattr(errors, "NetworkException") else errors.KafkaConnectionError,
    TimeoutError,
    asyncio.TimeoutError,
    OSError,
)
"""Whether it was done, cannot be known."""


AWAY = (errors.KafkaConnectionError, errors.NodeNotReadyError, errors.RequestTimedOutError, OSError)
"""A broker cannot be reached, or not now."""
PATIENCE = 30.0
"""Seconds for which it is tried to reach."""
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


@contextmanager
def said(where: str) -> Iterator[None]:
    """Raise what aiokafka raises as an error of ours, saying where it was.

    Raises:
        StorageFullError: If the broker has no room.
        BrokerError: For anything else that the broker said.
    """
    try:
        yield
    except errors.KafkaStorageError as error:
        raise StorageFullError(f"{where}: {error!r}; the broker cannot write to its disk") from error
    except errors.KafkaError as error:
        raise BrokerError(f"{where}: {error!r}") from error


def unknown(where: str, why: str) -> CommitUnknownError:
    """Whether a commit took place cannot be known."""
    return CommitUnknownError(f"{where}: the commit's outcome is unknown: {why}; open the task anew")
