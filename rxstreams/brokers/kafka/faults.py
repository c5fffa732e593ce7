"""What aiokafka's errors mean here: what is missing, full, fenced, refused, or not known."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka import errors

from rxstreams.errors import BrokerError, CommitUnknownError, StorageFullError

__all__ = ["FENCED", "UNKNOWN", "said", "unknown"]

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
