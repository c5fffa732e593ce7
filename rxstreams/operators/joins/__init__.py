"""Joins by key and event time: interval_join, as_of_join, join_table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal, TypeVar, overload

from reactivex import Observable

from rxstreams.errors import ConfigError, seconds
from rxstreams.operators.arguments import check_name
from rxstreams.operators.joins.choosing import Choosing
from rxstreams.operators.joins.interval import How, Intervals
from rxstreams.operators.joins.keys import joining
from rxstreams.operators.joins.tables import JoinLatest, Table
from rxstreams.stream import Node, Operation, Stream

__all__ = ["as_of_join", "interval_join", "join_table"]

A = TypeVar("A", bound=Any)
B = TypeVar("B", bound=Any)
Duration = float | timedelta
Matches = Literal["all", "first", "last"]


@overload
def interval_join(
    other: Observable[B],
    *,
    within: Duration | None = ...,
    lower: Duration | None = ...,
    upper: Duration | None = ...,
    how: Literal["inner"] = ...,
    matches: Matches = ...,
    name: str | None = ...,
) -> Callable[[Observable[A]], Stream[tuple[A, B]]]: ...
@overload
def interval_join(
    other: Observable[B],
    *,
    within: Duration | None = ...,
    lower: Duration | None = ...,
    upper: Duration | None = ...,
    how: Literal["left"],
    matches: Matches = ...,
    name: str | None = ...,
) -> Callable[[Observable[A]], Stream[tuple[A, B | None]]]: ...
@overload
def interval_join(
    other: Observable[B],
    *,
    within: Duration | None = ...,
    lower: Duration | None = ...,
    upper: Duration | None = ...,
    how: Literal["right"],
    name: str | None = ...,
) -> Callable[[Observable[A]], Stream[tuple[A | None, B]]]: ...
@overload
def interval_join(
    other: Observable[B],
    *,
    within: Duration | None = ...,
    lower: Duration | None = ...,
    upper: Duration | None = ...,
    how: Literal["outer"],
    name: str | None = ...,
) -> Callable[[Observable[A]], Stream[tuple[A | None, B | None]]]: ...
@overload
def interval_join(
    other: Observable[Any],
    *,
    within: Duration | None = ...,
    lower: Duration | None = ...,
    upper: Duration | None = ...,
    how: Literal["semi", "anti"],
    name: str | None = ...,
) -> Callable[[Observable[A]], Stream[A]]: ...
def interval_join(
    other: Observable[Any],
    *,
    within: Duration | None = None,
    lower: Duration | None = None,
    upper: Duration | None = None,
    how: How = "inner",
    matches: Matches = "all",
    name: str | None = None,
) -> Callable[[Observable[Any]], Stream[Any]]:
    """Put together the records of two streams that have one key, and whose event times are close to each other.

        orders     -1-----2-|
        payments   ---1-----|
                   [ key_by(int), interval_join(payments.pipe(key_by(int)), within=2) ]
        result     ---a-----|        a=(1,1)

        orders     -1-----2-|
        payments   ---1-----|
                   [ key_by(int), interval_join(payments.pipe(key_by(int)), within=2, how='left') ]
        result     ---a-----(b,|)    a=(1,1) b=(2,None)

        orders     -1-----2-|
        payments   ---1-----|
                   [ key_by(int), interval_join(payments.pipe(key_by(int)), within=2, how='anti') ]
        result     ---------(a,|)    a=2

    Shape: A, B → tuple[A, B], every pair once, whichever side came first; None stands for what is missing. With
    ``how="semi"`` or ``"anti"`` A, those that have a partner and those that have none. Both streams need keys (``key_by``),
    of one type. A record for which no partner can come any more, and which would come out nowhere, is on the side stream
    ``late`` if it was late itself.
    Time: the later one of the pair; of a record that comes out as such (alone, or ``how="semi"``) its own.
    Holds: each record until the watermark has passed its time by its bound; saved in a run.
    Bounded by: each stream's rate times its bound, and a sixteenth more.
    Ends: when both streams have; then what has no partner comes out.
    Names: RxJS —, RxPY — (its ``join`` goes by the clock), Kafka Streams ``join`` with ``JoinWindows``

    What comes out alone does so when the watermark shows that no partner can come; so an idle stream holds it back no longer than
    its ``idle_after``. That is in the order of the time at which it is sure, then left before right, then of the keys. As that is
    so old, the watermark is passed on so much later (with ``"semi"``, too). With ``matches="first"`` or ``"last"`` left records
    wait for that choice in the same way.

    Args:
        other: The right stream.
        within: Seconds that the two times may be apart, both ways, inclusive.
        lower: Or: seconds by which the right time is behind the left one, at least; negative is before it. Inclusive.
        upper: The same, at most.
        how: Which records come out: pairs (``"inner"``), and those of one side without a partner (``"left"``, ``"right"``) or
            of both (``"outer"``); or the left ones alone that have a partner (``"semi"``) or none (``"anti"``).
        matches: Whether a left record has all its partners, or the one that is first or last by time.
        name: The operator's identity for saved state.

    Raises:
        ConfigError: If an argument is wrong, a stream has no keys, or the types of the keys are known to differ.

    Source: Flink's interval join, with the outer variants of SQL; docs/joins.md has what each emits and when.
    """
    where = "interval_join"
    low, high = _bounds(where, within, lower, upper)
    if how not in ("inner", "left", "right", "outer", "semi", "anti"):
        raise ConfigError(f"{where}(how): expected 'inner', 'left', 'right', 'outer', 'semi' or 'anti', got {how!r}")
    if matches not in ("all", "first", "last"):
        raise ConfigError(f"{where}(matches): expected 'all', 'first' or 'last', got {matches!r}")
    if matches != "all" and how not in ("inner", "left"):
        raise ConfigError(
            f"{where}(matches): {matches!r} chooses for each left record; expected how='inner' or 'left', got {how!r}"
        )
    check_name(f"{where}(name)", name)
    given = {"within": within} if within is not None else {"lower": low / 1000, "upper": high / 1000}
    parameters = {**given, "how": how, "matches": None if matches == "all" else matches, "_bounds": (low, high)}

    def make() -> Node:
        return Intervals(low, high, how) if matches == "all" else Choosing(low, high, matches, inner=how == "inner")

    defines = ("_bounds", "how", "matches")
    return joining(Operation(where, make, parameters, name, defines=defines, stateful=True, sides=("late",)), other)


def _bounds(where: str, within: Any, lower: Any, upper: Any) -> tuple[int, int]:
    """The bounds in milliseconds."""
    if within is not None:
        if lower is not None or upper is not None:
            raise ConfigError(f"{where}: expected within=, or lower= and upper=, not both")
        reach = round(seconds(f"{where}(within)", within) * 1000)
        return -reach, reach
    if lower is None or upper is None:
        raise ConfigError(f"{where}: expected within=, or both lower= and upper=: without them records would be kept for ever")
    least = float("-inf")
    low, high = (
        round(seconds(f"{where}({which})", given, least=least) * 1000) for which, given in (("lower", lower), ("upper", upper))
    )
    if low > high:
        raise ConfigError(f"{where}(lower): expected at most upper, {high / 1000:g} s, got {low / 1000:g}")
    return low, high


@overload
def as_of_join(
    other: Observable[B],
    *,
    direction: Literal["backward", "forward", "nearest"] = ...,
    tolerance: Duration | None = ...,
    wait: Duration = ...,
    how: Literal["left"] = ...,
    name: str | None = ...,
) -> Callable[[Observable[A]], Stream[tuple[A, B | None]]]: ...
@overload
def as_of_join(
    other: Observable[B],
    *,
    direction: Literal["backward", "forward", "nearest"] = ...,
    tolerance: Duration | None = ...,
    wait: Duration = ...,
    how: Literal["inner"],
    name: str | None = ...,
) -> Callable[[Observable[A]], Stream[tuple[A, B]]]: ...
def as_of_join(
    other: Observable[Any],
    *,
    direction: Literal["backward", "forward", "nearest"] = "backward",
    tolerance: Duration | None = None,
    wait: Duration = 0.0,
    how: Literal["left", "inner"] = "left",
    name: str | None = None,
) -> Callable[[Observable[Any]], Stream[Any]]:
    """Put beside each record the other stream's record of the same key that was the latest then, or is the next.

        trades   -1----2---3-|
        quotes   ---5----6---|
                 [ key_by(bool), as_of_join(quotes.pipe(key_by(bool))) ]
        result   -a----b---c-|       a=(1,None) b=(2,5) c=(3,6)

    Shape: A, B → tuple[A, B | None], one for each A, without a B where there is none. Both streams need keys (``key_by``), of
    one type. A record too late for its choice, and one that no choice can have any more, are on the side stream ``late``.
    Time: A's.
    Holds: each A until its choice is final; the other stream's records for as long as one may choose them: without
    ``tolerance`` each key's latest for ever; saved in a run.
    Bounded by: the streams' rates times what the watermark is behind, and ``tolerance``; without it, the number of keys.
    Ends: when both streams have.
    Names: RxJS —, RxPY —, Kafka Streams —; pandas ``merge_asof``, SQL ``ASOF JOIN``

    A choice is final when the watermark has passed all that could be chosen (forward: the first of it), so it does not depend
    on which record came first. Of two of one time the one that came last counts (forward: first).

    Args:
        other: The right stream.
        direction: Whether to choose the latest up to the record's time (``"backward"``), the first from it on
            (``"forward"``), or the nearest, of two the earlier.
        tolerance: Seconds that the two times may be apart, inclusive; None is any, and only for ``"backward"``.
        wait: Seconds of event time to wait longer for right records that come too late.
        how: Whether a record for which there is none comes out with None, or (``"inner"``) not at all.
        name: The operator's identity for saved state.

    Raises:
        ConfigError: If an argument is wrong, a stream has no keys, or the types of the keys are known to differ.
    """
    where = "as_of_join"
    if direction not in ("backward", "forward", "nearest"):
        raise ConfigError(f"{where}(direction): expected 'backward', 'forward' or 'nearest', got {direction!r}")
    if tolerance is None and direction != "backward":
        raise ConfigError(f"{where}(tolerance): {direction!r} needs one, or a record might wait for ever")
    reach = None if tolerance is None else round(seconds(f"{where}(tolerance)", tolerance) * 1000)
    extra = round(seconds(f"{where}(wait)", wait) * 1000)
    inner = _is_inner(where, how)
    check_name(f"{where}(name)", name)
    before = 0 if direction == "forward" else None if reach is None else -reach
    after = 0 if direction == "backward" else reach or 0
    pick: Any = {"backward": "last", "forward": "first", "nearest": "nearest"}[direction]
    parameters = {"direction": direction, "tolerance": tolerance, "wait": extra / 1000 or None, "how": how}
    make = lambda: Choosing(before, after, pick, inner=inner, wait=extra)  # noqa: E731  # a value among values
    defines = ("direction", "tolerance", "how")
    return joining(Operation(where, make, parameters, name, defines=defines, stateful=True, sides=("late",)), other)


def _is_inner(where: str, how: Any) -> bool:
    if how not in ("left", "inner"):
        raise ConfigError(f"{where}(how): expected 'left' or 'inner', got {how!r}")
    return bool(how == "inner")


@overload
def join_table(
    table: Table[B], *, how: Literal["inner"] = ..., version: Literal["latest", "event_time"] = ..., name: str | None = ...
) -> Callable[[Observable[A]], Stream[tuple[A, B]]]: ...
@overload
def join_table(
    table: Table[B], *, how: Literal["left"], version: Literal["latest", "event_time"] = ..., name: str | None = ...
) -> Callable[[Observable[A]], Stream[tuple[A, B | None]]]: ...
def join_table(
    table: Table[Any],
    *,
    how: Literal["inner", "left"] = "inner",
    version: Literal["latest", "event_time"] = "latest",
    name: str | None = None,
) -> Callable[[Observable[Any]], Stream[Any]]:
    """Put beside each record what a table has for its key: now, or at the record's event time.

        orders      -1-----2---|
        customers   ---5-------|
                    [ key_by(bool), join_table(rxs.table(customers.pipe(key_by(bool)))) ]
        result      -------a---|      a=(2,5)

        orders      -1-----2---|
        customers   ---5-------|
                    [ key_by(bool), join_table(rxs.table(customers.pipe(key_by(bool))), how='left') ]
        result      -a-----b---|      a=(1,None) b=(2,5)

    Shape: A, B → tuple[A, B], none or one for each A; ``how="left"`` one, with None where the table has nothing. An update of
    the table alone makes no result. Both streams need keys (``key_by``), of one type.
    Time: A's.
    Holds: the table's latest value per key; by event time its versions too, for ``history``, and each A until the watermark has
    passed it; saved in a run.
    Bounded by: the table's keys; by event time also its updates, and the records, that the watermark and ``history`` have not
    passed.
    Ends: with its input; by event time when both streams have.
    Depends on: interleaving
    Names: RxJS —, RxPY —, Kafka Streams ``join`` (stream–table), by event time with a versioned table

    Args:
        table: ``rxstreams.table(stream)``.
        how: Whether a record for whose key the table has nothing is left out, or comes with None.
        version: What the table has now (``"latest"``), as fast as it comes; or had at the record's event time, whichever came
            first: then the result depends on the input alone, and the table needs ``history=``.
        name: The operator's identity for saved state.

    Raises:
        ConfigError: If an argument is wrong, a stream has no keys, or the types of the keys are known to differ.
    """
    where = "join_table"
    if not isinstance(table, Table):
        raise ConfigError(f"{where}(table): expected rxstreams.table(…), got {table!r}")
    inner = _is_inner(where, how)
    if version not in ("latest", "event_time"):
        raise ConfigError(f"{where}(version): expected 'latest' or 'event_time', got {version!r}")
    check_name(f"{where}(name)", name)
    history = table.history
    if version == "event_time" and history is None:
        raise ConfigError(f"{where}(version): 'event_time' needs a table with versions; use rxstreams.table(stream, history=…)")
    parameters = {"how": how, "version": version}

    def make() -> Node:
        if version == "latest":
            return JoinLatest(inner=inner)
        return Choosing(None, 0, "last", inner=inner, history=history or 0)

    by_time = version == "event_time"
    operation = Operation(
        where,
        make,
        parameters,
        name,
        defines=("version",),
        stateful=True,
        depends_on=None if by_time else "interleaving",
        sides=("late",) if by_time else (),
    )
    return joining(operation, table.stream)
