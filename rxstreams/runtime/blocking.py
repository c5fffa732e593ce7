"""Who blocks the loop: a thread looks now and then whether the loop still turns and, if it does not, at what it does instead."""

from __future__ import annotations

import asyncio
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rxstreams.log import logger

__all__ = ["loop_watched"]

BLOCKED_AFTER = 0.5
"""Seconds for which the loop must not have turned."""
_OURS = str(Path(__file__).parents[1])
_OTHERS = (_OURS, sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))


@contextmanager
def loop_watched(app: str | None) -> Iterator[None]:
    """While this lasts, a function that blocks the running loop for half a second is named in the log, once each time."""
    watch = _Watch(asyncio.get_running_loop(), app)
    watch.start()
    try:
        yield
    finally:
        watch.over.set()


class _Watch(threading.Thread):
    def __init__(self, loop: asyncio.AbstractEventLoop, app: str | None) -> None:
        super().__init__(name="rxstreams: who blocks the loop", daemon=True)
        self.loop, self.app, self.watched = loop, app, threading.get_ident()
        self.over, self.turned = threading.Event(), threading.Event()

    def run(self) -> None:
        while not self.over.wait(BLOCKED_AFTER):
            self.turned.clear()
            try:
                self.loop.call_soon_threadsafe(self.turned.set)
            except RuntimeError:
                return  # the loop is closed
            if not self.turned.wait(BLOCKED_AFTER) and not self.over.is_set():
                self.tell()
                while not self.turned.wait(BLOCKED_AFTER) and not self.over.is_set():
                    pass  # it is told once

    def tell(self) -> None:
        frame = sys._current_frames().get(self.watched)
        if frame is None:
            return
        at = culprit(frame)
        logger().warning(
            "the loop is blocked: commits, signals and other records wait",
            app=self.app,
            by=at.f_code.co_qualname,
            at=f"{at.f_code.co_filename}:{at.f_lineno}",
            seconds=f"more than {BLOCKED_AFTER:g}",
            instead="make it a coroutine function, or wrap it in rxstreams.in_thread(…), for map_async or to_callable",
        )


def culprit(frame: FrameType) -> FrameType:
    """The innermost function that is the user's: neither Python's own nor a package's; else the innermost at all."""
    at: FrameType | None = frame
    while at is not None:
        if not at.f_code.co_filename.startswith((*_OTHERS, "<")):
            return at
        at = at.f_back
    return frame
