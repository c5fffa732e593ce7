"""What state and positions are saved under: a name, or the chain of stateful operators up to the operator."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rxstreams.errors import ConfigError
from rxstreams.feeds.source import Source

if TYPE_CHECKING:
    from rxstreams.runtime.vertices import Vertex

__all__ = ["name_vertices"]


def name_vertices(vertices: Iterable[Vertex]) -> None:
    """Give every source and stateful vertex its identity and fingerprint.

    Stateless operators and sinks do not count, so adding one orphans no state. Ties are numbered in the order in which their
    streams were built, which a sink that is added later does not change either.

    Raises:
        ConfigError: If two operators were given one name.
    """
    paths: dict[Vertex, str] = {}
    kept: list[Vertex] = []
    for vertex in vertices:
        paths[vertex] = _path(vertex, paths)
        if vertex.stream is not None and (vertex.stream.operation.stateful or isinstance(vertex.node, Source)):
            kept.append(vertex)
    seen: Counter[str] = Counter()
    for vertex in sorted(kept, key=lambda one: one.stream.serial if one.stream else 0):
        assert vertex.stream is not None
        operation = vertex.stream.operation
        seen[paths[vertex]] += 1
        if operation.name and seen[paths[vertex]] > 1:
            raise ConfigError(
                f"two operators are named {operation.name!r}; a name is where state is saved, so each needs its own"
            )
        ordinal = seen[paths[vertex]]
        vertex.identity = paths[vertex] if ordinal == 1 else f"{paths[vertex]}#{ordinal}"
        vertex.fingerprint = _fingerprint(vertex)
        vertex.node.identity = vertex.identity  # type: ignore[attr-defined]  # checkpoints read it from the node


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
