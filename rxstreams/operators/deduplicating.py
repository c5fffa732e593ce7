"""Records that say the same thing again: dedup, which forgets in time."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from datetime import timedelta
from typing import Any, Literal, TypeVar, overload

from reactivex import Observable

from rxstreams.aggregates.accumulators import Aggregate
from rxstreams.aggregates.keeping import Last
from rxstreams.batch import Batch
from rxstreams.errors import ConfigError, Policy, check_policy, seconds
from rxstreams.operators.arguments import check_count, check_name, getter
from rxstreams.operators.groups import Grouping, Groups, GroupsByClock
from rxstreams.operators.stepping import Code, Stepping
from rxstreams.operators.stores import PARTS, Aged
from rxstreams.state.codec import PLAIN, TAGGED
from rxstreams.state.keys import internal, ordered
from rxstreams.stream import Node, Operation, Stream, operator
from rxstreams.stream.loops import Loop
from rxstreams.watermarks import END

__all__ = ["dedup"]

A = TypeVar("A", bound=Any)
Field = str | Callable[[Any], Any] | None


@overload
def dedup(
    key: str | None = ...,
    *,
    ttl: float | timedelta,
    keep: Literal["first", "last"] = ...,
    clock: Literal["event", "processing"] = ...,
    capacity: int | None = ...,
    on_error: Policy | None = ...,
    name: str | None = ...,
) -> Callable[[Observable[A]], Stream[A]]: ...
@overload
def dedup(
    key: Callable[[A], Any],
    *,
    ttl: float | timedelta,
    keep: Literal["first", "last"] = ...,
    clock: Literal["event", "processing"] = ...,
    capacity: int | None = ...,
    on_error: Policy | None = ...,
    name: str | None = ...,
) -> Callable[[Observable[A]], Stream[A]]: ...
@overload
def dedup(
    key: Field = ...,
    *,
    ttl: float | timedelta,
    keep: Aggregate,
    clock: Literal["event", "processing"] = ...,
    on_error: Policy | None = ...,
    name: str | None = ...,
) -> Callable[[Observable[Any]], Stream[Any]]: ...
def dedup(
    key: Field = None,
    *,
    ttl: float | timedelta,
    keep: Literal["first", "last"] | Aggregate = "first",
    clock: Literal["event", "processing"] = "event",
    capacity: int | None = None,
    on_error: Policy | None = None,
    name: str | None = None,
) -> Callable[[Observable[Any]], Stream[Any]]:
    """Let a record through unless one with its id came with it, or less than ``ttl`` seconds before or after.

        orders   -1-1-2-1---|
                 [ dedup(ttl=5) ]
        result   -a---b-a---|        a=1 b=2

        orders   -1-2-4---|
                 [ dedup(lambda x: x % 2, ttl=5, keep='last') ]
        result   ------a-b|          a=1 b=4

    Shape: A → A, the first one to come of each id, or the last by event time; or the result of an aggregate of all that one
    stands for. What is left out is on the side stream ``duplicates`` (where the first is kept), what comes too late to tell on
    ``late``.
    Time: the record's own; of ``"last"`` and aggregates the millisecond before ``ttl`` is over.
    Holds: each id with the time of its first record (the latest one, if it was new several times), for ``ttl`` and an eighth
    more; with ``"last"`` and aggregates also what is to be emitted, and the records that the watermark has not passed; saved
    in a run, so that a retry after a restart is a duplicate.
    Bounded by: the ids of ``ttl`` seconds, or ``capacity``.
    Ends: with its input, when all that waits has come out.
    Names: RxJS ``distinct`` with ``flushes``, RxPY —, Kafka Streams —; Flink's deduplication, Spark's
    ``dropDuplicatesWithinWatermark``

    ``"first"`` lets it through at once: of two that come out of order the first to come, not the earlier. ``"last"`` and
    aggregates do not depend on the order of arrival: the earliest record of an id begins ``ttl`` seconds, what is in them is
    one, and comes out when the watermark has passed them; a record behind the watermark is late. For ``"first"`` one is late if
    it is a sixteenth of ``ttl`` or more behind and its id is not known: it may have been, and be forgotten. So no
    two that pass are less than ``ttl`` apart, as long as ``out_of_orderness`` is less than fifteen sixteenths of it.

    Args:
        key: What tells two records apart: a field's name or a function of the value; None is the value. It must be of a type that
            keys can have (``key_by``). In a stream with keys it goes by these, and this must be None.
        ttl: Seconds for which an id is remembered.
        keep: Which record of an id: ``"first"``, ``"last"``, or an aggregate of all of them.
        clock: Whether ``ttl`` goes by event time, or by the clock at which records are handled; then the result depends on it.
        capacity: How many ids may be remembered; the oldest sixteenth is evicted when there are more, counted and warned of.
            None is as many as come.
        on_error: What happens to a record that has no id; None is the run's policy.
        name: The operator's identity for saved state.

    Raises:
        ConfigError: If an argument is wrong, or ``key`` is given for a stream that has keys.
    """
    where = "dedup"
    if key is not None:
        getter(f"{where}(key)", key)
    lasting = round(seconds(f"{where}(ttl)", ttl, allow_least=False) * 1000)
    if not lasting:
        raise ConfigError(f"{where}(ttl): expected at least a millisecond, got {ttl!r}")
    if keep not in ("first", "last") and not isinstance(keep, Aggregate):
        raise ConfigError(f"{where}(keep): expected 'first', 'last' or an aggregate such as agg.max('version'), got {keep!r}")
    if clock not in ("event", "processing"):
        raise ConfigError(f"{where}(clock): expected 'event' or 'processing', got {clock!r}")
    if capacity is not None:
        check_count(f"{where}(capacity)", capacity, least=PARTS)
        if keep != "first":
            raise ConfigError(f"{where}(capacity): {keep!r} holds records, which must not be evicted; expected keep='first'")
    check_policy(where, on_error, waits=False)
    check_name(f"{where}(name)", name)
    by_clock = clock == "processing"
    first = keep == "first"
    parameters = {"key": key, "ttl": lasting / 1000, "keep": keep if isinstance(keep, str) else repr(keep), "clock": clock}
    operation = Operation(
        where,
        lambda: _node(key, lasting, keep, capacity, on_error, by_clock=by_clock),
        {**parameters, "capacity": capacity},
        name,
        defines=("keep", "clock"),
        stateful=True,
        depends_on="clock" if by_clock else None,
        sides=("errors", "late", "duplicates") if first else ("errors", "late"),
    )
    build = operator(operation)

    def put(source: Observable[Any]) -> Stream[Any]:
        made = build(source)
        if made.keyed and key is not None:
            raise ConfigError(f"{where}(key): the stream has keys, and goes by these; leave it out, or use dedup before key_by")
        return made

    return put


def _node(key: Field, ttl: int, keep: Any, capacity: int | None, on_error: Policy | None, *, by_clock: bool) -> Node:
    if keep == "first":
        return Firsts(key, ttl, capacity, on_error, by_clock=by_clock)
    groups = GroupsByClock if by_clock else Groups
    read = (lambda value: value) if key is None else getter("dedup(key)", key)
    return Grouping(read, groups(Last() if keep == "last" else keep, ttl), on_error)


class Seen(Aged):
    """The time of each id's first record. An id that came again after ``keep`` is in two steps, until the first has gone."""

    codec = PLAIN

    def times_of(self, key: Hashable) -> Sequence[int]:
        return (self.states[key],)

    def forget(self, key: Hashable, age: int) -> None:
        if self.states[key] // self.width == age:
            del self.states[key]
            self.several.remove(key)

    def again(self, key: Hashable, time: int) -> None:
        """An id begins anew, before its first time was forgotten."""
        self.states[key] = time
        self.ages.of(time).append(key)
        self.several.add(key)
        self.dirty.add(key)

    def evict(self, many: int) -> list[Hashable]:
        """Forget the ``many`` oldest ids, by time."""
        evicted: list[Hashable] = []
        while len(evicted) < many:
            age = self.ages.order[0]
            keys = self.ages[age]
            if len(keys) > many - len(evicted):
                # By time, and not as they came, which is not known any more after a restart. So they are all written anew.
                keys.sort(key=lambda key: (self.states[key], ordered(key)))
                self.dirty.update(keys)
                self.saved[age] = len(keys)
            gone = keys[: many - len(evicted)]
            del keys[: len(gone)]
            saved = self.saved.pop(age, 0)
            if keys:
                self.saved[age] = max(0, saved - len(gone))
            else:
                self.ages.take(age)
            gone = [key for key in gone if self.states[key] // self.width == age]  # else it came again, and is younger
            for key in gone:
                del self.states[key]
            self.several.difference_update(gone)
            self.dirty.update(gone)
            evicted += gone
        return evicted


class Firsts(Stepping):
    """Lets the first record of each id through; ``seen`` has the ids.

    Of an id it remembers the latest first time only. A record that is ``ttl`` or more older passes, and is not remembered.

    A record that is less than ``grace`` behind the watermark is told apart from what may be forgotten: the first one that makes
    it a duplicate is less than ``ttl`` older, and so less than ``ttl + grace`` behind, for which ids are kept.
    """

    codec = TAGGED
    passes = True

    def __init__(self, key: Field, ttl: int, capacity: int | None, on_error: Policy | None, *, by_clock: bool) -> None:
        super().__init__()
        self.key, self.ttl, self.capacity, self.on_error = key, ttl, capacity, on_error
        self.by_clock = by_clock
        if by_clock:
            self.needs_time = self.has_timers = False  # type: ignore[misc]  # of one node, here
        self.grace = max(1, ttl // PARTS)
        self.seen = Seen(self, "seen", ttl + self.grace, self.grace)
        self.parts = (self.seen,)
        self.asides["duplicates"] = Batch([], [], [], [], [])

    @property
    def next_time(self) -> int:
        return END if self.by_clock else self.seen.next_time

    @property
    def pending(self) -> int:
        return len(self.seen.states)

    def lines(self, loop: Loop, code: Code, port: int) -> Sequence[str]:
        seen, ttl, grace, at = self.seen, self.ttl, self.grace, "now" if self.by_clock else "time"
        if self.by_clock:
            loop.before.append(f"now = {loop.bind(self.clock_time)}()")
        states, too_late = loop.bind(seen.states), code.marked(lambda time, mark: time + grace <= mark)
        full = None if self.capacity is None else f"if len({states}) > {self.capacity}: {loop.bind(self.evict)}()"
        late = f"time + {grace} <= {code.now} and {too_late}(time, {code.now}): {code.behind}; continue"
        ident = ["one = key"] if self.host.keyed else [f"one = {loop.read(self.key)}"]
        if not self.host.keyed and not loop.is_a(self.key, str):
            ident.append(f"if one.__class__ is not str: one = {loop.bind(internal)}(one)")
        return [
            *ident,
            f"if one not in {states}:",
            *([] if self.by_clock else [f"    if {late}"]),
            f"    {states}[one] = {at}",
            *(f"    {line}" for line in seen.aging(loop, code, "one", at, full)),
            "else:",
            f"    first = {states}[one]",
            f"    if {at} - first >= {ttl}:",
            f"        {loop.bind(seen.again)}(one, {at})",
            f"        due = {code.due}",
            f"    elif first - {at} < {ttl}:",
            *(f"        {line}" for line in code.add(self.asides["duplicates"], "value", "time")),
            "        continue",
            *([] if self.by_clock else [f"    elif {late}"]),
            *code.put("value", "time"),
        ]

    def clock_time(self) -> int:
        """What the clock says (ms); what it has passed is forgotten."""
        now = int(self.host.now() * 1000)
        self.seen.expire(now)
        return now

    def evict(self) -> None:
        """Forget the oldest sixteenth of what may be remembered."""
        evicted = self.seen.evict(max(1, (self.capacity or 0) // PARTS))
        self.host.aside("evicted", Batch(evicted))

    def reach(self, mark: int) -> None:
        if not self.by_clock:
            self.seen.expire(mark)
