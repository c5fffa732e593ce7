"""How a run fares, for those who watch over it."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Health"]


class Health(msgspec.Struct, frozen=True):
    """How a run fares.

    Attributes:
        status: ``starting`` while it takes its task over and restores, ``running``, ``restarting`` after what ``why`` says,
            ``finished``, ``stopped``, or ``failed``, which ends the process.
        why: What went wrong; None if nothing did.
        restarts: How often it has begun anew, in a row.
    """

    status: Literal["starting", "running", "restarting", "finished", "stopped", "failed"]
    why: str | None = None
    restarts: int = 0

    @property
    def ready(self) -> bool:
        """Whether state is restored, and views have their rows."""
        return self.status in ("running", "finished")

    @property
    def healthy(self) -> bool:
        """Whether it does its work, or is about to."""
        return self.why is None
