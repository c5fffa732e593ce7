"""What a pattern gives."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["Match"]


class Match(msgspec.Struct, frozen=True):
    """The events that fit a pattern; on ``timed_out`` those of one that did not get to its end in time.

    On a topic it is a JSON object with these fields.

    Attributes:
        key: The user's key; None where the stream is not keyed.
        start: The event time of the first event (ms since the epoch).
        end: That of the last event. Where it is the absence of one that completes a pattern, or where time ran out, the last
            millisecond of ``within``.
        events: By stage, in the pattern's order, the events that it took, in order of time; a stage that took none is left out.
    """

    key: Any
    start: int
    end: int
    events: dict[str, list[Any]]

    def __getitem__(self, stage: str) -> list[Any]:
        """The events of a stage; none if it took none."""
        return self.events.get(stage, [])
