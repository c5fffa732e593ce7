"""How a task works, and what it has done."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from rxstreams.errors import Policy, Stop
from rxstreams.runtime.offsets import Offsets

__all__ = ["BATCH", "EPOCH_RECORDS", "STATE_LIMIT", "Settings", "Statistics"]

BATCH = 2048
EPOCH_RECORDS = 500_000
"""Records of input after which an epoch is committed before its time."""
STATE_LIMIT = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """How a task works."""

    app: str
    task: str = "0"
    commit_interval: float = 0.1
    on_error: Policy = Stop()
    batch: int = BATCH
    key_groups: int = 64
    state_limit: int = STATE_LIMIT
    offsets: Offsets = "check"
    clock: Callable[[], float] = time.time


@dataclass(slots=True)
class Statistics:
    """What a run has done so far, over all its attempts.

    Attributes:
        records: Records pushed, those included that a failed attempt pushed.
        epochs: Commits.
        commit_seconds: How long the last commit took.
        interval: The effective commit interval, in seconds.
        lost: Records that a policy let go.
        late: Records that came when no window took them any more; where their stream ``late`` is read, they are there.
        dropped: Records for which an edge had no room; where its stream ``dropped`` is read, they are there.
        evicted: Ids that ``dedup`` forgot early, for its ``capacity``.
        restarts: How often the task was begun anew.
        restored: State entries restored at the last start.
    """

    records: int = 0
    epochs: int = 0
    commit_seconds: float = 0.0
    interval: float = 0.0
    lost: int = 0
    late: int = 0
    dropped: int = 0
    evicted: int = 0
    restarts: int = 0
    restored: int = 0
