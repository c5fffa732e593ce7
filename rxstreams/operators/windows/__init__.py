"""Aggregates over windows of event time: windowed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from reactivex import Observable

from rxstreams.aggregates.accumulators import Aggregate
from rxstreams.errors import ConfigError, Policy, check_policy, seconds
from rxstreams.operators.arguments import check_aggregates, check_name
from rxstreams.operators.processing import Process
from rxstreams.operators.windows.counts import Counts
from rxstreams.operators.windows.firing import Firing
from rxstreams.operators.windows.panes import Panes
from rxstreams.operators.windows.refined import RefinedSessions, RefinedWindows
from rxstreams.operators.windows.rows import Rows
from rxstreams.operators.windows.sessions import HEAD, Sessions
from rxstreams.operators.windows.slides import Slides
from rxstreams.stream import Node, Operation, Stream, operator
from rxstreams.windows import RESERVED, Calendar, Counting, Emit, Grid, Session, Sliding, Windowed, Windows, on_close

__all__ = ["windowed"]

A = TypeVar("A", bound=Any)


def windowed(
    over: Windows,
    /,
    *,
    emit: Emit = on_close,
    lateness: float | timedelta = 0.0,
    panes: Literal["accumulating", "discarding"] = "accumulating",
    name: str | None = None,
    on_error: Policy | None = None,
    **aggregates: Aggregate,
) -> Callable[[Observable[A]], Stream[Windowed]]:
    """Aggregate each key's records per event-time window, and emit when the watermark passes its end.

        orders   -1-2---3----4|
                 [ windowed(rxs.tumbling(5), n=agg.count(), total=agg.sum()) ]
        result   -----a----b--(c,|)      a=(n=2, total=3) b=(n=1, total=3) c=(n=1, total=4)

        orders   -1--2--|
                 [ windowed(rxs.hopping(4, 2), total=agg.sum()) ]
        result   --a-b-c(d,|)            a=(total=1) b=(total=1) c=(total=2) d=(total=2)

        orders   -1-2-----3-|
                 [ windowed(rxs.session(3), n=agg.count()) ]
        result   ------a----(b,|)        a=(n=2) b=(n=1)

        orders   -1-2-3-|
                 [ windowed(rxs.counting(2), total=agg.sum()) ]
        result   ---a---(b,|)            a=(total=3) b=(total=3)

    Shape: A → ``Windowed``, with the key, the window's start and end, which pane it is, and a field per aggregate: one on time
    per non-empty window, and the early and late ones that are asked for. In order of the windows' ends; the results of one end
    in the order of the keys' first records where they are on time only (hopping ones pane by pane, sessions of one start in the
    order of the keys), else in the order of the keys. Unkeyed is one key, None.
    A record that no window takes any more is on the side stream ``late``.
    Time: a millisecond before the window's end, so that a result is in a window of another length that has all of it; with
    ``sliding`` and ``counting`` that of the record which made it.
    Holds: an accumulator per open window and key, freed when the watermark has passed its end and ``lateness``; with ``sliding``
    each record, for the window's length; saved in a run.
    Bounded by: the keys of the windows that are open; with ``sliding`` the records of a window's length.
    Ends: with its input; then time is over, and every window closes.
    Names: RxJS —, RxPY —, Kafka Streams ``windowedBy``, then ``aggregate``

    Args:
        over: ``tumbling``, ``hopping``, ``calendar``, ``session``, ``sliding`` or ``counting`` windows.
        emit: When there are results beside the one on time: ``windows.on_close`` none, ``windows.on_update`` with each record,
            ``windows.every(seconds)`` each time that event time has come so far, ``windows.after(records)``.
        lateness: Seconds for which a window is kept after its end: each record that it still takes gives a late result at once.
            The watermark is passed on so much later. (``out_of_orderness`` of a source delays results instead.)
        panes: Whether a result has all of the window's records, or (``"discarding"``) those since the result before it.
        name: The operator's identity for saved state.
        on_error: What happens to a record that an aggregate cannot take in; None is the run's policy.
        aggregates: What to compute, by the name of the result's field.

    Raises:
        ConfigError: If an argument is wrong, an aggregate has the name of a field of ``Windowed``, or one that cannot be merged
            is asked of windows that must merge.

    Source: Akidau et al., "The Dataflow Model", VLDB 2015; docs/event-time.md says where Flink, Beam and Kafka Streams differ.
    """
    where = "windowed"
    if not isinstance(over, Grid | Calendar | Session | Sliding | Counting):
        raise ConfigError(f"{where}(over): expected windows such as rxstreams.tumbling(60), got {over!r}")
    check_aggregates(where, aggregates, RESERVED)
    kept = round(seconds(f"{where}(lateness)", lateness) * 1000)
    check_policy(where, on_error, waits=False)
    check_name(f"{where}(name)", name)
    _check_emit(where, over, emit, kept, panes)
    rows = Rows(aggregates)
    if isinstance(over, Session | Sliding) or (isinstance(over, Grid) and over.every < over.size):
        rows.check_mergeable(where, f"{over!r} merges what parts of it hold")
    refined = emit != on_close or kept > 0
    parameters = {
        "over": over,
        **{label: repr(one) for label, one in aggregates.items()},
        "emit": None if emit == on_close else emit,
        "lateness": kept / 1000 or None,
        "panes": None if panes == "accumulating" else panes,
        "_refined": refined,
    }
    make: Callable[[], Node] = partial(_node, over, rows, Firing(rows, emit, kept, panes) if refined else None, on_error)
    defines = ("over", *aggregates, "_refined")
    sides = ("errors", "late")
    return operator(Operation("windowed", make, MappingProxyType(parameters), name, defines=defines, stateful=True, sides=sides))


def _check_emit(where: str, over: Windows, emit: Any, lateness: int, panes: Any) -> None:
    if not isinstance(emit, Emit):
        raise ConfigError(f"{where}(emit): expected on_close, on_update, every(…) or after(…) of rxstreams.windows, got {emit!r}")
    if panes not in ("accumulating", "discarding"):
        raise ConfigError(f"{where}(panes): expected 'accumulating' or 'discarding', got {panes!r}")
    if isinstance(over, Sliding | Counting) and lateness:
        raise ConfigError(f"{where}(lateness): {over!r} keeps nothing after its result; use the source's out_of_orderness")
    if isinstance(over, Sliding | Counting) and panes == "discarding":
        raise ConfigError(f"{where}(panes): {over!r} has no pane to go on from")
    if isinstance(over, Sliding) and emit != on_close:
        raise ConfigError(f"{where}(emit): {over!r} gives one result a record, when the watermark has passed it; got {emit!r}")
    if isinstance(over, Counting) and emit.kind == "every":
        raise ConfigError(f"{where}(emit): {over!r} goes by records, not by time; expected after(…), got {emit!r}")


def _node(over: Windows, rows: Rows, firing: Firing | None, on_error: Policy | None) -> Node:
    """What does the work: one loop for the common case, keyed operators for the others."""
    if isinstance(over, Sliding):
        return Slides(over, rows, on_error)
    if isinstance(over, Counting):
        return Process(Counts(over, rows, firing.emit if firing else on_close), on_error, trusted=True)
    if isinstance(over, Session):
        if firing is None:
            return Sessions(over, Rows(rows.aggregates, head=HEAD), on_error)
        return Process(RefinedSessions(over, firing), on_error, trusted=True, behind=firing.lateness)
    assert isinstance(over, Grid | Calendar)
    if firing is None:
        return Panes(over, rows, on_error)
    return Process(RefinedWindows(over, firing), on_error, trusted=True, behind=firing.lateness)
