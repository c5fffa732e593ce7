"""explain_time: how far event time has come at each operator of a run, who holds it there, and what waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

import msgspec

from rxstreams.errors import ConfigError
from rxstreams.feeds.source import Source
from rxstreams.runtime.running import Running
from rxstreams.runtime.task import Task
from rxstreams.runtime.vertices import Vertex
from rxstreams.watermarks import END, START

__all__ = ["Holder", "NodeTime", "TimeExplanation", "explain_time"]

Why = Literal["idle", "behind", "backpressured", "by the clock", "no record yet", "ended"]
_WHY: dict[Why, str] = {
    "idle": "it was asked, and has nothing; after idle_after it no longer counts",
    "behind": "its records are being read, and this is how far they are",
    "backpressured": "its records wait, because there is no room for them below",
    "by the clock": "every partition is idle; what is due next comes when the clock does",
    "no record yet": "nothing is known of its time yet",
    "ended": "its input has ended",
}


class Holder(msgspec.Struct, frozen=True):
    """Who holds time back.

    Attributes:
        source: The source's identity, such as ``topic:orders``; of ``event_time`` the operator's.
        partition: Which of its partitions; None where that makes no difference.
        watermark: How far that has come (ms since the epoch); None before its first record.
        since: When it had news last (seconds since the epoch); None if it never had.
        why: What keeps it there.
    """

    source: str
    partition: int | None
    watermark: int | None
    since: float | None
    why: Why

    def __str__(self) -> str:
        where = self.source if self.partition is None else f"{self.source}, partition {self.partition},"
        at = "" if self.watermark is None else f" at {_shown(self.watermark)}"
        since = "" if self.since is None else f" since {_shown(round(self.since * 1000))}"
        return f"{where}{at}{since}: {self.why} ({_WHY[self.why]})"


class NodeTime(msgspec.Struct, frozen=True):
    """How far time has come at an operator.

    Attributes:
        operator: As ``draw`` names it.
        watermark: No record before it is expected any more (ms since the epoch); None before the first.
        behind: Seconds by which the watermark is behind the clock; None before the first, and when the input has ended.
        held_by: Who holds it there.
        waiting: How many windows, timers or records wait for time to come.
        next: The watermark that the first of them waits for (ms since the epoch); None if nothing waits.
    """

    operator: str
    watermark: int | None
    behind: float | None
    held_by: Holder | None
    waiting: int
    next: int | None

    def lines(self) -> Iterator[str]:
        """What there is to say, a line each."""
        if self.watermark is None:
            yield f"{self.operator}: no watermark yet"
        elif self.behind is None:
            yield f"{self.operator}: time is over"
        else:
            yield f"{self.operator}: watermark {_shown(self.watermark)}, {self.behind:.3f} s behind the clock"
        if self.held_by is not None:
            yield f"    held by {self.held_by}"
        if self.waiting:
            at = "" if self.next is None else f", the first of them for {_shown(self.next)}"
            yield f"    {self.waiting} wait for time{at}"


class TimeExplanation(msgspec.Struct, frozen=True):
    """Every operator of a run that deals in event time; ``str()`` of it is the same as a text."""

    nodes: tuple[NodeTime, ...]

    def __str__(self) -> str:
        return "\n".join(line for node in self.nodes for line in node.lines()) or "nothing in this run reads event time"

    def __getitem__(self, operator: str) -> NodeTime:
        """The first operator whose title begins like this: ``explanation["windowed"]``."""
        for node in self.nodes:
            if node.operator.startswith(operator):
                return node
        raise KeyError(f"no operator {operator!r} that deals in event time; there is {[node.operator for node in self.nodes]}")


def explain_time(running: Running) -> TimeExplanation:
    """Say, for each operator of a run that deals in event time, how far that has come, who holds it there since when and why,
    and what waits for it: the answer to a window that does not close.

    Args:
        running: What ``rxstreams.start`` gave.

    Raises:
        ConfigError: If the run has not begun.
    """
    task = running.task
    if task is None:
        raise ConfigError("explain_time(running): the run has not begun; enter `async with rxstreams.start(…)` first")
    concerned = [vertex for vertex in task.graph.vertices if vertex.wants_marks]
    return TimeExplanation(tuple(_node_time(task, vertex) for vertex in concerned))


def _node_time(task: Task, vertex: Vertex) -> NodeTime:
    node = vertex.node
    mark = END if vertex.closed else _reached(vertex)
    behind = None if mark in (START, END) else round(task.settings.clock() - mark / 1000, 3)
    due = node.next_time if not vertex.closed else END
    return NodeTime(
        vertex.title,
        None if mark == START else mark,
        behind,
        None if mark == END else _holder(task, min(vertex.clocks, key=_mark)),
        0 if vertex.closed else node.pending,
        None if due == END else due,
    )


def _reached(vertex: Vertex) -> int:
    """How far time has come at a vertex: as far as its inputs have told."""
    own = vertex in vertex.clocks
    return _mark(vertex) if own else min(map(_mark, vertex.inputs), default=START)


def _mark(vertex: Vertex) -> int:
    """How far a vertex has told time to have come."""
    return END if vertex.closed else vertex.told


def _holder(task: Task, maker: Vertex) -> Holder:
    node = maker.node
    if not isinstance(node, Source):
        mark = maker.told
        return Holder(maker.identity or maker.title, None, None if mark == START else mark, None, "behind")
    times = node.times
    if node.by_clock:
        return Holder(maker.identity, None, times.now, None, "by the clock")
    counting = {partition: mark for partition, mark in times.marks.items() if partition not in times.idle}
    if not counting:
        return Holder(maker.identity, None, None, None, "no record yet")
    partition = min(counting, key=counting.__getitem__)
    mark = counting[partition]
    since = task.moved_at.get((maker, partition))
    return Holder(maker.identity, partition, None if mark == START else mark, since, _why(task, maker, partition))


def _why(task: Task, maker: Vertex, partition: int) -> Why:
    if task.inputs.fetched[maker, partition] <= 0:
        return "idle"
    return "behind" if task.graph.demand.room(maker) > 0 else "backpressured"


def _shown(millis: int) -> str:
    try:
        return datetime.fromtimestamp(millis / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return f"{millis} ms"
