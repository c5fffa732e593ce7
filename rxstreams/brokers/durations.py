"""Durations in URLs."""

from __future__ import annotations

import re

from rxstreams.brokers.contract import Retention
from rxstreams.errors import ConfigError

__all__ = ["duration", "retention_of"]

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def retention_of(url: str, options: dict[str, str]) -> Retention | None:
    """That of topics that are created without one; it is taken out of the options."""
    text = options.pop("retention", None)
    return None if text is None else Retention(max_age=duration(url, "retention", text))


def duration(url: str, option: str, text: str) -> float:
    """Seconds.

    Raises:
        ConfigError: If the text is no duration.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not found:
        raise ConfigError(f"broker {url!r}: {option}={text!r} is no duration; expected a number and s, m, h or d, as in 7d")
    return float(found[1]) * _SECONDS[found[2]]
