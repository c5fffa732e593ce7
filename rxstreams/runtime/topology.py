"""Whether saved state fits the pipeline that is about to start: nothing is reset in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxstreams.errors import TopologyError
from rxstreams.log import logger
from rxstreams.runtime.checkpoints import saved_topology
from rxstreams.runtime.position import OperatorRecord, Position

if TYPE_CHECKING:
    from rxstreams.runtime.graph import Graph

__all__ = ["check_topology", "topology_of"]


def topology_of(graph: Graph) -> list[OperatorRecord]:
    """What the graph has that is saved: stateful operators and sources."""
    return [OperatorRecord(vertex.identity, vertex.fingerprint) for vertex in dict.fromkeys((*graph.sources, *graph.stateful))]


def check_topology(graph: Graph, rows: list[tuple[bytes, bytes | None]]) -> Position | None:
    """The saved position, if there is one and every operator in it is still there, defined as it was.

    Raises:
        TopologyError: If one is missing or was changed; the message lists both sides and says what to do.
    """
    position = saved_topology(rows)
    if position is None:
        return None
    now = {record.identity: record.fingerprint for record in topology_of(graph)}
    saved = {record.identity: record.fingerprint for record in position.topology}
    missing = [identity for identity in saved if identity not in now]
    changed = [identity for identity in saved if identity in now and saved[identity] != now[identity]]
    if missing or changed:
        raise TopologyError(_message(saved, now, missing, changed))
    for identity in now.keys() - saved.keys():
        logger().info("new operator begins without state", operator=identity)
    return position


def _message(saved: dict[str, str], now: dict[str, str], missing: list[str], changed: list[str]) -> str:
    lines = ["saved state does not fit this pipeline."]
    lines += [f"  saved, but not in the pipeline: {identity}  {saved[identity]}" for identity in missing]
    lines += [f"  saved as {saved[one]}, but now {now[one]}: {one}" for one in changed]
    lines += [f"  in the pipeline, not saved: {one}  {now[one]}" for one in now if one not in saved]
    lines.append(
        "Give an operator that was renamed or moved its old identity (name=…), put the old arguments back, or start under "
        "another app name to begin anew."
    )
    return "\n".join(lines)
