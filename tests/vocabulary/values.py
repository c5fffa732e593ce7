"""Values that flow through random pipelines: whatever an operator emits becomes a number again."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from rxstreams import Stream

Make = Callable[[random.Random, Stream[Any]], Stream[Any]]
"""A random instance of an operator, put after a stream."""


def number(value: Any) -> int:
    """An integer of whatever an operator emits."""
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return round(value * 8)
    if value is None:
        return -1
    if isinstance(value, list | tuple):
        return sum((i + 1) * number(one) for i, one in enumerate(value)) % 1009
    if isinstance(value, str):
        return len(value)
    return number([getattr(value, name) for name in value.__struct_fields__])


async def waiting(value: Any) -> Any:
    """A coroutine function, which operators that wait for nothing refuse."""
    return value


async def yielding(value: Any) -> Any:
    """An async generator function."""
    yield value
