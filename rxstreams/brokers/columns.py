"""Records as parallel columns, and which partition each belongs to: what the local brokers append and read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, repeat
from zlib import crc32

import msgspec

from rxstreams.brokers.contract import Header, Put, Record
from rxstreams.errors import ConfigError, EncodeError

__all__ = ["Columns", "assign", "check_partitions", "check_puts", "divide", "from_records", "join", "positions", "present"]

_BYTES: set[type] = {bytes, type(None)}
_TIMES: set[type] = {int, type(None)}
_INT64 = 2**63


class Columns(msgspec.Struct, array_like=True):
    """Some records of one partition, in order. ``keys`` and ``headers`` are None where no record has any."""

    values: list[bytes | None]
    timestamps: list[int]
    keys: list[bytes | None] | None = None
    headers: list[tuple[Header, ...]] | None = None

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
            [timestamps[i] for i in indices],
            None if keys is None else [keys[i] for i in indices],
            None if headers is None else [headers[i] for i in indices],
        )


def from_records(topic: str, records: Sequence[Record], now_ms: int) -> Columns:
    """The records as columns, checked: whatever comes out of here can be stored and read back as it is.

    Raises:
        EncodeError: If a value, key, timestamp or header has a type that a broker does not store.
    """
    values, keys, timestamps, headers = zip(*records)
    _check(topic, "value", values, _BYTES, "bytes or None; encode it first")
    keyed = keys.count(None) < len(keys)
    if keyed:
        _check(topic, "key", keys, _BYTES, "bytes or None; encode it first")
    if any(headers):
        _check_headers(topic, headers)
    times = _times(topic, timestamps, now_ms)
    return Columns(list(values), times, list(keys) if keyed else None, list(headers) if any(headers) else None)


def _times(topic: str, timestamps: Sequence[int | None], now_ms: int) -> list[int]:
    _check(topic, "timestamp", timestamps, _TIMES, "milliseconds as int, or None")
    times = [now_ms if time is None else time for time in timestamps]
    if min(times) < -_INT64 or max(times) >= _INT64:
        raise EncodeError(f"topic {topic!r}", "a timestamp has more than 64 bits; expected milliseconds since the epoch")
    return times


def _check(topic: str, what: str, column: Collection[object], allowed: set[type], expected: str) -> None:
    if wrong := set(map(type, column)) - allowed:
        got = ", ".join(sorted(kind.__name__ for kind in wrong))
        raise EncodeError(f"topic {topic!r}", f"a record's {what} is {got}; expected {expected}")


def _check_headers(topic: str, headers: Sequence[tuple[Header, ...]]) -> None:
    for header in headers:
        if type(header) is not tuple or not all(map(_is_header, header)):
            raise EncodeError(f"topic {topic!r}", f"headers {header!r}; expected a tuple of (str, bytes) tuples")


def _is_header(pair: object) -> bool:
    if not (type(pair) is tuple and len(pair) == 2 and type(pair[0]) is str and type(pair[1]) is bytes):
        return False
    return pair[0].isascii() or pair[0].encode(errors="ignore").decode() == pair[0]


def present(keys: list[bytes | None] | None) -> list[bytes | None] | None:
    """``keys``, or None if none of them is a key."""
    return None if keys is None or keys.count(None) == len(keys) else keys


def join(parts: Sequence[Columns]) -> Columns:
    """The records of all ``parts``, in order."""
    if len(parts) == 1:
        return parts[0]
    flat = chain.from_iterable
    return Columns(
        list(flat(part.values for part in parts)),
        list(flat(part.timestamps for part in parts)),
        _join_keys(parts) if any(part.keys is not None for part in parts) else None,
        _join_headers(parts) if any(part.headers is not None for part in parts) else None,
    )


def _join_keys(parts: Sequence[Columns]) -> list[bytes | None]:
    return list(chain.from_iterable(repeat(None, len(p.values)) if p.keys is None else p.keys for p in parts))


def _join_headers(parts: Sequence[Columns]) -> list[tuple[Header, ...]]:
    return list(chain.from_iterable(repeat((), len(p.values)) if p.headers is None else p.headers for p in parts))


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
