"""The run's own log: structlog on standard error, JSON when that is not a terminal."""

from __future__ import annotations

import asyncio
import logging
import sys
from functools import lru_cache
from typing import Any

__all__ = ["Progress", "logger"]


@lru_cache(maxsize=1)
def logger() -> Any:
    """The logger of all runs; a process that has configured structlog itself keeps its configuration."""
    import structlog  # not needed to describe a pipeline

    if not structlog.is_configured():
        console = sys.stderr.isatty()
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
                structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer(),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
            cache_logger_on_first_use=False,
        )
    return structlog.get_logger("rxstreams")


class Progress:
    """How far something long is, told once a second with the seconds that are left.

    Args:
        event: What it is.
        what: More to tell of it.
    """

    def __init__(self, event: str, **what: Any) -> None:
        self._event, self._what = event, what
        self._now = asyncio.get_running_loop().time
        self._began = self._told = self._now()

    def __call__(self, done: float, of: float, /, **more: Any) -> None:
        """Tell it if it is time to; ``done`` is more than 0."""
        now = self._now()
        if now - self._told >= 1.0:
            self._told, took = now, now - self._began
            left = round(took / done * (of - done), 1)
            logger().info(self._event, **self._what, **more, per_second=round(done / took), seconds_left=left)
