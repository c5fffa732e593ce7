"""What state and positions are saved under: a name, or the chain of stateful operators up to the operator."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rxstreams.errors import ConfigError, GraphError
from rxstreams.feeds.source import Source
from rxstreams.runtime.opaque import Opaque

if TYPE_CHECKING:
    from rxstreams.runtime.vertices import Vertex

__all__ = ["check_ids", "name_vertices"]


def name_vertices(vertices: Iterable[Vertex]) -> None:
    """Give every source and stateful vertex its identity and fingerprint.

    Stateless operators and sinks do not count, so adding one orphans no state. Ties are numbered in the order in which their
    streams were built, which a sink that is added later does not change either.

    Raises:
        ConfigError: If two operators were given one name, or two feeds without names differ in what their ids do not show.
    """
    paths: dict[Vertex, str] = {}
    kept: list[Vertex] = []
    for vertex in vertices:
        paths[vertex] = _path(vertex, paths)
        if vertex.stream is not None and (vertex.stream.operation.stateful or isinstance(vertex.node, Source)):
            kept.append(vertex)
    seen: Counter[str] = Counter()
    first: dict[str, Vertex] = {}
    for vertex in sorted(kept, key=lambda one: one.stream.serial if one.stream else 0):
        assert vertex.stream is not None
        operation = vertex.stream.operation
        seen[paths[vertex]] += 1
        if operation.name and seen[paths[vertex]] > 1:
            raise ConfigError(
                f"two operators are named {operation.name!r}; a name is where state is saved, so each needs its own"
            )
        _check_alike(first.setdefault(paths[vertex], vertex), vertex)
        ordinal = seen[paths[vertex]]
        vertex.identity = paths[vertex] if ordinal == 1 else f"{paths[vertex]}#{ordinal}"
        vertex.fingerprint = _fingerprint(vertex)
        vertex.node.identity = vertex.identity  # type: ignore[attr-defined]  # checkpoints read it from the node


def _check_alike(first: Vertex, vertex: Vertex) -> None:
    """Sources of one id are told from each other by their order, which is no matter only where they read the same.

    Raises:
        ConfigError: If they do not: built in another order, each would go on where the other was.
    """
    if not isinstance(first.node, Source) or not isinstance(vertex.node, Source):
        return
    one, other = first.node.feed, vertex.node.feed
    if getattr(one, "urls", None) != getattr(other, "urls", None):
        raise ConfigError(
            f"two feeds are saved under {other.id!r}, as their urls differ in the query (or the user) only, which may "
            "change and is not saved; give each a name= of its own, so that it goes on where it was itself"
        )


def _path(vertex: Vertex, paths: dict[Vertex, str]) -> str:
    above = list(dict.fromkeys(paths[source] for source in vertex.inputs))
    before = above[0] if len(above) == 1 else f"({'+'.join(above)})" if above else ""
    if vertex.stream is None:
        return f"{before}/opaque" if before else "opaque"
    operation = vertex.stream.operation
    if isinstance(vertex.node, Source):
        return str(vertex.node.feed.id)
    if not operation.stateful:
        return before
    return operation.name or f"{before}/{operation.kind}"


def _fingerprint(vertex: Vertex) -> str:
    """The kind, and the parameters that define the state."""
    assert vertex.stream is not None
    operation = vertex.stream.operation
    defining = {name: _text(operation.parameters.get(name)) for name in operation.defines}
    return f"{operation.kind}{json.dumps(defining, sort_keys=True)}"


def _text(value: object) -> str:
    return value.__qualname__ if isinstance(value, type) else repr(value)


def check_ids(vertices: Iterable[Vertex]) -> None:
    """See that records which are to be named after where they come from (``with_id=True``) can be.

    Raises:
        GraphError: If not.
    """
    for vertex in vertices:
        identities = getattr(vertex.node, "identities", None)
        if identities is None or identities.namer is not True:
            continue
        instead = "give with_id= a field's name or a function that names the value, or put it before that"
        for before in vertex.above - {vertex}:
            if before.node.gives_when_it_can or isinstance(before.node, Opaque):
                raise GraphError(
                    f"{vertex.title}: with_id=True names records after where they come from, which is not known behind "
                    f"{before.title}; {instead}"
                )
        if sum(map(_makes_windows, vertex.above)) > 1:
            raise GraphError(f"{vertex.title}: with_id=True cannot tell the windows of two operators before it apart; {instead}")


def _makes_windows(vertex: Vertex) -> bool:
    return vertex.stream is not None and vertex.stream.operation.kind == "windowed"
