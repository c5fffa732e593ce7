"""What can go wrong, and what a pipeline does about it: the error tree, and the policies that answer a failing record.

    RxStreamsError
    ├── ConfigError (ValueError)     a wrong argument; raised while a pipeline is built or started, never while it runs
    ├── GraphError                   streams wired in a way that a run cannot execute
    ├── RecordError                  one record could not be handled; policies decide about these
    │   ├── DecodeError              bytes that are not what the source expects
    │   ├── TimestampError           an event time that is missing, unreadable or absurd
    │   ├── OperatorError            a user's function raised
    │   ├── EncodeError              a result that cannot be encoded, or is too large for its topic
    │   └── SinkError                a sink outside the broker refused a record
    ├── FeedError                    a feed from outside cannot be read, or not any more
    ├── BrokerError                  the broker cannot do what was asked
    │   ├── AuthorizationError       the user may not do it there
    │   ├── FencedError              a newer instance of the app has taken over
    │   ├── CommitUnknownError       a commit may or may not have happened
    │   ├── MissingTopicError        a topic that does not exist
    │   ├── OffsetsError             where to go on is not there any more, or in doubt
    │   ├── StorageFullError         no room left where the broker keeps its data
    │   └── StorageDamagedError      what the broker keeps cannot be read
    └── StateError                   saved state cannot be used
        ├── StateCodecError          a value that the state codec cannot encode or decode
        ├── TopologyError            saved state belongs to operators that the pipeline no longer has
        ├── FormatError              saved state of another format version
        └── StateTooLargeError       state outgrew the memory that it may take

A message says where it happened, what was expected, what came, and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec

__all__ = [
    "AuthorizationError",
    "BrokerError",
    "CommitUnknownError",
    "ConfigError",
    "DeadLetter",
    "DecodeError",
    "EncodeError",
    "FeedError",
    "FencedError",
    "FormatError",
    "GraphError",
    "MissingTopicError",
    "OffsetsError",
    "OperatorError",
    "Policy",
    "RecordError",
    "Retry",
    "RxStreamsError",
    "SinkError",
    "Skip",
    "StateCodecError",
    "StateError",
    "StateTooLargeError",
    "Stop",
    "StorageDamagedError",
    "StorageFullError",
    "TimestampError",
    "TopologyError",
    "seconds",
]


class RxStreamsError(Exception):
    """Every error that rxstreams raises on purpose."""


class ConfigError(RxStreamsError, ValueError):
    """Raised when an argument is wrong, while a pipeline is built or started."""


class GraphError(RxStreamsError):
    """Raised when streams are wired in a way that a run cannot execute, with the remedy."""


class RecordError(RxStreamsError):
    """Raised when one record could not be handled.

    Attributes:
        stage: The operator, source or sink, as ``draw`` names it.
        cause: The exception that a user's function or a decoder raised, if any.
    """

    def __init__(self, stage: str, problem: str, cause: BaseException | None = None) -> None:
        super().__init__(f"{stage}: {problem}")
        self.stage = stage
        self.cause = cause
        if cause is not None:
            self.__cause__ = cause


class DecodeError(RecordError):
    """Raised when a record's bytes are not what its source expects."""


class TimestampError(RecordError):
    """Raised when a record's event time is missing, unreadable, or further ahead than ``max_ahead``."""


class OperatorError(RecordError):
    """Raised when a user's function raised at one record."""


class EncodeError(RecordError):
    """Raised when a result cannot be encoded for its topic, or is too large for it."""


class SinkError(RecordError):
    """Raised when a sink outside the broker refused a record."""


class FeedError(RxStreamsError):
    """Raised when a feed from outside (HTTP, files) cannot be read, or not any more; what was read before stays committed."""


class BrokerError(RxStreamsError):
    """Raised when the broker cannot do what was asked; nothing of the failed commit is visible."""


class AuthorizationError(BrokerError):
    """Raised when the broker does not let its user do what was asked; a person must give the right."""


class FencedError(BrokerError):
    """Raised at the next commit of an instance when a newer one has taken its task over."""

    def __init__(self, app: str, task: str, mine: str, newer: str) -> None:
        super().__init__(
            f"app {app!r}, task {task}: this instance ({mine}) was fenced by a newer one ({newer}). The newer goes on; "
            "this one stops, and what it had not committed is dropped. Stop one of them, or give them different app names."
        )
        self.app, self.task, self.mine, self.newer = app, task, mine, newer


