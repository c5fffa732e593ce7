"""What SIGINT and SIGTERM do to a run."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rxstreams.runtime.running import Running

__all__ = ["stopped_by_signals"]


@contextmanager
def stopped_by_signals(begun: list[Running], within: float) -> Iterator[None]:
    """SIGINT and SIGTERM stop the run that has begun; one that has not, or a second signal, ends the process at once.

    The handlers are Python's, not the loop's: they are called even while a user's function blocks the loop. What is to be done
    in the loop they hand over to it. (Only the main thread may set handlers; elsewhere signals are its business.)
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    stops: list[asyncio.Task[None]] = []
    first = True

    # A writer's thread that waits for its turn cannot be told to stop, nor a function that blocks the loop; what was to be
    # committed has been dropped.
    last = threading.Timer(within + 1.0, os._exit, (0,))
    last.daemon = True

    def stop() -> None:
        stops.append(loop.create_task(begun[0].stop()))

    def on_signal(number: int, _: object) -> None:
        nonlocal first
        if not first or not begun:
            os._exit(128 + number if not first else 0)  # before it has begun there is nothing to commit
        first = False
        last.start()
        loop.call_soon_threadsafe(stop)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        last.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
