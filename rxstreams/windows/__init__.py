"""Windows: how event time is cut, when results are emitted, and what a result is. Values, for ``operators.windowed``.

    tumbling(60)            0–60 s, 60–120 s, …
    hopping(60, 10)         60 s long, one every 10 s
    calendar("day", tz=…)   days, weeks or months of a place
    session(30)             from a first record on, until 30 s have passed without one
    sliding(60)             for each record, the last 60 s
    counting(100)           each 100 records of a key

A window [start, end) has every record with start ≤ time < end, and is due when the watermark reaches its end.
"""

from rxstreams.windows.emitting import Emit, after, every, on_close, on_update
from rxstreams.windows.kinds import (
    Calendar,
    Counting,
    Grid,
    Session,
    Sliding,
    Windows,
    calendar,
    counting,
    hopping,
    session,
    sliding,
    tumbling,
)
from rxstreams.windows.results import EARLY, LATE, ON_TIME, RESERVED, Pane, Timing, Windowed, windowed_type

__all__ = [
    "EARLY",
    "LATE",
    "ON_TIME",
    "RESERVED",
    "Calendar",
    "Counting",
    "Emit",
    "Grid",
    "Pane",
    "Session",
    "Sliding",
    "Timing",
    "Windowed",
    "Windows",
    "after",
    "calendar",
    "counting",
    "every",
    "hopping",
    "on_close",
    "on_update",
    "session",
    "sliding",
    "tumbling",
    "windowed_type",
]
