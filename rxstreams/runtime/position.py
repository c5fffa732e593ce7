"""The position record: where an epoch ended, and which rows make up the state that was saved with it."""

from __future__ import annotations

from typing import Any

import msgspec

from rxstreams.state.codec import FORMAT

__all__ = ["GroupRecord", "OperatorRecord", "Position"]


class OperatorRecord(msgspec.Struct, frozen=True, array_like=True):
    """A stateful operator of the pipeline that saved the state."""

    identity: str
    fingerprint: str


class GroupRecord(msgspec.Struct, frozen=True, array_like=True):
    """A key group's rows."""

    generation: int = 0
    """Snapshots so far; 0 before the first."""
    parts: int = 0
    """Rows of the snapshot; 0 where the group was empty."""
    deltas: int = 0
    """Rows of deltas since."""
    snapshot_bytes: int = 0
    delta_bytes: int = 0
    snapshot_epoch: int = 0
    log_at: int = 0
    """``Position.log_bytes`` before the snapshot: restoring from a log begins there."""


class Position(msgspec.Struct, kw_only=True):
    """Where an epoch ended. The runtime fills in what is its own; ``cut`` the key groups, the format and ``log_bytes``."""

    epoch: int
    offsets: list[tuple[str, str, int, int]] = []
    """(source, topic, partition, next offset)"""
    watermarks: list[tuple[str, str, int, int]] = []
    """(source, topic, partition, watermark); the partition ``watermarks.SOURCE`` stands for the whole source."""
    topology: list[OperatorRecord] = []
    key_groups: int = 64
    format: int = FORMAT
    groups: dict[int, GroupRecord] = {}
    log_bytes: int = 0
    """All that was ever written to the table."""
    finished: bool = False
    clock: dict[str, Any] = {}
    extra: dict[str, bytes] = {}