class CommitUnknownError(BrokerError):
    """Raised when the answer to a commit was lost: only the broker's position record knows whether it happened."""


class MissingTopicError(BrokerError):
    """Raised when a topic does not exist and is not to be created."""

    def __init__(self, topic: str, known: Sequence[str] = (), remedy: str = "Create it, or check its name") -> None:
        listed = ", ".join(sorted(known)) or "none"
        super().__init__(f"topic {topic!r} does not exist; topics here: {listed}. {remedy}.")
        self.topic = topic


class OffsetsError(BrokerError):
    """Raised when an app cannot go on where it was: the broker says otherwise, or no longer has what comes next."""


class StorageFullError(BrokerError):
    """Raised when the disk (or quota) that holds the broker's data is full; what was committed stays readable."""


class StorageDamagedError(BrokerError):
    """Raised when the broker's file is damaged or is not the broker's; nothing of it was changed."""


class StateError(RxStreamsError):
    """Raised when saved state cannot be used."""


class StateCodecError(StateError):
    """Raised when a value cannot be kept as state, at the record that made it."""


class TopologyError(StateError):
    """Raised at the start when saved state fits no operator of the pipeline; lists both sides."""


class FormatError(StateError):
    """Raised at the start when saved state has another format version than this rxstreams writes."""


class StateTooLargeError(StateError):
    """Raised when an app's state outgrows the limit that was set for it."""


def seconds(name: str, value: float | timedelta, *, least: float = 0.0, allow_least: bool = True) -> float:
    """A duration argument as float seconds.

    Raises:
        ConfigError: If it is no duration, not finite, or below ``least``.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value in (float("inf"), -float("inf")):
        raise ConfigError(f"{name}: expected seconds as a finite number or a timedelta, got {value!r}")
    if value < least or (value == least and not allow_least):
        raise ConfigError(f"{name}: expected {'at least' if allow_least else 'more than'} {least} seconds, got {value!r}")
    return float(value)


class Stop(msgspec.Struct, frozen=True):
    """Stop the run at the failing record; nothing of its epoch is committed. The default."""


class Skip(msgspec.Struct, frozen=True):
    """Leave the failing record out, count it and log it; the rest goes on."""


class DeadLetter(msgspec.Struct, frozen=True):
    """Write the failing record to ``topic`` in the same commit, and go on.

    The dead letter holds the original bytes as its value, and topic, partition, offset, stage, error and attempts as headers.
    """

    topic: str

    def __post_init__(self) -> None:
        if not self.topic or not isinstance(self.topic, str):
            raise ConfigError(f"DeadLetter(topic): expected a topic's name, got {self.topic!r}")


class Retry(msgspec.Struct, frozen=True):
    """Try the failing record again up to ``times`` times, then do as ``then`` says.

    Args:
        times: Attempts after the first; at least 1.
        backoff: Seconds before the first retry, doubled for each further one; only where waiting is possible
            (sources, sinks, async operators). None retries at once.
        then: What happens when all attempts failed; not another Retry.
    """

    times: int
    backoff: float | None = None
    then: Stop | Skip | DeadLetter = Stop()

    def __post_init__(self) -> None:
        if not isinstance(self.times, int) or isinstance(self.times, bool) or self.times < 1:
            raise ConfigError(f"Retry(times): expected an integer of at least 1, got {self.times!r}")
        if self.backoff is not None:
            seconds("Retry(backoff)", self.backoff)
        if isinstance(self.then, Retry):
            raise ConfigError(
                "Retry(then): expected Stop(), Skip() or DeadLetter(topic), got another Retry; add up the times instead"
            )


Policy = Stop | Skip | Retry | DeadLetter
"""What happens to a record that could not be handled."""


def check_policy(where: str, policy: Any, *, waits: bool) -> Policy | None:
    """``policy`` itself, if it is one (or None) that ``where`` can carry out.

    Raises:
        ConfigError: If it is no policy, or has a backoff where nothing can wait.
    """
    if policy is None:
        return None
    if not isinstance(policy, Stop | Skip | Retry | DeadLetter):
        raise ConfigError(f"{where}: on_error expects Stop(), Skip(), Retry(…) or DeadLetter(topic), got {policy!r}")
    if isinstance(policy, Retry) and policy.backoff and not waits:
        raise ConfigError(
            f"{where}: Retry(backoff={policy.backoff}) cannot wait inside a synchronous operator without holding back every "
            "other record; leave backoff out, or do the work in an async operator or a sink"
        )
    return policy
