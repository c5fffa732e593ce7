"""What is counted and said of records that a run lets go: failed, late and dropped ones, ids that were forgotten early."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rxstreams.batch import Batch
from rxstreams.errors import DeadLetter, Skip
from rxstreams.log import logger
from rxstreams.runtime.failures import Failure
from rxstreams.runtime.settings import Statistics
from rxstreams.runtime.vertices import Vertex

__all__ = ["Losses"]


class Losses:
    """Counts them; of a flood the log hears once a second and stage, with how many there were since.

    Args:
        statistics: Where they are counted.
        now: Seconds, on the loop's clock.
    """

    def __init__(self, statistics: Statistics, now: Callable[[], float]) -> None:
        self.statistics, self.now = statistics, now
        self.told: dict[str, tuple[float, int]] = {}

    def lost(self, failure: Failure, policy: Skip | DeadLetter) -> None:
        """A policy let a record go."""
        self.statistics.lost += 1
        self._say("record let go", failure.stage, 1, policy=repr(policy), error=str(failure.error))

    def aside(self, vertex: Vertex, name: str, what: Batch) -> None:
        """Records came too late or found no room, or ids were evicted; where nobody reads them, that is said: they are gone."""
        if name == "evicted":
            self.statistics.evicted += len(what)
            self._say("ids were forgotten early, for capacity; their duplicates will pass", vertex.title, len(what))
            return
        if name == "dropped":
            self.statistics.dropped += len(what)
            if "dropped" not in vertex.sides:
                self._say("no room, so records were dropped", vertex.title, len(what))
            return
        self.statistics.late += len(what)
        if "late" not in vertex.sides:
            seconds = round(max(one.by for one in what.values), 3)
            self._say(
                "records came too late, and nobody reads the stream `late`", vertex.title, len(what), seconds_behind=seconds
            )

    def _say(self, event: str, stage: str, records: int, **more: Any) -> None:
        told, unsaid = self.told.get(event + stage, (float("-inf"), 0))
        if self.now() - told < 1.0:
            self.told[event + stage] = told, unsaid + records
            return
        self.told[event + stage] = self.now(), 0
        logger().warning(event, stage=stage, records=records + unsaid, **more)
