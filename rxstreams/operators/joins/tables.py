"""Tables: streams that say what is so from now on, key by key; and what joins them as they are now."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from datetime import timedelta
from typing import Any, Generic, TypeVar

import msgspec
from reactivex import Observable

from rxstreams.aggregates.accumulators import row_type
from rxstreams.batch import Batch
from rxstreams.errors import ConfigError, seconds
from rxstreams.operators.arguments import check_fields, check_name, check_savable
from rxstreams.operators.joins.keys import check_keyed
from rxstreams.operators.joins.sides import KeyKinds
from rxstreams.state.codec import TAGGED
from rxstreams.stream import Node, Operation, Stream
from rxstreams.watermarks import END, START

__all__ = ["JoinLatest", "Table", "latest_by_key", "table"]

B = TypeVar("B")


class Table(msgspec.Struct, Generic[B], frozen=True):
    """What ``table`` makes of a stream, for ``join_table``.

    Attributes:
        stream: The updates.
        history: Milliseconds for which it is known what it had before; None for not at all.
    """

    stream: Stream[B]
    history: int | None


def table(stream: Observable[B], *, history: float | timedelta | None = None) -> Table[B]:
    """A keyed stream as a table: each value is what its key has from then on, and None deletes what it has.

    Args:
        stream: The updates, with keys (``key_by``).
        history: Seconds of event time for which earlier versions are kept behind the watermark, so that records that come so late
            still find what was there at their time (``join_table(…, version="event_time")``); 0 is just as long as records that
            are not late need. None keeps the latest only.

    Raises:
        ConfigError: If the stream has no keys, or ``history`` is no duration.
    """
    check_keyed("table", {"the stream": stream})
    assert isinstance(stream, Stream)
    return Table(stream, None if history is None else round(seconds("table(history)", history) * 1000))


class JoinLatest(Node):
    """``states`` has what the table has for each key; the time that counts is the stream's own."""

    codec = TAGGED
    locked = True
    ports = 2
    port_order = (1, 0)

    def __init__(self, *, inner: bool) -> None:
        super().__init__()
        self.inner = inner
        self.kinds = KeyKinds(self)

    def batch(self, b: Batch, port: int) -> None:
        keys = b.keys or [None] * len(b)
        self.kinds.look("the table" if port else "the stream", keys[0])
        if port:
            self.update(b.values, keys)
            return
        found = list(map(self.states.get, keys))
        made = b.of(list(zip(b.values, found, strict=True)))
        if self.inner and None in found:
            made = made.where([one is not None for one in found])
        self.emit(made)

    def update(self, values: Sequence[Any], keys: Sequence[Hashable]) -> None:
        """The table says what is so from now on."""
        check_savable(self, values[-1])
        self.states.update(zip(keys, values, strict=True))
        self.dirty.update(keys)
        for key in {key for key, value in zip(keys, values, strict=True) if value is None}:
            if self.states[key] is None:
                del self.states[key]

    def time_of_inputs(self, but: int | None = None) -> int:
        return END if but == 0 else self.marks.get(0, START)

    def end(self, port: int, at: float | None = None) -> None:
        self.done.add(port)
        if port == 0:
            self.finish(at)


def latest_by_key(*, name: str | None = None, **streams: Observable[Any]) -> Stream[Any]:
    """The latest values that several streams have for a key, side by side, whenever one has a new one.

        orders     -1-----2---|
        payments   ---5-----6-|
                   [ rxs.latest_by_key(order=orders, payment=payments) ]
        result     ---a---b-c-|      a=(order=1, payment=5) b=(order=2, payment=5) c=(order=2, payment=6)

    Shape: a row for each value, once none is missing for its key: with a field per stream, and the key of the value. All streams
    need keys (``key_by``), of one type.
    Time: that of the value that made it.
    Holds: the latest value of each stream and key, for ever; saved in a run.
    Bounded by: the number of keys.
    Ends: when all streams have.
    Depends on: interleaving
    Names: Rx ``combine_latest``, per key; Kafka Streams ``KTable.join``

    Args:
        name: The operator's identity for saved state.
        streams: The streams, by the name of the row's field.

    Raises:
        ConfigError: If there are less than two, or one has no keys, or the types of the keys are known to differ.
    """
    where = "latest_by_key"
    if len(streams) < 2:
        raise ConfigError(f"{where}: expected at least two streams, such as order=orders, payment=payments")
    check_fields(where, streams, ())
    check_keyed(where, streams)
    check_name(f"{where}(name)", name)
    fields = tuple(streams)
    make = lambda: LatestByKey(fields)  # noqa: E731  # a value among values
    parameters = {"fields": ", ".join(fields)}
    operation = Operation(where, make, parameters, name, defines=("fields",), stateful=True, depends_on="interleaving")
    return Stream(operation, *streams.values())


class LatestByKey(Node):
    """``states`` has for each key [which values it has, as bits, and the values]."""

    codec = TAGGED
    locked = True

    def __init__(self, fields: tuple[str, ...]) -> None:
        super().__init__()
        self.ports, self.fields = len(fields), fields
        self.kinds = KeyKinds(self)
        self.row = row_type(fields)
        self.whole = 2**self.ports - 1

    def batch(self, b: Batch, port: int) -> None:
        check_savable(self, b.values[-1])
        self.kinds.look(self.fields[port], (b.keys or (None,))[0])
        made_by, rows = [], []
        for i, (key, value) in enumerate(zip(b.keys or (), b.values, strict=True)):
            state = self.states.setdefault(key, [0] * (1 + self.ports))
            state[0] |= 1 << port
            state[1 + port] = value
            if state[0] == self.whole:
                made_by.append(i)
                rows.append(self.row(*state[1:]))
        self.dirty.update(b.keys or ())
        self.emit(b.at(made_by, rows))
