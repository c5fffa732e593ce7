"""How much state an app may have, which is in memory as well as it is saved."""

from __future__ import annotations

from collections.abc import Iterable

from rxstreams.errors import StateTooLargeError
from rxstreams.log import logger
from rxstreams.runtime.vertices import Vertex

__all__ = ["check_size", "entries"]


def check_size(app: str, size: int, limit: int, stateful: Iterable[Vertex], *, warned: bool) -> bool:
    """Say once when state has grown to half of what it may be, and refuse what is beyond; whether it has been said.

    Raises:
        StateTooLargeError: If it is beyond.
    """
    if size <= limit / 2:
        return warned
    largest = sorted(stateful, key=entries, reverse=True)[:3]
    told = ", ".join(f"{vertex.identity!r} with {entries(vertex):,} entries" for vertex in largest)
    if size > limit:
        raise StateTooLargeError(
            f"app {app!r}: saved state has grown to {size:,} bytes, and state_limit is {limit:,}; most is in {told}. Nothing of "
            "this epoch was committed. Keep less, or start with a greater state_limit if memory allows"
        )
    if not warned:
        logger().warning("state has grown to half of its limit", bytes=size, state_limit=limit, most_in=told)
    return True


def entries(vertex: Vertex) -> int:
    """How many state entries a vertex has."""
    return sum(len(store.states) + len(store.spaces or ()) for store in vertex.node.stores())
