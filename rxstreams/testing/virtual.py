"""An asyncio loop whose time is not waited for: a coroutine that sleeps an hour is done at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from rxstreams.errors import ConfigError

__all__ = ["virtual_loop", "virtually"]

T = TypeVar("T")


def virtual_loop(start: float = 0.0) -> asyncio.AbstractEventLoop:
    """A new loop in virtual time: when nothing is ready, its clock jumps to what is due next.

    Work in threads and on sockets takes its time, which then does not count. (It is the loop of the package looptime.)

    Args:
        start: What its clock says at first, in seconds.

    Raises:
        ConfigError: If looptime is not installed.
    """
    try:
        import looptime
    except ImportError as error:
        raise ConfigError("virtual time needs the package looptime: pip install 'rxstreams[testing]'") from error
    return looptime.new_event_loop(start=start)


def virtually(work: Coroutine[Any, Any, T], *, start: float = 0.0) -> T:
    """What a coroutine returns, run on a virtual loop of its own.

    Give a run the same time: ``rxstreams.start(…, clock=asyncio.get_running_loop().time)``.
    """
    with asyncio.Runner(loop_factory=lambda: virtual_loop(start)) as runner:
        return runner.run(work)
