"""Records as parallel columns, and which partition each belongs to: what the local brokers append and read."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableSequence, Sequence
from typing import Any, TypeVar
from zlib import crc32

import msgspec

from rxstreams.brokers.contract import Header, Put, Record
from rxstreams.errors import ConfigError, EncodeError

__all__ = ["Columns", "assign", "check_partitions", "check_puts", "divide", "from_records", "join", "positions", "present"]

Keys = Sequence[bytes | None]
Headers = Sequence[tuple[Header, ...]]
Column = TypeVar("Column", bound=MutableSequence[Any])

_BYTES: set[type] = {bytes, type(None)}


class Columns(msgspec.Struct, frozen=True):
    """Some records of one partition, in order. ``keys`` and ``headers`` are None where no record has any."""

    values: Sequence[bytes | None]
    timestamps: array[int]
    keys: Keys | None = None
    headers: Headers | None = None

    def sizes(self) -> list[int]:
        """The bytes of each record's value and key."""
        if self.keys is None and None not in self.values:
            return list(map(len, self.values))  # type: ignore[arg-type]  # none of them is None
        keys = self.keys or [None] * len(self.values)
        return [len(value or b"") + len(key or b"") for value, key in zip(self.values, keys)]

    def cut(self, start: int, stop: int) -> Columns:
        """The records from ``start`` up to ``stop``."""
        if start == 0 and stop >= len(self.values):
            return self
        span = slice(start, stop)
        return Columns(
            self.values[span],
            self.timestamps[span],
            None if self.keys is None else self.keys[span],
            None if self.headers is None else self.headers[span],
        )

    def at(self, indices: Sequence[int]) -> Columns:
        """The records at ``indices``."""
        values, timestamps, keys, headers = self.values, self.timestamps, self.keys, self.headers
        return Columns(
            [values[i] for i in indices],
            array("q", [timestamps[i] for i in indices]),
            None if keys is None else [keys[i] for i in indices],
            None if headers is None else [headers[i] for i in indices],
        )


def from_records(topic: str, records: Sequence[Record], now_ms: int) -> Columns:
    """The records as columns, checked: whatever comes out of here can be stored and read back as it is.

    Raises:
        EncodeError: If a value, key, timestamp or header has a type that a broker does not store.
    """
    values, keys, timestamps, headers = zip(*records)
    _check(topic, "value", values)
    keyed, headed = present(keys), headers if any(headers) else None
    if keyed is not None:
        _check(topic, "key", keyed)
    if headed is not None:
        _check_headers(topic, headed)
    return Columns(values, _times(topic, timestamps, now_ms), keyed, headed)


def _times(topic: str, timestamps: Sequence[int | None], now_ms: int) -> array[int]:
    if timestamps[0] is None and timestamps.count(None) == len(timestamps):
        return array("q", (now_ms,)) * len(timestamps)
    try:
        return array("q", [now_ms if time is None else time for time in timestamps])
    except (TypeError, OverflowError) as error:
        expected = "expected milliseconds since the epoch, as an int of at most 64 bits, or None"
        raise EncodeError(f"topic {topic!r}", f"a record's timestamp: {error}; {expected}") from error


def _check(topic: str, what: str, column: Collection[object]) -> None:
    if wrong := set(map(type, column)) - _BYTES:
        got = ", ".join(sorted(kind.__name__ for kind in wrong))
        raise EncodeError(f"topic {topic!r}", f"a record's {what} is {got}; expected bytes or None; encode it first")


def _check_headers(topic: str, headers: Headers) -> None:
    for header in headers:
        if type(header) is not tuple or not all(map(_is_header, header)):
            raise EncodeError(f"topic {topic!r}", f"headers {header!r}; expected a tuple of (str, bytes) tuples")


def _is_header(pair: object) -> bool:
    if not (type(pair) is tuple and len(pair) == 2 and type(pair[0]) is str and type(pair[1]) is bytes):
        return False
    return pair[0].isascii() or pair[0].encode(errors="ignore").decode() == pair[0]


def present(keys: Keys | None) -> Keys | None:
    """``keys``, or None if none of them is a key."""
    # The first mostly tells; counting compares every key with None.
    return None if keys is None or ((not keys or keys[0] is None) and keys.count(None) == len(keys)) else keys


def join(parts: Sequence[Columns]) -> Columns:
    """The records of all ``parts``, in order."""
    if len(parts) == 1:
        return parts[0]
    keyed, headed = any(part.keys is not None for part in parts), any(part.headers is not None for part in parts)
    return Columns(
        _joined([], (part.values for part in parts)),
        _joined(array("q"), (part.timestamps for part in parts)),
        _joined([], (part.keys or [None] * len(part.values) for part in parts)) if keyed else None,
        _joined([], (part.headers or [()] * len(part.values) for part in parts)) if headed else None,
    )


def _joined(column: Column, parts: Iterable[Sequence[Any]]) -> Column:
    for part in parts:
        # A whole part at once, where itertools.chain would step through it.
        column.extend(part)
    return column


def check_puts(puts: Sequence[Put]) -> None:
    """Refuse table changes that cannot be stored.

    Raises:
        EncodeError: If a key or a value has a type that a broker does not store.
    """
    for put in puts:
        if type(put.key) is not bytes or type(put.value) not in _BYTES:
            got = f"{type(put.key).__name__} and {type(put.value).__name__}"
            raise EncodeError(
                f"table {put.table!r}", f"key and value are {got}; expected bytes, and bytes or None; encode them first"
            )


def assign(columns: Columns, partitions: int, keyless: int) -> list[int]:
    """The partition of each record: by its key's checksum, or the ``keyless``-th for all that have no key."""
    sticky = keyless % partitions
    if partitions == 1 or columns.keys is None:
        return [sticky] * len(columns.values)
    return [sticky if key is None else crc32(key) % partitions for key in columns.keys]


def divide(columns: Columns, assigned: Sequence[int]) -> dict[int, Columns]:
    """Each partition's share of the records, in order."""
    if assigned.count(assigned[0]) == len(assigned):
        return {assigned[0]: columns}
    indices = defaultdict[int, list[int]](list)
    for index, partition in enumerate(assigned):
        indices[partition].append(index)
    return {partition: columns.at(which) for partition, which in indices.items()}


def positions(assigned: Sequence[int], following: Mapping[int, Iterator[int]]) -> list[tuple[int, int]]:
    """(partition, offset) of each record; takes the offsets from ``following``, each partition's next ones."""
    if len(following) == 1:
        # zip asks ``assigned`` first, so no offset is taken beyond its end.
        return list(zip(assigned, *following.values()))
    return [(partition, next(following[partition])) for partition in assigned]


def check_partitions(topic: str, partitions: int) -> None:
    """Refuse what is no number of partitions.

    Raises:
        ConfigError: If ``partitions`` is not an integer of at least 1, or ``topic`` is empty.
    """
    if not topic or not isinstance(partitions, int) or isinstance(partitions, bool) or partitions < 1:
        raise ConfigError(f"create_topic({topic!r}, {partitions!r}): expected a name, and an integer of at least 1 partition")
