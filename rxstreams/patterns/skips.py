"""From where to go on after a match."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from rxstreams.errors import ConfigError

__all__ = ["Skips", "no_skip", "past_last", "to_first", "to_last", "to_next"]

Taken = Sequence[tuple[str, int]]
"""A match's events: each one's stage, and its number among the key's events."""


class Skips(msgspec.Struct, frozen=True):
    """Which partial matches a match ends: those that began before some event of it.

    Matches are taken in the order of their first events, those of one in the order in which they come to their end. So one that
    began later waits until none that began before it is open any more.

    Source: the after-match skip strategies of Flink's CEP library, and of ``MATCH_RECOGNIZE`` in SQL:2016.
    """

    kind: Literal["no_skip", "to_next", "past_last", "to_first", "to_last"]
    stage: str | None = None

    def __repr__(self) -> str:
        return self.kind if self.stage is None else f"{self.kind}({self.stage!r})"

    @property
    def one_each(self) -> bool:
        """Whether there is at most one match that begins with an event."""
        return self.kind in ("to_next", "past_last")

    def last_ended(self, taken: Taken) -> int:
        """The last event with which no match may begin any more."""
        if self.kind == "to_next":
            return taken[0][1]
        if self.kind == "past_last":
            return taken[-1][1]
        numbers = [number for stage, number in taken if stage == self.stage] or [0]
        return (numbers[0] if self.kind == "to_first" else numbers[-1]) - 1


no_skip = Skips("no_skip")
"""Every match there is."""
to_next = Skips("to_next")
"""One match for each event that begins one."""
past_last = Skips("past_last")
"""No match has an event before the last one of the match before it: each event is in one match at most."""


def to_first(stage: str) -> Skips:
    """No match begins before the first event that the match before it took for ``stage``, if it took one.

    Raises:
        ConfigError: If ``stage`` is no name.
    """
    return Skips("to_first", _name("to_first", stage))


def to_last(stage: str) -> Skips:
    """The same with the last event that it took for ``stage``."""
    return Skips("to_last", _name("to_last", stage))


def _name(where: str, stage: Any) -> str:
    if not isinstance(stage, str) or not stage:
        raise ConfigError(f"{where}(stage): expected a stage's name, got {stage!r}")
    return stage
