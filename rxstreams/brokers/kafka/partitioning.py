"""Which partition a record goes to, as Kafka's own clients choose it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from aiokafka.partitioner import murmur2

__all__ = ["assign"]


@lru_cache(maxsize=100_000)
def _hash(key: bytes) -> int:
    return murmur2(key) & 0x7FFFFFFF  # type: ignore[no-any-return]  # an int


def assign(keys: Sequence[bytes | None] | None, n: int, partitions: int, keyless: int) -> list[int]:
    """The partition of each of ``n`` records: by its key's murmur2, or the ``keyless``-th for all that have no key.

    Source: Kafka's ``BuiltInPartitioner.partitionForKey``.
    """
    sticky = keyless % partitions
    if partitions == 1 or keys is None:
        return [sticky] * n
    return [sticky if key is None else _hash(key) % partitions for key in keys]
