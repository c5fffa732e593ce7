"""The run's own log: structlog on standard error, JSON when that is not a terminal."""

from __future__ import annotations

import logging
import sys
from functools import lru_cache
from typing import Any

__all__ = ["logger"]


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
