"""When a window gives results."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, Literal

import msgspec

from rxstreams.errors import ConfigError
from rxstreams.windows.kinds import millis

__all__ = ["Emit", "after", "every", "on_close", "on_update"]


class Emit(msgspec.Struct, frozen=True):
    """When a window's results are emitted beside the one on time, which is when the watermark reaches its end.

    Attributes:
        kind: ``"on_close"``, ``"on_update"``, ``"every"`` or ``"after"``.
        n: Milliseconds or records, where it has a number.
    """

    kind: Literal["on_close", "on_update", "every", "after"]
    n: int = 0

    def __repr__(self) -> str:
        number = {"every": f"({self.n / 1000:g})", "after": f"({self.n})"}
        return f"{self.kind}{number.get(self.kind, '')}"


on_close: Final = Emit("on_close")
"""Emit when the watermark reaches the window's end; nothing before."""
on_update: Final = Emit("on_update", 1)
"""Emit an early result with each record, too."""


def every(interval: float | timedelta) -> Emit:
    """Emit an early result, too, each time that event time has come ``interval`` seconds further and there was a record.

    By event time, so that a replay emits the same; counted from the window's start, for sessions, whose starts may move, from
    the epoch. (Flink: ``ContinuousEventTimeTrigger``.)

    Raises:
        ConfigError: If ``interval`` is not positive.
    """
    return Emit("every", millis("every(interval)", interval))


def after(records: int) -> Emit:
    """Emit an early result with each ``records``-th record of the window, too.

    Raises:
        ConfigError: If ``records`` is not a positive integer.
    """
    if isinstance(records, bool) or not isinstance(records, int) or records < 1:
        raise ConfigError(f"after(records): expected a positive integer, got {records!r}")
    return Emit("after", records)
