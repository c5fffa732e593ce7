"""draw: the graph of a pipeline, as text for a terminal and as Mermaid for a page."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from rxstreams.errors import ConfigError
from rxstreams.feeds.source import Source
from rxstreams.operators.calling import CallableSink
from rxstreams.operators.sinks import TopicSink, ViewSink
from rxstreams.patterns import Pattern
from rxstreams.pictures.automata import mermaid_of, text_of
from rxstreams.runtime.graph import Graph
from rxstreams.runtime.guarantee import guarantee_of
from rxstreams.runtime.opaque import Opaque
from rxstreams.runtime.vertices import Vertex
from rxstreams.stream import Stream
from rxstreams.stream.blueprint import SideOf

__all__ = ["Picture", "draw"]


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn graph: ``str(picture)`` is for a terminal; a notebook shows ``picture.mermaid`` where it can.

    Attributes:
        text: A tree that flows downward; where branches meet, the node has a number, and each branch but the last refers to it;
            a dashed arrow leads to a side stream.
        mermaid: The same as a Mermaid flowchart.
    """

    text: str
    mermaid: str

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def _repr_mimebundle_(self, include: Collection[str] | None = None, exclude: Collection[str] | None = None) -> dict[str, str]:
        return {"text/vnd.mermaid": self.mermaid, "text/plain": self.text}


def draw(*streams: Stream[Any] | Pattern) -> Picture:
    """Draw the graph that a run of ``streams`` would make, each node once, with what holds state and what a run can promise.

    Of a pattern (``rxstreams.patterns``), alone, it draws the automaton that ``detect`` makes of it.

    Nothing runs and no broker is asked. Operators that are not ours are subscribed to for a moment, which shows what they read.

    Args:
        streams: The pipeline's last streams, as for ``run``; or a pattern.

    Raises:
        ConfigError: If there are none, or one is no Stream; or if the pattern can never be complete.
    """
    if len(streams) == 1 and isinstance(streams[0], Pattern):
        return Picture(text_of(streams[0]), mermaid_of(streams[0]))
    for stream in streams or (None,):
        if not isinstance(stream, Stream):
            raise ConfigError(f"draw(*streams): expected streams as rxstreams.run takes them, got {stream!r}")
    graph = Graph([stream for stream in streams if isinstance(stream, Stream)], clock=time.time)
    try:
        guarantee = guarantee_of(graph)
        promise = f"{guarantee.level.replace('_', ' ')}: {guarantee.because}"
        return Picture(_text(graph, promise), _mermaid(graph, promise))
    finally:
        graph.close()


def _title(vertex: Vertex) -> str:
    side = vertex.stream and vertex.stream.operation.ends
    return side.name if isinstance(side, SideOf) else vertex.title


def _notes(vertex: Vertex) -> list[str]:
    """What to know of a node beside its title."""
    roles = {Source: "source", TopicSink: "sink", ViewSink: "sink", CallableSink: "sink"}
    ends = vertex.stream and vertex.stream.operation.ends
    notes = [role for kind, role in roles.items() if isinstance(vertex.node, kind) or isinstance(ends, kind)]
    if isinstance(vertex.node, Opaque):
        notes.append("foreign, not saved")
    if vertex.stream is not None and vertex.stream.operation.stateful:
        notes.append("state")
    return [*notes, vertex.identity] if vertex.identity else notes


def _text(graph: Graph, promise: str) -> str:
    meeting = [vertex for vertex in graph.vertices if len(vertex.inputs) > 1]
    numbers = {vertex: f" [{i}]" for i, vertex in enumerate(meeting, 1)}
    awaited = {vertex: len(vertex.inputs) for vertex in meeting}
    lines: list[tuple[str, str]] = []
    for root in graph.vertices:
        if not root.inputs:
            lines += _branch(root, "", "", numbers, awaited)
    width = max(len(line) for line, _ in lines)
    return "\n".join([*(f"{line:{width}}  {notes}".rstrip() for line, notes in lines), f"guarantee: {promise}"])


def _branch(
    vertex: Vertex, first: str, rest: str, numbers: dict[Vertex, str], awaited: dict[Vertex, int]
) -> Iterator[tuple[str, str]]:
    """The lines of a node and what follows it: a node where branches meet follows the last of them."""
    title = " ".join(_title(vertex).split()) + numbers.get(vertex, "")
    awaited[vertex] = awaited.get(vertex, 1) - 1
    if awaited[vertex] > 0:
        yield f"{first}{title}", "see below"
        return
    yield first + title, " ".join(", ".join(_notes(vertex)).split())
    targets = [*(target for target, _ in vertex.edges), *vertex.sides.values()]
    for i, target in enumerate(targets, 1):
        arrow, below = ("↓ ", "") if len(targets) == 1 else ("└→ ", "   ") if i == len(targets) else ("├→ ", "│  ")
        if target in vertex.sides.values():
            arrow = arrow.replace("→", "⇢").replace("↓", "⇣")
        yield from _branch(target, rest + arrow, rest + below, numbers, awaited)


def _mermaid(graph: Graph, promise: str) -> str:
    ids = {vertex: f"n{i}" for i, vertex in enumerate(graph.vertices)}
    lines = ["flowchart TD"]
    lines += [f"    {ids[vertex]}{_shape(vertex)}" for vertex in graph.vertices]
    for vertex in graph.vertices:
        lines += [f"    {ids[vertex]} --> {ids[target]}" for target, _ in vertex.edges]
        lines += [f"    {ids[vertex]} -.-> {ids[side]}" for side in vertex.sides.values()]
    return "\n".join([*lines, f'    guarantee>"{_escaped(promise)}"]', "    style guarantee stroke-dasharray: 4"])


def _shape(vertex: Vertex) -> str:
    """A node of Mermaid: sources are round, sinks slanted, state has a double edge, what is foreign six sides."""
    notes = _notes(vertex)
    shapes = {"source": ("([", "])"), "sink": ("[/", "/]"), "foreign, not saved": ("{{", "}}"), "state": ("[[", "]]")}
    left, right = next((shapes[note] for note in notes if note in shapes), ("[", "]"))
    below = ", ".join(note for note in notes if note not in ("source", "sink"))
    return f'{left}"{_escaped(_title(vertex))}{"<br/>" + _escaped(below) if below else ""}"{right}'


def _escaped(text: str) -> str:
    """Text within a Mermaid label: what could end it, or be markup, becomes an entity."""
    return re.sub(r"\s*\n\s*", "<br/>", re.sub(r"[\"#&<>`\\;{}|]", lambda found: f"#{ord(found[0])};", text.strip()))
