"""Where a task goes on: what its state says, compared with what the broker has, before anything is read."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

from rxstreams.brokers.contract import Broker
from rxstreams.errors import ConfigError, OffsetsError
from rxstreams.log import logger
from rxstreams.runtime.position import Position

__all__ = ["Offsets", "Resumption", "check_offsets", "resumption"]

Offsets = Literal["check", "ours", "group", "group-reset", "earliest"]
"""What to go by where state and broker disagree."""
_STALE = 5.0
"""Seconds for which the broker may still show what was committed before (KAFKA-17507)."""
_LOOK = 0.1


class Resumption(NamedTuple):
    """Where to go on.

    Attributes:
        positions: By source, per partition the next offset; what is not here begins as if it had never been read.
        reset: Whether the saved state is to be dropped.
    """

    positions: dict[str, dict[int, int]]
    reset: bool = False


def check_offsets(offsets: Any) -> Offsets:
    """The choice itself; None is that of the environment, or to check.

    Raises:
        ConfigError: If it is none.
    """
    chosen: Any = offsets or os.environ.get("RXSTREAMS_OFFSETS") or "check"
    if chosen not in get_args(Offsets):
        raise ConfigError(f"offsets: expected one of {', '.join(get_args(Offsets))}, got {chosen!r}")
    return chosen  # type: ignore[no-any-return]  # it is one of them


async def resumption(
    broker: Broker, app: str, offsets: Offsets, topics: Mapping[str, str], position: Position | None
) -> Resumption:
    """Where the sources go on, once the task is owned.

    Args:
        broker: Where topics and committed offsets are.
        app: Whose offsets.
        offsets: What to go by where they disagree.
        topics: By source, its topic.
        position: What the state says; None if nothing was ever saved.

    Raises:
        OffsetsError: If the broker's committed offsets are others than the state's, and nobody has said what to go by; or if
            a topic no longer has what was to be read next.
    """
    positions: dict[str, dict[int, int]] = {}
    for source, _, partition, offset in position.offsets if position is not None else ():
        positions.setdefault(source, {})[partition] = offset
    apart = await _apart(broker, app, topics, positions)
    if not apart:
        found = Resumption(positions)
    elif offsets == "ours":
        logger().warning("going on from the state's offsets, not from the broker's", app=app, apart=_told(apart))
        found = Resumption(positions)
    elif offsets in ("group", "group-reset"):
        logger().warning("going on from the broker's offsets, not from the state's", app=app, apart=_told(apart), offsets=offsets)
        found = _by_group(topics, positions, apart, reset=offsets == "group-reset")
    else:
        raise OffsetsError(
            f"app {app!r}: the broker's committed offsets are others than those that its state was saved with: {_told(apart)}. "
            "Somebody has set the group's offsets, or has deleted the app's state. Start with offsets='ours' (or the environment "
            "RXSTREAMS_OFFSETS=ours) to go on from the state's, 'group' to go on from the broker's and keep the state, "
            "'group-reset' to go on from the broker's with no state"
        )
    return Resumption(await _kept(broker, app, offsets, topics, found.positions), found.reset)


Apart = dict[tuple[str, int], tuple[int | None, int]]
"""By (topic, partition), the state's offset and the broker's, which is another."""


async def _apart(broker: Broker, app: str, topics: Mapping[str, str], positions: Mapping[str, Mapping[int, int]]) -> Apart:
    """Where the two disagree, also after a while."""
    ours: dict[tuple[str, int], int] = {}
    for source, topic in topics.items():
        for partition, offset in positions.get(source, {}).items():
            ours[topic, partition] = min(offset, ours.get((topic, partition), offset))
    now = asyncio.get_running_loop().time
    until = now() + _STALE
    while True:
        group = await broker.committed(app)
        read = {where: offset for where, offset in group.items() if where[0] in topics.values()}
        apart: Apart = {where: (ours.get(where), offset) for where, offset in read.items() if ours.get(where) != offset}
        if not apart or now() > until:
            return apart
        await asyncio.sleep(_LOOK)


def _told(apart: Apart) -> str:
    rows = sorted(apart.items())
    told = [f"{topic}[{partition}]: state {ours}, broker {theirs}" for (topic, partition), (ours, theirs) in rows[:10]]
    return ", ".join([*told, *([f"and {len(rows) - 10} more"] if len(rows) > 10 else [])])


def _by_group(topics: Mapping[str, str], positions: Mapping[str, dict[int, int]], apart: Apart, *, reset: bool) -> Resumption:
    moved = {source: {p: at for (name, p), (_, at) in apart.items() if name == topic} for source, topic in topics.items()}
    return Resumption({source: positions.get(source, {}) | found for source, found in moved.items()}, reset)


async def _kept(
    broker: Broker, app: str, offsets: Offsets, topics: Mapping[str, str], positions: Mapping[str, dict[int, int]]
) -> dict[str, dict[int, int]]:
    """The positions, if the topics still have what comes next; where they have not, the earliest if that was asked for."""
    there = await broker.topics()
    found: dict[str, dict[int, int]] = {}
    for source, at in positions.items():
        topic = topics.get(source)
        if topic is None or not at:
            found[source] = at
            continue
        if topic in there:
            starts, ends = await broker.start_offsets(topic), await broker.end_offsets(topic)
        else:
            starts = ends = [0] * (max(at) + 1)
        if max(at) >= len(starts):
            raise OffsetsError(
                f"app {app!r}, topic {topic!r}: it has {len(starts)} partitions, and {max(at) + 1} were read before; partitions "
                "cannot be taken away. Restore the topic, or start under another app name"
            )
        if new := [partition for partition in range(len(starts)) if partition not in at]:
            logger().info("new partitions, read from their start", app=app, topic=topic, partitions=new)
        lost = {p: offset for p, offset in at.items() if not starts[p] <= offset <= ends[p]}
        if lost and offsets != "earliest":
            raise OffsetsError(_gone(app, topic, lost, starts, ends))
        if lost:
            logger().warning("records were lost unread; going on from the earliest", app=app, topic=topic, positions=lost)
        found[source] = at | {p: starts[p] for p in lost}
    return found


def _gone(app: str, topic: str, lost: Mapping[int, int], starts: list[int], ends: list[int]) -> str:
    told = ", ".join(f"partition {p} is to be read from {at}, and has {starts[p]} to {ends[p]}" for p, at in lost.items())
    older = all(at < starts[p] for p, at in lost.items())
    why = "records were deleted before they were read" if older else "the topic was deleted, or made anew"
    remedy = "keep more (retention)" if older else "restore the topic"
    return (
        f"app {app!r}, topic {topic!r}: {told}: {why}. To lose them and go on from the earliest that is there, start with "
        f"offsets='earliest' (or the environment RXSTREAMS_OFFSETS=earliest); else {remedy}, or start under another app name"
    )
